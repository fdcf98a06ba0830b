//! Rate, errors and quantiles of an access log beside mawk, which computes the same, and mtail, which counts into buckets.
//!
//! Goals: at least 8 times as fast as mawk, and 75 times as mtail.
//!
//! `cargo bench --bench access_peers` takes 24 MiB, `HOUSTON_BENCH_FULL=1` as much as one look may read.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a bench tells people what it measured")]
#![allow(clippy::exit, clippy::disallowed_methods, reason = "a bench starts its peers, and reads its size")]

use std::path::Path;
use std::process::Command;

use houston::evidence::traffic::access_log::{AccessLog, Config};

mod beside;
mod day;

use beside::{by_turns, debian, said, tell, work};

/// Quantiles are exact: the log's durations are whole milliseconds.
const AWK: &str = r#"
{ n++; bytes += $10; if ($9 >= 500) errors++; else if ($9 >= 400) client++; took[int($NF * 1000 + 0.5)]++ }
function quantile(q,  want, seen, ms) {
    want = q * n
    for (ms = 0; ms < 3600000; ms++) { seen += took[ms]; if (seen >= want) return ms }
}
END { print n, errors + 0, quantile(0.5), quantile(0.95), quantile(0.99) }
"#;

const MTAIL: &str = r#"
counter requests
counter errors
counter bytes_sent
histogram seconds buckets 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 10
/^\S+ \S+ \S+ \[[^\]]+\] "\S+ \S+ \S+" (?P<status>\d{3}) (?P<bytes>\d+) "[^"]*" "[^"]*" (?P<took>\d+\.\d+)$/ {
    requests++
    bytes_sent += $bytes
    seconds = $took
    $status >= 500 {
        errors++
    }
}
"#;

fn main() {
    let (mawk, mtail) = (debian("mawk", "mawk"), debian("mtail", "mtail"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let programs = folder.path().join("programs");
    std::fs::create_dir(&programs).unwrap();
    std::fs::write(programs.join("access.mtail"), MTAIL).unwrap();
    let mebibytes: u64 = if beside::full() { 200 } else { 24 };
    day::write_access_log(&path, mebibytes << 20);

    let mut works = [
        work("the access_log kind", 5, || ours(&path)),
        work("mawk", 1, || with_mawk(&path, &mawk)),
        work("mtail", 1, || with_mtail(&path, &programs, &mtail)),
    ];
    let costs = by_turns(if beside::full() { 5 } else { 3 }, &mut works, || ());
    println!("requests, errors, bytes and quantiles of {mebibytes} MiB of an access log, all of it");
    tell(&works, &costs, 1);
    let requests = costs[0].1;
    println!("ours: {:.2} million requests a CPU-second", requests as f64 / costs[0].0.cpu / 1e6);
    assert!(costs.iter().all(|(_, counted)| *counted == requests), "all count the same");
}

fn ours(path: &Path) -> u64 {
    let config = Config { paths: vec![path.display().to_string()], ..Config::default() };
    let seen = AccessLog::new(config, None).unwrap().look(&day::question(day::whole()));
    assert!(seen.measures.number("p99_seconds").is_some());
    seen.measures.number("requests").unwrap_or_else(|| panic!("{:?}", seen.seen)) as u64
}

fn with_mawk(path: &Path, mawk: &Path) -> u64 {
    let said = said(Command::new(mawk).arg(AWK).arg(path));
    said.split(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("mawk says {said:?}"))
}

fn with_mtail(path: &Path, programs: &Path, mtail: &Path) -> u64 {
    let mut command = Command::new(mtail);
    command.args(["-one_shot", "-one_shot_format", "prometheus", "-logtostderr"]).env("GOMAXPROCS", "1");
    let said = said(command.arg("-progs").arg(programs).arg("-logs").arg(path));
    let counted = said.lines().find_map(|line| line.strip_prefix("requests{")?.rsplit_once(' ')?.1.parse::<f64>().ok());
    counted.unwrap_or_else(|| panic!("mtail says {said:?}")) as u64
}
