//! A system that is asked over HTTP: one question within its bounds, and why there was no answer.
//!
//! For APIs that answer a question with one JSON document: Loki, Elasticsearch.

use http::Method;
use tokio::time::Instant;
use url::Url;

use super::budget::Budget;
use super::http::{Caps, Client, Failure, Reason, Request, Response};
use crate::model::encode;
use crate::model::secret::Secret;

/// A system, and how it is spoken to.
#[derive(Debug, Clone)]
pub struct System {
    pub client: Client,
    /// Where its API begins; a path prefix and a query string are kept.
    pub url: Url,
    pub headers: Vec<(String, String)>,
    pub secret_headers: Vec<(String, Secret)>,
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    pub method: Method,
    /// Below the system's own, without a leading slash; each segment is encoded already.
    pub path: &'a str,
    pub query: &'a [(&'a str, String)],
    /// JSON.
    pub body: Option<&'a serde_json::Value>,
    /// The most bytes of the answer.
    pub limit: usize,
    pub deadline: Instant,
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NoAnswer {
    /// The exchange failed.
    #[error("{0}")]
    Wire(Box<Failure>),
    /// It answered that it won't or can't. `reason` is its own, cleaned; empty where it gave none.
    #[error("{status}: {reason}")]
    Refused { status: u16, reason: String },
    /// It says itself that a part is missing.
    #[error("{0}")]
    Partial(String),
    /// Not an answer of its API.
    #[error("{0}")]
    Unintelligible(String),
    /// More than we read.
    #[error("more than {limit} {what}")]
    TooMuch { limit: usize, what: &'static str },
}

impl NoAnswer {
    /// True where the time ran out.
    pub fn is_timeout(&self) -> bool {
        matches!(self, NoAnswer::Wire(failure) if failure.reason == Reason::Timeout)
            || matches!(self, NoAnswer::Refused { status: 408 | 504, .. })
    }
}

impl System {
    /// The whole URL of a path below the system's own.
    pub fn at(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/{path}", self.url.path().trim_end_matches('/')));
        url
    }

    /// One question, answered with 2xx and a whole body.
    ///
    /// # Errors
    /// [`NoAnswer`]; another status is [`NoAnswer::Refused`] with the body as its reason.
    pub async fn ask(&self, question: Question<'_>) -> Result<Response, NoAnswer> {
        let mut url = self.at(question.path);
        if !question.query.is_empty() {
            let fields: Vec<String> =
                question.query.iter().map(|(name, value)| format!("{name}={}", encode::url_segment(value))).collect();
            let fields = fields.join("&");
            let whole = match url.query() {
                Some(own) if !own.is_empty() => format!("{own}&{fields}"),
                _ => fields,
            };
            url.set_query(Some(&whole));
        }
        let mut request = Request::get(url, question.deadline);
        request.method = question.method;
        request.budget = Budget::System;
        request.caps = Caps { body: question.limit, ..Caps::default() };
        request.headers = self.headers.clone();
        request.secret_headers = self.secret_headers.clone();
        request.headers.push(("accept".to_owned(), "application/json".to_owned()));
        if let Some(body) = question.body {
            request.headers.push(("content-type".to_owned(), "application/json".to_owned()));
            request.body = body.to_string().into();
        }
        let response = self.client.send(request).await.map_err(|failure| NoAnswer::Wire(Box::new(failure)))?;
        if let Some(coding) = &response.unread_coding {
            let coding = encode::terminal(coding);
            let why = format!("it answered in the coding `{coding}`, which was not asked for");
            return Err(NoAnswer::Unintelligible(why));
        }
        if !(200..300).contains(&response.status) {
            let reason = own_words(&response.body);
            return Err(NoAnswer::Refused { status: response.status, reason });
        }
        if response.truncated {
            return Err(NoAnswer::TooMuch { limit: question.limit, what: "bytes of answer" });
        }
        Ok(response)
    }
}

/// Why a system refused, in its own words: JSON's `error.reason`, `error` or `message`, or the text as it is.
fn own_words(body: &[u8]) -> String {
    let body = &body[..body.len().min(64 * 1024)];
    let text = serde_json::from_slice::<serde_json::Value>(body).ok().and_then(|json| {
        let places = ["/error/reason", "/error/root_cause/0/reason", "/error", "/message"];
        places.iter().find_map(|place| json.pointer(place)?.as_str().map(str::to_owned))
    });
    short(&text.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned()))
}

/// What isn't the API's answer, with its beginning.
pub fn not_an_answer(why: &str, body: &[u8]) -> NoAnswer {
    let start = short(&String::from_utf8_lossy(&body[..body.len().min(1_024)]));
    NoAnswer::Unintelligible(format!("not an answer of its API ({}): `{start}`", short(why)))
}

/// The beginning of what a system wrote, safe to show.
pub fn short(text: &str) -> String {
    let clean = encode::terminal(text.trim());
    let mut short: String = clean.chars().take(200).collect();
    if short.len() < clean.len() {
        short.push('…');
    }
    short
}

/// A list that is not read beyond its bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtMost<T, const LIMIT: usize>(pub Vec<T>);

impl<T, const LIMIT: usize> Default for AtMost<T, LIMIT> {
    fn default() -> Self {
        AtMost(Vec::new())
    }
}

impl<'de, T: serde::Deserialize<'de>, const LIMIT: usize> serde::Deserialize<'de> for AtMost<T, LIMIT> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<T, const LIMIT: usize>(std::marker::PhantomData<T>);
        impl<'de, T: serde::Deserialize<'de>, const LIMIT: usize> serde::de::Visitor<'de> for Read<T, LIMIT> {
            type Value = AtMost<T, LIMIT>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "a list of at most {LIMIT}")
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    if items.len() >= LIMIT {
                        return Err(serde::de::Error::custom(format!("more than {LIMIT} in a list")));
                    }
                    items.push(item);
                }
                Ok(AtMost(items))
            }
        }
        deserializer.deserialize_seq(Read(std::marker::PhantomData))
    }
}
