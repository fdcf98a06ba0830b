//! The path: scope, plan, gather, assess, judge. Only gather touches the world.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::checks::CheckSet;
use crate::model::case::Event;
use crate::model::catalog::Catalog;
use crate::model::finding::Finding;
use crate::model::look::{Look, Outcome};
use crate::model::settings::TriageSettings;
use crate::model::ticket::Ticket;
use crate::model::verdict::{Phase, Verdict};

pub mod assess;
pub mod conclude;
pub mod early;
pub mod gather;
pub mod judge;
#[cfg(test)]
mod laws;
pub mod once;
pub mod plan;
pub mod reach;
pub mod recall;
pub mod sample;
pub mod scope;

pub use gather::Runner;

use early::Early;
use gather::Answer;
use judge::Witness;

/// Kept back from the deadline for judging and writing down.
const RESERVE: Duration = Duration::from_millis(500);

/// What a triage works with besides the ticket.
#[derive(Debug, Clone)]
pub struct Setting {
    pub checks: Arc<CheckSet>,
    pub catalog: Arc<Catalog>,
    pub settings: TriageSettings,
    pub runner: Runner,
}

/// What a triage comes to.
#[derive(Debug, Clone)]
pub struct Round {
    pub verdict: Verdict,
    /// Message templates that log sources were seen to write, by check.
    pub templates: Vec<(String, Vec<String>)>,
    /// Journeys that passed, with the parameters they passed with.
    pub passed_with: Vec<(String, String)>,
}

/// Answers the question for one ticket: do we have an issue, or not?
///
/// `number` is how the ticket is called here (`T-1`). `tell` hears of everything as it happens. It ends at the
/// deadline of the settings at the latest, whatever the probes do.
pub async fn run(
    ticket: &Ticket,
    number: Option<String>,
    round: u32,
    setting: &Setting,
    now: Timestamp,
    mut tell: impl FnMut(Event),
) -> Round {
    let started = Instant::now();
    let allowed = setting.settings.deadline;
    let deadline = started + allowed.saturating_sub(RESERVE.min(allowed / 4));
    let memory = Arc::clone(&setting.runner.memory);

    let checked: BTreeSet<String> = setting.checks.checks.iter().filter_map(|check| check.service.clone()).collect();
    let scope = scope::scope(ticket, &setting.catalog, &checked, &setting.settings, now);
    let plan = plan::plan(&scope, ticket, &setting.checks.checks, &memory, setting.settings.now_window);
    let mut of_look: BTreeMap<Look, usize> = BTreeMap::new();
    for question in &plan.questions {
        *of_look.entry(question.check.look).or_default() += 1;
    }
    let planned = |look: Look| of_look.get(&look).copied().unwrap_or(0);
    tell(Event::Ticket {
        ticket: number.clone().unwrap_or_else(|| ticket.id.clone()),
        round,
        deadline_at: now.checked_add(allowed).unwrap_or(Timestamp::MAX),
        planned: Look::ALL.iter().map(|look| (*look, planned(*look))).collect(),
    });

    let mut findings: Vec<Option<Finding>> = vec![None; plan.questions.len()];
    let mut templates = Vec::new();
    let mut passed_with = Vec::new();
    // How many of a look have answered, and the worst of them.
    let mut looks: BTreeMap<Look, (usize, Outcome)> = BTreeMap::new();
    let mut told_early = false;
    let head = conclude::Head {
        ticket,
        number,
        scope: &scope,
        plan: &plan,
        checks: &setting.checks,
        settings: &setting.settings,
    };
    let mut early = Early::new(plan.questions.iter().map(pending), setting.settings.costs);
    gather::gather(&plan, &setting.runner, now, deadline, |index, answer| {
        let question = &plan.questions[index];
        let finding = match answer {
            Answer::Taken(taken) => {
                for (_, tries) in &taken.tries {
                    for seen in tries.iter().filter(|seen| !seen.templates.is_empty()) {
                        templates.push((question.check.name.to_string(), seen.templates.clone()));
                    }
                }
                assess::assess(question, &taken, &scope, &memory)
            }
            Answer::Nothing(unknown, took) => assess::unanswered(question, unknown, took),
        };
        if finding.outcome == Outcome::Good && question.params.from_ticket() {
            passed_with.push((question.check.name.to_string(), plan::values(&question.params)));
        }
        let is_issue = early.hear(index, Witness::from(&finding));
        tell(Event::Finding { finding: Box::new(finding.clone()) });
        let outcome = finding.outcome;
        findings[index] = Some(finding);

        let look = question.check.look;
        let (answered, worst) = looks.entry(look).or_insert((0, Outcome::Good));
        *answered += 1;
        *worst = worst.worse(outcome);
        tell(Event::Look { look, answered: *answered, planned: planned(look), worst: *worst });

        if is_issue && !told_early && findings.iter().any(Option::is_none) {
            told_early = true;
            let so_far: Vec<Finding> = findings.iter().flatten().cloned().collect();
            tell(Event::Verdict { verdict: Box::new(head.conclude(so_far, Phase::Early, started.elapsed())) });
        }
    })
    .await;

    let mut all: Vec<Finding> = findings.into_iter().flatten().collect();
    all.extend(plan.left_out.iter().map(assess::not_applicable));
    let verdict = head.conclude(all, Phase::Final, started.elapsed());
    tell(Event::Verdict { verdict: Box::new(verdict.clone()) });
    Round { verdict, templates, passed_with }
}

/// A question as a witness that has not said anything yet.
fn pending(question: &plan::Question) -> Witness {
    use crate::model::observation::{Unknown, UnknownKind};
    let unknown = Unknown::new(UnknownKind::TimedOut, "pending");
    Witness::from(&assess::unanswered(question, unknown, Duration::ZERO))
}
