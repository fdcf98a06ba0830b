//! Call-backs on disk: one per ticket, begun with its verdict, changed only from the state in which it was read.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{self, instant, integer, micros};
use super::write::{self, ActionRow};
use super::writer::{Failed, Urgency};
use super::{Store, StoreError};
use crate::model::action::Action;
use crate::model::callback::{CallBack, CallBackState};
use crate::model::case::Event;

/// Of a call-back's row.
fn checksum(ticket: i64, body: &[u8]) -> i64 {
    rows::checksum(&[b"callback", &ticket.to_be_bytes(), body])
}

/// Begins a call-back; one of an earlier round is over by it.
pub(super) fn begin(connection: &Connection, call_back: &CallBack) -> Result<(), Failed> {
    put(connection, call_back)
}

fn put(connection: &Connection, call_back: &CallBack) -> Result<(), Failed> {
    let (ticket, body) = (integer(call_back.ticket), rows::encode(call_back)?);
    let due = (call_back.state == CallBackState::Open).then(|| micros(call_back.by));
    connection
        .prepare_cached("INSERT OR REPLACE INTO callback (ticket, due_at, body, crc) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![ticket, due, body, checksum(ticket, &body)])?;
    Ok(())
}

fn get(connection: &Connection, ticket: i64) -> Result<Option<CallBack>, StoreError> {
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?));
    let row = connection
        .prepare_cached("SELECT body, crc FROM callback WHERE ticket = ?1")
        .and_then(|mut statement| statement.query_row([ticket], read).optional())
        .map_err(|error| rows::unreadable(&error))?;
    row.map(|(body, crc)| rows::decode("the call-back", &body, crc, checksum(ticket, &body))).transpose()
}

impl Store {
    /// The newest call-back of a ticket.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`], [`StoreError::Damaged`]
    pub async fn call_back(&self, ticket: u64) -> Result<Option<CallBack>, StoreError> {
        self.read(move |connection| Ok(get(connection, integer(ticket))?)).await
    }

    /// Tickets whose call-back is overdue at `now`, at most 100, the longest first.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`]
    pub async fn call_backs_due(&self, now: Timestamp) -> Result<Vec<u64>, StoreError> {
        let now = micros(now);
        self.read(move |connection| {
            let tickets = connection
                .prepare_cached("SELECT ticket FROM callback WHERE due_at <= ?1 ORDER BY due_at LIMIT 100")?
                .query_map([now], |row| row.get::<_, i64>(0))?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(tickets.into_iter().map(rows::natural).collect())
        })
        .await
    }

    /// When the next call-back is due.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`]
    pub async fn next_call_back(&self) -> Result<Option<Timestamp>, StoreError> {
        let next: Option<i64> = self
            .read(|connection| {
                Ok(connection.prepare_cached("SELECT min(due_at) FROM callback")?.query_row([], |row| row.get(0))?)
            })
            .await?;
        Ok(next.map(instant))
    }

    /// Puts `to` in the place of `from`, with the actions and the event that belong to it, in one transaction; false
    /// where it has changed meanwhile, and nothing was written.
    ///
    /// # Errors
    /// [`StoreError::Unwritable`]
    pub async fn change_call_back(
        &self,
        from: CallBack,
        to: CallBack,
        at: Timestamp,
        actions: Vec<Action>,
        event: Option<Event>,
    ) -> Result<bool, StoreError> {
        let actions = ActionRow::all(actions)?;
        let event = event.map(|event| rows::encode(&event)).transpose()?;
        self.write(Urgency::Obligation, move |connection| {
            if get(connection, integer(from.ticket))?.as_ref() != Some(&from) {
                return Ok(false);
            }
            put(connection, &to)?;
            write::enqueue(connection, &actions, micros(at))?;
            if let Some(event) = &event {
                write::append(connection, to.ticket, micros(at), std::slice::from_ref(event))?;
            }
            Ok(true)
        })
        .await
    }
}
