//! Logs of a world, written from a short description, with times relative to now.

use std::io::{BufWriter, Write as _};
use std::path::Path;

use jiff::Timestamp;
use serde::Deserialize;

use super::case::duration;

/// One log file. A case's own lines stand in place of the healthy ones; what it adds stands beside them.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The file isn't there at all.
    missing: bool,
    /// The file is there and empty.
    empty: bool,
    lines: Vec<Lines>,
    add: Vec<Lines>,
}

/// Lines at even distances over a span, its texts in turn.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lines {
    /// How long ago the first is.
    from: String,
    /// How long ago the last may be.
    #[serde(default = "just_now")]
    to: String,
    every: String,
    /// `$time`, `$clf` (as web servers write it) and `$n` (a running number) are filled in.
    texts: Vec<String>,
}

fn just_now() -> String {
    "0s".to_owned()
}

impl Log {
    /// Takes over in what another differs.
    pub fn differ(&mut self, other: Log) {
        self.missing |= other.missing;
        self.empty |= other.empty;
        if !other.lines.is_empty() {
            self.lines = other.lines;
        }
        self.add.extend(other.add);
    }

    pub fn write(&self, path: &Path, now: Timestamp) {
        if self.missing {
            return;
        }
        let mut lines: Vec<(Timestamp, String)> = Vec::new();
        for some in self.lines.iter().chain(&self.add).filter(|_| !self.empty) {
            let (from, to, every) = (duration(&some.from), duration(&some.to), duration(&some.every));
            assert!(every.is_positive() && !some.texts.is_empty(), "{}: lines without end", path.display());
            let (mut at, last) = (now.checked_sub(from).unwrap(), now.checked_sub(to).unwrap());
            let mut number = 0;
            while at <= last {
                let text = &some.texts[number % some.texts.len()];
                let mut text = text.replace("$n", &number.to_string());
                for (word, form) in [("$time", "%Y-%m-%dT%H:%M:%S%.3fZ"), ("$clf", "%d/%b/%Y:%H:%M:%S +0000")] {
                    if text.contains(word) {
                        text = text.replace(word, &at.strftime(form).to_string());
                    }
                }
                lines.push((at, text));
                number += 1;
                at = at.checked_add(every).unwrap();
            }
        }
        lines.sort_by_key(|(at, _)| *at);
        let mut file = BufWriter::new(std::fs::File::create(path).unwrap());
        for (_, text) in &lines {
            writeln!(file, "{text}").unwrap();
        }
        let file = file.into_inner().unwrap();
        // A log is as old as its last line.
        if let Some((last, _)) = lines.last() {
            file.set_modified(std::time::SystemTime::from(*last)).unwrap();
        }
    }
}
