//! `traffic`: requests, errors and durations (RED) of a service, from its counters and histograms in a Prometheus.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::evidence::endpoint::{self, AbsentMeans, Endpoint, HeaderText};
use crate::evidence::slots::PromqlTemplate;
use crate::evidence::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::look::Look;
use crate::model::measure::{Measure, Type};
use crate::model::params::is_name;
use crate::model::secret::SecretRef;
use crate::model::source::{Diagnostic, Span};
use crate::net::prometheus::selectors;
use crate::yaml::{Node, Spanned};

mod observe;
mod queries;
mod weigh;

/// What stands under `traffic:`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Traffic")]
struct Config {
    /// Where the API is, without `/api/v1/…`.
    url: Spanned<String>,
    /// The selector of the counter of all requests.
    requests: Spanned<PromqlTemplate>,
    /// The selector of the counter of those that failed.
    errors: Option<Spanned<PromqlTemplate>>,
    /// The selector of the counter of those that the client had wrong.
    client_errors: Option<Spanned<PromqlTemplate>>,
    /// The selector of the histogram of their durations: with `_bucket` a classic one, without a native one.
    duration: Option<Spanned<PromqlTemplate>>,
    customer: Option<CustomerConfig>,
    /// That no series mean that all is well, and why.
    absent_means: Option<Spanned<AbsentMeans>>,
    /// Sent along; secret ones as `{ env: NAME }`.
    headers: Option<Spanned<BTreeMap<String, HeaderText>>>,
    bearer_token: Option<SecretRef>,
}

/// Where a series says whose requests it counts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TrafficCustomer")]
struct CustomerConfig {
    /// A label of all the selectors.
    label: Spanned<String>,
}

/// The selectors of a service, ready to be asked.
#[derive(Debug)]
struct Traffic {
    endpoint: Endpoint,
    requests: PromqlTemplate,
    errors: Option<PromqlTemplate>,
    client_errors: Option<PromqlTemplate>,
    duration: Option<PromqlTemplate>,
    /// The label of the customer.
    customer: Option<String>,
    /// Why no series are a good sign.
    absent: Option<String>,
}

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    let headers = config.headers.unwrap_or_else(|| Spanned { at: node.span.clone(), value: BTreeMap::new() });
    let endpoint = Endpoint::new(&config.url, headers, config.bearer_token)?;
    let requests = selector(config.requests)?;
    let [errors, client_errors, duration] =
        [config.errors, config.client_errors, config.duration].map(|given| given.map(selector).transpose());
    let customer = config.customer.map(|customer| customer.label);
    if let Some(label) = customer.as_ref().filter(|label| !is_name(&label.value)) {
        return Err(Diagnostic::error(label.at.clone(), "not the name of a label"));
    }
    Ok(Arc::new(Traffic {
        endpoint,
        requests,
        errors: errors?,
        client_errors: client_errors?,
        duration: duration?,
        customer: customer.map(|label| label.value),
        absent: config.absent_means.map(AbsentMeans::because).transpose()?.flatten(),
    }))
}

/// A plain selector with a name: what is made of it is up to this kind.
fn selector(given: Spanned<PromqlTemplate>) -> Result<PromqlTemplate, Diagnostic> {
    let wrong = |at: Span, message: &str| {
        Diagnostic::error(at, message.to_owned()).hint("like http_requests_total{job=\"shop\",code=~\"5..\"}")
    };
    let text = given.value.text().trim();
    let found = selectors::reads(text).selectors;
    if found.len() != 1 || found[0].text != text || text.starts_with('{') {
        return Err(wrong(given.at, "not the selector of one metric; rates and sums are taken of it"));
    }
    Ok(given.value)
}

impl Probe for Traffic {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(self.look(ask))
    }

    fn system(&self) -> String {
        self.endpoint.system()
    }

    fn params(&self) -> Vec<String> {
        let others = [&self.errors, &self.client_errors, &self.duration].into_iter().flatten();
        let mut names: Vec<String> =
            std::iter::once(&self.requests).chain(others).flat_map(PromqlTemplate::params).collect();
        names.sort();
        names.dedup();
        names
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.endpoint.secrets()
    }

    fn splits_by_customer(&self) -> bool {
        self.customer.is_some()
    }
}

/// The kind.
pub static KIND: Kind = Kind {
    name: "traffic",
    look: Look::Traffic,
    summary: "rate, errors and latency of requests from counters and histograms in Prometheus",
    docs: "Asks a Prometheus (or Thanos, Mimir, VictoriaMetrics) how a service's own counters grew over the window (at \
least two minutes of it): all requests, those that failed, those that the client had wrong, and how long they took. Name \
the series by their selectors; rates are taken with resets in mind, and summed over all that a selector finds. A selector \
that ends in `_bucket` is a classic histogram's, any other a native one's; a metric in `_milliseconds` is told in seconds.

Bad is what the expectations say; without any, a rate or a share of errors that isn't usual: the same spans an hour, a day \
and more ago are the measure of that. Counters that are alive and stand still are a rate of 0, which has no error ratio.

Unknown, never good: Prometheus doesn't answer, or in part; there is no such series (unless \
`absent_means: { healthy: true, because: … }`, and then the scrape of the selector's job must be up); its newest sample is \
older than five minutes; it is there for less than nine tenths of the window. `error_ratio` is 0 where the metric of \
`requests` has no series of a failure, and absent where another metric was named that isn't there. A share of fewer than \
all requests (sampling, one of several servers) can't be told from all of them: that is up to the selector.

With `customer`, a ticket that names a customer is answered for that customer's series alone as well.",
    keys: &[
        Key { name: "url", takes: "URL", default: None, meaning: "where the API is, without /api/v1" },
        Key {
            name: "requests",
            takes: "selector of a counter",
            default: None,
            meaning: "all requests; in every selector {{ parameters }} may stand in label values in double quotes",
        },
        Key {
            name: "errors",
            takes: "selector of a counter",
            default: Some("no error_ratio"),
            meaning: "the requests that failed, mostly those with a status of 5xx",
        },
        Key {
            name: "client_errors",
            takes: "selector of a counter",
            default: Some("no client_error_ratio"),
            meaning: "the requests that the client had wrong, mostly those with a status of 4xx",
        },
        Key {
            name: "duration",
            takes: "selector of a histogram",
            default: Some("no quantiles"),
            meaning: "how long requests took: with `_bucket` a classic histogram, without a native one",
        },
        Key {
            name: "customer",
            takes: "{ label }",
            default: Some("none"),
            meaning: "the label that says whose requests a series counts",
        },
        Key {
            name: "absent_means",
            takes: "{ healthy: true, because: text }",
            default: Some("no data is no answer"),
            meaning: "that no series of `requests` mean that all is well, and why",
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
    default_expect: &["usual(requests_per_second)", "usual(error_ratio)"],
    headline: &["requests_per_second", "error_ratio"],
    sees: Sees::Past,
    attempts: 1,
    example: "traffic/traffic.yaml",
    example_text: include_str!("../../../checks.d/traffic/traffic.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

const MEASURES: &[Measure] = &[
    Measure { name: "requests", kind: Type::Number, unit: "count", meaning: "requests in the window" },
    Measure {
        name: "requests_per_second",
        kind: Type::Number,
        unit: "per second",
        meaning: "requests per second of the window",
    },
    Measure {
        name: "error_ratio",
        kind: Type::Number,
        unit: "ratio 0–1",
        meaning: "share of the requests that failed",
    },
    Measure {
        name: "client_error_ratio",
        kind: Type::Number,
        unit: "ratio 0–1",
        meaning: "share of the requests that the client had wrong; never bad by itself",
    },
    Measure {
        name: "p50_seconds",
        kind: Type::Number,
        unit: "seconds",
        meaning: "half of the requests took at most about this long",
    },
    Measure {
        name: "p95_seconds",
        kind: Type::Number,
        unit: "seconds",
        meaning: "95 % of the requests took at most about this long",
    },
    Measure {
        name: "p99_seconds",
        kind: Type::Number,
        unit: "seconds",
        meaning: "99 % of the requests took at most about this long; a histogram tells no more than its buckets do",
    },
    Measure {
        name: "age_seconds",
        kind: Type::Number,
        unit: "seconds",
        meaning: "how old the newest sample of the counter is, at the end of the window",
    },
];

#[cfg(test)]
mod tests;
