//! What background samples leave behind, in a file of its own: losing it loses no ticket.
//!
//! Samples come in batches, which are appended as they are: one small row per batch, however many checks there are.
//! Once an hour is over it is *compacted*: its samples are sorted by check into one chunk each, and summed up. Chunks
//! are kept for days, summaries and failures for weeks; beyond a size the oldest go first. A power cut may cost the
//! last seconds of samples, never the file.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::model::history::{HOUR, Hour, Sample, Summary};
use crate::model::look::Outcome;
use crate::model::window::Window;

/// The most that one batch or chunk may unpack to, in bytes.
const UNPACKED: u64 = 64 * 1024 * 1024;
/// The most samples of one check that are handed out for a window.
const SAMPLES: usize = 10_000;
/// How long a statement waits for a backup tool's lock.
const BUSY: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS batch (
        id         INTEGER PRIMARY KEY,
        from_hour  INTEGER NOT NULL,
        first      INTEGER NOT NULL,
        last       INTEGER NOT NULL,
        body       BLOB NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS batch_last ON batch (last);
    CREATE TABLE IF NOT EXISTS chunk (
        check_name TEXT NOT NULL,
        hour       INTEGER NOT NULL,
        failures   INTEGER NOT NULL,
        body       BLOB NOT NULL,
        PRIMARY KEY (check_name, hour)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS chunk_hour ON chunk (hour);
    CREATE TABLE IF NOT EXISTS summary (
        check_name TEXT NOT NULL,
        hour       INTEGER NOT NULL,
        body       BLOB NOT NULL,
        PRIMARY KEY (check_name, hour)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS summary_hour ON summary (hour);
";

/// How long and how much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Each sample for so long.
    pub samples: Duration,
    /// Summaries of hours, and samples that were bad, for so long.
    pub hours: Duration,
    /// The file's size, in bytes; beyond it the oldest goes first.
    pub size: u64,
}

impl Default for Keep {
    /// Two days, five weeks, 2 GiB.
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        Keep { samples: days(2), hours: days(35), size: 2 * 1024 * 1024 * 1024 }
    }
}

/// Why something was not remembered or recalled.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("the history can't be used: {0}")]
    Unusable(String),
}

impl From<rusqlite::Error> for HistoryError {
    fn from(error: rusqlite::Error) -> Self {
        HistoryError::Unusable(error.to_string())
    }
}

/// The history of one daemon; cheap to clone.
#[derive(Debug, Clone)]
pub struct History(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    keep: Keep,
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
}

impl History {
    /// Opens or creates the history in this directory. One that can't be read is moved aside: it is worth less than a
    /// daemon that starts.
    ///
    /// # Errors
    /// [`HistoryError::Unusable`]: neither it nor a new one can be used.
    pub fn open(directory: &Path, keep: Keep) -> Result<Self, HistoryError> {
        let path = directory.join("history.db");
        let opened = connect(&path).or_else(|error| {
            let aside = path.with_extension("db.corrupt");
            tracing::error!(why = %error, "the history can't be read: it is moved aside, and a new one begun");
            std::fs::rename(&path, &aside).map_err(|error| HistoryError::Unusable(error.to_string()))?;
            for companion in ["db-wal", "db-shm"] {
                // Left by the file that was moved away; usually there is none.
                let _ = std::fs::remove_file(path.with_extension(companion));
            }
            connect(&path)
        })?;
        let reader = connect(&path)?;
        Ok(History(Arc::new(Inner { path, keep, writer: Mutex::new(opened), reader: Mutex::new(reader) })))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Appends what was sampled.
    ///
    /// # Errors
    /// [`HistoryError`]; also where it holds a quarter more than it may: it can't be compacted then.
    pub async fn record(&self, batch: Vec<(Arc<str>, Sample)>) -> Result<(), HistoryError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.on(|inner| &inner.writer, move |connection, keep| record(connection, &batch, keep)).await
    }

    /// Sorts hours that are over into chunks and summaries, and lets go what is too old or too much. Takes a while:
    /// once an hour is enough.
    ///
    /// # Errors
    /// [`HistoryError`]
    pub async fn compact(&self, now: Timestamp) -> Result<(), HistoryError> {
        self.on(
            |inner| &inner.writer,
            move |connection, keep| {
                while let Some(hour) = next_hour(connection, now)? {
                    compact(connection, hour)?;
                }
                forget(connection, keep, now)
            },
        )
        .await
    }

    /// The samples of these checks within the window, in order; a check without any is missing.
    ///
    /// # Errors
    /// [`HistoryError`]
    pub async fn samples(
        &self,
        checks: BTreeSet<String>,
        window: Window,
    ) -> Result<BTreeMap<String, Vec<Sample>>, HistoryError> {
        self.on(|inner| &inner.reader, move |connection, _| samples(connection, &checks, window)).await
    }

    /// What the measures of a check showed in hours of the past, by measure. `hour_of_day`: those of this hour (UTC)
    /// alone.
    ///
    /// # Errors
    /// [`HistoryError`]
    pub async fn hours(
        &self,
        check: &str,
        past: Window,
        hour_of_day: Option<i8>,
    ) -> Result<BTreeMap<String, Vec<Hour>>, HistoryError> {
        let check = check.to_owned();
        self.on(|inner| &inner.reader, move |connection, _| hours(connection, &check, past, hour_of_day)).await
    }

    /// Since when these checks have been bad without a break; those that are not are missing.
    ///
    /// # Errors
    /// [`HistoryError`]
    pub async fn bad_since(
        &self,
        checks: BTreeSet<String>,
        now: Timestamp,
    ) -> Result<BTreeMap<String, Timestamp>, HistoryError> {
        self.on(|inner| &inner.reader, move |connection, keep| bad_since(connection, checks, keep, now)).await
    }

    async fn on<T: Send + 'static>(
        &self,
        which: impl Fn(&Inner) -> &Mutex<Connection> + Send + 'static,
        work: impl FnOnce(&mut Connection, Keep) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, HistoryError> {
        let inner = Arc::clone(&self.0);
        let task = tokio::task::spawn_blocking(move || {
            // A panic in between leaves a transaction that was rolled back: the connection is whole.
            let mut connection = which(&inner).lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection, inner.keep)
        });
        task.await.map_err(|error| HistoryError::Unusable(error.to_string()))?
    }
}

fn connect(path: &Path) -> Result<Connection, HistoryError> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| HistoryError::Unusable(format!("{}: {error}", path.display())))?;
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY;",
    )?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

fn hour_of(at: Timestamp) -> i64 {
    at.as_millisecond().div_euclid(HOUR)
}

fn pack<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, HistoryError> {
    let unusable = |error: std::io::Error| HistoryError::Unusable(error.to_string());
    let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    let text = serde_json::to_vec(value).map_err(|error| HistoryError::Unusable(error.to_string()))?;
    packer.write_all(&text).map_err(unusable)?;
    packer.finish().map_err(unusable)
}

/// What was packed. A row that is damaged is told and left out: the others are worth reading.
fn unpack<T: serde::de::DeserializeOwned>(what: &str, body: &[u8]) -> Option<T> {
    let mut text = Vec::new();
    let read = flate2::read::DeflateDecoder::new(body).take(UNPACKED).read_to_end(&mut text);
    let value = read.map_err(|error| error.to_string()).and_then(|_| {
        serde_json::from_slice(&text).map_err(|error| error.to_string()) // a cut one is no JSON
    });
    value.inspect_err(|why| tracing::warn!(what, why, "a row of the history is damaged")).ok()
}

/// A batch: samples with their checks' names.
type Batch = Vec<(String, Sample)>;

fn record(connection: &mut Connection, batch: &[(Arc<str>, Sample)], keep: Keep) -> Result<(), HistoryError> {
    // What goes comes from compacting; should that fail, the disk belongs to the tickets.
    let held = used(connection)?;
    if held > keep.size.saturating_add(keep.size / 4) {
        return Err(HistoryError::Unusable(format!("it holds {held} bytes, and may hold {}", keep.size)));
    }
    // One row per hour: an hour is compacted as a whole.
    let mut by_hour: BTreeMap<i64, Vec<&(Arc<str>, Sample)>> = BTreeMap::new();
    for sample in batch {
        by_hour.entry(hour_of(sample.1.at)).or_default().push(sample);
    }
    let transaction = connection.transaction()?;
    for (hour, samples) in by_hour {
        let times = || samples.iter().map(|(_, sample)| sample.at.as_millisecond());
        transaction
            .prepare_cached("INSERT INTO batch (from_hour, first, last, body) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![hour, times().min(), times().max(), pack(&samples)?])?;
    }
    Ok(transaction.commit()?)
}

/// The oldest hour that is over and not yet compacted. Half a minute is left for what is still on its way.
fn next_hour(connection: &Connection, now: Timestamp) -> Result<Option<i64>, HistoryError> {
    let over = hour_of(Timestamp::from_millisecond(now.as_millisecond() - 30_000).unwrap_or(now));
    Ok(connection
        .prepare_cached("SELECT from_hour FROM batch WHERE from_hour < ?1 ORDER BY from_hour LIMIT 1")?
        .query_row([over], |row| row.get(0))
        .optional()?)
}

fn compact(connection: &mut Connection, hour: i64) -> Result<(), HistoryError> {
    let transaction = connection.transaction()?;
    let mut by_check: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
    {
        let mut statement = transaction.prepare_cached("SELECT body FROM batch WHERE from_hour = ?1 ORDER BY id")?;
        let mut rows = statement.query([hour])?;
        while let Some(row) = rows.next()? {
            let body: Vec<u8> = row.get(0)?;
            for (check, sample) in unpack::<Batch>("a batch", &body).unwrap_or_default() {
                by_check.entry(check).or_default().push(sample);
            }
        }
        // Samples may come late, after their hour was compacted: they join those that are there.
        let mut known = transaction.prepare_cached("SELECT body FROM chunk WHERE check_name = ?1 AND hour = ?2")?;
        let mut chunk = transaction.prepare_cached(
            "INSERT OR REPLACE INTO chunk (check_name, hour, failures, body) VALUES (?1, ?2, ?3, ?4)",
        )?;
        let mut summary = transaction
            .prepare_cached("INSERT OR REPLACE INTO summary (check_name, hour, body) VALUES (?1, ?2, ?3)")?;
        for (check, mut samples) in by_check {
            let before: Option<Vec<u8>> = known.query_row(params![check, hour], |row| row.get(0)).optional()?;
            if let Some(before) = before {
                samples.extend(unpack::<Vec<Sample>>("a chunk", &before).unwrap_or_default());
            }
            samples.sort_by_key(|sample| sample.at);
            let failures = samples.iter().filter(|sample| sample.outcome == Outcome::Bad).count();
            summary.execute(params![check, hour, pack(&Summary::of(&samples))?])?;
            chunk.execute(params![check, hour, i64::try_from(failures).unwrap_or(i64::MAX), pack(&samples)?])?;
        }
        transaction.prepare_cached("DELETE FROM batch WHERE from_hour = ?1")?.execute([hour])?;
    }
    Ok(transaction.commit()?)
}

/// Lets go what is older than it is kept, and the oldest where there is too much.
fn forget(connection: &mut Connection, keep: Keep, now: Timestamp) -> Result<(), HistoryError> {
    let before = |kept: Duration| hour_of(now) - i64::try_from(kept.as_secs() / 3_600).unwrap_or(i64::MAX / 2);
    let transaction = connection.transaction()?;
    transaction.execute("DELETE FROM summary WHERE hour < ?1", [before(keep.hours)])?;
    transaction.execute("DELETE FROM chunk WHERE hour < ?1", [before(keep.hours)])?;
    transaction.execute("DELETE FROM chunk WHERE hour < ?1 AND failures = 0", [before(keep.samples)])?;
    transaction.commit()?;
    // A summary is small and says much: it goes only where no chunk is left to go before it.
    for table in ["chunk", "summary"] {
        while used(connection)? > keep.size {
            let oldest = connection.query_row(&format!("SELECT min(hour) FROM {table}"), [], |row| row.get(0))?;
            let Some(oldest): Option<i64> = oldest else { break };
            connection.execute(&format!("DELETE FROM {table} WHERE hour = ?1"), [oldest])?;
        }
    }
    Ok(())
}

/// The bytes in use; pages that are free are used again before the file grows.
fn used(connection: &Connection) -> Result<u64, HistoryError> {
    let pragma = |name: &str| -> Result<u64, rusqlite::Error> {
        connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
    };
    Ok(pragma("page_count")?.saturating_sub(pragma("freelist_count")?).saturating_mul(pragma("page_size")?))
}

fn samples(
    connection: &Connection,
    checks: &BTreeSet<String>,
    window: Window,
) -> Result<BTreeMap<String, Vec<Sample>>, HistoryError> {
    let mut found: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
    let mut take = |check: &str, sample: Sample| {
        let held = found.entry(check.to_owned()).or_default();
        if window.contains(sample.at) && held.len() < SAMPLES {
            held.push(sample);
        }
    };
    let mut chunk = connection
        .prepare_cached("SELECT body FROM chunk WHERE check_name = ?1 AND hour BETWEEN ?2 AND ?3 ORDER BY hour")?;
    for check in checks {
        let mut rows = chunk.query(params![check, hour_of(window.from), hour_of(window.to)])?;
        while let Some(row) = rows.next()? {
            let body: Vec<u8> = row.get(0)?;
            for sample in unpack::<Vec<Sample>>("a chunk", &body).unwrap_or_default() {
                take(check, sample);
            }
        }
    }
    let mut batch = connection.prepare_cached("SELECT body FROM batch WHERE last >= ?1 AND first <= ?2 ORDER BY id")?;
    let mut rows = batch.query(params![window.from.as_millisecond(), window.to.as_millisecond()])?;
    while let Some(row) = rows.next()? {
        let body: Vec<u8> = row.get(0)?;
        for (check, sample) in unpack::<Batch>("a batch", &body).unwrap_or_default() {
            if checks.contains(&check) {
                take(&check, sample);
            }
        }
    }
    for samples in found.values_mut() {
        samples.sort_by_key(|sample| sample.at);
    }
    found.retain(|_, samples| !samples.is_empty());
    Ok(found)
}

fn hours(
    connection: &Connection,
    check: &str,
    past: Window,
    hour_of_day: Option<i8>,
) -> Result<BTreeMap<String, Vec<Hour>>, HistoryError> {
    let mut statement = connection.prepare_cached(
        "SELECT hour, body FROM summary WHERE check_name = ?1 AND hour BETWEEN ?2 AND ?3 \
         AND (?4 IS NULL OR hour % 24 = ?4) ORDER BY hour",
    )?;
    let mut rows = statement.query(params![check, hour_of(past.from), hour_of(past.to), hour_of_day])?;
    let mut found: BTreeMap<String, Vec<Hour>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (hour, body): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let Ok(start) = Timestamp::from_millisecond(hour.saturating_mul(HOUR)) else { continue };
        for (measure, spread) in unpack::<Summary>("a summary", &body).unwrap_or_default().measures {
            found.entry(measure).or_default().push(Hour { start, spread });
        }
    }
    Ok(found)
}

/// Goes back hour by hour, from the newest sample, until each check was seen not to be bad.
fn bad_since(
    connection: &Connection,
    mut checks: BTreeSet<String>,
    keep: Keep,
    now: Timestamp,
) -> Result<BTreeMap<String, Timestamp>, HistoryError> {
    let at = |hour: i64| Timestamp::from_millisecond(hour.saturating_mul(HOUR)).unwrap_or(now);
    let mut since = BTreeMap::new();
    for back in 0..i64::try_from(keep.hours.as_secs() / 3_600).unwrap_or(0) {
        if checks.is_empty() {
            break;
        }
        let hour = hour_of(now) - back;
        let found = samples(connection, &checks, Window::new(at(hour), at(hour + 1).min(now)))?;
        checks.retain(|check| {
            let Some(samples) = found.get(check) else {
                // An hour without a sample ends what is known; the newest may have none yet.
                return back == 0;
            };
            for sample in samples.iter().rev() {
                match sample.outcome {
                    Outcome::Bad => drop(since.insert(check.clone(), sample.at)),
                    Outcome::Unknown | Outcome::NotApplicable => {}
                    Outcome::Good | Outcome::Odd => return false,
                }
            }
            true
        });
    }
    Ok(since)
}

#[cfg(test)]
mod tests;
