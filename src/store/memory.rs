//! What rounds have learned: log templates and verified parameters, bounded, the longest unseen forgotten first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, params};

use super::{Learned, StoreError};
use crate::model::memory::Memory;

/// The most templates, and the most verified parameter values, that are remembered per check.
pub(super) const PER_CHECK: i64 = 20_000;

/// Being seen again is noted once a day and not each time, for it costs a write.
const NOTE_AGAIN: i64 = 86_400_000_000;

pub(super) fn learn(connection: &Connection, learned: &Learned, at: i64) -> Result<(), rusqlite::Error> {
    for (check, templates) in &learned.templates {
        remember(connection, "template", "template", check, templates.iter().map(String::as_str), at)?;
    }
    for (check, parameters) in &learned.passed_with {
        remember(connection, "passed", "parameters", check, std::iter::once(parameters.as_str()), at)?;
    }
    Ok(())
}

fn remember<'a>(
    connection: &Connection,
    table: &str,
    column: &str,
    check: &str,
    values: impl Iterator<Item = &'a str>,
    at: i64,
) -> Result<(), rusqlite::Error> {
    let mut upsert = connection.prepare_cached(&format!(
        "INSERT INTO {table} (check_name, {column}, seen) VALUES (?1, ?2, ?3) ON CONFLICT (check_name, {column}) \
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

/// The memory as it was last read, and what has changed since.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// Held while it is read, so that an older reading never replaces a newer one.
    memory: tokio::sync::Mutex<Option<Memory>>,
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
pub(super) fn read(connection: &Connection, checks: Option<&BTreeSet<String>>) -> Result<Memory, rusqlite::Error> {
    let mut templates: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut passed_with = BTreeSet::new();
    each(connection, "template", "template", checks, |check, template| {
        templates.entry(check).or_default().insert(template);
    })?;
    each(connection, "passed", "parameters", checks, |check, parameters| {
        passed_with.insert((check, parameters));
    })?;
    Ok(Memory {
        templates: templates.into_iter().map(|(check, templates)| (check, Arc::new(templates))).collect(),
        passed_with,
        bad_since: BTreeMap::new(),
    })
}

fn each(
    connection: &Connection,
    table: &str,
    column: &str,
    checks: Option<&BTreeSet<String>>,
    mut take: impl FnMut(String, String),
) -> Result<(), rusqlite::Error> {
    let all = format!("SELECT check_name, {column} FROM {table}");
    let mut take_row = |row: &rusqlite::Row<'_>| -> Result<(), rusqlite::Error> {
        take(super::rows::text(row, 0)?, super::rows::text(row, 1)?);
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
    /// What the path may remember. It is kept in memory; only checks of which something was learned are read again.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`], [`StoreError::Damaged`]
    pub async fn memory(&self) -> Result<Memory, StoreError> {
        let cache = &self.inner.memory;
        let mut memory = cache.memory.lock().await;
        let changed = std::mem::take(&mut *cache.changed());
        if let Some(memory) = &*memory
            && changed.is_empty()
        {
            return Ok(memory.clone());
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
        Ok(memory.clone())
    }
}
