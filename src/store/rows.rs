//! Rows to words and back: JSON bodies, each with a checksum of our own.
//!
//! SQLite's integrity check says "ok" after payload bytes were overwritten, so every body carries a CRC-32 over
//! itself and the columns that say whose it is.

use jiff::Timestamp;
use rusqlite::types::ValueRef;
use rusqlite::{ErrorCode, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;
use crate::model::action::{Action, ActionKind};
use crate::model::case::{Case, CaseState};
use crate::model::text::Untrusted;
use crate::model::ticket::Ticket;
use crate::model::verdict::Verdict;

/// The `state` column of a ticket.
pub(super) const ACCEPTED: i64 = 0;
pub(super) const RUNNING: i64 = 1;
pub(super) const DECIDED: i64 = 2;

/// The `state` column of an outbox row.
pub(super) const DELIVERED: i64 = 1;
pub(super) const GIVEN_UP: i64 = 2;

/// A time as it is stored: microseconds since 1970.
pub(super) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// A stored time; one that can't be is the nearest that can.
pub(super) fn instant(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(if micros < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// A number as SQLite holds it.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that was stored by [`integer`].
pub(super) fn natural(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(super) fn encode(value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|error| StoreError::Unwritable(format!("it can't be written as JSON: {error}")))
}

/// CRC-32 over the parts, each with its length.
pub(super) fn checksum(parts: &[&[u8]]) -> i64 {
    let mut hash = crc32fast::Hasher::new();
    for part in parts {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    i64::from(hash.finalize())
}

/// Of a ticket's row.
pub(super) fn ticket_checksum(number: i64, source: &str, source_id: &str, body: &[u8]) -> i64 {
    checksum(&[b"ticket", &number.to_be_bytes(), source.as_bytes(), source_id.as_bytes(), body])
}

/// Of a verdict's row.
pub(super) fn verdict_checksum(ticket: i64, round: i64, body: &[u8]) -> i64 {
    checksum(&[b"verdict", &ticket.to_be_bytes(), &round.to_be_bytes(), body])
}

/// Of an outbox row.
pub(super) fn action_checksum(key: &str, body: &[u8]) -> i64 {
    checksum(&[b"action", key.as_bytes(), body])
}

/// Of an event that has a body of its own.
pub(super) fn event_checksum(ticket: i64, at: i64, body: &[u8]) -> i64 {
    checksum(&[b"event", &ticket.to_be_bytes(), &at.to_be_bytes(), body])
}

/// The value in a body whose checksum holds.
pub(super) fn decode<T: DeserializeOwned>(
    what: &str,
    body: &[u8],
    stored: i64,
    computed: i64,
) -> Result<T, StoreError> {
    if stored != computed {
        return Err(StoreError::Damaged(format!("{what}: its checksum is wrong")));
    }
    serde_json::from_slice(body).map_err(|error| StoreError::Damaged(format!("{what}: {error}")))
}

/// What an error of the engine means to the caller of a read.
pub(super) fn unreadable(error: &rusqlite::Error) -> StoreError {
    match error {
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => StoreError::Damaged(error.to_string()),
        other => match other.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Damaged(error.to_string()),
            _ => StoreError::Unreadable(error.to_string()),
        },
    }
}

/// The columns of a case, for [`case`]; `t` is the ticket's table, `v` the verdict's.
pub(super) const CASE_COLUMNS: &str = "t.number, t.source, t.source_id, t.body, t.crc, t.accepted_at, t.round, t.attempts, \
     t.state, t.deadline_at, v.body, v.crc, t.filed_by";

/// A case, and what of it is damaged.
pub(super) struct ReadCase {
    pub case: Case,
    pub damage: Option<StoreError>,
}

/// Reads a row of [`CASE_COLUMNS`]. What is damaged has a substitute that says so, for a case must never vanish from
/// a list because a row of it can't be read.
pub(super) fn case(row: &Row<'_>) -> Result<ReadCase, rusqlite::Error> {
    let number: i64 = row.get(0)?;
    let (source, source_id) = (text(row, 1)?, text(row, 2)?);
    let body = bytes(row, 3)?.unwrap_or_default();
    let round: i64 = row.get(6)?;
    let what = format!("the ticket of T-{number}");
    let ticket = decode::<Ticket>(&what, body, row.get(4)?, ticket_checksum(number, &source, &source_id, body));
    let (mut ticket, mut damage) = match ticket {
        Ok(ticket) => (ticket, None),
        Err(error) => (substitute(number, &source, &source_id, &error), Some(error)),
    };
    let state = match row.get(8)? {
        ACCEPTED => CaseState::Accepted,
        RUNNING => CaseState::Running,
        _ => CaseState::Decided,
    };
    let verdict = match bytes(row, 10)? {
        Some(body) => {
            let what = format!("the verdict of T-{number}, round {round}");
            Some(decode::<Verdict>(&what, body, row.get(11)?, verdict_checksum(number, round, body)))
        }
        None if state == CaseState::Decided => {
            Some(Err(StoreError::Damaged(format!("the verdict of T-{number}, round {round}: it is missing"))))
        }
        None => None,
    };
    let verdict = match verdict {
        Some(Ok(verdict)) => Some(verdict),
        Some(Err(error)) => {
            ticket.notes.push(error.to_string());
            damage = damage.or(Some(error));
            None
        }
        None => None,
    };
    let case = Case {
        number: natural(number),
        ticket,
        accepted_at: instant(row.get(5)?),
        round: u32::try_from(round).unwrap_or(u32::MAX),
        deadline_at: instant(row.get(9)?),
        state,
        attempts: u32::try_from(row.get::<_, i64>(7)?).unwrap_or(u32::MAX),
        verdict,
        filed_by: bytes(row, 12)?.map(|name| String::from_utf8_lossy(name).into_owned()),
    };
    Ok(ReadCase { case, damage })
}

/// A column of text; bytes that are not UTF-8 any more are shown as replacement characters.
pub(super) fn text(row: &Row<'_>, column: usize) -> Result<String, rusqlite::Error> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    })
}

/// A body; a fault may have given the column another type, and then no checksum holds.
pub(super) fn bytes<'row>(row: &'row Row<'_>, column: usize) -> Result<Option<&'row [u8]>, rusqlite::Error> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => None,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes),
        ValueRef::Integer(_) | ValueRef::Real(_) => Some(&[]),
    })
}

/// Stands for a case of which nothing but its number can be read.
pub(super) fn unreadable_case(number: i64, deadline_at: i64, why: &StoreError) -> Case {
    Case {
        number: natural(number),
        ticket: substitute(number, "", "", why),
        accepted_at: instant(deadline_at),
        round: 1,
        deadline_at: instant(deadline_at),
        state: CaseState::Accepted,
        attempts: 0,
        verdict: None,
        filed_by: None,
    }
}

fn substitute(number: i64, source: &str, source_id: &str, why: &StoreError) -> Ticket {
    Ticket {
        source: source.to_owned(),
        id: source_id.to_owned(),
        title: Untrusted::new(format!("T-{number} was accepted, but what was stored of it is damaged")),
        text: Untrusted::default(),
        reporter: None,
        customer: None,
        services: Vec::new(),
        url: None,
        contact: None,
        symptom: None,
        reported_at: Timestamp::UNIX_EPOCH,
        alert: false,
        params: std::collections::BTreeMap::new(),
        notes: vec![why.to_string()],
    }
}

/// Reads an action from `key, body, crc, ticket, round, channel, created_at`. A damaged one becomes an escalation that
/// says so: what was to be done must not silently be left undone.
pub(super) fn action(row: &Row<'_>) -> Result<Action, rusqlite::Error> {
    let key = text(row, 0)?;
    let body = bytes(row, 1)?.unwrap_or_default();
    let read = decode::<Action>("the action", body, row.get(2)?, action_checksum(&key, body));
    let (ticket, round): (i64, i64) = (row.get(3)?, row.get(4)?);
    let (channel, created_at) = (text(row, 5)?, row.get(6)?);
    Ok(read.unwrap_or_else(|error| Action {
        key,
        ticket: natural(ticket),
        round: u32::try_from(round).unwrap_or(u32::MAX),
        kind: ActionKind::Escalate,
        channel,
        recipient: String::new(),
        facts: serde_json::json!({ "damaged": error.to_string() }),
        created_at: instant(created_at),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_tells_where_one_part_ends() {
        assert_ne!(checksum(&[b"ab", b"c"]), checksum(&[b"a", b"bc"]));
        assert_ne!(ticket_checksum(1, "a", "b", b"x"), ticket_checksum(2, "a", "b", b"x"));
    }

    #[test]
    fn times_survive_to_the_microsecond() {
        for text in ["2026-11-22T10:00:00.123456Z", "1969-12-31T23:59:59Z"] {
            let at: Timestamp = text.parse().unwrap();
            assert_eq!(instant(micros(at)), at);
        }
        assert_eq!(instant(i64::MAX), Timestamp::MAX);
    }
}
