//! A ticket with all its rounds: an append-only history.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::action::{Action, ActionKind};
use super::callback::Answer;
use super::finding::Finding;
use super::look::{Look, Outcome};
use super::text::Untrusted;
use super::ticket::Ticket;
use super::verdict::Verdict;

/// Where a case's newest round stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseState {
    /// On disk, not yet begun.
    Accepted,
    /// Looks are under way.
    Running,
    /// The round has its verdict.
    Decided,
}

/// A ticket that was accepted, with what is known of its newest round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub number: u64,
    pub ticket: Ticket,
    pub accepted_at: Timestamp,
    /// The newest round, from 1.
    pub round: u32,
    /// When the newest round must have its verdict.
    pub deadline_at: Timestamp,
    pub state: CaseState,
    /// How often the newest round was begun.
    pub attempts: u32,
    /// The newest round's verdict.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verdict: Option<Verdict>,
    /// The name of the token or user that filed it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub filed_by: Option<String>,
}

/// `T-1`
pub fn number_text(number: u64) -> String {
    format!("T-{number}")
}

/// Reads `T-1` or `1`.
pub fn parse_number(text: &str) -> Option<u64> {
    text.strip_prefix("T-").or_else(|| text.strip_prefix("t-")).unwrap_or(text).parse().ok()
}

/// Everything that can happen in a case, in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A round begins.
    Ticket {
        ticket: String,
        round: u32,
        deadline_at: Timestamp,
        /// How many checks each look will run.
        planned: Vec<(Look, usize)>,
    },
    /// A look came further.
    Look {
        look: Look,
        answered: usize,
        planned: usize,
        worst: Outcome,
    },
    Finding {
        finding: Box<Finding>,
    },
    Verdict {
        verdict: Box<Verdict>,
    },
    Action {
        action: Box<Action>,
    },
    /// Something happened to the ticket where it lives.
    Heard {
        /// `updated`, `commented`, `closed`, `reopened`, `acknowledged`
        what: String,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        by: Option<Untrusted>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        text: Option<Untrusted>,
    },
    /// Somebody asked the customer.
    CalledBack {
        answer: Answer,
        by: String,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        note: Option<Untrusted>,
    },
    /// Somebody took it on: nobody else is reached about it until then.
    Acknowledged {
        by: Untrusted,
        team: String,
        until: Timestamp,
    },
    /// An action arrived.
    Reached {
        kind: ActionKind,
        channel: String,
        recipient: String,
    },
}

impl Event {
    /// The event's name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Ticket { .. } => "ticket",
            Event::Look { .. } => "look",
            Event::Finding { .. } => "finding",
            Event::Verdict { .. } => "verdict",
            Event::Action { .. } => "action",
            Event::Heard { .. } => "heard",
            Event::CalledBack { .. } => "called_back",
            Event::Acknowledged { .. } => "acknowledged",
            Event::Reached { .. } => "reached",
        }
    }
}
