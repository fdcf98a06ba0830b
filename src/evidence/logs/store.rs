//! What the kinds that ask a store of logs share: which spans are asked for, in which order, and what the answers say.
//!
//! A store answers for a span with its lines, up to a bound. The window itself, the hour before and the same time
//! yesterday are asked for at once; then the spans that `usual(…)` compares with. Only the window decides whether there
//! is an answer: a past that didn't come makes new what is known less, and that is said.

use std::sync::OnceLock;
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use regex::bytes::Regex;
use tokio::time::Instant;

use super::account::{Account, OwnPast};
use super::line::Format;
use super::tally::{Rules, Tally};
use crate::evidence::endpoint::AbsentMeans;
use crate::evidence::log_source::{self, Question, Unfit};
use crate::evidence::{Ask, Key};
use crate::files::scan::Entry;
use crate::files::timestamp::{Clock, Micros, Stamp, micros, timestamp};
use crate::model::observation::{Observation, Unknown, UnknownKind};
use crate::model::source::Diagnostic;
use crate::model::value::Measures;
use crate::model::window::Window;
use crate::yaml::{Node, Spanned};

/// The most lines of a window, unless the check says otherwise.
pub const LINES: usize = 20_000;
/// The most that a check can say.
pub const LINES_LIMIT: usize = 100_000;
/// How far back the last line is looked for where the window has none.
const LAST_LINE: SignedDuration = SignedDuration::from_hours(1);
/// What is kept of one line, in bytes.
const LINE_LENGTH: usize = 64 * 1024;
/// So many lines are counted at a time, before others have their turn.
const TURN: usize = 500;

/// One line of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub at: Micros,
    /// May be of several lines itself: a stack trace.
    pub text: Vec<u8>,
    /// The store itself says that it is an error.
    pub error: bool,
}

/// What a store has of a span, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Span {
    pub lines: Vec<Line>,
    /// Why these are not all: "more than 20000 lines".
    pub incomplete: Option<String>,
    /// What a reader should know besides.
    pub notes: Vec<String>,
}

/// What is asked of a store.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wanted {
    pub window: Window,
    /// The most lines.
    pub limit: usize,
    /// Of everyone, whoever the question is about.
    pub everyone: bool,
    pub deadline: Instant,
}

/// A store that can be asked for the lines of a span.
pub trait Store: Sync {
    fn lines(&self, wanted: Wanted) -> impl Future<Output = Result<Span, Unknown>> + Send;

    /// Whether somebody would have written down what is looked for: that nothing is there is a good sign only then.
    fn is_alive(&self, window: Window, deadline: Instant) -> impl Future<Output = Result<(), Unknown>> + Send;

    /// The newest lines are those that a limit leaves.
    fn newest_first(&self) -> bool {
        true
    }
}

/// Which lines count, as a check declares it.
#[derive(Debug)]
pub struct Rule {
    pub format: Format,
    pub matching: Option<Pattern>,
    pub exclude: Option<Pattern>,
    pub limit: usize,
    /// Why no line is a good sign.
    pub absent: Option<String>,
}

impl Rule {
    /// # Errors
    /// Says which key has a value that can't be used.
    pub fn new(
        format: Format,
        matching: Option<&String>,
        exclude: Option<&String>,
        limit: Option<usize>,
        absent: Option<String>,
    ) -> Result<Self, Unfit> {
        let pattern = |key, text: Option<&String>| text.map(|text| Pattern::new(key, text)).transpose();
        let limit = limit.unwrap_or(LINES);
        if !(1..=LINES_LIMIT).contains(&limit) {
            return Err(Unfit::new("limit", format!("the limit is from 1 to {LINES_LIMIT} lines")));
        }
        let (matching, exclude) = (pattern("match", matching)?, pattern("exclude", exclude)?);
        Ok(Rule { format, matching, exclude, limit, absent })
    }

    /// The same of what stands in a check's value.
    ///
    /// # Errors
    /// A value that can't be used, at its own place.
    pub fn read(
        node: &Node,
        format: Format,
        matching: Option<&String>,
        exclude: Option<&String>,
        limit: Option<usize>,
        absent_means: Option<Spanned<AbsentMeans>>,
    ) -> Result<Self, Diagnostic> {
        let absent = absent_means.map(AbsentMeans::because).transpose()?.flatten();
        Rule::new(format, matching, exclude, limit, absent).map_err(|unfit| unfit.at(node))
    }

    fn rules(&self) -> Rules<'_> {
        Rules {
            format: self.format,
            matching: self.matching.as_ref().and_then(Pattern::get),
            exclude: self.exclude.as_ref().and_then(Pattern::get),
            customer: None,
        }
    }
}

/// A pattern that is compiled when it is first used: thousands of checks would otherwise cost a hundred megabytes.
#[derive(Debug, Default)]
pub struct Pattern {
    pub text: String,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// # Errors
    /// What is wrong with it.
    pub fn new(key: &'static str, text: &str) -> Result<Self, Unfit> {
        log_source::pattern(key, text)?;
        Ok(Pattern { text: text.to_owned(), compiled: OnceLock::new() })
    }

    pub fn get(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| log_source::pattern("", &self.text).ok()).as_ref()
    }
}

/// Asks a store, and says what its lines come to. `system` is the store's name for people.
pub async fn look(ask: &Ask, rule: &Rule, store: &impl Store, system: &str) -> Observation {
    let started = Instant::now();
    let observation = take(ask, rule, store, system).await;
    observation.took(started.elapsed())
}

async fn take(ask: &Ask, rule: &Rule, store: &impl Store, system: &str) -> Observation {
    let question = Question::of(ask, Default::default());
    // A little before the caller gives up, so that the answer can still say what was waited for; the past has less, so
    // that it never costs the answer.
    let left = ask.deadline.saturating_duration_since(Instant::now());
    let deadline = ask.deadline - (left / 20).min(Duration::from_millis(100));
    let soon = Instant::now() + left.mul_f64(0.6);
    let wanted = |window, limit, everyone, deadline| Wanted { window, limit, everyone, deadline };

    let [before, yesterday] = question.just_before();
    let (seen, before, yesterday) = tokio::join!(
        store.lines(wanted(question.window, rule.limit, false, deadline)),
        store.lines(wanted(before, rule.limit, true, soon)),
        store.lines(wanted(yesterday, rule.limit, true, soon)),
    );
    let seen = match seen {
        Ok(seen) => seen,
        Err(unknown) => return Observation::blind(unknown.kind, unknown.why).window(question.window),
    };
    let rules = rule.rules();
    let clock = Clock::new(TimeZone::UTC, None, question.now);
    let mut account = Account { tally: count(&seen.lines, true, &rules, &clock).await, ..Account::default() };
    let own = own_past(&question, [before, yesterday], &rules, &clock).await;
    account.knows(ask.memory.templates.get(&*ask.check).map(|known| &**known), Some(own));

    // The window's last line is the log's where the window reaches to now, and nothing of it was left out.
    let has_newest = question.window.to >= question.now && question.customer.is_none();
    let has_newest = has_newest && (store.newest_first() || seen.incomplete.is_none());
    let last = match seen.lines.last().filter(|_| has_newest) {
        Some(line) => Some(line.at),
        None => {
            let recent = Window::ending_at(question.now, LAST_LINE);
            let newest = store.lines(wanted(recent, 1, true, soon)).await;
            newest.ok().and_then(|span| span.lines.last().map(|line| line.at))
        }
    };
    account.past = usual(&question, rule, store, &rules, &clock, soon).await;

    let nothing = account.is_empty(&question);
    let alive = match (&rule.absent, nothing && seen.incomplete.is_none()) {
        (Some(_), true) => store.is_alive(question.window, deadline).await,
        _ => Ok(()),
    };
    let absent = rule.absent.as_deref().filter(|_| nothing && seen.incomplete.is_none() && alive.is_ok());
    let mut measures = Measures::new();
    if let Some(last) = last {
        measures.set("last_line_age_seconds", (micros(question.now) - last).max(0) as f64 / 1e6);
    }
    let lines = account.tally.lines;
    let mut observation = account.tell(&question, absent, measures);
    observation.notes.splice(0..0, seen.notes);
    observation.data_until = last.map(timestamp);
    observation.excerpt = observation.excerpt.map(|text| ask.tools.redactor.strike(&text));
    if let Some(why) = seen.incomplete {
        let why = format!("{system}: {why} in the window, at least {lines} count; ask for less, or raise `limit`");
        return log_source::blind(observation, Unknown::new(UnknownKind::Incomplete, why));
    }
    match alive {
        Err(unknown) => log_source::blind(observation, unknown),
        Ok(()) if nothing && absent.is_none() => {
            let what = if question.customer.is_some() { "line of the ticket's customer" } else { "line" };
            let empty = log_source::empty(&question, what, last);
            log_source::blind(observation, Unknown::new(empty.kind, format!("{system}: {}", empty.why)))
        }
        Ok(()) => observation,
    }
}

/// What the log wrote in the hour before the window and around the same time yesterday.
async fn own_past(
    question: &Question,
    spans: [Result<Span, Unknown>; 2],
    rules: &Rules<'_>,
    clock: &Clock,
) -> Result<OwnPast, String> {
    // What is known noise now was noise then.
    let rules = Rules { exclude: None, ..*rules };
    let mut own = OwnPast::default();
    let mut first: Option<Micros> = None;
    for (span, is_yesterday) in spans.into_iter().zip([false, true]) {
        let span = span.map_err(|unknown| format!("what is new can't be told: {}", unknown.why))?;
        first = [first, span.lines.first().map(|line| line.at)].into_iter().flatten().min();
        own.add(&count(&span.lines, true, &rules, clock).await, is_yesterday);
    }
    own.enough(question, first.map(timestamp))
}

/// Comparable spans of the past; one that isn't there whole is no sample.
async fn usual(
    question: &Question,
    rule: &Rule,
    store: &impl Store,
    rules: &Rules<'_>,
    clock: &Clock,
    deadline: Instant,
) -> Vec<(Window, Tally)> {
    let windows: Vec<Window> = question.past().collect();
    let asked = windows.into_iter().map(|window| async move {
        let span = store.lines(Wanted { window, limit: rule.limit, everyone: false, deadline }).await.ok()?;
        if span.incomplete.is_some() || span.lines.is_empty() {
            return None;
        }
        Some((window, count(&span.lines, false, rules, clock).await))
    });
    let samples: Vec<Option<(Window, Tally)>> = futures_util::stream::iter(asked).buffered(3).collect().await;
    samples.into_iter().flatten().collect()
}

/// Counts lines. `mine`: find templates, too.
async fn count(lines: &[Line], mine: bool, rules: &Rules<'_>, clock: &Clock) -> Tally {
    let mut head = Vec::new();
    for line in lines.iter().take(200) {
        head.extend_from_slice(&line.text[..line.text.len().min(512)]);
        head.push(b'\n');
    }
    let mut recogniser = clock.recogniser(&head);
    let mut tally = Tally::new(mine);
    for turn in lines.chunks(TURN) {
        for line in turn {
            for (index, part) in line.text.split(|byte| *byte == b'\n').enumerate() {
                if index > 0 && part.is_empty() {
                    continue;
                }
                let cut = part.len() > LINE_LENGTH;
                let text = &part[..part.len().min(LINE_LENGTH)];
                let continues = index > 0 || text.first().is_some_and(u8::is_ascii_whitespace);
                // It has its time beside it; one inside of it is no part of what it says.
                let bare = Stamp { at: line.at, start: 0, end: 0, zoned: true };
                let stamp = if continues { None } else { Some(recogniser.stamp(text).unwrap_or(bare)) };
                let entry = Entry { line: text, at: line.at, stamp, cut, ended: true };
                tally.add_at_level(&entry, line.error, rules);
            }
        }
        tokio::task::yield_now().await;
    }
    tally
}

/// The keys that these kinds share.
pub const MATCH: Key = Key {
    name: "match",
    takes: "regular expression",
    default: Some("lines of an error level"),
    meaning: "the lines that count as matches; sees the first 8 KiB of a line",
};
pub const EXCLUDE: Key = Key {
    name: "exclude",
    takes: "regular expression",
    default: Some("none"),
    meaning: "lines that are left out: known noise",
};
pub const FORMAT: Key = Key {
    name: "format",
    takes: "auto, json, logfmt, plain, syslog",
    default: Some("auto"),
    meaning: "how level and message are found in a line",
};
pub const LIMIT: Key = Key {
    name: "limit",
    takes: "number of lines, at most 100000",
    default: Some("20000"),
    meaning: "the most lines of a window; where there are more, the answer is incomplete",
};
pub const ABSENT: Key = Key {
    name: "absent_means",
    takes: "{ healthy: true, because }",
    default: Some("unknown"),
    meaning: "that a window without any line is no reason to worry, and why",
};
