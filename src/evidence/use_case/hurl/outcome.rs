//! What a run of hurl says about the service, and what it says about our own side only.

use std::time::Duration;

use super::report::{Entry, Report, Told};
use crate::model::encode;
use crate::model::observation::{Broken, Fault, Observation, Phase, Seen, UnknownKind};
use crate::model::units::show_duration;
use crate::model::value::{Measures, Value};
use crate::net::http::Reason;
use crate::net::process::{Ended, Ran};
use crate::net::proxy::Proxy;

/// The most steps that are shown.
const STEPS: usize = 200;
/// What is kept of a line of the file.
const LINE: usize = 120;

/// Errors by which an answer isn't what the file wants, though hurl counts them as its own.
const UNEXPECTED: &[&str] = &[
    "Invalid JSON",
    "Invalid XML",
    "No query result",
    "Header not found",
    "Filter error",
    "Invalid charset",
    "Invalid decoding",
    "Decompression error",
];

/// A run that is over.
pub(super) struct Run<'a> {
    pub(super) ran: &'a Ran,
    /// As it is shown.
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    pub(super) proxy: &'a Proxy,
    pub(super) strike: &'a dyn Fn(&str) -> String,
}

impl Run<'_> {
    pub(super) fn observation(&self) -> Observation {
        let ran = self.ran;
        let printed = (self.strike)(&String::from_utf8_lossy(&ran.stderr)).replace(super::NAME, self.file);
        let blind = |kind, why: String| Observation::blind(kind, format!("hurl: {why}"));
        let said =
            || printed.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it printed nothing").to_owned();
        if let Some(refusal) = self.proxy.refusals().into_iter().next() {
            return blind(UnknownKind::Refused, format!("{} was not asked: {}", refusal.target, refusal.what));
        }
        let code = match ran.ended {
            Ended::TimedOut => {
                return blind(UnknownKind::TimedOut, format!("not done after {}", show_duration(ran.took)));
            }
            _ if self.proxy.is_spent() => {
                return blind(UnknownKind::Incomplete, "more was sent and received than is read".to_owned());
            }
            _ if ran.truncated => return blind(UnknownKind::Incomplete, "it printed more than we read".to_owned()),
            Ended::Signal(signal) => {
                return blind(UnknownKind::Unintelligible, format!("ended by signal {signal}: {}", said()));
            }
            Ended::Exit(code) => code,
        };
        // Its own documentation of exit codes: 1 command line, 2 parsing, 3 runtime, 4 asserts.
        match code {
            0 | 3 | 4 => {}
            2 => {
                let why = Told::first(&printed).map_or_else(said, |told| self.placed(&told));
                return blind(UnknownKind::Unintelligible, format!("the file can't be parsed: {why}"));
            }
            _ => return blind(UnknownKind::Unintelligible, format!("exit code {code}: {}", said())),
        }
        let report = match Report::read(&ran.stdout) {
            Ok(report) if report.success == (code == 0) => report,
            Ok(_) => return blind(UnknownKind::Unintelligible, format!("exit code {code} and its report don't agree")),
            Err(why) => return blind(UnknownKind::Unintelligible, encode::terminal(&why)),
        };
        if report.entries.is_empty() {
            return blind(UnknownKind::Incomplete, "no entry of the file was run".to_owned());
        }
        self.weigh(&report, code, &printed)
    }

    fn weigh(&self, report: &Report, code: i32, printed: &str) -> Observation {
        let steps = report.steps();
        let error = if code == 3 { Told::first(printed) } else { None };
        // hurl stops at the first entry that fails: where it failed by itself, that is the last one that was run.
        let last = steps.len() - 1;
        let fails = |at: usize, entry: &Entry| entry.is_unanswered() || !entry.held() || (code != 0 && at == last);
        let failed = steps.iter().enumerate().find(|(at, (entry, ..))| fails(*at, entry)).map(|(_, step)| step.0);

        let mut measures = Measures::new();
        let passed = steps.iter().enumerate().filter(|(at, (entry, ..))| !fails(*at, entry)).count();
        measures.set("steps", passed).set("duration_seconds", Duration::from_millis(report.time).as_secs_f64());
        let shown = steps.iter().take(STEPS).map(|(entry, tries, time)| {
            let mut step = std::collections::BTreeMap::new();
            step.insert("name".to_owned(), Value::Text(self.name(entry)));
            if let Some(status) = entry.status() {
                step.insert("status".to_owned(), Value::from(i64::from(status)));
            }
            step.insert("duration_seconds".to_owned(), Value::from(Duration::from_millis(*time).as_secs_f64()));
            step.insert("attempts".to_owned(), Value::from(i64::try_from(*tries).unwrap_or(i64::MAX)));
            Value::Map(step)
        });
        measures.set("step", Value::List(shown.collect()));
        let Some(entry) = failed else {
            let total = show_duration(Duration::from_millis(report.time));
            return Observation::answered(measures).note(format!("{passed} entries in {total}"));
        };
        measures.set("failed_step", self.name(entry));
        if let Some(status) = entry.status().filter(|_| !entry.is_unanswered()) {
            measures.set("status", status);
        }
        let mut observation = if entry.is_unanswered() {
            self.unmade(entry.line, 5)
        } else {
            match error {
                Some(told) if told.title == "HTTP connection" => self.connection(&told),
                Some(told) if UNEXPECTED.contains(&told.title.as_str()) => self.broken(entry, Some(&told)),
                Some(told) => Observation::blind(UnknownKind::Unintelligible, format!("hurl: {}", self.placed(&told))),
                None => self.broken(entry, None),
            }
        };
        if observation.broken.is_empty() && observation.seen == Seen::Answered {
            observation.seen =
                Observation::blind(UnknownKind::Unintelligible, "hurl: it failed, and doesn't say where").seen;
        }
        observation.notes.push(format!("{} failed, as entry {} of the file", self.name(entry), entry.index));
        observation.excerpt(encode::terminal_lines(printed)).measures(measures)
    }

    /// Asserts that don't hold, and what hurl stopped at.
    fn broken(&self, entry: &Entry, error: Option<&Told>) -> Observation {
        let mut observation = Observation::answered(Measures::new());
        for assert in entry.asserts.iter().filter(|assert| !assert.success) {
            let told = assert.told().unwrap_or_else(|| Told { line: assert.line, column: 1, ..Told::default() });
            observation.broken.push(self.expectation(&told));
        }
        observation.broken.extend(error.map(|told| self.expectation(told)));
        observation
    }

    fn expectation(&self, told: &Told) -> Broken {
        let actual = match (told.actual.is_empty(), told.title.is_empty()) {
            (false, _) => (self.strike)(&told.actual),
            (true, false) => told.title.clone(),
            (true, true) => "it doesn't hold".to_owned(),
        };
        Broken {
            that: self.line(told.line),
            actual,
            at: format!("{}:{}:{}", self.file, told.line, told.column.max(1)),
            note: told.expected.as_ref().map(|expected| format!("expected: {}", (self.strike)(expected))),
            odd: false,
        }
    }

    /// There was no answer: whose fault that is, the proxy knows best.
    fn connection(&self, told: &Told) -> Observation {
        let failed = |phase| Observation {
            seen: Seen::Failed(Fault { phase, what: self.placed(told) }),
            ..Observation::answered(Measures::new())
        };
        match told.curl_code() {
            // The proxy's own answers come as "received HTTP code 502 from proxy after CONNECT" (7, 56).
            Some(5 | 7 | 56 | 97) if !self.proxy.failures().is_empty() => self.unmade(told.line, told.column),
            Some(5 | 7 | 97) => Observation::blind(
                UnknownKind::Unreachable,
                format!("hurl did not reach the guard between: {}", self.placed(told)),
            ),
            Some(28) if self.proxy.held_up() > self.ran.took / 2 => {
                let why =
                    format!("{}; {} went by on our own side", self.placed(told), show_duration(self.proxy.held_up()));
                Observation::blind(UnknownKind::TimedOut, why)
            }
            // A request that asks too late is no fault of the service.
            Some(63) => Observation::blind(UnknownKind::Incomplete, self.placed(told)),
            // Files and options of our own side.
            Some(1..=4 | 26 | 27 | 37 | 41 | 43 | 48 | 53 | 54 | 58 | 59 | 66 | 77 | 82) => {
                Observation::blind(UnknownKind::Refused, self.placed(told))
            }
            Some(6) => failed(Phase::Resolve),
            Some(35 | 51 | 60 | 80 | 83 | 90 | 91) => failed(Phase::Tls),
            Some(18) => failed(Phase::Transfer),
            Some(_) => failed(Phase::Processing),
            None if told.actual.starts_with("exceeded the maximum") => {
                Observation::blind(UnknownKind::Incomplete, self.placed(told))
            }
            None if told.actual.starts_with("Option ") => Observation::blind(UnknownKind::Refused, self.placed(told)),
            None => failed(Phase::Processing),
        }
    }

    /// The connection that the proxy did not get.
    fn unmade(&self, line: u32, column: u32) -> Observation {
        let Some(failure) = self.proxy.failures().into_iter().next_back() else {
            return Observation::blind(
                UnknownKind::Incomplete,
                "hurl: a connection was not made, and nobody knows why",
            );
        };
        let what = format!("{}:{line}:{column}: {}: {}", self.file, failure.target, failure.what);
        match failure.reason {
            Reason::Service | Reason::Timeout => Observation::failed(failure.phase, what),
            Reason::Guard | Reason::Ours => Observation::blind(failure.unknown, what),
        }
    }

    fn placed(&self, told: &Told) -> String {
        let what = if told.actual.is_empty() { told.title.as_str() } else { told.actual.as_str() };
        format!("{}:{}:{}: {}", self.file, told.line, told.column.max(1), (self.strike)(what))
    }

    /// Method and URL as the file has them.
    fn name(&self, entry: &Entry) -> String {
        self.line(entry.line)
    }

    fn line(&self, number: u32) -> String {
        let line = self.text.lines().nth(number.saturating_sub(1) as usize).unwrap_or_default().trim();
        line.chars().take(LINE).collect()
    }
}
