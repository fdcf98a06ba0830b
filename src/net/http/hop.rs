//! One request and its answer, phase by phase, over a fresh connection or one that its run kept.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;

use super::body::{Coding, Fed, Unpacker};
use super::connection::{Connection, Facts, HEADERS, PROMPT};
use super::kept::Place;
use super::message::message;
use super::meter::Meter;
use super::redirect::Hop;
use super::{Client, Failure, Reason, Request, TlsOptions};
use crate::model::units::show_size;
use crate::net::budget::Turn;
use crate::net::dial::Target;
use crate::net::guard::{Reach, is_inside};
use crate::net::progress::{Progress, Stage};
use crate::net::tls::{Verify, later_alert};

/// What may come along with the last piece of a head.
const READ_AHEAD: usize = 64 * 1024;

/// What of a redirect's or a challenge's body is read, so that its connection can serve once more.
const PASSED: usize = 64 * 1024;

/// An answer whose body has not been read yet.
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    /// The address that answered is one that the public network doesn't carry.
    pub(super) inside: bool,
    body: Incoming,
    connection: Connection,
    /// Where the connection may serve again, if it may.
    place: Option<Place>,
    _turn: Turn,
}

impl Client {
    /// Connects, or takes a connection that this run kept, asks, and reads the answer's head.
    pub(super) async fn head(
        &self,
        request: &Request,
        hop: &Hop,
        cookies: Option<&str>,
        reach: Reach,
        progress: &mut Progress,
    ) -> Result<Head, Failure> {
        let Some(host) = hop.url.host() else {
            return Err(progress.fail(Reason::Guard, "the URL names no host"));
        };
        let port = hop.url.port_or_known_default().unwrap_or(0);
        let host_text = host.to_string();
        let target = Target { host, port, ip: request.ip, budget: request.budget, reach };
        let dialer = self.dialer();
        dialer.nameable(&target, progress).map_err(|denied| progress.fail(Reason::Guard, denied.to_string()))?;
        let mut turn = dialer.budgets.turn(&host_text, port, request.budget).await;

        let tls = (hop.url.scheme() == "https").then(|| for_hop(request, hop));
        let place = request.kept.as_ref().map(|_| Place::new(request, &host_text, port, tls.as_ref()));
        if let (Some(kept), Some(place)) = (&request.kept, &place) {
            while let Some(mut connection) = kept.take(place, &dialer.guard, reach) {
                if !connection.is_ready().await {
                    continue;
                }
                connection.meter.arm();
                match ask_again(request, hop, cookies, &mut connection, progress).await? {
                    Some(answer) => return Ok(Head::new(answer, connection, Some(place.clone()), turn, progress)),
                    // The other side had closed it meanwhile: once more over a fresh one, which is a request of its own.
                    None => {
                        progress.enter(Stage::Turn);
                        drop(turn);
                        turn = dialer.budgets.turn(&host_text, port, request.budget).await;
                        break;
                    }
                }
            }
        }

        let judged = dialer.addresses(&target, progress).await?;
        let (stream, peer) = dialer.open(&judged, progress).await?;
        let limit = request.caps.head.saturating_mul(2).saturating_add(READ_AHEAD);
        let meter = Meter::new(limit);
        let made = if let Some(options) = &tls {
            progress.enter(Stage::Tls);
            let alpn: &[&[u8]] = &[b"h2", b"http/1.1"];
            let handshake = self.tls().handshake(stream, &host_text, options, alpn, Verify::Require).await;
            let (stream, shown) = handshake;
            progress.certificate_expiry = shown.certificates.and_then(|certificates| certificates.expiry);
            let stream = stream.map_err(|(reason, what)| progress.fail(reason, what))?;
            progress.timings.tls = Some(progress.enter(Stage::FirstByte));
            progress.meter = Some(Arc::clone(&meter));
            let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let facts = Facts { peer, certificate_expiry: progress.certificate_expiry };
            Connection::new(stream, two, request.caps.head, Arc::clone(&meter), facts).await
        } else {
            progress.enter(Stage::FirstByte);
            progress.meter = Some(Arc::clone(&meter));
            let facts = Facts { peer, certificate_expiry: progress.certificate_expiry };
            Connection::new(stream, false, request.caps.head, Arc::clone(&meter), facts).await
        };
        let mut connection = made.map_err(|error| wire(&error, &meter, request, progress))?;
        let message = written(hop, cookies, &connection).map_err(|what| progress.fail(Reason::Guard, what))?;
        match connection.send(message).await {
            Ok(answer) => Ok(Head::new(answer, connection, place, turn, progress)),
            Err(unanswered) => Err(wire(&unanswered.error, &connection.meter, request, progress)),
        }
    }
}

fn written(hop: &Hop, cookies: Option<&str>, connection: &Connection) -> Result<http::Request<Full<Bytes>>, String> {
    message(hop, cookies, connection.is_two()).map_err(|what| format!("the request can't be sent: {what}"))
}

/// Asks over a connection that was kept. `None`: the other side had closed it, which says nothing of this request, and
/// the request can be sent once more, since it was not sent or may be sent twice (RFC 9110 §9.2.2).
async fn ask_again(
    request: &Request,
    hop: &Hop,
    cookies: Option<&str>,
    connection: &mut Connection,
    progress: &mut Progress,
) -> Result<Option<http::Response<Incoming>>, Failure> {
    let before = (progress.timings, progress.certificate_expiry);
    progress.enter(Stage::FirstByte);
    progress.meter = Some(Arc::clone(&connection.meter));
    progress.timings.resolve = Some(Duration::ZERO);
    progress.timings.connect = Some(Duration::ZERO);
    progress.timings.tls = (hop.url.scheme() == "https").then_some(Duration::ZERO);
    progress.certificate_expiry = connection.certificate_expiry();
    let message = written(hop, cookies, connection).map_err(|what| progress.fail(Reason::Guard, what))?;
    match connection.send(message).await {
        // Some servers say so before they close a connection on which they have waited for too long.
        Ok(answer) if answer.status() == StatusCode::REQUEST_TIMEOUT && hop.method.is_idempotent() => {}
        Ok(answer) => return Ok(Some(answer)),
        Err(unanswered) => {
            let twice = hop.method.is_idempotent() && connection.was_left(&unanswered.error);
            if unanswered.sent && !twice {
                return Err(wire(&unanswered.error, &connection.meter, request, progress));
            }
        }
    }
    (progress.timings, progress.certificate_expiry) = before;
    Ok(None)
}

/// The TLS options without what only the first origin may see.
fn for_hop(request: &Request, hop: &Hop) -> Arc<TlsOptions> {
    if hop.at_home || request.tls.identity.is_none() {
        return Arc::clone(&request.tls);
    }
    Arc::new(TlsOptions { identity: None, ..TlsOptions::clone(&request.tls) })
}

impl Head {
    fn new(
        answer: http::Response<Incoming>,
        connection: Connection,
        place: Option<Place>,
        turn: Turn,
        progress: &mut Progress,
    ) -> Self {
        let asked = progress.since();
        let came = connection.meter.first().filter(|_| answer.version() < Version::HTTP_2);
        progress.timings.first_byte =
            Some(came.map_or_else(|| asked.elapsed(), |came| came.saturating_duration_since(asked)));
        connection.meter.open();
        let inside = is_inside(connection.peer().ip());
        let (parts, body) = answer.into_parts();
        let (status, version, headers) = (parts.status, parts.version, parts.headers);
        Head { status, version, headers, inside, body, connection, place, _turn: turn }
    }

    /// Gives the connection back, after the whole body was read.
    fn keep(self, request: &Request) {
        if let (Some(kept), Some(place)) = (&request.kept, self.place) {
            kept.keep(place, self.connection, (self.status, self.version, &self.headers));
        }
    }

    /// Is done with an answer whose head is all that is wanted: one that has no body, or that only led on. Of what else
    /// it says a little is read, and not for long, so that its connection can serve once more.
    pub(super) async fn pass(mut self, request: &Request, progress: &mut Progress) {
        if self.place.is_none() {
            return;
        }
        progress.enter(Stage::Body);
        let mut left = PASSED;
        let rest = async {
            loop {
                match self.body.frame().await {
                    None => return true,
                    Some(Ok(frame)) => match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                        Some(less) => left = less,
                        None => return false,
                    },
                    Some(Err(_)) => return false,
                }
            }
        };
        if tokio::time::timeout(PROMPT, rest).await == Ok(true) {
            self.keep(request);
        }
    }

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
            self.pass(request, progress).await;
            return Ok((Bytes::new(), false, None));
        }
        if let Coding::Foreign(coding) = coding {
            return Ok((Bytes::new(), true, Some(coding)));
        }
        let mut unpacker = Unpacker::new(coding, request.caps.body);
        let most = request.caps.body.saturating_add(READ_AHEAD);
        let mut whole = true;
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| wire(&error, &self.connection.meter, request, progress))?;
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
        if whole && !more {
            self.keep(request);
        }
        Ok((Bytes::from(body), more, None))
    }
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
