//! What is read: on threads of its own, so that neither a slow disk nor a full blocking pool stalls anything else.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use super::rows::{self, CASE_COLUMNS, integer, natural, unreadable};
use super::{Due, Recorded, StoreError, schema};
use crate::model::action::ActionKind;
use crate::model::case::{Case, Event};
use crate::model::verdict::Verdict;

/// How many threads read.
const READERS: usize = 2;
/// The most reads that wait; more are refused.
const QUEUE: usize = 1_024;
/// The most rows of one answer.
const ROWS: usize = 1_000;
/// The most cases, and bytes of tickets, that [`unfinished`] hands out at once.
const UNFINISHED_CASES: usize = 10_000;
const UNFINISHED_BYTES: usize = 64 * 1024 * 1024;

/// A read under way.
pub(super) type Reading = Box<dyn FnOnce(&Connection) + Send>;

/// The threads that read; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Readers(SyncSender<Reading>);

impl Readers {
    /// # Errors
    /// A connection or a thread is not to be had.
    pub(super) fn start(path: &Path) -> Result<Self, String> {
        let (sender, receiver) = sync_channel::<Reading>(QUEUE);
        let receiver = Arc::new(Mutex::new(receiver));
        for n in 0..READERS {
            let connection = schema::open_reader(path).map_err(|error| error.to_string())?;
            let receiver = Arc::clone(&receiver);
            std::thread::Builder::new()
                .name(format!("store-reader-{n}"))
                .spawn(move || {
                    while let Some(reading) = next(&receiver) {
                        // A reading that panics drops its caller's answer, and costs nobody else anything.
                        let read = std::panic::AssertUnwindSafe(|| reading(&connection));
                        if std::panic::catch_unwind(read).is_err() {
                            tracing::error!("a reading of the store panicked");
                        }
                    }
                })
                .map_err(|error| error.to_string())?;
        }
        Ok(Readers(sender))
    }

    pub(super) fn submit(&self, reading: Reading) -> Result<(), StoreError> {
        self.0.try_send(reading).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Unreadable(format!("{QUEUE} reads wait already")),
            TrySendError::Disconnected(_) => StoreError::Unreadable("its readers have ended".to_owned()),
        })
    }
}

fn next(receiver: &Mutex<Receiver<Reading>>) -> Option<Reading> {
    receiver.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Why a read failed.
pub(super) struct Failed(pub(super) StoreError);

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Failed(unreadable(&error))
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Failed(error)
    }
}

fn read_case(connection: &Connection, ticket: i64) -> Result<Option<rows::ReadCase>, rusqlite::Error> {
    connection
        .prepare_cached(&format!(
            "SELECT {CASE_COLUMNS} FROM ticket t LEFT JOIN verdict v ON v.ticket = t.number AND v.round = t.round \
             WHERE t.number = ?1"
        ))?
        .query_row([ticket], rows::case)
        .optional()
}

pub(super) fn case(connection: &Connection, ticket: u64) -> Result<Option<Case>, Failed> {
    match read_case(connection, integer(ticket))? {
        None => Ok(None),
        Some(read) => match read.damage {
            None => Ok(Some(read.case)),
            Some(damage) => Err(damage.into()),
        },
    }
}

pub(super) fn cases(connection: &Connection, before: Option<u64>, limit: usize) -> Result<Vec<Case>, Failed> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {CASE_COLUMNS} FROM ticket t LEFT JOIN verdict v ON v.ticket = t.number AND v.round = t.round \
         WHERE t.number < ?1 ORDER BY t.number DESC LIMIT ?2"
    ))?;
    let rows = statement.query_map(params![before.map_or(i64::MAX, integer), bounded(limit)], rows::case)?;
    Ok(rows.map(|row| row.map(|read| read.case)).collect::<Result<_, _>>()?)
}

fn bounded(limit: usize) -> i64 {
    i64::try_from(limit.min(ROWS)).unwrap_or(i64::MAX)
}

/// The numbers come from an index, the rows one by one: a page that can't be read costs the tickets on it their
/// text, but not their place in the list.
pub(super) fn unfinished(connection: &Connection) -> Result<Vec<Case>, Failed> {
    let mut statement = connection.prepare_cached(
        "SELECT number, deadline_at FROM ticket WHERE state < 2 ORDER BY deadline_at, number LIMIT ?1",
    )?;
    let numbers = statement
        .query_map([i64::try_from(UNFINISHED_CASES).unwrap_or(i64::MAX)], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<(i64, i64)>, _>>()?;
    let mut cases = Vec::new();
    let mut bytes = 0;
    for (number, deadline_at) in numbers {
        let case = match read_case(connection, number) {
            Ok(Some(read)) => read.case,
            Ok(None) => continue,
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
                rows::unreadable_case(number, deadline_at, &unreadable(&error))
            }
            Err(error) => return Err(error.into()),
        };
        bytes += case.ticket.text.raw().len();
        cases.push(case);
        if bytes > UNFINISHED_BYTES {
            break;
        }
    }
    Ok(cases)
}

pub(super) fn unfinished_count(connection: &Connection) -> Result<usize, Failed> {
    let count: i64 =
        connection.prepare_cached("SELECT count(*) FROM ticket WHERE state < 2")?.query_row([], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

pub(super) fn events(connection: &Connection, ticket: u64, after: u64) -> Result<Vec<Recorded>, Failed> {
    let known = connection.prepare_cached("SELECT 1 FROM ticket WHERE number = ?1")?.exists([integer(ticket)])?;
    if !known {
        return Err(StoreError::NoSuchTicket(ticket).into());
    }
    let mut statement = connection.prepare_cached(
        "SELECT e.sequence, e.at, e.round, e.key, e.body, e.crc, v.body, v.crc, \
                o.key, o.body, o.crc, o.ticket, o.round, o.channel, o.created_at \
         FROM event e \
         LEFT JOIN verdict v ON v.ticket = e.ticket AND v.round = e.round \
         LEFT JOIN outbox o ON o.key = e.key \
         WHERE e.ticket = ?1 AND e.sequence > ?2 ORDER BY e.sequence LIMIT ?3",
    )?;
    let mut found = statement.query(params![integer(ticket), integer(after), bounded(ROWS)])?;
    let mut events = Vec::new();
    while let Some(row) = found.next()? {
        events.push(event(integer(ticket), row)?);
    }
    Ok(events)
}

fn event(ticket: i64, row: &rusqlite::Row<'_>) -> Result<Recorded, Failed> {
    let sequence: i64 = row.get(0)?;
    let at: i64 = row.get(1)?;
    let what = format!("event {sequence} of T-{ticket}");
    let missing = || StoreError::Damaged(format!("{what}: what it stands for is missing"));
    let event = if let Some(round) = row.get::<_, Option<i64>>(2)? {
        let body = rows::bytes(row, 6)?.ok_or_else(missing)?;
        let verdict = rows::decode::<Verdict>(&what, body, row.get(7)?, rows::verdict_checksum(ticket, round, body))?;
        Event::Verdict { verdict: Box::new(verdict) }
    } else if row.get_ref(3)? != rusqlite::types::ValueRef::Null {
        let key = rows::text(row, 8)?;
        let body = rows::bytes(row, 9)?.ok_or_else(missing)?;
        let action = rows::decode(&what, body, row.get(10)?, rows::action_checksum(&key, body))?;
        Event::Action { action: Box::new(action) }
    } else {
        let body = rows::bytes(row, 4)?.ok_or_else(missing)?;
        rows::decode(&what, body, row.get(5)?, rows::event_checksum(ticket, at, body))?
    };
    Ok(Recorded { sequence: natural(sequence), at: rows::instant(at), event })
}

pub(super) fn due(connection: &Connection, now: i64, limit: usize) -> Result<Vec<Due>, Failed> {
    let mut statement = connection.prepare_cached(
        "SELECT key, body, crc, ticket, round, channel, created_at, tries, last_error FROM outbox \
         WHERE state = 0 AND due_at <= ?1 ORDER BY due_at, created_at, key LIMIT ?2",
    )?;
    let rows = statement.query_map(params![now, bounded(limit)], |row| {
        let tries: i64 = row.get(7)?;
        Ok(Due { action: rows::action(row)?, tries: u32::try_from(tries).unwrap_or(u32::MAX), previous: None })
    })?;
    let mut all: Vec<Due> = rows.collect::<Result<_, _>>()?;
    let mut receipt = connection
        .prepare_cached("SELECT reference FROM receipt WHERE ticket = ?1 AND channel = ?2 AND recipient = ?3")?;
    for due in &mut all {
        let action = &due.action;
        due.previous = receipt
            .query_row(params![integer(action.ticket), action.channel, action.recipient], |row| row.get(0))
            .optional()?;
    }
    Ok(all)
}

/// A failing action, its last error, whether it was given up, and the kinds of what arrived of its round.
pub(super) type Unreached = (Due, String, bool, Vec<ActionKind>);

/// Actions over any channel but `last` that were given up since, or were made before `failing_since` and fail until now,
/// the oldest first; and of each, the kinds of those of its round that arrived over any channel but that.
pub(super) fn unreached(
    connection: &Connection,
    last: &str,
    given_up_since: i64,
    failing_since: i64,
    limit: usize,
) -> Result<Vec<Unreached>, Failed> {
    let columns = "key, body, crc, ticket, round, channel, created_at, tries, last_error, state";
    let mut statement = connection.prepare_cached(&format!(
        "SELECT * FROM (SELECT {columns} FROM outbox WHERE state = 2 AND due_at >= ?1 AND channel <> ?3 LIMIT ?4) \
         UNION ALL \
         SELECT * FROM (SELECT {columns} FROM outbox WHERE state = 0 AND tries > 0 AND created_at <= ?2 \
         AND channel <> ?3 LIMIT ?4)"
    ))?;
    let rows = statement.query_map(params![given_up_since, failing_since, last, bounded(limit)], |row| {
        let tries: i64 = row.get(7)?;
        let due = Due { action: rows::action(row)?, tries: u32::try_from(tries).unwrap_or(u32::MAX), previous: None };
        Ok((due, row.get::<_, Option<String>>(8)?.unwrap_or_default(), row.get::<_, i64>(9)? == rows::GIVEN_UP))
    })?;
    let mut arrived = connection.prepare_cached(
        "SELECT o.key, o.body, o.crc, o.ticket, o.round, o.channel, o.created_at, o.tries, o.last_error \
         FROM event e JOIN outbox o ON o.key = e.key \
         WHERE e.ticket = ?1 AND o.round = ?2 AND o.state = 1 AND o.channel <> ?3 LIMIT ?4",
    )?;
    let mut all = Vec::new();
    for row in rows {
        let (due, why, given_up) = row?;
        let of = params![integer(due.action.ticket), due.action.round, last, bounded(limit)];
        let kinds = arrived.query_map(of, |row| Ok(rows::action(row)?.kind))?.collect::<Result<_, _>>()?;
        all.push((due, why, given_up, kinds));
    }
    Ok(all)
}

pub(super) fn cursor(connection: &Connection, system: &str) -> Result<Option<String>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT value FROM cursor WHERE system = ?1")?
        .query_row([system], |row| row.get(0))
        .optional()
}

/// When the next waiting action is due.
pub(super) fn next_due(connection: &Connection) -> Result<Option<i64>, Failed> {
    Ok(connection.prepare_cached("SELECT min(due_at) FROM outbox WHERE state = 0")?.query_row([], |row| row.get(0))?)
}
