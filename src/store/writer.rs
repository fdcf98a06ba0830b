//! The one thread that writes: requests that wait together share one transaction and one fsync.
//!
//! While a group is on its way to the disk the next one gathers, so a lone request never waits for company and two
//! hundred cost a few fsyncs. Each request has a savepoint of its own: one that fails takes no other with it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use super::rows::unreadable;
use super::{StoreError, directory};

/// The most requests that share a transaction.
const GROUP: usize = 128;
/// The most requests that wait; more are refused, so that a hung disk can't fill the memory.
pub(super) const QUEUE: usize = 4_096;

/// Why one piece of work was not done.
pub(super) enum Failed {
    /// It may not be done: nothing is wrong with the store.
    Refused(StoreError),
    Engine(rusqlite::Error),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Failed::Engine(error)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Failed::Refused(error)
    }
}

/// What takes in new work yields to what ends work that was accepted, where the disk is nearly full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    Intake,
    Obligation,
}

/// A request in the queue. It may be run twice, when its first transaction was undone.
pub(super) trait Job: Send {
    fn urgency(&self) -> Urgency;
    /// Runs within a savepoint; `Ok(false)`: to be undone, and no fault of the store.
    fn run(&mut self, connection: &Connection) -> Result<bool, rusqlite::Error>;
    /// Tells the caller: what `run` said, if the transaction stands.
    fn answer(self: Box<Self>, transaction: Result<(), StoreError>);
}

/// Requests of several callers.
type Group = Vec<Box<dyn Job>>;

struct Task<T, W> {
    urgency: Urgency,
    work: W,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, W> Job for Task<T, W>
where
    T: Send,
    W: FnMut(&Connection) -> Result<T, Failed> + Send,
{
    fn urgency(&self) -> Urgency {
        self.urgency
    }

    fn run(&mut self, connection: &Connection) -> Result<bool, rusqlite::Error> {
        match (self.work)(connection) {
            Ok(value) => {
                self.outcome = Some(Ok(value));
                Ok(true)
            }
            Err(Failed::Refused(error)) => {
                self.outcome = Some(Err(error));
                Ok(false)
            }
            Err(Failed::Engine(error)) => {
                self.outcome = Some(Err(match unreadable(&error) {
                    damaged @ StoreError::Damaged(_) => damaged,
                    _ => StoreError::Unwritable(error.to_string()),
                }));
                Err(error)
            }
        }
    }

    fn answer(self: Box<Self>, transaction: Result<(), StoreError>) {
        let never_run = || Err(StoreError::Unwritable("it was never tried".to_owned()));
        // A caller that has gone away is no fault: what it asked for is done or not done, as for any other.
        let _ = self.reply.send(match transaction {
            Ok(()) => self.outcome.unwrap_or_else(never_run),
            Err(error) => Err(error),
        });
    }
}

/// Makes a request of a piece of work, and what its caller awaits.
#[allow(clippy::type_complexity)]
pub(super) fn task<T, W>(urgency: Urgency, work: W) -> (Box<dyn Job>, oneshot::Receiver<Result<T, StoreError>>)
where
    T: Send + 'static,
    W: FnMut(&Connection) -> Result<T, Failed> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    (Box::new(Task { urgency, work, outcome: None, reply }), answer)
}

/// Why a transaction doesn't stand.
enum Trouble {
    /// No space: what was there before is sound.
    Full(String),
    /// The file can't be trusted any more, or can't be written at all.
    Grave(String),
    /// This transaction only.
    Passing(String),
}

fn trouble(error: &rusqlite::Error) -> Trouble {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Trouble::Full(error.to_string()),
        Some(
            ErrorCode::SystemIoFailure
            | ErrorCode::ReadOnly
            | ErrorCode::CannotOpen
            | ErrorCode::NotADatabase
            | ErrorCode::PermissionDenied,
        ) => Trouble::Grave(error.to_string()),
        _ => Trouble::Passing(error.to_string()),
    }
}

/// The writer's own state; it lives on its thread.
struct Writer {
    connection: Connection,
    directory: PathBuf,
    lock: File,
    /// Numbers up to this one are set aside.
    numbers: u64,
    /// True while the reserve is given away: what is free then is for what was accepted, not for more.
    spent: bool,
    broken: Arc<OnceLock<String>>,
}

/// Starts the thread. It ends, and lets go of the lock, when the last sender is gone.
///
/// # Errors
/// No thread is to be had.
pub(super) fn start(
    connection: Connection,
    directory: &Path,
    lock: File,
    numbers: u64,
    broken: Arc<OnceLock<String>>,
    ended: std::sync::mpsc::Sender<()>,
) -> std::io::Result<mpsc::Sender<Box<dyn Job>>> {
    let (sender, mut queue) = mpsc::channel::<Box<dyn Job>>(QUEUE);
    let mut writer = Writer { connection, directory: directory.to_owned(), lock, numbers, spent: false, broken };
    std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
        // However this thread ends, by a panic in a request too, nobody must believe that the store still works.
        let last_words = LastWords(Arc::clone(&writer.broken));
        while let Some(first) = queue.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP {
                match queue.try_recv() {
                    Ok(job) => group.push(job),
                    Err(_) => break,
                }
            }
            let intake = group.iter().any(|job| job.urgency() == Urgency::Intake);
            writer.write(group);
            if intake {
                writer.set_numbers_aside();
            }
        }
        std::mem::forget(last_words);
        let Writer { connection, lock, .. } = writer;
        drop(connection);
        drop(lock);
        let _ = ended.send(());
    })?;
    Ok(sender)
}

struct LastWords(Arc<OnceLock<String>>);

impl Drop for LastWords {
    fn drop(&mut self) {
        let _ = self.0.set("the store's writer has ended".to_owned());
    }
}

impl Writer {
    /// Writes a group and tells each caller its own result.
    fn write(&mut self, mut group: Group) {
        if let Some(why) = self.broken.get() {
            return refuse(group, why);
        }
        if self.spent && group.iter().any(|job| job.urgency() == Urgency::Intake) {
            match directory::set_aside(&self.directory) {
                Ok(()) => self.spent = false,
                Err(error) => {
                    let (intake, obligations) = apart(group);
                    refuse(intake, &format!("there is no space for its reserve: {error}"));
                    group = obligations;
                }
            }
        }
        if group.is_empty() {
            return;
        }
        let Err(trouble) = self.transact(&mut group) else {
            return group.into_iter().for_each(|job| job.answer(Ok(())));
        };
        let Trouble::Full(why) = trouble else {
            return self.give_up(group, trouble);
        };
        let (intake, mut obligations) = apart(group);
        refuse(intake, &why);
        if obligations.is_empty() {
            return;
        }
        // What was accepted must still get its verdict: the reserve is there for this.
        self.spent = true;
        if let Err(error) = directory::release(&self.directory) {
            tracing::error!(why = %error, "the store's reserve can't be released");
        }
        match self.transact(&mut obligations) {
            Ok(()) => obligations.into_iter().for_each(|job| job.answer(Ok(()))),
            Err(trouble) => self.give_up(obligations, trouble),
        }
    }

    fn give_up(&self, group: Group, trouble: Trouble) {
        match trouble {
            Trouble::Grave(why) => {
                // After a failed fsync nobody knows what is on the disk: only a new process may look at it again.
                tracing::error!(%why, "the store is broken");
                let _ = self.broken.set(why.clone());
                refuse(group, &why);
            }
            Trouble::Full(why) | Trouble::Passing(why) => refuse(group, &why),
        }
    }

    /// A number is set aside long before it is given, so that this is never in the way.
    fn set_numbers_aside(&mut self) {
        let newest: Result<Option<i64>, _> = self
            .connection
            .prepare_cached("SELECT max(number) FROM ticket")
            .and_then(|mut s| s.query_row([], |r| r.get(0)));
        let Ok(Some(newest)) = newest else { return };
        let newest = u64::try_from(newest).unwrap_or(0);
        if newest.saturating_add(directory::NUMBERS / 2) <= self.numbers {
            return;
        }
        match directory::set_numbers_aside(&mut self.lock, newest) {
            Ok(numbers) => self.numbers = numbers,
            Err(error) => tracing::error!(why = %error, "ticket numbers can't be set aside"),
        }
    }

    fn transact(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), Trouble> {
        let done = self.run_all(group);
        if done.is_err() && !self.connection.is_autocommit() {
            // Fails only where SQLite has rolled back already.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        done.map_err(|error| trouble(&error))
    }

    fn run_all(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), rusqlite::Error> {
        let connection = &self.connection;
        let run = |sql: &str| connection.prepare_cached(sql)?.execute([]).map(drop);
        run("BEGIN IMMEDIATE")?;
        for job in group {
            run("SAVEPOINT job")?;
            let ran = job.run(connection);
            if !matches!(ran, Ok(true)) {
                if let Err(error) = ran
                    && (connection.is_autocommit() || !matches!(trouble(&error), Trouble::Passing(_)))
                {
                    return Err(error);
                }
                run("ROLLBACK TO job")?;
            }
            run("RELEASE job")?;
        }
        run("COMMIT")
    }
}

/// Those who take in new work, and those who end what was accepted.
fn apart(group: Group) -> (Group, Group) {
    group.into_iter().partition(|job| job.urgency() == Urgency::Intake)
}

fn refuse(group: Group, why: &str) {
    for job in group {
        job.answer(Err(StoreError::Unwritable(why.to_owned())));
    }
}
