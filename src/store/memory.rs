//! What rounds have learned: log templates and verified parameters, bounded, the longest unseen forgotten first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::rows::{instant, micros};
use super::writer::Urgency;
use super::{Learned, StoreError};
use crate::model::history::Trouble;
use crate::model::memory::Memory;
use crate::model::window::Window;

/// The most templates, and the most verified parameter values, that are remembered per check.
pub(super) const PER_CHECK: i64 = 20_000;

/// Being seen again is noted once a day and not each time, for it costs a write.
const NOTE_AGAIN: i64 = 86_400_000_000;

pub(super) fn learn(connection: &Connection, learned: &Learned, at: i64) -> Result<(), rusqlite::Error> {
    for (check, templates) in &learned.templates {
        remember(connection, &TEMPLATES, check, templates.iter().map(String::as_str), at)?;
    }
    for (check, parameters) in &learned.passed_with {
        remember(connection, &PASSED, check, std::iter::once(parameters.as_str()), at)?;
    }
    Ok(())
}

/// The most troubles that are handed out, the newest.
const TROUBLES: i64 = 10_000;

/// What a ticket's newest verdict says was wrong.
pub(super) fn note_trouble(
    connection: &Connection,
    ticket: i64,
    trouble: Option<&Trouble>,
) -> Result<(), rusqlite::Error> {
    let Some(Trouble { window, services }) = trouble else {
        connection.prepare_cached("DELETE FROM trouble WHERE ticket = ?1")?.execute([ticket])?;
        return Ok(());
    };
    let services = serde_json::to_string(services).unwrap_or_else(|_| "[]".to_owned());
    connection
        .prepare_cached("INSERT OR REPLACE INTO trouble (ticket, since, until, services) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![ticket, micros(window.from), micros(window.to), services])?;
    Ok(())
}

fn read_troubles(connection: &Connection, since: i64) -> Result<Vec<Trouble>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT since, until, services FROM trouble WHERE until >= ?1 ORDER BY until DESC LIMIT ?2")?
        .query_map([since, TROUBLES], |row| {
            let window = Window::new(instant(row.get(0)?), instant(row.get(1)?));
            let services: String = row.get(2)?;
            // A list that can't be read names nobody: then it concerns everybody, and less is called usual.
            Ok(Trouble { window, services: serde_json::from_str(&services).unwrap_or_default() })
        })?
        .collect()
}

/// A table of what is remembered by check.
struct Table {
    name: &'static str,
    column: &'static str,
    /// A column that keeps the time of the first sight.
    first: Option<&'static str>,
}

const TEMPLATES: Table = Table { name: "template", column: "template", first: Some("first_seen") };
const PASSED: Table = Table { name: "passed", column: "parameters", first: None };

fn remember<'a>(
    connection: &Connection,
    table: &Table,
    check: &str,
    values: impl Iterator<Item = &'a str>,
    at: i64,
) -> Result<(), rusqlite::Error> {
    let Table { name: table, column, first } = table;
    let (first, at_first) = first.map_or((String::new(), ""), |first| (format!(", {first}"), ", ?3"));
    let mut upsert = connection.prepare_cached(&format!(
        "INSERT INTO {table} (check_name, {column}, seen{first}) VALUES (?1, ?2, ?3{at_first}) \
         ON CONFLICT (check_name, {column}) \
         DO UPDATE SET seen = excluded.seen WHERE excluded.seen > seen + {NOTE_AGAIN}"
    ))?;
    let mut changed = 0;
    for value in values {
        changed += upsert.execute(params![check, value, at])?;
    }
    if changed == 0 {
        return Ok(());
    }
    let held: i64 = connection
        .prepare_cached(&format!("SELECT count(*) FROM {table} WHERE check_name = ?1"))?
        .query_row([check], |row| row.get(0))?;
    if held > PER_CHECK {
        connection
            .prepare_cached(&format!(
                "DELETE FROM {table} WHERE check_name = ?1 AND {column} IN \
                 (SELECT {column} FROM {table} WHERE check_name = ?1 ORDER BY seen, {column} LIMIT ?2)"
            ))?
            .execute(params![check, held - PER_CHECK])?;
    }
    Ok(())
}

/// The templates of one check, with when they were seen first, in microseconds.
#[derive(Debug, Default)]
struct Templates {
    first_seen: BTreeMap<String, i64>,
    /// All of them, as they are handed out where all are older than the trouble.
    all: Arc<BTreeSet<String>>,
    newest: i64,
}

impl Templates {
    fn before(&self, trouble: i64) -> Arc<BTreeSet<String>> {
        if self.newest < trouble {
            return Arc::clone(&self.all);
        }
        let old = self.first_seen.iter().filter(|(_, first)| **first < trouble);
        Arc::new(old.map(|(template, _)| template.clone()).collect())
    }
}

/// What was read of the tables.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    templates: BTreeMap<String, Templates>,
    passed_with: BTreeSet<(String, String)>,
}

impl Remembered {
    fn before(&self, trouble: i64) -> Memory {
        let templates = self.templates.iter().map(|(check, known)| (check.clone(), known.before(trouble)));
        Memory { templates: templates.collect(), passed_with: self.passed_with.clone(), ..Memory::default() }
    }
}

/// The memory as it was last read, and what has changed since.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// Held while it is read, so that an older reading never replaces a newer one.
    memory: tokio::sync::Mutex<Option<Remembered>>,
    /// Checks of which something was learned since.
    changed: Mutex<BTreeSet<String>>,
}

impl Cache {
    /// To be called when this has been written.
    pub(super) fn learned(&self, learned: &Learned) {
        let mut changed = self.changed();
        changed.extend(learned.templates.iter().map(|(check, _)| check.clone()));
        changed.extend(learned.passed_with.iter().map(|(check, _)| check.clone()));
    }

    fn changed(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what is remembered of these checks, or of all.
pub(super) fn read(connection: &Connection, checks: Option<&BTreeSet<String>>) -> Result<Remembered, rusqlite::Error> {
    let mut remembered = Remembered::default();
    each(connection, &TEMPLATES, checks, |check, template, first| {
        let known = remembered.templates.entry(check).or_default();
        known.newest = known.newest.max(first);
        known.first_seen.insert(template, first);
    })?;
    for known in remembered.templates.values_mut() {
        known.all = Arc::new(known.first_seen.keys().cloned().collect());
    }
    each(connection, &PASSED, checks, |check, parameters, _| {
        remembered.passed_with.insert((check, parameters));
    })?;
    Ok(remembered)
}

fn each(
    connection: &Connection,
    table: &Table,
    checks: Option<&BTreeSet<String>>,
    mut take: impl FnMut(String, String, i64),
) -> Result<(), rusqlite::Error> {
    let all = format!("SELECT check_name, {}, {} FROM {}", table.column, table.first.unwrap_or("0"), table.name);
    let mut take_row = |row: &rusqlite::Row<'_>| -> Result<(), rusqlite::Error> {
        take(super::rows::text(row, 0)?, super::rows::text(row, 1)?, row.get(2)?);
        Ok(())
    };
    match checks {
        None => {
            let mut statement = connection.prepare_cached(&all)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                take_row(row)?;
            }
        }
        Some(checks) => {
            let mut statement = connection.prepare_cached(&format!("{all} WHERE check_name = ?1"))?;
            for check in checks {
                let mut rows = statement.query([check])?;
                while let Some(row) = rows.next()? {
                    take_row(row)?;
                }
            }
        }
    }
    Ok(())
}

impl super::Store {
    /// When something was wrong, and with what, where that ended at or after `since`.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`]
    pub async fn troubles(&self, since: Timestamp) -> Result<Vec<Trouble>, StoreError> {
        let since = micros(since);
        self.read(move |connection| Ok(read_troubles(connection, since)?)).await
    }

    /// What the path may remember for a trouble that began at this time: a message that was first seen with it, or
    /// after it, is new. It is kept in memory; only checks of which something was learned are read again.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`], [`StoreError::Damaged`]
    pub async fn memory(&self, trouble: Timestamp) -> Result<Memory, StoreError> {
        let trouble = micros(trouble);
        let cache = &self.inner.memory;
        let mut memory = cache.memory.lock().await;
        let changed = std::mem::take(&mut *cache.changed());
        if let Some(memory) = &*memory
            && changed.is_empty()
        {
            return Ok(memory.before(trouble));
        }
        // Where nothing was read yet, everything is.
        let checks = memory.is_some().then(|| changed.clone());
        let wanted = checks.clone();
        let read = match self.read(move |connection| Ok(read(connection, wanted.as_ref())?)).await {
            Ok(read) => read,
            Err(error) => {
                cache.changed().extend(changed);
                return Err(error);
            }
        };
        let memory = memory.get_or_insert_default();
        memory.templates.retain(|check, _| !changed.contains(check));
        memory.passed_with.retain(|(check, _)| !changed.contains(check));
        memory.templates.extend(read.templates);
        memory.passed_with.extend(read.passed_with);
        Ok(memory.before(trouble))
    }

    /// Remembers what was learned outside of a round.
    ///
    /// # Errors
    /// [`StoreError::Unwritable`]
    pub async fn learn(&self, learned: Learned, at: Timestamp) -> Result<(), StoreError> {
        let (memory, at) = (learned.clone(), micros(at));
        let written = self.write(Urgency::Intake, move |connection| Ok(learn(connection, &learned, at)?)).await;
        self.inner.memory.learned(&memory);
        written
    }
}
