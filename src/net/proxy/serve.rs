//! One connection to the proxy: tunnels, and requests that are passed on.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::Host;

use super::counted::{Activity, Counted};
use super::{Admit, Shared, owner};
use crate::net::http::{Failure, Reason};
use crate::net::progress::{Progress, Stage};

/// hyper allows 100 by default, which some real services exceed.
const HEADERS: usize = 256;
/// Says what became of a request that we didn't pass on (RFC 9209), so that our answers can be told from a server's.
const STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// What only concerns the two ends of one connection (RFC 9110 §7.6.1).
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "proxy-connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

type Answer = Response<Either<Full<Bytes>, Relayed>>;
/// A tunnel that was agreed on, until the connection is handed over.
type Agreed = Arc<Mutex<Option<(hyper::upgrade::OnUpgrade, TcpStream)>>>;

/// Serves a connection until one of the sides ends it, or nothing moves any more.
pub(super) async fn connection(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    if shared.settings.admit == Admit::SameUser && !owner::is_same_user(peer, shared.address).await {
        return;
    }
    let _ = stream.set_nodelay(true);
    let activity = Activity::new();
    let stream = Counted { inner: stream, activity: activity.clone(), shared: Arc::clone(&shared) };
    let bounds = shared.settings.bounds;
    let serving = async {
        let agreed: Agreed = Agreed::default();
        let service = service_fn(|request| {
            let (shared, agreed) = (Arc::clone(&shared), Arc::clone(&agreed));
            async move { Ok::<_, Infallible>(answer(&shared, &agreed, request).await) }
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.max_buf_size(bounds.head.max(8_192)).max_headers(HEADERS);
        builder.auto_date_header(false).preserve_header_case(true);
        if builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await.is_err() {
            return;
        }
        let tunnel = agreed.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((upgrade, mut upstream)) = tunnel else { return };
        if let Ok(upgraded) = upgrade.await {
            // However it ends, both sides see it by their own connection.
            let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(upgraded), &mut upstream).await;
        }
    };
    tokio::select! {
        () = serving => {}
        () = activity.cease(bounds.idle) => {}
    }
}

async fn answer(shared: &Shared, agreed: &Agreed, mut request: Request<Incoming>) -> Answer {
    let authorization = request.headers().get(PROXY_AUTHORIZATION).map(HeaderValue::as_bytes);
    if !shared.is_admitted(authorization) {
        let mut answer =
            plain(StatusCode::PROXY_AUTHENTICATION_REQUIRED, "http_request_denied", "this proxy is not for you".into());
        answer.headers_mut().insert(PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"houston\""));
        return answer;
    }
    let Some((host, port)) = target(&request) else {
        return plain(StatusCode::BAD_REQUEST, "http_request_error", "only CONNECT and http:// URLs".into());
    };
    let upstream = match shared.connect(&host, port).await {
        Ok(upstream) => upstream,
        Err(failure) => return unmade(&failure),
    };
    if request.method() == Method::CONNECT {
        let upgrade = hyper::upgrade::on(&mut request);
        *agreed.lock().unwrap_or_else(PoisonError::into_inner) = Some((upgrade, upstream));
        return Response::new(Either::Left(Full::default()));
    }
    match pass_on(request, upstream).await {
        Ok(response) => response,
        Err(error) => {
            let mut progress = Progress::new();
            progress.enter(Stage::FirstByte);
            let what = match error.is_parse() {
                true => "answered something that is not HTTP".to_owned(),
                false => "connection closed before any answer".to_owned(),
            };
            let failure = progress.fail(Reason::Service, what);
            shared.note(format!("{host}:{port}"), &failure);
            unmade(&failure)
        }
    }
}

/// Where a request is to go. Odd spellings of an address come out as the address.
fn target(request: &Request<Incoming>) -> Option<(Host<String>, u16)> {
    let authority = request.uri().authority()?;
    let host = Host::parse(authority.host()).ok()?;
    match (request.method(), request.uri().scheme_str()) {
        (&Method::CONNECT, _) => Some((host, authority.port_u16()?)),
        (_, Some("http")) => Some((host, authority.port_u16().unwrap_or(80))),
        _ => None,
    }
}

/// Asks the server what the program asked, over a connection of its own.
async fn pass_on(mut request: Request<Incoming>, upstream: TcpStream) -> Result<Answer, hyper::Error> {
    let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    // A path that came in as a URI's is one.
    *request.uri_mut() = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
    single_hop(request.headers_mut());
    // A Host header that the program set by itself stays, against RFC 9112 §3.2.2: without us it would have been sent.
    if !request.headers().contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(authority.rsplit('@').next().unwrap_or_default())
    {
        request.headers_mut().insert(HOST, host);
    }
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_headers(HEADERS).preserve_header_case(true);
    let (mut sender, connection) = builder.handshake::<_, Incoming>(TokioIo::new(upstream)).await?;
    let mut running = JoinedTask::new(connection);
    let mut response = sender.send_request(request).await?;
    single_hop(response.headers_mut());
    running.sender = Some(sender);
    Ok(response.map(|body| Either::Right(Relayed { body, _running: running })))
}

/// Takes out what concerns one connection only, and what its `Connection` header names.
fn single_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(*name);
    }
}

fn unmade(failure: &Failure) -> Answer {
    match failure.reason {
        Reason::Guard => plain(StatusCode::FORBIDDEN, "destination_ip_prohibited", failure.what.clone()),
        _ => plain(StatusCode::BAD_GATEWAY, "destination_unavailable", failure.what.clone()),
    }
}

fn plain(status: StatusCode, error: &'static str, what: String) -> Answer {
    let mut answer = Response::new(Either::Left(Full::from(format!("houston: {what}\n"))));
    *answer.status_mut() = status;
    if let Ok(value) = HeaderValue::from_str(&format!("houston; error={error}")) {
        answer.headers_mut().insert(STATUS, value);
    }
    answer
}

/// The task that drives a connection to a server; it ends with whoever reads the answer.
struct JoinedTask {
    task: tokio::task::AbortHandle,
    /// Held, since the connection ends when nobody can ask any more.
    sender: Option<hyper::client::conn::http1::SendRequest<Incoming>>,
}

impl JoinedTask {
    fn new(connection: impl Future<Output = hyper::Result<()>> + Send + 'static) -> Self {
        JoinedTask { task: tokio::spawn(connection).abort_handle(), sender: None }
    }
}

impl Drop for JoinedTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A server's body on its way to the program.
struct Relayed {
    body: Incoming,
    _running: JoinedTask,
}

impl Body for Relayed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
