//! Loading 10,000 checks in 1,000 files, as a start or a reload does it.
//!
//! Goals: at most 0.7 CPU-seconds and 60 MiB for the whole; a reload without a change far below that.
//! Before the repeated measurements one load is taken by itself, with its CPU time and the memory it leaves.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // a bench prints, and stops where its setting up fails

use std::path::Path;
use std::sync::Arc;

use houston::checks::Library;
use houston::evidence;

const FILES: usize = 1_000;
const CHECKS_A_FILE: usize = 10;

/// A small seeded generator of numbers (Knuth's MMIX constants): every run measures the same files.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A check of one of the kinds that are registered, as people write them: few distinct expectations, much repeated.
fn check(kind: &str, name: &str, service: &str, random: &mut Seeded) -> String {
    let limit = ["0.5", "0.8", "1.0", "2.5"][random.below(4) as usize];
    let ratio = ["0.01", "0.02", "0.05"][random.below(3) as usize];
    let host = random.below(5_000);
    match kind {
        "http" => format!(
            "  - name: {name}\n    http: {{ url: \"https://{service}-{host}.example.com/health\" }}\n    expect:\n      \
             - status == 200\n      - duration_seconds < {limit}\n      \
             - {{ that: certificate_expiry_days > 14, else: odd, note: renew with the runbook }}\n"
        ),
        "prometheus" => format!(
            "  - name: {name}\n    prometheus:\n      url: http://prometheus:9090\n      query: >-\n        \
             sum(rate(http_requests_total{{job=\"{service}\",code=~\"5..\"}}[5m])) /\n        \
             sum(rate(http_requests_total{{job=\"{service}\"}}[5m]))\n    expect: [ \"value < {ratio}\" ]\n"
        ),
        "log_file" => format!(
            "  - name: {name}\n    log_file: {{ paths: [/var/log/{service}/{host}/*.log], match: \"ERROR|panic\" }}\n    \
             expect: [ \"usual(matches_per_second)\", \"new_error_templates == 0\" ]\n    every: 1m\n"
        ),
        "access_log" => format!(
            "  - name: {name}\n    access_log: {{ paths: [/var/log/nginx/{service}-{host}.log] }}\n    \
             expect: [ \"usual(requests_per_second)\", \"error_ratio < {ratio}\" ]\n    labels: {{ tier: gold }}\n"
        ),
        _ => format!(
            "  - name: {name}\n    class: strong\n    params:\n      account: {{ from: ticket.customer, pattern: \
             '[a-z0-9-]{{3,32}}', default: synthetic-1 }}\n    control: synthetic\n    journey:\n      \
             - post: \"https://{service}.example.com/api/cart\"\n        json: {{ account: \"{{{{ account }}}}\" }}\n        \
             expect: [ status == 201 ]\n        capture: {{ cart: json.id }}\n      \
             - delete: \"https://{service}.example.com/api/cart/{{{{ cart }}}}\"\n        always: true\n"
        ),
    }
}

fn write_files(folder: &Path) -> std::io::Result<()> {
    let mut random = Seeded(42);
    // Mostly the cheap kinds, some journeys, as in a real tree.
    let mix = ["http", "prometheus", "http", "log_file", "prometheus", "access_log", "http", "prometheus", "journey"];
    let kinds: Vec<&str> = mix.into_iter().filter(|name| evidence::kind(name).is_some()).collect();
    for file in 0..FILES {
        let service = format!("service-{}", file % 300);
        let mut text =
            format!("service: {service}\nowner: team-{}\ndefaults: {{ timeout: 5s }}\n\nchecks:\n", file % 40);
        for number in 0..CHECKS_A_FILE {
            let kind = kinds[random.below(kinds.len() as u64) as usize];
            text.push_str(&check(kind, &format!("c-{file}-{number}"), &service, &mut random));
        }
        std::fs::write(folder.join(format!("{file:04}.yaml")), text)?;
    }
    Ok(())
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path()).unwrap();
    folder
}

fn library(folder: &Path) -> Library {
    let mut library = Library::new(folder, evidence::KINDS, Arc::new(|_| Ok(())));
    let (set, diagnostics) = library.reload();
    assert_eq!(set.checks.len(), FILES * CHECKS_A_FILE, "{:?}", diagnostics.first());
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
    let files = folder();
    let (cpu, memory, _) = usage();
    let first = library(files.path());
    let (cpu_after, memory_after, peak) = usage();
    println!(
        "{} checks in {FILES} files: {:.2} CPU-s, {:.1} MiB more than before, {:.1} MiB at the peak",
        first.set().checks.len(),
        (cpu_after - cpu) as f64 / 100.0,
        memory_after.saturating_sub(memory) as f64 / 1024.0,
        peak as f64 / 1024.0,
    );
    drop(first);
    divan::main();
}

/// All files new.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn load(bencher: divan::Bencher<'_, '_>) {
    let files = folder();
    bencher.bench_local(|| library(files.path()));
}

/// Nothing has changed: what the rescan every 30 s costs.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn reload_without_a_change(bencher: divan::Bencher<'_, '_>) {
    let files = folder();
    let mut library = library(files.path());
    bencher.bench_local(|| library.reload().0.generation);
}

/// One file of many has changed.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn reload_of_one_changed_file(bencher: divan::Bencher<'_, '_>) {
    let files = folder();
    let mut library = library(files.path());
    let path = files.path().join("0500.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut turn = 0;
    bencher.bench_local(|| {
        turn += 1;
        std::fs::write(&path, format!("{text}# {turn}\n")).unwrap();
        library.reload().0.generation
    });
}
