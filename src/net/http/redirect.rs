//! Where a redirect may lead, and what goes along: rules only, no I/O.
//!
//! Format: RFC 9110 §15.4 for methods and bodies; what crosses origins is stricter than browsers are.

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, LOCATION, SET_COOKIE};
use http::{HeaderName, HeaderValue, Method};
use url::Url;

use super::{DigestLogin, Reason};

/// The only configured headers that cross to another origin.
const HARMLESS: &[&str] = &["accept", "accept-language", "accept-encoding", "user-agent"];
/// Headers that describe a body and go with it.
const OF_THE_BODY: &[&str] = &[
    "content-type",
    "content-length",
    "content-encoding",
    "content-language",
    "content-location",
    "transfer-encoding",
];
/// The most cookies, and bytes of cookies, that are kept along a chain of redirects.
const COOKIES: usize = 50;
const COOKIE_BYTES: usize = 8 * 1024;

/// What is sent on one hop.
#[derive(Debug, Clone)]
pub(super) struct Hop {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
    /// Still at the origin that was asked first: only there we say who we are.
    pub(super) at_home: bool,
    /// A challenge was answered on this hop.
    pub(super) logged_in: bool,
}

impl Hop {
    /// Answers a challenge of HTTP Digest, once a hop; `false` where there is nothing to answer.
    pub(super) fn log_in(&mut self, login: &DigestLogin, headers: &HeaderMap) -> bool {
        if !self.at_home || self.logged_in {
            return false;
        }
        let path = &self.url[url::Position::BeforePath..url::Position::AfterQuery];
        let Some(answer) = login.answer(headers, self.method.as_str(), path) else { return false };
        self.headers.retain(|(name, _)| name != AUTHORIZATION);
        self.headers.push((AUTHORIZATION, answer));
        self.logged_in = true;
        true
    }
}

/// The hop that a redirect asks for; `None` where the answer is no redirect to follow.
///
/// # Errors
/// Where it leads to something that is not followed, and whether that is the service's fault or our caution.
pub(super) fn next(hop: &Hop, status: u16, headers: &HeaderMap) -> Result<Option<Hop>, (Reason, String)> {
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = headers.get(LOCATION) else { return Ok(None) };
    let unreadable = || (Reason::Service, "redirects to something that is no URL".to_owned());
    let location = std::str::from_utf8(location.as_bytes()).map_err(|_| unreadable())?;
    let mut url = hop.url.join(location).map_err(|_| unreadable())?;
    match (hop.url.scheme(), url.scheme()) {
        (_, "https") | ("http", "http") => {}
        (_, "http") => {
            return Err((
                Reason::Guard,
                format!("redirects from https: back to {}, which is not followed", shown(&url)),
            ));
        }
        (_, other) => return Err((Reason::Service, format!("redirects to {other}:, which is not HTTP"))),
    }
    if url.host().is_none() {
        return Err(unreadable());
    }
    // Names and passwords in a stranger's URL are not ours to send.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);

    let mut following = hop.clone();
    if std::mem::take(&mut following.logged_in) {
        // The answer to a challenge holds for one method and path.
        following.headers.retain(|(name, _)| name != AUTHORIZATION);
    }
    let rewritten =
        status == 303 && hop.method != Method::HEAD || matches!(status, 301 | 302) && hop.method == Method::POST;
    if rewritten {
        following.method = Method::GET;
        following.body = Bytes::new();
        following.headers.retain(|(name, _)| !OF_THE_BODY.contains(&name.as_str()));
    }
    if url.origin() != hop.url.origin() {
        if !following.body.is_empty() {
            let what = format!("redirects a request with a body to {}, which is not followed", shown(&url));
            return Err((Reason::Guard, what));
        }
        // Sticky by nature: what is dropped here is gone for the rest of the chain, also on the way back.
        following.headers.retain(|(name, _)| HARMLESS.contains(&name.as_str()));
        following.at_home = false;
    }
    following.url = url;
    Ok(Some(following))
}

/// A URL without what may be secret or endless: no query, no fragment, no user, at most 200 characters.
pub(super) fn shown(url: &Url) -> String {
    let mut plain = url.clone();
    plain.set_query(None);
    plain.set_fragment(None);
    let _ = plain.set_username("");
    let _ = plain.set_password(None);
    let mut text = plain.to_string();
    if text.len() > 200 {
        text = text.chars().take(200).collect();
        text.push('…');
    }
    text
}

/// Cookies that a chain of redirects sets for itself: each goes back to the very host that set it, and no further.
#[derive(Debug, Default)]
pub(super) struct Jar(Vec<Cookie>);

#[derive(Debug)]
struct Cookie {
    host: String,
    path: String,
    secure: bool,
    name: String,
    value: String,
}

impl Jar {
    /// Notes what an answer sets. `Domain` is disregarded: no cookie goes to a second host.
    pub(super) fn note(&mut self, url: &Url, headers: &HeaderMap) {
        let Some(host) = url.host_str() else { return };
        for value in headers.get_all(SET_COOKIE).iter().take(COOKIES) {
            let Ok(text) = value.to_str() else { continue };
            let mut parts = text.split(';');
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { continue };
            let (name, value) = (name.trim(), value.trim());
            if name.is_empty() {
                continue;
            }
            let mut cookie = Cookie {
                host: host.to_owned(),
                path: "/".to_owned(),
                secure: false,
                name: name.to_owned(),
                value: value.to_owned(),
            };
            let mut gone = false;
            for part in parts {
                let (key, value) = part.split_once('=').unwrap_or((part, ""));
                match key.trim().to_ascii_lowercase().as_str() {
                    "secure" => cookie.secure = true,
                    "path" if value.trim().starts_with('/') => value.trim().clone_into(&mut cookie.path),
                    "max-age" => gone = value.trim().parse::<i64>().is_ok_and(|age| age <= 0),
                    _ => {}
                }
            }
            self.0.retain(|old| (&old.host, &old.path, &old.name) != (&cookie.host, &cookie.path, &cookie.name));
            let bytes: usize = self.0.iter().map(|cookie| cookie.name.len() + cookie.value.len()).sum();
            let fits = self.0.len() < COOKIES && bytes + cookie.name.len() + cookie.value.len() <= COOKIE_BYTES;
            if !gone && fits {
                self.0.push(cookie);
            }
        }
    }

    /// What goes to this URL, as a `Cookie` header would say it.
    pub(super) fn header(&self, url: &Url) -> Option<String> {
        let fits = |cookie: &&Cookie| {
            let below = url.path().strip_prefix(&cookie.path);
            Some(cookie.host.as_str()) == url.host_str()
                && (!cookie.secure || url.scheme() == "https")
                && below.is_some_and(|rest| rest.is_empty() || cookie.path.ends_with('/') || rest.starts_with('/'))
        };
        let pairs: Vec<_> = self.0.iter().filter(fits).map(|c| format!("{}={}", c.name, c.value)).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(method: Method, url: &str) -> Hop {
        let header = |name: &'static str| (HeaderName::from_static(name), HeaderValue::from_static("x"));
        let headers = ["x-api-key", "authorization", "cookie", "accept", "content-type", "x-harmless-looking"];
        let body = if method == Method::POST { Bytes::from_static(b"{}") } else { Bytes::new() };
        let headers = headers.into_iter().map(header).collect();
        Hop { method, url: Url::parse(url).unwrap(), headers, body, at_home: true, logged_in: false }
    }

    fn go(from: &Hop, status: u16, location: &str) -> Result<Option<Hop>, (Reason, String)> {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_bytes(location.as_bytes()).unwrap());
        next(from, status, &headers)
    }

    #[test]
    fn only_redirects_with_a_location_are_followed() {
        let from = hop(Method::GET, "https://a.example/x");
        for status in [200, 204, 300, 304, 305, 306, 404] {
            assert!(go(&from, status, "/y").unwrap().is_none(), "{status}");
        }
        assert!(next(&from, 302, &HeaderMap::new()).unwrap().is_none());
        assert_eq!(go(&from, 302, "y?z=1#f").unwrap().unwrap().url.as_str(), "https://a.example/y?z=1");
        assert_eq!(go(&from, 301, "//b.example:8/").unwrap().unwrap().url.as_str(), "https://b.example:8/");
    }

    #[test]
    fn schemes_are_http_and_never_back_from_tls() {
        let plain = hop(Method::GET, "http://a.example/");
        let tls = hop(Method::GET, "https://a.example/");
        assert!(go(&plain, 302, "https://a.example/").unwrap().is_some());
        assert!(go(&plain, 302, "http://b.example/").unwrap().is_some());
        assert_eq!(go(&tls, 302, "http://a.example/?token=1").unwrap_err().0, Reason::Guard);
        assert!(!go(&tls, 302, "http://a.example/?token=1").unwrap_err().1.contains("token"));
        for other in ["file:///etc/passwd", "ftp://a.example/", "javascript:alert(1)", "data:text/html,x", "gopher://x"]
        {
            let (reason, what) = go(&plain, 302, other).unwrap_err();
            assert_eq!(reason, Reason::Service, "{other}: {what}");
        }
        for broken in ["http://", "http://[::1", "https://a.example:99999/"] {
            assert_eq!(go(&plain, 302, broken).unwrap_err().0, Reason::Service, "{broken}");
        }
    }

    #[test]
    fn methods_and_bodies_follow_the_status() {
        for (method, status, becomes, with_body) in [
            (Method::POST, 301, Method::GET, false),
            (Method::POST, 302, Method::GET, false),
            (Method::POST, 303, Method::GET, false),
            (Method::POST, 307, Method::POST, true),
            (Method::POST, 308, Method::POST, true),
            (Method::PUT, 302, Method::PUT, false),
            (Method::PUT, 303, Method::GET, false),
            (Method::HEAD, 303, Method::HEAD, false),
            (Method::GET, 302, Method::GET, false),
        ] {
            let following = go(&hop(method.clone(), "http://a.example/"), status, "/b").unwrap().unwrap();
            assert_eq!(following.method, becomes, "{method} {status}");
            assert_eq!(!following.body.is_empty(), with_body, "{method} {status}");
            let typed = following.headers.iter().any(|(name, _)| name == "content-type");
            assert_eq!(typed, method == becomes, "{method} {status}");
        }
    }

    #[test]
    fn what_is_configured_stays_with_its_origin_and_does_not_come_back() {
        let names = |hop: &Hop| hop.headers.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
        let a = hop(Method::GET, "http://a.example/");
        let same = go(&a, 302, "/other").unwrap().unwrap();
        assert_eq!(names(&same), names(&a));
        for elsewhere in ["http://b.example/", "https://a.example/", "http://a.example:81/", "http://sub.a.example/"] {
            let b = go(&a, 302, elsewhere).unwrap().unwrap();
            assert_eq!(names(&b), ["accept"], "{elsewhere}");
            let plain = Hop { url: Url::parse("http://b.example/").unwrap(), ..b };
            let back = go(&plain, 302, "http://a.example/").unwrap().unwrap();
            assert_eq!(names(&back), ["accept"], "{elsewhere} and back");
        }
        let post = hop(Method::POST, "http://a.example/");
        assert_eq!(go(&post, 307, "http://b.example/").unwrap_err().0, Reason::Guard);
        let user = go(&a, 302, "http://user:pw@a.example/").unwrap().unwrap();
        assert_eq!(user.url.as_str(), "http://a.example/");
    }

    #[test]
    fn cookies_stay_with_the_host_that_set_them() {
        let url = |text: &str| Url::parse(text).unwrap();
        let mut jar = Jar::default();
        let mut headers = HeaderMap::new();
        for cookie in
            ["s=1; Path=/app; HttpOnly", "t=2; Secure; Domain=example", "u=3; Domain=b.example", "=x", "nonsense"]
        {
            headers.append(SET_COOKIE, HeaderValue::from_static(cookie));
        }
        jar.note(&url("https://a.example/login"), &headers);
        for (to, sent) in [
            ("https://a.example/app/x", Some("s=1; t=2; u=3")),
            ("https://a.example/app", Some("s=1; t=2; u=3")),
            ("https://a.example/apple", Some("t=2; u=3")),
            ("http://a.example/app", Some("s=1; u=3")),
            ("https://b.example/app", None),
            ("https://sub.a.example/app", None),
        ] {
            assert_eq!(jar.header(&url(to)).as_deref(), sent, "{to}");
        }
        let mut gone = HeaderMap::new();
        gone.append(SET_COOKIE, HeaderValue::from_static("t=; Max-Age=0"));
        jar.note(&url("https://a.example/"), &gone);
        assert_eq!(jar.header(&url("https://a.example/")).as_deref(), Some("u=3"));
        let mut bomb = HeaderMap::new();
        for index in 0..500 {
            bomb.append(SET_COOKIE, HeaderValue::from_str(&format!("c{index}={}", "x".repeat(500))).unwrap());
        }
        jar.note(&url("https://c.example/"), &bomb);
        assert!(jar.header(&url("https://c.example/")).unwrap().len() <= COOKIE_BYTES + 2 * COOKIES);
    }
}
