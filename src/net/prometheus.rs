//! Prometheus' query API (also Thanos, Mimir, VictoriaMetrics): instant and range queries, answers read strictly.
//!
//! <https://prometheus.io/docs/prometheus/latest/querying/api/>. Queries are sent as forms by POST, and again by GET
//! where a proxy allows nothing else. An answer with warnings or marked as partial is told apart from a whole one.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use tokio::time::Instant;
use url::Url;

use super::budget::Budget;
use super::http::{Caps, Client, Failure, Reason, Request, Response};
use crate::model::encode;
use crate::model::secret::Secret;
use crate::model::window::Window;

mod answer;
pub mod selectors;

/// A server, and how it is spoken to.
#[derive(Debug, Clone)]
pub struct Server {
    pub client: Client,
    /// Where the API is, without `/api/v1/…`; a path prefix and a query string are kept.
    pub url: Url,
    pub headers: Vec<(String, String)>,
    pub secret_headers: Vec<(String, Secret)>,
}

/// The most bytes of one answer.
pub const BODY_LIMIT: usize = 8 * 1024 * 1024;
/// The most series of one answer.
pub const SERIES_LIMIT: usize = 1_000;
/// The most points of one answer, all series together.
pub const POINTS_LIMIT: usize = 60_000;

/// An answer that could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub data: Data,
    /// What the server warns of: the answer is not whole.
    pub warnings: Vec<String>,
    /// What it remarks otherwise.
    pub infos: Vec<String>,
    /// The server itself says that a part is missing.
    pub partial: bool,
}

/// What a query yields.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// One point of each series.
    Vector(Vec<Series>),
    /// Points over a span.
    Matrix(Vec<Series>),
    Scalar(Point),
    Text(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// `__name__` among them.
    pub labels: BTreeMap<String, String>,
    pub points: Vec<Point>,
    /// It holds native histograms, which are no numbers.
    pub histograms: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Seconds since 1970.
    pub at: f64,
    /// May be NaN or infinite.
    pub value: f64,
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NoAnswer {
    /// The exchange failed.
    #[error("{0}")]
    Wire(Box<Failure>),
    /// The server answered that it won't or can't. `reason` is the server's own, cleaned.
    #[error("{status}: {reason}")]
    Refused { status: u16, kind: String, reason: String },
    /// Not the API's answer.
    #[error("{0}")]
    Unintelligible(String),
    /// More than we read.
    #[error("more than {limit} {what}")]
    TooMuch { limit: usize, what: &'static str },
}

impl Server {
    /// What a query yields at one moment.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn instant(&self, query: &str, at: Timestamp, deadline: Instant) -> Result<Answer, NoAnswer> {
        let form = vec![("query", query.to_owned()), ("time", seconds(at))];
        self.ask("api/v1/query", form, deadline).await
    }

    /// What a query yields over a span, a point each `step`.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn range(
        &self,
        query: &str,
        window: Window,
        step: Duration,
        deadline: Instant,
    ) -> Result<Answer, NoAnswer> {
        let form = vec![
            ("query", query.to_owned()),
            ("start", seconds(window.from)),
            ("end", seconds(window.to)),
            ("step", format!("{:.3}", step.as_secs_f64().max(0.001))),
        ];
        self.ask("api/v1/query_range", form, deadline).await
    }

    async fn ask(
        &self,
        path: &str,
        mut form: Vec<(&'static str, String)>,
        deadline: Instant,
    ) -> Result<Answer, NoAnswer> {
        let left = deadline.saturating_duration_since(Instant::now());
        // Lets the server stop as well when nobody waits any more.
        form.push(("timeout", format!("{}ms", left.as_millis().max(1))));
        let encoded: Vec<String> =
            form.iter().map(|(name, value)| format!("{name}={}", encode::url_segment(value))).collect();
        let encoded = encoded.join("&");

        let mut url = self.url.clone();
        url.set_path(&format!("{}/{path}", self.url.path().trim_end_matches('/')));
        let mut request = Request::get(url, deadline);
        request.budget = Budget::System;
        request.caps = Caps { body: BODY_LIMIT, ..Caps::default() };
        request.headers = self.headers.clone();
        request.secret_headers = self.secret_headers.clone();
        request.headers.push(("accept".to_owned(), "application/json".to_owned()));

        let mut post = request.clone();
        post.method = Method::POST;
        post.headers.push(("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()));
        post.body = encoded.clone().into();
        let mut response = self.client.send(post).await.map_err(wire)?;
        if matches!(response.status, 405 | 501) {
            let query = match request.url.query() {
                Some(own) if !own.is_empty() => format!("{own}&{encoded}"),
                _ => encoded,
            };
            request.url.set_query(Some(&query));
            response = self.client.send(request).await.map_err(wire)?;
        }
        read(&response)
    }
}

fn wire(failure: Failure) -> NoAnswer {
    NoAnswer::Wire(Box::new(failure))
}

/// Seconds since 1970 with milliseconds, as the API takes them.
fn seconds(at: Timestamp) -> String {
    let ms = at.as_millisecond();
    format!("{}{}.{:03}", if ms < 0 { "-" } else { "" }, ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000)
}

fn read(response: &Response) -> Result<Answer, NoAnswer> {
    if let Some(coding) = &response.unread_coding {
        let coding = encode::terminal(coding);
        return Err(NoAnswer::Unintelligible(format!("it answered in the coding `{coding}`, which was not asked for")));
    }
    if response.truncated {
        return Err(NoAnswer::TooMuch { limit: BODY_LIMIT, what: "bytes of answer" });
    }
    match answer::read(&response.body) {
        Ok(result) => result.map_err(|(kind, reason)| NoAnswer::Refused { status: response.status, kind, reason }),
        // A proxy's error page: the status says more than that it isn't JSON.
        Err(_) if !(200..300).contains(&response.status) => Err(NoAnswer::Refused {
            status: response.status,
            kind: String::new(),
            reason: short(&String::from_utf8_lossy(&response.body)),
        }),
        Err(answer::Unfit::TooMuch { limit, what }) => Err(NoAnswer::TooMuch { limit, what }),
        Err(answer::Unfit::Wrong(why)) => {
            let start = short(&String::from_utf8_lossy(&response.body));
            Err(NoAnswer::Unintelligible(format!("not an answer of its query API ({why}): `{start}`")))
        }
    }
}

/// The beginning of what a server wrote, safe to show.
fn short(text: &str) -> String {
    let clean = encode::terminal(text.trim());
    let mut short: String = clean.chars().take(160).collect();
    if short.len() < clean.len() {
        short.push('…');
    }
    short
}

impl NoAnswer {
    /// True where the time ran out, ours or the server's own.
    pub fn is_timeout(&self) -> bool {
        match self {
            NoAnswer::Wire(failure) => failure.reason == Reason::Timeout,
            NoAnswer::Refused { kind, status, .. } => kind == "timeout" || *status == 504,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
