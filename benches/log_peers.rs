//! The errors of the last 15 minutes of a day's log beside what people would type: `tac | awk`, and ripgrep over the
//! whole file; with the file in the system's memory, and without. Then 50 patterns at once beside ripgrep.
//!
//! Goals, for a log of 4 GiB: at least 5 times as fast as `tac | awk` and 15 times as ripgrep warm, 6 times as `tac | awk`
//! cold; 50 patterns no slower than ripgrep.
//!
//! `cargo bench --bench log_peers` takes 256 MiB, `HOUSTON_BENCH_FULL=1` the 4 GiB (which are written below TMPDIR).
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a bench tells people what it measured")]
#![allow(clippy::exit, clippy::disallowed_methods, reason = "a bench starts its peers, and reads its size")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use houston::evidence::logs::log_file::{Config, LogFile};
use houston::files::gate::Gate;
use houston::files::rotation::Snapshot;
use houston::files::scan::scan;
use houston::files::timestamp::{Clock, micros};
use houston::model::window::Window;
use jiff::tz::TimeZone;

mod beside;
mod day;

use beside::{by_turns, debian, drop_from_cache, number, tell, work};

/// As much of a file as one look may read, with room for the slack around a window.
const A_LOOK: u64 = 200;

fn main() {
    let (ripgrep, mawk) = (debian("rg", "ripgrep"), debian("mawk", "mawk"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.log");
    let mebibytes = if beside::full() { 4_096 } else { 256 };
    day::write_app_log(&path, mebibytes << 20);
    errors(&path, mebibytes, &ripgrep, &mawk);
    day::write_app_log(&path, A_LOOK << 20);
    patterns(folder.path(), &path, &ripgrep);
}

fn errors(path: &Path, mebibytes: u64, ripgrep: &Path, mawk: &Path) {
    let remembered: BTreeSet<String> = kind(path, None, None).1.into_iter().collect();
    let known = Some(&remembered);
    let run = |cold: bool| {
        let times = if cold { 1 } else { 10 };
        let mut works = [
            work("found and counted", times, || found(path, day::last_15_minutes())),
            work("the log_file kind, its words known", times, || kind(path, None, known).0),
            work("the log_file kind", times, || kind(path, None, None).0),
            work("tac | mawk", 1, || tac(path, mawk)),
            work("ripgrep", 1, || grep(path, ripgrep, cold)),
        ];
        let costs = by_turns(5, &mut works, || {
            if cold {
                drop_from_cache(path)
            }
        });
        println!("errors of the last 15 minutes of {mebibytes} MiB, {}", if cold { "cold" } else { "warm" });
        tell(&works, &costs, 3);
        let truth = costs[0].1;
        assert!(costs.iter().all(|(_, errors)| *errors == truth), "all count the same");
    };
    run(false);
    run(true);
}

/// The window alone: found by bisection, its errors counted.
fn found(path: &Path, window: Window) -> u64 {
    let clock = Clock::new(TimeZone::UTC, None, day::now());
    let gate = Gate::new(u64::MAX, Instant::now() + Duration::from_secs(60), Default::default());
    let snapshot = Snapshot::take(&[path.display().to_string()], micros(window.from), &clock, &gate);
    let level = memchr::memmem::Finder::new(r#""level":"error""#);
    let mut errors = 0;
    let coverage =
        scan(&snapshot, window, None, &clock, &gate, |entry| errors += u64::from(level.find(entry.line).is_some()));
    assert!(coverage.incomplete.is_empty(), "{coverage:?}");
    errors
}

/// The whole kind, over the last 15 minutes; or, with a pattern, over everything. Its matches, and what it remembers.
fn kind(path: &Path, matching: Option<String>, remembered: Option<&BTreeSet<String>>) -> (u64, Vec<String>) {
    let window = if matching.is_some() { day::whole() } else { day::last_15_minutes() };
    let config = Config { paths: vec![path.display().to_string()], matching, ..Config::default() };
    let seen = LogFile::new(config, None).unwrap().look(&day::question(window), remembered);
    let matches = seen.measures.number("matches").unwrap_or_else(|| panic!("{:?}", seen.seen));
    // What is remembered at once are ordinary messages; errors only of yesterday.
    let mut words = seen.templates;
    words.push("mail to user <*> bounced: host <*> not found".to_owned());
    (matches as u64, words)
}

/// The file from its end, until the time is before the window.
fn tac(path: &Path, mawk: &Path) -> u64 {
    let from = day::last_15_minutes().from.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let script = r#"tac "$1" | "$2" -v from="$3" '{ if (substr($0, 8, 19) < from) exit; if (index($0, "\"level\":\"error\"")) n++ } END { print n + 0 }'"#;
    number(Command::new("sh").args(["-c", script, "sh"]).arg(path).arg(mawk).arg(from))
}

/// The times of the window as a pattern; ripgrep can't know where it begins.
fn grep(path: &Path, ripgrep: &Path, cold: bool) -> u64 {
    let pattern = r#"^\{"ts":"2026-11-22T(09:(4[5-9]|5[0-9])|10:00):[0-9.]+Z","level":"error""#;
    // By its own choice it maps the file into memory, which takes many times as long where it must come from the disk.
    let mapping = if cold { "--no-mmap" } else { "--mmap" };
    number(Command::new(ripgrep).args(["--no-config", mapping, "-c", pattern]).arg(path))
}

fn patterns(folder: &Path, path: &Path, ripgrep: &Path) {
    let patterns = fifty();
    let file: PathBuf = folder.join("patterns.txt");
    std::fs::write(&file, patterns.join("\n") + "\n").unwrap();
    let joined = patterns.join("|");
    let mut works = [
        work("the log_file kind, 50 patterns", 1, || kind(path, Some(joined.clone()), None).0),
        work("ripgrep -f", 1, || number(Command::new(ripgrep).args(["--no-config", "-cf"]).arg(&file).arg(path))),
    ];
    let costs = by_turns(5, &mut works, || ());
    println!("50 patterns over a whole file of {A_LOOK} MiB");
    tell(&works, &costs, 1);
    assert_eq!(costs[0].1, costs[1].1, "both find the same lines");
}

/// What people look for in logs: phrases with numbers and alternatives in them.
fn fifty() -> Vec<String> {
    let (mut patterns, mut state) = (Vec::new(), 7_usize);
    let subjects = ["checkout", "payments", "cart", "search", "mail", "inventory", "session", "gateway"];
    let faults = ["refused after [0-9]+ attempts", "timed out after [0-9]+ ms", "(reset|closed) by peer", "not found"];
    for number in 0..50 {
        state = (state * 31 + number) % 9_973;
        let mut pattern = String::new();
        match number % 5 {
            0 => write!(pattern, "unexpected status 5[0-9][0-9] from {}-{number}", subjects[state % 8]),
            1 => write!(pattern, "{} to {} {}", subjects[number % 8], subjects[state % 8], faults[state % 4]),
            2 => write!(pattern, "bounced: host mx{}[.]example[.](com|org) not", number % 9),
            3 => write!(pattern, "query on {} took [1-9][0-9]{{3}} ms", ["orders", "carts", "users"][number % 3]),
            _ => write!(pattern, "TLS handshake with {}-{number} failed: [a-z ]+", subjects[state % 8]),
        }
        .unwrap();
        patterns.push(pattern);
    }
    patterns
}
