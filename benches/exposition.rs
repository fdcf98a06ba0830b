//! Reading a metrics page of 50,000 series: our strict parser beside `prometheus-parse`, in the same run.
//!
//! Both parse the same page by turns; the best of the rounds counts, in CPU time of the thread where the system tells
//! it. The last line is the ratio. `cargo bench --bench exposition`
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use houston::net::exposition::{Format, Limits, read};

const SERIES: usize = 50_000;
const ROUNDS: usize = 15;

fn main() {
    let page = page(SERIES);
    let megabytes = page.len() as f64 / 1e6;
    println!("{SERIES} series, {megabytes:.1} MB, best of {ROUNDS} rounds");

    // What each of them makes of the page, so that the speeds compare the same work.
    let ours = read(page.as_bytes(), Format::Text, Limits::default()).expect("the page is right");
    assert_eq!(ours.samples.len(), SERIES);
    let peers = peer(&page);
    println!("samples: ours {}, prometheus-parse {}", ours.samples.len(), peers);

    let (mut best_ours, mut best_peer) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        best_ours = best_ours.min(cpu(|| {
            let page = read(black_box(page.as_bytes()), Format::Text, Limits::default()).expect("the page is right");
            black_box(page.samples.len());
        }));
        best_peer = best_peer.min(cpu(|| {
            black_box(peer(black_box(&page)));
        }));
    }
    let rate = |time: Duration| megabytes / time.as_secs_f64();
    println!("ours              {:>8.2} ms CPU  {:>7.0} MB/s", best_ours.as_secs_f64() * 1e3, rate(best_ours));
    println!("prometheus-parse  {:>8.2} ms CPU  {:>7.0} MB/s", best_peer.as_secs_f64() * 1e3, rate(best_peer));
    let ratio = best_peer.as_secs_f64() / best_ours.as_secs_f64();
    println!(
        "ratio             {ratio:>8.1} x   goal 4 x; ours {:.2} of the goal of 20 ms",
        best_ours.as_secs_f64() / 0.020
    );
}

fn peer(page: &str) -> usize {
    let lines = page.lines().map(|line| Ok(line.to_owned()));
    prometheus_parse::Scrape::parse(lines).map(|scrape| scrape.samples.len()).unwrap_or_default()
}

/// CPU time that the thread spent in `work`; wall time where there is no `/proc`.
fn cpu(work: impl FnOnce()) -> Duration {
    let spent = || {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    };
    let (wall, before) = (Instant::now(), spent());
    work();
    match (before, spent()) {
        (Some(before), Some(after)) if after > before => after - before,
        _ => wall.elapsed(),
    }
}

/// A page as a busy service writes it: half counters, a sixth gauges, a third histograms of ten buckets.
fn page(series: usize) -> String {
    let mut out = String::new();
    let mut written = 0;
    let mut family = 0;
    while written < series {
        let rows = 50.min(series - written);
        let (kind, ending) = match family % 6 {
            0..3 => ("counter", "_total"),
            3 => ("gauge", ""),
            _ => ("histogram", "_bucket"),
        };
        let name = format!("shop_backend_requests_{family}");
        let declared = if kind == "counter" { format!("{name}_total") } else { name.clone() };
        writeln!(out, "# HELP {declared} What the shop counted under number {family}.\n# TYPE {declared} {kind}")
            .unwrap();
        for row in 0..rows {
            let le = if kind == "histogram" {
                let bound = if row % 10 == 9 { "+Inf".to_owned() } else { format!("{}", (row % 10) as f64 * 0.25) };
                format!(",le=\"{bound}\"")
            } else {
                String::new()
            };
            let value = (row * 7919 + family * 104_729) as f64 / if row % 3 == 0 { 1.0 } else { 97.0 };
            writeln!(
                out,
                "{name}{ending}{{instance=\"10.0.{}.{}:8080\",method=\"GET\",code=\"{}\"{le}}} {value}",
                row % 7,
                row / 10,
                200 + row % 5
            )
            .unwrap();
        }
        written += rows;
        family += 1;
    }
    out
}
