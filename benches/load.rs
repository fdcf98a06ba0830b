//! Loading 10,000 checks in 1,000 files, as a start or a reload does it.
//!
//! Goals: at most 0.7 CPU-seconds and 60 MiB for the whole; a reload without a change far below that.
//! `cargo bench --bench load` takes a tenth of it, `HOUSTON_BENCH_FULL=1` the whole.
//!
//! Before the repeated measurements one load is taken by itself, with its CPU time and the memory it leaves.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // a bench prints, and stops where its setting up fails
#![allow(clippy::disallowed_methods, reason = "how much is measured is chosen by the environment")]

use std::path::Path;
use std::sync::Arc;

use houston::checks::Library;
use houston::evidence;

mod definitions;

const CHECKS_A_FILE: usize = 10;

/// How many files: a tenth of the whole unless the whole is asked for.
fn files() -> usize {
    if std::env::var_os("HOUSTON_BENCH_FULL").is_some() { 1_000 } else { 100 }
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    definitions::write(folder.path(), files(), CHECKS_A_FILE).unwrap();
    folder
}

fn library(folder: &Path) -> Library {
    let mut library = Library::new(folder, evidence::KINDS, Arc::new(|_| Ok(())));
    let (set, diagnostics) = library.reload();
    assert_eq!(set.checks.len(), files() * CHECKS_A_FILE, "{:?}", diagnostics.first());
    library
}

/// CPU time of this process in hundredths of a second, and its memory now and at most in KiB.
fn usage() -> (u64, u64, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<u64> =
        stat.rsplit(')').next().unwrap_or("").split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or("");
        line.split_whitespace().nth(1).and_then(|value| value.parse().ok()).unwrap_or(0)
    };
    (fields.get(11).unwrap_or(&0) + fields.get(12).unwrap_or(&0), kib("VmRSS"), kib("VmHWM"))
}

fn main() {
    let place = folder();
    let (cpu, memory, _) = usage();
    let first = library(place.path());
    let (cpu_after, memory_after, peak) = usage();
    // The goals are those of the whole; a tenth has a tenth of the time.
    let share = files() as f64 / 1_000.0;
    let (cpu, memory) = ((cpu_after - cpu) as f64 / 100.0, memory_after.saturating_sub(memory) as f64 / 1024.0);
    println!(
        "{} checks in {} files: {cpu:.2} CPU-s ({:.2} of the goal), {memory:.1} MiB more than before, {:.1} MiB at the \
         peak ({:.2} of the goal)",
        first.set().checks.len(),
        files(),
        cpu / (0.7 * share),
        peak as f64 / 1024.0,
        peak as f64 / 1024.0 / 60.0,
    );
    drop(first);
    divan::main();
}

/// All files new.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn load(bencher: divan::Bencher<'_, '_>) {
    let place = folder();
    bencher.bench_local(|| library(place.path()));
}

/// Nothing has changed: what the rescan every 30 s costs.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn reload_without_a_change(bencher: divan::Bencher<'_, '_>) {
    let place = folder();
    let mut library = library(place.path());
    bencher.bench_local(|| library.reload().0.generation);
}

/// One file of many has changed.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn reload_of_one_changed_file(bencher: divan::Bencher<'_, '_>) {
    let place = folder();
    let mut library = library(place.path());
    let path = place.path().join("0050.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut turn = 0;
    bencher.bench_local(|| {
        turn += 1;
        std::fs::write(&path, format!("{text}# {turn}\n")).unwrap();
        library.reload().0.generation
    });
}
