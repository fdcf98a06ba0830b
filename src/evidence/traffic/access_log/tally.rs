//! Counts the requests of one span.

use std::borrow::Cow;

use regex::bytes::Regex;

use super::json::{query_value, value_of, without_origin};
use super::request::{Form, Request};
use crate::evidence::log_source::is_own;
use crate::files::scan::Entry;
use crate::model::value::Measures;
use crate::model::window::Window;
use crate::stats::quantile::{Durations, LONGEST_SECONDS};

/// Which requests count.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    pub form: &'a Form,
    pub path: Option<&'a PathRule>,
    /// Only the requests of this customer.
    pub customer: Option<(&'a Whose, &'a str)>,
}

/// Which paths count.
#[derive(Debug)]
pub enum PathRule {
    Prefix(String),
    Pattern(Regex),
}

/// Where a request says whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// The segment of the path with this number, from 1.
    PathSegment(usize),
    /// A value of the query.
    Query(String),
    /// A field of the line.
    Field(Vec<String>),
}

impl PathRule {
    fn has(&self, target: &[u8]) -> bool {
        let path = path_of(target);
        match self {
            PathRule::Prefix(prefix) => path.starts_with(prefix.as_bytes()),
            PathRule::Pattern(pattern) => pattern.is_match(&path[..path.len().min(8 * 1024)]),
        }
    }
}

impl Whose {
    fn is(&self, entry: &Entry<'_>, request: &Request<'_>, form: &Form, customer: &str) -> bool {
        let value = match self {
            Whose::PathSegment(number) => path_of(request.target)
                .split(|byte| *byte == b'/')
                .nth(*number)
                .map(|segment| Cow::from(percent_encoding::percent_decode(segment))),
            Whose::Query(name) => match form.query(entry) {
                Some(query) => value_of(query, name),
                None => query_value(request.target, name),
            },
            Whose::Field(path) => form.field(entry, path),
        };
        value.is_some_and(|value| *value == *customer.as_bytes())
    }
}

fn path_of(target: &[u8]) -> &[u8] {
    let target = without_origin(target);
    let end = target.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(target.len());
    &target[..end]
}

/// The counts of one span.
#[derive(Debug, Default)]
pub struct Tally {
    pub requests: u64,
    pub errors: u64,
    pub client_errors: u64,
    /// Lines that are no request that can be read.
    pub unparsed: u64,
    bytes: u64,
    has_bytes: bool,
    /// Made with the first duration: a log without any costs nothing.
    latency: Option<Durations>,
}

impl Tally {
    pub fn add(&mut self, entry: &Entry<'_>, rules: &Rules<'_>) {
        // The directives of a W3C log, which each start of the server writes again, are no requests.
        if is_own(entry.line) || (matches!(rules.form, Form::W3c(..)) && entry.line.first() == Some(&b'#')) {
            return;
        }
        let request = if entry.stamp.is_some() { rules.form.read(entry) } else { None };
        let Some(request) = request else {
            // The last line may be half written yet, and an empty one says nothing.
            self.unparsed += u64::from(entry.ended && !entry.line.is_empty());
            return;
        };
        let counts = rules.path.is_none_or(|path| path.has(request.target))
            && rules.customer.is_none_or(|(whose, customer)| whose.is(entry, &request, rules.form, customer));
        if !counts {
            return;
        }
        self.requests += 1;
        match request.status {
            500.. => self.errors += 1,
            400..500 => self.client_errors += 1,
            _ => {}
        }
        if let Some(bytes) = request.bytes {
            self.bytes = self.bytes.saturating_add(bytes);
            self.has_bytes = true;
        }
        if let Some(seconds) = request.seconds {
            // What took longer than the longest that is told apart counts as that long (a socket left open for days).
            self.latency.get_or_insert_with(Durations::new).record(seconds.min(LONGEST_SECONDS));
        }
    }

    /// The share of the lines that could not be read, 0 to 1; of none, 0.
    pub fn unparsed_share(&self, read: u64) -> f64 {
        if self.unparsed == 0 { 0.0 } else { self.unparsed as f64 / (self.unparsed + read) as f64 }
    }

    /// What the counts come to; without a request no ratio, without a time no quantile.
    pub fn measures(&self, window: Window) -> Measures {
        let mut measures = Measures::new();
        let seconds = window.seconds().max(1e-3);
        measures.set("requests", self.requests).set("requests_per_second", self.requests as f64 / seconds);
        if self.requests > 0 {
            measures.set("error_ratio", self.errors as f64 / self.requests as f64);
            measures.set("client_error_ratio", self.client_errors as f64 / self.requests as f64);
        }
        if self.has_bytes {
            measures.set("bytes_per_second", self.bytes as f64 / seconds);
        }
        for (name, quantile) in [("p50_seconds", 0.5), ("p95_seconds", 0.95), ("p99_seconds", 0.99)] {
            if let Some(seconds) = self.latency.as_ref().and_then(|latency| latency.quantile(quantile)) {
                measures.set(name, seconds);
            }
        }
        measures
    }
}
