//! What the kinds that read log files share: the files, how their times are read, the look's bounds, the account of
//! what could not be seen, and which spans of the past are comparable.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use regex::bytes::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Ask;
use crate::files::gate::{self, Gate, Halt, Leash};
use crate::files::rotation::Snapshot;
use crate::files::scan::Coverage;
use crate::files::timestamp::{Clock, Micros, micros, timestamp};
use crate::files::window::SLACK;
use crate::model::encode::shell_word;
use crate::model::observation::{Observation, Seen, Unknown, UnknownKind};
use crate::model::source::Diagnostic;
use crate::model::units::show_duration;
use crate::model::window::Window;
use crate::yaml::{self, Shape};

/// A log of which more than this share of the lines carries an impossible time can't be believed.
const SKEWED: f64 = 0.01;

/// The largest compiled regular expression, in bytes.
const PATTERN_SIZE: usize = 1024 * 1024;

/// Hours ago at which the same span is comparable, the most telling first: should the bytes run out, the last are missed.
const PAST_HOURS: [i64; 8] = [1, 24, 2, 23, 25, 48, 3, 47];

/// `timestamp:` how the times of the lines are to be read.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeConfig {
    /// The field of a JSON line that holds the time, with dots between names; default: the usual ones.
    pub field: Option<String>,
    /// The zone of times that don't say theirs, as in `Europe/Berlin`; default UTC.
    pub zone: Option<String>,
}

/// A key's value that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unfit {
    /// The names on the way to it, with dots between.
    pub key: &'static str,
    pub why: String,
}

impl Unfit {
    pub fn new(key: &'static str, why: impl Into<String>) -> Self {
        Unfit { key, why: why.into() }
    }

    /// The error at the value itself.
    pub fn at(self, node: &yaml::Node) -> Diagnostic {
        let mut here = node;
        for name in self.key.split('.') {
            let Shape::Map(entries) = &here.shape else { break };
            let is_named = |key: &yaml::Node| matches!(&key.shape, Shape::Scalar { text, .. } if text == name);
            let Some((_, value)) = entries.iter().find(|(key, _)| is_named(key)) else { break };
            here = value;
        }
        Diagnostic::error(here.span.clone(), self.why)
    }
}

/// Compiles a regular expression of a check; a large one is refused, for it would be slow and take memory.
///
/// # Errors
/// What is wrong with it.
pub fn pattern(key: &'static str, text: &str) -> Result<Regex, Unfit> {
    RegexBuilder::new(text).size_limit(PATTERN_SIZE).build().map_err(|error| {
        let why = match error {
            regex::Error::CompiledTooBig(_) => "it compiles to more than 1 MiB".to_owned(),
            // The last line of the crate's drawing says what is wrong.
            other => other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
        };
        Unfit::new(key, format!("no usable regular expression: {why}"))
    })
}

/// The files of a check, and how their times are read.
#[derive(Debug, Clone)]
pub struct LogSource {
    pub paths: Vec<String>,
    zone: TimeZone,
    field: Option<String>,
    absent: Option<String>,
}

impl LogSource {
    /// `absent`: why an empty window is healthy, where it is.
    ///
    /// # Errors
    /// Says which key has a value that can't be used.
    pub fn new(paths: &[String], time: Option<&TimeConfig>, absent: Option<String>) -> Result<Self, Unfit> {
        if paths.is_empty() {
            return Err(Unfit::new("paths", "no path: name at least one file"));
        }
        for path in paths {
            if path.is_empty() || path.ends_with('/') {
                return Err(Unfit::new("paths", format!("`{path}` names no file")));
            }
            glob::Pattern::new(path)
                .map_err(|error| Unfit::new("paths", format!("`{path}` is no pattern of paths: {}", error.msg)))?;
        }
        let zone = match time.and_then(|time| time.zone.as_deref()) {
            None => TimeZone::UTC,
            Some(name) => {
                TimeZone::get(name).map_err(|_| Unfit::new("timestamp.zone", format!("unknown time zone `{name}`")))?
            }
        };
        Ok(LogSource { paths: paths.to_vec(), zone, field: time.and_then(|time| time.field.clone()), absent })
    }

    /// The set of files that is asked, as a name.
    pub fn system(&self) -> String {
        self.paths.join(" ")
    }

    /// Why an empty window is healthy, where the check says so.
    pub fn absent(&self) -> Option<&str> {
        self.absent.as_deref()
    }

    /// The files as words of a shell; wildcards stay what they are.
    pub fn shell_paths(&self) -> String {
        let word = |path: &String| {
            let bare = path.replace(['*', '?', '[', ']'], "");
            if bare.is_empty() || shell_word(&bare) == bare { path.clone() } else { shell_word(path) }
        };
        self.paths.iter().map(word).collect::<Vec<_>>().join(" ")
    }
}

/// What one look is asked, without what only async code can hold.
#[derive(Debug, Clone)]
pub struct Question {
    pub now: Timestamp,
    pub window: Window,
    pub customer: Option<String>,
    pub usual: Vec<String>,
    /// When the trouble is said to have begun.
    pub since: Timestamp,
    pub deadline: Instant,
    pub dropped: Arc<AtomicBool>,
}

impl Question {
    /// The spans of the past that are comparable to the window, none of which touches it or the trouble.
    pub fn past(&self) -> impl Iterator<Item = Window> + '_ {
        let hours = if self.usual.is_empty() { &[][..] } else { &PAST_HOURS[..] };
        let (window, length) = (self.window, self.window.length());
        hours
            .iter()
            .map(|hours| SignedDuration::from_hours(*hours))
            .filter(move |ago| *ago >= length)
            .map(move |ago| window.earlier(ago))
            .filter(|past| past.to <= self.since)
    }

    /// The beginning of the earliest of them.
    pub fn earliest_past(&self) -> Timestamp {
        self.past().map(|past| past.from).min().unwrap_or(self.window.from)
    }
}

impl Question {
    /// The hour before the window or the trouble, whichever began first, and the same time of the day before: what was
    /// written since the trouble began is no measure of what is usual.
    pub fn just_before(&self) -> [Window; 2] {
        let from = self.window.from.min(self.since);
        let hour = SignedDuration::from_hours(1).max(self.window.length());
        let before = Window::ending_at(from.saturating_sub(SignedDuration::from_micros(1)).unwrap_or(from), hour);
        let half = SignedDuration::from_mins(30);
        let day = self.window.earlier(SignedDuration::from_hours(24));
        let yesterday = Window::new(
            day.from.saturating_sub(half).unwrap_or(day.from),
            day.to.saturating_add(half).unwrap_or(day.to).min(before.from),
        );
        [before, yesterday]
    }

    /// The question as it is asked of a probe.
    pub fn of(ask: &Ask, dropped: Arc<AtomicBool>) -> Self {
        Question {
            now: ask.now,
            window: ask.window,
            customer: ask.customer.clone(),
            since: ask.since,
            usual: ask.usual.clone(),
            deadline: ask.deadline.into_std(),
            dropped,
        }
    }
}

/// Runs blocking work that answers the question; when the future is dropped, the work is told to stop.
pub async fn run(ask: &Ask, work: impl FnOnce(Question) -> Observation + Send + 'static) -> Observation {
    let leash = Leash::default();
    let question = Question::of(ask, leash.signal());
    let started = Instant::now();
    let observation = match tokio::task::spawn_blocking(move || work(question)).await {
        Ok(observation) => observation,
        Err(_) => Observation::blind(UnknownKind::Panicked, "reading the log failed inside of the probe"),
    };
    drop(leash);
    observation.took(started.elapsed())
}

/// A log at the moment of a look: its files, and what may be spent on them.
#[derive(Debug)]
pub struct Opened {
    pub snapshot: Snapshot,
    pub clock: Clock,
    pub gate: Gate,
}

/// Opens the log, has it read, and has it read again from the start where a file was truncated or rewritten meanwhile.
/// What is still moving the second time is told.
pub fn read<T>(
    source: &LogSource,
    question: &Question,
    since: Timestamp,
    mut read: impl FnMut(&Opened) -> T,
) -> (T, Opened, Option<String>) {
    let mut gate = Gate::new(gate::BYTES, question.deadline, Arc::clone(&question.dropped));
    let mut again = true;
    loop {
        let clock = Clock::new(source.zone.clone(), source.field.as_deref(), question.now);
        let snapshot = Snapshot::take(&source.paths, micros(since), &clock, &gate);
        let opened = Opened { snapshot, clock, gate };
        let result = read(&opened);
        match opened.snapshot.verify(micros(question.now), &opened.gate) {
            Err(_) if again && opened.gate.halted().is_none() => {
                again = false;
                gate = opened.gate;
            }
            verified => return (result, opened, verified.err()),
        }
    }
}

/// Why the window was not seen as it should be, the gravest reason first; `None` where it was.
pub fn blindness(question: &Question, opened: &Opened, coverage: &Coverage, moved: Option<String>) -> Option<Unknown> {
    let from = micros(question.window.from);
    let gaps: Vec<_> = opened
        .snapshot
        .gaps
        .iter()
        .filter(|gap| gap.modified.is_none_or(|modified| modified >= from - SLACK))
        .collect();
    if opened.snapshot.members.is_empty()
        && let Some(gap) = gaps.first()
    {
        let kind = if gap.forbidden { UnknownKind::Refused } else { UnknownKind::Unreachable };
        return Some(Unknown::new(kind, sentences(gaps.iter().map(|gap| gap.why.as_str()))));
    }
    match opened.gate.halted() {
        Some(Halt::Deadline | Halt::Dropped) if !coverage.incomplete.is_empty() => {
            return Some(Unknown::new(
                UnknownKind::TimedOut,
                sentences(coverage.incomplete.iter().map(String::as_str)),
            ));
        }
        _ => {}
    }
    if coverage.lines == 0 && coverage.stamped == 0 && !coverage.incomplete.is_empty() {
        let kind = UnknownKind::Unintelligible;
        return Some(Unknown::new(kind, sentences(coverage.incomplete.iter().map(String::as_str))));
    }
    let mut reasons: Vec<String> = coverage.incomplete.clone();
    reasons.extend(gaps.iter().map(|gap| gap.why.clone()));
    reasons.extend(moved);
    if coverage.skewed() > SKEWED {
        reasons.push(skew(coverage));
    }
    if let Some(begins) = opened.snapshot.begins() {
        let missing = timestamp(begins).duration_since(question.window.from).as_secs_f64();
        if coverage.lines > 0 && missing > question.window.seconds() / 2.0 {
            reasons.push(format!("the log begins only at {}", show_time(begins)));
        }
    }
    (!reasons.is_empty()).then(|| Unknown::new(UnknownKind::Incomplete, sentences(reasons.iter().map(String::as_str))))
}

/// What a reader should know though it hides nothing.
pub fn notes(question: &Question, opened: &Opened, coverage: &Coverage) -> Vec<String> {
    let mut notes = opened.snapshot.notes.clone();
    if coverage.future + coverage.misplaced > 0 && coverage.skewed() <= SKEWED {
        notes.push(skew(coverage));
    }
    if coverage.cut > 0 {
        notes.push(format!("{} lines are longer than 64 KiB; only their first part was looked at", coverage.cut));
    }
    let day = SignedDuration::from_hours(2);
    let before = question.window.from.saturating_sub(day).unwrap_or(question.window.from);
    if opened.clock.changes_between(before, question.window.to) {
        notes.push("the log's local time was changed in or just before this window".to_owned());
    }
    if let Some((at, member)) = opened.snapshot.last(&opened.clock, &opened.gate) {
        // A log in another zone than declared is off by whole half hours from the file's own time.
        let off = member.modified - at;
        let half_hours = (off as f64 / 1.8e9).round();
        if half_hours != 0.0 && half_hours.abs() <= 28.0 && (off as f64 - half_hours * 1.8e9).abs() < 2e6 {
            notes.push(format!(
                "the last line of {} is {} off the file's own time: is its time zone as declared?",
                member.path.display(),
                show_duration(std::time::Duration::from_micros(off.unsigned_abs()))
            ));
        }
    }
    notes
}

/// The reason of an empty window, with when the log last said something.
pub fn empty(question: &Question, what: &str, last: Option<Micros>) -> Unknown {
    let window = question.window;
    let ago = |at: Micros| {
        let at = timestamp(at);
        let (gap, side) = if at < window.from {
            (at.duration_until(window.from), "before")
        } else {
            (window.to.duration_until(at), "after")
        };
        let gap = std::time::Duration::try_from(gap).unwrap_or_default();
        format!("; last line {} {side}", show_duration(std::time::Duration::from_secs(gap.as_secs())))
    };
    let last = match last {
        Some(at) if window.contains(timestamp(at)) => String::new(),
        Some(at) => ago(at),
        None => "; nor any before".to_owned(),
    };
    let (from, to) = (show_time(micros(window.from)), show_time(micros(window.to)));
    Unknown::new(UnknownKind::Incomplete, format!("no {what} between {from} and {to}{last}"))
}

/// Sets what was seen aside as incomplete.
pub fn blind(observation: Observation, unknown: Unknown) -> Observation {
    Observation { seen: Seen::Blind(unknown), ..observation }
}

/// An instant to the second, in UTC.
pub fn show_time(at: Micros) -> String {
    timestamp(at.div_euclid(1_000_000) * 1_000_000).to_string()
}

/// True for a line that Houston's own requests left in a log: its user agent or its marker header.
pub fn is_own(line: &[u8]) -> bool {
    static FINDER: std::sync::LazyLock<memchr::memmem::Finder<'static>> =
        std::sync::LazyLock::new(|| memchr::memmem::Finder::new("ouston"));
    FINDER.find_iter(line).any(|at| {
        let from = at.saturating_sub(1);
        let rest = &line[from..];
        let agent = rest.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"houston/"))
            && rest.get(8).is_some_and(u8::is_ascii_digit)
            && (from == 0 || !(line[from - 1].is_ascii_alphanumeric() || matches!(line[from - 1], b'/' | b'-' | b'_')));
        let marker = from >= 2
            && line.get(from - 2..from + 13).is_some_and(|name| name.eq_ignore_ascii_case(b"x-houston-probe"));
        agent || marker
    })
}

fn skew(coverage: &Coverage) -> String {
    let share = coverage.skewed() * 100.0;
    let share = if share < 0.1 { "fewer than 0.1 %".to_owned() } else { format!("{share:.1} %") };
    match (coverage.future, coverage.misplaced) {
        (0, _) => format!("{share} of the lines carry a time from long before their neighbours"),
        (_, 0) => format!("{share} of the lines carry a time in the future"),
        _ => format!("{share} of the lines carry a time in the future or from long before their neighbours"),
    }
}

/// Up to three reasons in one sentence.
fn sentences<'a>(reasons: impl Iterator<Item = &'a str>) -> String {
    let reasons: Vec<&str> = reasons.collect();
    let more = if reasons.len() > 3 { format!("; and {} more", reasons.len() - 3) } else { String::new() };
    reasons[..reasons.len().min(3)].join("; ") + &more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn houstons_own_requests_are_known() {
        for (line, own) in [
            (r#""GET / HTTP/1.1" 200 1 "-" "houston/0.1.0""#, true),
            (r#"{"user_agent":"houston/0.1","status":200}"#, true),
            (r#"{"headers":{"x-houston-probe":"1"}}"#, true),
            ("X-Houston-Probe: T-1", true),
            ("houston/1.0", true),
            ("GET /srv/houston/1 HTTP/1.1", false),
            ("Houston, we have a problem", false),
            ("houston/", false),
            ("ouston", false),
        ] {
            assert_eq!(is_own(line.as_bytes()), own, "{line}");
        }
    }

    #[test]
    fn a_source_that_cannot_be_used_is_refused() {
        let zone = |zone: &str| TimeConfig { field: None, zone: Some(zone.to_owned()) };
        for (paths, time, key, part) in [
            (vec![], None, "paths", "no path"),
            (vec!["/var/log/"], None, "paths", "names no file"),
            (vec!["/var/log/[.log"], None, "paths", "no pattern"),
            (vec!["/a"], Some(zone("Mars/Base")), "timestamp.zone", "unknown time zone"),
        ] {
            let paths: Vec<String> = paths.into_iter().map(str::to_owned).collect();
            let error = LogSource::new(&paths, time.as_ref(), None).unwrap_err();
            assert!(error.key == key && error.why.contains(part), "{error}");
        }
        assert!(pattern("match", r"\w{1000}\w{1000}").unwrap_err().why.contains("1 MiB"));
        assert!(pattern("match", "(a").unwrap_err().why.contains("unclosed group"));
    }
}
