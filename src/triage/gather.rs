//! Gather: every question asked at once, under one deadline. The only step of the path that touches the world.
//!
//! Each question runs as a task of its own on the looks' runtime: one that panics, blocks its thread or never ends
//! costs its own answer and nothing else, since the deadline is kept by the caller's runtime.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, timeout_at};

use crate::checks::Control;
use crate::evidence::{Ask, Probe, Tools};
use crate::model::look::Outcome;
use crate::model::memory::Memory;
use crate::model::observation::{Observation, Unknown, UnknownKind};
use crate::model::params::Params;
use crate::model::units::show_duration;
use crate::model::window::{Moment, Window};

use super::assess::{Taken, hold};
use super::plan::{Plan, Question};
use super::recall;

/// A probe reports its own timeout at its deadline; it is dropped this much later.
const GRACE: Duration = Duration::from_millis(250);
/// Between two tries of one question.
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// What the looks are taken with.
#[derive(Debug, Clone)]
pub struct Runner {
    pub tools: Arc<Tools>,
    pub memory: Arc<Memory>,
    /// The runtime that probes run on: not the one that keeps the deadline.
    pub looks: Handle,
}

/// An answer to one question of the plan.
#[derive(Debug)]
pub enum Answer {
    Taken(Box<Taken>),
    /// There is nothing to assess: it panicked, or the deadline came first.
    Nothing(Unknown, Duration),
}

/// Asks everything, and hands each answer out as it comes. What has not answered at `deadline` is unknown.
pub async fn gather(
    plan: &Plan,
    runner: &Runner,
    now: jiff::Timestamp,
    deadline: Instant,
    mut answered: impl FnMut(usize, Answer),
) {
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    let mut pending: HashMap<Id, usize> = HashMap::with_capacity(plan.questions.len());
    for (index, question) in plan.questions.iter().enumerate() {
        let task = take(question.clone(), runner.clone(), now, deadline);
        pending.insert(tasks.spawn_on(task, &runner.looks).id(), index);
    }
    while !pending.is_empty() {
        let Ok(Some(joined)) = timeout_at(deadline + GRACE, tasks.join_next_with_id()).await else { break };
        let (id, answer) = match joined {
            Ok((id, taken)) => (id, Answer::Taken(Box::new(taken))),
            Err(error) => {
                let why = if error.is_panic() { "the probe panicked" } else { "the probe was cancelled" };
                (error.id(), Answer::Nothing(Unknown::new(UnknownKind::Panicked, why), started.elapsed()))
            }
        };
        if let Some(index) = pending.remove(&id) {
            answered(index, answer);
        }
    }
    // Dropping the set cancels what is left, at its next await; a blocked thread is left behind.
    tasks.abort_all();
    let mut late: Vec<usize> = pending.into_values().collect();
    late.sort_unstable();
    for index in late {
        let why = format!("no answer within the deadline of {}", show_duration(deadline.duration_since(started)));
        answered(index, Answer::Nothing(Unknown::new(UnknownKind::TimedOut, why), started.elapsed()));
    }
}

/// Everything that one question needs: its moments side by side, each tried until it is sure.
async fn take(question: Question, runner: Runner, now: jiff::Timestamp, deadline: Instant) -> Taken {
    let started = Instant::now();
    let moments = question.moments.clone();
    let tries = moments.iter().enumerate().map(|(index, (moment, window))| {
        let (question, runner) = (&question, &runner);
        async move {
            let with_control = index == 0;
            let (tries, control) = until_sure(question, runner, now, *moment, *window, deadline, with_control).await;
            ((*moment, tries), control)
        }
    });
    let (tries, controls): (Vec<_>, Vec<_>) = futures_util::future::join_all(tries).await.into_iter().unzip();
    Taken { tries, control: controls.into_iter().flatten().next(), took: started.elapsed() }
}

/// Confirms before it accuses: what is bad or unanswered is looked at again, its control beside it.
async fn until_sure(
    question: &Question,
    runner: &Runner,
    now: jiff::Timestamp,
    moment: Moment,
    window: Window,
    deadline: Instant,
    with_control: bool,
) -> (Vec<Observation>, Option<Observation>) {
    let check = &question.check;
    let own = check.probe.own_expectations();
    let limit = check.bad_if.map_or(check.attempts, |limit| limit.of.max(limit.failures)).max(1);
    let ask = |attempt: u32, params: &Params| Ask {
        now,
        window,
        moment,
        since: question.since,
        params: params.clone(),
        customer: question.customer.clone(),
        attempt,
        usual: recall::unknown_yet(question, &runner.memory),
        deadline: (Instant::now() + check.timeout).min(deadline),
        memory: Arc::clone(&runner.memory),
        check: Arc::clone(&check.name),
        tools: Arc::clone(&runner.tools),
    };

    let mut first_try = look(check.probe.as_ref(), ask(1, &question.params)).await;
    recall::usual(question, &runner.memory, &mut first_try);
    let mut tries = vec![first_try];
    let first = hold(&check.expect, own, &tries[0]);
    let again = |outcome: Outcome, unknown: Option<&Unknown>| match outcome {
        Outcome::Bad => true,
        Outcome::Unknown => unknown.is_some_and(|u| {
            matches!(u.kind, UnknownKind::TimedOut | UnknownKind::Unreachable | UnknownKind::Unintelligible)
        }),
        _ => check.bad_if.is_some(),
    };
    if !again(first.outcome, first.unknown.as_ref()) {
        return (tries, None);
    }

    let control = async {
        let params = question.control.as_ref().filter(|_| with_control && first.outcome == Outcome::Bad)?;
        let probe = match check.control.as_ref()? {
            Control::Synthetic => check.probe.as_ref(),
            Control::Probe { probe, .. } => probe.as_ref(),
        };
        // The everyday attempt number of a first look would let it share an answer from before the failure.
        Some(look(probe, ask(2, params)).await)
    };
    let rest = async {
        for attempt in 2..=limit {
            // A try that our own deadline cuts short accuses nobody: it needs half of its time at least.
            if Instant::now() + BETWEEN_TRIES + check.timeout / 2 > deadline {
                break;
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
            let mut seen = look(check.probe.as_ref(), ask(attempt, &question.params)).await;
            recall::usual(question, &runner.memory, &mut seen);
            let result = hold(&check.expect, own, &seen);
            tries.push(seen);
            if !again(result.outcome, result.unknown.as_ref()) {
                break;
            }
        }
        tries
    };
    let (control, tries) = tokio::join!(control, rest);
    (tries, control)
}

/// One look of one probe, dropped when its time is up.
pub(super) async fn look(probe: &dyn Probe, ask: Ask) -> Observation {
    let started = Instant::now();
    let end = ask.deadline + GRACE;
    let seen = match timeout_at(end, probe.observe(&ask)).await {
        Ok(seen) => seen,
        Err(_) => {
            let allowed = show_duration(ask.deadline.duration_since(started));
            Observation::blind(UnknownKind::TimedOut, format!("the look did not end within {allowed}"))
        }
    };
    let mut seen = if seen.took.is_zero() { seen.took(started.elapsed()) } else { seen };
    // Whatever a service echoes, no secret of ours is kept.
    let redactor = &ask.tools.redactor;
    seen.excerpt = seen.excerpt.map(|text| redactor.strike(&text));
    seen.reproduce = seen.reproduce.map(|text| redactor.strike(&text));
    seen
}
