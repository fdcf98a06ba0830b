//! Kind `postgres`: a service's own database, asked one statement that changes nothing.
//!
//! The database is what the service stands on: that it refuses, hangs or has no connection left is seen by the service
//! as well, and so is bad. That *we* may not ask, or asked nonsense, is our own blindness.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::super::external::address::Address;
use super::super::external::tls_options::{self, Certificate, OptionalTls, Tls};
use super::super::slots::{self, SlotError, TextTemplate};
use super::super::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::encode::{shell_word, terminal};
use crate::model::look::Look;
use crate::model::measure::{Measure, Type};
use crate::model::observation::{Observation, Phase, Unknown, UnknownKind};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::model::units::Span;
use crate::model::value::{Measures, Value};
use crate::net::http::Reason;
use crate::net::postgres::{Answer, Database, NoAnswer, Statement};
use crate::yaml::{Node, Spanned};

/// The port that PostgreSQL has unless it is told otherwise.
const PORT: u16 = 5432;
/// The longest statement, in bytes.
const QUERY_LIMIT: usize = 16 * 1024;
/// The most bind values.
const VALUES: usize = 64;
/// How many rows an excerpt shows.
const SHOWN: usize = 5;

/// What stands under `postgres:`.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// `host:port`; 5432 without a port.
    address: Spanned<String>,
    database: String,
    user: String,
    #[serde(default)]
    password: Option<SecretRef>,
    #[serde(default)]
    tls: OptionalTls,
    /// One statement that reads; `$1`, `$2` … are the values.
    query: Spanned<String>,
    /// Bound to `$1`, `$2` …; parameters stand here and nowhere else.
    #[serde(default)]
    values: Option<Spanned<Vec<TextTemplate>>>,
    /// How long the statement may take on the server.
    #[serde(default)]
    statement_timeout: Option<Spanned<Span>>,
}

/// A database and what it is asked.
#[derive(Debug)]
struct Postgres {
    address: Address,
    database: String,
    user: String,
    password: Option<SecretRef>,
    tls: OptionalTls,
    query: String,
    values: Vec<TextTemplate>,
    timeout: Option<Duration>,
}

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    let address = Address::parse(&config.address.value, Some(PORT))
        .map_err(|why| Diagnostic::error(config.address.at.clone(), why))?;
    let at = |key: &str| node.get(key).map_or_else(|| node.span.clone(), |value| value.span.clone());
    for (key, text) in [("database", &config.database), ("user", &config.user)] {
        if text.is_empty() || text.contains('\0') || slots::without_slots(text).is_err() {
            return Err(Diagnostic::error(at(key), format!("`{key}` is a name, without parameters")));
        }
    }
    let query = &config.query;
    if slots::without_slots(&query.value).is_err() {
        return Err(Diagnostic::error(query.at.clone(), "parameters can't stand in the statement itself")
            .hint("write $1 there, and `values: [ \"{{ name }}\" ]`"));
    }
    if query.value.trim().is_empty() || query.value.contains('\0') {
        return Err(Diagnostic::error(query.at.clone(), "the statement is empty or holds a NUL"));
    }
    if query.value.len() > QUERY_LIMIT {
        return Err(Diagnostic::error(query.at.clone(), format!("the statement is longer than {QUERY_LIMIT} bytes"))
            .hint("make it a view"));
    }
    let timeout = match config.statement_timeout {
        Some(span) if span.value.0 < Duration::from_millis(1) => {
            return Err(Diagnostic::error(span.at, "the time limit is shorter than a millisecond"));
        }
        span => span.map(|span| span.value.0),
    };
    let values = match config.values {
        Some(values) if values.value.len() > VALUES => {
            return Err(Diagnostic::error(values.at, format!("more than {VALUES} values")));
        }
        values => values.map(|values| values.value).unwrap_or_default(),
    };
    let Config { database, user, password, tls, .. } = config;
    Ok(Arc::new(Postgres { address, database, user, password, tls, query: config.query.value, values, timeout }))
}

impl Probe for Postgres {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(async {
            let started = Instant::now();
            let observation = match self.look(ask).await {
                Ok(observation) => observation,
                Err(unknown) => Observation::blind(unknown.kind, unknown.why),
            };
            observation.took(started.elapsed())
        })
    }

    fn system(&self) -> String {
        self.address.to_string()
    }

    fn params(&self) -> Vec<String> {
        let mut names: Vec<String> = self.values.iter().flat_map(TextTemplate::params).collect();
        names.sort();
        names.dedup();
        names
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.password.iter().cloned().chain(self.tls.0.iter().flat_map(Tls::secrets)).collect()
    }
}

impl Postgres {
    async fn look(&self, ask: &Ask) -> Result<Observation, Unknown> {
        let mut values = Vec::with_capacity(self.values.len());
        for value in &self.values {
            values.push(value.render(&ask.params).map_err(|error| {
                let kind = match error {
                    SlotError::Missing(_) => UnknownKind::MissingParam,
                    _ => UnknownKind::Refused,
                };
                Unknown::new(kind, error.to_string())
            })?);
        }
        let secret = |reference| ask.tools.credentials.get(reference);
        let password = self.password.as_ref().map(secret).transpose();
        let database = Database {
            host: self.address.host.clone(),
            port: self.address.port,
            name: self.database.clone(),
            user: self.user.clone(),
            password: password.map_err(|why| Unknown::new(UnknownKind::Refused, why))?,
            tls: self.tls.0.as_ref().map(|tls| tls.options(&ask.tools)).transpose()?,
        };
        let by_hand = self.by_hand(&values);
        let statement = Statement { sql: self.query.clone(), values, timeout: self.timeout };
        // A little before the caller gives up, so that the answer can still say what was waited for.
        let left = ask.deadline.saturating_duration_since(Instant::now());
        let deadline = ask.deadline - (left / 20).min(Duration::from_millis(100));
        let observation = match database.ask(&ask.tools.http, &statement, deadline).await {
            Ok(answer) => answered(answer),
            Err(no_answer) => self.unanswered(no_answer),
        };
        Ok(observation.reproduce(by_hand))
    }

    fn unanswered(&self, no_answer: NoAnswer) -> Observation {
        let system = self.address.to_string();
        match no_answer {
            NoAnswer::Wire(failure) => match failure.reason {
                Reason::Service | Reason::Timeout => Observation::failed(failure.phase, failure.what),
                Reason::Guard | Reason::Ours => {
                    Observation::blind(failure.unknown, format!("{system}: {}", failure.what))
                }
            },
            NoAnswer::Unable(what) => Observation::failed(Phase::Processing, what),
            NoAnswer::Refused(what) => Observation::blind(UnknownKind::Refused, format!("{system}: {what}")),
            NoAnswer::Unreadable(what) => Observation::blind(UnknownKind::Unintelligible, format!("{system}: {what}")),
            NoAnswer::TooMuch(_) => Observation::blind(UnknownKind::Incomplete, format!("{system}: {no_answer}")),
        }
    }

    /// A psql that asks the same; it takes the password from the terminal or from `PGPASSWORD`.
    fn by_hand(&self, values: &[String]) -> String {
        let host = self.address.host.to_string();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
        let mode = match &self.tls.0 {
            None => "disable",
            Some(tls) if tls.insecure => "require",
            Some(_) => "verify-full",
        };
        let mut connection = format!(
            "host={bare} port={} dbname={} user={} sslmode={mode}",
            self.address.port,
            quoted(&self.database),
            quoted(&self.user)
        );
        if let Some(ca) = self.tls.0.as_ref().and_then(|tls| tls.ca.as_ref()) {
            connection.push_str(&format!(" sslrootcert={}", quoted(&ca.to_string_lossy())));
        }
        if let Some((Some(Certificate::File(certificate)), Some(SecretRef::File(key)))) =
            self.tls.0.as_ref().map(|tls| (&tls.client_cert, &tls.client_key))
        {
            let (certificate, key) = (quoted(&certificate.to_string_lossy()), quoted(&key.to_string_lossy()));
            connection.push_str(&format!(" sslcert={certificate} sslkey={key}"));
        }
        let words: Vec<&str> = self.query.split_whitespace().collect();
        let query = if self.query.contains("--") { self.query.trim().to_owned() } else { words.join(" ") };
        let mut line = format!("psql {} -c {}", shell_word(&connection), shell_word(&query));
        for (at, value) in values.iter().enumerate() {
            line.push_str(&format!("{} ${} is {}", if at == 0 { " #" } else { "," }, at + 1, shell_word(value)));
        }
        line
    }
}

fn answered(answer: Answer) -> Observation {
    let mut measures = Measures::new();
    measures.set("rows", answer.rows.len());
    measures.set("connect_seconds", answer.connect.as_secs_f64());
    measures.set("duration_seconds", answer.statement.as_secs_f64());
    if let Some(version) = answer.version {
        measures.set("version", version);
    }
    let lines: Vec<String> = answer
        .rows
        .iter()
        .take(SHOWN)
        .map(|row| {
            let cells = answer.columns.iter().zip(row);
            let cells: Vec<String> =
                cells.map(|(name, value)| format!("{}={}", terminal(name), terminal(&value.show(100)))).collect();
            cells.join(" ")
        })
        .collect();
    let more = answer.rows.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!("\n… {more} more rows") } else { String::new() };
    if let Some(first) = answer.rows.into_iter().next() {
        if let Some(value) = first.first() {
            measures.set("value", value.clone());
        }
        let row: BTreeMap<String, Value> = answer.columns.into_iter().zip(first).collect();
        measures.set("row", Value::Map(row));
    }
    Observation::answered(measures).excerpt(lines.join("\n") + &more)
}

/// A PostgreSQL database.
pub static KIND: Kind = Kind {
    name: "postgres",
    look: Look::Internal,
    summary: "a PostgreSQL database takes connections, and what a statement that reads says",
    docs: "\
Connects (over TLS where `tls` is given, the certificate verified), and runs one statement in a read-only transaction
under a time limit. The columns of the first row are measures: `row.waiting < 5`. Numbers of any sort are numbers,
intervals are seconds, moments are text, null is null; what has no place among measures (an array, an address) is to be
cast to text. The transaction is always rolled back; what a function does outside of it (ending another session) a
role's rights have to forbid.

Values of a ticket are bound to `$1`, `$2` … and never become part of the statement. They go as text, and the server
takes them for what the statement needs.

Bad: the server can't be reached, refuses, resets, fails TLS, closes, has no connection left, starts up or shuts down;
the statement doesn't end in time or waits too long for a lock; and whatever the expectations forbid. Without `expect`
any answer will do.

Unknown, never good: a wrong user, password or database, a right that is missing, a statement that is wrong or writes,
more than 1000 rows, 100 columns or 1 MiB, a column that can't be read, a guard of ours that forbids the address. A row
that isn't there has no columns, and what expects something of them is unknown.",
    keys: &[
        Key { name: "address", takes: "host:port", default: None, meaning: "where it is; 5432 without a port" },
        Key { name: "database", takes: "text", default: None, meaning: "the database's name" },
        Key { name: "user", takes: "text", default: None, meaning: "the role; one that may only read" },
        Key {
            name: "password",
            takes: "secret",
            default: Some("none"),
            meaning: "as { env: NAME } or { file: path }; without TLS it is only as safe as the way there",
        },
        Key {
            name: "tls",
            takes: tls_options::OPTIONAL_TAKES,
            default: Some("no TLS"),
            meaning: "ask for TLS before anything else, and go no further without",
        },
        Key {
            name: "query",
            takes: "SQL",
            default: None,
            meaning: "one statement that reads; $1, $2 … are the values",
        },
        Key {
            name: "values",
            takes: "list of text",
            default: Some("none"),
            meaning: "bound to $1, $2 …; {{ parameters }} may stand here",
        },
        Key {
            name: "statement_timeout",
            takes: "duration",
            default: Some("the time that the check has left"),
            meaning: "how long the statement may take, and wait for a lock, on the server",
        },
    ],
    measures: MEASURES,
    default_expect: &["rows >= 0"],
    headline: &["rows", "value", "duration_seconds"],
    sees: Sees::Now,
    attempts: 2,
    example: "internal/postgres.yaml",
    example_text: include_str!("../../../checks.d/internal/postgres.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

const MEASURES: &[Measure] = &[
    Measure { name: "rows", kind: Type::Number, unit: "count", meaning: "how many rows the statement yields" },
    Measure {
        name: "row",
        kind: Type::Map,
        unit: "the columns' own; intervals in seconds",
        meaning: "the first row: its columns by their names; absent where there is no row",
    },
    Measure {
        name: "value",
        kind: Type::Any,
        unit: "the column's own; an interval in seconds",
        meaning: "the first column of the first row",
    },
    Measure {
        name: "connect_seconds",
        kind: Type::Number,
        unit: "seconds",
        meaning: "from the first step until the server took us in",
    },
    Measure { name: "duration_seconds", kind: Type::Number, unit: "seconds", meaning: "the statement alone" },
    Measure { name: "version", kind: Type::Text, unit: "text", meaning: "the server's version, as it says" },
];

#[cfg(test)]
mod tests;
