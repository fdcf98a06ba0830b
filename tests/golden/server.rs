//! Small scripted servers on loopback: pages that answer by a list of rules, and servers that are ill in some way.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

use super::case::duration;
use super::prometheus::Prometheus;

/// One server. What a case says of a server that the shop has as well comes before what the shop says.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    state: Health,
    routes: Vec<Route>,
    prometheus: Option<Prometheus>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Health {
    #[default]
    Up,
    /// Nobody listens: connections are refused.
    Dead,
    /// It accepts, and never says a word.
    Silent,
    /// It accepts, and hangs up at once.
    HangsUp,
}

/// A rule: the first that fits answers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    /// `GET /path`; a star stands for any part of the path.
    on: String,
    /// Fields of the request's JSON that must be so.
    #[serde(default)]
    when: BTreeMap<String, String>,
    /// Given in turn, and then from the first again.
    replies: Vec<Reply>,
    #[serde(skip)]
    count: AtomicUsize,
}

/// What is answered.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reply {
    status: u16,
    headers: BTreeMap<String, String>,
    /// `$name` is filled in from the request's JSON.
    body: String,
    json: Option<Value>,
    /// How long it takes to begin.
    delay: String,
    /// The body never ends.
    floods: bool,
}

impl Default for Reply {
    fn default() -> Self {
        Reply {
            status: 200,
            headers: BTreeMap::new(),
            body: String::new(),
            json: None,
            delay: "0s".to_owned(),
            floods: false,
        }
    }
}

/// A server at its address, as long as it is held.
pub struct Running {
    pub address: SocketAddr,
    task: Option<JoinHandle<()>>,
    /// A port that is bound and not listened to refuses, and nobody else gets it meanwhile.
    _port: Option<TcpSocket>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Server {
    /// Takes over in what another differs.
    pub fn differ(&mut self, other: Server) {
        if other.state != Health::Up {
            self.state = other.state;
        }
        self.routes.splice(0..0, other.routes);
        match (&mut self.prometheus, other.prometheus) {
            (Some(own), Some(other)) => own.differ(other),
            (own @ None, other) => *own = other,
            (Some(_), None) => {}
        }
    }

    pub async fn start(self, now: Timestamp) -> Running {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        if self.state == Health::Dead {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(free).unwrap();
            return Running { address: socket.local_addr().unwrap(), task: None, _port: Some(socket) };
        }
        let listener = TcpListener::bind(free).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = match self.state {
            Health::Silent | Health::HangsUp => tokio::spawn(ill(listener, self.state == Health::Silent)),
            _ => {
                let app = axum::Router::new().fallback(answer).with_state(Arc::new((self, now)));
                tokio::spawn(async move {
                    let _ = axum::serve(listener, app).await;
                })
            }
        };
        Running { address, task: Some(task), _port: None }
    }
}

async fn ill(listener: TcpListener, keeps: bool) {
    let mut kept = Vec::new();
    while let Ok((stream, _)) = listener.accept().await {
        if keeps {
            kept.push(stream);
        }
    }
}

async fn answer(State(state): State<Arc<(Server, Timestamp)>>, method: Method, uri: Uri, body: Bytes) -> Response {
    let (server, now) = &*state;
    let sent: BTreeMap<String, Value> = serde_json::from_slice(&body).unwrap_or_default();
    let fits = |route: &&Route| {
        let (verb, path) = route.on.split_once(' ').expect("a method and a path");
        let said = |(name, value): (&String, &String)| sent.get(name).and_then(Value::as_str) == Some(value);
        verb == method.as_str() && is_path(path, uri.path()) && route.when.iter().all(said)
    };
    if let Some(route) = server.routes.iter().find(fits) {
        let turn = route.count.fetch_add(1, Ordering::Relaxed) % route.replies.len();
        return route.replies[turn].give(&sent).await;
    }
    if let Some(prometheus) = &server.prometheus
        && let Some(reply) = prometheus.answer(&method, &uri, &body, *now)
    {
        return reply.give(&sent).await;
    }
    Reply { status: 404, body: "no such page".to_owned(), ..Reply::default() }.give(&sent).await
}

/// True where the path is of this form, part by part.
fn is_path(form: &str, path: &str) -> bool {
    let (forms, parts): (Vec<&str>, Vec<&str>) = (form.split('/').collect(), path.split('/').collect());
    forms.len() == parts.len() && forms.iter().zip(&parts).all(|(form, part)| *form == "*" || form == part)
}

impl Reply {
    /// A page of JSON.
    pub fn json(status: u16, json: Value) -> Self {
        Reply { status, json: Some(json), ..Reply::default() }
    }

    pub async fn give(&self, sent: &BTreeMap<String, Value>) -> Response {
        let delay = std::time::Duration::try_from(duration(&self.delay)).unwrap();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let mut response = Response::builder().status(StatusCode::from_u16(self.status).unwrap());
        for (name, value) in &self.headers {
            response = response.header(name, value);
        }
        let mut body = self.body.clone();
        if let Some(json) = &self.json {
            response = response.header("content-type", "application/json");
            body = json.to_string();
        }
        for (name, value) in sent {
            body = body.replace(&format!("${name}"), value.as_str().unwrap_or_default());
        }
        let body = if self.floods {
            let chunk = Bytes::from(vec![b'x'; 64 * 1024]);
            Body::from_stream(futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone())))
        } else {
            Body::from(body)
        };
        response.body(body).unwrap()
    }
}
