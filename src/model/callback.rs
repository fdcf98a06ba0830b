//! A call-back: somebody asks the customer whether it is still broken, because we saw it working.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::text::Untrusted;

/// Where a call-back stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallBackState {
    /// Somebody has to call.
    Open,
    /// The customer says that it works.
    Fine,
    /// The customer still sees it.
    StillBroken,
    /// Nobody could be reached, and nobody will be asked again: it says nothing about whether it works.
    Unanswered,
}

/// Whom to call, until when, and how often somebody was reminded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallBack {
    pub ticket: u64,
    pub round: u32,
    pub state: CallBackState,
    /// Who reported, as far as the ticket says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub who: Option<Untrusted>,
    /// The number or address to call.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub contact: Option<Untrusted>,
    /// What to ask.
    pub ask: String,
    /// By when.
    pub by: Timestamp,
    /// How often somebody was reminded after that.
    #[serde(default)]
    pub reminded: u32,
}

/// What the customer said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    StillBroken,
    Fine,
    NoAnswer,
}

impl Answer {
    pub fn name(self) -> &'static str {
        match self {
            Answer::StillBroken => "still_broken",
            Answer::Fine => "fine",
            Answer::NoAnswer => "no_answer",
        }
    }
}
