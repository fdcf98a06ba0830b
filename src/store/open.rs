//! Opening: the lock first, then the database, and what is done where it can't be read.

use std::fs::TryLockError;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use rusqlite::Connection;

use super::schema::{MIGRATIONS, Unready};
use super::{Inner, OpenError, Place, Store, directory, memory, read, schema, writer};

/// The largest database with which tickets are still taken in: 10 GiB or 80 % of the file system.
const SIZE_LIMIT: u64 = 10 * 1024 * 1024 * 1024;

pub(super) fn database(directory: &Path) -> PathBuf {
    directory.join("houston.db")
}

/// Device and inode.
pub(super) fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

pub(super) fn open(directory: &Path) -> Result<Store, OpenError> {
    let unusable = |path: &Path, why: String| OpenError::Unusable { path: path.to_owned(), why };
    let in_directory = |error: std::io::Error| unusable(directory, error.to_string());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(in_directory)?;
    let mut lock = directory::lock(directory).map_err(|error| match error {
        TryLockError::WouldBlock => OpenError::Locked(directory.to_owned()),
        TryLockError::Error(error) => in_directory(error),
    })?;
    let path = database(directory);
    let numbers_before = directory::numbers_used(&mut lock).map_err(in_directory)?;
    let (connection, recovered) = open_or_replace(&path, numbers_before)?;

    let newest: Option<i64> = connection
        .query_row("SELECT max(number) FROM ticket", [], |row| row.get(0))
        .map_err(|error| unusable(&path, error.to_string()))?;
    let newest = newest.and_then(|newest| u64::try_from(newest).ok()).unwrap_or(0);
    let numbers =
        directory::set_numbers_aside(&mut lock, newest.max(if recovered.is_some() { numbers_before } else { 0 }))
            .map_err(in_directory)?;
    if let Err(error) = directory::set_aside(directory) {
        tracing::warn!(why = %error, "the store has no reserve of disk space");
    }
    // The names of new files are durable only with their directory.
    std::fs::File::open(directory).and_then(|opened| opened.sync_all()).map_err(in_directory)?;

    let readers = read::Readers::start(&path).map_err(|why| unusable(&path, why))?;
    let identity = identity(&path).map_err(|error| unusable(&path, error.to_string()))?;
    let size_limit = size_limit(directory);
    let broken = Arc::new(OnceLock::new());
    let (ended_sender, ended) = std::sync::mpsc::channel();
    let writer = writer::start(connection, directory, lock, numbers, Arc::clone(&broken), ended_sender)
        .map_err(|error| unusable(&path, error.to_string()))?;
    if let Some(recovered) = &recovered {
        tracing::error!(what = ?recovered, "a store could not be read");
    }
    Ok(Store {
        inner: Arc::new(Inner {
            place: Place { directory: directory.to_owned(), identity, broken },
            recovered,
            size_limit,
            memory: memory::Cache::default(),
            readers,
            writer: Some(writer),
            ended: Mutex::new(ended),
        }),
    })
}

/// Opens the database; one that can't be read, or that is gone, gives way to a fresh one, never silently.
fn open_or_replace(path: &Path, numbers_before: u64) -> Result<(Connection, Option<String>), OpenError> {
    let unusable = |why: String| OpenError::Unusable { path: path.to_owned(), why };
    let empty = |path: &Path| std::fs::metadata(path).map_or(true, |found| found.len() == 0);
    let gone = empty(path) && (numbers_before > 0 || !empty(&directory::with_suffix(path, "-wal")));
    let why = if gone {
        "it is gone".to_owned()
    } else {
        match schema::open_writer(path, MIGRATIONS) {
            Ok(connection) => return Ok((connection, kept_from_before(path))),
            Err(Unready::Newer { found, known }) => {
                return Err(OpenError::Newer { path: path.to_owned(), found, known });
            }
            Err(Unready::Unusable(why)) => return Err(unusable(why)),
            Err(Unready::Corrupt(why)) => why,
        }
    };
    let moved = directory::move_aside(path).map_err(|error| unusable(format!("{why}; it can't be moved: {error}")))?;
    let connection = schema::open_writer(path, MIGRATIONS).map_err(|again| unusable(format!("{why}; {again:?}")))?;
    connection
        .execute("INSERT INTO meta (name, value) VALUES ('numbers_before', ?1)", [super::rows::integer(numbers_before)])
        .map_err(|error| unusable(error.to_string()))?;
    let told = if gone {
        format!("{} was used before and is gone; a fresh store was started", path.display())
    } else {
        format!(
            "{} can't be read ({why}); it is kept as {}, and a fresh store was started",
            path.display(),
            moved.display()
        )
    };
    Ok((connection, Some(told)))
}

/// Says that an earlier database which could not be read is still there: it stays said until somebody has seen to it.
fn kept_from_before(path: &Path) -> Option<String> {
    let kept = path.with_extension("db.corrupt-1");
    kept.exists().then(|| {
        format!("an earlier store that could not be read is kept as {}; see to it and move it away", kept.display())
    })
}

fn size_limit(directory: &Path) -> i64 {
    let disk = rustix::fs::statvfs(directory)
        .map_or(SIZE_LIMIT, |found| found.f_blocks.saturating_mul(found.f_frsize).saturating_mul(8) / 10);
    super::rows::integer(disk.min(SIZE_LIMIT))
}
