//! Once: one check on its own, as its author runs it.

use std::sync::Arc;

use tokio::time::Instant;

use crate::checks::{Check, Control};
use crate::evidence::Sees;
use crate::model::finding::Finding;
use crate::model::look::Relation;
use crate::model::params::Params;
use crate::model::window::{Moment, Window};

use super::gather::{Answer, Runner, gather};
use super::plan::{Plan, Question};
use super::scope::Scope;
use super::{assess, judge};

/// Runs one check with these parameters, over this window where the kind sees one.
pub async fn once(
    check: &Arc<Check>,
    params: Params,
    window: Window,
    is_past: bool,
    runner: &Runner,
    now: jiff::Timestamp,
) -> Finding {
    let moment = if check.kind.sees == Sees::Past { Moment::Then } else { Moment::Now };
    let control = match &check.control {
        Some(Control::Synthetic) if params.from_ticket() => Params::synthetic(&check.params).ok(),
        Some(Control::Probe { .. }) => Some(Params::default()),
        _ => None,
    };
    let question = Question {
        check: Arc::clone(check),
        relation: Relation::Service,
        rho: judge::rho(Relation::Service),
        own: false,
        proof_capable: false,
        params,
        customer: None,
        since: window.from,
        moments: vec![(moment, window)],
        control,
    };
    let scope = Scope {
        services: Vec::new(),
        dependencies: Vec::new(),
        customer: None,
        window,
        is_past,
        now,
        notes: Vec::new(),
    };
    let plan = Plan { questions: vec![question], ..Plan::default() };
    // Every try in full, and what lies between them.
    let tries = check.bad_if.map_or(check.attempts, |limit| limit.of).max(1);
    let allowed = (check.timeout + std::time::Duration::from_secs(1)) * tries;
    let mut found = None;
    gather(&plan, runner, now, Instant::now() + allowed, |_, answer| {
        let question = &plan.questions[0];
        let mut finding = match answer {
            Answer::Taken(taken) => assess::assess(question, &taken, &scope, &runner.memory),
            Answer::Nothing(unknown, took) => assess::unanswered(question, unknown, took),
        };
        finding.weight = judge::Witness::from(&finding).weight();
        finding.odds = judge::odds_text(finding.weight);
        found = Some(finding);
    })
    .await;
    found.unwrap_or_else(|| {
        let unknown = crate::model::observation::Unknown::new(
            crate::model::observation::UnknownKind::TimedOut,
            "it was not asked before the deadline",
        );
        assess::unanswered(&plan.questions[0], unknown, allowed)
    })
}
