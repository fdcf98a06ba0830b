//! The knobs of a verdict, with their defaults.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Prior and costs from which the thresholds of a verdict follow.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Costs {
    /// Probability of an issue before anything was looked at; clamped to .10–.50.
    pub prior: f64,
    /// Cost of missing an issue, in units of asking a human.
    pub c_miss: f64,
    /// Cost of a page for nothing.
    pub c_page: f64,
    /// Cost of asking a human.
    pub c_human: f64,
}

impl Default for Costs {
    fn default() -> Self {
        Costs { prior: 0.35, c_miss: 20.0, c_page: 5.0, c_human: 1.0 }
    }
}

/// How a triage runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TriageSettings {
    pub deadline: Duration,
    pub costs: Costs,
    /// How long "now" is, for looks that answer over a span.
    pub now_window: Duration,
    /// The symptom window of a ticket that names none: this long before it was reported.
    pub default_window: Duration,
}

impl Default for TriageSettings {
    fn default() -> Self {
        TriageSettings {
            deadline: Duration::from_secs(60),
            costs: Costs::default(),
            now_window: Duration::from_secs(5 * 60),
            default_window: Duration::from_secs(15 * 60),
        }
    }
}
