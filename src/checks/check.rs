//! One declared look.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::evidence::{Kind, Probe};
use crate::expect::Expression;
use crate::model::look::{Class, Look};
use crate::model::params::ParamSpec;
use crate::model::source::Span;

/// A check as `checks.d/` declares it, with every default filled in.
#[derive(Debug, Clone)]
pub struct Check {
    pub name: Arc<str>,
    /// What it speaks for; `None`: everything (a global check).
    pub service: Option<String>,
    pub owner: Option<String>,
    pub look: Look,
    pub kind: &'static Kind,
    pub probe: Arc<dyn Probe>,
    pub expect: Vec<Expectation>,
    pub timeout: Duration,
    /// Sampled in the background this often; `None`: only for tickets.
    pub every: Option<Duration>,
    /// How often it looks before it accuses, at least 1.
    pub attempts: u32,
    pub bad_if: Option<BadIf>,
    pub class: Class,
    /// The system asked together with the place it is asked from, per look; declared or derived.
    pub group: String,
    /// Its silence blocks *no issue*.
    pub needed: bool,
    pub control: Option<Control>,
    pub params: Vec<ParamSpec>,
    pub applies_to: AppliesTo,
    pub depends_on: Vec<String>,
    pub known_issue: Option<KnownIssue>,
    pub labels: BTreeMap<String, String>,
    pub summary: Option<String>,
    pub runbook_url: Option<String>,
    /// Where it is declared.
    pub at: Span,
}

/// What must hold of an observation.
#[derive(Debug, Clone)]
pub struct Expectation {
    pub that: Expression,
    /// A broken one is `odd` instead of `bad`.
    pub odd: bool,
    pub note: Option<String>,
    pub at: Span,
}

/// Bad where at least this many of the attempts failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadIf {
    pub failures: u32,
    pub of: u32,
}

/// What proves that the runner itself is fine.
#[derive(Debug, Clone)]
pub enum Control {
    /// The same probe with the default parameters.
    Synthetic,
    /// A probe of its own.
    Probe { kind: &'static Kind, probe: Arc<dyn Probe>, expect: Vec<Expectation> },
}

/// Which tickets a check is for; an empty list doesn't restrict.
#[derive(Debug, Clone, Default)]
pub struct AppliesTo {
    pub services: Vec<String>,
    pub customers: Vec<String>,
    pub ticket_matches: Option<regex::Regex>,
}

/// A failure that is known and accepted for a while: its finding counts as odd at most.
#[derive(Debug, Clone)]
pub struct KnownIssue {
    pub until: jiff::Timestamp,
    pub ticket: Option<String>,
}

/// The checks in force, and the files whose newest version is not.
#[derive(Debug, Clone, Default)]
pub struct CheckSet {
    pub checks: Vec<Arc<Check>>,
    /// Files that could not be used as they stand; their last good version, if any, is among `checks`.
    pub stale_files: Vec<String>,
    /// Counts up with every change.
    pub generation: u64,
}
