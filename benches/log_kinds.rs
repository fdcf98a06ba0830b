//! The two kinds of probes that read logs, over the last 15 minutes of a day and over longer; a scan of the whole beside.
//!
//! `cargo bench --bench log_kinds`; `HOUSTON_BENCH_LOG_MIB` sets the size of the files in MiB (64 by default). The ratios
//! that count are printed first. `log_peers` and `access_peers` measure the same beside other tools.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)] // a bench prints, and reads its size

use std::collections::BTreeSet;
use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};

use houston::evidence::logs::log_file;
use houston::evidence::traffic::access_log;
use houston::files::gate::Gate;
use houston::files::rotation::Snapshot;
use houston::files::scan::scan;
use houston::files::timestamp::{Clock, micros};
use houston::model::observation::Seen;
use houston::model::window::Window;
use jiff::SignedDuration;
use jiff::tz::TimeZone;

mod day;

use day::{last_15_minutes as window, now, question, whole as day};

struct Logs {
    directory: tempfile::TempDir,
    bytes: u64,
}

fn logs() -> &'static Logs {
    static LOGS: OnceLock<Logs> = OnceLock::new();
    LOGS.get_or_init(|| {
        let size = std::env::var("HOUSTON_BENCH_LOG_MIB").ok().and_then(|size| size.parse().ok()).unwrap_or(64);
        let bytes = size * 1024 * 1024_u64;
        let logs = Logs { directory: tempfile::tempdir().unwrap(), bytes };
        day::write_app_log(&logs.directory.path().join("app.log"), bytes);
        day::write_access_log(&logs.directory.path().join("access.log"), bytes);
        logs
    })
}

fn path(name: &str) -> String {
    logs().directory.path().join(name).to_string_lossy().into_owned()
}

/// Lines of a window with an error, without anything else that a probe does.
fn errors(window: Window) -> u64 {
    let clock = Clock::new(TimeZone::UTC, None, now());
    let gate = Gate::new(u64::MAX, Instant::now() + Duration::from_secs(600), Default::default());
    let snapshot = Snapshot::take(&[path("app.log")], micros(window.from), &clock, &gate);
    let finder = memchr::memmem::Finder::new("\"level\":\"error\"");
    let mut count = 0;
    let coverage =
        scan(&snapshot, window, None, &clock, &gate, |entry| count += u64::from(finder.find(entry.line).is_some()));
    assert!(coverage.incomplete.is_empty());
    count
}

fn log_file() -> u64 {
    let config = log_file::Config { paths: vec![path("app.log")], ..Default::default() };
    let seen = log_file::LogFile::new(config, None).unwrap().look(&question(window()), None);
    assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
    seen.measures.number("lines").unwrap() as u64
}

/// What a daemon remembers of this log after a while: the ordinary messages, and errors that are a day old.
fn remembered() -> &'static BTreeSet<String> {
    static REMEMBERED: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
        let config = log_file::Config { paths: vec![path("app.log")], ..Default::default() };
        let seen = log_file::LogFile::new(config, None).unwrap().look(&question(window()), None);
        seen.templates.into_iter().collect()
    });
    &REMEMBERED
}

fn log_file_that_is_known() -> u64 {
    let config = log_file::Config { paths: vec![path("app.log")], ..Default::default() };
    let seen = log_file::LogFile::new(config, None).unwrap().look(&question(window()), Some(remembered()));
    assert_eq!(seen.measures.number("new_templates"), Some(0.0), "{seen:?}");
    seen.measures.number("lines").unwrap() as u64
}

fn access_log(window: Window) -> u64 {
    let config = access_log::Config { paths: vec![path("access.log")], ..Default::default() };
    let seen = access_log::AccessLog::new(config, None).unwrap().look(&question(window));
    seen.measures.number("requests").unwrap() as u64
}

/// The shortest of some runs, in seconds, and what the work yields.
fn shortest(runs: u32, work: impl Fn() -> u64) -> (f64, u64) {
    let run = || {
        let started = Instant::now();
        let result = work();
        (started.elapsed().as_secs_f64(), result)
    };
    (0..runs).map(|_| run()).min_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
}

fn main() {
    let mib = logs().bytes as f64 / 1_048_576.0;
    println!("a day of {mib} MiB, the last 15 minutes of it; the file is in the cache");
    let (whole, all) = shortest(5, || errors(day()));
    let (part, last) = shortest(20, || errors(window()));
    println!("errors in the whole file     {:>9.1} ms   {all} errors   {:.0} MiB/s", whole * 1e3, mib / whole);
    println!("errors in the last 15 min    {:>9.1} ms   {last} errors   {:.0} times faster", part * 1e3, whole / part);
    let (probe, lines) = shortest(10, log_file);
    println!("log_file, last 15 min        {:>9.1} ms   {lines} lines, compared with the hour before", probe * 1e3);
    remembered();
    let (known, lines) = shortest(10, log_file_that_is_known);
    println!("log_file, its words known    {:>9.1} ms   {lines} lines, the hour before need not be read", known * 1e3);
    let (requests_time, requests) = shortest(10, || access_log(window()));
    println!("access_log, last 15 min      {:>9.1} ms   {requests} requests", requests_time * 1e3);
    // What one look may read ends at 256 MiB.
    let span = day().seconds() * (200.0 / mib).min(1.0);
    let long = Window::ending_at(now(), SignedDuration::from_secs(span as i64));
    let (stats, requests) = shortest(5, || access_log(long));
    println!(
        "access_log, a long window    {:>9.1} ms   {:.2} million requests/s",
        stats * 1e3,
        requests as f64 / stats / 1e6
    );
    let message =
        b"order 8812345 of customer acme paid in 312 ms via 10.0.0.17:8443, receipt /var/receipts/8812345.pdf";
    let (masks, _) = shortest(5, || {
        let mut out = Vec::new();
        (0..200_000)
            .map(|_| {
                houston::stats::templates::mask(message, &mut out);
                out.len() as u64
            })
            .sum()
    });
    println!("masks                        {:>9.1} ms   {:.2} million lines/s", masks * 1e3, 0.2 / masks);
    divan::main();
}

#[divan::bench]
fn errors_of_the_last_15_minutes() -> u64 {
    errors(window())
}

#[divan::bench(sample_count = 5)]
fn errors_of_the_whole_file() -> u64 {
    errors(day())
}

#[divan::bench]
fn log_file_of_the_last_15_minutes() -> u64 {
    log_file()
}

#[divan::bench]
fn access_log_of_the_last_15_minutes() -> u64 {
    access_log(window())
}
