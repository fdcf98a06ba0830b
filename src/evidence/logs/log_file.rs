//! `log_file`: what the programs wrote into files of their own in the window, and whether they ever wrote that before.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::Deserialize;

use super::account::{self, Account, OwnPast};
use super::line::Format;
use super::store::Pattern;
use super::tally::{Rules, Tally, Whose};
use crate::evidence::endpoint::AbsentMeans;
use crate::evidence::log_source::{self, LogSource, Opened, Question, TimeConfig, Unfit, show_time};
use crate::evidence::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::files::scan::{Coverage, scan};
use crate::files::timestamp::{micros, timestamp};
use crate::model::encode::shell_word;
use crate::model::look::Look;
use crate::model::observation::{Observation, UnknownKind};
use crate::model::value::Measures;
use crate::model::window::Window;
use crate::yaml::Spanned;

#[cfg(test)]
mod tests;

/// What is read of the hour before the window to know what is usual there, in bytes (its newest).
const BEFORE_BYTES: u64 = 32 * 1024 * 1024;

/// What is read of the same hour yesterday, in bytes.
const YESTERDAY_BYTES: u64 = 16 * 1024 * 1024;

/// The kind.
pub static KIND: Kind = Kind {
    name: "log_file",
    look: Look::Logs,
    summary: "lines, matches and never-seen messages of log files in the window",
    docs: "Reads the part of the files that lies in the window: plain files are searched by bisection on the times of \
their lines, rotations (`.1`, `-20261122`, `.gz`) are read where they reach into the window. A line without a time \
(a stack trace) belongs to the line above.

`matches` counts the lines that `match` finds; without `match`, the lines of an error level (error, fatal, critical, \
panic). `exclude` takes known noise out. A message is new if neither the memory of this check nor the log's own hour \
before the window nor the same hour yesterday has its template; where there is no such past, `new_templates` and \
`new_error_templates` are absent, so that an expectation about them is unknown. Houston's own requests are left out.

Unknown are: a file that can't be read, a window that wasn't read whole (256 MiB a look), a log without times, more \
than 1 % of lines with impossible times, and an empty window, unless `absent_means: { healthy: true, because: … }`.

With `customer`, a ticket that names a customer is answered for the lines of that customer alone as well.",
    keys: &[
        Key {
            name: "paths",
            takes: "list of paths, wildcards allowed",
            default: None,
            meaning: "the files; their rotations are found by themselves",
        },
        Key {
            name: "match",
            takes: "regular expression",
            default: Some("lines of an error level"),
            meaning: "the lines that count as matches; sees the first 8 KiB of a line",
        },
        Key {
            name: "exclude",
            takes: "regular expression",
            default: Some("none"),
            meaning: "lines that are left out: known noise",
        },
        Key {
            name: "format",
            takes: "auto, json, logfmt, plain, syslog",
            default: Some("auto"),
            meaning: "how level and message are found in a line",
        },
        Key {
            name: "timestamp",
            takes: "{ field, zone }",
            default: Some("found by themselves, UTC"),
            meaning: "the JSON field that holds the time, and the zone of times that don't say theirs",
        },
        Key {
            name: "customer",
            takes: "{ field } or { pattern }",
            default: Some("none"),
            meaning: "where a line says whose it is: a JSON or logfmt field, or a regular expression with one group",
        },
        Key {
            name: "absent_means",
            takes: "{ healthy: true, because }",
            default: Some("unknown"),
            meaning: "that a window without any line is no reason to worry, and why",
        },
    ],
    measures: account::MEASURES,
    default_expect: &["new_error_templates == 0"],
    headline: &["lines", "matches"],
    sees: Sees::Past,
    attempts: 1,
    example: "logs/log-file.yaml",
    example_text: include_str!("../../../checks.d/logs/log-file.yaml"),
    read: |node| {
        let config: Config = node.read()?;
        let absent = config.absent_means.clone().map(AbsentMeans::because).transpose()?.flatten();
        Ok(Arc::new(LogFile::new(config, absent).map_err(|unfit| unfit.at(node))?))
    },
    schema: |generator| generator.subschema_for::<Config>(),
};

/// What a check declares.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LogFile")]
pub struct Config {
    /// The files, wildcards allowed; their rotations are found by themselves.
    pub paths: Vec<String>,
    /// Lines that count as matches; default: those of an error level.
    #[serde(rename = "match")]
    pub matching: Option<String>,
    /// Lines that are left out.
    pub exclude: Option<String>,
    #[serde(default)]
    pub format: Format,
    pub timestamp: Option<TimeConfig>,
    pub customer: Option<CustomerConfig>,
    pub absent_means: Option<Spanned<AbsentMeans>>,
}

/// Where a line says whose it is; one of the two.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LogFileCustomer")]
pub struct CustomerConfig {
    /// A field of a JSON or logfmt line, with dots between names.
    pub field: Option<String>,
    /// A regular expression whose one group is the customer.
    pub pattern: Option<String>,
}

/// Reads log files.
#[derive(Debug, Clone)]
pub struct LogFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: LogSource,
    format: Format,
    matching: Option<Pattern>,
    exclude: Option<Pattern>,
    customer: Option<Whose>,
}

impl LogFile {
    /// `absent`: why an empty window is healthy, where it is.
    ///
    /// # Errors
    /// Says which key has a value that can't be used.
    pub fn new(config: Config, absent: Option<String>) -> Result<Self, Unfit> {
        let pattern = |key, text: Option<&String>| text.map(|text| Pattern::new(key, text)).transpose();
        let customer = match config.customer {
            None => None,
            Some(CustomerConfig { field: Some(field), pattern: None }) if !field.is_empty() => {
                Some(Whose::Field(field.split('.').map(str::to_owned).collect()))
            }
            Some(CustomerConfig { field: None, pattern: Some(text) }) => {
                let pattern = log_source::pattern("customer.pattern", &text)?;
                if pattern.captures_len() != 2 {
                    let why = "the pattern needs exactly one group, which is the customer";
                    return Err(Unfit::new("customer.pattern", why));
                }
                Some(Whose::Pattern(pattern))
            }
            Some(_) => return Err(Unfit::new("customer", "`customer` takes either `field` or `pattern`")),
        };
        Ok(LogFile(Arc::new(Inner {
            source: LogSource::new(&config.paths, config.timestamp.as_ref(), absent)?,
            format: config.format,
            matching: pattern("match", config.matching.as_ref())?,
            exclude: pattern("exclude", config.exclude.as_ref())?,
            customer,
        })))
    }

    /// Answers a question, blocking. `remembered`: templates that this check is known to see.
    pub fn look(&self, question: &Question, remembered: Option<&BTreeSet<String>>) -> Observation {
        self.0.look(question, remembered)
    }
}

impl Probe for LogFile {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(async move {
            let probe = self.clone();
            let remembered = ask.memory.templates.get(&*ask.check).cloned();
            let mut observation =
                log_source::run(ask, move |question| probe.look(&question, remembered.as_deref())).await;
            observation.excerpt = observation.excerpt.map(|text| ask.tools.redactor.strike(&text));
            observation
        })
    }

    fn system(&self) -> String {
        self.0.source.system()
    }

    fn splits_by_customer(&self) -> bool {
        self.0.customer.is_some()
    }
}

/// What one reading of the files yields.
struct Seen {
    coverage: Coverage,
    account: Account,
}

impl Inner {
    fn look(&self, question: &Question, remembered: Option<&BTreeSet<String>>) -> Observation {
        if question.customer.is_some() && self.customer.is_none() {
            return Observation::blind(UnknownKind::Refused, "this check does not say where a line names its customer");
        }
        let yesterday = question.window.earlier(SignedDuration::from_mins(24 * 60 + 30));
        let since = question.earliest_past().min(yesterday.from);
        let (seen, opened, moved) =
            log_source::read(&self.source, question, since, |opened| self.read(question, opened, remembered));
        self.tell(question, &opened, seen, moved)
    }

    fn rules<'a>(&'a self, question: &'a Question) -> Rules<'a> {
        Rules {
            format: self.format,
            matching: self.matching.as_ref().and_then(Pattern::get),
            exclude: self.exclude.as_ref().and_then(Pattern::get),
            customer: self.customer.as_ref().zip(question.customer.as_deref()),
        }
    }

    fn read(&self, question: &Question, opened: &Opened, remembered: Option<&BTreeSet<String>>) -> Seen {
        let rules = self.rules(question);
        let Opened { snapshot, clock, gate } = opened;
        let mut tally = Tally::new(true);
        let coverage = scan(snapshot, question.window, None, clock, gate, |entry| tally.add(&entry, &rules));
        // What the memory knows need not be looked for in the log's own past, which takes longer than the window.
        let familiar = remembered.is_some_and(|remembered| tally.is_familiar(remembered));
        let worth = gate.halted().is_none() && coverage.lines > 0 && !familiar;
        let own = worth.then(|| self.own_past(question, opened));
        let mut account = Account { tally, ..Account::default() };
        account.knows(remembered, own);
        for window in question.past() {
            if gate.halted().is_some() {
                break;
            }
            if !snapshot.reaches(micros(window.from), micros(question.window.from)) {
                continue;
            }
            let mut tally = Tally::new(false);
            let coverage = scan(snapshot, window, None, clock, gate, |entry| tally.add(&entry, &rules));
            // A span without a line may be one in which nothing was written down: no sample.
            if coverage.incomplete.is_empty() && tally.alive > 0 {
                account.past.push((window, tally));
            }
        }
        Seen { coverage, account }
    }

    /// The templates that the log wrote in the hour before the window and around the same time yesterday.
    fn own_past(&self, question: &Question, opened: &Opened) -> Result<OwnPast, String> {
        // What everybody's lines say is known, whoever the question is about.
        let rules = Rules { customer: None, exclude: None, ..self.rules(question) };
        let Opened { snapshot, clock, gate } = opened;
        let [before, yesterday] = question.just_before();
        let mut own = OwnPast::default();
        let mut first = None;
        for (window, bytes) in [(before, BEFORE_BYTES), (yesterday, YESTERDAY_BYTES)] {
            let mut tally = Tally::new(true);
            let part = gate.part(bytes * 2);
            let coverage = scan(snapshot, window, Some(bytes), clock, &part, |entry| tally.add(&entry, &rules));
            gate.rejoin(&part, bytes * 2);
            first = first.or(coverage.first);
            own.add(&tally, window == yesterday);
        }
        own.enough(question, first.map(timestamp))
    }

    fn tell(&self, question: &Question, opened: &Opened, seen: Seen, moved: Option<String>) -> Observation {
        let Seen { coverage, account } = seen;
        let last = opened.snapshot.last(&opened.clock, &opened.gate).map(|(at, _)| at);
        let mut measures = Measures::new();
        if let Some(last) = last {
            measures.set("last_line_age_seconds", (micros(question.now) - last).max(0) as f64 / 1e6);
        }
        let blindness = log_source::blindness(question, opened, &coverage, moved);
        let nothing = account.is_empty(question);
        let absent = self.source.absent().filter(|_| nothing && blindness.is_none());
        let mut observation = account.tell(question, absent, measures);
        observation.notes.splice(0..0, log_source::notes(question, opened, &coverage));
        observation.data_until = last.map(timestamp);
        observation.reproduce = Some(self.reproduce(question.window));
        match blindness {
            Some(unknown) => log_source::blind(observation, unknown),
            None if nothing && absent.is_none() => {
                let what = if question.customer.is_some() { "line of the ticket's customer" } else { "line" };
                log_source::blind(observation, log_source::empty(question, what, last))
            }
            None => observation,
        }
    }

    fn reproduce(&self, window: Window) -> String {
        let pattern =
            self.matching.as_ref().map_or("ERROR|FATAL|CRITICAL|PANIC|\"level\":\"error\"", |pattern| &pattern.text);
        let (from, to) = (show_time(micros(window.from)), show_time(micros(window.to)));
        format!("grep -hE {} {} # the lines of {from} to {to}", shell_word(pattern), self.source.shell_paths())
    }
}
