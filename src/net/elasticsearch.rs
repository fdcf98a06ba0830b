//! The search API of Elasticsearch and OpenSearch: the documents of a span, page by page; answers read strictly.
//!
//! <https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-search>,
//! <https://docs.opensearch.org/latest/api-reference/search-apis/point-in-time-api/>. Where one page doesn't hold all, a
//! point in time is opened, so that all pages see the same documents; a server that has none is paged by time alone.
//! Pages go on after the last hit's sort values where these tell all hits apart, as Elasticsearch's do within a point in
//! time. Otherwise the next page begins with the last hit's instant again, and what was there already is left out.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::system::{NoAnswer, Question, System, not_an_answer};
use crate::model::encode;
use crate::model::window::Window;

mod answer;

use answer::Page;

/// The most bytes of one answer.
const BODY_LIMIT: usize = 16 * 1024 * 1024;
/// The most documents that are asked for at once; the servers' own bound is 10,000.
const PAGE: usize = 5_000;
/// The fewest, where pages have to be made smaller.
const SMALLEST_PAGE: usize = 20;
/// The most bytes of texts that all pages of one span may hold.
const TEXT_LIMIT: usize = 32 * 1024 * 1024;
/// How long a point in time is kept for the next page.
const KEPT: &str = "1m";

/// One document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Nanoseconds since 1970.
    pub at: i64,
    /// Its texts and numbers by their paths, with dots between names.
    pub fields: BTreeMap<String, String>,
}

/// The documents of a span, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Documents {
    pub found: Vec<Document>,
    /// Why there are more than these, or may be.
    pub incomplete: Option<String>,
    /// No index has this name: nobody was asked.
    pub nowhere: bool,
}

/// What is read.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// Names and patterns of indices, with commas between.
    pub index: &'a str,
    /// The field that holds a document's time.
    pub time_field: &'a str,
    /// Queries that all have to fit, in the query DSL.
    pub filter: &'a [Value],
    /// The fields that are wanted of each document.
    pub fields: &'a [&'a str],
    /// Both ends belong to it.
    pub window: Window,
    /// The most documents; where there are more, the oldest are missing.
    pub limit: usize,
    pub deadline: Instant,
}

/// Reads the documents of a span, as many pages as that takes.
///
/// # Errors
/// [`NoAnswer`], whichever page it was; an answer that a shard or a cluster is missing from is none.
pub async fn documents(system: &System, span: Span<'_>) -> Result<Documents, NoAnswer> {
    let mut reading = Reading {
        span,
        page: PAGE,
        end: span.window.to,
        after: None,
        pit: None,
        sought: false,
        edge: HashSet::new(),
        text: 0,
        documents: Documents::default(),
    };
    let result = reading.all(system).await;
    if let Some(pit) = reading.pit.take() {
        pit.close(system, span.deadline).await;
    }
    result?;
    reading.documents.found.sort_by_key(|document| document.at);
    let surplus = reading.documents.found.len().saturating_sub(span.limit);
    reading.documents.found.drain(..surplus);
    Ok(reading.documents)
}

/// The body of a search for a span.
pub fn body(span: &Span<'_>, end: Timestamp, size: usize, left: Duration) -> Value {
    let mut filter = vec![json!({ "range": { span.time_field: {
        "gte": span.window.from.to_string(), "lte": end.to_string(), "format": "strict_date_optional_time"
    } } })];
    filter.extend(span.filter.iter().cloned());
    json!({
        "size": size,
        "track_total_hits": false,
        // Lets the server stop as well when nobody waits any more.
        "timeout": format!("{}ms", left.as_millis().max(1)),
        "query": { "bool": { "filter": filter } },
        "sort": [{ span.time_field: { "order": "desc", "numeric_type": "date_nanos" } }],
        "_source": span.fields,
    })
}

/// A point in time, by whose ways it was opened.
#[derive(Debug)]
struct Pit {
    id: String,
    opensearch: bool,
}

impl Pit {
    /// Opens one; `None` where the server has none.
    async fn open(system: &System, span: &Span<'_>) -> Result<Option<Pit>, NoAnswer> {
        for (path, name, opensearch) in [("_pit", "id", false), ("_search/point_in_time", "pit_id", true)] {
            let path = format!("{}/{path}", segments(span.index));
            let query = [("keep_alive", KEPT.to_owned())];
            let question = Question { query: &query, ..question(&path, None, span.deadline) };
            let response = match system.ask(question).await {
                Ok(response) => response,
                Err(NoAnswer::Refused { status: 400 | 403 | 404 | 405 | 501, .. }) => continue,
                Err(error) => return Err(error),
            };
            let answer: Value = serde_json::from_slice(&response.body)
                .map_err(|error| not_an_answer(&error.to_string(), &response.body))?;
            if answer.pointer("/_shards/failed").and_then(Value::as_u64).unwrap_or(0) > 0 {
                return Err(NoAnswer::Partial("a shard is missing from the point in time".to_owned()));
            }
            let id = answer[name].as_str().ok_or_else(|| not_an_answer("no point in time", &response.body))?;
            return Ok(Some(Pit { id: id.to_owned(), opensearch }));
        }
        Ok(None)
    }

    /// Lets it go. Where that fails the server forgets it by itself.
    async fn close(self, system: &System, deadline: Instant) {
        let (path, body) = match self.opensearch {
            false => ("_pit", json!({ "id": self.id })),
            true => ("_search/point_in_time", json!({ "pit_id": [self.id] })),
        };
        let deadline = deadline.min(Instant::now() + Duration::from_secs(1));
        let _ = system.ask(Question { method: Method::DELETE, ..question(path, Some(&body), deadline) }).await;
    }
}

fn question<'a>(path: &'a str, body: Option<&'a Value>, deadline: Instant) -> Question<'a> {
    Question { method: Method::POST, path, query: &[], body, limit: BODY_LIMIT, deadline }
}

/// Names of indices as one segment of a path; the commas between them stay.
fn segments(index: &str) -> String {
    index.split(',').map(encode::url_segment).collect::<Vec<_>>().join(",")
}

/// A span that is being read, newest first.
struct Reading<'a> {
    span: Span<'a>,
    page: usize,
    /// The end of what is left of it.
    end: Timestamp,
    /// The sort values of the last hit, where these tell all hits apart.
    after: Option<Vec<Value>>,
    pit: Option<Pit>,
    /// A point in time was asked for.
    sought: bool,
    /// Documents at the edge between two pages, which the next page has again.
    edge: HashSet<(String, String)>,
    text: usize,
    documents: Documents,
}

impl Reading<'_> {
    async fn all(&mut self, system: &System) -> Result<(), NoAnswer> {
        loop {
            let asked = self.page.min(self.span.limit + 1 - self.documents.found.len() + self.edge.len());
            match self.one(system, asked).await {
                Ok(page) => {
                    if self.take(page, asked)? {
                        return Ok(());
                    }
                    if !self.sought {
                        self.sought = true;
                        self.pit = Pit::open(system, &self.span).await?;
                    }
                }
                Err(NoAnswer::TooMuch { .. }) if self.page / 4 >= SMALLEST_PAGE => self.page /= 4,
                Err(error) => return Err(error),
            }
        }
    }

    async fn one(&self, system: &System, size: usize) -> Result<Page, NoAnswer> {
        let left = self.span.deadline.saturating_duration_since(Instant::now());
        let mut body = body(&self.span, self.end, size, left);
        let mut path = format!("{}/_search", segments(self.span.index));
        if let Some(pit) = &self.pit {
            body["pit"] = json!({ "id": pit.id, "keep_alive": KEPT });
            "_search".clone_into(&mut path);
        }
        if let Some(after) = &self.after {
            body["search_after"] = Value::Array(after.clone());
        }
        let response = system.ask(question(&path, Some(&body), self.span.deadline)).await?;
        let page = answer::read(&response.body)?;
        let (from, to) = (self.span.window.from.as_nanosecond(), self.span.window.to.as_nanosecond());
        // A date's field keeps milliseconds, so a document at the very end may seem to lie behind it.
        let inside = |at: i64| (from - 1_000_000..=to + 1_000_000).contains(&i128::from(at));
        if page.hits.len() > size || !page.hits.iter().all(|hit| inside(hit.document.at)) {
            return Err(not_an_answer("documents that were not asked for", &response.body));
        }
        Ok(page)
    }

    /// Takes in a page; true where it was the last one.
    fn take(&mut self, page: Page, asked: usize) -> Result<bool, NoAnswer> {
        let (received, before) = (page.hits.len(), self.documents.found.len());
        self.documents.nowhere = page.shards == 0;
        if let (Some(pit), Some(id)) = (&mut self.pit, page.pit) {
            pit.id = id;
        }
        let last = page.hits.last().map(|hit| (hit.document.at, hit.sort.clone()));
        let mut edge = HashSet::new();
        for hit in page.hits {
            let is_edge = last.as_ref().is_some_and(|(at, _)| *at == hit.document.at);
            let known = self.edge.contains(&hit.key);
            if is_edge {
                edge.insert(hit.key);
            }
            if !known {
                self.text += hit.document.fields.values().map(String::len).sum::<usize>();
                self.documents.found.push(hit.document);
            }
        }
        let stop = |documents: &mut Documents, why: String| {
            documents.incomplete = Some(why);
            Ok(true)
        };
        if self.documents.found.len() > self.span.limit {
            return stop(&mut self.documents, format!("more than {} lines", self.span.limit));
        }
        if self.text > TEXT_LIMIT {
            return stop(&mut self.documents, format!("more than {} MiB of lines", TEXT_LIMIT >> 20));
        }
        let Some((at, sort)) = last.filter(|_| received >= asked) else { return Ok(true) };
        self.after = (self.pit.is_some() && sort.len() > 1).then_some(sort);
        let stuck = self.after.is_none() && edge.len() >= self.page;
        if stuck || self.documents.found.len() == before {
            return stop(&mut self.documents, format!("{} lines at one instant, and perhaps more", edge.len()));
        }
        // Behind exact sort values nothing comes again.
        self.edge = if self.after.is_some() { HashSet::new() } else { edge };
        if self.after.is_none() {
            self.end = Timestamp::from_nanosecond(i128::from(at)).unwrap_or(self.end);
        }
        Ok(false)
    }
}

#[cfg(test)]
pub(crate) mod tests;
