//! An observation held against its expectations.

use serde::{Deserialize, Serialize};

use super::look::{Class, Look, Outcome, Relation};
use super::observation::{Broken, Fault, Unknown};
use super::value::{Measures, Value};
use super::window::Window;

/// One piece of evidence of a verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub check: String,
    pub look: Look,
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<String>,
    pub relation: Relation,
    /// The system asked, and the place it was asked from.
    pub group: String,
    pub class: Class,
    /// The worse one of then and now.
    pub outcome: Outcome,
    /// In the symptom window; absent where the check can only see now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub then: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub now: Option<Outcome>,
    /// How likely the check would see the ticket's issue if it is real.
    pub rho: f64,
    /// Covers everything that the ticket names.
    pub own: bool,
    /// Its silence blocks *no issue*.
    pub needed: bool,
    /// A use-case or external check with a control that ran beside it, its parameters verified.
    pub proof: bool,
    pub control_ok: bool,
    /// How often it was seen to fail.
    pub repeats: u32,
    /// How often it was tried.
    pub attempts: u32,
    /// "20 : 1 for an issue", filled in by the verdict.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub odds: String,
    /// Weight of evidence in nats, filled in by the verdict.
    #[serde(default)]
    pub weight: f64,
    /// The measures that the expectations name, and the kind's own headline.
    #[serde(skip_serializing_if = "Measures::is_empty", default)]
    pub observed: Measures,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub failed: Vec<Broken>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fault: Option<Fault>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unknown: Option<Unknown>,
    /// The expectations that hold, as written, so that a good answer says what it stands for.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub held: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub window: Option<Window>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub excerpt: Option<String>,
    /// Where a picture of what was seen is kept, on the host of whoever looked; for a time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub picture: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reproduce: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notes: Vec<String>,
    /// Where the check is written.
    pub at: String,
    pub took_ms: u64,
}

impl Finding {
    /// True where nobody waits for its answer: it was not needed, and there is none.
    pub fn is_dispensable(&self) -> bool {
        !self.needed && self.outcome == Outcome::Unknown
    }

    /// The finding in a few words: the broken expectation's actual value, the fault, the reason for not knowing.
    pub fn headline(&self) -> String {
        if let Some(broken) = self.failed.first() {
            return format!("{} (expected {})", broken.actual, broken.that);
        }
        if let Some(fault) = &self.fault {
            return format!("{} ({})", fault.what, fault.phase.name());
        }
        if let Some(unknown) = &self.unknown {
            return unknown.why.clone();
        }
        let short = |value: &Value| !matches!(value, Value::Text(text) if text.chars().count() > 40);
        let shown = self.observed.iter().filter(|(_, value)| short(value)).take(2);
        let shown: Vec<String> = shown.map(|(name, value)| format!("{name} {}", value.show(40))).collect();
        match (self.notes.first(), self.held.first()) {
            // A probe that has several measures says in its first note what they come to.
            (Some(note), None) => return note.clone(),
            _ if !shown.is_empty() => return shown.join(", "),
            (_, Some(held)) => return held.clone(),
            _ => {}
        }
        self.outcome.name().to_owned()
    }
}
