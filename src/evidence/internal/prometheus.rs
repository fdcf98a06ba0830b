//! Kind `prometheus`: a PromQL query, answered for the symptom window and for now.
//!
//! A number from Prometheus says something only if the series behind it are still being written. So beside the query
//! itself two cheap questions are asked: how old the newest sample of each series is that the query reads, and whether
//! the scrapes of the jobs that it names are up. No data is no answer, unless the check says with a reason that it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::super::endpoint::{self, AbsentMeans, Endpoint, HeaderText};
use super::super::slots::PromqlTemplate;
use super::super::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::look::Look;
use crate::model::measure::{Measure, Type};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::model::units::Span;
use crate::yaml::{Node, Spanned};

mod observe;

/// What stands under `prometheus:`.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Where the API is, without `/api/v1/…`.
    url: Spanned<String>,
    /// PromQL; parameters may stand in label values in double quotes.
    query: PromqlTemplate,
    /// The distance of two points in a window.
    #[serde(default)]
    step: Option<Spanned<Span>>,
    /// That no series mean that all is well, and why.
    #[serde(default)]
    absent_means: Option<Spanned<AbsentMeans>>,
    /// Sent along; secret ones as `{ env: NAME }`.
    #[serde(default)]
    headers: Option<Spanned<BTreeMap<String, HeaderText>>>,
    #[serde(default)]
    bearer_token: Option<SecretRef>,
}

/// A query, ready to be asked.
#[derive(Debug)]
struct Query {
    endpoint: Endpoint,
    query: PromqlTemplate,
    step: Option<std::time::Duration>,
    /// Why no series are a good sign.
    absent_is_healthy: Option<String>,
}

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    let headers = config.headers.unwrap_or_else(|| Spanned { at: node.span.clone(), value: BTreeMap::new() });
    let endpoint = Endpoint::new(&config.url, headers, config.bearer_token)?;
    let at_query = || node.get("query").map_or_else(|| node.span.clone(), |query| query.span.clone());
    if config.query.text().trim().is_empty() {
        return Err(Diagnostic::error(at_query(), "the query is empty"));
    }
    if config.query.text().len() > QUERY_LIMIT {
        return Err(Diagnostic::error(at_query(), format!("the query is longer than {QUERY_LIMIT} bytes"))
            .hint("make it a recording rule"));
    }
    if let Some(step) = &config.step
        && step.value.0.as_secs() == 0
    {
        return Err(Diagnostic::error(step.at.clone(), "the step is shorter than a second"));
    }
    let absent_is_healthy = config.absent_means.map(AbsentMeans::because).transpose()?.flatten();
    let step = config.step.map(|step| step.value.0);
    Ok(Arc::new(Query { endpoint, query: config.query, step, absent_is_healthy }))
}

/// The longest query, in bytes.
const QUERY_LIMIT: usize = 16 * 1024;

impl Probe for Query {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(self.look(ask))
    }

    fn system(&self) -> String {
        self.endpoint.system()
    }

    fn params(&self) -> Vec<String> {
        self.query.params()
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.endpoint.secrets()
    }
}

/// A PromQL query.
pub static KIND: Kind = Kind {
    name: "prometheus",
    look: Look::Internal,
    summary: "asks a Prometheus (or Thanos, Mimir, VictoriaMetrics) a PromQL query",
    docs: "\
The query is asked for now, and for the symptom window step by step. In a window an expectation is held at every
point: it is broken where it is broken at two points or a tenth of them, whichever is more. `value` is there where the
query yields one series; `values`, `minimum` and `maximum` where it yields several.

Bad is what the expectations say. Without `expect` any answer will do, so say what you expect.

Unknown, never good: Prometheus doesn't answer, or answers with warnings or in part; the answer has no series, only
NaN, or data for less than nine tenths of the window; the series that the query reads are no longer written, which is
looked up beside it (`age_seconds`). `absent_means: { healthy: true, because: … }` turns no series, and nothing else,
into an answer with `series == 0`; the scrape of the jobs that the query names must then be up.

Recording rules and a label `job=\"…\"` in the selectors make for the best answers.",
    keys: &[
        Key { name: "url", takes: "URL", default: None, meaning: "where the API is, without /api/v1" },
        Key {
            name: "query",
            takes: "PromQL",
            default: None,
            meaning: "what is asked; {{ parameters }} may stand in label values in double quotes",
        },
        Key {
            name: "step",
            takes: "duration",
            default: Some("a thirtieth of the window, at least 15s"),
            meaning: "the distance of two points in a window; at most 60 points are asked for",
        },
        Key {
            name: "absent_means",
            takes: "{ healthy: true, because: text }",
            default: Some("no data is no answer"),
            meaning: "that no series mean that all is well, and why",
        },
        Key {
            name: "headers",
            takes: "map of text or secret",
            default: Some("none"),
            meaning: "sent along, for example X-Scope-OrgID; secret ones as { env: NAME } or { file: path }",
        },
        endpoint::BEARER_TOKEN,
    ],
    measures: MEASURES,
    default_expect: &["series >= 0"],
    headline: &["value", "series"],
    sees: Sees::Past,
    attempts: 2,
    example: "internal/prometheus.yaml",
    example_text: include_str!("../../../checks.d/internal/prometheus.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

const MEASURES: &[Measure] = &[
    Measure {
        name: "value",
        kind: Type::Number,
        unit: "the query's own",
        meaning: "the value, where the query yields one series; over a window, its last one",
    },
    Measure {
        name: "values",
        kind: Type::Map,
        unit: "the query's own",
        meaning: "the value of each series by its labels, written {code=\"500\"}",
    },
    Measure { name: "series", kind: Type::Number, unit: "count", meaning: "how many series the query yields" },
    Measure {
        name: "minimum",
        kind: Type::Number,
        unit: "the query's own",
        meaning: "the smallest value of all series, over a window of all points",
    },
    Measure {
        name: "maximum",
        kind: Type::Number,
        unit: "the query's own",
        meaning: "the largest value of all series, over a window of all points",
    },
    Measure {
        name: "age_seconds",
        kind: Type::Number,
        unit: "seconds",
        meaning: "how old the newest sample is of what the query reads, at the end of the window or now",
    },
];

#[cfg(test)]
mod tests;
