//! What the path may remember, handed in as a value: the path never sees the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::history::{Baseline, Sample};

/// Filled by the caller from the store; empty where there is none.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Message templates that each log source was seen to write before the trouble, by the check's name.
    pub templates: BTreeMap<String, Arc<BTreeSet<String>>>,
    /// `(check, parameter values)` under which a journey has passed before: such values are verified.
    pub passed_with: BTreeSet<(String, String)>,
    /// Since when a check has been bad without a break, by its name (for what is chronic).
    pub bad_since: BTreeMap<String, jiff::Timestamp>,
    /// What each measure usually is at this hour, by check and measure: of checks that are sampled.
    pub baselines: BTreeMap<String, BTreeMap<String, Baseline>>,
    /// What was sampled in the symptom window, by check, in order.
    pub samples: BTreeMap<String, Arc<[Sample]>>,
}
