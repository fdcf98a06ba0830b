//! A page: that somebody of a team is reached about a ticket, step by step, until it is acknowledged.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::text::Untrusted;

/// Within this time a team is paged once for a service; what comes in meanwhile joins that page.
pub const QUIET: SignedDuration = SignedDuration::from_mins(5);

/// The most tickets that a page names which joined it; more are counted.
pub const JOINED: usize = 50;

/// Where a page stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Nobody has taken it on.
    Climbing,
    /// Somebody has, until then.
    Acknowledged {
        by: Untrusted,
        until: Timestamp,
    },
    /// Another page, with this key, was under way: that one speaks for it.
    Joined {
        leader: String,
    },
    Ended,
}

/// A ticket that joined a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    pub ticket: u64,
    pub title: Untrusted,
}

/// A page, as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// The same for the same ticket, round and team.
    pub key: String,
    pub ticket: u64,
    pub round: u32,
    pub team: String,
    pub title: Untrusted,
    /// What it is about.
    pub services: Vec<String>,
    /// What is said.
    pub facts: Value,
    pub begun_at: Timestamp,
    pub standing: Standing,
    /// For so long an acknowledgement holds that says nothing else.
    pub acknowledge_for: SignedDuration,
    /// Steps that were taken, over all repetitions.
    pub taken: u32,
    pub reminded: u32,
    /// When the ladder goes on.
    pub next_at: Option<Timestamp>,
    /// Whom it reached so far: channel and recipient.
    pub reached: Vec<(String, String)>,
    pub joined: Vec<Joined>,
    /// How many joined, those included that are not named.
    pub joined_count: usize,
    /// When the others are told of.
    pub summary_at: Option<Timestamp>,
}

impl Page {
    /// A page that begins now; its first step is due at once.
    #[expect(clippy::too_many_arguments, reason = "these make the page, and what it says")]
    pub fn begin(
        ticket: u64,
        round: u32,
        team: &str,
        title: Untrusted,
        services: Vec<String>,
        acknowledge_for: SignedDuration,
        facts: Value,
        now: Timestamp,
    ) -> Self {
        Page {
            key: Page::key_of(ticket, round, team),
            ticket,
            round,
            team: team.to_owned(),
            title,
            services,
            facts,
            begun_at: now,
            standing: Standing::Climbing,
            acknowledge_for,
            taken: 0,
            reminded: 0,
            next_at: Some(now),
            reached: Vec::new(),
            joined: Vec::new(),
            joined_count: 0,
            summary_at: None,
        }
    }

    /// 64 bits of `sha256(ticket, round, team)`, in hex.
    pub fn key_of(ticket: u64, round: u32, team: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(ticket.to_be_bytes());
        hash.update(round.to_be_bytes());
        hash.update(team.as_bytes());
        hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// When something is to be done for it.
    pub fn due_at(&self) -> Option<Timestamp> {
        self.next_at.into_iter().chain(self.summary_at).min()
    }

    /// True while somebody can take it on.
    pub fn is_open(&self) -> bool {
        self.standing != Standing::Ended
    }

    /// True where `other`, begun at `now`, would page the same team for the same service within its quiet time.
    pub fn quiets(&self, other: &Page, now: Timestamp) -> bool {
        let same = match (self.services.is_empty(), other.services.is_empty()) {
            (true, true) => true,
            _ => self.services.iter().any(|service| other.services.contains(service)),
        };
        same && self.team == other.team && self.begun_at.duration_until(now).abs() < QUIET
    }

    /// Takes another one on board.
    pub fn join(&mut self, other: &Page) {
        self.joined_count += 1;
        if self.joined.len() < JOINED {
            self.joined.push(Joined { ticket: other.ticket, title: Untrusted::bounded(other.title.raw(), 256) });
        }
        if self.summary_at.is_none() {
            self.summary_at = Some(self.begun_at.checked_add(QUIET).unwrap_or(self.begun_at));
        }
    }

    /// Somebody takes it on.
    pub fn acknowledge(&mut self, by: Untrusted, until: Timestamp) {
        self.standing = Standing::Acknowledged { by, until };
        self.next_at = Some(until);
    }

    pub fn end(&mut self) {
        self.standing = Standing::Ended;
        self.next_at = None;
    }
}
