//! What a probe saw. Failing to look is a value with a reason, apart from good and bad.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::value::Measures;
use super::window::Window;

/// Why we could not look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownKind {
    /// No answer within the time that the look had.
    TimedOut,
    /// A system that we ask can't be reached.
    Unreachable,
    /// It answered something that can't be read.
    Unintelligible,
    /// It answered in part, or a cap was hit before the question was answered; also "no data at all".
    Incomplete,
    /// Its answer is older than the question.
    Stale,
    /// The ticket lacks what the check needs.
    MissingParam,
    /// A guard or a permission forbids to look.
    Refused,
    /// The probe itself failed.
    Panicked,
}

impl UnknownKind {
    pub fn name(self) -> &'static str {
        match self {
            UnknownKind::TimedOut => "timed_out",
            UnknownKind::Unreachable => "unreachable",
            UnknownKind::Unintelligible => "unintelligible",
            UnknownKind::Incomplete => "incomplete",
            UnknownKind::Stale => "stale",
            UnknownKind::MissingParam => "missing_param",
            UnknownKind::Refused => "refused",
            UnknownKind::Panicked => "panicked",
        }
    }
}

/// That we could not look, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unknown {
    pub kind: UnknownKind,
    /// A sentence without a full stop, lower case: "prometheus:9090 did not answer in 5.0 s".
    pub why: String,
}

impl Unknown {
    pub fn new(kind: UnknownKind, why: impl Into<String>) -> Self {
        Unknown { kind, why: why.into() }
    }
}

/// Where on the way a service failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its name doesn't resolve.
    Resolve,
    Connect,
    Tls,
    /// The request is sent; no or a broken answer.
    Processing,
    /// The answer stopped before its end.
    Transfer,
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Phase::Resolve => "resolve",
            Phase::Connect => "connect",
            Phase::Tls => "tls",
            Phase::Processing => "processing",
            Phase::Transfer => "transfer",
        }
    }
}

/// A failure of the *service*: it is what the customer sees, and bad whatever the expectations say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub phase: Phase,
    /// "connection refused", "certificate expired 2026-11-01", "no byte in 5.0 s".
    pub what: String,
}

/// Whether there was an answer to hold expectations against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The measures stand.
    Answered,
    /// The service failed outright; the measures are those up to there.
    Failed(Fault),
    /// We could not look; the measures, if any, are incomplete.
    Blind(Unknown),
}

/// An expectation that does not hold, with what was seen instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// The expectation as written.
    pub that: String,
    /// "status is 503"
    pub actual: String,
    /// `file:line:column`
    pub at: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
    /// True where it was declared `else: odd`.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub odd: bool,
}

/// What a probe saw, once.
#[derive(Debug, Clone)]
pub struct Observation {
    pub seen: Seen,
    /// The span that the measures speak for; `None` for the moment at which they were taken.
    pub window: Option<Window>,
    pub measures: Measures,
    /// The measures at points of the window, where the source has them; an expectation is held at each.
    pub points: Vec<Measures>,
    /// The same measure in comparable spans of the source's own past, for `usual(…)`.
    pub past: BTreeMap<String, Vec<f64>>,
    /// Expectations of the probe's own steps that do not hold (journeys).
    pub broken: Vec<Broken>,
    /// The newest moment that the source has data of, where it tells.
    pub data_until: Option<Timestamp>,
    /// A short piece of what was seen. From outside: goes through an encoder before it is shown.
    pub excerpt: Option<String>,
    /// Where a picture of what was seen is kept: the path of a file.
    pub picture: Option<String>,
    /// A line to look again by hand: curl, dig, grep, PromQL.
    pub reproduce: Option<String>,
    /// What a reader should know: "1 % of the lines carry a time in the future".
    pub notes: Vec<String>,
    /// Message templates that this source was seen to write, to be remembered.
    pub templates: Vec<String>,
    pub took: Duration,
}

/// The most that a look keeps as an excerpt, in bytes.
pub const EXCERPT_LIMIT: usize = 2_048;

impl Observation {
    pub fn answered(measures: Measures) -> Self {
        Observation {
            seen: Seen::Answered,
            window: None,
            measures,
            points: Vec::new(),
            past: BTreeMap::new(),
            broken: Vec::new(),
            data_until: None,
            excerpt: None,
            picture: None,
            reproduce: None,
            notes: Vec::new(),
            templates: Vec::new(),
            took: Duration::ZERO,
        }
    }

    pub fn failed(phase: Phase, what: impl Into<String>) -> Self {
        Observation { seen: Seen::Failed(Fault { phase, what: what.into() }), ..Observation::answered(Measures::new()) }
    }

    pub fn blind(kind: UnknownKind, why: impl Into<String>) -> Self {
        Observation { seen: Seen::Blind(Unknown::new(kind, why)), ..Observation::answered(Measures::new()) }
    }

    pub fn measures(mut self, measures: Measures) -> Self {
        self.measures = measures;
        self
    }

    pub fn window(mut self, window: Window) -> Self {
        self.window = Some(window);
        self
    }

    /// Keeps the first [`EXCERPT_LIMIT`] bytes.
    pub fn excerpt(mut self, text: impl Into<String>) -> Self {
        let mut text: String = text.into();
        if text.len() > EXCERPT_LIMIT {
            let mut end = EXCERPT_LIMIT;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.push('…');
        }
        self.excerpt = (!text.is_empty()).then_some(text);
        self
    }

    pub fn reproduce(mut self, line: impl Into<String>) -> Self {
        self.reproduce = Some(line.into());
        self
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    pub fn took(mut self, took: Duration) -> Self {
        self.took = took;
        self
    }
}
