//! Spans of time that a question or an answer is about.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// A closed span of time. `from` is not after `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Window {
    /// The span between two instants, whichever comes first.
    pub fn new(a: Timestamp, b: Timestamp) -> Self {
        if a <= b { Window { from: a, to: b } } else { Window { from: b, to: a } }
    }

    /// The span of this length that ends at `to`.
    pub fn ending_at(to: Timestamp, length: SignedDuration) -> Self {
        Window::new(to.checked_sub(length).unwrap_or(Timestamp::MIN), to)
    }

    pub fn length(&self) -> SignedDuration {
        self.from.duration_until(self.to)
    }

    pub fn seconds(&self) -> f64 {
        self.length().as_secs_f64()
    }

    /// The same span, this much earlier.
    pub fn earlier(&self, by: SignedDuration) -> Self {
        Window::new(
            self.from.checked_sub(by).unwrap_or(Timestamp::MIN),
            self.to.checked_sub(by).unwrap_or(Timestamp::MIN),
        )
    }

    pub fn contains(&self, at: Timestamp) -> bool {
        self.from <= at && at <= self.to
    }
}

/// Which of its two questions a look answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// What was true in the symptom window.
    Then,
    /// What is true now.
    Now,
}

/// When the reporter saw the trouble. Without an end it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symptom {
    pub from: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to: Option<Timestamp>,
}

impl Symptom {
    /// The span to look at, for a triage that runs at `now`.
    pub fn window(&self, now: Timestamp) -> Window {
        Window::new(self.from, self.to.unwrap_or(now))
    }

    /// True where the trouble ended before now.
    pub fn is_past(&self, now: Timestamp) -> bool {
        self.to.is_some_and(|to| to < now)
    }
}
