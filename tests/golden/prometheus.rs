//! The query API of a Prometheus, answered from declared values instead of PromQL.

use axum::http::{Method, Uri};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::case::duration;
use super::server::Reply;

/// What it knows.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prometheus {
    /// How old the newest sample is of whatever a query reads.
    age: Option<String>,
    /// Whether the targets of whatever job are up: 1 or 0.
    up: Option<u8>,
    /// The first whose `of` stands in a query answers it.
    answers: Vec<Answer>,
}

/// A value over time.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    /// A part of the query.
    of: String,
    /// A number, "NaN", "+Inf"; none where there are no series.
    #[serde(default)]
    value: Option<Value>,
    /// Spans in which it was another value.
    #[serde(default)]
    but: Vec<Span>,
    /// The server says that its answer isn't whole.
    #[serde(default)]
    warnings: Vec<String>,
    /// What is answered instead of JSON of the API.
    #[serde(default)]
    reply: Option<Reply>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Span {
    /// How long ago it began and ended.
    from: String,
    to: String,
    #[serde(default)]
    value: Option<Value>,
}

impl Prometheus {
    /// Takes over in what another differs.
    pub fn differ(&mut self, other: Prometheus) {
        self.age = other.age.or(self.age.take());
        self.up = other.up.or(self.up);
        self.answers.splice(0..0, other.answers);
    }

    /// `None` where it isn't a question to the API.
    pub fn answer(&self, method: &Method, uri: &Uri, body: &[u8], now: Timestamp) -> Option<Reply> {
        let form = if method == Method::POST { body } else { uri.query().unwrap_or_default().as_bytes() };
        let said = |name: &str| {
            url::form_urlencoded::parse(form).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        let query = said("query")?;
        let seconds = |name: &str| said(name).and_then(|text| text.parse::<f64>().ok());
        match uri.path() {
            "/api/v1/query" => {
                let at = seconds("time")?;
                Some(self.at(&query, &[at], "vector", now))
            }
            "/api/v1/query_range" => {
                let (start, end, step) = (seconds("start")?, seconds("end")?, seconds("step")?);
                let count = ((end - start) / step + 1e-6).floor() as usize + 1;
                let points: Vec<f64> = (0..count).map(|index| start + step * index as f64).collect();
                Some(self.at(&query, &points, "matrix", now))
            }
            _ => None,
        }
    }

    fn at(&self, query: &str, points: &[f64], form: &str, now: Timestamp) -> Reply {
        let now = now.as_second() as f64;
        let mut warnings = &[][..];
        let value = |at: f64| -> Option<Value> {
            if query.starts_with("time() - max(timestamp(") {
                return self.age.as_deref().map(|age| json!(duration(age).as_secs_f64()));
            }
            if query.starts_with("up{") {
                return self.up.map(|up| json!(up));
            }
            let answer = self.answers.iter().find(|answer| query.contains(&answer.of))?;
            let ago = now - at;
            let span = answer
                .but
                .iter()
                .find(|span| ago <= duration(&span.from).as_secs_f64() && ago >= duration(&span.to).as_secs_f64());
            span.map_or(answer.value.clone(), |span| span.value.clone())
        };
        if let Some(answer) = self.answers.iter().find(|answer| query.contains(&answer.of)) {
            if let Some(reply) = &answer.reply {
                return reply.clone();
            }
            warnings = &answer.warnings;
        }
        let samples: Vec<Value> = points
            .iter()
            .filter_map(|at| {
                let value = value(*at)?;
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                Some(json!([at, text]))
            })
            .collect();
        let result = match (samples.first(), form) {
            (None, _) => json!([]),
            (Some(sample), "vector") => json!([{ "metric": {}, "value": sample }]),
            (Some(_), _) => json!([{ "metric": {}, "values": samples }]),
        };
        let mut page = json!({ "status": "success", "data": { "resultType": form, "result": result } });
        if !warnings.is_empty() {
            page["warnings"] = json!(warnings);
        }
        Reply::json(200, page)
    }
}
