//! Kind `metrics`: one number of a metrics page, scraped and read strictly.
//!
//! One scrape shows totals and gauges, not rates; for a rate ask a Prometheus, which remembers. A page that is broken
//! anywhere is not used at all: see [`crate::net::exposition`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::Instant;

use super::super::endpoint::{self, AbsentMeans, Endpoint, HeaderText};
use super::super::series;
use super::super::slots::TextTemplate;
use super::super::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::encode;
use crate::model::look::Look;
use crate::model::measure::{Measure, Type};
use crate::model::observation::{Observation, Unknown, UnknownKind};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::model::units::show_duration;
use crate::net::budget::Budget;
use crate::net::exposition::{self, Exposition, Format, Limits, What};
use crate::net::http::{Caps, Request, Response};
use crate::yaml::{Node, Spanned};

/// What stands under `metrics:`.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The page, for example `http://127.0.0.1:8080/metrics`.
    url: Spanned<String>,
    /// The name of the samples, as on the page: a histogram has `…_bucket`, `…_count`, `…_sum`.
    #[serde(default)]
    metric: Option<String>,
    /// What their labels must be.
    #[serde(default)]
    labels: BTreeMap<String, TextTemplate>,
    /// That no such sample means that all is well, and why.
    #[serde(default)]
    absent_means: Option<Spanned<AbsentMeans>>,
    /// Sent along; secret ones as `{ env: NAME }`.
    #[serde(default)]
    headers: Option<Spanned<BTreeMap<String, HeaderText>>>,
}

/// A page and what is wanted of it.
#[derive(Debug)]
struct Page {
    endpoint: Endpoint,
    metric: Option<String>,
    labels: BTreeMap<String, TextTemplate>,
    absent_is_healthy: Option<String>,
}

/// How far a sample's own time may lie ahead: clocks differ a little.
const AHEAD_LIMIT: Duration = Duration::from_secs(60);
/// What is older than that is not current.
const AGE_LIMIT: Duration = Duration::from_secs(300);

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    let headers = config.headers.unwrap_or_else(|| Spanned { at: node.span.clone(), value: BTreeMap::new() });
    let endpoint = Endpoint::new(&config.url, headers, None)?;
    let at = |key: &str| node.get(key).map_or_else(|| node.span.clone(), |value| value.span.clone());
    match &config.metric {
        Some(metric) if metric.trim().is_empty() => {
            return Err(Diagnostic::error(at("metric"), "the metric's name is empty"));
        }
        Some(metric) if metric.contains(['{', '}', '"', '(']) => {
            return Err(Diagnostic::error(at("metric"), "a metric's name has no labels and no functions")
                .hint("labels go under `labels`; for PromQL use the kind `prometheus`"));
        }
        None if !config.labels.is_empty() || config.absent_means.is_some() => {
            return Err(Diagnostic::error(node.span.clone(), "`labels` and `absent_means` need a `metric`"));
        }
        _ => {}
    }
    let absent_is_healthy = config.absent_means.map(AbsentMeans::because).transpose()?.flatten();
    Ok(Arc::new(Page { endpoint, metric: config.metric, labels: config.labels, absent_is_healthy }))
}

impl Probe for Page {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(async {
            let started = Instant::now();
            let observation = match self.scrape(ask).await {
                Ok(observation) => observation,
                Err(unknown) => Observation::blind(unknown.kind, unknown.why),
            };
            observation.reproduce(self.by_hand()).took(started.elapsed())
        })
    }

    fn system(&self) -> String {
        self.endpoint.system()
    }

    fn params(&self) -> Vec<String> {
        let mut names: Vec<String> = self.labels.values().flat_map(TextTemplate::params).collect();
        names.sort();
        names.dedup();
        names
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.endpoint.secrets()
    }
}

impl Page {
    async fn scrape(&self, ask: &Ask) -> Result<Observation, Unknown> {
        let mut labels = BTreeMap::new();
        for (name, value) in &self.labels {
            let value = value
                .render(&ask.params)
                .map_err(|error| Unknown::new(UnknownKind::MissingParam, error.to_string()))?;
            labels.insert(name.clone(), value);
        }
        let left = ask.deadline.saturating_duration_since(Instant::now());
        // A little before the caller gives up, so that the answer can still say what was waited for.
        let deadline = ask.deadline - (left / 20).min(Duration::from_millis(100));
        let mut request = Request::get(self.endpoint.url.clone(), deadline);
        (request.headers, request.secret_headers) = self.endpoint.headers(&ask.tools)?;
        request.headers.push(("accept".to_owned(), Format::ACCEPT.to_owned()));
        request.follow_redirects = 3;
        request.budget = Budget::System;
        request.caps = Caps { body: Limits::default().page, ..Caps::default() };
        // Other checks may want other numbers of the same page.
        request.asker = Some(ask.check.to_string());
        let response = ask.tools.http.send(request).await.map_err(|failure| self.endpoint.silent(&failure))?;

        let wanted = Wanted {
            system: self.endpoint.system(),
            metric: self.metric.clone(),
            labels,
            absent_is_healthy: self.absent_is_healthy.clone(),
            now: ask.now,
        };
        if response.status != 200 {
            return Err(self.endpoint.refusal(response.status, ""));
        }
        // A page of many megabytes takes a while; it must not hold up the others.
        let weighed = tokio::task::spawn_blocking(move || wanted.weigh(&response)).await;
        weighed.map_err(|_| Unknown::new(UnknownKind::Panicked, "reading the metrics page failed"))?
    }

    fn by_hand(&self) -> String {
        let page = format!("{} {}", self.endpoint.curl(), encode::shell_word(self.endpoint.url.as_str()));
        match &self.metric {
            Some(metric) => {
                format!("{page} | grep -E {}", encode::shell_word(&format!("^{}[{{ ]", regex::escape(metric))))
            }
            None => page,
        }
    }
}

/// What is looked for on a page; owned, for the thread that reads.
struct Wanted {
    system: String,
    metric: Option<String>,
    labels: BTreeMap<String, String>,
    absent_is_healthy: Option<String>,
    now: Timestamp,
}

impl Wanted {
    fn weigh(&self, response: &Response) -> Result<Observation, Unknown> {
        let unfit = |kind, why: String| Unknown::new(kind, format!("{}: {why}", self.system));
        if let Some(coding) = &response.unread_coding {
            let coding = encode::terminal(coding);
            return Err(unfit(UnknownKind::Unintelligible, format!("its page has the coding `{coding}`")));
        }
        let content_type = response.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let format = Format::of_content_type(content_type)
            .map_err(|why| unfit(UnknownKind::Unintelligible, encode::terminal(&why)))?;
        if response.truncated {
            return Err(unfit(UnknownKind::Incomplete, "its page is larger than we read".to_owned()));
        }
        let page = exposition::read(&response.body, format, Limits::default()).map_err(|fault| {
            let kind = match fault.what {
                What::TooMuch { .. } => UnknownKind::Incomplete,
                _ => UnknownKind::Unintelligible,
            };
            unfit(kind, format!("its metrics page, {}", encode::terminal(&fault.to_string())))
        })?;
        let Some(metric) = &self.metric else {
            let mut observation = Observation::answered(Default::default());
            observation.measures.set("series", page.samples.len());
            return Ok(observation);
        };
        self.select(&page, metric)
    }

    fn select(&self, page: &Exposition<'_>, metric: &str) -> Result<Observation, Unknown> {
        let unfit = |kind, why: String| Unknown::new(kind, format!("{}: {why}", self.system));
        let mut found = series::Moment::default();
        let mut newest: Option<i64> = None;
        let mut count = 0;
        for sample in page.samples.iter().filter(|sample| sample.name.is(metric)) {
            // As in PromQL, a label that isn't there is an empty one.
            let fits = self.labels.iter().all(|(name, value)| page.label(sample, name).unwrap_or_default() == *value);
            if !fits {
                continue;
            }
            count += 1;
            let labels: BTreeMap<_, _> = page.labels(sample).iter().map(|l| (l.name.text(), l.value.text())).collect();
            let before = found.values.len() + found.not_numbers;
            found.add(series::written("", labels.iter().map(|(name, value)| (&**name, &**value))), sample.value);
            if found.values.len() + found.not_numbers == before {
                let why = format!("line {}: the same series of `{}` twice", sample.line, encode::terminal(metric));
                return Err(unfit(UnknownKind::Unintelligible, why));
            }
            newest = newest.max(sample.timestamp_ms);
        }
        if found.is_empty() {
            let because = self.absent_is_healthy.as_ref().filter(|_| count == 0);
            let Some(because) = because else {
                return Err(unfit(UnknownKind::Incomplete, self.why_nothing(page, metric, found.not_numbers)));
            };
            let note = format!("no such sample, which is healthy here: {because}");
            return Ok(Observation::answered(found.measures()).note(note));
        }
        let mut measures = found.measures();
        let mut observation = Observation::answered(Default::default()).excerpt(found.excerpt());
        if let Some(newest) = newest.and_then(|ms| Timestamp::from_millisecond(ms).ok()) {
            let age = newest.duration_until(self.now).as_secs_f64();
            if age < -AHEAD_LIMIT.as_secs_f64() {
                let ahead = show_duration(Duration::from_secs_f64(-age));
                return Err(unfit(UnknownKind::Unintelligible, format!("its samples are dated {ahead} ahead")));
            }
            if age > AGE_LIMIT.as_secs_f64() {
                let age = show_duration(Duration::from_secs_f64(age));
                return Err(unfit(UnknownKind::Stale, format!("the newest sample is {age} old")));
            }
            measures.set("age_seconds", age.max(0.0));
            observation.data_until = Some(newest);
        }
        if found.not_numbers > 0 {
            observation.notes.push(format!("{} values are NaN and were left out", found.not_numbers));
        }
        Ok(observation.measures(measures))
    }

    fn why_nothing(&self, page: &Exposition<'_>, metric: &str, not_numbers: usize) -> String {
        let shown = encode::terminal(metric);
        if not_numbers > 0 {
            return format!("`{shown}` is NaN");
        }
        if page.samples.iter().any(|sample| sample.name.is(metric)) {
            return format!("no sample of `{shown}` has these labels");
        }
        let longer = page.samples.iter().find(|sample| {
            let name = sample.name.text();
            ["_total", "_count", "_info"].iter().any(|ending| name.strip_suffix(ending) == Some(metric))
        });
        let hint = longer.map_or(String::new(), |l| format!(" (there is `{}`)", encode::terminal(&l.name.text())));
        format!("no metric `{shown}` on its page{hint}")
    }
}

/// A number of a metrics page.
pub static KIND: Kind = Kind {
    name: "metrics",
    look: Look::Internal,
    summary: "reads numbers from a metrics page in the Prometheus or OpenMetrics text format",
    docs: "\
The page is asked for once and read strictly. The samples with this name and these labels are the series; `value` is
there where it is one. Without `metric` only `series` is told: how many samples the page has.

Bad is what the expectations say. A counter shows its total since the start of its process, so expect something of a
gauge, or compare with `usual(value)`; for rates ask a Prometheus.

Unknown, never good: the page can't be had, is no metrics page by its content type, is broken in a single line, cut
short or empty; the metric isn't on it or is NaN; its own timestamps are more than five minutes old or lie ahead.
`absent_means: { healthy: true, because: … }` turns a missing sample into an answer with `series == 0`.",
    keys: &[
        Key { name: "url", takes: "URL", default: None, meaning: "the page" },
        Key {
            name: "metric",
            takes: "name",
            default: Some("only the number of samples is told"),
            meaning: "the name of the samples as on the page, with _total, _bucket, _count or _sum",
        },
        Key {
            name: "labels",
            takes: "map of text",
            default: Some("any"),
            meaning: "what their labels must be; may hold {{ parameters }}",
        },
        Key {
            name: "absent_means",
            takes: "{ healthy: true, because: text }",
            default: Some("no sample is no answer"),
            meaning: "that no such sample means that all is well, and why",
        },
        endpoint::HEADERS,
    ],
    measures: MEASURES,
    default_expect: &["series >= 0"],
    headline: &["value", "series"],
    sees: Sees::Now,
    attempts: 2,
    example: "internal/metrics.yaml",
    example_text: include_str!("../../../checks.d/internal/metrics.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

const MEASURES: &[Measure] = &[
    Measure {
        name: "value",
        kind: Type::Number,
        unit: "the metric's own",
        meaning: "the value, where it is one series",
    },
    Measure {
        name: "values",
        kind: Type::Map,
        unit: "the metric's own",
        meaning: "the value of each series by its labels, written {code=\"500\"}",
    },
    Measure { name: "series", kind: Type::Number, unit: "count", meaning: "how many series there are" },
    Measure { name: "minimum", kind: Type::Number, unit: "the metric's own", meaning: "the smallest value of them" },
    Measure { name: "maximum", kind: Type::Number, unit: "the metric's own", meaning: "the largest value of them" },
    Measure {
        name: "age_seconds",
        kind: Type::Number,
        unit: "seconds",
        meaning: "how old the newest of them is, where the page says it",
    },
];

#[cfg(test)]
mod tests;
