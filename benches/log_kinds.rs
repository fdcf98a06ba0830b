//! The two kinds of probes that read logs, over the last 15 minutes of a day and over longer; a scan of the whole beside.
//!
//! `cargo bench --bench log_kinds`; `HOUSTON_BENCH_LOG_MIB` sets the size of the files in MiB (64 by default). The ratios
//! that count are printed first.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)] // a bench prints, and reads its size

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};

use houston::evidence::log_source::Question;
use houston::evidence::logs::log_file;
use houston::evidence::traffic::access_log;
use houston::files::gate::Gate;
use houston::files::rotation::Snapshot;
use houston::files::scan::scan;
use houston::files::timestamp::{Clock, micros};
use houston::model::observation::Seen;
use houston::model::window::Window;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A day of each log, with its last line at this time.
const NOW: &str = "2026-11-22T10:00:00Z";

struct Logs {
    directory: tempfile::TempDir,
    bytes: u64,
}

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn window() -> Window {
    Window::ending_at(now(), SignedDuration::from_mins(15))
}

fn logs() -> &'static Logs {
    static LOGS: OnceLock<Logs> = OnceLock::new();
    LOGS.get_or_init(|| {
        let size = std::env::var("HOUSTON_BENCH_LOG_MIB").ok().and_then(|size| size.parse().ok()).unwrap_or(64);
        let bytes = size * 1024 * 1024_u64;
        let logs = Logs { directory: tempfile::tempdir().unwrap(), bytes };
        let app = |out: &mut String, at: Timestamp, random: u64| {
            let (level, message) = match random % 1_000 {
                0 => ("error", format!("mail to user {random} bounced: host mx{}.example.com not found", random % 7)),
                1..=9 => ("warn", format!("slow query on orders took {} ms", random % 3_000)),
                10..=499 => ("info", format!("order {random} paid in {} ms by card", random % 900)),
                _ => ("info", format!("GET /api/cart/{random:x} answered 200 in {} ms", random % 90)),
            };
            let customer = ["acme", "globex", "initech", "umbrella"][(random % 4) as usize];
            let ts = at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
            let _ = writeln!(
                out,
                r#"{{"ts":"{ts}","level":"{level}","msg":"{message}","customer":"{customer}","request":"{random:016x}","service":"checkout","pid":4711}}"#
            );
        };
        let access = |out: &mut String, at: Timestamp, random: u64| {
            let status = if random.is_multiple_of(1_000) { 502 } else { 200 };
            let time = at.strftime("%d/%b/%Y:%H:%M:%S +0000");
            let (user, path, seconds) = (random % 200, random % 5_000, (random % 900 + 1) as f64 / 1e3);
            let _ = writeln!(
                out,
                r#"10.0.{}.{} - customer-{user} [{time}] "GET /api/item/{path}?page=2 HTTP/1.1" {status} {} "https://shop.example.com/" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36" {seconds:.3}"#,
                random % 256,
                random / 256 % 256,
                random % 40_000
            );
        };
        generate(&logs.directory.path().join("app.log"), bytes, &app);
        generate(&logs.directory.path().join("access.log"), bytes, &access);
        logs
    })
}

/// Writes lines evenly over a day until the file has its size.
fn generate(path: &Path, bytes: u64, line: &dyn Fn(&mut String, Timestamp, u64)) {
    let mut sample = String::new();
    line(&mut sample, now(), 500);
    let count = bytes / sample.len() as u64;
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    let mut state = 88_172_645_463_325_252_u64;
    let mut text = String::new();
    for index in 0..count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let left = 86_400_000 * (count - 1 - index) / count;
        text.clear();
        line(&mut text, now() - SignedDuration::from_millis(left as i64), state);
        file.write_all(text.as_bytes()).unwrap();
    }
    file.flush().unwrap();
}

fn question(window: Window) -> Question {
    Question {
        now: now(),
        window,
        since: window.from,
        customer: None,
        usual: Vec::new(),
        deadline: Instant::now() + Duration::from_secs(600),
        dropped: Default::default(),
    }
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

fn day() -> Window {
    Window::ending_at(now(), SignedDuration::from_hours(25))
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

/// What people would type: the file from its end, until the time is before the window.
fn tac_and_awk() -> Option<u64> {
    let from = window().from.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let script = "tac \"$1\" | awk -v from=\"$2\" '{ t = substr($0, index($0, \"20\"), 19); if (t < from) exit; \
                  if (index($0, \"\\\"level\\\":\\\"error\\\"\")) n++ } END { print n + 0 }'";
    said(std::process::Command::new("sh").args(["-c", script, "sh", &path("app.log"), &from]))
}

/// All errors of the file: no tool of its kind knows where the window begins.
fn ripgrep() -> Option<u64> {
    said(std::process::Command::new("rg").args(["--no-config", "-cF", "\"level\":\"error\"", &path("app.log")]))
}

fn said(command: &mut std::process::Command) -> Option<u64> {
    let output = command.stdin(std::process::Stdio::null()).output().ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
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
    for (name, peer, ours) in [("tac | awk", tac_and_awk as fn() -> Option<u64>, last), ("ripgrep", ripgrep, all)] {
        if peer().is_none() {
            println!("{name:<28} is not here: not measured");
            continue;
        }
        let (time, errors) = shortest(3, || peer().unwrap_or_default());
        println!(
            "{name:<28} {:>9.1} ms   {errors} errors (ours {ours}); ours {:.1} times as fast, the kind {:.1} times, its words known {:.1} times",
            time * 1e3,
            time / part,
            time / probe,
            time / known
        );
    }
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
