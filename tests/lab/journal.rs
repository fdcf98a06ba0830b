//! Real journal files, made from an export stream by systemd-journal-remote.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::program;

/// What goes into a journal.
#[derive(Debug, Default)]
pub struct Export {
    /// By their times; a journal is written in their order.
    entries: Vec<(i64, Vec<u8>)>,
}

impl Export {
    /// An entry of a unit, at this time (microseconds since 1970).
    pub fn entry(&mut self, at: i64, unit: &str, priority: u8, message: &[u8], more: &[(&str, &str)]) {
        let mut head = String::new();
        // The host was booted on the first day of 2026: both clocks go on together.
        let running = at - 1_767_225_600_000_000;
        writeln!(head, "__REALTIME_TIMESTAMP={at}\n__MONOTONIC_TIMESTAMP={running}").unwrap();
        writeln!(head, "_BOOT_ID=0123456789abcdef0123456789abcdef\n_MACHINE_ID=0123456789abcdef0123456789abcde0")
            .unwrap();
        writeln!(head, "_HOSTNAME=web1\n_SYSTEMD_UNIT={unit}\nPRIORITY={priority}").unwrap();
        for (name, value) in more {
            writeln!(head, "{name}={value}").unwrap();
        }
        let length = (message.len() as u64).to_le_bytes();
        self.entries.push((at, [head.as_bytes(), b"MESSAGE\n", &length, message, b"\n\n"].concat()));
    }

    /// Writes it into a journal file of this name, which must end in `.journal`.
    pub fn write(&self, directory: &Path, name: &str) -> PathBuf {
        let (export, file) = (directory.join("export"), directory.join(name));
        let mut entries: Vec<&(i64, Vec<u8>)> = self.entries.iter().collect();
        entries.sort_by_key(|(at, _)| *at);
        let bytes: Vec<u8> = entries.into_iter().flat_map(|(_, entry)| entry.iter().copied()).collect();
        std::fs::write(&export, bytes).unwrap();
        #[allow(clippy::disallowed_methods)] // the lab prepares its files
        let output = Command::new(program("systemd-journal-remote")).arg("-o").args([&file, &export]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::remove_file(export).unwrap();
        file
    }
}
