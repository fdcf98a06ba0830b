//! The one guarded HTTP client of every probe: phases timed, everything capped, every hop checked.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use url::Url;

use crate::model::observation::Phase;
use crate::model::secret::Secret;

/// Shared by all probes; cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {}

/// What is asked of a server.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: Method,
    pub url: Url,
    pub headers: Vec<(String, String)>,
    /// Sent to the first origin only, never shown.
    pub secret_headers: Vec<(String, Secret)>,
    pub body: Bytes,
    /// 0: the redirect itself is the answer.
    pub follow_redirects: u8,
    pub tls: Arc<TlsOptions>,
    pub ip: Option<IpVersion>,
    pub caps: Caps,
    /// The whole exchange, redirects included, ends here.
    pub deadline: tokio::time::Instant,
}

/// How a server's certificate is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TlsOptions {
    /// PEM file of roots to trust instead of the system's.
    pub ca: Option<std::path::PathBuf>,
    /// Accept any certificate.
    pub insecure: bool,
    pub server_name: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IpVersion {
    V4,
    V6,
}

/// Bounds of one exchange, each counted by the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Decoded bytes of the body that are read; more is [`Response::truncated`].
    pub body: usize,
    pub head: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Caps { body: 1024 * 1024, head: 64 * 1024 }
    }
}

/// How long each phase of the last hop took; `None` where it didn't come to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    pub resolve: Option<Duration>,
    pub connect: Option<Duration>,
    pub tls: Option<Duration>,
    /// From the request's start to the answer's first byte.
    pub first_byte: Option<Duration>,
    /// The whole exchange, all hops.
    pub total: Duration,
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub version: http::Version,
    pub headers: HeaderMap,
    /// Decoded.
    pub body: Bytes,
    /// True where the body went on beyond the cap.
    pub truncated: bool,
    /// Where the redirects led, in order.
    pub redirects: Vec<Url>,
    pub url: Url,
    pub timings: Timings,
    /// The earliest expiry in the chain that the server showed.
    pub certificate_expiry: Option<jiff::Timestamp>,
}

/// Why there was no whole answer.
#[derive(Debug, Clone)]
pub struct Failure {
    pub reason: Reason,
    pub phase: Phase,
    /// "connection refused", "no byte in 5.0 s"; never holds a query string or a secret.
    pub what: String,
    pub timings: Timings,
    /// Where the redirects had led.
    pub redirects: Vec<Url>,
}

/// What sort of failure it was; who asked decides whether that is bad or unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The other side refused, reset, failed TLS, answered no HTTP, redirected without end, or its name doesn't resolve.
    Service,
    /// No answer within the deadline; the other side's as well, unless our own part was slow.
    Timeout,
    /// A guard of ours forbade it: nothing was sent there.
    Guard,
    /// Our own side: the resolver doesn't answer, no file descriptors, no budget left.
    Ours,
}

impl Client {
    /// One exchange, all its redirects included, within its deadline and caps.
    ///
    /// # Errors
    /// A [`Failure`] with the phase in which it happened.
    pub async fn send(&self, request: Request) -> Result<Response, Failure> {
        let _ = request;
        std::future::pending().await
    }
}
