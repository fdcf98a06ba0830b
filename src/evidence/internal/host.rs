//! Kind `host`: what this host is short of, from its own /proc and its filesystems.
//!
//! Everything here is a file that the kernel makes up when it is read, so one look costs a few dozen of them. What a
//! kernel doesn't tell (pressure, where it is built without) is absent, and never zero.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::super::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::encode::{shell_word, terminal};
use crate::model::look::Look;
use crate::model::measure::{Measure, Type};
use crate::model::observation::{Observation, UnknownKind};
use crate::model::source::Diagnostic;
use crate::model::value::Measures;
use crate::yaml::{Node, Spanned};

mod clock;
mod disks;
mod kernel;

/// The most declared paths.
const PATHS: usize = 64;

/// What stands under `host:`.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Directories whose filesystems are looked at.
    paths: Option<Spanned<Vec<PathBuf>>>,
    /// Where the host's own `/` is, for a container that has it mounted.
    root: Option<Spanned<PathBuf>>,
}

/// This host.
#[derive(Debug)]
struct Host {
    paths: Vec<PathBuf>,
    root: PathBuf,
    chronyc: PathBuf,
}

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    let root = config.root.unwrap_or_else(|| Spanned { at: node.span.clone(), value: PathBuf::from("/") });
    let paths = config.paths.unwrap_or_else(|| Spanned { at: node.span.clone(), value: Vec::new() });
    let fits = |path: &Path| {
        path.is_absolute() && !path.components().any(|part| matches!(part, std::path::Component::ParentDir))
    };
    for (at, path) in std::iter::once((&root.at, &root.value)).chain(paths.value.iter().map(|path| (&paths.at, path))) {
        if !fits(path) {
            let shown = terminal(&path.to_string_lossy());
            return Err(Diagnostic::error(at.clone(), format!("`{shown}` is not an absolute path without `..`")));
        }
    }
    if paths.value.len() > PATHS {
        return Err(Diagnostic::error(paths.at, format!("more than {PATHS} paths")));
    }
    Ok(Arc::new(Host { paths: paths.value, root: root.value, chronyc: PathBuf::from(clock::CHRONYC) }))
}

impl Probe for Host {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(async {
            let started = Instant::now();
            let left = ask.deadline.saturating_duration_since(started);
            let deadline = ask.deadline - (left / 20).min(Duration::from_millis(100));
            let (paths, root) = (self.paths.clone(), self.root.clone());
            // A filesystem over a network may not answer; only its own thread waits for it.
            let told = tokio::task::spawn_blocking(move || tell(&root, &paths));
            let (told, clock) = tokio::join!(
                tokio::time::timeout_at(deadline, told),
                // In a container the program is the container's and not the host's.
                async { if self.root == Path::new("/") { clock::offset(&self.chronyc, deadline).await } else { None } }
            );
            let mut observation = match told {
                Ok(Ok(observation)) => observation,
                Ok(Err(_)) => Observation::blind(UnknownKind::Panicked, "reading this host failed"),
                Err(_) => Observation::blind(UnknownKind::TimedOut, "a filesystem of this host does not answer"),
            };
            if let Some(offset) = clock {
                observation.measures.set("clock_offset_seconds", offset);
            }
            observation.reproduce(self.by_hand()).took(started.elapsed())
        })
    }

    fn system(&self) -> String {
        match self.root == Path::new("/") {
            true => "this host".to_owned(),
            false => format!("the host under {}", self.root.display()),
        }
    }
}

impl Host {
    fn by_hand(&self) -> String {
        let paths: String = self.paths.iter().map(|path| format!(" {}", shell_word(&path.to_string_lossy()))).collect();
        let proc = |name: &str| shell_word(&self.root.join("proc").join(name).to_string_lossy());
        format!(
            "df -P{paths}; df -iP{paths}; head -n 99 {} {}/* {}; free -m",
            proc("loadavg"),
            proc("pressure"),
            proc("sys/fs/file-nr")
        )
    }
}

/// Reads it all, blocking.
fn tell(root: &Path, paths: &[PathBuf]) -> Observation {
    let mut measures = Measures::new();
    let mut notes = kernel::tell(&root.join("proc"), &mut measures);
    if measures.is_empty() {
        let why = format!("{} is not there or can't be read", root.join("proc").display());
        return Observation::blind(UnknownKind::Refused, terminal(&why));
    }
    let found = match paths.is_empty() {
        true => disks::mounted(root),
        false => Ok(paths.to_vec()),
    };
    let mut excerpt = String::new();
    match found.and_then(|paths| disks::look(root, &paths)) {
        Ok(disks) => {
            excerpt = disks::excerpt(&disks);
            disks::tell(&disks, &mut measures);
        }
        Err(why) => notes.push(terminal(&why)),
    }
    let mut observation = Observation::answered(measures).excerpt(excerpt);
    observation.notes = notes;
    observation
}

/// The host that this runs on.
pub static KIND: Kind = Kind {
    name: "host",
    look: Look::Internal,
    summary: "what this host is short of: space, inodes, memory, file descriptors, time on its processors",
    docs: "\
Reads /proc and the filesystems of the host that Houston runs on; no other host can be asked this way.

`…_pressure_ratio` is the share of the last minute in which some work had to wait for the processors, for memory, or for
a disk, `…_stall_ratio` that in which all of it had to (the kernel's PSI). Of the filesystems `disk_free_ratio` and
`inodes_free_ratio` tell the fullest, `disks` each. Without `paths` these are all that lie on a device of this host and
can be written; a filesystem over a network is looked at where it is named. The offset of the clock is what chrony says
of it.

Bad: whatever the expectations forbid.
Unknown: /proc can't be read, or a filesystem doesn't answer. What a kernel doesn't tell is absent: pressure where it is
built without PSI, the clock's offset without chrony (package chrony), free space where a named path isn't there; an
expectation of what is absent is unknown.

Parameters can't stand here.",
    keys: &[
        Key {
            name: "paths",
            takes: "list of absolute paths",
            default: Some("every writable filesystem on a device of this host"),
            meaning: "directories whose filesystems are looked at",
        },
        Key {
            name: "root",
            takes: "absolute path",
            default: Some("/"),
            meaning: "where the host's own / is, for a container that has it mounted: /host",
        },
    ],
    measures: MEASURES,
    default_expect: &[
        "disk_free_ratio > 0.03",
        "inodes_free_ratio > 0.03",
        "memory_available_ratio > 0.03",
        "files_open_ratio < 0.95",
    ],
    headline: &["disk_free_ratio", "memory_available_ratio", "load_per_cpu"],
    sees: Sees::Now,
    attempts: 1,
    example: "internal/host.yaml",
    example_text: include_str!("../../../checks.d/internal/host.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

const fn number(name: &'static str, unit: &'static str, meaning: &'static str) -> Measure {
    Measure { name, kind: Type::Number, unit, meaning }
}

const MEASURES: &[Measure] = &[
    number("load_1m", "tasks", "tasks that run or wait, on average over a minute"),
    number("load_5m", "tasks", "the same over five minutes"),
    number("load_15m", "tasks", "the same over fifteen minutes"),
    number("load_per_cpu", "tasks per processor", "the load of a minute by the number of processors"),
    number("cpus", "count", "processors that are switched on"),
    number("memory_available_ratio", "ratio 0–1", "memory that can be had without swapping, of all"),
    number("memory_available_bytes", "bytes", "the same in bytes"),
    number("swap_used_ratio", "ratio 0–1", "swap in use; absent where there is none"),
    number("cpu_pressure_ratio", "ratio 0–1", "share of the last minute in which some task waited for a processor"),
    number("memory_pressure_ratio", "ratio 0–1", "… in which some task waited for memory"),
    number("memory_stall_ratio", "ratio 0–1", "… in which every task waited for memory"),
    number("io_pressure_ratio", "ratio 0–1", "… in which some task waited for a disk"),
    number("io_stall_ratio", "ratio 0–1", "… in which every task waited for a disk"),
    number("disk_free_ratio", "ratio 0–1", "space that users may still fill, on the fullest filesystem"),
    number("disk_free_bytes", "bytes", "the least space that is left on any filesystem"),
    number(
        "inodes_free_ratio",
        "ratio 0–1",
        "inodes left on the filesystem with the smallest share; 1 where their number isn't fixed",
    ),
    Measure {
        name: "disks",
        kind: Type::Map,
        unit: "ratio 0–1, bytes",
        meaning: "each path: free_ratio, free_bytes, inodes_free_ratio, read_only",
    },
    number("files_open", "count", "open file descriptors of all processes"),
    number("files_open_ratio", "ratio 0–1", "the same of the most that the kernel allows"),
    number("uptime_seconds", "seconds", "since the host was started"),
    number("clock_offset_seconds", "seconds", "how far the clock is ahead of chrony's sources; below zero: behind"),
];

#[cfg(test)]
mod tests;
