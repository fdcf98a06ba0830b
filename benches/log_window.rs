//! The errors of the last 15 minutes of a day's log: the window and the `log_file` kind beside a scan of the whole file.
//!
//! The file is JSON lines over 24 hours, seeded; 64 MiB, or 1 GiB with `HOUSTON_BENCH_FULL=1`. All must count the same
//! errors. The scan reads every line, and no more of it than its time and its level; the window is found by bisection and
//! read likewise. The kind reads templates too, of the window and of up to an hour before (32 MiB) and around the same
//! time yesterday (16 MiB), to know what is new. The file is in the page cache.
//! By turns; wall time is the median, CPU time (user and system, of all threads) the mean.
//!
//! `cargo bench --bench log_window`
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a bench tells people what it measured")]
#![allow(clippy::disallowed_methods, reason = "how much is measured is chosen by the environment")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use houston::evidence::{self, Ask, Probe, Tools};
use houston::files::gate::Gate;
use houston::files::rotation::Snapshot;
use houston::files::scan::scan;
use houston::files::timestamp::{Clock, micros};
use houston::model::memory::Memory;
use houston::model::params::Params;
use houston::model::window::{Moment, Window};
use houston::yaml;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use memchr::memmem;

const ROUNDS: usize = 9;
const DAY_SECONDS: u64 = 24 * 3_600;
const LINE: u64 = 200;
const WINDOW: SignedDuration = SignedDuration::from_mins(15);

fn main() {
    let mebibytes: u64 = if std::env::var_os("HOUSTON_BENCH_FULL").is_some() { 1_024 } else { 64 };
    let now = Timestamp::from_second(1_795_000_000).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.log");
    let lines = write(&path, now, mebibytes * 1024 * 1024 / LINE);
    let window = Window::new(now.checked_sub(WINDOW).unwrap(), now);

    let text = format!("{{ paths: [{}] }}", path.display());
    let kind = evidence::kind("log_file").unwrap();
    let probe = (kind.read)(&yaml::parse("bench.yaml", &text).unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tools = Arc::new(Tools::default());
    let mut look = || runtime.block_on(matches(probe.as_ref(), &tools, window, now));
    let mut found = || errors_of_window(&path, window, now);
    let mut whole = || errors_of_all(&path, window);

    let truth = whole();
    assert_eq!((look(), found()), (truth, truth), "all count the same errors");
    let size = std::fs::metadata(&path).unwrap().len() as f64 / 1024.0 / 1024.0;
    println!("{lines} lines, {size:.0} MiB over 24 h; {truth} errors in the last 15 min; {ROUNDS} rounds by turns");
    let mut times: [Times; 3] = Default::default();
    for _ in 0..ROUNDS {
        times[0].take(&mut whole);
        times[1].take(&mut found);
        times[2].take(&mut look);
    }
    let results = times.map(Times::result);
    let names = ["every line of the file", "the window alone, found", "the log_file kind"];
    for (name, (wall, cpu)) in names.iter().zip(results) {
        let ratio = results[0].0 / wall;
        println!("{name:24} {wall:>8.1} ms   {cpu:>8.1} ms CPU   {ratio:>6.1} x as fast as the whole file");
    }
    println!(
        "goal 50 ms warm for the window of a 4 GiB file (of 52 MB); this window has {:.1} MB",
        size * 1.048_576 / 96.0
    );
}

#[derive(Default)]
struct Times {
    wall: Vec<f64>,
    cpu: f64,
}

impl Times {
    fn take(&mut self, work: &mut dyn FnMut() -> u64) {
        let (cpu, begun) = (cpu_seconds(), Instant::now());
        work();
        self.wall.push(begun.elapsed().as_secs_f64() * 1e3);
        self.cpu += (cpu_seconds() - cpu) * 1e3;
    }

    /// Median of the wall time and mean of the CPU time, in milliseconds.
    fn result(mut self) -> (f64, f64) {
        self.wall.sort_by(f64::total_cmp);
        (self.wall[self.wall.len() / 2], self.cpu / self.wall.len() as f64)
    }
}

/// CPU time of all threads of this process, dead ones included, in steps of 10 ms (proc(5)).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

async fn matches(probe: &dyn Probe, tools: &Arc<Tools>, window: Window, now: Timestamp) -> u64 {
    let ask = Ask {
        now,
        window,
        since: window.from,
        moment: Moment::Now,
        params: Params::default(),
        customer: None,
        attempt: 1,
        usual: Vec::new(),
        deadline: tokio::time::Instant::now() + Duration::from_secs(60),
        memory: Arc::new(Memory::default()),
        check: "bench".into(),
        tools: Arc::clone(tools),
    };
    let seen = probe.observe(&ask).await;
    seen.measures.number("matches").unwrap_or_else(|| panic!("{:?}", seen.seen)) as u64
}

/// The window alone: found by bisection, its errors counted as a full scan counts them.
fn errors_of_window(path: &Path, window: Window, now: Timestamp) -> u64 {
    let clock = Clock::new(TimeZone::UTC, None, now);
    let gate = Gate::new(u64::MAX, Instant::now() + Duration::from_secs(60), Arc::default());
    let patterns = [path.display().to_string()];
    let snapshot = Snapshot::take(&patterns, micros(window.from), &clock, &gate);
    let level = memmem::Finder::new(br#""level":"error""#);
    let mut errors = 0;
    scan(&snapshot, window, None, &clock, &gate, |entry| errors += u64::from(level.find(entry.line).is_some()));
    errors
}

/// What a full scan does: the time and the level of every line.
fn errors_of_all(path: &Path, window: Window) -> u64 {
    let (from, to) = (window.from.to_string(), window.to.to_string());
    let level = memmem::Finder::new(br#""level":"error""#);
    let mut reader = BufReader::with_capacity(256 * 1024, File::open(path).unwrap());
    let mut line = Vec::new();
    let mut errors = 0;
    while reader.read_until(b'\n', &mut line).unwrap() > 0 {
        // {"ts":"2026-11-22T08:45:00.123Z", in one zone and one form: its order is that of the texts.
        let at = &line[7..26];
        if at >= &from.as_bytes()[..19] && at < &to.as_bytes()[..19] && level.find(&line).is_some() {
            errors += 1;
        }
        line.clear();
    }
    errors
}

/// Writes a day that ends just before `now`; every 300th line is an error. Returns the number of lines.
fn write(path: &Path, now: Timestamp, lines: u64) -> u64 {
    let messages = ["order accepted", "cart updated", "payment authorized", "session renewed", "cache refreshed"];
    let begin = now.checked_sub(SignedDuration::from_secs(DAY_SECONDS as i64)).unwrap();
    let mut out = BufWriter::with_capacity(256 * 1024, File::create(path).unwrap());
    for number in 0..lines {
        let at = SignedDuration::from_millis((number * DAY_SECONDS * 1_000 / lines) as i64);
        let at = begin.checked_add(at).unwrap().strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
        let scattered = number.wrapping_mul(2_654_435_761) % 1_000_003;
        let (level, message) = match number % 300 {
            7 => ("error", "upstream payments answered 502 after retries"),
            _ => ("info", messages[(scattered % 5) as usize]),
        };
        writeln!(
            out,
            "{{\"ts\":\"{at}\",\"level\":\"{level}\",\"service\":\"checkout\",\"msg\":\"{message}\",\"customer\":\"c-{}\",\
             \"duration_ms\":{},\"path\":\"/api/cart/{scattered}/items\",\"trace\":\"{:016x}\"}}",
            scattered % 5_000,
            scattered % 900,
            number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        )
        .unwrap();
    }
    out.flush().unwrap();
    lines
}
