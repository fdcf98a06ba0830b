//! What is remembered: cases, actions, history. One narrow surface; nobody above knows the engine.
//!
//! The engine is SQLite in one file, `houston.db`, in a directory that one process at a time owns. One thread writes,
//! each answer to a write comes after its fsync, and writes that wait together share one. An error of a write says
//! that it may not have happened, never that it has not: a commit that failed for its caller can be found on disk
//! later, so whoever is in doubt asks again with the same ticket, round or key.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use tokio::sync::mpsc::error::TrySendError;

use crate::model::action::{Action, ActionKind};
use crate::model::callback::CallBack;
use crate::model::case::{Case, Event};
use crate::model::history::Trouble;
use crate::model::page::Page;
use crate::model::ticket::Ticket;
use crate::model::verdict::Verdict;

mod callback;
mod directory;
pub mod history;
mod memory;
mod open;
pub mod pages;
mod read;
mod rows;
mod schema;
mod write;
mod writer;

#[cfg(test)]
mod tests;

use rows::micros;
use writer::Urgency;

/// How long a caller waits for the disk before it is told that the store can't be written.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the last clone, when it goes, waits for the writer to end in order.
const FAREWELL: Duration = Duration::from_secs(5);
/// The most failing deliveries that are looked at to find those that left somebody untold.
const UNDELIVERABLE: usize = 1_000;

/// The open store. Cheap to clone; every clone speaks to the one writer.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    place: Place,
    recovered: Option<String>,
    /// The database may not be larger than this, in bytes, when a ticket is taken in.
    size_limit: i64,
    memory: memory::Cache,
    readers: read::Readers,
    /// Gone only while the store is dropped.
    writer: Option<tokio::sync::mpsc::Sender<Box<dyn writer::Job>>>,
    ended: Mutex<std::sync::mpsc::Receiver<()>>,
}

/// Where the store is, and whether it still is. What is handed to the writer holds this and never [`Inner`], which
/// waits for the writer when it goes.
#[derive(Clone)]
struct Place {
    directory: PathBuf,
    /// The file as it was opened, by which a file that was deleted or replaced is noticed.
    identity: (u64, u64),
    broken: Arc<OnceLock<String>>,
}

impl Place {
    /// What is written to a file that has no name any more is on no disk that anybody will read.
    fn still_there(&self) -> Result<(), StoreError> {
        if open::identity(&open::database(&self.directory)).ok() == Some(self.identity) {
            return Ok(());
        }
        let why = "its file was deleted or replaced".to_owned();
        let _ = self.broken.set(why.clone());
        Err(StoreError::Unwritable(why))
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.place.directory.display())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.writer = None;
        // So that the directory is free when this returns; bounded, for the disk may hang.
        let ended = self.ended.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = ended.recv_timeout(FAREWELL);
    }
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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nothing may be acknowledged; it may have been written nevertheless.
    #[error("the store can't be written: {0}")]
    Unwritable(String),
    #[error("the store can't be read: {0}")]
    Unreadable(String),
    #[error("no such ticket: T-{0}")]
    NoSuchTicket(u64),
    #[error("T-{ticket} has no round {round}")]
    NoSuchRound { ticket: u64, round: u32 },
    #[error("round {round} of T-{ticket} has its verdict")]
    AlreadyDecided { ticket: u64, round: u32 },
    #[error("round {round} of T-{ticket} has no verdict yet")]
    NotDecided { ticket: u64, round: u32 },
    /// The idempotency key belongs to a ticket that says something else.
    #[error("this idempotency key was used for another ticket: T-{ticket}")]
    Conflict { ticket: u64 },
    #[error("no such action: {0}")]
    NoSuchAction(String),
    #[error("a stored row is damaged: {0}")]
    Damaged(String),
}

/// How a delivery is recognised when it comes again.
#[derive(Debug, Clone, Default)]
pub struct Delivery {
    pub idempotency_key: Option<String>,
    /// The name of whoever filed it.
    pub by: Option<String>,
    /// What a ticket system calls this delivery: the system, and its id.
    pub id: Option<(String, String)>,
}

/// What became of an event of a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It is on disk.
    Noted(u64),
    /// It was before.
    Again(u64),
    /// Nobody told of that ticket.
    NoSuchTicket,
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
    /// What the receiver called the message before it, of the same ticket to the same recipient.
    pub previous: Option<String>,
}

/// What nobody could be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undeliverable {
    pub ticket: u64,
    pub channel: String,
    /// The last error.
    pub why: String,
}

/// An event with its place in the case's history.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Grows with every event of the store; unique, but not without gaps within a case.
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

/// What follows from a round, beside its verdict.
#[derive(Debug, Clone, Default)]
pub struct Following {
    pub actions: Vec<Action>,
    /// Whom to call back.
    pub call_back: Option<CallBack>,
    /// Who is to be reached. A ticket for which the same team is being reached already begins no page; one in another
    /// page's quiet time joins that.
    pub pages: Vec<Page>,
}

impl From<Vec<Action>> for Following {
    fn from(actions: Vec<Action>) -> Self {
        Following { actions, ..Following::default() }
    }
}

impl Store {
    /// Opens or creates the store in this directory, migrates it, and takes its lock. Blocks for as long as that takes.
    ///
    /// A database that can't be read at all is moved aside, and [`Store::recovered`] says so.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        open::open(directory)
    }

    /// Writes the ticket; returns only when it is on disk. The same (`source`, `id`), or the same idempotency key,
    /// is the same ticket. `deadline_at` is when round 1 must have its verdict.
    ///
    /// # Errors
    /// [`StoreError::Unwritable`]: it must not be acknowledged. [`StoreError::Conflict`]: the key belongs to a ticket
    /// with another content.
    pub async fn accept(
        &self,
        ticket: Ticket,
        delivery: Delivery,
        accepted_at: Timestamp,
        deadline_at: Timestamp,
    ) -> Result<Accepted, StoreError> {
        let intake = write::Intake {
            body: rows::encode(&ticket)?,
            ticket,
            idempotency_key: delivery.idempotency_key,
            filed_by: delivery.by,
            delivery: delivery.id,
            accepted_at: micros(accepted_at),
            deadline_at: micros(deadline_at),
            size_limit: self.inner.size_limit,
        };
        let place = self.inner.place.clone();
        self.write(Urgency::Intake, move |connection| {
            place.still_there()?;
            write::accept(connection, &intake)
        })
        .await
    }

    /// Notes what happened to a ticket in its own system, once: a repeated delivery changes nothing. With `again`, another
    /// round begins with it, to be decided by then, unless one is under way.
    ///
    /// # Errors
    /// [`StoreError::Unwritable`]: it must not be acknowledged.
    pub async fn hear(
        &self,
        source: &str,
        source_id: &str,
        delivery: Option<String>,
        at: Timestamp,
        event: Event,
        again: Option<Timestamp>,
    ) -> Result<Heard, StoreError> {
        let again = again.map(micros);
        let (source, source_id, at, body) =
            (source.to_owned(), source_id.to_owned(), micros(at), rows::encode(&event)?);
        self.write(Urgency::Intake, move |connection| {
            write::hear(connection, &source, &source_id, delivery.as_deref(), at, &body, again)
        })
        .await
    }

    /// Writes actions down that no verdict leads to. One whose key is known is there already.
    ///
    /// # Errors
    /// [`StoreError::Unwritable`]
    pub async fn enqueue(&self, actions: Vec<Action>, at: Timestamp) -> Result<(), StoreError> {
        let (actions, at) = (write::ActionRow::all(actions)?, micros(at));
        self.write(Urgency::Obligation, move |connection| Ok(write::enqueue(connection, &actions, at)?)).await
    }

    /// How far this ticket system was read.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`]
    pub async fn cursor(&self, system: &str) -> Result<Option<String>, StoreError> {
        let system = system.to_owned();
        self.read(move |connection| Ok(read::cursor(connection, &system)?)).await
    }

    /// Notes how far this ticket system was read: to be called when all of it is on disk.
    ///
    /// # Errors
    /// [`StoreError::Unwritable`]
    pub async fn set_cursor(&self, system: &str, cursor: &str) -> Result<(), StoreError> {
        let (system, cursor) = (system.to_owned(), cursor.to_owned());
        self.write(Urgency::Obligation, move |connection| Ok(write::set_cursor(connection, &system, &cursor)?)).await
    }

    /// Starts another round; returns its number.
    ///
    /// # Errors
    /// [`StoreError::NoSuchTicket`], [`StoreError::NotDecided`]: the newest round has to end first.
    pub async fn new_round(&self, ticket: u64, deadline_at: Timestamp) -> Result<u32, StoreError> {
        let deadline_at = micros(deadline_at);
        self.write(Urgency::Intake, move |connection| write::new_round(connection, ticket, deadline_at)).await
    }

    /// Notes that the newest round is worked on (again); returns how often that was so, this time included.
    ///
    /// # Errors
    /// [`StoreError::NoSuchTicket`], [`StoreError::AlreadyDecided`]
    pub async fn begin(&self, ticket: u64, at: Timestamp) -> Result<u32, StoreError> {
        let _ = at; // counted, not dated: the round's history has the times
        self.write(Urgency::Obligation, move |connection| write::begin(connection, ticket)).await
    }

    /// Appends to a case's history.
    ///
    /// # Errors
    /// [`StoreError::NoSuchTicket`]
    pub async fn append(&self, ticket: u64, at: Timestamp, events: Vec<Event>) -> Result<(), StoreError> {
        let events: Vec<_> = events.iter().map(rows::encode).collect::<Result<_, _>>()?;
        let at = micros(at);
        self.write(Urgency::Obligation, move |connection| write::append(connection, ticket, at, &events)).await
    }

    /// Ends a round: its verdict, what it learned and the actions that follow, in one transaction. A round is decided
    /// once. The verdict and the actions become events of the case by this; they are not to be appended as well.
    ///
    /// # Errors
    /// [`StoreError::NoSuchTicket`], [`StoreError::NoSuchRound`], [`StoreError::AlreadyDecided`]
    pub async fn decide(
        &self,
        ticket: u64,
        round: u32,
        at: Timestamp,
        verdict: Verdict,
        following: impl Into<Following>,
        learned: Learned,
    ) -> Result<(), StoreError> {
        let Following { actions, call_back, pages } = following.into();
        let memory = learned.clone();
        let trouble = Trouble::of(&verdict, at);
        let (body, actions) = (rows::encode(&verdict)?, write::ActionRow::all(actions)?);
        let decision = write::Decision { ticket, round, at: micros(at), body, actions, learned, trouble, call_back };
        let decided = self
            .write(Urgency::Obligation, move |connection| {
                write::decide(connection, &decision)?;
                pages::begin(connection, &pages, at)
            })
            .await;
        self.inner.memory.learned(&memory);
        decided
    }

    /// The case with this number.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where its ticket or its verdict is.
    pub async fn case(&self, ticket: u64) -> Result<Option<Case>, StoreError> {
        self.read(move |connection| read::case(connection, ticket)).await
    }

    /// The newest cases first, below `before` where it is given; at most 1,000. A damaged one is listed with a note.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`], [`StoreError::Damaged`] where the list itself is.
    pub async fn cases(&self, before: Option<u64>, limit: usize) -> Result<Vec<Case>, StoreError> {
        self.read(move |connection| read::cases(connection, before, limit)).await
    }

    /// A case's history after this sequence number; at most 1,000 events, so ask again after the last one.
    ///
    /// # Errors
    /// [`StoreError::NoSuchTicket`], [`StoreError::Damaged`]
    pub async fn events(&self, ticket: u64, after: u64) -> Result<Vec<Recorded>, StoreError> {
        self.read(move |connection| read::events(connection, ticket, after)).await
    }

    /// Cases whose newest round has no verdict, the most overdue first; at most 10,000 of them or 64 MiB, so ask again
    /// when these are done. One whose stored ticket is damaged is among them, with the reason in its ticket's notes
    /// and no service: it can't be looked into, but it can be escalated and decided.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`], [`StoreError::Damaged`] where the list itself is.
    pub async fn unfinished(&self) -> Result<Vec<Case>, StoreError> {
        self.read(read::unfinished).await
    }

    /// How many cases have no verdict for their newest round.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`]
    pub async fn unfinished_count(&self) -> Result<usize, StoreError> {
        self.read(read::unfinished_count).await
    }

    /// Actions that are due at `now`, the oldest first; at most 1,000.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`]
    pub async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, StoreError> {
        let now = micros(now);
        self.read(move |connection| read::due(connection, now, limit)).await
    }

    /// When the next waiting action is due.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`]
    pub async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.read(read::next_due).await?.map(rows::instant))
    }

    /// The action was done; `receipt` is what its receiver calls it, for the next one of the same ticket to the same
    /// recipient. It becomes an event of the case: who was reached, and when.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAction`]
    pub async fn delivered(&self, key: &str, at: Timestamp, receipt: Option<String>) -> Result<(), StoreError> {
        let (key, at) = (key.to_owned(), micros(at));
        self.write(Urgency::Obligation, move |connection| write::delivered(connection, &key, at, receipt.as_deref()))
            .await
    }

    /// The action failed; it is due again at `retry_at`, or never (`None`: given up).
    ///
    /// # Errors
    /// [`StoreError::NoSuchAction`]
    pub async fn failed(&self, key: &str, why: &str, retry_at: Option<Timestamp>) -> Result<(), StoreError> {
        self.failed_then(key, why, retry_at, Vec::new()).await
    }

    /// As [`Store::failed`], with the actions that follow from the failure, in the same transaction. One whose key is
    /// known already is not written again.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAction`]
    pub async fn failed_then(
        &self,
        key: &str,
        why: &str,
        retry_at: Option<Timestamp>,
        then: Vec<Action>,
    ) -> Result<(), StoreError> {
        let at = then.first().map_or(0, |action| micros(action.created_at));
        let (key, why, retry_at) = (key.to_owned(), why.to_owned(), retry_at.map(micros));
        let then = write::ActionRow::all(then)?;
        self.write(Urgency::Obligation, move |connection| write::failed(connection, &key, &why, retry_at, &then, at))
            .await
    }

    /// What nobody could be told: actions over any channel but `last` that were given up within `hour`, or have failed for
    /// longer than `patience`, where nothing of the same round arrived over another channel. Where somebody is asked for,
    /// only somebody else who was asked for counts. What belongs into a ticket of another system counts
    /// while it fails, not when it is refused: the ticket may be gone there.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`]
    pub async fn undeliverable(
        &self,
        now: Timestamp,
        last: &str,
        hour: SignedDuration,
        patience: SignedDuration,
    ) -> Result<Vec<Undeliverable>, StoreError> {
        let before = |span| micros(now.checked_sub(span).unwrap_or(Timestamp::MIN));
        let (given_up_since, failing_since, last) = (before(hour), before(patience), last.to_owned());
        let unreached = self
            .read(move |connection| read::unreached(connection, &last, given_up_since, failing_since, UNDELIVERABLE))
            .await?;
        let asks =
            |kind| matches!(kind, ActionKind::Escalate | ActionKind::Page | ActionKind::Remind | ActionKind::CallBack);
        let left = unreached.into_iter().filter(|(due, _, given_up, arrived)| {
            let kind = due.action.kind;
            let gone = *given_up && matches!(kind, ActionKind::Note | ActionKind::Reply);
            !gone && !arrived.iter().any(|arrived| asks(*arrived) || !asks(kind))
        });
        let undeliverable =
            left.map(|(due, why, ..)| Undeliverable { ticket: due.action.ticket, channel: due.action.channel, why });
        Ok(undeliverable.collect())
    }

    /// How many actions wait, counted up to a million.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`]
    pub async fn queue_length(&self) -> Result<usize, StoreError> {
        let waiting = self.read(|connection| Ok(write::waiting(connection)?)).await?;
        Ok(usize::try_from(waiting).unwrap_or(0))
    }

    /// Writes and reads back a row, to know that the store still works, and that its file is still the one that was
    /// opened. Restores the reserve of disk space where it was used up.
    ///
    /// # Errors
    /// [`StoreError::Unwritable`]
    pub async fn probe(&self) -> Result<(), StoreError> {
        let place = self.inner.place.clone();
        self.write(Urgency::Intake, move |connection| {
            place.still_there()?;
            write::probe(connection)?;
            directory::set_aside(&place.directory)
                .map_err(|error| StoreError::Unwritable(format!("there is no space for its reserve: {error}")).into())
        })
        .await
    }

    /// Says what happened, where the database could not be read when it was opened and a fresh one was started: the
    /// tickets of the old one are kept, but not known any more. It is said again at each start until somebody has
    /// moved the old file away.
    pub fn recovered(&self) -> Option<String> {
        self.inner.recovered.clone()
    }

    /// Why nothing can be written any more, for good: a failed fsync, a file that is gone. The process has to end, for
    /// only a new one may trust what it finds on the disk.
    pub fn broken(&self) -> Option<String> {
        self.inner.place.broken.get().cloned()
    }

    async fn write<T, W>(&self, urgency: Urgency, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnMut(&Connection) -> Result<T, writer::Failed> + Send + 'static,
    {
        let (job, answer) = writer::task(urgency, work);
        let ended = || StoreError::Unwritable("its writer has ended".to_owned());
        let queue = self.inner.writer.as_ref().ok_or_else(ended)?;
        queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Unwritable(format!("{} writes wait already", writer::QUEUE)),
            TrySendError::Closed(_) => ended(),
        })?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(ended())),
            Err(_) => Err(StoreError::Unwritable(format!("the disk did not answer in {} s", PATIENCE.as_secs()))),
        }
    }

    async fn read<T, R>(&self, read: R) -> Result<T, StoreError>
    where
        T: Send + 'static,
        R: FnOnce(&Connection) -> Result<T, read::Failed> + Send + 'static,
    {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.inner.readers.submit(Box::new(move |connection| {
            // A caller that has gone away needs no answer.
            let _ = reply.send(read(connection).map_err(|read::Failed(error)| error));
        }))?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(StoreError::Unreadable("the reading panicked".to_owned()))),
            Err(_) => Err(StoreError::Unreadable(format!("the disk did not answer in {} s", PATIENCE.as_secs()))),
        }
    }
}
