//! The JSON of a search: hits with the few texts of a document that were asked for; what doesn't fit is an error.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::super::system::{AtMost, NoAnswer, not_an_answer, short};
use super::{Document, PAGE};

/// The most texts of one document that are kept.
const FIELDS: usize = 64;

/// One page of a search.
#[derive(Debug)]
pub(super) struct Page {
    pub hits: Vec<Hit>,
    /// The identifier under which the next page is to be asked for.
    pub pit: Option<String>,
    pub shards: u64,
}

#[derive(Debug)]
pub(super) struct Hit {
    pub key: (String, String),
    /// What the next page begins after.
    pub sort: Vec<serde_json::Value>,
    pub document: Document,
}

#[derive(Deserialize)]
struct Search {
    timed_out: bool,
    #[serde(default)]
    terminated_early: Option<bool>,
    #[serde(rename = "_shards")]
    shards: Shards,
    #[serde(rename = "_clusters")]
    clusters: Option<Clusters>,
    pit_id: Option<String>,
    hits: Hits,
}

#[derive(Deserialize)]
struct Shards {
    total: u64,
    #[serde(default)]
    failed: u64,
    #[serde(default)]
    failures: AtMost<Failure, 1_000>,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    reason: Option<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Clusters {
    #[serde(default)]
    total: u64,
    #[serde(default)]
    skipped: u64,
    #[serde(default)]
    partial: u64,
    #[serde(default)]
    failed: u64,
}

#[derive(Deserialize)]
struct Hits {
    hits: AtMost<Row, PAGE>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(rename = "_index")]
    index: String,
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_source", default)]
    source: Source,
    sort: AtMost<serde_json::Value, 4>,
}

/// The texts and numbers of a document by their paths, with dots between names.
#[derive(Default)]
struct Source(BTreeMap<String, String>);

/// Reads a page; an answer that isn't whole is none.
pub(super) fn read(body: &[u8]) -> Result<Page, NoAnswer> {
    let search: Search = serde_json::from_slice(body).map_err(|error| not_an_answer(&error.to_string(), body))?;
    if search.timed_out {
        return Err(NoAnswer::Partial("it ran out of time and answered in part (timed_out)".to_owned()));
    }
    if search.terminated_early == Some(true) {
        return Err(NoAnswer::Partial("it ended the search early (terminated_early)".to_owned()));
    }
    if search.shards.failed > 0 {
        let why = search.shards.failures.0.into_iter().find_map(|failure| failure.reason?.reason);
        let why = why.map_or(String::new(), |why| format!(": {}", short(&why)));
        let (failed, total) = (search.shards.failed, search.shards.total);
        return Err(NoAnswer::Partial(format!("{failed} of {total} shards failed{why}")));
    }
    if let Some(clusters) = search.clusters {
        let missing = clusters.skipped + clusters.partial + clusters.failed;
        if missing > 0 {
            return Err(NoAnswer::Partial(format!("{missing} of {} clusters did not answer whole", clusters.total)));
        }
    }
    let hits = search.hits.hits.0.into_iter().map(|row| {
        let at = row.sort.0.first().and_then(time).ok_or_else(|| not_an_answer("a hit without its time", body))?;
        Ok(Hit { key: (row.index, row.id), sort: row.sort.0, document: Document { at, fields: row.source.0 } })
    });
    Ok(Page { hits: hits.collect::<Result<_, NoAnswer>>()?, pit: search.pit_id, shards: search.shards.total })
}

/// Nanoseconds since 1970, from milliseconds, nanoseconds or a text.
fn time(value: &serde_json::Value) -> Option<i64> {
    match value {
        serde_json::Value::Number(number) => {
            let number = number.as_i64()?;
            // Milliseconds reach this number in the year 5138, nanoseconds reached it on the second day of 1970.
            if number.unsigned_abs() < 100_000_000_000_000 { number.checked_mul(1_000_000) } else { Some(number) }
        }
        serde_json::Value::String(text) => i64::try_from(text.parse::<Timestamp>().ok()?.as_nanosecond()).ok(),
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = BTreeMap::new();
        deserializer.deserialize_any(At { path: String::new(), fields: &mut fields })?;
        Ok(Source(fields))
    }
}

/// A place in a document.
struct At<'a> {
    path: String,
    fields: &'a mut BTreeMap<String, String>,
}

impl At<'_> {
    fn keep<E: Error>(self, text: String) -> Result<(), E> {
        if self.fields.len() < FIELDS {
            self.fields.entry(self.path).or_insert(text);
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a document")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            let path = if self.path.is_empty() { name } else { format!("{}.{name}", self.path) };
            map.next_value_seed(At { path, fields: self.fields })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        // Of several values of a field the first stands for it.
        if list.next_element_seed(At { path: self.path, fields: self.fields })?.is_some() {
            while list.next_element::<IgnoredAny>()?.is_some() {}
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.keep(text.to_owned())
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.keep(number.to_string())
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.keep(number.to_string())
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.keep(number.to_string())
    }
    fn visit_bool<E: Error>(self, truth: bool) -> Result<(), E> {
        self.keep(truth.to_string())
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}
