//! What is written, statement by statement; each runs within a savepoint of the writer's transaction.

use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{self, integer, natural};
use super::writer::Failed;
use super::{Accepted, Heard, Learned, StoreError, callback, memory};
use crate::model::action::Action;
use crate::model::callback::CallBack;
use crate::model::case::Event;
use crate::model::history::Trouble;
use crate::model::ticket::Ticket;

/// The most actions that wait; beyond, no ticket is taken in.
const OUTBOX_LIMIT: i64 = 1_000_000;

/// A delivery is recognised for so long, in microseconds: 30 days, longer than any system repeats one.
const REPEATED_FOR: i64 = 30 * 86_400 * 1_000_000;

/// The longest receipt that is kept, in bytes.
const RECEIPT_LIMIT: usize = 1_000;

/// The most of a failure that is kept, in bytes.
const ERROR_LIMIT: usize = 500;

/// A ticket ready to be written.
pub(super) struct Intake {
    pub ticket: Ticket,
    pub body: Vec<u8>,
    pub idempotency_key: Option<String>,
    pub filed_by: Option<String>,
    /// The system, and its id for this delivery.
    pub delivery: Option<(String, String)>,
    pub accepted_at: i64,
    pub deadline_at: i64,
    /// The database may not be larger than this, in bytes.
    pub size_limit: i64,
}

/// An action ready to be written.
pub(super) struct ActionRow {
    pub action: Action,
    pub body: Vec<u8>,
}

impl ActionRow {
    pub(super) fn all(actions: Vec<Action>) -> Result<Vec<Self>, StoreError> {
        actions.into_iter().map(|action| Ok(ActionRow { body: rows::encode(&action)?, action })).collect()
    }
}

pub(super) fn accept(connection: &Connection, intake: &Intake) -> Result<Accepted, Failed> {
    let Some((system, id)) = &intake.delivery else { return accept_ticket(connection, intake) };
    if let Some(number) = delivered_before(connection, system, id)? {
        return Ok(Accepted { number, new: false });
    }
    let accepted = accept_ticket(connection, intake)?;
    note_delivery(connection, system, id, intake.accepted_at, accepted.number)?;
    Ok(accepted)
}

/// The ticket that a delivery was about, where it was taken in before.
fn delivered_before(connection: &Connection, system: &str, id: &str) -> Result<Option<u64>, rusqlite::Error> {
    let number: Option<i64> = connection
        .prepare_cached("SELECT ticket FROM delivery WHERE system = ?1 AND id = ?2")?
        .query_row([system, id], |row| row.get(0))
        .optional()?;
    Ok(number.map(natural))
}

/// Remembers a delivery, and forgets those that nobody repeats any more.
fn note_delivery(connection: &Connection, system: &str, id: &str, at: i64, ticket: u64) -> Result<(), rusqlite::Error> {
    connection.prepare_cached("DELETE FROM delivery WHERE at < ?1")?.execute([at - REPEATED_FOR])?;
    connection
        .prepare_cached("INSERT INTO delivery (system, id, at, ticket) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![system, id, at, integer(ticket)])?;
    Ok(())
}

pub(super) fn hear(
    connection: &Connection,
    source: &str,
    source_id: &str,
    delivery: Option<&str>,
    at: i64,
    event: &[u8],
    again: Option<i64>,
) -> Result<Heard, Failed> {
    if let Some(id) = delivery
        && let Some(number) = delivered_before(connection, source, id)?
    {
        return Ok(Heard::Again(number));
    }
    let number: Option<i64> = connection
        .prepare_cached("SELECT number FROM ticket WHERE source = ?1 AND source_id = ?2")?
        .query_row([source, source_id], |row| row.get(0))
        .optional()?;
    let Some(number) = number.map(natural) else { return Ok(Heard::NoSuchTicket) };
    append(connection, number, at, std::slice::from_ref(&event.to_vec()))?;
    if let Some(id) = delivery {
        note_delivery(connection, source, id, at, number)?;
    }
    // One that is under way looks at it in any case.
    if let Some(deadline_at) = again
        && head(connection, number)?.state == rows::DECIDED
    {
        new_round(connection, number, deadline_at)?;
    }
    Ok(Heard::Noted(number))
}

pub(super) fn set_cursor(connection: &Connection, system: &str, cursor: &str) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO cursor (system, value) VALUES (?1, ?2)")?
        .execute([system, cursor])
        .map(drop)
}

fn accept_ticket(connection: &Connection, intake: &Intake) -> Result<Accepted, Failed> {
    if let Some(key) = &intake.idempotency_key {
        let known = stored_ticket(connection, "idempotency_key = ?1", params![key])?;
        if let Some((number, stored)) = known {
            // A body that is damaged can't be compared: the key alone decides.
            if stored.is_some_and(|stored| !same_report(&stored, &intake.ticket)) {
                return Err(StoreError::Conflict { ticket: natural(number) }.into());
            }
            return Ok(Accepted { number: natural(number), new: false });
        }
    }
    let ticket = &intake.ticket;
    let known = stored_ticket(connection, "source = ?1 AND source_id = ?2", params![ticket.source, ticket.id])?;
    if let Some((number, _)) = known {
        return Ok(Accepted { number: natural(number), new: false });
    }
    has_room(connection, intake.size_limit)?;
    let number: i64 = connection
        .prepare_cached(
            "SELECT 1 + max(coalesce((SELECT max(number) FROM ticket), 0), \
             coalesce((SELECT value FROM meta WHERE name = 'numbers_before'), 0))",
        )?
        .query_row([], |row| row.get(0))?;
    let crc = rows::ticket_checksum(number, &ticket.source, &ticket.id, &intake.body);
    connection
        .prepare_cached(
            "INSERT INTO ticket (number, source, source_id, idempotency_key, body, crc, accepted_at, round, attempts, state, \
             deadline_at, filed_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, 0, ?8, ?9, ?10)",
        )?
        .execute(params![
            number,
            ticket.source,
            ticket.id,
            intake.idempotency_key,
            intake.body,
            crc,
            intake.accepted_at,
            rows::ACCEPTED,
            intake.deadline_at,
            intake.filed_by
        ])?;
    Ok(Accepted { number: natural(number), new: true })
}

/// The number of a stored ticket, and the ticket, unless it is damaged.
fn stored_ticket(
    connection: &Connection,
    condition: &str,
    values: &[&dyn rusqlite::ToSql],
) -> Result<Option<(i64, Option<Ticket>)>, rusqlite::Error> {
    connection
        .prepare_cached(&format!("SELECT number, source, source_id, body, crc FROM ticket WHERE {condition}"))?
        .query_row(values, |row| {
            let number = row.get(0)?;
            let (source, source_id) = (rows::text(row, 1)?, rows::text(row, 2)?);
            let body = rows::bytes(row, 3)?.unwrap_or_default();
            let crc = rows::ticket_checksum(number, &source, &source_id, body);
            Ok((number, rows::decode("the ticket", body, row.get(4)?, crc).ok()))
        })
        .optional()
}

/// True where two tickets say the same, but for what is filled in on arrival: the id, the time, what was moved.
fn same_report(a: &Ticket, b: &Ticket) -> bool {
    let said = |ticket: &Ticket| Ticket {
        id: String::new(),
        reported_at: jiff::Timestamp::UNIX_EPOCH,
        symptom: None,
        notes: Vec::new(),
        ..ticket.clone()
    };
    said(a) == said(b)
}

fn has_room(connection: &Connection, size_limit: i64) -> Result<(), Failed> {
    let pragma = |name: &str| -> Result<i64, rusqlite::Error> {
        connection.prepare_cached(&format!("PRAGMA {name}"))?.query_row([], |row| row.get(0))
    };
    let size = pragma("page_count")?.saturating_sub(pragma("freelist_count")?).saturating_mul(pragma("page_size")?);
    if size > size_limit {
        return Err(StoreError::Unwritable(format!("it holds {size} bytes, its limit is {size_limit}")).into());
    }
    if waiting(connection)? >= OUTBOX_LIMIT {
        return Err(StoreError::Unwritable(format!("{OUTBOX_LIMIT} actions wait already")).into());
    }
    Ok(())
}

/// How many actions wait, counted up to one more than the limit.
pub(super) fn waiting(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection
        .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM outbox WHERE state = 0 LIMIT ?1)")?
        .query_row([OUTBOX_LIMIT + 1], |row| row.get(0))
}

/// Where a ticket's newest round stands.
struct Head {
    round: i64,
    attempts: i64,
    state: i64,
}

fn head(connection: &Connection, ticket: u64) -> Result<Head, Failed> {
    connection
        .prepare_cached("SELECT round, attempts, state FROM ticket WHERE number = ?1")?
        .query_row([integer(ticket)], |row| Ok(Head { round: row.get(0)?, attempts: row.get(1)?, state: row.get(2)? }))
        .optional()?
        .ok_or_else(|| StoreError::NoSuchTicket(ticket).into())
}

fn small(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

pub(super) fn new_round(connection: &Connection, ticket: u64, deadline_at: i64) -> Result<u32, Failed> {
    let head = head(connection, ticket)?;
    if head.state != rows::DECIDED {
        return Err(StoreError::NotDecided { ticket, round: small(head.round) }.into());
    }
    connection
        .prepare_cached("UPDATE ticket SET round = ?2, attempts = 0, state = ?3, deadline_at = ?4 WHERE number = ?1")?
        .execute(params![integer(ticket), head.round + 1, rows::ACCEPTED, deadline_at])?;
    Ok(small(head.round + 1))
}

pub(super) fn begin(connection: &Connection, ticket: u64) -> Result<u32, Failed> {
    let head = head(connection, ticket)?;
    if head.state == rows::DECIDED {
        return Err(StoreError::AlreadyDecided { ticket, round: small(head.round) }.into());
    }
    connection.prepare_cached("UPDATE ticket SET attempts = ?2, state = ?3 WHERE number = ?1")?.execute(params![
        integer(ticket),
        head.attempts + 1,
        rows::RUNNING
    ])?;
    Ok(small(head.attempts + 1))
}

pub(super) fn append(connection: &Connection, ticket: u64, at: i64, events: &[Vec<u8>]) -> Result<(), Failed> {
    head(connection, ticket)?;
    let ticket = integer(ticket);
    let mut insert = connection.prepare_cached("INSERT INTO event (ticket, at, body, crc) VALUES (?1, ?2, ?3, ?4)")?;
    for body in events {
        insert.execute(params![ticket, at, body, rows::event_checksum(ticket, at, body)])?;
    }
    Ok(())
}

/// A verdict ready to be written.
pub(super) struct Decision {
    pub ticket: u64,
    pub round: u32,
    pub at: i64,
    pub body: Vec<u8>,
    pub actions: Vec<ActionRow>,
    pub learned: Learned,
    /// What it says was wrong; with `None` what an earlier round of the ticket said is taken back.
    pub trouble: Option<Trouble>,
    pub call_back: Option<CallBack>,
}

pub(super) fn decide(connection: &Connection, decision: &Decision) -> Result<(), Failed> {
    let head = head(connection, decision.ticket)?;
    let (ticket, round) = (integer(decision.ticket), i64::from(decision.round));
    if round < 1 || round > head.round {
        return Err(StoreError::NoSuchRound { ticket: decision.ticket, round: decision.round }.into());
    }
    if round < head.round || head.state == rows::DECIDED {
        return Err(StoreError::AlreadyDecided { ticket: decision.ticket, round: decision.round }.into());
    }
    // The primary key is the last word on "one verdict per round".
    connection
        .prepare_cached("INSERT INTO verdict (ticket, round, at, body, crc) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![
            ticket,
            round,
            decision.at,
            decision.body,
            rows::verdict_checksum(ticket, round, &decision.body)
        ])?;
    connection
        .prepare_cached("UPDATE ticket SET state = ?2 WHERE number = ?1")?
        .execute(params![ticket, rows::DECIDED])?;
    connection.prepare_cached("INSERT INTO event (ticket, at, round) VALUES (?1, ?2, ?3)")?.execute(params![
        ticket,
        decision.at,
        round
    ])?;
    enqueue(connection, &decision.actions, decision.at)?;
    memory::learn(connection, &decision.learned, decision.at)?;
    memory::note_trouble(connection, ticket, decision.trouble.as_ref())?;
    match &decision.call_back {
        Some(call_back) => callback::begin(connection, call_back)?,
        // What an earlier round wanted to ask is no question any more.
        None => drop(connection.prepare_cached("DELETE FROM callback WHERE ticket = ?1")?.execute([ticket])?),
    }
    Ok(())
}

/// Writes actions down; one whose key is known is there already.
pub(super) fn enqueue(connection: &Connection, actions: &[ActionRow], at: i64) -> Result<(), rusqlite::Error> {
    for ActionRow { action, body } in actions {
        let (ticket, created_at) = (integer(action.ticket), rows::micros(action.created_at));
        let new = connection
            .prepare_cached(
                "INSERT INTO outbox (key, ticket, round, channel, created_at, due_at, tries, state, body, crc) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5, 0, 0, ?6, ?7) ON CONFLICT (key) DO NOTHING",
            )?
            .execute(params![
                action.key,
                ticket,
                action.round,
                action.channel,
                created_at,
                body,
                rows::action_checksum(&action.key, body)
            ])?;
        if new == 1 {
            connection
                .prepare_cached("INSERT INTO event (ticket, at, key) VALUES (?1, ?2, ?3)")?
                .execute(params![ticket, at, action.key])?;
        }
    }
    Ok(())
}

pub(super) fn delivered(connection: &Connection, key: &str, at: i64, receipt: Option<&str>) -> Result<(), Failed> {
    let row = connection
        .prepare_cached(
            "SELECT key, body, crc, ticket, round, channel, created_at, tries, last_error, state FROM outbox WHERE key = ?1",
        )?
        .query_row([key], |row| Ok((rows::action(row)?, row.get::<_, i64>(9)?)))
        .optional()?;
    let Some((action, state)) = row else { return Err(StoreError::NoSuchAction(key.to_owned()).into()) };
    connection
        .prepare_cached("UPDATE outbox SET state = ?2, done_at = coalesce(done_at, ?3), tries = tries + (state <> ?2) WHERE key = ?1")?
        .execute(params![key, rows::DELIVERED, at])?;
    let ticket = integer(action.ticket);
    if let Some(receipt) = receipt.filter(|receipt| receipt.len() <= RECEIPT_LIMIT) {
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO receipt (ticket, channel, recipient, reference) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![ticket, action.channel, action.recipient, receipt])?;
    }
    if state != rows::DELIVERED {
        let reached = Event::Reached { kind: action.kind, channel: action.channel, recipient: action.recipient };
        let body = rows::encode(&reached)?;
        // The ticket may be gone; what was sent about it was sent all the same.
        if head(connection, action.ticket).is_ok() {
            append(connection, action.ticket, at, &[body])?;
        }
    }
    Ok(())
}

/// Notes a failed attempt, and what follows from it, together. What was delivered stays delivered.
pub(super) fn failed(
    connection: &Connection,
    key: &str,
    why: &str,
    retry_at: Option<i64>,
    then: &[ActionRow],
    at: i64,
) -> Result<(), Failed> {
    let mut end = why.len().min(ERROR_LIMIT);
    while !why.is_char_boundary(end) {
        end -= 1;
    }
    let state: i64 = connection
        .prepare_cached("SELECT state FROM outbox WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?
        .ok_or_else(|| StoreError::NoSuchAction(key.to_owned()))?;
    if state == rows::DELIVERED {
        return Ok(());
    }
    connection
        .prepare_cached(
            "UPDATE outbox SET tries = tries + 1, last_error = ?2, due_at = coalesce(?3, max(due_at, ?5)), \
             state = CASE WHEN ?3 IS NULL THEN ?4 ELSE 0 END WHERE key = ?1",
        )?
        .execute(params![key, &why[..end], retry_at, rows::GIVEN_UP, at])?;
    enqueue(connection, then, at)?;
    Ok(())
}

/// Writes a number and reads it back.
pub(super) fn probe(connection: &Connection) -> Result<(), Failed> {
    let write = "INSERT INTO meta (name, value) VALUES ('probe', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value";
    let written: i64 = connection.prepare_cached(write)?.query_row([], |row| row.get(0))?;
    let read: i64 =
        connection.prepare_cached("SELECT value FROM meta WHERE name = 'probe'")?.query_row([], |row| row.get(0))?;
    if written == read { Ok(()) } else { Err(StoreError::Unwritable("it reads back something else".to_owned()).into()) }
}
