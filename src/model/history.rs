//! What is remembered of a check that is looked at in the background: samples of late, hours for longer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::look::Outcome;
use super::verdict::{CurrentState, Decision, Verdict};
use super::window::Window;

/// The most measures of one sample that are kept, the first by name.
const MEASURES: usize = 24;
/// The most characters of a reason that are kept.
const WHY: usize = 200;
/// An hour of one measure is kept as so many of its values, evenly spread over their order.
pub const POINTS: usize = 9;
/// Milliseconds in an hour.
pub const HOUR: i64 = 3_600_000;

/// A time in which something was wrong with these services: what was sampled then says nothing of what is usual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub window: Window,
    pub services: BTreeSet<String>,
}

impl Trouble {
    /// Where a verdict says that there was an issue, decided at this time: when, and with what.
    pub fn of(verdict: &Verdict, decided_at: Timestamp) -> Option<Self> {
        if verdict.decision != Decision::Issue {
            return None;
        }
        let went_on = !matches!(verdict.current_state, CurrentState::Ok | CurrentState::Recovered);
        let to = if went_on { verdict.window.to.max(decided_at) } else { verdict.window.to };
        let failed = verdict.findings.iter().filter(|finding| finding.outcome == Outcome::Bad);
        let services = failed.filter_map(|finding| finding.service.clone()).chain(verdict.ticket.services.clone());
        Some(Trouble { window: Window::new(verdict.window.from, to), services: services.collect() })
    }

    /// True where it may have changed what was seen of this service. Where one of both isn't named, it may.
    pub fn concerns(&self, service: Option<&str>) -> bool {
        self.services.is_empty() || service.is_none_or(|service| self.services.contains(service))
    }
}

/// One look in the background, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When the look began.
    #[serde(rename = "t", with = "milliseconds")]
    pub at: Timestamp,
    #[serde(rename = "o")]
    pub outcome: Outcome,
    /// How long the look took.
    #[serde(rename = "d", with = "millis_of_duration")]
    pub took: Duration,
    /// What was wrong, or why there was no answer; none where it was good.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Those of its measures that are finite numbers.
    #[serde(rename = "m", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measures: BTreeMap<String, f64>,
}

impl Sample {
    pub fn new(at: Timestamp, outcome: Outcome, took: Duration) -> Self {
        Sample { at, outcome, took, why: None, measures: BTreeMap::new() }
    }

    /// What was wrong, cropped.
    pub fn because(mut self, why: &str) -> Self {
        self.why = Some(why.chars().take(WHY).collect());
        self
    }

    /// Keeps the measures that are finite numbers.
    pub fn measured<'a>(mut self, measures: impl IntoIterator<Item = (&'a str, f64)>) -> Self {
        for (name, value) in measures {
            if value.is_finite() && self.measures.len() < MEASURES {
                self.measures.insert(name.to_owned(), value);
            }
        }
        self
    }
}

/// One hour of a check.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many samples had which outcome, by its name.
    #[serde(default)]
    pub outcomes: BTreeMap<String, u32>,
    /// What each measure showed.
    #[serde(default)]
    pub measures: BTreeMap<String, Spread>,
}

/// The values of one measure over one hour.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub count: u32,
    /// At most [`POINTS`] of the values in ascending order, the lowest and the highest among them.
    pub points: Vec<f64>,
}

impl Summary {
    /// Of all samples of one hour. Measures are taken from those that were answered, good or not: what is usual is what
    /// is seen, and a lone bad hour is outvoted by the others.
    pub fn of<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        let mut summary = Summary::default();
        let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for sample in samples {
            *summary.outcomes.entry(sample.outcome.name().to_owned()).or_insert(0) += 1;
            if sample.outcome != Outcome::Unknown {
                for (name, value) in &sample.measures {
                    values.entry(name).or_default().push(*value);
                }
            }
        }
        summary.measures = values.into_iter().map(|(name, values)| (name.to_owned(), Spread::of(values))).collect();
        summary
    }
}

impl Spread {
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let count = u32::try_from(values.len()).unwrap_or(u32::MAX);
        if values.len() > POINTS {
            let last = values.len() - 1;
            values = (0..POINTS).filter_map(|point| values.get(point * last / (POINTS - 1)).copied()).collect();
        }
        Spread { count, points: values }
    }

    /// The middle one.
    pub fn median(&self) -> Option<f64> {
        self.points.get(self.points.len() / 2).copied()
    }
}

/// An hour of one measure with its place in time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hour {
    pub start: Timestamp,
    pub spread: Spread,
}

/// What is usual for one measure at a time of day.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Baseline {
    /// Values of comparable hours; empty while there are too few of these.
    pub values: Vec<f64>,
    /// How many comparable hours there are.
    pub hours: usize,
    /// Where there are too few: when there will be enough, if sampling goes on.
    pub enough_at: Option<Timestamp>,
}

/// What is known of a check from its samples, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Account {
    pub check: String,
    /// `None`: it is not sampled (any more).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_seconds: Option<f64>,
    /// The moment that `low` and `high` are about.
    pub at: Timestamp,
    pub measures: BTreeMap<String, MeasureAccount>,
}

/// One measure of an [`Account`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MeasureAccount {
    /// In order.
    pub hours: Vec<Hour>,
    /// How many of them are comparable with the hour of `at`.
    pub comparable: usize,
    /// What is usual at that hour; `None` where there is no such bound, or too little is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enough_at: Option<Timestamp>,
}

mod milliseconds {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(at.as_millisecond())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let milliseconds = i64::deserialize(deserializer)?;
        Timestamp::from_millisecond(milliseconds).map_err(serde::de::Error::custom)
    }
}

mod millis_of_duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_keeps_the_order_of_its_values() {
        for (values, points) in [
            (vec![], vec![]),
            (vec![3.0, 1.0, 2.0], vec![1.0, 2.0, 3.0]),
            ((0..=80).rev().map(f64::from).collect(), (0..=8).map(|n| f64::from(n * 10)).collect()),
        ] {
            let spread = Spread::of(values.clone());
            assert_eq!((spread.count as usize, spread.points), (values.len(), points));
        }
        assert_eq!(Spread::of(vec![5.0, 1.0, 9.0]).median(), Some(5.0));
        assert_eq!(Spread::default().median(), None);
    }

    #[test]
    fn a_summary_counts_outcomes_and_measures_what_was_answered() {
        let at = Timestamp::UNIX_EPOCH;
        let sample = |outcome, value: f64| Sample::new(at, outcome, Duration::ZERO).measured([("x", value)]);
        let samples = [
            sample(Outcome::Good, 1.0),
            sample(Outcome::Bad, 9.0),
            sample(Outcome::Unknown, 100.0),
            sample(Outcome::Good, f64::NAN),
        ];
        let summary = Summary::of(&samples);
        assert_eq!(summary.outcomes["good"], 2);
        assert_eq!((summary.outcomes["bad"], summary.outcomes["unknown"]), (1, 1));
        assert_eq!(summary.measures["x"], Spread { count: 2, points: vec![1.0, 9.0] });
    }

    #[test]
    fn a_sample_comes_back_as_it_went_and_is_bounded() {
        let sample = Sample::new("2026-11-22T09:00:00.123Z".parse().unwrap(), Outcome::Bad, Duration::from_millis(87))
            .because(&"ü".repeat(1_000))
            .measured((0..100).map(|_| ("x", 1.5)));
        let text = serde_json::to_string(&sample).unwrap();
        assert_eq!(serde_json::from_str::<Sample>(&text).unwrap(), sample);
        assert_eq!(sample.why.as_ref().map(|why| why.chars().count()), Some(WHY));
        let names: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let wide = Sample::new(Timestamp::UNIX_EPOCH, Outcome::Good, Duration::ZERO)
            .measured(names.iter().map(|name| (name.as_str(), 1.0)));
        assert_eq!(wide.measures.len(), MEASURES);
    }
}
