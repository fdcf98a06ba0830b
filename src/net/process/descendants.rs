//! Who descends from a program that was started here, seen in `/proc`, and their end.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal};

/// The environment variable by which descendants are known; they inherit it.
pub(super) const VARIABLE: &str = "HOUSTON_RUN";

/// How descendants of one program are recognised.
#[derive(Debug, Clone)]
pub(super) struct Marks {
    root: Pid,
    /// When it started, in ticks since boot: whatever is older can't descend from it.
    since: u64,
    variable: Vec<u8>,
    directory: PathBuf,
}

#[derive(Debug, Clone, Copy)]
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    session: i32,
    started: u64,
    zombie: bool,
}

impl Marks {
    pub fn new(root: Pid, mark: String, directory: PathBuf) -> Self {
        let since = process(root.as_raw_nonzero().get()).map_or(0, |process| process.started);
        Marks { root, since, variable: format!("{VARIABLE}={mark}").into_bytes(), directory }
    }

    /// Kills all of them, again and again until a walk finds none: a fork may outrun a walk, but not all of them.
    /// Takes two seconds at the most.
    pub fn kill_all(&self) {
        let end = Instant::now() + Duration::from_secs(2);
        loop {
            let living = self.living();
            if living.is_empty() || Instant::now() > end {
                return;
            }
            for process in living {
                kill(process);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What all of them hold together, in bytes: memory of their own, and what they share through no file.
    pub fn memory(&self) -> u64 {
        let held = |process: &Process| {
            let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap_or_default();
            let lines = status.lines().filter(|line| line.starts_with("RssAnon:") || line.starts_with("RssShmem:"));
            lines.filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()).sum::<u64>() * 1024
        };
        self.living().iter().map(held).sum()
    }

    fn living(&self) -> Vec<Process> {
        let table = table();
        let root = self.root.as_raw_nonzero().get();
        // Once the program's exit was taken, its number may be another program's.
        let holder = table.iter().find(|process| process.pid == root);
        let reused = holder.is_some_and(|process| process.started != self.since);
        let mut family = BTreeSet::new();
        if holder.is_some() && !reused {
            family.insert(root);
        }
        loop {
            let before = family.len();
            for process in table.iter().filter(|process| process.started >= self.since) {
                if !family.contains(&process.pid)
                    && (family.contains(&process.parent)
                        || (!reused && (process.group == root || process.session == root))
                        || self.is_marked(process.pid))
                {
                    family.insert(process.pid);
                }
            }
            if family.len() == before {
                break;
            }
        }
        table
            .into_iter()
            .filter(|process| family.contains(&process.pid) && !process.zombie && process.started >= self.since)
            .collect()
    }

    fn is_marked(&self, pid: i32) -> bool {
        // Other users' processes can't be read; what was started without new privileges is never one of theirs.
        fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&self.directory))
            || fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.split(|&byte| byte == 0).any(|variable| variable == self.variable))
    }
}

/// Signals exactly this process, even where its number has been given to another one meanwhile.
fn kill(process: Process) {
    let Some(pid) = Pid::from_raw(process.pid) else { return };
    let Ok(handle) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return };
    if self::process(process.pid).is_some_and(|now| now.started == process.started) {
        let _ = rustix::process::pidfd_send_signal(handle, Signal::KILL);
    }
}

fn table() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut table: Vec<Process> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(process).collect();
    table.sort_by_key(|process| process.started);
    table
}

/// One line of the process table (proc(5), `/proc/pid/stat`).
fn process(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name stands in parentheses and may hold any character, parentheses included.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let mut number = || fields.next()?.parse::<i64>().ok();
    let (parent, group, session) = (number()?, number()?, number()?);
    let started = fields.nth(15)?.parse().ok()?;
    Some(Process {
        pid,
        parent: parent as i32,
        group: group as i32,
        session: session as i32,
        started,
        zombie: matches!(state, "Z" | "X"),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;

    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)] // a bare child, not a run with its bounds
    fn a_line_of_the_process_table_is_read() {
        // A child, not ourselves: our own parent and session may be outside of what a container lets us see.
        let mut child = std::process::Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
        let line = process(child.id() as i32);
        let listed = table().iter().any(|process| process.pid == child.id() as i32);
        let running = process(std::process::id() as i32);
        child.kill().unwrap();
        let zombie = loop {
            match process(child.id() as i32) {
                Some(process) if !process.zombie => std::thread::yield_now(),
                over => break over,
            }
        };
        child.wait().unwrap();
        let line = line.unwrap();
        assert_eq!(line.parent, std::process::id() as i32);
        assert_eq!(line.group, child.id() as i32);
        assert_eq!(line.session, running.unwrap().session);
        assert!(!line.zombie && line.started >= running.unwrap().started);
        assert!(zombie.unwrap().zombie);
        assert!(listed);
    }
}
