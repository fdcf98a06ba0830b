//! What the sampler costs: the CPU time and the memory of a daemon that looks at 1,000 checks a minute in the background.
//! Goal, for 10,000 checks a minute on two cores: below one core, and 256 MiB.
//!
//! It starts the real program, `houston serve`, with checks of `every: 1m` on pages of a small server in this process,
//! each on a connection of its own, and reads what the kernel says of the daemon over a minute of the steady state.
//!
//! `cargo bench --bench sampler`: 1,000 checks; `HOUSTON_BENCH_FULL=1`: 10,000 as well.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a bench tells people what it measured")]
#![allow(clippy::disallowed_methods, reason = "a bench starts the program that it measures")]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Measured over so long, after as long of warming up: each check has had a turn by then.
const MINUTE: Duration = Duration::from_secs(60);

/// Ends with this process.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server that answers every request with a small page; returns its port and the count of its answers.
fn server() -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&answers);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0_u8; 4_096];
            let mut held = 0;
            while !head[..held].ends_with(b"\r\n\r\n") {
                match stream.read(&mut head[held..]) {
                    Ok(read) if read > 0 => held += read,
                    _ => break,
                }
            }
            let page = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nwell";
            if stream.write_all(page).is_ok() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    (port, answers)
}

/// CPU seconds that the process has used.
fn cpu(id: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    let said = Command::new("getconf").arg("CLK_TCK").output().unwrap();
    ticks / String::from_utf8(said.stdout).unwrap().trim().parse::<f64>().unwrap()
}

/// MiB: at this moment, and at the most.
fn memory(id: u32) -> (f64, f64) {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    };
    (field("VmRSS:"), field("VmHWM:"))
}

fn measure(checks: usize) {
    let (port, answers) = server();
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("checks.d");
    std::fs::create_dir(&folder).unwrap();
    for file in 0..checks / 100 {
        let mut text = "service: shop\ndefaults: { every: 1m }\nchecks:\n".to_owned();
        for n in 0..100 {
            writeln!(
                text,
                "  - {{ name: page-{file}-{n}, http: {{ url: 'http://127.0.0.1:{port}/{file}/{n}' }}, expect: [status == 200] }}"
            )
            .unwrap();
        }
        std::fs::write(folder.join(format!("{file}.yaml")), text).unwrap();
    }
    let budget = format!("budgets: {{ hosts: {{ '127.0.0.1:{port}': {{ concurrent: 64, per_second: 1000 }} }} }}\n");
    std::fs::write(place.path().join("houston.yaml"), budget).unwrap();
    let mut daemon = Running(
        Command::new(env!("CARGO_BIN_EXE_houston"))
            .current_dir(place.path())
            .args(["serve", "--listen", "127.0.0.1:0", "--checks", "checks.d", "--state", "state"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let mut lines = BufReader::new(daemon.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("houston listens on")), "the daemon ended");
    let id = daemon.0.id();
    std::thread::sleep(MINUTE);
    let (before, answered, began) = (cpu(id), answers.load(Ordering::Relaxed), Instant::now());
    std::thread::sleep(MINUTE);
    let (used, took) = (cpu(id) - before, began.elapsed().as_secs_f64());
    let looks = answers.load(Ordering::Relaxed) - answered;
    let (resident, peak) = memory(id);
    let history = std::fs::metadata(place.path().join("state/history.db")).map_or(0, |file| file.len())
        + std::fs::metadata(place.path().join("state/history.db-wal")).map_or(0, |file| file.len());
    println!(
        "{checks:>6} checks a minute: {looks} looks in {took:.0} s, {:.3} of a core ({:.3} CPU-s per 1,000 looks), \
         RSS {resident:.1} MiB, peak {peak:.1} MiB, history {:.1} MiB",
        used / took,
        used / looks as f64 * 1_000.0,
        history as f64 / 1_048_576.0
    );
}

fn main() {
    measure(1_000);
    if std::env::var_os("HOUSTON_BENCH_FULL").is_some() {
        measure(10_000);
    }
}
