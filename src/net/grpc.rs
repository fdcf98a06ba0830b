//! One health question over gRPC: `grpc.health.v1.Health/Check`.
//!
//! gRPC is HTTP/2 with a few headers and a five-byte prefix
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>). The two messages have one field each
//! (<https://github.com/grpc/grpc-proto/blob/master/grpc/health/v1/health.proto>), so they are written and read here.

use std::error::Error as _;
use std::io;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use url::Host;

use super::budget::Budget;
use super::dial::Target;
use super::guard::Reach;
use super::http::{Client, Failure, IpVersion, MARKER, Reason, Timings, TlsOptions, USER_AGENT_TEXT};
use super::progress::{Progress, Stage};
use super::tcp::Wire;
use super::tls::{Verify, borrowed};
use crate::model::encode;
use crate::model::observation::UnknownKind;
use crate::model::secret::Secret;
use crate::model::units::show_size;

/// The longest answer that is read, in bytes; a right one has two.
const ANSWER: usize = 64 * 1024;
/// The longest list of headers or trailers, in bytes.
const HEADERS: u32 = 16 * 1024;
/// The longest `grpc-message` that is kept, in characters.
const MESSAGE: usize = 200;

/// What is asked, and of whom.
#[derive(Debug, Clone)]
pub struct Check {
    pub host: Host<String>,
    pub port: u16,
    pub ip: Option<IpVersion>,
    /// `None`: HTTP/2 in the clear.
    pub tls: Option<TlsOptions>,
    /// The service's name; empty: the server as a whole.
    pub service: String,
    pub metadata: Vec<(String, String)>,
    /// Never shown.
    pub secret_metadata: Vec<(String, Secret)>,
    /// Sent as `grpc-timeout`, and kept.
    pub deadline: Instant,
}

/// What the server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The status of the call, as gRPC numbers them.
    pub code: u32,
    /// What it says of itself; from outside.
    pub message: String,
    /// The health, where the call went well: the number of the enumeration `ServingStatus`.
    pub health: Option<u64>,
    pub timings: Timings,
}

/// The name of a status of a call (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
pub fn code_name(code: u32) -> String {
    const NAMES: &[&str] = &[
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let name = usize::try_from(code).ok().and_then(|code| NAMES.get(code));
    name.map_or_else(|| code.to_string(), |name| (*name).to_owned())
}

/// The name of a health.
pub fn health_name(health: u64) -> String {
    match health {
        0 => "UNKNOWN".to_owned(),
        1 => "SERVING".to_owned(),
        2 => "NOT_SERVING".to_owned(),
        3 => "SERVICE_UNKNOWN".to_owned(),
        other => other.to_string(),
    }
}

impl Check {
    /// Asks once, within the deadline.
    ///
    /// # Errors
    /// A [`Failure`] where there was no answer of a gRPC server.
    pub async fn ask(&self, client: &Client) -> Result<Checked, Failure> {
        let mut progress = Progress::new();
        match tokio::time::timeout_at(self.deadline, self.exchange(client, &mut progress)).await {
            Ok(result) => result,
            Err(_) => Err(progress.timed_out(self.deadline)),
        }
    }

    async fn exchange(&self, client: &Client, progress: &mut Progress) -> Result<Checked, Failure> {
        let target = Target {
            host: borrowed(&self.host),
            port: self.port,
            ip: self.ip,
            budget: Budget::Service,
            reach: Reach::Anywhere,
        };
        let connected = client.dialer().connect(&target, progress).await?;
        let _turn = connected.turn;
        let wire: Box<dyn Wire> = match &self.tls {
            None => Box::new(connected.stream),
            Some(options) => {
                progress.enter(Stage::Tls);
                let host = self.host.to_string();
                let alpn: &[&[u8]] = &[b"h2"];
                let handshake = client.tls().handshake(connected.stream, &host, options, alpn, Verify::Require);
                let (stream, shown) = handshake.await;
                progress.certificate_expiry = shown.certificates.and_then(|certificates| certificates.expiry);
                let stream = stream.map_err(|(reason, what)| progress.fail(reason, what))?;
                if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                    return Err(progress.fail(Reason::Service, "offers no HTTP/2 over TLS, which gRPC needs"));
                }
                progress.timings.tls = Some(progress.since().elapsed());
                Box::new(stream)
            }
        };
        progress.enter(Stage::FirstByte);
        let request = self.request().map_err(|what| progress.fail(Reason::Guard, what))?;
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        builder.max_header_list_size(HEADERS);
        let handshake = builder.handshake::<_, Full<Bytes>>(TokioIo::new(wire)).await;
        let (mut sender, connection) = handshake.map_err(|error| broken(&error, progress))?;
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let answer = sender.send_request(request).await.map_err(|error| broken(&error, progress))?;
        progress.timings.first_byte = Some(progress.enter(Stage::Body));
        read(answer, progress).await
    }

    fn request(&self) -> Result<http::Request<Full<Bytes>>, String> {
        let unfit = |what: &str| format!("{what} can't be sent");
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let uri = format!("{scheme}://{}:{}/grpc.health.v1.Health/Check", self.host, self.port);
        let mut request = http::Request::builder().method(Method::POST).uri(uri);
        let headers = request.headers_mut().ok_or_else(|| unfit("the address"))?;
        let plain = self.metadata.iter().map(|(name, value)| (name, value.as_str(), false));
        let secret = self.secret_metadata.iter().map(|(name, value)| (name, value.expose(), true));
        for (name, value, secret) in plain.chain(secret) {
            let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit("a name in the metadata"))?;
            let mut value = HeaderValue::from_str(value).map_err(|_| unfit("a value in the metadata"))?;
            value.set_sensitive(secret);
            headers.append(parsed, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_TEXT));
        headers.insert(HeaderName::from_static(MARKER), HeaderValue::from_static("1"));
        let left = self.deadline.saturating_duration_since(Instant::now());
        // At most eight digits; a minute has five.
        let timeout = format!("{}m", left.as_millis().clamp(1, 99_999_999));
        headers.insert("grpc-timeout", HeaderValue::from_str(&timeout).map_err(|_| unfit("the timeout"))?);
        request.body(Full::new(question(&self.service))).map_err(|_| unfit("the question"))
    }
}

/// A `HealthCheckRequest { string service = 1 }` behind its prefix: not compressed, its length.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(&message);
    framed.freeze()
}

async fn read(answer: http::Response<Incoming>, progress: &mut Progress) -> Result<Checked, Failure> {
    let (head, mut body) = answer.into_parts();
    let content_type = head.headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    if !content_type.as_ref().is_some_and(|content_type| content_type.starts_with("application/grpc")) {
        let status = head.status.as_u16();
        return Err(progress.fail(Reason::Service, format!("answered something that is not gRPC (HTTP {status})")));
    }
    let mut data = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&error, progress))?;
        match frame.into_data() {
            Ok(piece) => {
                progress.received += piece.len();
                if progress.received > ANSWER {
                    let what = format!("the answer is longer than {}", show_size(ANSWER as u64));
                    let mut failure = progress.fail(Reason::Ours, what);
                    failure.unknown = UnknownKind::Incomplete;
                    return Err(failure);
                }
                data.extend_from_slice(&piece);
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    // An answer without a message has its status among the headers.
    let Some((code, message)) = trailers.as_ref().and_then(status).or_else(|| status(&head.headers)) else {
        return Err(progress.fail(Reason::Service, "the answer ended without a status (`grpc-status`)"));
    };
    let health = match code {
        0 => Some(health(&data).map_err(|what| progress.fail(Reason::Service, what))?),
        _ => None,
    };
    progress.timings.total = progress.total();
    Ok(Checked { code, message, health, timings: progress.timings })
}

/// `grpc-status` and `grpc-message`, its percent encoding undone.
fn status(headers: &HeaderMap) -> Option<(u32, String)> {
    let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let message = headers.get("grpc-message").map(HeaderValue::as_bytes).unwrap_or_default();
    let message = percent_encoding::percent_decode(message).decode_utf8_lossy();
    Some((code, message.chars().take(MESSAGE).collect()))
}

/// The one message of an answer: `HealthCheckResponse { ServingStatus status = 1 }`.
fn health(data: &[u8]) -> Result<u64, &'static str> {
    let [compressed, a, b, c, d, message @ ..] = data else {
        return Err("the answer holds no whole message");
    };
    if *compressed != 0 {
        return Err("the answer is compressed, which was not asked for");
    }
    if u32::from_be_bytes([*a, *b, *c, *d]) as usize != message.len() {
        return Err("the answer holds no whole message");
    }
    let broken = "the answer is no HealthCheckResponse";
    let mut rest = message;
    let mut status = 0;
    while !rest.is_empty() {
        let tag = varint(&mut rest).ok_or(broken)?;
        match (tag >> 3, tag & 7) {
            (1, 0) => status = varint(&mut rest).ok_or(broken)?,
            (1, _) => return Err(broken),
            // Fields that came later than we did are passed over.
            (_, 0) => {
                varint(&mut rest).ok_or(broken)?;
            }
            (_, kind) => {
                let length = match kind {
                    1 => 8,
                    2 => varint(&mut rest).ok_or(broken)?,
                    5 => 4,
                    _ => return Err(broken),
                };
                let length = usize::try_from(length).map_err(|_| broken)?;
                rest = rest.get(length..).ok_or(broken)?;
            }
        }
    }
    Ok(status)
}

/// A number in groups of seven bits, the lowest first
/// (<https://protobuf.dev/programming-guides/encoding/#varints>).
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for place in 0..10 {
        let (first, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(first & 0x7f).checked_shl(place * 7)?;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Whose fault a broken exchange is, and what to call it.
fn broken(error: &hyper::Error, progress: &mut Progress) -> Failure {
    let place = if progress.stage() == Stage::Body { "within the answer" } else { "before any answer" };
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(error) = inner.downcast_ref::<io::Error>() {
            let what = match error.kind() {
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => format!("connection reset {place}"),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionAborted => {
                    format!("connection closed {place}")
                }
                _ => format!("connection broken {place}: {error}"),
            };
            return progress.fail(Reason::Service, what);
        }
        source = inner.source();
    }
    let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    let cause: String = encode::terminal(&cause).chars().take(160).collect();
    progress.fail(Reason::Service, format!("no HTTP/2 as gRPC needs it {place}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_written_as_protobuf_has_it() {
        assert_eq!(&question("")[..], b"\0\0\0\0\0");
        assert_eq!(&question("shop.Cart")[..], b"\0\0\0\0\x0b\x0a\x09shop.Cart");
        let long = question(&"x".repeat(300));
        assert_eq!(&long[..8], b"\0\0\0\x01\x2f\x0a\xac\x02");
    }

    #[test]
    fn answers_are_read_and_broken_ones_refused() {
        for (data, expected) in [
            (&b"\0\0\0\0\x02\x08\x01"[..], Ok(1)),
            (b"\0\0\0\0\x02\x08\x02", Ok(2)),
            (b"\0\0\0\0\0", Ok(0)),
            (b"\0\0\0\0\x03\x08\xac\x02", Ok(300)),
            // A string, a fixed64 and a fixed32 that we don't know.
            (b"\0\0\0\0\x15\x12\x02hi\x19aaaaaaaa\x25aaaa\x08\x01\x20", Err("the answer is no HealthCheckResponse")),
            (b"\0\0\0\0\x14\x12\x02hi\x19aaaaaaaa\x25aaaa\x08\x01", Ok(1)),
            (b"\0\0\0\0\x01\x08", Err("the answer is no HealthCheckResponse")),
            (b"\0\0\0\0\x03\x0a\x01x", Err("the answer is no HealthCheckResponse")),
            (b"\0\0\0\0\x0c\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x", Err("the answer is no HealthCheckResponse")),
            (b"\0\xff\xff\xff\xff\x08\x01", Err("the answer holds no whole message")),
            (b"\0\0\0", Err("the answer holds no whole message")),
            (b"", Err("the answer holds no whole message")),
            (b"\x01\0\0\0\x02\x08\x01", Err("the answer is compressed, which was not asked for")),
        ] {
            assert_eq!(health(data), expected, "{data:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_answer_is_read_without_a_panic(data: Vec<u8>) {
            let _ = health(&data);
            let framed = [&[0][..], &u32::try_from(data.len()).unwrap().to_be_bytes(), &data].concat();
            let _ = health(&framed);
        }
    }
}
