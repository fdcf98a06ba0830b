//! Counts what the lines of one span say.

use std::collections::{BTreeMap, BTreeSet};

use regex::bytes::Regex;

use super::line::{self, Format};
use super::secrets;
use crate::evidence::log_source::is_own;
use crate::files::scan::Entry;
use crate::files::timestamp::Micros;
use crate::stats::templates::{Known, Miner};

/// What a pattern sees of one line, in bytes.
pub const PATTERN_REACH: usize = 8 * 1024;

/// How many templates keep a line of theirs to be shown.
const SAMPLES: usize = 64;

/// How many templates are handed on to be remembered.
const REMEMBERED: usize = 4_000;

/// What a line of an excerpt keeps, in bytes.
const SAMPLE_LENGTH: usize = 300;

/// Which lines count, and how they are read.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    pub format: Format,
    pub matching: Option<&'a Regex>,
    pub exclude: Option<&'a Regex>,
    /// Only the lines of this customer.
    pub customer: Option<(&'a Whose, &'a str)>,
}

/// Where a line says whose it is.
#[derive(Debug, Clone)]
pub enum Whose {
    /// Names on the way to a field.
    Field(Vec<String>),
    /// The first group of a pattern.
    Pattern(Regex),
}

impl Whose {
    fn is(&self, line: &[u8], customer: &str) -> bool {
        match self {
            Whose::Field(path) => line::field(line, path).is_some_and(|value| *value == *customer.as_bytes()),
            Whose::Pattern(pattern) => pattern
                .captures(&line[..line.len().min(PATTERN_REACH)])
                .and_then(|groups| groups.get(1).map(|group| group.as_bytes() == customer.as_bytes()))
                .unwrap_or(false),
        }
    }
}

/// The counts of one span.
#[derive(Debug, Default)]
pub struct Tally {
    /// Lines that say that the log is alive, whether they count or not.
    pub alive: u64,
    pub lines: u64,
    pub matches: u64,
    pub first_match: Option<Micros>,
    pub last_match: Option<Micros>,
    miner: Option<Miner>,
    /// The first line of a template, by its number.
    samples: BTreeMap<usize, String>,
    /// What became of the line above, for those that belong to it.
    above: Above,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Above {
    #[default]
    Counted,
    /// Houston's own.
    Own,
    /// Excluded, or another customer's.
    Apart,
}

impl Tally {
    /// `mine`: find templates, too.
    pub fn new(mine: bool) -> Self {
        Tally { miner: mine.then(Miner::new), ..Tally::default() }
    }

    pub fn add(&mut self, entry: &Entry<'_>, rules: &Rules<'_>) {
        self.add_at_level(entry, false, rules);
    }

    /// The same for a line of which it is known from elsewhere that it is an error, or of which nothing is known.
    pub fn add_at_level(&mut self, entry: &Entry<'_>, error: bool, rules: &Rules<'_>) {
        let line = entry.line;
        if entry.stamp.is_some() {
            self.above = Above::Counted;
            if is_own(line) {
                self.above = Above::Own;
            } else if rules.customer.is_some_and(|(whose, customer)| !whose.is(line, customer)) {
                self.above = Above::Apart;
            }
        }
        if self.above == Above::Own {
            return;
        }
        self.alive += 1;
        let reach = &line[..line.len().min(PATTERN_REACH)];
        if self.above == Above::Apart || rules.exclude.is_some_and(|exclude| exclude.is_match(reach)) {
            return;
        }
        self.lines += 1;
        if self.miner.is_none() && rules.matching.is_some() {
            return self.matched(entry.at, rules.matching.is_some_and(|matching| matching.is_match(reach)));
        }
        let mut said =
            if entry.stamp.is_some() { Some(line::read(entry, rules.format)) } else { line::continuation(line) };
        if let Some(said) = &mut said {
            said.error |= error;
        }
        let error = said.as_ref().is_some_and(|said| said.error);
        // A line of a trace counts as a match only by a pattern: its error is the line above.
        let own_error = error && entry.stamp.is_some();
        self.matched(entry.at, rules.matching.map_or(own_error, |matching| matching.is_match(reach)));
        if let (Some(miner), Some(said)) = (&mut self.miner, said)
            && let Some(index) = miner.add(&said.message, error)
            && error
            && self.samples.len() < SAMPLES
        {
            self.samples
                .entry(index)
                .or_insert_with(|| String::from_utf8_lossy(&line[..line.len().min(4 * SAMPLE_LENGTH)]).into_owned());
        }
    }

    fn matched(&mut self, at: Micros, matched: bool) {
        if matched {
            self.matches += 1;
            self.first_match = Some(self.first_match.map_or(at, |first| first.min(at)));
            self.last_match = Some(self.last_match.map_or(at, |last| last.max(at)));
        }
    }

    /// The templates of this span with what looks like a secret struck out, most frequent errors first.
    pub fn templates(&self) -> Vec<Shown<'_>> {
        let Some(miner) = &self.miner else { return Vec::new() };
        let mut shown: Vec<Shown<'_>> = miner
            .templates()
            .iter()
            .enumerate()
            .filter(|(_, template)| template.count > 0)
            .map(|(index, template)| Shown {
                text: secrets::mask(&template.text),
                count: template.count,
                error: template.error,
                sample: self.samples.get(&index).map(String::as_str),
            })
            .collect();
        shown.sort_by_key(|shown| (std::cmp::Reverse((shown.error, shown.count)), shown.text.clone()));
        shown
    }

    /// Messages that found no room among the templates.
    pub fn overflow(&self) -> (u64, u64) {
        self.miner.as_ref().map_or((0, 0), Miner::overflow)
    }
}

/// A template, fit to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown<'a> {
    pub text: String,
    pub count: u64,
    pub error: bool,
    sample: Option<&'a str>,
}

/// What is new in a span against what is known of its source.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Novelty {
    pub new: u64,
    pub new_errors: u64,
    /// Lines of new errors (or, where there are none, of errors), to be shown.
    pub excerpt: String,
    /// What may be remembered at once: all but errors.
    pub remember: Vec<String>,
}

impl Tally {
    /// True where every message is among these: then no past can make any of them new or known.
    pub fn is_familiar(&self, known: &BTreeSet<String>) -> bool {
        let known = Known(known);
        !known.0.is_empty() && self.overflow() == (0, 0) && self.templates().iter().all(|shown| known.has(&shown.text))
    }
}

/// Compares; without a past nothing is called new.
pub fn novelty(templates: &[Shown<'_>], known: Option<&BTreeSet<String>>) -> Novelty {
    let mut novelty = Novelty::default();
    let is_new = |shown: &Shown<'_>| known.is_some_and(|known| !Known(known).has(&shown.text));
    let mut lines = Vec::new();
    let mut others = Vec::new();
    for shown in templates {
        let new = is_new(shown);
        novelty.new += u64::from(new);
        novelty.new_errors += u64::from(new && shown.error);
        if let (true, Some(sample)) = (shown.error, shown.sample) {
            let list = if new { &mut lines } else { &mut others };
            if list.len() < 6 {
                list.push(format!("{} × {}", shown.count, cut(&secrets::mask(sample))));
            }
        }
        if !shown.error && novelty.remember.len() < REMEMBERED {
            novelty.remember.push(shown.text.clone());
        }
    }
    novelty.excerpt = if lines.is_empty() { others } else { lines }.join("\n");
    novelty
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SAMPLE_LENGTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
