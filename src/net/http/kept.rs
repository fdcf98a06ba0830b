//! Connections that the requests of one run share, one after the other.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{CONNECTION, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use tokio::time::Instant;

use super::connection::Connection;
use super::{IpVersion, Request, TlsOptions};
use crate::net::guard::{Guard, Reach};

/// The most connections that are kept, and for how long without a request.
const MOST: usize = 6;
const IDLE: Duration = Duration::from_secs(5);

/// The connections of one run: whoever has it passes it on with each request. They end with it.
///
/// A connection is kept only where its answer was read to its end. It serves the same host and port, under the same
/// TLS options, and only where the guard lets its address be reached at that time.
#[derive(Default)]
pub struct Kept(Mutex<Vec<Idle>>);

struct Idle {
    place: Place,
    connection: Connection,
    until: Instant,
}

/// What two requests must have in common so that one connection may serve both. The HTTP version belongs to the
/// connection: every request offers the same ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    host: String,
    port: u16,
    ip: Option<IpVersion>,
    /// `None` for `http:`; with the client's own certificate, where it is shown.
    tls: Option<Arc<TlsOptions>>,
    /// How long an answer's head may be, which a connection is made with.
    head: usize,
}

impl Place {
    pub(super) fn new(request: &Request, host: &str, port: u16, tls: Option<&Arc<TlsOptions>>) -> Self {
        Place { host: host.to_owned(), port, ip: request.ip, tls: tls.cloned(), head: request.caps.head }
    }
}

impl Kept {
    /// Ends all of them, so that the next request makes a connection of its own.
    pub fn clear(&self) {
        self.idle().clear();
    }

    /// A connection to this place, to an address that may be reached.
    pub(super) fn take(&self, place: &Place, guard: &Guard, reach: Reach) -> Option<Connection> {
        let now = Instant::now();
        let mut idle = self.idle();
        idle.retain(|kept| kept.until > now);
        let fits = |kept: &Idle| kept.place == *place && guard.check_address(kept.connection.peer(), reach).is_ok();
        let at = idle.iter().rposition(fits)?;
        Some(idle.remove(at).connection)
    }

    /// Keeps a connection whose answer, with this head, was read to its end.
    pub(super) fn keep(&self, place: Place, connection: Connection, head: (StatusCode, Version, &HeaderMap)) {
        let Some(idle_for) = lasts(head) else { return };
        let now = Instant::now();
        connection.rest();
        let mut idle = self.idle();
        idle.retain(|kept| kept.until > now);
        if idle.len() >= MOST {
            idle.remove(0);
        }
        idle.push(Idle { place, connection, until: now + idle_for });
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kept({})", self.idle().len())
    }
}

/// For how long a connection may wait for its next request; `None` where it ends with this answer (RFC 9112 §9.3).
fn lasts((status, version, headers): (StatusCode, Version, &HeaderMap)) -> Option<Duration> {
    if version == Version::HTTP_2 {
        return Some(IDLE);
    }
    if version != Version::HTTP_11 || status.is_informational() {
        return None;
    }
    if parts(headers, &CONNECTION).any(|part| part.eq_ignore_ascii_case("close")) {
        return None;
    }
    // A server that says when it closes is not asked near that time: what is sent just then can't be sent again.
    let said = parts(headers, &HeaderName::from_static("keep-alive")).find_map(|part| {
        let (name, seconds) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| seconds.trim().parse::<u32>().ok())?
    });
    Some(said.map_or(IDLE, |seconds| IDLE.min(Duration::from_secs(seconds.into()) / 2)))
}

/// The parts of a list in a header, whichever way it is spread over fields.
fn parts<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let text = |value: &'h HeaderValue| value.to_str().unwrap_or_default();
    headers.get_all(name).into_iter().flat_map(move |value| text(value).split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_connection_lasts_is_what_its_answer_says() {
        let half = Duration::from_millis(500);
        for (version, fields, expected) in [
            (Version::HTTP_11, &[][..], Some(IDLE)),
            (Version::HTTP_11, &[("connection", "keep-alive")], Some(IDLE)),
            (Version::HTTP_11, &[("connection", "Close")], None),
            (Version::HTTP_11, &[("connection", "keep-alive, x"), ("connection", "y ,close")], None),
            (Version::HTTP_11, &[("connection", "closed")], Some(IDLE)),
            (Version::HTTP_11, &[("keep-alive", "max=100, Timeout = 1")], Some(half)),
            (Version::HTTP_11, &[("keep-alive", "timeout=0")], Some(Duration::ZERO)),
            (Version::HTTP_11, &[("keep-alive", "timeout=3600")], Some(IDLE)),
            (Version::HTTP_11, &[("keep-alive", "timeout=soon")], Some(IDLE)),
            (Version::HTTP_10, &[("connection", "keep-alive")], None),
            (Version::HTTP_2, &[], Some(IDLE)),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(lasts((StatusCode::OK, version, &headers)), expected, "{version:?} {fields:?}");
        }
        let upgraded = (StatusCode::SWITCHING_PROTOCOLS, Version::HTTP_11, &HeaderMap::new());
        assert_eq!(lasts(upgraded), None);
    }
}
