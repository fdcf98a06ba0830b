//! `journald`: what units wrote to the systemd journal in the window, by journalctl and its export format.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use regex::bytes::Regex;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

use super::account;
use super::line::Format;
use super::store::{self, Line, Rule, Span, Store, Wanted};
use super::tally::PATTERN_REACH;
use crate::evidence::endpoint::AbsentMeans;
use crate::evidence::log_source::{self, Unfit};
use crate::evidence::slots::TextTemplate;
use crate::evidence::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::encode::{shell_word, terminal};
use crate::model::look::Look;
use crate::model::observation::{Observation, Unknown, UnknownKind};
use crate::model::source::Diagnostic;
use crate::model::units::show_duration;
use crate::model::window::Window;
use crate::net::journal;
use crate::net::process::{self, Bounds, Ended, Program, Ran};
use crate::yaml::{Node, Spanned};

/// Where Debian's package `systemd` puts the program.
const PROGRAMS: [&str; 2] = ["/usr/bin/journalctl", "/bin/journalctl"];

/// What journalctl may use: it maps every file of a journal, and a large one has hundreds.
const BOUNDS: Bounds = Bounds {
    output: 32 * 1024 * 1024,
    cpu: Duration::from_secs(30),
    memory: 8 * 1024 * 1024 * 1024,
    file: 1024 * 1024,
    open_files: 4_096,
};

/// The priorities that are errors: emergency, alert, critical, error (RFC 5424, 6.2.1).
const ERRORS: std::ops::RangeInclusive<i64> = 0..=3;

/// The kind.
pub static KIND: Kind = Kind {
    name: "journald",
    look: Look::Logs,
    summary: "entries, matches and never-seen messages of units in the systemd journal",
    docs: "Runs journalctl for the entries of the window, newest first up to `limit`, and reads its export format. Rotated \
files are read by themselves; `directory` and `files` name other journals, such as those that systemd-journal-remote \
collects. What is counted is what a `log_file` counts: `matches` are the entries that `match` finds, without it those of \
priority err and graver, and those whose text names an error. A message is new if neither the memory of this check nor the \
hour before the window nor the same hour yesterday has its template; where there is no such past, `new_templates` and \
`new_error_templates` are absent, so that an expectation about them is unknown. Houston's own requests are left out.

Bad is what the expectations say. Unknown, never good: journalctl isn't there (Debian's package systemd brings it), may not \
read the journal (let Houston's user be of the group systemd-journal), complains of a broken or missing file, or writes \
what is no export; more entries than `limit` or 32 MiB (the measures then say how many at least); an empty window, unless \
`absent_means: { healthy: true, because: … }`, and then the journal must have some entry in the hour up to the window's end.

With `customer`, a ticket that names a customer is answered for that customer's entries alone as well. Values from a \
ticket stand in `fields` only, and are compared as they are.",
    keys: &[
        Key { name: "unit", takes: "list of text", default: Some("every unit"), meaning: "units, or patterns of their names; one of them" },
        Key { name: "identifier", takes: "list of text", default: Some("every one"), meaning: "SYSLOG_IDENTIFIER, the name that a program gives itself; one of them" },
        Key { name: "priority", takes: "emerg … debug", default: Some("every priority"), meaning: "entries of this priority and graver ones" },
        Key { name: "fields", takes: "map of field to text", default: Some("none"), meaning: "fields of the journal that must hold exactly this; {{ parameters }} may stand in the values" },
        Key { name: "directory", takes: "absolute path", default: Some("this host's journal"), meaning: "a directory of journal files, such as /var/log/journal/remote" },
        Key { name: "files", takes: "list of paths, wildcards allowed", default: Some("none"), meaning: "these journal files instead" },
        Key { name: "merge", takes: "true, false", default: Some("false"), meaning: "journals of other hosts as well, where they lie beside this host's" },
        store::MATCH,
        store::EXCLUDE,
        store::FORMAT,
        store::LIMIT,
        Key { name: "customer", takes: "{ field } or { pattern }", default: Some("none"), meaning: "where an entry says whose it is: a field of the journal, or a regular expression with one group" },
        store::ABSENT,
    ],
    measures: account::MEASURES,
    default_expect: &["new_error_templates == 0"],
    headline: &["lines", "matches"],
    sees: Sees::Past,
    attempts: 1,
    example: "logs/journald.yaml",
    example_text: include_str!("../../../checks.d/logs/journald.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

/// What stands under `journald:`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Journald")]
struct Config {
    /// Units, or patterns of their names.
    #[serde(default)]
    unit: Vec<Spanned<String>>,
    /// Names that programs give themselves.
    #[serde(default)]
    identifier: Vec<Spanned<String>>,
    priority: Option<Priority>,
    /// Fields of the journal that must hold exactly this.
    #[serde(default)]
    fields: BTreeMap<String, TextTemplate>,
    directory: Option<Spanned<PathBuf>>,
    #[serde(default)]
    files: Vec<Spanned<PathBuf>>,
    /// Journals of other hosts as well.
    #[serde(default)]
    merge: bool,
    /// Lines that count as matches; default: those of an error level.
    #[serde(rename = "match")]
    matching: Option<String>,
    /// Lines that are left out.
    exclude: Option<String>,
    #[serde(default)]
    format: Format,
    /// The most lines of a window.
    limit: Option<usize>,
    customer: Option<CustomerConfig>,
    absent_means: Option<Spanned<AbsentMeans>>,
}

/// How grave an entry is, as syslog has it.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Priority {
    Emerg,
    Alert,
    Crit,
    Err,
    Warning,
    Notice,
    Info,
    Debug,
}

/// Where an entry says whose it is; one of the two.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "JournaldCustomer")]
struct CustomerConfig {
    /// A field of the journal.
    field: Option<String>,
    /// A regular expression whose one group is the customer.
    pattern: Option<String>,
}

/// Where an entry says whose it is.
#[derive(Debug)]
enum Whose {
    Field(String),
    Pattern(Regex),
}

/// A journal, ready to be read.
#[derive(Debug)]
struct Journald {
    /// Which journal.
    place: Vec<String>,
    /// Which of its entries.
    which: Vec<String>,
    fields: BTreeMap<String, TextTemplate>,
    customer: Option<Whose>,
    rule: Rule,
}

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    let mut place = Vec::new();
    if config.directory.is_some() && !config.files.is_empty() {
        return Err(Diagnostic::error(node.span.clone(), "either `directory` or `files`"));
    }
    let paths = config.directory.into_iter().map(|path| ("--directory", path));
    for (option, path) in paths.chain(config.files.into_iter().map(|path| ("--file", path))) {
        if !path.value.is_absolute() {
            return Err(Diagnostic::error(path.at, "the path is not absolute").hint("like /var/log/journal/remote"));
        }
        place.push(format!("{option}={}", path.value.display()));
    }
    if config.merge {
        place.push("--merge".to_owned());
    }
    let mut which = Vec::new();
    for (option, name) in
        config.unit.into_iter().map(|n| ("--unit", n)).chain(config.identifier.into_iter().map(|n| ("--identifier", n)))
    {
        if name.value.is_empty() || name.value.contains("{{") || name.value.chars().any(char::is_control) {
            return Err(Diagnostic::error(name.at, "not a name; no parameters can stand here"));
        }
        which.push(format!("{option}={}", name.value));
    }
    if let Some(priority) = config.priority {
        which.push(format!("--priority={}", priority as u8));
    }
    let names = config.fields.keys().map(String::as_str);
    let own = config.customer.as_ref().and_then(|customer| customer.field.as_deref());
    if let Some(name) = names.chain(own).find(|name| !is_field(name)) {
        let shown = terminal(name);
        return Err(Diagnostic::error(node.span.clone(), format!("`{shown}` is not the name of a journal's field"))
            .hint("capital letters, digits and underscores, like SYSLOG_IDENTIFIER"));
    }
    let customer = whose(config.customer).map_err(|unfit| unfit.at(node))?;
    let (matching, exclude) = (config.matching.as_ref(), config.exclude.as_ref());
    let rule = Rule::read(node, config.format, matching, exclude, config.limit, config.absent_means)?;
    Ok(Arc::new(Journald { place, which, fields: config.fields, customer, rule }))
}

fn whose(config: Option<CustomerConfig>) -> Result<Option<Whose>, Unfit> {
    match config {
        None => Ok(None),
        Some(CustomerConfig { field: Some(field), pattern: None }) => Ok(Some(Whose::Field(field))),
        Some(CustomerConfig { field: None, pattern: Some(text) }) => {
            let pattern = log_source::pattern("customer.pattern", &text)?;
            match pattern.captures_len() {
                2 => Ok(Some(Whose::Pattern(pattern))),
                _ => Err(Unfit::new("customer.pattern", "the pattern needs exactly one group, which is the customer")),
            }
        }
        Some(_) => Err(Unfit::new("customer", "`customer` takes either `field` or `pattern`")),
    }
}

fn is_field(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.as_bytes()[0].is_ascii_digit()
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

impl Probe for Journald {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(async move {
            match self.asking(ask) {
                Ok(asking) => {
                    let observation = store::look(ask, &self.rule, &asking, &self.system()).await;
                    observation.reproduce(asking.by_hand(ask.window))
                }
                Err(unknown) => Observation::blind(unknown.kind, unknown.why),
            }
        })
    }

    fn system(&self) -> String {
        let paths = self.place.iter().filter_map(|option| Some(format!(" {}", option.split_once('=')?.1)));
        format!("journal{}", paths.collect::<String>())
    }

    fn params(&self) -> Vec<String> {
        let mut names: Vec<String> = self.fields.values().flat_map(TextTemplate::params).collect();
        names.sort();
        names.dedup();
        names
    }

    fn splits_by_customer(&self) -> bool {
        self.customer.is_some()
    }
}

impl Journald {
    fn asking(&self, ask: &Ask) -> Result<Asking<'_>, Unknown> {
        let Some(program) = PROGRAMS.iter().map(Path::new).find(|path| path.exists()) else {
            let why = "journalctl isn't installed here; Debian's package systemd brings it";
            return Err(Unknown::new(UnknownKind::Refused, why));
        };
        let mut everyone = self.which.clone();
        for (field, value) in &self.fields {
            let value = value
                .render(&ask.params)
                .map_err(|error| Unknown::new(UnknownKind::MissingParam, error.to_string()))?;
            everyone.push(format!("{field}={value}"));
        }
        let mut own = everyone.clone();
        let mut customer = None;
        match (&ask.customer, &self.customer) {
            (None, _) => {}
            (Some(name), Some(Whose::Field(field))) => own.push(format!("{field}={name}")),
            (Some(name), Some(Whose::Pattern(pattern))) => customer = Some((pattern, name.clone())),
            (Some(_), None) => {
                let why = "this check does not say where an entry names its customer";
                return Err(Unknown::new(UnknownKind::Refused, why));
            }
        }
        Ok(Asking { probe: self, program: program.to_owned(), everyone, own, customer })
    }
}

/// A journal on its way to be read.
struct Asking<'a> {
    probe: &'a Journald,
    program: PathBuf,
    /// Which entries are everybody's.
    everyone: Vec<String>,
    /// Which are those that the question is about.
    own: Vec<String>,
    /// Of these, only the lines of this customer.
    customer: Option<(&'a Regex, String)>,
}

impl Asking<'_> {
    /// Everything that journalctl has of a span, newest first.
    async fn run(&self, which: &[String], window: Window, limit: usize, deadline: Instant) -> Result<Ran, Unknown> {
        // It takes whole seconds here; what lies beyond the window is left out afterwards.
        let (since, until) = (window.from.as_second(), window.to.as_second().saturating_add(1));
        let mut args: Vec<String> = ["--output=export", "--no-pager", "--reverse"].map(str::to_owned).to_vec();
        args.push(format!("--lines={limit}"));
        args.push(format!("--since=@{since}"));
        args.push(format!("--until=@{until}"));
        args.push("--output-fields=MESSAGE,PRIORITY".to_owned());
        args.extend(self.probe.place.iter().cloned());
        args.extend(which.iter().cloned());
        let program = Program { path: self.program.clone(), called: None, args, env: Vec::new() };
        // Ending it takes a moment; the answer is to be ready before the caller gives up.
        let left = deadline.saturating_duration_since(Instant::now());
        let ran = process::run(&program, BOUNDS, deadline - (left / 10).min(Duration::from_millis(500))).await;
        let ran = ran.map_err(|error| Unknown::new(UnknownKind::Unreachable, terminal(&error.to_string())))?;
        let complaint = String::from_utf8_lossy(&ran.stderr);
        let complaint: String = terminal(complaint.lines().next().unwrap_or_default()).chars().take(200).collect();
        let blind = |kind, why: String| Err(Unknown::new(kind, format!("journalctl: {why}")));
        match ran.ended {
            Ended::TimedOut => blind(UnknownKind::TimedOut, format!("not done after {}", show_duration(ran.took))),
            // One that is cut off ends by a signal.
            _ if ran.truncated => Ok(ran),
            _ if complaint.contains("ermission") || complaint.contains("not seeing messages") => {
                blind(UnknownKind::Refused, complaint)
            }
            Ended::Exit(0) if complaint.is_empty() => Ok(ran),
            Ended::Exit(0) => blind(UnknownKind::Incomplete, complaint),
            Ended::Exit(code) => blind(UnknownKind::Unreachable, format!("exit code {code}: {complaint}")),
            Ended::Signal(signal) => blind(UnknownKind::Unintelligible, format!("ended by signal {signal}")),
        }
    }

    fn by_hand(&self, window: Window) -> String {
        let span = [format!("--since=@{}", window.from.as_second()), format!("--until=@{}", window.to.as_second())];
        let words = span.iter().chain(&self.probe.place).chain(&self.own).map(|word| shell_word(word));
        std::iter::once("journalctl".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
    }

    /// The lines of an export, oldest first.
    fn lines_of(&self, ran: &Ran, wanted: &Wanted) -> Result<Span, Unknown> {
        let (entries, unfit) = journal::read(&ran.stdout);
        let wrong = |why: String| Err(Unknown::new(UnknownKind::Unintelligible, format!("journalctl's export: {why}")));
        match unfit {
            Some(unfit) if !(ran.truncated && unfit == journal::Unfit::Cut) => return wrong(unfit.to_string()),
            _ => {}
        }
        let received = entries.len();
        let (from, to) = (wanted.window.from.as_microsecond(), wanted.window.to.as_microsecond());
        let mut lines = Vec::with_capacity(received.min(wanted.limit));
        for entry in entries {
            let Some(at) = entry.number("__REALTIME_TIMESTAMP") else {
                return wrong("an entry without its time".to_owned());
            };
            let text = entry.get("MESSAGE").unwrap_or_default();
            let is_theirs = wanted.everyone
                || self.customer.as_ref().is_none_or(|(pattern, customer)| {
                    let groups = pattern.captures(&text[..text.len().min(PATTERN_REACH)]);
                    groups.and_then(|groups| groups.get(1)).is_some_and(|group| group.as_bytes() == customer.as_bytes())
                });
            if is_theirs && (from..=to).contains(&at) {
                let error = entry.number("PRIORITY").is_some_and(|priority| ERRORS.contains(&priority));
                lines.push(Line { at, text: text.to_vec(), error });
            }
        }
        let incomplete = if ran.truncated {
            Some(format!("more than {} MiB of entries", BOUNDS.output >> 20))
        } else {
            (received > wanted.limit).then(|| format!("more than {} entries", wanted.limit))
        };
        lines.truncate(wanted.limit);
        lines.reverse();
        Ok(Span { lines, incomplete, notes: Vec::new() })
    }
}

impl Store for Asking<'_> {
    async fn lines(&self, wanted: Wanted) -> Result<Span, Unknown> {
        let which = if wanted.everyone { &self.everyone } else { &self.own };
        // One more shows that there are more; the rest of the last second may hold a few that don't count.
        let ran = self.run(which, wanted.window, wanted.limit + 1, wanted.deadline).await?;
        self.lines_of(&ran, &wanted)
    }

    async fn is_alive(&self, window: Window, deadline: Instant) -> Result<(), Unknown> {
        let hour = Window::ending_at(window.to, jiff::SignedDuration::from_hours(1).max(window.length()));
        let ran = self.run(&[], hour, 1, deadline).await?;
        if ran.stdout.is_empty() {
            let why = format!("{}: no entry at all in the hour before", self.probe.system());
            return Err(Unknown::new(UnknownKind::Stale, why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
