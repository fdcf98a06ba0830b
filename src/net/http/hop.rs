//! One request and its answer over one fresh connection, phase by phase.

use std::borrow::Cow;
use std::error::Error as _;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, COOKIE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use url::Url;

use super::body::{Coding, Fed, Unpacker};
use super::meter::{Meter, Metered};
use super::redirect::Hop;
use super::{Client, Failure, MARKER, Reason, Request, TlsOptions, USER_AGENT_TEXT};
use crate::model::units::show_size;
use crate::net::budget::Turn;
use crate::net::dial::Target;
use crate::net::guard::{Reach, is_inside};
use crate::net::progress::{Progress, Stage};
use crate::net::tls::{Verify, later_alert};

/// hyper allows 100 by default, which some real services exceed.
const HEADERS: usize = 256;
/// What may come along with the last piece of a head.
const READ_AHEAD: usize = 64 * 1024;

/// An answer whose body has not been read yet.
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    /// The address that answered is one that the public network doesn't carry.
    pub(super) inside: bool,
    body: Incoming,
    meter: Arc<Meter>,
    _connection: Background,
    _turn: Turn,
}

/// A task that ends with whoever waits for it.
struct Background(tokio::task::AbortHandle);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    /// Connects, asks, and reads the answer's head.
    pub(super) async fn head(
        &self,
        request: &Request,
        hop: &Hop,
        cookies: Option<String>,
        reach: Reach,
        progress: &mut Progress,
    ) -> Result<Head, Failure> {
        let Some(host) = hop.url.host() else {
            return Err(progress.fail(Reason::Guard, "the URL names no host"));
        };
        let port = hop.url.port_or_known_default().unwrap_or(0);
        let host_text = host.to_string();
        let target = Target { host, port, ip: request.ip, budget: request.budget, reach };
        let connected = self.dialer().connect(&target, progress).await?;
        let inside = is_inside(connected.peer.ip());
        let (turn, stream) = (connected.turn, connected.stream);

        let limit = request.caps.head.saturating_mul(2).saturating_add(READ_AHEAD);
        let meter = Meter::new(limit);
        let (answer, connection) = if hop.url.scheme() == "https" {
            progress.enter(Stage::Tls);
            let alpn: &[&[u8]] = &[b"h2", b"http/1.1"];
            let options = for_hop(request, hop);
            let handshake = self.tls().handshake(stream, &host_text, &options, alpn, Verify::Require).await;
            let (stream, shown) = handshake;
            progress.certificate_expiry = shown.certificates.and_then(|certificates| certificates.expiry);
            let stream = stream.map_err(|(reason, what)| progress.fail(reason, what))?;
            progress.timings.tls = Some(progress.enter(Stage::FirstByte));
            let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            ask(request, hop, cookies, stream, two, &meter, progress).await?
        } else {
            progress.enter(Stage::FirstByte);
            ask(request, hop, cookies, stream, false, &meter, progress).await?
        };
        let asked = progress.since();
        let came = meter.first().filter(|_| answer.version() < Version::HTTP_2);
        progress.timings.first_byte =
            Some(came.map_or_else(|| asked.elapsed(), |came| came.saturating_duration_since(asked)));
        meter.open();
        let (parts, body) = answer.into_parts();
        Ok(Head {
            status: parts.status,
            version: parts.version,
            headers: parts.headers,
            inside,
            body,
            meter,
            _connection: connection,
            _turn: turn,
        })
    }
}

/// The TLS options without what only the first origin may see.
fn for_hop<'r>(request: &'r Request, hop: &Hop) -> Cow<'r, TlsOptions> {
    if hop.at_home || request.tls.identity.is_none() {
        return Cow::Borrowed(&*request.tls);
    }
    Cow::Owned(TlsOptions { identity: None, ..TlsOptions::clone(&request.tls) })
}

/// Sends the request and waits for the answer's head.
async fn ask<S>(
    request: &Request,
    hop: &Hop,
    cookies: Option<String>,
    stream: S,
    two: bool,
    meter: &Arc<Meter>,
    progress: &mut Progress,
) -> Result<(http::Response<Incoming>, Background), Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let message = message(hop, cookies, two)
        .map_err(|what| progress.fail(Reason::Guard, format!("the request can't be sent: {what}")))?;
    let io = TokioIo::new(Metered { inner: stream, meter: Arc::clone(meter) });
    progress.meter = Some(Arc::clone(meter));
    let (answer, task) = if two {
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        builder.max_header_list_size(u32::try_from(request.caps.head).unwrap_or(u32::MAX));
        let handshake = builder.handshake::<_, Full<Bytes>>(io).await;
        let (mut sender, connection) = handshake.map_err(|error| wire(&error, meter, request, progress))?;
        let task = Background(tokio::spawn(connection).abort_handle());
        (sender.send_request(message).await, task)
    } else {
        let mut builder = hyper::client::conn::http1::Builder::new();
        builder.max_headers(HEADERS).max_buf_size(request.caps.head.max(8_192));
        let handshake = builder.handshake::<_, Full<Bytes>>(io).await;
        let (mut sender, connection) = handshake.map_err(|error| wire(&error, meter, request, progress))?;
        let task = Background(tokio::spawn(connection).abort_handle());
        (sender.send_request(message).await, task)
    };
    match answer {
        Ok(answer) => Ok((answer, task)),
        Err(error) => Err(wire(&error, meter, request, progress)),
    }
}

impl Head {
    /// Reads the body, decoded and up to the cap; `true`: there was more.
    pub(super) async fn read(
        mut self,
        request: &Request,
        method: &Method,
        progress: &mut Progress,
    ) -> Result<(Bytes, bool, Option<String>), Failure> {
        progress.enter(Stage::Body);
        let coding = Coding::of(&self.headers);
        let bodiless = *method == Method::HEAD || matches!(self.status.as_u16(), 204 | 304);
        if bodiless {
            return Ok((Bytes::new(), false, None));
        }
        if let Coding::Foreign(coding) = coding {
            return Ok((Bytes::new(), true, Some(coding)));
        }
        let mut unpacker = Unpacker::new(coding, request.caps.body);
        let most = request.caps.body.saturating_add(READ_AHEAD);
        let mut whole = true;
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| wire(&error, &self.meter, request, progress))?;
            let Some(piece) = frame.data_ref() else { continue };
            progress.received = progress.received.saturating_add(piece.len());
            let fed = unpacker.feed(piece).map_err(|what| progress.fail(Reason::Service, what))?;
            // Packing that unfolds to nothing would otherwise never end.
            if fed == Fed::Full || progress.received > most {
                whole = false;
                break;
            }
        }
        let (body, more) = unpacker.finish(whole).map_err(|what| progress.fail(Reason::Service, what))?;
        Ok((Bytes::from(body), more, None))
    }
}

/// The message as it goes over the wire: what every request carries, then what this one was given.
fn message(hop: &Hop, cookies: Option<String>, two: bool) -> Result<http::Request<Full<Bytes>>, String> {
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
            Some(own) => renewed(own, &cookies).into_bytes(),
            None => cookies.into_bytes(),
        };
        let value = HeaderValue::from_bytes(&joined).map_err(|_| "a cookie is unusual".to_owned())?;
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

/// Whose fault a broken exchange is, and what to call it.
fn wire(error: &hyper::Error, meter: &Meter, request: &Request, progress: &mut Progress) -> Failure {
    let in_body = progress.stage() == Stage::Body;
    if !in_body && (meter.is_over() || error.is_parse_too_large()) {
        let what =
            format!("the answer's head is longer than {} or {HEADERS} fields", show_size(request.caps.head as u64));
        return progress.fail(Reason::Ours, what);
    }
    let received = show_size(progress.received as u64);
    let broken = |how: &str| match (in_body, meter.first().is_some()) {
        (true, _) => format!("{how} within the body, after {received}"),
        (false, true) => format!("{how} within the answer's head"),
        (false, false) => format!("{how} before any answer"),
    };
    if let Some(io) = cause(error) {
        if let Some(what) = later_alert(io) {
            return progress.fail(Reason::Service, what);
        }
        let what = match io.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => broken("connection reset"),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionAborted => broken("connection closed"),
            _ => broken(&io.to_string()),
        };
        return progress.fail(Reason::Service, what);
    }
    let what = if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        broken("connection closed")
    } else if error.is_parse() {
        "answered something that is not HTTP".to_owned()
    } else {
        let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        broken(&cause)
    };
    progress.fail(Reason::Service, what)
}

fn cause(error: &hyper::Error) -> Option<&io::Error> {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return Some(io);
        }
        source = inner.source();
    }
    None
}
