//! Kind `plugin`: a Nagios plugin, run with bounds; its exit code, text and performance data.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::super::slots::{self, SlotError, TextTemplate};
use super::super::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::encode;
use crate::model::look::Look;
use crate::model::measure::{Measure, Type};
use crate::model::observation::{Observation, Unknown, UnknownKind};
use crate::model::source::Diagnostic;
use crate::model::units::show_duration;
use crate::model::value::Measures;
use crate::net::process::{self, Bounds, Ended, NotRun, Program, Ran};
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
    path: PathBuf,
    arguments: Vec<TextTemplate>,
}

/// The most arguments of a command.
const ARGUMENTS: usize = 128;

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    let Some((program, arguments)) = config.command.value.split_first() else {
        return Err(Diagnostic::error(config.command.at, "the command is empty")
            .hint("command: [ /usr/lib/nagios/plugins/check_disk, -w, 10% ]"));
    };
    if slots::without_slots(&program.value).is_err() {
        return Err(Diagnostic::error(program.at.clone(), "a parameter can't choose the program"));
    }
    let path = PathBuf::from(&program.value);
    if !path.is_absolute() {
        return Err(Diagnostic::error(program.at.clone(), "the program is not an absolute path")
            .hint(format!("for example /usr/lib/nagios/plugins/{}", encode::terminal(&program.value))));
    }
    if path.components().any(|part| matches!(part, std::path::Component::ParentDir)) || program.value.contains('\0') {
        return Err(Diagnostic::error(program.at.clone(), "the program's path can't hold `..`"));
    }
    if arguments.len() > ARGUMENTS {
        return Err(Diagnostic::error(config.command.at, format!("more than {ARGUMENTS} arguments")));
    }
    let mut templates = Vec::new();
    for argument in arguments {
        let template = TextTemplate::parse(&argument.value)
            .map_err(|error| Diagnostic::error(argument.at.clone(), error.to_string()))?;
        if !template.params().is_empty() && !is_one_slot(&argument.value) {
            return Err(Diagnostic::error(argument.at.clone(), "a parameter must be a whole argument")
                .hint("split it: [ …, -H, \"{{ host }}\" ]"));
        }
        templates.push(template);
    }
    Ok(Arc::new(Plugin { path, arguments: templates }))
}

/// True for `{{ name }}` and nothing around it.
fn is_one_slot(text: &str) -> bool {
    text.starts_with("{{") && text.find("}}") == text.len().checked_sub(2)
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
        let words = self.arguments.iter().map(|argument| encode::shell_word(argument.text()));
        std::iter::once(self.name()).chain(words).collect::<Vec<_>>().join(" ")
    }

    fn params(&self) -> Vec<String> {
        let mut names: Vec<String> = self.arguments.iter().flat_map(TextTemplate::params).collect();
        names.sort();
        names.dedup();
        names
    }
}

impl Plugin {
    /// The program's own name, for what is said of it.
    fn name(&self) -> String {
        encode::terminal(&self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy())
    }

    async fn run(&self, ask: &Ask) -> Result<Observation, Unknown> {
        let path = process::allowed(&self.path, &ask.tools.programs).map_err(|not_run| unknown(&not_run))?;
        let args = self.bind(ask)?;
        let by_hand: Vec<String> = std::iter::once(self.path.to_string_lossy().into_owned())
            .chain(args.iter().cloned())
            .map(|word| encode::shell_word(&word))
            .collect();
        let left = ask.deadline.saturating_duration_since(Instant::now());
        // Ending it takes a moment; the answer is to be ready before the caller gives up.
        let deadline = ask.deadline - (left / 5).min(Duration::from_millis(500));
        let program = Program { path, called: Some(self.path.clone()), args, env: Vec::new() };
        let observation = match process::run(&program, Bounds::default(), deadline).await {
            Ok(ran) => self.weigh(&ran),
            Err(not_run) => {
                let unknown = unknown(&not_run);
                Observation::blind(unknown.kind, unknown.why)
            }
        };
        Ok(observation.reproduce(by_hand.join(" ")))
    }

    fn bind(&self, ask: &Ask) -> Result<Vec<String>, Unknown> {
        let mut args = Vec::with_capacity(self.arguments.len());
        let mut options_are_over = false;
        for argument in &self.arguments {
            let value = argument.render(&ask.params).map_err(|error| {
                let kind = match error {
                    SlotError::Missing(_) => UnknownKind::MissingParam,
                    _ => UnknownKind::Refused,
                };
                Unknown::new(kind, error.to_string())
            })?;
            let is_slot = !argument.params().is_empty();
            if is_slot && !options_are_over && value.starts_with('-') {
                let why =
                    format!("the value of `{}` begins with `-` and would be an option", argument.params().join(", "));
                return Err(Unknown::new(UnknownKind::Refused, why));
            }
            options_are_over |= !is_slot && value == "--";
            args.push(value);
        }
        Ok(args)
    }

    /// Exit codes 0, 1 and 2 are answers; everything else says that the plugin could not look.
    fn weigh(&self, ran: &Ran) -> Observation {
        let name = self.name();
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

fn unknown(not_run: &NotRun) -> Unknown {
    let kind = match not_run {
        NotRun::Refused { .. } => UnknownKind::Refused,
        NotRun::Failed { .. } => UnknownKind::Unreachable,
    };
    Unknown::new(kind, encode::terminal(&not_run.to_string()))
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
    keys: &[Key {
        name: "command",
        takes: "list of text",
        default: None,
        meaning: "the program's absolute path and its arguments; \"{{ parameter }}\" as a whole argument",
    }],
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
