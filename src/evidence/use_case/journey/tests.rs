//! Journeys against a real server on the loopback: what they see, what they send, what they never send.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::time::Instant;

mod answers;
mod connections;
mod found;
mod time;
mod wire;

use super::*;
use crate::evidence::{Setup, Tools};
use crate::model::memory::Memory;
use crate::model::observation::{Broken, Observation, Phase, Seen, UnknownKind};
use crate::model::params::Params;
use crate::model::secret::Environment;
use crate::model::value::Value;
use crate::model::window::{Moment, Window};
use crate::net::budget::{Limit, Limits};

/// A request as it arrived.
#[derive(Debug, Clone)]
struct Asked {
    /// `POST /api/cart?x=1`
    line: String,
    headers: axum::http::HeaderMap,
    body: String,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

enum Answer {
    Say(u16, Vec<(&'static str, String)>, String),
    Hang,
}

fn say(status: u16, body: impl Into<String>) -> Answer {
    Answer::Say(status, Vec::new(), body.into())
}

fn json(body: impl Into<String>) -> Answer {
    Answer::Say(200, vec![("content-type", "application/json".to_owned())], body.into())
}

fn redirect(status: u16, to: impl Into<String>) -> Answer {
    Answer::Say(status, vec![("location", to.into())], String::new())
}

/// A server that answers what the test says, and remembers what it was asked.
struct Server {
    /// `http://127.0.0.1:12345`
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// Requests that were given up while they hung.
    given_up: Arc<Mutex<usize>>,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct GivenUp(Arc<Mutex<usize>>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        *self.0.lock().unwrap() += 1;
    }
}

impl Server {
    async fn start(answer: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let given_up: Arc<Mutex<usize>> = Arc::default();
        let (seen, dropped) = (Arc::clone(&asked), Arc::clone(&given_up));
        let answer = Arc::new(answer);
        let app = axum::Router::new().fallback(move |request: Request| {
            let (seen, dropped, answer) = (Arc::clone(&seen), Arc::clone(&dropped), Arc::clone(&answer));
            async move {
                let (parts, body) = request.into_parts();
                let body: Bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                let asked = Asked {
                    line: format!("{} {}", parts.method, parts.uri),
                    headers: parts.headers,
                    body: String::from_utf8_lossy(&body).into_owned(),
                };
                let number = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(asked.clone());
                    seen.iter().filter(|before| before.line == asked.line).count()
                };
                match answer(&asked, number) {
                    Answer::Hang => {
                        let _guard = GivenUp(dropped);
                        std::future::pending::<Response>().await
                    }
                    Answer::Say(status, headers, body) => {
                        let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
                        for (name, value) in headers {
                            response = response.header(name, value);
                        }
                        response.body(Body::from(body)).unwrap()
                    }
                }
            }
        });
        let connections: Arc<AtomicUsize> = Arc::default();
        let counter = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let counted = listener.tap_io(move |_| {
                counter.fetch_add(1, Ordering::SeqCst);
            });
            let _ = axum::serve(counted, app).await;
        });
        Server { url, asked, given_up, connections, task }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }
}

/// The journey of this YAML, with `BASE` for the server's URL.
fn journey(yaml: &str, server: &Server) -> Arc<dyn Probe> {
    let text = yaml.replace("BASE", &server.url);
    let node = crate::yaml::parse("shop.yaml", &text).unwrap();
    (KIND.read)(&node).unwrap_or_else(|error| panic!("{error:?}\n{text}"))
}

fn tools() -> Arc<Tools> {
    tools_with(&[("SHOP_TOKEN", "t0ken-of-the-shop"), ("SHOP_PASSWORD", "correct horse")])
}

fn ask(params: &[(&str, &str)], time: Duration) -> Ask {
    let mut bound = Params::default();
    for (name, value) in params {
        bound.set(name, *value, true);
    }
    let now = "2026-11-22T10:00:00Z".parse().unwrap();
    Ask {
        now,
        window: Window::new(now, now),
        moment: Moment::Now,
        since: now,
        params: bound,
        customer: None,
        attempt: 1,
        usual: Vec::new(),
        deadline: Instant::now() + time,
        memory: Arc::new(Memory::default()),
        check: "buy-a-book".into(),
        tools: tools(),
    }
}

fn tools_with(variables: &[(&str, &str)]) -> Arc<Tools> {
    let environment = Environment::new(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    // Tests ask their own server as often as they like.
    let free = Limit { at_once: 8, per_second: None };
    let limits = Limits { service: free, ..Limits::default() };
    Arc::new(Tools::new(Setup { environment, limits, ..Setup::default() }))
}

async fn take(yaml: &str, server: &Server, params: &[(&str, &str)]) -> Observation {
    journey(yaml, server).observe(&ask(params, Duration::from_secs(10))).await
}

fn blind(observation: &Observation) -> (UnknownKind, &str) {
    match &observation.seen {
        Seen::Blind(unknown) => (unknown.kind, &unknown.why),
        other => panic!("not blind: {other:?} {:?}", observation.broken),
    }
}

fn one_broken(observation: &Observation) -> &Broken {
    assert!(matches!(observation.seen, Seen::Answered), "{:?}", observation.seen);
    assert_eq!(observation.broken.len(), 1, "{:?}", observation.broken);
    &observation.broken[0]
}

fn is_good(observation: &Observation) -> bool {
    matches!(observation.seen, Seen::Answered) && observation.broken.is_empty()
}

const BUY: &str = r#"- name: cart
  post: "BASE/api/cart"
  json: { account: "{{ account }}" }
  expect: [ status == 201 ]
  capture: { cart: json.id }
- name: put a book in
  post: "BASE/api/cart/{{ cart }}/items"
  json: { sku: book-1 }
- name: pay
  post: "BASE/api/cart/{{ cart }}/pay"
  expect: [ status == 200, 'json.state == "authorized"' ]
- name: look
  get: "BASE/api/cart/{{ cart }}"
- name: drop the cart
  delete: "BASE/api/cart/{{ cart }}"
  always: true
"#;

/// A shop in which one customer's payments fail as the worst of failures do: with status 200.
fn shop(asked: &Asked, _: usize) -> Answer {
    let session = "session=s3ss10n-of-this-run";
    let in_session = asked.header("cookie") == Some(session);
    match asked.line.as_str() {
        "POST /api/cart" => {
            let id = if asked.body.contains("globex") { "c/2 x" } else { "c-1" };
            Answer::Say(201, vec![("set-cookie", format!("{session}; Path=/"))], format!(r#"{{"id":"{id}"}}"#))
        }
        _ if !in_session => say(401, "no session"),
        "POST /api/cart/c%2F2%20x/pay" => json(r#"{"error":"card declined","state":"failed"}"#),
        line if line.ends_with("/pay") => json(r#"{"state":"authorized"}"#),
        line if line.starts_with("DELETE") => say(204, ""),
        _ => json("{}"),
    }
}
