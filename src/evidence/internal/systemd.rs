//! Kind `systemd`: a unit of this host, as the service manager itself sees it.
//!
//! `systemctl show` is asked, by the one path that it has: its output is for programs and has been stable for a decade
//! (<https://systemd.io/PORTABILITY_AND_STABILITY/>), and it finds the way to the manager by itself.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use tokio::time::Instant;

use super::super::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::encode::{shell_word, terminal};
use crate::model::look::Look;
use crate::model::measure::{Measure, Type};
use crate::model::observation::{Observation, Unknown, UnknownKind};
use crate::model::source::Diagnostic;
use crate::model::units::show_duration;
use crate::model::value::Measures;
use crate::net::process::{self, Bounds, Ended, NotRun, Program, Ran};
use crate::yaml::{Node, Spanned};

/// Where systemd puts it; nothing else is run.
const SYSTEMCTL: &str = "/usr/bin/systemctl";
/// The longest name of a unit, in bytes (`UNIT_NAME_MAX`).
const NAME_LIMIT: usize = 255;
/// What is asked for.
const PROPERTIES: &str =
    "Id,LoadState,ActiveState,SubState,Result,NRestarts,ExecMainStatus,UnitFileState,StateChangeTimestamp";
/// What a unit can be, by the end of its name: systemd.unit(5).
const TYPES: [&str; 11] =
    ["service", "socket", "timer", "target", "mount", "automount", "swap", "path", "slice", "scope", "device"];

/// What stands under `systemd:`.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The unit's name, `shop.service` or `shop`.
    unit: Spanned<String>,
}

/// A unit.
#[derive(Debug)]
struct Unit {
    name: String,
    systemctl: PathBuf,
}

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    let name = unit(&config.unit.value).map_err(|why| {
        Diagnostic::error(config.unit.at, why).hint("write it as `systemctl status` takes it: shop.service")
    })?;
    Ok(Arc::new(Unit { name, systemctl: PathBuf::from(SYSTEMCTL) }))
}

/// The whole name of one unit; a name without a type is a service's.
fn unit(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || ":_.\\@-".contains(c);
    if text.is_empty() || !text.chars().all(fits) {
        return Err(format!("`{}` is not the name of a unit", terminal(text)));
    }
    let is_typed = text.rsplit_once('.').is_some_and(|(name, kind)| !name.is_empty() && TYPES.contains(&kind));
    let name = if is_typed { text.to_owned() } else { format!("{text}.service") };
    if name.len() > NAME_LIMIT {
        return Err(format!("the name of a unit has at most {NAME_LIMIT} bytes"));
    }
    Ok(name)
}

impl Probe for Unit {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(async {
            let started = Instant::now();
            let observation = match self.show(ask).await {
                Ok(observation) => observation,
                Err(unknown) => Observation::blind(unknown.kind, unknown.why),
            };
            let by_hand = format!("systemctl status -- {}", shell_word(&self.name));
            observation.reproduce(by_hand).took(started.elapsed())
        })
    }

    fn system(&self) -> String {
        "systemd on this host".to_owned()
    }
}

impl Unit {
    async fn show(&self, ask: &Ask) -> Result<Observation, Unknown> {
        if !self.systemctl.exists() {
            let why = format!("there is no {}; the package systemd brings it", self.systemctl.display());
            return Err(Unknown::new(UnknownKind::Unreachable, why));
        }
        let path = process::allowed(&self.systemctl, std::slice::from_ref(&self.systemctl)).map_err(not_run)?;
        let args = ["show", "--no-pager", &format!("--property={PROPERTIES}"), "--", &self.name].map(str::to_owned);
        // In UTC, so that what it prints can be read whatever the host's zone is.
        let env = vec![("TZ".to_owned(), "UTC".to_owned())];
        let program = Program { path, called: Some(self.systemctl.clone()), args: args.to_vec(), env };
        let left = ask.deadline.saturating_duration_since(Instant::now());
        // Ending it takes a moment; the answer is to be ready before the caller gives up.
        let deadline = ask.deadline - (left / 5).min(Duration::from_millis(500));
        let ran = process::run(&program, Bounds::default(), deadline).await.map_err(not_run)?;
        self.weigh(&ran, ask.now)
    }

    fn weigh(&self, ran: &Ran, now: Timestamp) -> Result<Observation, Unknown> {
        let unknown = |kind, why: String| Err(Unknown::new(kind, why));
        let complaint = String::from_utf8_lossy(&ran.stderr);
        let complaint: String = terminal(complaint.trim()).chars().take(200).collect();
        match ran.ended {
            Ended::Exit(0) if !ran.truncated => {}
            Ended::TimedOut => {
                return unknown(
                    UnknownKind::TimedOut,
                    format!("systemd did not answer in {}", show_duration(ran.took)),
                );
            }
            // A writer that is cut off may end by a signal, or by none.
            _ if ran.truncated => {
                return unknown(UnknownKind::Incomplete, "systemctl printed more than we read".to_owned());
            }
            Ended::Exit(code) => {
                let said = if complaint.is_empty() { format!("exit code {code}") } else { complaint };
                return unknown(UnknownKind::Unreachable, format!("systemd can't be asked: {said}"));
            }
            Ended::Signal(signal) => {
                return unknown(UnknownKind::Unintelligible, format!("systemctl was ended by signal {signal}"));
            }
        }
        let text = String::from_utf8_lossy(&ran.stdout);
        let shown = properties(&text);
        let get = |name: &str| shown.get(name).copied().filter(|value| !value.is_empty());
        let (Some(load), Some(state), Some(substate)) = (get("LoadState"), get("ActiveState"), get("SubState")) else {
            return unknown(UnknownKind::Unintelligible, "systemctl doesn't tell the unit's state".to_owned());
        };
        if load != "loaded" && load != "masked" {
            let why = format!("{}: its definition is {}", self.name, terminal(load));
            return unknown(
                UnknownKind::Incomplete,
                if load == "not-found" { format!("there is no unit {}", self.name) } else { why },
            );
        }
        let mut measures = Measures::new();
        measures.set("active", state == "active").set("state", state).set("substate", substate).set("load", load);
        for (name, property) in [("result", "Result"), ("enabled", "UnitFileState")] {
            if let Some(value) = get(property) {
                measures.set(name, value);
            }
        }
        for (name, property) in [("restarts", "NRestarts"), ("exit_status", "ExecMainStatus")] {
            if let Some(value) = get(property).and_then(|value| value.parse::<i64>().ok()) {
                measures.set(name, value);
            }
        }
        let mut line = format!("{}: {state} ({substate})", self.name);
        if let Some(since) = get("StateChangeTimestamp").and_then(moment) {
            let seconds = since.duration_until(now).as_secs_f64().max(0.0);
            measures.set("state_seconds", seconds);
            line.push_str(&format!(" since {since}"));
        }
        if let Some(result) = get("Result") {
            line.push_str(&format!(", result {result}"));
        }
        Ok(Observation::answered(measures).excerpt(terminal(&line)))
    }
}

/// `Name=value`, a line each.
fn properties(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once('=')).collect()
}

/// `Sun 2026-11-22 19:22:24 UTC`, as systemd writes moments.
fn moment(text: &str) -> Option<Timestamp> {
    let bare = text.strip_suffix(" UTC")?;
    let (_, date) = bare.split_once(' ')?;
    let date: DateTime = DateTime::strptime("%Y-%m-%d %H:%M:%S", date).ok()?;
    date.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

fn not_run(error: NotRun) -> Unknown {
    let kind = match error {
        NotRun::Refused { .. } => UnknownKind::Refused,
        NotRun::Failed { .. } => UnknownKind::Unreachable,
    };
    Unknown::new(kind, terminal(&error.to_string()))
}

/// A unit of systemd.
pub static KIND: Kind = Kind {
    name: "systemd",
    look: Look::Internal,
    summary: "a unit of this host under systemd: its state, since when, and how often it was restarted",
    docs: "\
Asks `systemctl show` for one unit of the system's manager on the host that Houston runs on. `active` is true while the
unit is in the state `active`: for a service that runs, for a timer that waits. A unit that is being started again, has
failed or was stopped is not. `state_seconds` says since when; `restarts` how often systemd has restarted it by itself
since somebody started it.

Bad: whatever the expectations forbid; without `expect` a unit that isn't active.
Unknown: systemd isn't this host's manager, doesn't answer, or knows no such unit. `systemctl` comes with the package
systemd.

Parameters can't stand here.",
    keys: &[Key {
        name: "unit",
        takes: "text",
        default: None,
        meaning: "the unit's name, shop.service; without a type it is a service",
    }],
    measures: MEASURES,
    default_expect: &["active"],
    headline: &["state", "substate", "state_seconds"],
    sees: Sees::Now,
    attempts: 1,
    example: "internal/systemd.yaml",
    example_text: include_str!("../../../checks.d/internal/systemd.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

const MEASURES: &[Measure] = &[
    Measure { name: "active", kind: Type::Bool, unit: "true or false", meaning: "its state is active" },
    Measure {
        name: "state",
        kind: Type::Text,
        unit: "text",
        meaning: "active, reloading, inactive, failed, activating or deactivating",
    },
    Measure { name: "substate", kind: Type::Text, unit: "text", meaning: "running, exited, dead, auto-restart …" },
    Measure {
        name: "result",
        kind: Type::Text,
        unit: "text",
        meaning: "how it went the last time: success, exit-code, signal, oom-kill, timeout, start-limit-hit …",
    },
    Measure {
        name: "restarts",
        kind: Type::Number,
        unit: "count",
        meaning: "how often systemd has restarted it by itself; services only",
    },
    Measure {
        name: "exit_status",
        kind: Type::Number,
        unit: "code",
        meaning: "the exit code of its main process, the last time that it ended; 0 before",
    },
    Measure {
        name: "state_seconds",
        kind: Type::Number,
        unit: "seconds",
        meaning: "since it last changed its state; absent where it never has",
    },
    Measure {
        name: "enabled",
        kind: Type::Text,
        unit: "text",
        meaning: "whether it is started with the host: enabled, disabled, static, masked …",
    },
    Measure { name: "load", kind: Type::Text, unit: "text", meaning: "loaded, or masked" },
];

#[cfg(test)]
mod tests;
