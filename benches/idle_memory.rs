//! The memory of a daemon with 1,000 checks that has nothing to do. Goal: below 64 MiB.
//!
//! It starts the real program, `houston serve`, with 1,000 checks in 100 files, waits until it listens and its memory
//! has settled, and reads what the kernel says of it (`/proc/PID/smaps_rollup`; Linux only). RSS counts every page that
//! it has mapped in, PSS its share of those that others have too, "private" what nobody else has.
//!
//! `cargo bench --bench idle_memory`; `HOUSTON_BENCH_FULL=1` waits for the first rescan of the files (30 s) as well.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a bench tells people what it measured")]
#![allow(clippy::disallowed_methods, reason = "a bench starts the program that it measures")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

mod definitions;

const FILES: usize = 100;
const CHECKS_A_FILE: usize = 10;
const GOAL_MIB: f64 = 64.0;

/// Ends with this process.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the kernel says, in MiB.
#[derive(Debug, Clone, Copy)]
struct Memory {
    resident: f64,
    proportional: f64,
    private: f64,
    peak: f64,
}

fn memory(id: u32) -> Memory {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{id}/{file}")).unwrap_or_default();
    let (rollup, status) = (read("smaps_rollup"), read("status"));
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
        value.unwrap_or_else(|| panic!("the system doesn't tell {name} of a process")) / 1024.0
    };
    Memory {
        resident: field(&rollup, "Rss:"),
        proportional: field(&rollup, "Pss:"),
        private: field(&rollup, "Private_Clean:") + field(&rollup, "Private_Dirty:"),
        peak: field(&status, "VmHWM:"),
    }
}

/// Waits until it has not changed for three seconds.
fn settled(id: u32) -> Memory {
    let mut last = memory(id);
    let mut quiet = 0;
    for _ in 0..60 {
        std::thread::sleep(Duration::from_secs(1));
        let now = memory(id);
        quiet = if (now.resident - last.resident).abs() < 0.1 { quiet + 1 } else { 0 };
        last = now;
        if quiet == 3 {
            break;
        }
    }
    last
}

fn main() {
    let place = tempfile::tempdir().unwrap();
    let (checks, state) = (place.path().join("checks.d"), place.path().join("state"));
    std::fs::create_dir(&checks).unwrap();
    definitions::write(&checks, FILES, CHECKS_A_FILE).unwrap();
    let mut daemon = Running(
        Command::new(env!("CARGO_BIN_EXE_houston"))
            .current_dir(place.path())
            .args(["serve", "--listen", "127.0.0.1:0", "--checks"])
            .arg(&checks)
            .arg("--state")
            .arg(&state)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut lines = BufReader::new(daemon.0.stdout.take().unwrap()).lines();
    let listens = lines.any(|line| line.unwrap().starts_with("houston listens on"));
    assert!(listens, "the daemon ended before it listened");

    let id = daemon.0.id();
    let show = |when: &str, seen: Memory| {
        println!(
            "{when:24} RSS {:.1} MiB   PSS {:.1} MiB   private {:.1} MiB   peak {:.1} MiB   {:.2} of the goal of {GOAL_MIB} MiB",
            seen.resident,
            seen.proportional,
            seen.private,
            seen.peak,
            seen.resident / GOAL_MIB,
        );
    };
    println!("{} checks in {FILES} files", FILES * CHECKS_A_FILE);
    show("settled", settled(id));
    if std::env::var_os("HOUSTON_BENCH_FULL").is_some() {
        std::thread::sleep(Duration::from_secs(33));
        show("after the first rescan", settled(id));
    }
}
