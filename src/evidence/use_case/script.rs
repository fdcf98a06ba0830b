//! Kind `script`: somebody's own synthetic test (Playwright, k6, pytest, anything), run with bounds and read by its report.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::super::command::{self, Command, Sample};
use super::super::endpoint::HeaderText as Declared;
use super::super::slots;
use super::super::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::encode;
use crate::model::look::Look;
use crate::model::measure::{Measure, Type};
use crate::model::observation::{Observation, Unknown, UnknownKind};
use crate::model::secret::{Redactor, SecretRef};
use crate::model::source::Diagnostic;
use crate::model::units::{Size, show_duration};
use crate::model::value::Measures;
use crate::net::process::{self, Bounds, Ended, Left, Program, Ran};
use crate::yaml::{Node, Spanned};

mod environment;
mod junit;
mod report;
mod tap;

use environment::{Bound, Variables};
use report::Report;

/// The most that it may print, on each of its outputs.
const OUTPUT: usize = 1024 * 1024;
/// The most that each file that it writes may hold, its report among them.
const FILE: u64 = 16 * 1024 * 1024;
const OPEN_FILES: u64 = 1024;
/// Address space of each process: Node and Go reserve far more than they use.
const MEMORY: u64 = 4 * 1024 * 1024 * 1024;
/// So many processors may be busy all the time that it has.
const PROCESSORS: u32 = 4;
/// What stands under `script:`.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The program's absolute path, then its arguments, each as it is: no shell reads them.
    command: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    env: Option<Spanned<BTreeMap<String, Declared>>>,
    /// The file in its directory that its report is in, or `stdout`.
    #[serde(default)]
    junit: Option<Spanned<String>>,
    /// The same for a report in TAP.
    #[serde(default)]
    tap: Option<Spanned<String>>,
    /// Exit codes that say that the test failed.
    #[serde(default)]
    failure_codes: Option<Spanned<Vec<i32>>>,
    /// The most address space of each process.
    #[serde(default)]
    memory: Option<Size>,
}

/// A test.
#[derive(Debug)]
struct Script {
    command: Command,
    env: Variables,
    report: Option<Reports>,
    failure_codes: Vec<i32>,
    memory: u64,
}

/// In which form a test reports, and where.
#[derive(Debug)]
struct Reports {
    read: fn(&str) -> Result<Report, String>,
    /// `None` for the standard output.
    file: Option<String>,
}

const SAMPLE: Sample =
    Sample { command: "[ /usr/bin/pytest-3, /opt/shop/tests/test_shop.py ]", directory: "/opt/shop/tests" };

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    let report = match (config.junit, config.tap) {
        (Some(_), Some(tap)) => {
            return Err(Diagnostic::error(tap.at, "`tap` beside `junit`: a test has one report"));
        }
        (Some(place), None) => Some(Reports { read: junit::read, file: file(place)? }),
        (None, Some(place)) => Some(Reports { read: tap::read, file: file(place)? }),
        (None, None) => None,
    };
    let failure_codes = match config.failure_codes {
        Some(codes) if codes.value.is_empty() || codes.value.iter().any(|code| !(1..=125).contains(code)) => {
            return Err(Diagnostic::error(codes.at, "codes by which a test fails are from 1 to 125"));
        }
        Some(codes) => codes.value,
        None => vec![1],
    };
    Ok(Arc::new(Script {
        command: Command::read(config.command, SAMPLE)?,
        env: config.env.map(Variables::read).transpose()?.unwrap_or_default(),
        report,
        failure_codes,
        memory: config.memory.map_or(MEMORY, |memory| memory.0),
    }))
}

/// The name of a file, and nothing that leads out of its directory.
fn file(place: Spanned<String>) -> Result<Option<String>, Diagnostic> {
    let name = place.value;
    if name == "stdout" {
        return Ok(None);
    }
    let leads_out = name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) || name.len() > 200;
    if leads_out || slots::without_slots(&name).is_err() {
        return Err(Diagnostic::error(place.at, "not the name of a file")
            .hint("the name of a file that the test writes into the directory that it runs in, or `stdout`"));
    }
    Ok(Some(name))
}

impl Probe for Script {
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
        let mut names: Vec<String> = self.command.params().chain(self.env.params()).collect();
        names.sort();
        names.dedup();
        names
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.env.secrets()
    }
}

impl Script {
    async fn run(&self, ask: &Ask) -> Result<Observation, Unknown> {
        let declared = &self.command.path;
        let path = process::allowed(declared, &ask.tools.programs).map_err(|not_run| command::unknown(&not_run))?;
        let args = self.command.bind(&ask.params)?;
        let Bound { env, words } = self.env.bind(ask)?;
        let by_hand = words.into_iter().chain([command::by_hand(declared, &args)]).collect::<Vec<_>>().join(" ");
        let left = ask.deadline.saturating_duration_since(Instant::now());
        // Ending it takes a moment; the answer is to be ready before the caller gives up.
        let deadline = ask.deadline - (left / 5).min(Duration::from_millis(750));
        let program = Program { path, called: Some(declared.clone()), args, env };
        let bounds = Bounds {
            output: OUTPUT,
            cpu: left.saturating_mul(PROCESSORS),
            memory: self.memory,
            file: FILE,
            open_files: OPEN_FILES,
        };
        let file = self.report.as_ref().and_then(|report| report.file.as_deref());
        let run = match file {
            Some(name) => process::run_for_file(&program, bounds, deadline, name).await,
            None => process::run(&program, bounds, deadline).await.map(|ran| (ran, Left::Nothing)),
        };
        let (ran, left) = run.map_err(|not_run| command::unknown(&not_run))?;
        let report = self.report(&ran, left, &ask.tools.redactor).await;
        let observation = self.weigh(&ran, report, &ask.tools.redactor);
        Ok(observation.reproduce(by_hand))
    }

    /// Reads its report, where it has one. Secrets that the test repeats are struck out first.
    async fn report(&self, ran: &Ran, left: Left, redactor: &Redactor) -> Option<Result<Report, Unknown>> {
        let reports = self.report.as_ref()?;
        let unknown = |kind, why: &str| Some(Err(Unknown::new(kind, why)));
        let bytes = match (&reports.file, left) {
            (None, _) => ran.stdout.clone(),
            (Some(_), Left::Bytes(bytes)) => bytes,
            (Some(_), Left::TooLong) => return unknown(UnknownKind::Incomplete, "its report is larger than we read"),
            (Some(name), Left::Nothing) => {
                return unknown(UnknownKind::Incomplete, &format!("it left no report `{}`", encode::terminal(name)));
            }
        };
        let (read, redactor) = (reports.read, redactor.clone());
        let reading = tokio::task::spawn_blocking(move || match String::from_utf8(bytes) {
            Ok(text) => read(&redactor.strike(&text)).map_err(|why| encode::terminal(&why)),
            Err(_) => Err("its report is not UTF-8".to_owned()),
        });
        let report = reading.await.unwrap_or_else(|_| Err("its report can't be read".to_owned()));
        Some(report.map_err(|why| Unknown::new(UnknownKind::Unintelligible, why)))
    }

    fn weigh(&self, ran: &Ran, report: Option<Result<Report, Unknown>>, redactor: &Redactor) -> Observation {
        let name = self.command.name();
        let printed = |bytes: &[u8]| redactor.strike(&String::from_utf8_lossy(bytes)).trim().to_owned();
        let (stdout, stderr) = (printed(&ran.stdout), printed(&ran.stderr));
        // A test says at its end what came of it.
        let tail = |text: &str| text.lines().rev().take(10).map(encode::terminal).collect::<Vec<_>>();
        let words: Vec<String> = tail(if stderr.is_empty() { &stdout } else { &stderr }).into_iter().rev().collect();
        let last: String = words.last().map(|word| word.chars().take(200).collect()).unwrap_or_default();
        let said = if last.is_empty() { "it printed nothing".to_owned() } else { last.clone() };

        let mut measures = Measures::new();
        measures.set("duration_seconds", ran.took.as_secs_f64());
        let blind = |kind, why: String| Observation::blind(kind, format!("{name}: {why}"));
        let observation = match (ran.ended, report) {
            (Ended::TimedOut, _) => blind(UnknownKind::TimedOut, format!("not done after {}", show_duration(ran.took))),
            // More than is read may hold what would have decided, and a writer that is cut off may end by a signal.
            _ if ran.truncated => blind(UnknownKind::Incomplete, "it printed more than we read".to_owned()),
            (Ended::Signal(signal), _) => {
                blind(UnknownKind::Unintelligible, format!("ended by signal {signal}: {said}"))
            }
            (Ended::Exit(code), None) => {
                measures.set("exit", i64::from(code));
                let failed = self.failure_codes.contains(&code);
                measures.set("failures", usize::from(failed));
                if code == 0 || failed {
                    measures.set("message", last);
                    Observation::answered(measures)
                } else {
                    blind(UnknownKind::Incomplete, format!("exit code {code} says neither passed nor failed: {said}"))
                }
            }
            (Ended::Exit(_), Some(Err(unknown))) => blind(unknown.kind, format!("{}; {said}", unknown.why)),
            (Ended::Exit(code), Some(Ok(report))) => {
                measures.set("exit", i64::from(code));
                report.measure(&mut measures);
                let observation = match (gap(&report, code), &report.incomplete) {
                    (Some(gap), _) => blind(UnknownKind::Incomplete, gap).measures(measures),
                    (None, Some(why)) => Observation::answered(measures).note(why.as_str()),
                    (None, None) => Observation::answered(measures),
                };
                observation.excerpt(report.complaints())
            }
        };
        if observation.excerpt.is_some() { observation } else { observation.excerpt(words.join("\n")) }
    }
}

/// Why nobody can say from this report that the test passed; a step that failed is an answer whatever else is missing.
fn gap(report: &Report, code: i32) -> Option<String> {
    let count = |ended| report.count(ended);
    if count(report::Ended::Failed) > 0 {
        return None;
    }
    if let Some(why) = &report.incomplete {
        return Some(why.clone());
    }
    if let Some(step) = report.culprit() {
        return Some(format!("`{}` could not be tried: {}", step.name, step.message));
    }
    if count(report::Ended::Passed) == 0 {
        return Some("none of its tests was tried".to_owned());
    }
    (code != 0).then(|| format!("exit code {code}, though no step of its report failed"))
}

/// Somebody's own synthetic test.
pub static KIND: Kind = Kind {
    name: "script",
    look: Look::UseCase,
    summary: "runs a synthetic test that is there already: Playwright, k6, pytest, anything with JUnit or TAP",
    docs: "\
The program is run as it stands in `command`, without a shell: an absolute path that `programs` in houston.yaml lists,
then its arguments. It gets PATH, LANG and what `env` gives it, a fresh empty directory to run in and to write its
report to, limits of CPU, memory and files, and no new privileges; at its end or its deadline everything that it started
is killed, and the directory goes. What it connects to is its own affair: no guard of ours stands between. Where the
program is an interpreter, its list entry allows whatever a check names behind it; list a script of your own instead.

A ticket's values can be whole arguments, never options, or whole values of variables; variables that decide what code
runs (LD_*, PATH, PYTHON*, NODE_OPTIONS …) can't be set. Secrets go in as variables and are struck from what comes out.

With `junit` or `tap` the steps are read from the report, of at most 16 MiB: a step that failed is bad. Without a report
the exit code says it: 0 passed, one of `failure_codes` failed.

Unknown, never good and never bad: the deadline, a signal, more than 1 MiB of output, a report that is missing, broken,
empty, or that counts more than it holds, a step that could not be tried (JUnit's `error`, TAP's `Bail out!`), nothing
but skipped steps, an exit code that the report doesn't explain, every exit code that isn't declared, a program that
isn't listed or could be written by others.",
    keys: &[
        command::KEY,
        key("env", "map of texts or secrets", Some("none"), "variables; \"{{ parameter }}\" as a whole value"),
        key(
            "junit",
            "file name or stdout",
            Some("no report"),
            "where it leaves its report, as JUnit XML; at most one of junit, tap",
        ),
        key("tap", "file name or stdout", Some("no report"), "the same in the Test Anything Protocol"),
        key(
            "failure_codes",
            "list of 1 to 125",
            Some("[1]"),
            "exit codes that say that the test failed, where it has no report",
        ),
        key(
            "memory",
            "size",
            Some("4 GiB"),
            "address space of each of its processes; a browser reserves hundreds of GiB",
        ),
    ],
    measures: MEASURES,
    default_expect: &["failures == 0"],
    headline: &["duration_seconds", "steps", "failed_step", "message"],
    sees: Sees::Now,
    attempts: 1,
    example: "use_case/script.yaml",
    example_text: include_str!("../../../checks.d/use_case/script.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

const fn key(name: &'static str, takes: &'static str, default: Option<&'static str>, meaning: &'static str) -> Key {
    Key { name, takes, default, meaning }
}

const MEASURES: &[Measure] = &[
    Measure { name: "steps", kind: Type::Number, unit: "count", meaning: "steps that passed; absent without a report" },
    Measure {
        name: "failures",
        kind: Type::Number,
        unit: "count",
        meaning: "steps that failed; without a report 1 where the exit code says so",
    },
    Measure { name: "errors", kind: Type::Number, unit: "count", meaning: "steps that could not be tried" },
    Measure { name: "skipped", kind: Type::Number, unit: "count", meaning: "steps that were skipped" },
    Measure {
        name: "failed_step",
        kind: Type::Text,
        unit: "text",
        meaning: "the first that failed; absent where none did",
    },
    Measure {
        name: "message",
        kind: Type::Text,
        unit: "text",
        meaning: "why it failed; without a report the last line that was printed",
    },
    Measure { name: "duration_seconds", kind: Type::Number, unit: "seconds", meaning: "from its start to its end" },
    Measure { name: "exit", kind: Type::Number, unit: "code", meaning: "its exit code" },
    Measure {
        name: "step",
        kind: Type::List,
        unit: "list",
        meaning: "the first 200 steps: name, result (passed, failed, error, skipped), duration_seconds",
    },
];

#[cfg(test)]
mod tests;
