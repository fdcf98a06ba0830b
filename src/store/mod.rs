//! What is remembered: cases, actions, history. One narrow surface; nobody above knows the engine.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::model::action::Action;
use crate::model::case::{Case, Event};
use crate::model::memory::Memory;
use crate::model::ticket::Ticket;
use crate::model::verdict::Verdict;

/// The open store. Cheap to clone; every clone speaks to the one writer.
#[derive(Debug, Clone)]
pub struct Store {
    #[allow(dead_code)]
    directory: PathBuf,
}

/// Why the store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{0} is in use by another daemon")]
    Locked(PathBuf),
    #[error("{path} was written by a newer version (schema {found}, this one knows {known})")]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("{path}: {why}")]
    Unusable { path: PathBuf, why: String },
}

/// Why something was not stored, or can't be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("the store can't be written: {0}")]
    Unwritable(String),
    #[error("no such ticket: T-{0}")]
    NoSuchTicket(u64),
    #[error("round {round} of T-{ticket} has its verdict")]
    AlreadyDecided { ticket: u64, round: u32 },
    #[error("a stored row is damaged: {0}")]
    Damaged(String),
}

/// How a delivery is recognised when it comes again.
#[derive(Debug, Clone, Default)]
pub struct Delivery {
    pub idempotency_key: Option<String>,
}

/// A ticket that is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub number: u64,
    /// False where this delivery had been accepted before.
    pub new: bool,
}

/// An action that waits to be done.
#[derive(Debug, Clone)]
pub struct Due {
    pub action: Action,
    pub tries: u32,
}

/// An event with its place in the case's history.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub sequence: u64,
    pub at: Timestamp,
    pub event: Event,
}

/// What a round learned.
#[derive(Debug, Clone, Default)]
pub struct Learned {
    /// `(check, templates)`
    pub templates: Vec<(String, Vec<String>)>,
    /// `(check, parameter values)` under which a journey passed.
    pub passed_with: Vec<(String, String)>,
}

impl Store {
    /// Opens or creates the store in this directory, migrates it, and takes its lock.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        Ok(Store { directory: directory.to_owned() })
    }

    /// Writes the ticket; returns only when it is on disk. The same (`source`, `id`), or the same idempotency key,
    /// is the same ticket. `deadline_at` is when round 1 must have its verdict.
    pub async fn accept(
        &self,
        ticket: Ticket,
        delivery: Delivery,
        accepted_at: Timestamp,
        deadline_at: Timestamp,
    ) -> Result<Accepted, StoreError> {
        let _ = (ticket, delivery, accepted_at, deadline_at);
        Err(StoreError::Unwritable("not built".into()))
    }

    /// Starts another round; returns its number.
    pub async fn new_round(&self, ticket: u64, deadline_at: Timestamp) -> Result<u32, StoreError> {
        let _ = deadline_at;
        Err(StoreError::NoSuchTicket(ticket))
    }

    /// Notes that the newest round is worked on (again); returns how often that was so, this time included.
    pub async fn begin(&self, ticket: u64, at: Timestamp) -> Result<u32, StoreError> {
        let _ = at;
        Err(StoreError::NoSuchTicket(ticket))
    }

    /// Appends to a case's history.
    pub async fn append(&self, ticket: u64, at: Timestamp, events: Vec<Event>) -> Result<(), StoreError> {
        let _ = (at, events);
        Err(StoreError::NoSuchTicket(ticket))
    }

    /// Ends a round: its verdict, what it learned and the actions that follow, in one transaction. A round is decided once.
    pub async fn decide(
        &self,
        ticket: u64,
        round: u32,
        at: Timestamp,
        verdict: Verdict,
        actions: Vec<Action>,
        learned: Learned,
    ) -> Result<(), StoreError> {
        let _ = (round, at, verdict, actions, learned);
        Err(StoreError::NoSuchTicket(ticket))
    }

    pub async fn case(&self, ticket: u64) -> Result<Option<Case>, StoreError> {
        let _ = ticket;
        Ok(None)
    }

    /// The newest cases first, below `before` where it is given.
    pub async fn cases(&self, before: Option<u64>, limit: usize) -> Result<Vec<Case>, StoreError> {
        let _ = (before, limit);
        Ok(Vec::new())
    }

    /// A case's history after this sequence number.
    pub async fn events(&self, ticket: u64, after: u64) -> Result<Vec<Recorded>, StoreError> {
        let _ = (ticket, after);
        Ok(Vec::new())
    }

    /// Cases whose newest round has no verdict, the most overdue first.
    pub async fn unfinished(&self) -> Result<Vec<Case>, StoreError> {
        Ok(Vec::new())
    }

    /// Actions that are due at `now`, the oldest first.
    pub async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, StoreError> {
        let _ = (now, limit);
        Ok(Vec::new())
    }

    /// The action was done.
    pub async fn delivered(&self, key: &str, at: Timestamp) -> Result<(), StoreError> {
        let _ = (key, at);
        Ok(())
    }

    /// The action failed; it is due again at `retry_at`, or never (`None`: given up).
    pub async fn failed(&self, key: &str, why: &str, retry_at: Option<Timestamp>) -> Result<(), StoreError> {
        let _ = (key, why, retry_at);
        Ok(())
    }

    /// How many actions wait.
    pub async fn queue_length(&self) -> Result<usize, StoreError> {
        Ok(0)
    }

    /// What the path may remember.
    pub async fn memory(&self) -> Result<Memory, StoreError> {
        Ok(Memory::default())
    }

    /// Writes and reads back a row, to know that the store still works.
    pub async fn probe(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
