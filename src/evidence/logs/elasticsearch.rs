//! `elasticsearch`: what the programs wrote to an Elasticsearch or OpenSearch in the window, and what of it is new.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::account;
use super::line::{Format, is_error_level};
use super::store::{self, Line, Rule, Span, Store, Wanted};
use crate::evidence::endpoint::{self, AbsentMeans, Endpoint, HeaderText};
use crate::evidence::slots::{self, TextTemplate};
use crate::evidence::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::encode;
use crate::model::look::Look;
use crate::model::observation::{Observation, Unknown, UnknownKind};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::model::window::Window;
use crate::net::elasticsearch::{self as wire, Document};
use crate::net::system::System;
use crate::yaml::{Node, Spanned};

/// Fields that say how grave a line is.
const LEVELS: [&str; 5] = ["log.level", "level", "severity", "severity_text", "loglevel"];

/// The field that holds an error's own words, in the Elastic Common Schema.
const ERROR: &str = "error.message";

/// The kind.
pub static KIND: Kind = Kind {
    name: "elasticsearch",
    look: Look::Logs,
    summary: "lines, matches and never-seen messages of a log in Elasticsearch or OpenSearch",
    docs: "Searches the indices for the documents of the window, newest first, page by page up to `limit` (in a point in \
time where the server has one). What is counted is what a `log_file` counts: a document is a line, its text the field \
`message`. `matches` are the lines that `match` finds, without it those of an error level, as the line itself or one of \
the fields log.level, level or severity says. A message is new if neither the memory of this check nor the hour before \
the window nor the same hour yesterday has its template; where there is no such past, `new_templates` and \
`new_error_templates` are absent, so that an expectation about them is unknown. Lines that name Houston's own requests \
are left out.

Bad is what the expectations say. Unknown, never good: it doesn't answer or refuses the query; shards or clusters are \
missing from the answer, or it ran out of time; there is no such index, or no document has the field `message`; more \
documents than `limit` (the measures then say how many at least); an empty window, unless \
`absent_means: { healthy: true, because: … }`, and then the indices must have some document in the hour up to the \
window's end: a log that nobody ships any more is quiet, too.

With `customer`, a ticket that names a customer is answered for that customer's documents alone as well. Values from a \
ticket stand in `terms` only, and are compared as they are.",
    keys: &[
        Key { name: "url", takes: "URL", default: None, meaning: "where the API is, without the index" },
        Key { name: "index", takes: "names or patterns, with commas", default: None, meaning: "the indices, aliases or data streams" },
        Key {
            name: "query",
            takes: "query string or query DSL",
            default: Some("every document"),
            meaning: "which documents: text as in Kibana's Lucene syntax, or a map of the query DSL",
        },
        Key {
            name: "terms",
            takes: "map of field to text",
            default: Some("none"),
            meaning: "fields that must hold exactly this; {{ parameters }} may stand in the values",
        },
        Key { name: "time_field", takes: "field", default: Some("@timestamp"), meaning: "the date of a document" },
        Key { name: "message", takes: "field", default: Some("message"), meaning: "the text of a document" },
        store::MATCH,
        store::EXCLUDE,
        store::FORMAT,
        store::LIMIT,
        Key {
            name: "customer",
            takes: "{ field }",
            default: Some("none"),
            meaning: "the field that says whose a document is; of type keyword",
        },
        store::ABSENT,
        Key {
            name: "headers",
            takes: "map of text or secret",
            default: Some("none"),
            meaning: "sent along; secret ones as { env: NAME } or { file: path }: authorization holds `ApiKey …` or `Basic …`",
        },
        endpoint::BEARER_TOKEN,
    ],
    measures: account::MEASURES,
    default_expect: &["new_error_templates == 0"],
    headline: &["lines", "matches"],
    sees: Sees::Past,
    attempts: 1,
    example: "logs/elasticsearch.yaml",
    example_text: include_str!("../../../checks.d/logs/elasticsearch.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

/// What stands under `elasticsearch:`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Elasticsearch")]
struct Config {
    /// Where the API is, without the index.
    url: Spanned<String>,
    /// Names or patterns of indices, with commas between.
    index: Spanned<String>,
    /// A query string, or a map of the query DSL.
    query: Option<Spanned<Query>>,
    /// Fields that must hold exactly this.
    #[serde(default)]
    terms: BTreeMap<String, TextTemplate>,
    time_field: Option<String>,
    message: Option<String>,
    /// Lines that count as matches; default: those of an error level.
    #[serde(rename = "match")]
    matching: Option<String>,
    /// Lines that are left out.
    exclude: Option<String>,
    #[serde(default)]
    format: Format,
    /// The most lines of a window.
    limit: Option<usize>,
    customer: Option<CustomerConfig>,
    absent_means: Option<Spanned<AbsentMeans>>,
    headers: Option<Spanned<BTreeMap<String, HeaderText>>>,
    bearer_token: Option<SecretRef>,
}

/// Where a document says whose it is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ElasticsearchCustomer")]
struct CustomerConfig {
    /// A field of type keyword.
    field: String,
}

/// A query as YAML has it, in the query DSL.
#[derive(Debug)]
struct Query(Value);

impl<'de> Deserialize<'de> for Query {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Query;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a query string, or a map of the query DSL")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Query, E> {
                Ok(Query(json!({ "query_string": { "query": text } })))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Query, A::Error> {
                Value::deserialize(MapAccessDeserializer::new(map)).map(Query)
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl JsonSchema for Query {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ElasticsearchQuery".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "object"] })
    }
}

/// A search, ready to be asked.
#[derive(Debug)]
struct Elasticsearch {
    endpoint: Endpoint,
    index: String,
    query: Option<Value>,
    terms: BTreeMap<String, TextTemplate>,
    time_field: String,
    message: String,
    customer: Option<String>,
    rule: Rule,
}

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    let headers = config.headers.unwrap_or_else(|| Spanned { at: node.span.clone(), value: BTreeMap::new() });
    let endpoint = Endpoint::new(&config.url, headers, config.bearer_token)?;
    let index = config.index.value;
    let part =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.*+:<>{}/@".contains(c));
    if !index.split(',').all(part) || index.contains("{{") || index.starts_with('_') {
        return Err(Diagnostic::error(config.index.at, "not the names of indices").hint("index: logs-shop-*"));
    }
    let query = match config.query {
        Some(query) if slots::without_slots(&query.value.0.to_string()).is_err() => {
            return Err(Diagnostic::error(query.at, "no parameters can stand in the query")
                .hint("terms: { order.id: \"{{ order }}\" }"));
        }
        other => other.map(|query| query.value.0),
    };
    let (matching, exclude) = (config.matching.as_ref(), config.exclude.as_ref());
    let rule = Rule::read(node, config.format, matching, exclude, config.limit, config.absent_means)?;
    Ok(Arc::new(Elasticsearch {
        endpoint,
        index,
        query,
        terms: config.terms,
        time_field: config.time_field.unwrap_or_else(|| "@timestamp".to_owned()),
        message: config.message.unwrap_or_else(|| "message".to_owned()),
        customer: config.customer.map(|customer| customer.field),
        rule,
    }))
}

impl Probe for Elasticsearch {
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
        let mut names: Vec<String> = self.terms.values().flat_map(TextTemplate::params).collect();
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

impl Elasticsearch {
    fn asking(&self, ask: &Ask) -> Result<Asking<'_>, Unknown> {
        let mut everyone: Vec<Value> = self.query.iter().cloned().collect();
        for (field, value) in &self.terms {
            let value = value
                .render(&ask.params)
                .map_err(|error| Unknown::new(UnknownKind::MissingParam, error.to_string()))?;
            everyone.push(json!({ "term": { field: value } }));
        }
        let mut own = everyone.clone();
        match (&ask.customer, &self.customer) {
            (None, _) => {}
            (Some(customer), Some(field)) => own.push(json!({ "term": { field: customer } })),
            (Some(_), None) => {
                let why = "this check does not say which field names the customer";
                return Err(Unknown::new(UnknownKind::Refused, why));
            }
        }
        let fields = [&[self.message.as_str(), ERROR][..], &LEVELS[..]].concat();
        Ok(Asking { probe: self, system: self.endpoint.open(&ask.tools)?, fields, everyone, own })
    }

    fn line(&self, document: Document) -> Line {
        let error = LEVELS.iter().filter_map(|name| document.fields.get(*name)).any(|level| is_error_level(level));
        let mut text = document.fields.get(&self.message).cloned().unwrap_or_default();
        if let Some(cause) = document.fields.get(ERROR).filter(|cause| !text.contains(cause.as_str())) {
            let between = if text.is_empty() { "" } else { ": " };
            text = format!("{text}{between}{cause}");
        }
        Line { at: document.at.div_euclid(1_000), text: text.into_bytes(), error }
    }
}

/// A search with its values, on its way.
struct Asking<'a> {
    probe: &'a Elasticsearch,
    system: System,
    fields: Vec<&'a str>,
    /// For everybody's documents.
    everyone: Vec<Value>,
    /// For those that the question is about.
    own: Vec<Value>,
}

impl Asking<'_> {
    fn span<'s>(&'s self, filter: &'s [Value], window: Window, limit: usize, deadline: Instant) -> wire::Span<'s> {
        let Elasticsearch { index, time_field, .. } = self.probe;
        wire::Span { index, time_field, filter, fields: &self.fields, window, limit, deadline }
    }

    async fn ask(&self, span: wire::Span<'_>) -> Result<wire::Documents, Unknown> {
        let unanswered = |no_answer| self.probe.endpoint.unanswered(&no_answer);
        let documents = wire::documents(&self.system, span).await.map_err(unanswered)?;
        if documents.nowhere {
            let why = format!("{}: no index is called `{}`", self.probe.endpoint.system(), self.probe.index);
            return Err(Unknown::new(UnknownKind::Incomplete, why));
        }
        Ok(documents)
    }

    fn by_hand(&self, window: Window) -> String {
        let span = self.span(&self.own, window, self.probe.rule.limit, Instant::now());
        let body = wire::body(&span, window.to, 100, std::time::Duration::from_secs(10));
        let url = encode::shell_word(self.system.at(&format!("{}/_search", self.probe.index)).as_str());
        let curl = self.probe.endpoint.curl();
        format!("{curl} -H 'content-type: application/json' {url} -d {}", encode::shell_word(&body.to_string()))
    }
}

impl Store for Asking<'_> {
    async fn lines(&self, wanted: Wanted) -> Result<Span, Unknown> {
        let filter = if wanted.everyone { &self.everyone } else { &self.own };
        let documents = self.ask(self.span(filter, wanted.window, wanted.limit, wanted.deadline)).await?;
        let with_text = documents.found.iter().filter(|found| found.fields.contains_key(&self.probe.message)).count();
        let mut notes = Vec::new();
        match (with_text, documents.found.len()) {
            (0, 1..) => {
                let (system, message) = (self.probe.endpoint.system(), encode::terminal(&self.probe.message));
                let why = format!("{system}: no document has the field `{message}`");
                return Err(Unknown::new(UnknownKind::Unintelligible, why));
            }
            (some, all) if some < all => notes.push(format!("{} documents have no text", all - some)),
            _ => {}
        }
        let lines = documents.found.into_iter().map(|document| self.probe.line(document)).collect();
        Ok(Span { lines, incomplete: documents.incomplete, notes })
    }

    async fn is_alive(&self, window: Window, deadline: Instant) -> Result<(), Unknown> {
        if self.own.is_empty() {
            return Ok(());
        }
        let hour = Window::ending_at(window.to, jiff::SignedDuration::from_hours(1).max(window.length()));
        if self.ask(self.span(&[], hour, 1, deadline)).await?.found.is_empty() {
            let (system, index) = (self.probe.endpoint.system(), &self.probe.index);
            let why = format!("{system}: no document at all in `{index}` in the hour before");
            return Err(Unknown::new(UnknownKind::Stale, why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
