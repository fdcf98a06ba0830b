//! A request as it goes over the wire.

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, COOKIE, HOST, USER_AGENT};
use http::{HeaderName, HeaderValue};
use http_body_util::Full;
use url::Url;

use super::redirect::Hop;
use super::{MARKER, USER_AGENT_TEXT};

/// The message as it goes over the wire: what every request carries, then what this one was given.
pub(super) fn message(hop: &Hop, cookies: Option<&str>, two: bool) -> Result<http::Request<Full<Bytes>>, String> {
    let target = match hop.headers.iter().find(|(name, _)| two && name == HOST) {
        // HTTP/2 has no Host header: the name that was given stands in the place of the authority.
        Some((_, host)) => format!("https://{}{}", host.to_str().unwrap_or_default(), origin_form(&hop.url)),
        None if two => hop.url.to_string(),
        None => origin_form(&hop.url).to_owned(),
    };
    let mut builder = http::Request::builder().method(hop.method.clone()).uri(target);
    let headers = builder.headers_mut().ok_or("its URL is unusual")?;
    for (name, value) in &hop.headers {
        headers.append(name.clone(), value.clone());
    }
    if two {
        headers.remove(HOST);
    } else if !headers.contains_key(HOST) {
        let host = HeaderValue::from_str(&authority(&hop.url)).map_err(|_| "its host is unusual".to_owned())?;
        headers.insert(HOST, host);
    }
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(USER_AGENT_TEXT));
    headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("gzip, deflate"));
    headers.entry("accept").or_insert(HeaderValue::from_static("*/*"));
    headers.insert(HeaderName::from_static(MARKER), HeaderValue::from_static("1"));
    if let Some(cookies) = cookies {
        let joined = match headers.get(COOKIE) {
            Some(own) => renewed(own, cookies),
            None => cookies.to_owned(),
        };
        let value = HeaderValue::from_bytes(joined.as_bytes()).map_err(|_| "a cookie is unusual".to_owned())?;
        headers.insert(COOKIE, value);
    }
    builder.body(Full::new(hop.body.clone())).map_err(|_| "its URL is unusual".to_owned())
}

/// Cookies of ours with those that were set on the way; a name that was set anew counts as it is now, so that a session
/// which changes at the login isn't sent in both its forms.
fn renewed(own: &HeaderValue, cookies: &str) -> String {
    let name = |pair: &str| pair.split_once('=').map_or(pair, |(name, _)| name).trim().to_owned();
    let anew: Vec<String> = cookies.split(';').map(name).collect();
    let own = String::from_utf8_lossy(own.as_bytes());
    let kept = own.split(';').map(str::trim).filter(|pair| !anew.contains(&name(pair)));
    kept.chain(std::iter::once(cookies)).collect::<Vec<_>>().join("; ")
}

/// Path and query, as they stand in the URL.
fn origin_form(url: &Url) -> &str {
    &url[url::Position::BeforePath..url::Position::AfterQuery]
}

fn authority(url: &Url) -> String {
    url[url::Position::BeforeHost..url::Position::AfterPort].to_owned()
}
