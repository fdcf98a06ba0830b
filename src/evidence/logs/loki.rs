//! `loki`: what the programs wrote to a Loki in the window, and whether they ever wrote that before.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

use super::account;
use super::line::{Format, is_error_level};
use super::store::{self, Line, Rule, Span, Store, Wanted};
use crate::evidence::endpoint::{self, AbsentMeans, Endpoint, HeaderText};
use crate::evidence::slots::LogqlTemplate;
use crate::evidence::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::encode;
use crate::model::look::Look;
use crate::model::observation::{Observation, Unknown, UnknownKind};
use crate::model::params::is_name;
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::model::window::Window;
use crate::net::loki::{self, Direction, Entries};
use crate::net::prometheus::selectors;
use crate::net::system::System;
use crate::yaml::{Node, Spanned};

/// Labels that say how grave a line is.
const LEVELS: [&str; 5] = ["detected_level", "level", "severity", "log_level", "lvl"];

/// The header by which a Loki of several tenants knows whose lines are asked for.
const TENANT: &str = "X-Scope-OrgID";

/// The longest query, in bytes.
const QUERY_LIMIT: usize = 16 * 1024;

/// The kind.
pub static KIND: Kind = Kind {
    name: "loki",
    look: Look::Logs,
    summary: "lines, matches and never-seen messages of a log in Loki, by LogQL",
    docs: "Asks Loki for the lines that a LogQL query (a selector and its pipeline) yields in the window, page by page up to \
`limit`. What is counted is what a `log_file` counts: `matches` are the lines that `match` finds, without it those of an \
error level, as the line itself or one of the labels detected_level, level or severity says. A message is new if neither \
the memory of this check nor the hour before the window nor the same hour yesterday has its template; where there is no \
such past, `new_templates` and `new_error_templates` are absent, so that an expectation about them is unknown. \
Houston's own requests are left out.

Bad is what the expectations say. Unknown, never good: Loki doesn't answer, refuses the query, warns that its answer is \
partial; more lines than `limit` (the measures then say how many at least); an empty window, unless \
`absent_means: { healthy: true, because: … }`, and then the selector alone must have lines in the hour up to the \
window's end: a log that nobody ships any more is quiet, too. Filter in the query: `{app=\"shop\"} |= \"ERROR\"` asks for \
less than all lines.

With `customer`, a ticket that names a customer is answered for that customer's lines alone as well: the query gets \
`| label=\"customer\"` at its end, so the label may also be one that the pipeline made (`| json`, `| logfmt`).",
    keys: &[
        Key { name: "url", takes: "URL", default: None, meaning: "where the API is, without /loki/api/v1" },
        Key {
            name: "query",
            takes: "LogQL",
            default: None,
            meaning: "a log query; {{ parameters }} may stand in double quotes behind a matcher or a filter",
        },
        store::MATCH,
        store::EXCLUDE,
        store::FORMAT,
        store::LIMIT,
        Key {
            name: "direction",
            takes: "backward, forward",
            default: Some("backward"),
            meaning: "which end of a window is read first, where it has more lines than the limit: the newest or the oldest",
        },
        Key {
            name: "tenant",
            takes: "text",
            default: Some("none"),
            meaning: "whose lines, where Loki has several tenants; sent as X-Scope-OrgID",
        },
        Key {
            name: "customer",
            takes: "{ label }",
            default: Some("none"),
            meaning: "the label that says whose a line is",
        },
        store::ABSENT,
        endpoint::HEADERS,
        endpoint::BEARER_TOKEN,
    ],
    measures: account::MEASURES,
    default_expect: &["new_error_templates == 0"],
    headline: &["lines", "matches"],
    sees: Sees::Past,
    attempts: 1,
    example: "logs/loki.yaml",
    example_text: include_str!("../../../checks.d/logs/loki.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

/// What stands under `loki:`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Loki")]
struct Config {
    /// Where the API is, without `/loki/api/v1`.
    url: Spanned<String>,
    /// A log query; parameters may stand in double quotes behind a matcher or a filter.
    query: Spanned<LogqlTemplate>,
    /// Lines that count as matches; default: those of an error level.
    #[serde(rename = "match")]
    matching: Option<String>,
    /// Lines that are left out.
    exclude: Option<String>,
    #[serde(default)]
    format: Format,
    /// The most lines of a window.
    limit: Option<usize>,
    #[serde(default)]
    direction: Direction,
    /// Sent as X-Scope-OrgID.
    tenant: Option<String>,
    customer: Option<CustomerConfig>,
    absent_means: Option<Spanned<AbsentMeans>>,
    headers: Option<Spanned<BTreeMap<String, HeaderText>>>,
    bearer_token: Option<SecretRef>,
}

/// Where a line says whose it is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LokiCustomer")]
struct CustomerConfig {
    /// A label of the stream, or one that the query's pipeline makes.
    label: Spanned<String>,
}

/// A query, ready to be asked.
#[derive(Debug)]
struct Loki {
    endpoint: Endpoint,
    query: LogqlTemplate,
    direction: Direction,
    /// The label of the customer.
    customer: Option<String>,
    rule: Rule,
}

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    let mut headers = config.headers.unwrap_or_else(|| Spanned { at: node.span.clone(), value: BTreeMap::new() });
    if let Some(tenant) = config.tenant {
        if headers.value.keys().any(|name| name.eq_ignore_ascii_case(TENANT)) {
            return Err(Diagnostic::error(headers.at, "`tenant` and the header X-Scope-OrgID are the same thing"));
        }
        headers.value.insert(TENANT.to_owned(), HeaderText::Plain(tenant));
    }
    let endpoint = Endpoint::new(&config.url, headers, config.bearer_token)?;
    let wrong = |message: &str| Diagnostic::error(config.query.at.clone(), message);
    let query = config.query.value;
    if !query.text().trim_start().starts_with('{') {
        return Err(wrong("a log query begins with its stream selector").hint("query: '{app=\"shop\"} |= \"ERROR\"'"));
    }
    if query.text().len() > QUERY_LIMIT {
        return Err(wrong("the query is longer than 16 KiB"));
    }
    let customer = config.customer.map(|customer| customer.label);
    if let Some(label) = customer.as_ref().filter(|label| !is_name(&label.value)) {
        return Err(Diagnostic::error(label.at.clone(), "not the name of a label"));
    }
    let (matching, exclude) = (config.matching.as_ref(), config.exclude.as_ref());
    let rule = Rule::read(node, config.format, matching, exclude, config.limit, config.absent_means)?;
    let customer = customer.map(|label| label.value);
    Ok(Arc::new(Loki { endpoint, query, direction: config.direction, customer, rule }))
}

impl Probe for Loki {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(async move {
            match self.asking(ask) {
                Ok(asking) => {
                    let observation = store::look(ask, &self.rule, &asking, &self.endpoint.system()).await;
                    observation.reproduce(asking.by_hand(ask.window))
                }
                Err(unknown) => Observation::blind(unknown.kind, unknown.why),
            }
        })
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

    fn splits_by_customer(&self) -> bool {
        self.customer.is_some()
    }
}

impl Loki {
    fn asking(&self, ask: &Ask) -> Result<Asking<'_>, Unknown> {
        let query = self
            .query
            .render(&ask.params)
            .map_err(|error| Unknown::new(UnknownKind::MissingParam, error.to_string()))?;
        let own = match (&ask.customer, &self.customer) {
            (None, _) => query.clone(),
            // On a line of its own: the query may end with a comment.
            (Some(customer), Some(label)) => format!("{query}\n| {label}=\"{}\"", encode::promql_string(customer)),
            (Some(_), None) => {
                let why = "this check does not say which label names the customer";
                return Err(Unknown::new(UnknownKind::Refused, why));
            }
        };
        Ok(Asking { probe: self, system: self.endpoint.open(&ask.tools)?, everyone: query, own })
    }
}

/// A query with its values, on its way.
struct Asking<'a> {
    probe: &'a Loki,
    system: System,
    /// For everybody's lines.
    everyone: String,
    /// For those that the question is about.
    own: String,
}

impl Asking<'_> {
    async fn ask(
        &self,
        query: &str,
        window: Window,
        limit: usize,
        direction: Direction,
        deadline: Instant,
    ) -> Result<Entries, Unknown> {
        let span = loki::Span { query, window, limit, direction, deadline };
        loki::lines(&self.system, span).await.map_err(|no_answer| self.probe.endpoint.unanswered(&no_answer))
    }

    fn by_hand(&self, window: Window) -> String {
        let url = encode::shell_word(self.system.at("loki/api/v1/query_range").as_str());
        let query = encode::shell_word(&format!("query={}", self.own));
        let direction = self.probe.direction.name();
        let curl = self.probe.endpoint.curl();
        let span = format!("-d start={} -d end={} -d limit=5000 -d direction={direction}", window.from, window.to);
        format!("{curl} -G {url} --data-urlencode {query} {span}")
    }
}

impl Store for Asking<'_> {
    async fn lines(&self, wanted: Wanted) -> Result<Span, Unknown> {
        let query = if wanted.everyone { &self.everyone } else { &self.own };
        // Of the past, and of what is only looked for, the newest lines tell most.
        let direction = if wanted.everyone { Direction::Backward } else { self.probe.direction };
        let entries = self.ask(query, wanted.window, wanted.limit, direction, wanted.deadline).await?;
        let errors: Vec<bool> = entries.streams.iter().map(says_error).collect();
        let lines = entries.lines.into_iter().map(|entry| Line {
            at: entry.at.div_euclid(1_000),
            text: entry.line.into_bytes(),
            error: errors.get(entry.stream).copied().unwrap_or(false),
        });
        let span = Span { lines: lines.collect(), incomplete: entries.incomplete, notes: Vec::new() };
        Ok(span)
    }

    async fn is_alive(&self, window: Window, deadline: Instant) -> Result<(), Unknown> {
        let reads = selectors::reads(&self.everyone);
        let Some(selector) = reads.selectors.first().filter(|selector| selector.text != self.own.trim()) else {
            // The selector is all that there is, and the check says that its silence is fine.
            return Ok(());
        };
        let hour = Window::ending_at(window.to, jiff::SignedDuration::from_hours(1).max(window.length()));
        let newest = self.ask(&selector.text, hour, 1, Direction::Backward, deadline).await?;
        if newest.lines.is_empty() {
            let shown: String = encode::terminal(&selector.text).chars().take(80).collect();
            let why = format!("{}: no line of `{shown}` at all in the hour before", self.probe.endpoint.system());
            return Err(Unknown::new(UnknownKind::Stale, why));
        }
        Ok(())
    }

    fn newest_first(&self) -> bool {
        self.probe.direction == Direction::Backward
    }
}

/// True where a stream's labels say that its lines are errors.
fn says_error(labels: &BTreeMap<String, String>) -> bool {
    LEVELS.iter().filter_map(|name| labels.get(*name)).any(|level| is_error_level(level))
}

#[cfg(test)]
mod tests;
