//! Recall: what background samples add to a look: how it was then, and what is usual at this hour.
//!
//! Samples are taken for everyone, with the synthetic parameters. Where a question is about one customer, or carries
//! what a ticket says, they speak of something else and are left aside.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::checks::{Check, CheckSet};
use crate::model::catalog::Catalog;
use crate::model::finding::Finding;
use crate::model::history::Sample;
use crate::model::look::Outcome;
use crate::model::memory::Memory;
use crate::model::observation::{Broken, Observation};
use crate::model::settings::TriageSettings;
use crate::model::ticket::Ticket;
use crate::model::units::show_duration;
use crate::model::window::Window;

use super::plan::Question;
use super::scope::{self, Scope};

/// What failed at this share of the samples was bad, if it failed as often in a row as the check tries before it
/// accuses; what failed less was odd.
const SHARE: f64 = 0.1;
/// Between two samples that answered there may be so many turns, or a quarter of the window, before the past has a hole.
const TURNS: u32 = 3;

/// What there is to recall for a ticket.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub window: Window,
    /// Sampled checks that may be asked.
    pub checks: BTreeSet<String>,
    /// Of these, those that compare with what is usual.
    pub usual: BTreeSet<String>,
}

/// What a triage of this ticket could use of the history.
pub fn wanted(
    ticket: &Ticket,
    checks: &CheckSet,
    catalog: &Catalog,
    settings: &TriageSettings,
    now: Timestamp,
) -> Wanted {
    let checked: BTreeSet<String> = checks.checks.iter().filter_map(|check| check.service.clone()).collect();
    let scope = scope::scope(ticket, catalog, &checked, settings, now);
    let concerns = |check: &&std::sync::Arc<Check>| {
        check.every.is_some()
            && check.service.as_ref().is_none_or(|name| scope.names_service(name) || scope.dependencies.contains(name))
    };
    let mut wanted = Wanted { window: scope.window, checks: BTreeSet::new(), usual: BTreeSet::new() };
    for check in checks.checks.iter().filter(concerns) {
        wanted.checks.insert(check.name.to_string());
        if check.expect.iter().any(|expectation| !expectation.that.usual().is_empty()) {
            wanted.usual.insert(check.name.to_string());
        }
    }
    wanted
}

/// True where samples speak of what the question is about.
fn speaks_of(question: &Question) -> bool {
    question.customer.is_none() && !question.params.from_ticket()
}

/// The measures whose usual values the history doesn't know: the source's own past has to tell.
pub(super) fn unknown_yet(question: &Question, memory: &Memory) -> Vec<String> {
    let known = memory.baselines.get(question.check.name.as_ref()).filter(|_| speaks_of(question));
    let is_known = |name: &String| known.and_then(|known| known.get(name)).is_some_and(|b| !b.values.is_empty());
    let names = question.check.expect.iter().flat_map(|expectation| expectation.that.usual().iter().cloned());
    names.filter(|name| !is_known(name)).collect()
}

/// Puts what the history knows beside what was seen; where it knows too little, when it will know enough.
pub(super) fn usual(question: &Question, memory: &Memory, seen: &mut Observation) {
    let Some(baselines) = memory.baselines.get(question.check.name.as_ref()).filter(|_| speaks_of(question)) else {
        return;
    };
    for (name, baseline) in baselines {
        if !baseline.values.is_empty() {
            seen.past.insert(name.clone(), baseline.values.clone());
        } else if let Some(at) = baseline.enough_at.filter(|_| !seen.past.contains_key(name)) {
            let at = at.strftime("%Y-%m-%d %H:%M UTC");
            seen.notes.push(format!("what is usual for {name} at this hour will be known from {at}"));
        }
    }
}

/// How it was in the symptom window, as far as samples tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Then {
    pub outcome: Outcome,
    pub failed: usize,
    pub answered: usize,
    /// What was wrong most of the time.
    pub why: Option<String>,
    pub window: Window,
}

/// True where the samples leave no hole in the window that a failure could have fitted into unseen.
pub(super) fn covers(check: &Check, samples: &[Sample], window: Window) -> bool {
    let Some(every) = check.every else { return false };
    let turns = SignedDuration::try_from(every.saturating_mul(TURNS)).unwrap_or(SignedDuration::MAX);
    let widest = turns.max(SignedDuration::from_millis((window.seconds() * 250.0) as i64));
    let mut before = window.from;
    let mut any = false;
    for sample in samples.iter().filter(|sample| answered(sample) && window.contains(sample.at)) {
        if before.duration_until(sample.at) > widest {
            return false;
        }
        (before, any) = (sample.at, true);
    }
    any && before.duration_until(window.to) <= widest
}

fn answered(sample: &Sample) -> bool {
    matches!(sample.outcome, Outcome::Good | Outcome::Odd | Outcome::Bad)
}

/// What the samples say of the window; `None` where they don't cover it, or speak of something else.
pub(super) fn then(question: &Question, scope: &Scope, memory: &Memory) -> Option<Then> {
    let check = &question.check;
    let samples = memory.samples.get(check.name.as_ref()).filter(|_| speaks_of(question))?;
    let within: Vec<&Sample> = samples.iter().filter(|s| answered(s) && scope.window.contains(s.at)).collect();
    let bad: Vec<&&Sample> = within.iter().filter(|sample| sample.outcome == Outcome::Bad).collect();
    let enough = (within.len() as f64 * SHARE).ceil() as usize;
    let in_a_row = within.chunk_by(|a, b| a.outcome == b.outcome).filter(|run| run[0].outcome == Outcome::Bad);
    let confirmed = in_a_row.map(<[_]>::len).max().is_some_and(|most| most >= check.attempts.max(2) as usize);
    let outcome = if confirmed && bad.len() >= enough {
        // What failed is known whatever the holes hide.
        Outcome::Bad
    } else if !covers(check, samples, scope.window) {
        return None;
    } else if !bad.is_empty() || within.iter().any(|sample| sample.outcome == Outcome::Odd) {
        Outcome::Odd
    } else {
        Outcome::Good
    };
    let why = bad.get(bad.len() / 2).and_then(|sample| sample.why.clone());
    Some(Then { outcome, failed: bad.len(), answered: within.len(), why, window: scope.window })
}

/// Adds what was then to a finding that knows only now; the worse of both is its outcome.
pub(super) fn add(finding: &mut Finding, check: &Check, then: Then) {
    finding.then = Some(then.outcome);
    finding.window = finding.window.or(Some(then.window));
    let every = show_duration(check.every.unwrap_or(Duration::ZERO));
    let clock = |at: Timestamp| at.strftime("%H:%M").to_string();
    let span = format!("{} to {} UTC", clock(then.window.from), clock(then.window.to));
    let failed = format!("{} of {} samples failed, {span}", then.failed, then.answered);
    let worse = finding.outcome.worse(then.outcome);
    if then.outcome == Outcome::Bad && finding.outcome != Outcome::Bad {
        finding.failed.insert(
            0,
            Broken {
                that: format!("sampled every {every}"),
                actual: match &then.why {
                    Some(why) => format!("{failed}: {why}"),
                    None => failed,
                },
                at: check.at.to_string(),
                note: None,
                odd: false,
            },
        );
        finding.unknown = None;
    } else if then.failed > 0 {
        finding.notes.push(failed);
    } else {
        finding.notes.push(format!("{} samples, {span}: none failed", then.answered));
    }
    finding.outcome = worse;
}

#[cfg(test)]
mod tests;
