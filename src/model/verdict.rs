//! The answer: issue, no issue or doubtful, with everything that a reader needs to trust it or not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::finding::Finding;
use super::look::{Look, Outcome};
use super::text::Untrusted;
use super::window::Window;

/// The version of the document.
pub const VERSION: u32 = 1;

/// Do we have an issue, or not?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Issue,
    NoIssue,
    Doubtful,
}

impl Decision {
    pub fn name(self) -> &'static str {
        match self {
            Decision::Issue => "issue",
            Decision::NoIssue => "no_issue",
            Decision::Doubtful => "doubtful",
        }
    }

    /// As the first word of a report.
    pub fn title(self) -> &'static str {
        match self {
            Decision::Issue => "ISSUE",
            Decision::NoIssue => "NO ISSUE",
            Decision::Doubtful => "DOUBTFUL",
        }
    }
}

/// Whether more may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Declared early; looks were still under way.
    Early,
    Final,
}

/// Who is affected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Everyone,
    Region,
    Customer,
    UseCase,
    Unknown,
}

impl Scope {
    pub fn name(self) -> &'static str {
        match self {
            Scope::Everyone => "everyone",
            Scope::Region => "region",
            Scope::Customer => "customer",
            Scope::UseCase => "use_case",
            Scope::Unknown => "unknown",
        }
    }
}

/// How it is at this moment. In JSON a word: `failing`, `recovered`, `intermittent 3 of 10`, `ok`, `unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CurrentState {
    Ok,
    Failing,
    /// Bad in the symptom window, good now.
    Recovered,
    Intermittent {
        failed: u32,
        tried: u32,
    },
    Unknown,
}

impl std::fmt::Display for CurrentState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CurrentState::Ok => f.write_str("ok"),
            CurrentState::Failing => f.write_str("failing"),
            CurrentState::Recovered => f.write_str("recovered"),
            CurrentState::Intermittent { failed, tried } => write!(f, "intermittent {failed} of {tried}"),
            CurrentState::Unknown => f.write_str("unknown"),
        }
    }
}

impl std::str::FromStr for CurrentState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "ok" => CurrentState::Ok,
            "failing" => CurrentState::Failing,
            "recovered" => CurrentState::Recovered,
            "unknown" => CurrentState::Unknown,
            other => {
                let figures = other.strip_prefix("intermittent ").and_then(|rest| rest.split_once(" of "));
                match figures.map(|(failed, tried)| (failed.parse(), tried.parse())) {
                    Some((Ok(failed), Ok(tried))) => CurrentState::Intermittent { failed, tried },
                    _ => return Err(format!("no such state: {other}")),
                }
            }
        })
    }
}

impl Serialize for CurrentState {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CurrentState {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What was looked at, and what was not.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// The worst outcome of each look that was planned.
    pub looks: BTreeMap<Look, Outcome>,
    pub checks_planned: usize,
    pub checks_answered: usize,
    /// Files of checks whose newest version could not be used.
    pub stale_files: Vec<String>,
    /// What no check looked at, in words.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub not_looked_at: Vec<String>,
}

/// The ticket as a verdict names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketHead {
    /// `T-1`; absent without a daemon.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub number: Option<String>,
    pub source: String,
    pub id: String,
    pub title: Untrusted,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub customer: Option<Untrusted>,
    pub services: Vec<String>,
    /// How each service was found: `named`, `from "checkout"`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub services_from: Vec<String>,
}

/// The verdict on a ticket's round: never rewritten, only followed by another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub version: u32,
    pub ticket: TicketHead,
    #[serde(rename = "verdict")]
    pub decision: Decision,
    pub phase: Phase,
    pub probability: f64,
    /// Had there been an issue, this is how likely something would have shown it.
    pub power: f64,
    pub scope: Scope,
    pub window: Window,
    pub current_state: CurrentState,
    pub coverage: Coverage,
    pub reasons: Vec<String>,
    /// Most telling first.
    pub findings: Vec<Finding>,
    pub incident: Option<String>,
    pub next: Vec<String>,
    /// Questions that go back to the reporter.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub questions: Vec<String>,
    pub deadline_ms: u64,
    pub took_ms: u64,
}
