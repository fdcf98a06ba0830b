//! A service of the tests' own: it answers as it is told, and keeps what it was asked.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use jiff::Timestamp;
use serde_json::Value;

use crate::model::action::{Action, ActionKind};
use crate::model::delivery::{Message, Outcome};
use crate::response::channels::Channels;
use crate::yaml;

/// One request, whole.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Asked {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub(crate) fn form(&self) -> Vec<(String, String)> {
        url::form_urlencoded::parse(&self.body).into_owned().collect()
    }
}

/// Status, `Retry-After`, body.
pub(crate) type Answer = (u16, Option<&'static str>, String);

pub(crate) struct Service {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Service {
    pub(crate) async fn start(answer: impl Fn(&Asked) -> Answer + Clone + Send + Sync + 'static) -> Service {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let keep = Arc::clone(&asked);
        let handler = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let asked = Asked { method, uri, headers, body };
            let (status, after, body) = answer(&asked);
            keep.lock().unwrap().push(asked);
            async move {
                let mut headers = HeaderMap::new();
                if let Some(after) = after {
                    headers.insert("retry-after", after.parse().unwrap());
                }
                (StatusCode::from_u16(status).unwrap(), headers, body)
            }
        };
        let router = axum::Router::new().fallback(handler);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Service { url, asked }
    }

    /// What it was asked since this was called last.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// The channel that is declared as `{ kind: … }`, with all that it needs.
pub(crate) fn channel(declared: &str) -> Arc<dyn crate::response::channels::Channel> {
    let document = yaml::parse("houston.yaml", &format!("mine: {declared}")).unwrap();
    let yaml::Shape::Map(entries) = &document.shape else { panic!("a map") };
    let mut channels = Channels::default();
    channels.declare(&entries[0].0, &entries[0].1).unwrap();
    Arc::clone(channels.get("mine").unwrap())
}

/// That ticket 7 has this title and this verdict, told to `operators`.
pub(crate) fn told(kind: ActionKind, verdict: &str, title: &str) -> Action {
    let facts = serde_json::json!({
        "verdict": verdict, "probability": 0.97, "reasons": [title], "reporter": title,
        "ticket": { "number": "T-7", "title": title, "services": ["shop"] },
        "findings": [{ "check": "shop", "outcome": "bad", "look": "external", "reproduce": title }],
    });
    Action::new(7, 1, kind, "mine", "operators", facts, "2026-11-22T10:00:00Z".parse().unwrap())
}

pub(crate) fn message(action: &Action) -> Message<'_> {
    let now: Timestamp = "2026-11-22T10:00:30Z".parse().unwrap();
    Message { action, previous: None, tries: 0, now, links: None }
}

/// What an attempt comes to: `delivered`, `retry` (with the seconds that it is asked to wait) or `rejected`.
pub(crate) fn named(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Delivered { .. } => "delivered".to_owned(),
        Outcome::Retry { after: Some(after), .. } => format!("retry {}", after.as_secs()),
        Outcome::Retry { after: None, .. } => "retry".to_owned(),
        Outcome::Rejected { .. } => "rejected".to_owned(),
    }
}
