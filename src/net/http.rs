//! The one guarded HTTP client of every probe: phases timed, everything capped, every hop checked.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use url::Url;

use super::budget::Budget;
use super::dial::Dialer;
use super::guard::Reach;
use super::progress::Progress;
use super::tls::{ClientIdentity, TlsConfigs};

use crate::model::observation::{Phase, UnknownKind};
use crate::model::secret::Secret;

mod body;
mod connection;
mod digest;
mod hop;
mod kept;
mod message;
pub(super) mod meter;
mod redirect;
mod share;

pub use digest::DigestLogin;
pub use kept::Kept;
use redirect::{Hop, Jar};

/// The header by which our own requests are told from customers' in logs and traffic.
pub const MARKER: &str = "x-houston-probe";
/// What we call ourselves.
pub const USER_AGENT_TEXT: &str = concat!("houston/", env!("CARGO_PKG_VERSION"));

/// Shared by all probes; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Client(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    dialer: Dialer,
    tls: TlsConfigs,
    flights: share::Flights,
}

/// What is asked of a server.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: Method,
    pub url: Url,
    pub headers: Vec<(String, String)>,
    /// Sent to the first origin only, never shown.
    pub secret_headers: Vec<(String, Secret)>,
    pub body: Bytes,
    /// Answers a challenge of HTTP Digest, at the first origin only; the request is then sent a second time.
    pub digest: Option<DigestLogin>,
    /// 0: the redirect itself is the answer.
    pub follow_redirects: u8,
    pub tls: Arc<TlsOptions>,
    pub ip: Option<IpVersion>,
    pub caps: Caps,
    /// The whole exchange, redirects included, ends here.
    pub deadline: tokio::time::Instant,
    /// How sparingly the target is to be asked; waiting for a turn counts against the deadline.
    pub budget: Budget,
    /// Who asks, where one answer may serve several askers: an identical GET or HEAD of somebody else in the last
    /// 10 s is then not asked again. The same asker never gets the same answer twice, so that a second attempt is one.
    pub asker: Option<String>,
    /// The connections of the run that this request belongs to; `None`: a connection of its own, so that the phases of
    /// making it are measured.
    pub kept: Option<Arc<Kept>>,
    /// Whether loopback and private addresses may be reached. Who follows redirects by himself passes on
    /// [`Response::reach`], so that no stranger's redirect leads inside.
    pub reach: Reach,
}

impl Request {
    /// A GET with the defaults: no headers, redirects not followed, a service's budget, an answer of its own.
    pub fn get(url: Url, deadline: tokio::time::Instant) -> Self {
        Request {
            method: Method::GET,
            url,
            headers: Vec::new(),
            secret_headers: Vec::new(),
            body: Bytes::new(),
            digest: None,
            follow_redirects: 0,
            tls: Arc::default(),
            ip: None,
            caps: Caps::default(),
            deadline,
            budget: Budget::default(),
            asker: None,
            kept: None,
            reach: Reach::Anywhere,
        }
    }
}

/// How a server's certificate is checked, and what it is shown where it asks for one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TlsOptions {
    /// PEM file of roots to trust instead of the system's.
    pub ca: Option<std::path::PathBuf>,
    /// Accept any certificate.
    pub insecure: bool,
    pub server_name: Option<String>,
    /// Shown to the first origin only: whoever is redirected to gets no proof of who we are.
    pub identity: Option<Arc<ClientIdentity>>,
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

/// How long each phase of the last hop took; `None` where it didn't come to it, and zero where a connection that was
/// kept had been through it before.
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
    /// A content coding that we didn't ask for and can't undo; the body is then empty and `truncated`.
    pub unread_coding: Option<String>,
    /// Every cookie that was set on the way, redirects included, with the URL that set it; from outside.
    pub set_cookies: Vec<(Url, HeaderValue)>,
    /// Where a redirect in this answer may lead.
    pub reach: Reach,
}

/// Why there was no whole answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    pub reason: Reason,
    pub phase: Phase,
    /// "connection refused", "no byte in 5.0 s"; never holds a query string or a secret.
    pub what: String,
    pub timings: Timings,
    /// Where the redirects had led.
    pub redirects: Vec<Url>,
    /// The earliest expiry in the chain that the server showed, where it came to that.
    pub certificate_expiry: Option<jiff::Timestamp>,
    /// What sort of blindness it is for whoever doesn't probe this system as a service, but asks it.
    pub unknown: UnknownKind,
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
    /// A client over these parts.
    pub fn new(dialer: Dialer) -> Self {
        Client(Arc::new(Inner { dialer, ..Inner::default() }))
    }

    /// What connections are made with, for protocols other than HTTP.
    pub fn dialer(&self) -> &Dialer {
        &self.0.dialer
    }

    pub(super) fn tls(&self) -> &TlsConfigs {
        &self.0.tls
    }

    /// One exchange, all its redirects included, within its deadline and caps.
    ///
    /// # Errors
    /// A [`Failure`] with the phase in which it happened.
    pub async fn send(&self, request: Request) -> Result<Response, Failure> {
        match share::Key::of(&request) {
            Some(key) => self.0.flights.join(key, &request, || self.send_alone(&request)).await,
            None => self.send_alone(&request).await,
        }
    }

    async fn send_alone(&self, request: &Request) -> Result<Response, Failure> {
        let mut progress = Progress::new();
        // On the heap: an exchange is large, and those who ask many at once keep a list of them.
        let exchange = Box::pin(self.exchange(request, &mut progress));
        match tokio::time::timeout_at(request.deadline, exchange).await {
            Ok(result) => result,
            Err(_) => Err(progress.timed_out(request.deadline)),
        }
    }

    async fn exchange(&self, request: &Request, progress: &mut Progress) -> Result<Response, Failure> {
        let mut hop = first_hop(request).map_err(|what| progress.fail(Reason::Guard, what))?;
        let mut reach = request.reach;
        let mut jar = Jar::default();
        let mut set_cookies = Vec::new();
        loop {
            self.dialer()
                .guard
                .check_url(&hop.url, reach)
                .map_err(|denied| progress.fail(Reason::Guard, denied.to_string()))?;
            let head = self.head(request, &hop, jar.header(&hop.url).as_deref(), reach, progress).await?;
            set_cookies.extend(head.headers.get_all(SET_COOKIE).iter().map(|value| (hop.url.clone(), value.clone())));
            jar.note(&hop.url, &head.headers);
            if !head.inside {
                reach = Reach::PublicOnly;
            }
            if head.status == StatusCode::UNAUTHORIZED
                && let Some(login) = &request.digest
                && hop.log_in(login, &head.headers)
            {
                head.pass(request, progress).await;
                continue;
            }
            let following = match request.follow_redirects {
                0 => None,
                _ => redirect::next(&hop, head.status.as_u16(), &head.headers)
                    .map_err(|(reason, what)| progress.fail(reason, what))?,
            };
            if let Some(following) = following {
                if progress.redirects.len() >= usize::from(request.follow_redirects) {
                    let what = format!(
                        "redirects without end: {} followed, the next leads to {}",
                        progress.redirects.len(),
                        redirect::shown(&following.url)
                    );
                    return Err(progress.fail(Reason::Service, what));
                }
                progress.redirects.push(following.url.clone());
                hop = following;
                head.pass(request, progress).await;
                continue;
            }
            let (status, version, headers) = (head.status.as_u16(), head.version, head.headers.clone());
            let (body, truncated, unread_coding) = head.read(request, &hop.method, progress).await?;
            progress.timings.total = progress.total();
            return Ok(Response {
                status,
                version,
                headers,
                body,
                truncated,
                redirects: std::mem::take(&mut progress.redirects),
                url: hop.url,
                timings: progress.timings,
                certificate_expiry: progress.certificate_expiry,
                unread_coding,
                set_cookies,
                reach,
            });
        }
    }
}

/// What is sent first, with every header checked.
fn first_hop(request: &Request) -> Result<Hop, String> {
    let plain = request.headers.iter().map(|(name, value)| (name, value.as_str(), false));
    let secret = request.secret_headers.iter().map(|(name, value)| (name, value.expose(), true));
    let mut headers = Vec::with_capacity(request.headers.len() + request.secret_headers.len());
    for (name, value, secret) in plain.chain(secret) {
        let unfit = |what: &str| format!("header `{}`: its {what} can't be sent", crate::model::encode::terminal(name));
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit("name"))?;
        let mut value = HeaderValue::from_str(value)
            .or_else(|_| HeaderValue::from_bytes(value.as_bytes()))
            .map_err(|_| unfit("value"))?;
        value.set_sensitive(secret);
        headers.push((parsed, value));
    }
    let mut url = request.url.clone();
    url.set_fragment(None);
    let (method, body) = (request.method.clone(), request.body.clone());
    Ok(Hop { method, url, headers, body, at_home: true, logged_in: false })
}

#[cfg(test)]
mod tests;
