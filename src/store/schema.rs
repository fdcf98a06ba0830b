//! The tables, how they came to be, and the settings under which SQLite keeps its promises.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

/// One entry per schema version, the first for version 1; each runs in one transaction. Never change one that was
/// released, only add.
pub(super) const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE ticket (
        number          INTEGER PRIMARY KEY,
        source          TEXT NOT NULL,
        source_id       TEXT NOT NULL,
        idempotency_key TEXT UNIQUE,
        body            BLOB NOT NULL,
        crc             INTEGER NOT NULL,
        accepted_at     INTEGER NOT NULL,
        round           INTEGER NOT NULL,
        attempts        INTEGER NOT NULL,
        state           INTEGER NOT NULL,
        deadline_at     INTEGER NOT NULL,
        UNIQUE (source, source_id)
    ) STRICT;
    CREATE INDEX ticket_unfinished ON ticket (deadline_at) WHERE state < 2;

    CREATE TABLE verdict (
        ticket INTEGER NOT NULL,
        round  INTEGER NOT NULL,
        at     INTEGER NOT NULL,
        body   BLOB NOT NULL,
        crc    INTEGER NOT NULL,
        PRIMARY KEY (ticket, round)
    ) STRICT;

    CREATE TABLE outbox (
        key        TEXT PRIMARY KEY,
        ticket     INTEGER NOT NULL,
        round      INTEGER NOT NULL,
        channel    TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        due_at     INTEGER NOT NULL,
        tries      INTEGER NOT NULL,
        state      INTEGER NOT NULL,
        done_at    INTEGER,
        last_error TEXT,
        body       BLOB NOT NULL,
        crc        INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX outbox_waiting ON outbox (due_at) WHERE state = 0;

    -- A verdict's or an action's event holds no body of its own: it stands for the row that `round` or `key` names.
    CREATE TABLE event (
        sequence INTEGER PRIMARY KEY,
        ticket   INTEGER NOT NULL,
        at       INTEGER NOT NULL,
        round    INTEGER,
        key      TEXT,
        body     BLOB,
        crc      INTEGER
    ) STRICT;
    CREATE INDEX event_of_ticket ON event (ticket);

    CREATE TABLE template (
        check_name TEXT NOT NULL,
        template   TEXT NOT NULL,
        seen       INTEGER NOT NULL,
        PRIMARY KEY (check_name, template)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE passed (
        check_name TEXT NOT NULL,
        parameters TEXT NOT NULL,
        seen       INTEGER NOT NULL,
        PRIMARY KEY (check_name, parameters)
    ) STRICT, WITHOUT ROWID;
",
    "
    -- Whose token filed it: whoever may only report sees what it filed itself.
    ALTER TABLE ticket ADD COLUMN filed_by TEXT;
",
    "
    -- When it was seen first: what came with the trouble is no old acquaintance. Those of before count as old.
    ALTER TABLE template ADD COLUMN first_seen INTEGER NOT NULL DEFAULT 0;
",
    "
    -- When something was wrong, by the newest verdict of each ticket; the services are a list in JSON.
    CREATE TABLE trouble (
        ticket   INTEGER PRIMARY KEY,
        since    INTEGER NOT NULL,
        until    INTEGER NOT NULL,
        services TEXT NOT NULL
    ) STRICT;
    CREATE INDEX trouble_until ON trouble (until);
",
    "
    -- What a receiver calls the newest message of a ticket to one recipient.
    CREATE TABLE receipt (
        ticket    INTEGER NOT NULL,
        channel   TEXT NOT NULL,
        recipient TEXT NOT NULL,
        reference TEXT NOT NULL,
        PRIMARY KEY (ticket, channel, recipient)
    ) STRICT, WITHOUT ROWID;

    -- Deliveries of ticket systems that were taken in; a repetition is recognised by its id.
    CREATE TABLE delivery (
        system TEXT NOT NULL,
        id     TEXT NOT NULL,
        at     INTEGER NOT NULL,
        ticket INTEGER,
        PRIMARY KEY (system, id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX delivery_at ON delivery (at);

    -- Whom to call back; due_at is null once that is over.
    CREATE TABLE callback (
        ticket INTEGER PRIMARY KEY,
        due_at INTEGER,
        body   BLOB NOT NULL,
        crc    INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX callback_due ON callback (due_at) WHERE due_at IS NOT NULL;

    -- How far a ticket system was read.
    CREATE TABLE cursor (
        system TEXT PRIMARY KEY,
        value  TEXT NOT NULL
    ) STRICT;
",
    "
    -- Who is being reached about what; one row for each ticket, round and team. `leader` is the page that it joined.
    CREATE TABLE page (
        key      TEXT PRIMARY KEY,
        ticket   INTEGER NOT NULL,
        team     TEXT NOT NULL,
        begun_at INTEGER NOT NULL,
        open     INTEGER NOT NULL,
        leader   TEXT,
        next_at  INTEGER,
        revision INTEGER NOT NULL,
        body     BLOB NOT NULL,
        crc      INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX page_due ON page (next_at) WHERE next_at IS NOT NULL;
    CREATE INDEX page_of_ticket ON page (ticket);
    CREATE INDEX page_of_leader ON page (leader) WHERE leader IS NOT NULL;
    CREATE INDEX page_of_team ON page (team, begun_at);
",
    "
    -- What was given up of late is asked for every second.
    CREATE INDEX outbox_given_up ON outbox (due_at) WHERE state = 2;
",
];

/// How long a statement waits for a lock that somebody else holds on the file (a backup tool).
const BUSY: Duration = Duration::from_secs(5);

/// Why a database could not be made ready.
#[derive(Debug)]
pub(super) enum Unready {
    /// It is no database, or one whose structure is broken.
    Corrupt(String),
    Newer {
        found: u32,
        known: u32,
    },
    Unusable(String),
}

impl From<rusqlite::Error> for Unready {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Unready::Corrupt(error.to_string()),
            _ => Unready::Unusable(error.to_string()),
        }
    }
}

impl From<std::io::Error> for Unready {
    fn from(error: std::io::Error) -> Self {
        Unready::Unusable(error.to_string())
    }
}

/// The one connection that writes, with its schema at the newest version.
pub(super) fn open_writer(path: &Path, migrations: &[&str]) -> Result<Connection, Unready> {
    create_private(path)?;
    let mut connection = connect(path)?;
    // FULL, not NORMAL: in WAL mode NORMAL loses acknowledged commits at a power cut.
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 67108864;")?;
    migrate(&mut connection, path, migrations)?;
    // Touches the root page of every table, so that a broken structure is found now and not by the first ticket.
    let tables: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for table in tables {
        connection.prepare(&format!("SELECT * FROM {table} LIMIT 1"))?.query([])?.next()?;
    }
    Ok(connection)
}

/// A connection that can't write.
pub(super) fn open_reader(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = connect(path)?;
    connection.execute_batch("PRAGMA query_only = ON;")?;
    Ok(connection)
}

fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.execute_batch(
        "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY;",
    )?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Creates the file, readable by its owner alone; SQLite gives its companion files the same mode.
fn create_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map(drop)
}

/// Brings the schema to the newest version, one transaction per step; a copy of the file as it was is kept beside it.
pub(super) fn migrate(connection: &mut Connection, path: &Path, migrations: &[&str]) -> Result<(), Unready> {
    let known = u32::try_from(migrations.len()).unwrap_or(u32::MAX);
    let found = version(connection)?;
    if found > known {
        return Err(Unready::Newer { found, known });
    }
    if found > 0 && found < known {
        keep_copy(connection, path, found)?;
    }
    for (step, sql) in (1_u32..).zip(migrations).skip(found as usize) {
        let transaction = connection.transaction()?;
        transaction
            .execute_batch("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT")?;
        transaction.execute_batch(sql)?;
        transaction.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('schema', ?1)", [step])?;
        transaction.commit()?;
    }
    Ok(())
}

/// The version of the schema in the file; 0 where the file is empty.
fn version(connection: &Connection) -> Result<u32, Unready> {
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        return Ok(0);
    }
    let ours: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'meta'", [], |row| row.get(0))?;
    if ours == 0 {
        return Err(Unready::Unusable("it is a database of another program".to_owned()));
    }
    let version: Option<u32> =
        connection.query_row("SELECT value FROM meta WHERE name = 'schema'", [], |row| row.get(0)).optional()?;
    version.ok_or_else(|| Unready::Corrupt("its schema version is missing".to_owned()))
}

/// Where the copy of a store of this version is kept when it is migrated.
pub(super) fn copy_path(path: &Path, version: u32) -> PathBuf {
    path.with_extension(format!("db.schema-{version}"))
}

fn keep_copy(connection: &Connection, path: &Path, version: u32) -> Result<(), Unready> {
    let kept = copy_path(path, version);
    let unfinished = kept.with_extension("unfinished");
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    create_private(&unfinished)?;
    connection.execute("VACUUM INTO ?1", [unfinished.to_string_lossy()])?;
    std::fs::File::open(&unfinished)?.sync_all()?;
    std::fs::rename(&unfinished, &kept)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &[&str] = MIGRATIONS.split_at(1).0;
    const SECOND: &str = "ALTER TABLE ticket ADD COLUMN mood TEXT";

    fn with_a_ticket(path: &Path) {
        let connection = open_writer(path, FIRST).unwrap();
        connection.execute("INSERT INTO ticket VALUES (7, 's', 'i', NULL, x'00', 1, 2, 1, 0, 0, 3)", []).unwrap();
    }

    #[test]
    fn a_migration_keeps_the_rows_and_a_copy_of_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("houston.db");
        with_a_ticket(&path);
        let connection = open_writer(&path, &[FIRST[0], SECOND]).unwrap();
        let mood: Option<String> =
            connection.query_row("SELECT mood FROM ticket WHERE number = 7", [], |row| row.get(0)).unwrap();
        assert_eq!(mood, None);
        assert_eq!(version(&connection).unwrap(), 2);
        let copy = connect(&copy_path(&path, 1)).unwrap();
        assert_eq!(version(&copy).unwrap(), 1);
        let rows: i64 = copy.query_row("SELECT count(*) FROM ticket", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 1);
    }

    #[test]
    fn a_store_of_the_first_version_is_brought_to_the_newest() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("houston.db");
        with_a_ticket(&path);
        let connection = open_writer(&path, MIGRATIONS).unwrap();
        assert_eq!(version(&connection).unwrap() as usize, MIGRATIONS.len());
        let filed_by: Option<String> =
            connection.query_row("SELECT filed_by FROM ticket WHERE number = 7", [], |row| row.get(0)).unwrap();
        assert_eq!(filed_by, None, "nobody knows any more");
    }

    #[test]
    fn a_migration_that_fails_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("houston.db");
        with_a_ticket(&path);
        let broken = format!("{SECOND}; INSERT INTO nowhere VALUES (1);");
        assert!(matches!(open_writer(&path, &[FIRST[0], &broken]), Err(Unready::Unusable(_))));
        let connection = open_writer(&path, FIRST).unwrap();
        assert_eq!(version(&connection).unwrap(), 1);
        assert!(connection.prepare("SELECT mood FROM ticket").is_err());
    }

    #[test]
    fn a_newer_schema_and_another_programs_database_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("houston.db");
        drop(open_writer(&path, &[FIRST[0], SECOND]).unwrap());
        assert!(matches!(open_writer(&path, FIRST), Err(Unready::Newer { found: 2, known: 1 })));
        let other = directory.path().join("other.db");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE music (title TEXT)").unwrap();
        assert!(matches!(open_writer(&other, MIGRATIONS), Err(Unready::Unusable(_))));
    }

    #[test]
    fn the_settings_are_in_force_and_the_file_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("houston.db");
        let connection = open_writer(&path, MIGRATIONS).unwrap();
        for (pragma, expected) in
            [("journal_mode", "wal"), ("synchronous", "2"), ("trusted_schema", "0"), ("cell_size_check", "1")]
        {
            let found: String = connection
                .query_row(&format!("SELECT CAST({pragma} AS TEXT) FROM pragma_{pragma}"), [], |row| row.get(0))
                .unwrap();
            assert_eq!(found, expected, "{pragma}");
        }
        for file in ["houston.db", "houston.db-wal"] {
            let mode = std::fs::metadata(directory.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{file}");
        }
    }
}
