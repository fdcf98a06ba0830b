//! Something to be done in the world: written down before it is done, done at least once, known by its key.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What kind of thing is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// A human must look: the verdict is doubtful, late, or Houston failed on the ticket.
    Escalate,
    /// The verdict is told to who asked for it.
    Announce,
    /// The verdict is noted in the ticket, where its own system keeps it; for those who work on it.
    Note,
    /// The customer is told, in the ticket or by mail: made from customer-safe words alone.
    Reply,
    /// Somebody of a team is reached, as the team's ladder says.
    Page,
    /// Somebody who took it on is reminded.
    Remind,
    /// What else came in while a page was under way.
    Summary,
    /// Somebody is asked to call the customer back.
    CallBack,
}

impl ActionKind {
    pub fn name(self) -> &'static str {
        match self {
            ActionKind::Escalate => "escalate",
            ActionKind::Announce => "announce",
            ActionKind::Note => "note",
            ActionKind::Reply => "reply",
            ActionKind::Page => "page",
            ActionKind::Remind => "remind",
            ActionKind::Summary => "summary",
            ActionKind::CallBack => "call_back",
        }
    }
}

/// One thing to be done, over one channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// The same for every attempt, so that a receiver can recognise a repetition.
    pub key: String,
    pub ticket: u64,
    pub round: u32,
    pub kind: ActionKind,
    /// The name of the channel in `houston.yaml`.
    pub channel: String,
    /// Who is meant: a team, an address.
    pub recipient: String,
    /// What is to be said: the facts, which each channel renders for its medium.
    pub facts: serde_json::Value,
    pub created_at: Timestamp,
}

impl Action {
    /// An action with its key: `sha256(ticket, round, channel, kind, recipient)`, in hex.
    pub fn new(
        ticket: u64,
        round: u32,
        kind: ActionKind,
        channel: &str,
        recipient: &str,
        facts: serde_json::Value,
        created_at: Timestamp,
    ) -> Self {
        Self::at_occasion(ticket, round, kind, channel, recipient, "", facts, created_at)
    }

    /// An action of a kind that the same recipient can be due more than once in a round: the occasion tells them apart,
    /// and is part of the key.
    #[expect(clippy::too_many_arguments, reason = "these make the key, and what is said")]
    pub fn at_occasion(
        ticket: u64,
        round: u32,
        kind: ActionKind,
        channel: &str,
        recipient: &str,
        occasion: &str,
        facts: serde_json::Value,
        created_at: Timestamp,
    ) -> Self {
        let mut hash = Sha256::new();
        for part in [&ticket.to_string(), &round.to_string(), channel, kind.name(), recipient] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        if !occasion.is_empty() {
            hash.update((occasion.len() as u64).to_be_bytes());
            hash.update(occasion.as_bytes());
        }
        let key = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Action {
            key,
            ticket,
            round,
            kind,
            channel: channel.to_owned(),
            recipient: recipient.to_owned(),
            facts,
            created_at,
        }
    }
}
