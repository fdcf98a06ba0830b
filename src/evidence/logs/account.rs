//! What the lines of a window come to, wherever they were written down: counts, what is new, what was usual before.

use std::collections::BTreeSet;

use super::tally::{Tally, novelty};
use crate::evidence::log_source::{Question, show_time};
use crate::model::measure::{Measure, Type};
use crate::model::observation::Observation;
use crate::model::units::show_duration;
use crate::model::value::Measures;
use crate::model::window::Window;

/// A past of fewer lines than this can't say that something is new.
const PAST_LINES: u64 = 10;

/// The measures of every kind that reads lines.
pub const MEASURES: &[Measure] = &[
    Measure { name: "lines", kind: Type::Number, unit: "count", meaning: "lines in the window" },
    Measure { name: "matches", kind: Type::Number, unit: "count", meaning: "lines that match" },
    Measure {
        name: "matches_per_second",
        kind: Type::Number,
        unit: "per second",
        meaning: "matching lines per second of the window",
    },
    Measure { name: "match_ratio", kind: Type::Number, unit: "ratio 0–1", meaning: "share of the lines that match" },
    Measure {
        name: "new_templates",
        kind: Type::Number,
        unit: "count",
        meaning: "messages whose template this log was not seen to write before",
    },
    Measure { name: "new_error_templates", kind: Type::Number, unit: "count", meaning: "of these, errors" },
    Measure {
        name: "last_line_age_seconds",
        kind: Type::Number,
        unit: "seconds",
        meaning: "how long ago the log's last line was written, whatever the window",
    },
    Measure {
        name: "top",
        kind: Type::List,
        unit: "texts",
        meaning: "the most frequent templates, errors first, each with its count",
    },
];

/// What a log wrote before the window.
#[derive(Debug, Default)]
pub struct OwnPast {
    pub known: BTreeSet<String>,
    /// What may be remembered: an error only where it is a day old. One of the last hour may belong to the very outage
    /// that is asked about, and the next ticket about it must still find it new.
    pub lasting: BTreeSet<String>,
    /// Lines that say that the log was alive.
    lines: u64,
}

impl OwnPast {
    /// Adds what a span of the past says; `yesterday` where that is a day ago.
    pub fn add(&mut self, tally: &Tally, yesterday: bool) {
        self.lines += tally.alive;
        for shown in tally.templates() {
            if !shown.error || yesterday {
                self.lasting.insert(shown.text.clone());
            }
            self.known.insert(shown.text);
        }
    }

    /// The past, where there is enough of it; `first` is the time of its earliest line.
    ///
    /// # Errors
    /// Why it can't say what is new.
    pub fn enough(self, question: &Question, first: Option<jiff::Timestamp>) -> Result<Self, String> {
        let from = question.window.from.min(question.since);
        let enough = question.window.length().min(jiff::SignedDuration::from_hours(1));
        let reach = first.map_or(jiff::SignedDuration::ZERO, |first| first.duration_until(from));
        if self.lines < PAST_LINES || reach < enough {
            return Err(format!(
                "what is new can't be told: the log has {} lines in {} before the window, and needs {PAST_LINES} in {}",
                self.lines,
                show_duration(reach.try_into().unwrap_or_default()),
                show_duration(enough.try_into().unwrap_or_default())
            ));
        }
        Ok(self)
    }
}

/// Everything that was read for one question.
#[derive(Debug, Default)]
pub struct Account {
    pub tally: Tally,
    /// Comparable spans of the past.
    pub past: Vec<(Window, Tally)>,
    /// Templates that are known, where there is a past.
    pub known: Option<BTreeSet<String>>,
    /// Templates of the log's own past that may be remembered.
    pub usual_words: BTreeSet<String>,
    /// Why what is new can't be told.
    pub why_unknown: Option<String>,
}

impl Account {
    /// Takes in what is remembered of this log, and what it wrote before the window.
    pub fn knows(&mut self, remembered: Option<&BTreeSet<String>>, own: Option<Result<OwnPast, String>>) {
        self.known = remembered.filter(|remembered| !remembered.is_empty()).cloned();
        match own {
            Some(Ok(own)) => {
                self.known.get_or_insert_default().extend(own.known);
                self.usual_words = own.lasting;
            }
            Some(Err(why)) => self.why_unknown = Some(why),
            None => {}
        }
        if let Some(remembered) = remembered {
            // Seen again: it stays remembered.
            let again = self.tally.templates().into_iter().map(|shown| shown.text);
            self.usual_words.extend(again.filter(|text| remembered.contains(text)));
        }
    }

    /// True where there was no line to answer with.
    pub fn is_empty(&self, question: &Question) -> bool {
        if question.customer.is_some() { self.tally.lines == 0 } else { self.tally.alive == 0 }
    }

    /// The measures, the excerpt, what is to be remembered and what was usual. `absent` says why an empty window is
    /// healthy; `measures` holds what is known besides.
    pub fn tell(self, question: &Question, absent: Option<&str>, mut measures: Measures) -> Observation {
        let mut observation = Observation::answered(Measures::new()).window(question.window);
        let mut notes = Vec::new();
        let (nothing, tally) = (self.is_empty(question), self.tally);
        if !nothing || absent.is_some() {
            measures.set("lines", tally.lines).set("matches", tally.matches);
            measures.set("matches_per_second", per_second(tally.matches, question.window));
            if tally.lines > 0 {
                measures.set("match_ratio", tally.matches as f64 / tally.lines as f64);
            }
            let templates = tally.templates();
            let top: Vec<String> =
                templates.iter().take(5).map(|shown| format!("{} × {}", shown.count, shown.text)).collect();
            measures.set("top", top);
            let news = novelty(&templates, self.known.as_ref());
            if self.known.is_some() || absent.is_some() {
                measures.set("new_templates", news.new).set("new_error_templates", news.new_errors);
            } else {
                notes.extend(self.why_unknown);
            }
            observation = observation.excerpt(news.excerpt);
            observation.templates = news.remember;
            observation.templates.extend(self.usual_words);
            observation.templates.sort_unstable();
            observation.templates.dedup();
        }
        if let (ordinary, errors @ 1..) | (ordinary @ 1.., errors) = tally.overflow() {
            notes.push(format!(
                "a flood of different messages: {} lines found no room among 20000 templates",
                ordinary + errors
            ));
        }
        if let (Some(first), Some(last)) = (tally.first_match, tally.last_match) {
            notes.push(format!("first match {}, last {}", show_time(first), show_time(last)));
        }
        if let Some(because) = absent {
            notes.push(format!("no line in the window, which is healthy here: {because}"));
        }
        for name in &question.usual {
            let values = self.past.iter().filter_map(|(window, tally)| match name.as_str() {
                "lines" => Some(tally.lines as f64),
                "matches" => Some(tally.matches as f64),
                "matches_per_second" => Some(per_second(tally.matches, *window)),
                "match_ratio" => (tally.lines > 0).then(|| tally.matches as f64 / tally.lines as f64),
                _ => None,
            });
            observation.past.insert(name.clone(), values.collect());
        }
        observation.measures = measures;
        observation.notes = notes;
        observation
    }
}

fn per_second(count: u64, window: Window) -> f64 {
    count as f64 / window.seconds().max(1e-3)
}
