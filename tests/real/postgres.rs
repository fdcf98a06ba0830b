//! `postgres` against a real PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use houston::evidence::{Ask, Setup, Tools};
use houston::model::observation::{Observation, Phase, Seen, UnknownKind};
use houston::model::secret::Environment;
use houston::model::value::Value;

use super::looking::{ask, example, look, number};
use crate::lab::postgres::Postgres;
use crate::lab::{READY, until};

/// The YAML of a check that asks this.
fn asks(port: u16, user: &str, query: &str, more: &str) -> String {
    let query = serde_json::to_string(query).unwrap();
    format!("address: 127.0.0.1:{port}\ndatabase: shop\nuser: {user}\nquery: {query}\n{more}")
}

fn with_secrets() -> Ask {
    let secrets = [("RIGHT", "k33per"), ("WRONG", "guess")];
    let environment = Environment::new(secrets.map(|(name, value)| (name.to_owned(), value.to_owned())));
    Ask { tools: Arc::new(Tools::new(Setup { environment, ..Setup::default() })), ..ask() }
}

fn cell<'a>(seen: &'a Observation, column: &str) -> &'a Value {
    let Some(Value::Map(row)) = seen.measures.get("row") else { panic!("{seen:?}") };
    row.get(column).unwrap_or_else(|| panic!("no {column} in {row:?}"))
}

fn blind(seen: &Observation) -> (UnknownKind, &str) {
    match &seen.seen {
        Seen::Blind(unknown) => (unknown.kind, &unknown.why),
        _ => panic!("{seen:?}"),
    }
}

fn bad(seen: &Observation) -> (Phase, &str) {
    match &seen.seen {
        Seen::Failed(fault) => (fault.phase, &fault.what),
        _ => panic!("{seen:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_measures_and_values_stay_values() {
    let postgres = Postgres::start();
    postgres.sql("create table orders (id int, who text, at timestamptz); grant select on orders to houston");
    postgres.sql("insert into orders values (7, 'acme', now() - interval '90 seconds'), (8, 'o''brien', now())");
    let query = "select 1::int2 a, -2 b, 3::bigint c, 1.5::real d, 2.25::float8 e, 12345678.125::numeric f, true g, \
        null::int h, 'x'::text i, 'y'::char(3) j, interval '1 day 90 seconds' k, '2026-01-02 03:04:05+00'::timestamptz l, \
        '{\"m\": [1]}'::jsonb m, count(*) n, sum(id) o, -0.0001::numeric p, 'NaN'::numeric q, 1e20::numeric r from orders";
    let seen = look("postgres", &asks(postgres.port, "houston", query, ""), &ask()).await;
    assert_eq!(
        (seen.seen.clone(), number(&seen, "rows"), number(&seen, "value")),
        (Seen::Answered, 1.0, 1.0),
        "{seen:?}"
    );
    for (column, value) in [
        ("a", "1"),
        ("b", "-2"),
        ("c", "3"),
        ("d", "1.5"),
        ("e", "2.25"),
        ("f", "12345678"),
        ("g", "true"),
        ("h", "null"),
        ("i", "\"x\""),
        ("j", "\"y  \""),
        ("k", "86490"),
        ("l", "\"2026-01-02T03:04:05Z\""),
        ("m", "{\"m\":[1]}"),
        ("n", "2"),
        ("o", "15"),
        ("p", "-0.0001"),
        ("q", "NaN"),
        ("r", "1.000e20"),
    ] {
        assert_eq!(cell(&seen, column).show(100), value, "{column}");
    }
    assert!(number(&seen, "connect_seconds") > 0.0 && number(&seen, "duration_seconds") > 0.0, "{seen:?}");
    assert!(seen.measures.get("version").unwrap().show(99).len() > 3, "{seen:?}");

    let query =
        "select id, extract(epoch from now() - at)::float8 as age from orders where who = $1 and id > $2 and at > $3";
    let values = "values: [\"{{ who }}\", \"{{ least }}\", \"2020-01-01 00:00:00\"]";
    let settings = asks(postgres.port, "houston", query, values);
    for (who, least, rows) in [
        ("acme", "0", Some(1.0)),
        ("o'brien", "0", Some(1.0)),
        ("acme", "7", Some(0.0)),
        ("' or true --", "0", Some(0.0)),
        ("acme'; drop table orders; --", "0", Some(0.0)),
        ("\\", "0", Some(0.0)),
        ("$1", "0", Some(0.0)),
        ("acme", "0 or 1=1", None),
    ] {
        let mut ask = ask();
        ask.params.set("who", who, true);
        ask.params.set("least", least, true);
        let seen = look("postgres", &settings, &ask).await;
        assert_eq!(seen.measures.number("rows"), rows, "{who}: {seen:?}");
        if rows.is_none() {
            assert!(matches!(blind(&seen), (UnknownKind::Refused, why) if why.contains("22P02")), "{seen:?}");
        }
        if rows == Some(0.0) {
            assert_eq!(seen.measures.get("row"), None, "a row that isn't there has no columns");
        }
    }
    assert_eq!(postgres.sql("select count(*) from orders"), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_and_nothing_goes_on_behind_our_back() {
    let postgres = Postgres::start();
    postgres.sql("create table orders (id int); create sequence numbers");
    postgres.sql(
        "grant all on orders to houston; grant all on numbers to houston; grant create on schema public to houston",
    );
    for (query, code) in [
        ("insert into orders values (1) returning id", "25006"),
        ("create table mine (id int)", "25006"),
        ("select nextval('numbers')", "25006"),
        ("drop table orders", "25006"),
        ("select 1; insert into orders values (2)", "42601"),
        ("selekt 1", "42601"),
        ("select * from nowhere", "42P01"),
        ("select * from pg_authid", "42501"),
        ("select 1/0", "22012"),
        ("select $1", "08P01"),
    ] {
        let seen = look("postgres", &asks(postgres.port, "houston", query, ""), &ask()).await;
        let (kind, why) = blind(&seen);
        assert!(kind == UnknownKind::Refused && why.contains(code), "{query}: {why}");
    }
    assert_eq!(postgres.sql("select count(*) from orders"), "0");
    for (query, kind, part) in [
        ("select 1 as a, 2 as a", UnknownKind::Unintelligible, "two columns are called `a`"),
        ("select array[1] as list", UnknownKind::Unintelligible, "list::text"),
        ("select generate_series(1, 1001) as n", UnknownKind::Incomplete, "1000 rows"),
        ("select repeat('x', 2000000) as big", UnknownKind::Incomplete, "1.0 MiB"),
    ] {
        let seen = look("postgres", &asks(postgres.port, "houston", query, ""), &ask()).await;
        let (found, why) = blind(&seen);
        assert!(found == kind && why.contains(part), "{query}: {found:?} {why}");
    }
    let odd =
        look("postgres", &asks(postgres.port, "houston", "select e'\\x1b[2J' as \"\u{1b}[1m\"", ""), &ask()).await;
    assert!(!odd.excerpt.unwrap().contains('\u{1b}'));

    // Two ways to take too long: the declared limit, and the check's own end.
    let slow = asks(postgres.port, "houston", "select pg_sleep(60)", "statement_timeout: 100ms");
    let seen = look("postgres", &slow, &ask()).await;
    assert!(matches!(bad(&seen), (Phase::Processing, what) if what.contains("57014")), "{seen:?}");
    let mut short = ask();
    short.deadline = tokio::time::Instant::now() + Duration::from_secs(1);
    let seen = look("postgres", &asks(postgres.port, "houston", "select pg_sleep(60)", ""), &short).await;
    assert_eq!(bad(&seen).0, Phase::Processing, "{seen:?}");
    // One that is given up in the middle ends by itself as well.
    let mut dropped = ask();
    dropped.deadline = tokio::time::Instant::now() + Duration::from_secs(2);
    let settings = asks(postgres.port, "houston", "select pg_sleep(60)", "");
    let looking = look("postgres", &settings, &dropped);
    assert!(tokio::time::timeout(Duration::from_millis(500), looking).await.is_err());
    until("no statement of ours is left", READY, || {
        postgres.sql("select count(*) from pg_stat_activity where usename = 'houston'") == "0"
    });

    // Somebody holds a lock.
    let mut holder = postgres.session("begin; lock table orders; select pg_sleep(60)");
    until("the lock is held", READY, || {
        postgres.sql("select count(*) from pg_locks where mode = 'AccessExclusiveLock' and granted") != "0"
    });
    let waits = asks(postgres.port, "houston", "select count(*) from orders", "statement_timeout: 300ms");
    let seen = look("postgres", &waits, &ask()).await;
    assert!(
        matches!(bad(&seen), (Phase::Processing, what) if what.contains("55P03") || what.contains("57014")),
        "{seen:?}"
    );
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_fault_it_is_that_nobody_gets_in() {
    let mut postgres = Postgres::start();
    let port = postgres.port;
    let secure = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    let right = "password: { env: RIGHT }";
    let ca = format!("{right}\ntls: {{ ca: {} }}", postgres.ca().display());
    for (more, encrypted) in [(right, false), (&ca, true), (&format!("{right}\ntls: {{ insecure: true }}"), true)] {
        let seen = look("postgres", &asks(port, "keeper", secure, more), &with_secrets()).await;
        assert_eq!(
            (seen.seen.clone(), cell(&seen, "ssl")),
            (Seen::Answered, &Value::Bool(encrypted)),
            "{more}: {seen:?}"
        );
    }
    let seen = look("postgres", &asks(port, "keeper", secure, &format!("{right}\ntls: true")), &with_secrets()).await;
    assert_eq!(bad(&seen).0, Phase::Tls, "nobody vouches for it: {seen:?}");
    for (user, more, part) in [
        ("keeper", "password: { env: WRONG }", "28P01"),
        ("keeper", "", "invalid configuration"),
        ("nobody", "", "28000"),
    ] {
        let seen = look("postgres", &asks(port, user, secure, more), &with_secrets()).await;
        let (kind, why) = blind(&seen);
        assert!(kind == UnknownKind::Refused && why.contains(part) && !why.contains("guess"), "{user}: {why}");
    }
    let elsewhere = asks(port, "houston", secure, "").replace("database: shop", "database: nowhere");
    assert!(blind(&look("postgres", &elsewhere, &ask()).await).1.contains("3D000"));

    postgres.sql("alter database shop connection limit 0");
    let seen = look("postgres", &asks(port, "houston", secure, ""), &ask()).await;
    assert!(matches!(bad(&seen), (Phase::Processing, what) if what.contains("53300")), "{seen:?}");

    postgres.server.freeze();
    let mut short = ask();
    short.deadline = tokio::time::Instant::now() + Duration::from_secs(1);
    let seen = look("postgres", &asks(port, "houston", secure, ""), &short).await;
    assert!(matches!(bad(&seen), (Phase::Processing, what) if what.starts_with("no byte in")), "{seen:?}");
    postgres.server.stop();
    let seen = look("postgres", &asks(port, "houston", secure, ""), &ask()).await;
    assert_eq!(bad(&seen), (Phase::Connect, "connection refused"), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_tells_good_from_bad_from_unknown() {
    let mut postgres = Postgres::start();
    postgres.sql("create table orders (id int)");
    let address = format!("127.0.0.1:{}", postgres.port);
    let finding = |user: &str| example("postgres", &[("127.0.0.1:5432", &address), ("user: houston", user)], "{}\n");
    let fine = finding("user: houston");
    assert_eq!(fine["outcome"], "good", "{fine}");
    assert_eq!(finding("user: stranger")["outcome"], "unknown");
    postgres.server.stop();
    assert_eq!(finding("user: houston")["outcome"], "bad");
}
