//! What a test's report says: its steps, whether each passed, and whether the report is whole.

use std::collections::BTreeMap;

use crate::model::encode;
use crate::model::value::{Measures, Value};

/// The most steps of a report.
pub(super) const STEPS: usize = 10_000;
/// The most steps that the measure `step` lists; all of them are counted.
const LISTED: usize = 200;
/// The most characters of a name or a message.
const TEXT: usize = 300;

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Passed,
    /// What it asserts isn't so.
    Failed,
    /// It could not be tried: an error of the test's own.
    Broke,
    Skipped,
}

impl Ended {
    fn name(self) -> &'static str {
        match self {
            Ended::Passed => "passed",
            Ended::Failed => "failed",
            Ended::Broke => "error",
            Ended::Skipped => "skipped",
        }
    }
}

/// One test case.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) ended: Ended,
    pub(super) seconds: Option<f64>,
    /// Why it failed, in the test's own words.
    pub(super) message: String,
}

impl Step {
    pub(super) fn new(name: &str, ended: Ended) -> Self {
        Step { name: line(name), ended, seconds: None, message: String::new() }
    }

    pub(super) fn message(mut self, text: &str) -> Self {
        self.message = line(text);
        self
    }
}

/// A report as it was read.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Report {
    pub(super) steps: Vec<Step>,
    /// Why it doesn't tell everything, where it doesn't.
    pub(super) incomplete: Option<String>,
}

impl Report {
    pub(super) fn count(&self, ended: Ended) -> usize {
        self.steps.iter().filter(|step| step.ended == ended).count()
    }

    /// The first one that failed, or else the first one that broke.
    pub(super) fn culprit(&self) -> Option<&Step> {
        let first = |ended| self.steps.iter().find(|step| step.ended == ended);
        first(Ended::Failed).or_else(|| first(Ended::Broke))
    }

    /// Sets what the report says.
    pub(super) fn measure(&self, measures: &mut Measures) {
        measures
            .set("steps", self.count(Ended::Passed))
            .set("failures", self.count(Ended::Failed))
            .set("errors", self.count(Ended::Broke))
            .set("skipped", self.count(Ended::Skipped))
            .set("step", Value::List(self.steps.iter().take(LISTED).map(listed).collect()));
        if let Some(step) = self.culprit() {
            measures.set("failed_step", step.name.as_str()).set("message", step.message.as_str());
        }
    }

    /// What failed, a line each.
    pub(super) fn complaints(&self) -> String {
        let wrong = self.steps.iter().filter(|step| matches!(step.ended, Ended::Failed | Ended::Broke));
        wrong.take(10).map(|step| format!("{}: {}", step.name, step.message)).collect::<Vec<_>>().join("\n")
    }
}

fn listed(step: &Step) -> Value {
    let mut entry = BTreeMap::new();
    entry.insert("name".to_owned(), Value::from(step.name.as_str()));
    entry.insert("result".to_owned(), Value::from(step.ended.name()));
    if let Some(seconds) = step.seconds {
        entry.insert("duration_seconds".to_owned(), Value::from(seconds));
    }
    Value::Map(entry)
}

/// A number of seconds that can be one.
pub(super) fn seconds(text: &str) -> Option<f64> {
    // Some writers put separators between thousands.
    let seconds: f64 = text.trim().replace(',', "").parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then_some(seconds)
}

/// The first lines of a text as one, safe to show.
fn line(text: &str) -> String {
    let short: String = text.trim().chars().take(TEXT).collect();
    encode::terminal(&short)
}
