//! Sample: one look in the background, for what is usual and for what was.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::checks::Check;
use crate::evidence::{Ask, Sees};
use crate::model::history;
use crate::model::look::Outcome;
use crate::model::observation::Observation;
use crate::model::params::Params;
use crate::model::value::Value;
use crate::model::window::{Moment, Window};

use super::assess::{Assessment, hold};
use super::gather::{Runner, look};

/// What one look in the background came to.
#[derive(Debug, Clone)]
pub struct Sampled {
    pub sample: history::Sample,
    /// Message templates that the source was seen to write.
    pub templates: Vec<String>,
}

/// The parameters to sample a check with.
///
/// # Errors
/// A parameter without a default: there is nobody to ask for it.
pub fn params(check: &Check) -> Result<Params, String> {
    Params::synthetic(&check.params).map_err(|missing| format!("its parameter `{}` has no default", missing.name))
}

/// Looks once, without a second try: what a single look misses, the next one sees.
pub async fn sample(check: &Arc<Check>, params: Params, runner: &Runner, now: Timestamp) -> Sampled {
    // A kind that sees the past looks at what has happened since the last turn.
    let length = SignedDuration::try_from(check.every.unwrap_or(check.timeout)).unwrap_or_default();
    let window = Window::ending_at(now, length.max(SignedDuration::from_mins(1)));
    let ask = Ask {
        now,
        window,
        moment: if check.kind.sees == Sees::Past { Moment::Then } else { Moment::Now },
        since: window.from,
        params,
        customer: None,
        // Never an answer that was given to somebody else before.
        attempt: 2,
        usual: Vec::new(),
        deadline: Instant::now() + check.timeout,
        memory: Arc::clone(&runner.memory),
        check: Arc::clone(&check.name),
        tools: Arc::clone(&runner.tools),
    };
    let mut seen = look(check.probe.as_ref(), ask).await;
    if let Some(baselines) = runner.memory.baselines.get(check.name.as_ref()) {
        for (name, baseline) in baselines.iter().filter(|(_, baseline)| !baseline.values.is_empty()) {
            seen.past.insert(name.clone(), baseline.values.clone());
        }
    }
    let held = hold(&check.expect, check.probe.own_expectations(), &seen);
    let templates = std::mem::take(&mut seen.templates);
    Sampled { sample: remembered(now, &seen, &held), templates }
}

fn remembered(at: Timestamp, seen: &Observation, held: &Assessment) -> history::Sample {
    let numbers = seen.measures.iter().filter_map(|(name, value)| match value {
        Value::Int(_) | Value::Float(_) => value.as_f64().map(|value| (name, value)),
        _ => None,
    });
    let sample = history::Sample::new(at, held.outcome, seen.took).measured(numbers);
    match held.outcome {
        Outcome::Good => sample,
        _ => sample.because(&why(held)),
    }
}

fn why(held: &Assessment) -> String {
    if let Some(fault) = &held.fault {
        return fault.what.clone();
    }
    if let Some(broken) = held.broken.first() {
        return broken.actual.clone();
    }
    held.unknown.as_ref().map_or_else(String::new, |unknown| unknown.why.clone())
}

#[cfg(test)]
mod tests;
