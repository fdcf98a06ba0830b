//! Pages: who is being reached about what. Begun with the verdict, advanced one transaction at a time.
//!
//! Which page of a storm goes out and which joins it is decided here, in the transaction that writes it: no two verdicts
//! can both believe that theirs is the first.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::rows::{self, integer, micros, natural};
use super::writer::{Failed, Urgency};
use super::{Store, StoreError, read, write};
use crate::model::action::Action;
use crate::model::case::Event;
use crate::model::page::{Page, QUIET, Standing};
use crate::model::text::Untrusted;

/// What ended is kept for so long, in microseconds: 30 days.
const KEPT: i64 = 30 * 86_400 * 1_000_000;
/// The most pages that are compared with a new one, the newest first.
const COMPARED: i64 = 100;
/// The most pages of one answer.
const ROWS: usize = 200;

/// A page for which something is due.
#[derive(Debug, Clone)]
pub struct DuePage {
    pub key: String,
    pub ticket: u64,
    pub team: String,
    /// What has to be unchanged when it is written again.
    pub revision: i64,
    /// [`StoreError::Damaged`] where the row can't be read any more: then nobody knows who was reached.
    pub page: Result<Page, StoreError>,
}

/// Which pages are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    OfTicket(u64),
    /// The one with this key.
    Page(String),
}

/// What an acknowledgement took on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TakenOn {
    /// Those whose pages it stops, in order; none where nobody is being reached (any more).
    pub tickets: Vec<u64>,
    /// When the first of them goes on.
    pub until: Option<Timestamp>,
}

impl Store {
    /// Pages for which something is due at `now`, the most overdue first.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`]
    pub async fn due_pages(&self, now: Timestamp) -> Result<Vec<DuePage>, StoreError> {
        let now = micros(now);
        self.read(move |connection| Ok(due(connection, now)?)).await
    }

    /// The page with this key, as it stands.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`], [`StoreError::Damaged`]
    pub async fn page(&self, key: &str) -> Result<Option<Page>, StoreError> {
        let key = key.to_owned();
        let found = self.read(move |connection| Ok::<_, read::Failed>(one(connection, &key)?)).await?;
        found.map(|due| due.page).transpose()
    }

    /// Writes what became of a page that was due, and the actions that follow, together. False where it changed
    /// meanwhile: then nothing is written. Without a page (it can't be read) nothing more is due for it.
    ///
    /// # Errors
    /// [`StoreError::Unwritable`]
    pub async fn advance_page(
        &self,
        due: &DuePage,
        next: Option<Page>,
        actions: Vec<Action>,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let (key, revision, at) = (due.key.clone(), due.revision, micros(at));
        let actions = write::ActionRow::all(actions)?;
        self.write(Urgency::Obligation, move |connection| {
            let stored: Option<i64> = connection
                .prepare_cached("SELECT revision FROM page WHERE key = ?1")?
                .query_row([&key], |row| row.get(0))
                .optional()?;
            if stored != Some(revision) {
                return Ok(false);
            }
            match &next {
                Some(page) => put(connection, page, revision + 1)?,
                None => close(connection, &key)?,
            }
            write::enqueue(connection, &actions, at)?;
            Ok(true)
        })
        .await
    }

    /// Somebody takes it on: its pages, and those that they speak for, wait until then (`hold`, or as the team says).
    /// It becomes an event of each ticket.
    ///
    /// # Errors
    /// [`StoreError::Unwritable`]
    pub async fn acknowledge(
        &self,
        which: Which,
        by: Untrusted,
        hold: Option<SignedDuration>,
        at: Timestamp,
    ) -> Result<TakenOn, StoreError> {
        self.write(Urgency::Obligation, move |connection| acknowledge(connection, &which, &by, hold, at)).await
    }

    /// The ticket was closed where it lives: nobody needs to be reached about it any more. A page that others joined
    /// goes on for them.
    ///
    /// # Errors
    /// [`StoreError::Unwritable`]
    pub async fn end_pages(&self, ticket: u64) -> Result<(), StoreError> {
        self.write(Urgency::Obligation, move |connection| {
            for page in of_ticket(connection, ticket)? {
                let company = connection
                    .prepare_cached("SELECT 1 FROM page WHERE leader = ?1 AND open = 1")?
                    .exists([&page.key])?;
                if !company {
                    put_ended(connection, page)?;
                }
            }
            Ok(())
        })
        .await
    }
}

fn put_ended(connection: &Connection, due: DuePage) -> Result<(), Failed> {
    let Ok(mut page) = due.page else { return Ok(close(connection, &due.key)?) };
    page.end();
    page.summary_at = None;
    put(connection, &page, due.revision + 1)
}

fn close(connection: &Connection, key: &str) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached(
            "UPDATE page SET open = 0, next_at = NULL, revision = revision + 1 WHERE key = ?1 OR leader = ?1",
        )?
        .execute([key])
        .map(drop)
}

pub(super) fn begin(connection: &Connection, pages: &[Page], now: Timestamp) -> Result<(), Failed> {
    if pages.is_empty() {
        return Ok(());
    }
    connection.prepare_cached("DELETE FROM page WHERE open = 0 AND begun_at < ?1")?.execute([micros(now) - KEPT])?;
    for page in pages {
        let known = connection
            .prepare_cached("SELECT 1 FROM page WHERE key = ?1 OR (ticket = ?2 AND team = ?3 AND open = 1)")?
            .exists(params![page.key, integer(page.ticket), page.team])?;
        if known {
            continue;
        }
        let mut page = page.clone();
        if let Some((mut leader, revision)) = quieting(connection, &page, now)? {
            leader.join(&page);
            page.standing = Standing::Joined { leader: leader.key.clone() };
            page.next_at = None;
            put(connection, &leader, revision + 1)?;
        }
        put(connection, &page, 0)?;
    }
    Ok(())
}

/// The page in whose quiet time this one would begin.
fn quieting(connection: &Connection, page: &Page, now: Timestamp) -> Result<Option<(Page, i64)>, Failed> {
    let quiet = i64::try_from(QUIET.as_micros()).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM page WHERE team = ?1 AND leader IS NULL AND begun_at > ?2 ORDER BY begun_at DESC LIMIT ?3"
    ))?;
    let recent = statement.query_map(params![page.team, micros(now) - quiet, COMPARED], row)?;
    for due in recent {
        let due = due?;
        if let Ok(leader) = due.page
            && leader.quiets(page, now)
        {
            return Ok(Some((leader, due.revision)));
        }
    }
    Ok(None)
}

fn acknowledge(
    connection: &Connection,
    which: &Which,
    by: &Untrusted,
    hold: Option<SignedDuration>,
    at: Timestamp,
) -> Result<TakenOn, Failed> {
    let meant = match which {
        Which::OfTicket(ticket) => of_ticket(connection, *ticket)?,
        Which::Page(key) => one(connection, key)?.into_iter().collect(),
    };
    let mut leaders: Vec<String> = Vec::new();
    for due in meant {
        let key = match due.page {
            Ok(Page { standing: Standing::Joined { leader }, .. }) => leader,
            _ => due.key,
        };
        if !leaders.contains(&key) {
            leaders.push(key);
        }
    }
    let mut taken = TakenOn::default();
    for key in leaders {
        let Some(DuePage { page: Ok(mut page), revision, .. }) = one(connection, &key)? else { continue };
        if !page.is_open() {
            continue;
        }
        let until = at.checked_add(hold.unwrap_or(page.acknowledge_for)).unwrap_or(Timestamp::MAX);
        page.acknowledge(by.clone(), until);
        put(connection, &page, revision + 1)?;
        let mut tickets = vec![integer(page.ticket)];
        let mut joined =
            connection.prepare_cached("SELECT ticket FROM page WHERE leader = ?1 AND open = 1 ORDER BY ticket")?;
        for ticket in joined.query_map([&key], |row| row.get(0))? {
            tickets.push(ticket?);
        }
        let event = Event::Acknowledged { by: by.clone(), team: page.team.clone(), until };
        let body = rows::encode(&event)?;
        for ticket in tickets.into_iter().map(natural) {
            write::append(connection, ticket, micros(at), std::slice::from_ref(&body))?;
            if !taken.tickets.contains(&ticket) {
                taken.tickets.push(ticket);
            }
        }
        taken.until = Some(taken.until.map_or(until, |other| other.min(until)));
    }
    Ok(taken)
}

const COLUMNS: &str = "key, ticket, team, revision, body, crc";

fn row(row: &Row<'_>) -> Result<DuePage, rusqlite::Error> {
    let key = rows::text(row, 0)?;
    let body = rows::bytes(row, 4)?.unwrap_or_default();
    let page = rows::decode("the page", body, row.get(5)?, checksum(&key, body));
    Ok(DuePage { ticket: natural(row.get(1)?), team: rows::text(row, 2)?, revision: row.get(3)?, page, key })
}

fn checksum(key: &str, body: &[u8]) -> i64 {
    rows::checksum(&[b"page", key.as_bytes(), body])
}

fn one(connection: &Connection, key: &str) -> Result<Option<DuePage>, rusqlite::Error> {
    connection.prepare_cached(&format!("SELECT {COLUMNS} FROM page WHERE key = ?1"))?.query_row([key], row).optional()
}

fn of_ticket(connection: &Connection, ticket: u64) -> Result<Vec<DuePage>, rusqlite::Error> {
    let sql = format!("SELECT {COLUMNS} FROM page WHERE ticket = ?1 AND open = 1");
    connection.prepare_cached(&sql)?.query_map([integer(ticket)], row)?.collect()
}

fn due(connection: &Connection, now: i64) -> Result<Vec<DuePage>, rusqlite::Error> {
    let sql = format!("SELECT {COLUMNS} FROM page WHERE next_at <= ?1 ORDER BY next_at, key LIMIT {ROWS}");
    connection.prepare_cached(&sql)?.query_map([now], row)?.collect()
}

/// Writes a page as it stands; where it has ended, those that joined it have, too.
fn put(connection: &Connection, page: &Page, revision: i64) -> Result<(), Failed> {
    let body = rows::encode(page)?;
    let leader = match &page.standing {
        Standing::Joined { leader } => Some(leader),
        _ => None,
    };
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO page (key, ticket, team, begun_at, open, leader, next_at, revision, body, crc) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            page.key,
            integer(page.ticket),
            page.team,
            micros(page.begun_at),
            page.is_open(),
            leader,
            page.due_at().map(micros),
            revision,
            body,
            checksum(&page.key, &body)
        ])?;
    if !page.is_open() {
        connection.prepare_cached("UPDATE page SET open = 0 WHERE leader = ?1")?.execute([&page.key])?;
    }
    Ok(())
}
