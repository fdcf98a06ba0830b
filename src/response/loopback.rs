//! A service on the loopback interface, for the tests of channels: it notes what it is asked, and answers as told.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::channels::Channels;
use crate::model::action::{Action, ActionKind};
use crate::model::delivery::{Message, Outcome};
use crate::model::letter::Links;
use crate::model::secret::{Environment, Redactor};
use crate::net::credentials::Credentials;
use crate::net::http::Client;
use crate::net::outgoing::Wires;
use crate::yaml;

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// `POST /api/chat.postMessage`, with the query.
    pub(super) line: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Asked {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Status, `Retry-After`, body.
pub(super) type Answer = (u16, Option<&'static str>, String);

type Behaviour = dyn Fn(&Asked) -> Answer + Send + Sync;

/// A service that listens.
pub(super) struct Service {
    pub(super) url: String,
    asked: Mutex<Vec<Asked>>,
    behaviour: Box<Behaviour>,
}

impl Service {
    pub(super) async fn start(behaviour: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Arc<Self> {
        async fn take(
            State(service): State<Arc<Service>>,
            method: Method,
            uri: Uri,
            headers: HeaderMap,
            body: Bytes,
        ) -> (StatusCode, HeaderMap, String) {
            let body = String::from_utf8(body.to_vec()).unwrap();
            let asked = Asked { line: format!("{method} {uri}"), headers, body };
            let (status, after, text) = (service.behaviour)(&asked);
            service.asked.lock().unwrap().push(asked);
            let mut headers = HeaderMap::new();
            if let Some(after) = after {
                headers.insert("retry-after", after.parse().unwrap());
            }
            (StatusCode::from_u16(status).unwrap(), headers, text)
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = Arc::new(Service { url, asked: Mutex::default(), behaviour: Box::new(behaviour) });
        let router = axum::Router::new().fallback(take).with_state(Arc::clone(&service));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        service
    }

    /// What it was asked since this was called last.
    pub(super) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

/// Wires that know these secrets by these names.
pub(super) fn wires(secrets: &[(&str, &str)]) -> Wires {
    let redactor = Redactor::default();
    let environment = secrets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let credentials = Credentials::new(Environment::new(environment), redactor.clone());
    Wires { http: Client::default(), credentials, redactor }
}

/// A channel `chat` as it is declared: `{ slack: { … } }`.
pub(super) struct Chat {
    channels: Channels,
    pub(super) wires: Wires,
}

impl Chat {
    pub(super) fn new(declared: &str, secrets: &[(&str, &str)]) -> Self {
        let document = yaml::parse("houston.yaml", &format!("chat: {declared}")).unwrap();
        let yaml::Shape::Map(entries) = &document.shape else { panic!("a map") };
        let mut channels = Channels::default();
        for (name, declared) in entries {
            channels.declare(name, declared).unwrap();
        }
        Chat { channels, wires: wires(secrets) }
    }

    pub(super) async fn send(&self, action: &Action, previous: Option<&str>, tries: u32) -> Outcome {
        let links = Links::new("https://houston.example.com");
        let message = Message { action, previous, tries, now: start(), links: Some(&links) };
        self.channels.get("chat").unwrap().send(message, &self.wires).await
    }
}

pub(super) fn start() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

/// An action about ticket 7 whose every text from outside is this one.
pub(super) fn action(kind: ActionKind, round: u32, text: &str) -> Action {
    let facts = json!({ "version": 1, "verdict": "issue", "probability": 0.93, "summary": text,
        "ticket": { "number": "T-7", "title": text, "customer": text, "services": ["checkout"] },
        "reasons": [text], "acknowledge": "/ack/one-time",
        "findings": [{ "outcome": "bad", "check": "checkout-page", "look": "internal", "reproduce": text,
            "failed": [{ "that": "status is 200", "actual": text }] }],
        "could_not_look": [{ "check": "dns", "look": "external", "why": text }] });
    Action::new(7, round, kind, "chat", "ops", facts, start())
}

/// An action with far more text than any chat takes.
pub(super) fn long_action(kind: ActionKind) -> Action {
    let text = "a long story ".repeat(60);
    let mut action = action(kind, 1, &text);
    for name in ["reasons", "next", "would_decide", "also"] {
        action.facts[name] = vec![text.as_str(); 20].into();
    }
    let finding = action.facts["findings"][0].clone();
    action.facts["findings"] = vec![finding; 20].into();
    action
}

pub(super) fn receipt(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Delivered { receipt: Some(receipt) } => receipt,
        other => panic!("{other:?}"),
    }
}

pub(super) fn is_retry(outcome: &Outcome, after: Option<u64>) -> bool {
    matches!(outcome, Outcome::Retry { after: told, .. } if told.map(|told| told.as_secs()) == after)
}

pub(super) fn is_rejected(outcome: &Outcome, why: &str) -> bool {
    matches!(outcome, Outcome::Rejected { why: told } if told.contains(why))
}
