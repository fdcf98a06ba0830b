//! Loki's query API: the lines of a span, page by page; answers read strictly.
//!
//! <https://grafana.com/docs/loki/latest/reference/loki-http-api/>. Errors come as plain text. What a line carries
//! besides its stream's labels (structured metadata, `detected_level`) comes back as labels of a stream of its own.

use std::collections::{BTreeMap, HashSet};

use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::Instant;

use super::system::{AtMost, NoAnswer, Question, System, not_an_answer, short};
use crate::model::window::Window;

/// The most bytes of one answer.
const BODY_LIMIT: usize = 16 * 1024 * 1024;
/// The most lines that are asked for at once: what Loki allows unless it is configured otherwise.
const PAGE: usize = 5_000;
/// The fewest, where pages have to be made smaller.
const SMALLEST_PAGE: usize = 20;
/// The most entries of one answer that are read.
const ENTRIES_LIMIT: usize = 20_000;
/// The most bytes of lines that all pages of one span may hold.
const TEXT_LIMIT: usize = 32 * 1024 * 1024;

/// Which end of the span is read first, and so which end is missing where there are too many lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The newest lines first.
    #[default]
    Backward,
    /// The oldest lines first.
    Forward,
}

impl Direction {
    pub fn name(self) -> &'static str {
        match self {
            Direction::Backward => "backward",
            Direction::Forward => "forward",
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Nanoseconds since 1970.
    pub at: i64,
    pub line: String,
    /// The number of its stream in [`Entries::streams`].
    pub stream: usize,
}

/// The lines of a span, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entries {
    pub lines: Vec<Entry>,
    /// The labels of each stream.
    pub streams: Vec<BTreeMap<String, String>>,
    /// Why there are more lines than these, or may be.
    pub incomplete: Option<String>,
}

#[derive(Deserialize)]
struct Envelope {
    status: String,
    data: Option<Data>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    result_type: String,
    result: AtMost<Row, ENTRIES_LIMIT>,
}

#[derive(Deserialize)]
struct Row {
    stream: BTreeMap<String, String>,
    values: AtMost<Value, ENTRIES_LIMIT>,
}

/// `["1795340206166724970", "line"]`, and structured metadata behind it where the server was told to keep it apart.
struct Value(i64, String);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> serde::de::Visitor<'de> for Read {
            type Value = Value;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a time and a line")
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
                use serde::de::Error;
                let at: String = list.next_element()?.ok_or_else(|| A::Error::custom("a line without its time"))?;
                let line = list.next_element()?.ok_or_else(|| A::Error::custom("a time without its line"))?;
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Value(at.parse().map_err(|_| A::Error::custom("a time that is no number"))?, line))
            }
        }
        deserializer.deserialize_seq(Read)
    }
}

/// What is read of a span.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// A log query: a stream selector and what follows it.
    pub query: &'a str,
    /// Both ends belong to it.
    pub window: Window,
    /// The most lines; where there are more, those at the other end are missing.
    pub limit: usize,
    pub direction: Direction,
    pub deadline: Instant,
}

/// Reads the lines of a span, as many pages as that takes.
///
/// # Errors
/// [`NoAnswer`], whichever page it was: a span that was read in part and then refused says nothing.
pub async fn lines(loki: &System, span: Span<'_>) -> Result<Entries, NoAnswer> {
    let mut reading = Reading::new(span);
    loop {
        let asked = reading.page.min(span.limit + 1 - reading.entries.lines.len() + reading.edge.len());
        match page(loki, &span, (reading.start, reading.end), asked).await {
            Ok(rows) => {
                if reading.take(rows, asked)? {
                    return Ok(reading.finish());
                }
            }
            Err(error) => reading.page = smaller(&error, reading.page).ok_or(error)?,
        }
    }
}

/// A page size that may work where this one was too large.
fn smaller(error: &NoAnswer, page: usize) -> Option<usize> {
    let next = match error {
        NoAnswer::TooMuch { .. } => page / 4,
        // "max entries limit per query exceeded, limit > max_entries_limit_per_query (5000 > 1000)"
        NoAnswer::Refused { status: 400, reason } if reason.contains("max entries limit") => {
            reason.rsplit_once("> ")?.1.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok()?
        }
        _ => return None,
    };
    (SMALLEST_PAGE..page).contains(&next).then_some(next)
}

async fn page(loki: &System, span: &Span<'_>, (start, end): (i64, i64), limit: usize) -> Result<Vec<Row>, NoAnswer> {
    let query = [
        ("query", span.query.to_owned()),
        ("start", start.to_string()),
        ("end", end.to_string()),
        ("limit", limit.to_string()),
        ("direction", span.direction.name().to_owned()),
    ];
    let question = Question {
        method: Method::GET,
        path: "loki/api/v1/query_range",
        query: &query,
        body: None,
        limit: BODY_LIMIT,
        deadline: span.deadline,
    };
    let response = loki.ask(question).await?;
    let wrong = |why: &str| not_an_answer(why, &response.body);
    let envelope: Envelope = serde_json::from_slice(&response.body).map_err(|error| wrong(&error.to_string()))?;
    let Some(data) = envelope.data.filter(|_| envelope.status == "success") else {
        return Err(wrong("no success"));
    };
    if data.result_type != "streams" {
        return Err(wrong("the query yields no lines"));
    }
    if let Some(warning) = envelope.warnings.unwrap_or_default().first() {
        return Err(NoAnswer::Partial(short(warning)));
    }
    let inside = |row: &Row| row.values.0.iter().all(|Value(at, _)| (start..end).contains(at));
    if !data.result.0.iter().all(inside) {
        return Err(wrong("lines from outside of the span"));
    }
    Ok(data.result.0)
}

/// A span that is being read.
struct Reading<'a> {
    span: Span<'a>,
    /// What is left of it, in nanoseconds; `end` is outside.
    start: i64,
    end: i64,
    page: usize,
    text: usize,
    entries: Entries,
    numbers: BTreeMap<BTreeMap<String, String>, usize>,
    /// Lines at the edge between two pages, which the next page has again.
    edge: HashSet<(usize, String)>,
}

impl<'a> Reading<'a> {
    fn new(span: Span<'a>) -> Self {
        Reading {
            span,
            start: nanoseconds(span.window.from),
            end: nanoseconds(span.window.to).saturating_add(1),
            page: PAGE,
            text: 0,
            entries: Entries::default(),
            numbers: BTreeMap::new(),
            edge: HashSet::new(),
        }
    }

    /// Takes in a page; true where it was the last one.
    fn take(&mut self, rows: Vec<Row>, asked: usize) -> Result<bool, NoAnswer> {
        let before = self.entries.lines.len();
        let mut received = 0;
        let mut farthest: Option<i64> = None;
        for row in rows {
            let next = self.entries.streams.len();
            let stream = *self.numbers.entry(row.stream.clone()).or_insert(next);
            if stream == next {
                self.entries.streams.push(row.stream);
            }
            for Value(at, line) in row.values.0 {
                received += 1;
                farthest = Some(match (farthest, self.span.direction) {
                    (None, _) => at,
                    (Some(other), Direction::Backward) => other.min(at),
                    (Some(other), Direction::Forward) => other.max(at),
                });
                let key = (stream, line);
                if self.edge.contains(&key) && (at == self.start || at == self.end - 1) {
                    continue;
                }
                self.text += key.1.len();
                self.entries.lines.push(Entry { at, line: key.1, stream });
            }
        }
        if received > ENTRIES_LIMIT {
            return Err(NoAnswer::TooMuch { limit: ENTRIES_LIMIT, what: "lines in one answer" });
        }
        let limit = self.span.limit;
        if self.entries.lines.len() > limit {
            self.entries.incomplete = Some(format!("more than {limit} lines"));
            return Ok(true);
        }
        if self.text > TEXT_LIMIT {
            self.entries.incomplete = Some(format!("more than {} MiB of lines", TEXT_LIMIT >> 20));
            return Ok(true);
        }
        let Some(farthest) = farthest.filter(|_| received >= asked) else { return Ok(true) };
        let edge: HashSet<_> = self
            .entries
            .lines
            .iter()
            .filter(|entry| entry.at == farthest)
            .map(|entry| (entry.stream, entry.line.clone()))
            .collect();
        // Either way the next page would be the same again.
        if edge.len() >= self.page || self.entries.lines.len() == before {
            self.entries.incomplete = Some(format!("{} lines at one instant, and perhaps more", edge.len()));
            return Ok(true);
        }
        self.edge = edge;
        match self.span.direction {
            Direction::Backward => self.end = farthest.saturating_add(1),
            Direction::Forward => self.start = farthest,
        }
        Ok(false)
    }

    fn finish(mut self) -> Entries {
        self.entries.lines.sort_by_key(|entry| entry.at);
        let (limit, all) = (self.span.limit, self.entries.lines.len());
        match self.span.direction {
            Direction::Backward => drop(self.entries.lines.drain(..all.saturating_sub(limit))),
            Direction::Forward => self.entries.lines.truncate(limit),
        }
        self.entries
    }
}

/// Nanoseconds since 1970; what can't be written so is the nearest that can.
fn nanoseconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(if at < Timestamp::UNIX_EPOCH { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests;
