//! Kind `alertmanager`: the alerts of a service that fire, those too that somebody has silenced.
//!
//! An empty list says nothing by itself: it is what a dead Prometheus looks like. So no alert is only an answer where
//! something proves that one would have come: an alert that always fires, or a declared reason.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use regex::Regex;
use serde::Deserialize;

use super::super::endpoint::{AbsentMeans, Endpoint, HeaderText};
use super::super::slots::PromqlTemplate;
use super::super::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::look::Look;
use crate::model::measure::{Measure, Type};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::yaml::{Node, Spanned};

mod past;
mod present;

/// What stands under `alertmanager:`.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Where the API is, without `/api/v2/…`.
    url: Spanned<String>,
    /// `service="checkout"`, `severity=~"page|critical"`; all must match.
    matchers: Spanned<Vec<Spanned<String>>>,
    /// The name of an alert that always fires.
    #[serde(default)]
    watchdog: Option<Spanned<String>>,
    /// That no alert means that all is well, and why.
    #[serde(default)]
    absent_means: Option<Spanned<AbsentMeans>>,
    /// A Prometheus that keeps `ALERTS`, for windows that are over.
    #[serde(default)]
    prometheus: Option<History>,
    /// Sent along; secret ones as `{ env: NAME }`.
    #[serde(default)]
    headers: Option<Spanned<BTreeMap<String, HeaderText>>>,
    #[serde(default)]
    bearer_token: Option<SecretRef>,
}

/// Where what has fired is remembered.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct History {
    url: Spanned<String>,
    #[serde(default)]
    headers: Option<Spanned<BTreeMap<String, HeaderText>>>,
    #[serde(default)]
    bearer_token: Option<SecretRef>,
}

/// A service's alerts.
#[derive(Debug)]
struct Alerts {
    endpoint: Endpoint,
    /// Each as a selector of one matcher, `{service="checkout"}`.
    matchers: Vec<PromqlTemplate>,
    watchdog: Option<String>,
    /// Why no alert is a good sign.
    absent_is_healthy: Option<String>,
    history: Option<Endpoint>,
}

/// The most matchers.
const MATCHERS: usize = 20;

/// One matcher, in braces: a label's name, an operator, a value in double quotes with the escapes that Alertmanager
/// and Prometheus both know.
static MATCHER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"^\{\s*[a-zA-Z_][a-zA-Z0-9_]*\s*(?:=~|!~|!=|=)\s*"(?:[^"\\\x00-\x1f]|\\[\\"n])*"\s*\}$"#).ok()
});

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    let none = || Spanned { at: node.span.clone(), value: BTreeMap::new() };
    let endpoint = Endpoint::new(&config.url, config.headers.unwrap_or_else(none), config.bearer_token)?;
    let history = match config.prometheus {
        Some(History { url, headers, bearer_token }) => {
            Some(Endpoint::new(&url, headers.unwrap_or_else(none), bearer_token)?)
        }
        None => None,
    };
    if config.matchers.value.is_empty() {
        return Err(Diagnostic::error(config.matchers.at, "no matchers: every alert of everybody would count")
            .hint("matchers: [ 'service=\"checkout\"' ]"));
    }
    if config.matchers.value.len() > MATCHERS {
        return Err(Diagnostic::error(config.matchers.at, format!("more than {MATCHERS} matchers")));
    }
    let mut matchers = Vec::new();
    for matcher in config.matchers.value {
        let wrong = |message: String| {
            Diagnostic::error(matcher.at.clone(), message).hint("write it like 'service=\"checkout\"'")
        };
        let selector = format!("{{{}}}", matcher.value);
        if !MATCHER.as_ref().is_some_and(|form| form.is_match(&selector)) {
            return Err(wrong("not a matcher: a label, one of = != =~ !~, and a value in double quotes".to_owned()));
        }
        matchers.push(PromqlTemplate::parse(&selector).map_err(|error| wrong(error.to_string()))?);
    }
    let watchdog = match config.watchdog {
        Some(name) if name.value.trim().is_empty() || name.value.contains("{{") => {
            return Err(Diagnostic::error(name.at, "`watchdog` is the name of an alert that always fires"));
        }
        watchdog => watchdog.map(|name| name.value),
    };
    let absent_is_healthy = config.absent_means.map(AbsentMeans::because).transpose()?.flatten();
    Ok(Arc::new(Alerts { endpoint, matchers, watchdog, absent_is_healthy, history }))
}

impl Probe for Alerts {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(self.look(ask))
    }

    fn system(&self) -> String {
        self.endpoint.system()
    }

    fn params(&self) -> Vec<String> {
        let mut names: Vec<String> = self.matchers.iter().flat_map(PromqlTemplate::params).collect();
        names.sort();
        names.dedup();
        names
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.endpoint.secrets().into_iter().chain(self.history.iter().flat_map(Endpoint::secrets)).collect()
    }
}

/// The alerts of an Alertmanager.
pub static KIND: Kind = Kind {
    name: "alertmanager",
    look: Look::Internal,
    summary: "the alerts of a service that fire, silenced and inhibited ones among them",
    docs: "\
Asks Alertmanager for the alerts that all `matchers` match. `firing` counts all of them: that somebody has silenced an
alert hides it from people, and doesn't make it untrue. Which are silenced (by whom, and why) or inhibited is told
apart, in measures of their own and in the excerpt.

Alertmanager knows the present only. What fired in a window that is over is asked of the Prometheus under `prometheus`,
from its series ALERTS: there `firing` is held at each point of the window, and nothing is known of silences. In a
window that goes on until now, an alert that fires now decides; where none does, the Prometheus is asked as well.

Bad: whatever the expectations forbid; without `expect` any alert that fires.

Unknown, never good: Alertmanager or the Prometheus doesn't answer, not whole or not readably; a window that is over
without `prometheus`; and an empty list without a proof that an alert would be in it. The proof is an alert that always
fires, named by `watchdog`, or `absent_means: { healthy: true, because: … }`; over a window the watchdog, or the targets'
`up`, must have samples at nine tenths of its points. That a matcher is misspelt can't be seen.",
    keys: &[
        Key { name: "url", takes: "URL", default: None, meaning: "where Alertmanager is, without /api/v2" },
        Key {
            name: "matchers",
            takes: "list of text",
            default: None,
            meaning: "which alerts: service=\"checkout\", severity=~\"page|critical\"; {{ parameters }} may stand in the quotes",
        },
        Key {
            name: "watchdog",
            takes: "text",
            default: Some("none"),
            meaning: "the name of an alert that always fires, so that an empty list is an answer",
        },
        Key {
            name: "absent_means",
            takes: "{ healthy: true, because: text }",
            default: Some("no alert is no answer without a watchdog"),
            meaning: "that no alert means that all is well, and why",
        },
        Key {
            name: "prometheus",
            takes: "{ url, headers, bearer_token }",
            default: Some("a window that is over is unknown"),
            meaning: "the Prometheus that evaluates the alerts, for the past",
        },
        Key {
            name: "headers",
            takes: "map of text or secret",
            default: Some("none"),
            meaning: "sent to Alertmanager; secret ones as { env: NAME } or { file: path }",
        },
        Key {
            name: "bearer_token",
            takes: "secret",
            default: Some("none"),
            meaning: "sent to Alertmanager as Authorization, as { env: NAME } or { file: path }",
        },
    ],
    measures: MEASURES,
    default_expect: &["firing == 0"],
    headline: &["firing", "silenced"],
    sees: Sees::Past,
    attempts: 2,
    example: "internal/alertmanager.yaml",
    example_text: include_str!("../../../checks.d/internal/alertmanager.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

const MEASURES: &[Measure] = &[
    Measure {
        name: "firing",
        kind: Type::Number,
        unit: "count",
        meaning: "alerts that fire, silenced and inhibited ones among them; over a window, the most at once",
    },
    Measure {
        name: "active",
        kind: Type::Number,
        unit: "count",
        meaning: "those of them that notify somebody; now only",
    },
    Measure {
        name: "silenced",
        kind: Type::Number,
        unit: "count",
        meaning: "those of them that somebody has silenced; now only",
    },
    Measure {
        name: "inhibited",
        kind: Type::Number,
        unit: "count",
        meaning: "those of them that another alert inhibits; now only",
    },
    Measure { name: "names", kind: Type::List, unit: "text", meaning: "the names of the alerts that fire, each once" },
    Measure {
        name: "severities",
        kind: Type::Map,
        unit: "count",
        meaning: "how many fire, by their label severity; over a window, different ones",
    },
    Measure {
        name: "oldest_seconds",
        kind: Type::Number,
        unit: "seconds",
        meaning: "how long the one has fired that fires longest; now only",
    },
    Measure {
        name: "firing_ratio",
        kind: Type::Number,
        unit: "ratio 0–1",
        meaning: "share of the window's points at which any fired; over a window only",
    },
];

#[cfg(test)]
mod tests;
