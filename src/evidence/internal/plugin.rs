//! Kind `plugin`: a Nagios plugin, run with bounds; its exit code, text and performance data.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::super::command::{self, Command, Sample};
use super::super::{Ask, Kind, Looking, Probe, Sees};
use crate::model::encode;
use crate::model::look::Look;
use crate::model::measure::{Measure, Type};
use crate::model::observation::{Observation, Unknown, UnknownKind};
use crate::model::source::Diagnostic;
use crate::model::units::show_duration;
use crate::model::value::Measures;
use crate::net::process::{self, Bounds, Ended, Program, Ran};
use crate::yaml::{Node, Spanned};

mod output;

use output::Output;

/// What stands under `plugin:`.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The program's absolute path, then its arguments, each as it is: no shell reads them.
    command: Spanned<Vec<Spanned<String>>>,
}

/// A plugin and its arguments.
#[derive(Debug)]
struct Plugin {
    command: Command,
}

const SAMPLE: Sample =
    Sample { command: "[ /usr/lib/nagios/plugins/check_disk, -w, 10% ]", directory: "/usr/lib/nagios/plugins" };

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    Ok(Arc::new(Plugin { command: Command::read(config.command, SAMPLE)? }))
}

impl Probe for Plugin {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(async {
            let started = Instant::now();
            let observation = match self.run(ask).await {
                Ok(observation) => observation,
                Err(unknown) => Observation::blind(unknown.kind, unknown.why),
            };
            observation.took(started.elapsed())
        })
    }

    fn system(&self) -> String {
        self.command.shown()
    }

    fn params(&self) -> Vec<String> {
        let mut names: Vec<String> = self.command.params().collect();
        names.sort();
        names.dedup();
        names
    }
}

impl Plugin {
    async fn run(&self, ask: &Ask) -> Result<Observation, Unknown> {
        let declared = &self.command.path;
        let path = process::allowed(declared, &ask.tools.programs).map_err(|not_run| command::unknown(&not_run))?;
        let args = self.command.bind(&ask.params)?;
        let by_hand = command::by_hand(declared, &args);
        let left = ask.deadline.saturating_duration_since(Instant::now());
        // Ending it takes a moment; the answer is to be ready before the caller gives up.
        let deadline = ask.deadline - (left / 5).min(Duration::from_millis(500));
        let program = Program { path, called: Some(declared.clone()), args, env: Vec::new() };
        let observation = match process::run(&program, Bounds::default(), deadline).await {
            Ok(ran) => self.weigh(&ran),
            Err(not_run) => {
                let unknown = command::unknown(&not_run);
                Observation::blind(unknown.kind, unknown.why)
            }
        };
        Ok(observation.reproduce(by_hand))
    }

    /// Exit codes 0, 1 and 2 are answers; everything else says that the plugin could not look.
    fn weigh(&self, ran: &Ran) -> Observation {
        let name = self.command.name();
        let printed = String::from_utf8_lossy(&ran.stdout);
        let output = Output::read(&printed);
        let complaint = String::from_utf8_lossy(&ran.stderr);
        let said: &str =
            [output.text.as_str(), complaint.trim()].into_iter().find(|t| !t.is_empty()).unwrap_or_default();
        let said: String = encode::terminal(said).chars().take(200).collect();
        let said = if said.is_empty() { "it printed nothing".to_owned() } else { said };

        let blind = |kind, why: String| Observation::blind(kind, format!("{name}: {why}"));
        let mut observation = match ran.ended {
            Ended::TimedOut => blind(UnknownKind::TimedOut, format!("not done after {}", show_duration(ran.took))),
            // More than is read may hold what would have decided, and a writer that is cut off may end by a signal.
            _ if ran.truncated => blind(UnknownKind::Incomplete, "it printed more than we read".to_owned()),
            Ended::Signal(signal) => blind(UnknownKind::Unintelligible, format!("ended by signal {signal}: {said}")),
            Ended::Exit(code @ 0..=2) => {
                let mut measures = Measures::new();
                measures.set("exit", i64::from(code)).set("text", output.text.as_str());
                measures.set("perfdata", output.measure());
                Observation::answered(measures)
            }
            Ended::Exit(3) => blind(UnknownKind::Incomplete, format!("it could not tell: {said}")),
            Ended::Exit(code) => {
                blind(UnknownKind::Unintelligible, format!("exit code {code} is none of a plugin's: {said}"))
            }
        };
        if printed.trim().is_empty() {
            observation.notes.push("it printed nothing".to_owned());
        }
        if let Some(first) = output.unread.first() {
            let first = encode::terminal(first);
            let count = output.unread.len();
            observation.notes.push(format!("{count} pieces of performance data can't be read, the first is `{first}`"));
        }
        let parts = [output.text.as_str(), output.long.as_str(), complaint.trim()];
        let excerpt: Vec<String> = parts.iter().filter(|p| !p.is_empty()).map(|p| encode::terminal_lines(p)).collect();
        observation.excerpt(excerpt.join("\n"))
    }
}

/// A Nagios plugin.
pub static KIND: Kind = Kind {
    name: "plugin",
    look: Look::Internal,
    summary: "runs a Nagios plugin from the list of allowed programs",
    docs: "\
The program is run as it stands in `command`, without a shell: an absolute path that `programs` in houston.yaml lists,
then its arguments. It gets PATH and LANG and nothing else, an empty directory, limits of CPU, memory and files, and no
new privileges; at its end or its deadline everything that it started is killed. Values from a ticket can be whole
arguments only, and never options.

Exit code 2 is bad and 1 is odd, unless `expect` says otherwise. `perfdata` holds each entry by its label, in seconds
and bytes: `perfdata[\"/\"].value`, with unit, warn, crit (upper ends), warn_breached, crit_breached, min and max.

Unknown, never good and never bad: exit code 3 and every other one, a signal, the deadline, more than 64 KiB of output,
a program that isn't listed, could be written by others, or runs with another user's rights.",
    keys: &[command::KEY],
    measures: MEASURES,
    default_expect: &["exit != 2", "odd: exit != 1"],
    headline: &["text", "exit"],
    sees: Sees::Now,
    attempts: 1,
    example: "internal/plugin.yaml",
    example_text: include_str!("../../../checks.d/internal/plugin.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

const MEASURES: &[Measure] = &[
    Measure { name: "exit", kind: Type::Number, unit: "code", meaning: "0 ok, 1 warning, 2 critical" },
    Measure { name: "text", kind: Type::Text, unit: "text", meaning: "its first line without the performance data" },
    Measure {
        name: "perfdata",
        kind: Type::Map,
        unit: "seconds, bytes, percent or counts",
        meaning: "each entry by its label: value, unit, warn, crit, warn_breached, crit_breached, min, max",
    },
];

#[cfg(test)]
mod tests;
