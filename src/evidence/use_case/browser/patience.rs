//! How long a step waits, and whose fault it is when that was in vain.

use std::time::Duration;

use tokio::time::Instant;

use super::run::End;
use super::step::Step;
use crate::model::observation::{Broken, Fault, Phase, Unknown, UnknownKind};
use crate::model::units::show_duration;

/// A page that isn't as it should be for this long, or for half of the check's time, is itself to blame.
const FAIR_CHANCE: Duration = Duration::from_secs(1);

/// A step's time.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub began: Instant,
    pub end: Instant,
    /// The end is the step's own, not the check's.
    pub is_own: bool,
    /// The check's.
    pub total: Duration,
}

impl Patience {
    fn is_fair(&self) -> bool {
        let waited = self.began.elapsed();
        self.is_own || waited >= FAIR_CHANCE || waited >= self.total / 2
    }

    fn short(&self) -> End {
        let left = show_duration(self.began.elapsed());
        let why = format!("only {left} of the check's {} were left for it", show_duration(self.total));
        End::Blind(Unknown::new(UnknownKind::TimedOut, why))
    }

    pub fn late(&self, broken: Vec<Broken>) -> End {
        if self.is_fair() { End::Broken(broken) } else { self.short() }
    }

    /// The act itself could not be done.
    pub fn broken(&self, step: &Step, actual: String) -> End {
        let actual = format!("{actual}, after {}", show_duration(self.began.elapsed()));
        self.late(vec![Broken { that: step.that.clone(), actual, at: step.at.to_string(), note: None, odd: false }])
    }

    pub fn fault(&self, phase: Phase, what: String) -> End {
        if self.is_fair() { End::Failed(Fault { phase, what }) } else { self.short() }
    }
}
