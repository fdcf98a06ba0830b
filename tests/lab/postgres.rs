//! A real PostgreSQL, with a certificate of its own.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Server, accepts, free_port, program};

/// A running PostgreSQL with a database `shop`. `postgres` may do anything and `houston` nothing, both without a
/// password; `keeper` has one, `k33per`.
#[derive(Debug)]
pub struct Postgres {
    pub port: u16,
    pub server: Server,
}

const ACCESS: &str = "
host all postgres,houston 127.0.0.1/32 trust
host all keeper 127.0.0.1/32 scram-sha-256
";

impl Postgres {
    pub fn start() -> Postgres {
        // It refuses to run as root, and its user can't see into the build's directory everywhere.
        let place = tempfile::Builder::new().prefix("lab-postgres-").tempdir().unwrap();
        let data = place.path().join("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).unwrap();
        let own = |path: &Path| {
            if let Some((user, group)) = user() {
                std::os::unix::fs::chown(path, Some(user), Some(group)).unwrap();
            }
        };
        own(place.path());
        own(&data);
        let words = ["-U", "postgres", "--auth=trust", "-N", "--locale=C", "--encoding=UTF8", "-D"];
        run(as_its_user(&installed("initdb")).iter().map(String::as_str).chain(words).chain([data.to_str().unwrap()]));

        let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        for (name, text) in [
            ("server.crt", issued.cert.pem()),
            ("server.key", issued.signing_key.serialize_pem()),
            ("pg_hba.conf", ACCESS.to_owned()),
        ] {
            let file = data.join(name);
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
            own(&file);
        }
        let port = free_port();
        let mut arguments = as_its_user(&installed("postgres"));
        let name = arguments.remove(0);
        arguments.extend(["-D".into(), data.display().to_string(), "-p".into(), port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "ssl=on",
            "max_connections=30",
            "autovacuum=off",
        ] {
            arguments.extend(["-c".to_owned(), setting.to_owned()]);
        }
        let is_ready = || accepts(port) && psql(port, "postgres", "select 1").status.success();
        let postgres = Postgres { port, server: Server::start(&name, place, arguments, is_ready) };
        for sql in ["create database shop", "create role houston login", "create role keeper login password 'k33per'"] {
            postgres.sql(sql);
        }
        postgres
    }

    /// Its certificate, which is its own issuer.
    pub fn ca(&self) -> PathBuf {
        self.server.directory().join("data/server.crt")
    }

    /// What the superuser gets for this in the database `shop`, without headings.
    pub fn sql(&self, sql: &str) -> String {
        let database = if sql.starts_with("create database") { "postgres" } else { "shop" };
        let output = psql(self.port, database, sql);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// A session of the superuser that does this for as long as it takes.
    pub fn session(&self, sql: &str) -> std::process::Child {
        #[allow(clippy::disallowed_methods)] // the lab's own client
        let mut command = Command::new(program("psql"));
        client(&mut command, self.port, "shop").args(["-c", sql]).stdout(std::process::Stdio::null()).spawn().unwrap()
    }
}

fn psql(port: u16, database: &str, sql: &str) -> std::process::Output {
    #[allow(clippy::disallowed_methods)] // the lab's own client
    let mut command = Command::new(program("psql"));
    client(&mut command, port, database).args(["-c", sql]).output().unwrap()
}

fn client<'a>(command: &'a mut Command, port: u16, database: &str) -> &'a mut Command {
    let port = port.to_string();
    command.args(["-X", "-q", "-A", "-t", "-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-d", database])
}

/// Debian keeps the server's programs apart by version; the newest one's.
fn installed(name: &str) -> PathBuf {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin").join(name))))
        .filter(|(_, path)| path.exists())
        .collect();
    versions.sort();
    versions.pop().unwrap_or_else(|| panic!("{name} isn't here: run scripts/test, it installs what the tests need")).1
}

/// User and group that the server runs as, where we are root.
fn user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let line =
        users.lines().find(|line| line.starts_with("postgres:")).expect("Debian's package makes a user postgres");
    let fields: Vec<&str> = line.split(':').collect();
    Some((fields[2].parse().unwrap(), fields[3].parse().unwrap()))
}

/// The words that run a program as that user. Its end with ours is asked for again: changing the user forgets it.
fn as_its_user(path: &Path) -> Vec<String> {
    let mut words = Vec::new();
    if let Some((user, group)) = user() {
        words.push(program("setpriv").display().to_string());
        words.extend([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".into()]);
        words.extend(["--pdeathsig=KILL".into(), "--".into()]);
    }
    words.push(path.display().to_string());
    words
}

fn run<'a>(mut words: impl Iterator<Item = &'a str>) {
    #[allow(clippy::disallowed_methods)] // the lab prepares its server
    let mut command = Command::new(words.next().unwrap());
    let output = command.args(words).current_dir("/").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_real_postgresql_answers() {
    let postgres = Postgres::start();
    assert_eq!(postgres.sql("select count(*) from pg_database where datname = 'shop'"), "1");
}
