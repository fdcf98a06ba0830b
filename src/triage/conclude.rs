//! Conclude: findings and the ledger's judgement become the verdict that people and programs read.

use std::cmp::Ordering;
use std::time::Duration;

use crate::checks::CheckSet;
use crate::model::finding::Finding;
use crate::model::look::{Look, Outcome, Relation};
use crate::model::observation::UnknownKind;
use crate::model::settings::TriageSettings;
use crate::model::ticket::Ticket;
use crate::model::verdict::{Coverage, CurrentState, Decision, Phase, Scope as Reach, TicketHead, VERSION, Verdict};

use super::assess;
use super::judge::{self, Witness};
use super::plan::Plan;
use super::scope::Scope;

/// What a verdict says besides its findings.
pub struct Head<'a> {
    pub ticket: &'a Ticket,
    pub number: Option<String>,
    pub scope: &'a Scope,
    pub plan: &'a Plan,
    pub checks: &'a CheckSet,
    pub settings: &'a TriageSettings,
}

impl Head<'_> {
    /// The verdict over these findings.
    pub fn conclude(&self, mut findings: Vec<Finding>, phase: Phase, took: Duration) -> Verdict {
        for finding in &mut findings {
            finding.weight = Witness::from(&*finding).weight();
            finding.odds = judge::odds_text(finding.weight);
        }
        let witnesses: Vec<Witness> = findings.iter().map(Witness::from).collect();
        let judgement = judge::judge(&witnesses, &self.settings.costs);
        findings.sort_by(most_telling_first);

        let mut reasons = judgement.reasons.clone();
        reasons.extend(could_not_look(&findings));
        reasons.extend(self.scope.notes.iter().cloned());
        if !self.checks.stale_files.is_empty() {
            reasons.push(format!("checks may be out of date: {}", self.checks.stale_files.join(", ")));
        }
        Verdict {
            version: VERSION,
            ticket: TicketHead {
                number: self.number.clone(),
                source: self.ticket.source.clone(),
                id: self.ticket.id.clone(),
                title: self.ticket.title.clone(),
                customer: self.scope.customer.as_ref().map(|customer| customer.name.as_str().into()),
                services: self.scope.services.iter().map(|service| service.name.clone()).collect(),
                services_from: self.scope.services.iter().map(|service| service.how.clone()).collect(),
            },
            decision: judgement.decision,
            phase,
            probability: judgement.probability,
            power: judgement.power,
            scope: affected(judgement.decision, &findings, self.scope.customer.is_some()),
            window: self.scope.window,
            current_state: current_state(judgement.decision, &findings),
            coverage: self.coverage(&findings),
            reasons,
            findings,
            incident: None,
            next: Vec::new(),
            questions: self.plan.ask_back.clone(),
            deadline_ms: self.settings.deadline.as_millis() as u64,
            took_ms: took.as_millis() as u64,
        }
    }

    fn coverage(&self, findings: &[Finding]) -> Coverage {
        let counted = |f: &&Finding| f.outcome != Outcome::NotApplicable;
        let looks = assess::by_look(findings);
        let untried = |look: &Look| match findings.iter().any(|f| f.look == *look) {
            true => format!("{}: it could not be tried", look.name()),
            false => format!("{}: no check applies", look.name()),
        };
        let mut not_looked_at: Vec<String> =
            Look::ALL.iter().filter(|look| !looks.contains_key(look)).map(untried).collect();
        if let Some(customer) = &self.scope.customer
            && !findings.iter().any(|f| f.own && f.outcome != Outcome::Unknown && f.outcome != Outcome::NotApplicable)
        {
            not_looked_at
                .push(format!("nothing looked at {}'s own case", crate::model::encode::terminal(&customer.name)));
        }
        Coverage {
            looks,
            checks_planned: self.plan.questions.len(),
            checks_answered: findings.iter().filter(counted).filter(|f| f.outcome != Outcome::Unknown).count(),
            stale_files: self.checks.stale_files.clone(),
            not_looked_at,
        }
    }
}

/// Bad before odd before unknown before good; within, the heavier first.
fn most_telling_first(a: &Finding, b: &Finding) -> Ordering {
    let rank = |finding: &Finding| match finding.outcome {
        Outcome::Bad => 0,
        Outcome::Odd => 1,
        Outcome::Unknown => 2,
        Outcome::Good => 3,
        Outcome::NotApplicable => 4,
    };
    rank(a)
        .cmp(&rank(b))
        .then(b.weight.abs().total_cmp(&a.weight.abs()))
        .then_with(|| a.check.cmp(&b.check))
        .then(a.relation.cmp(&b.relation))
}

/// The looks that were tried and could not be taken, by name and with their reason, a line a group.
fn could_not_look(findings: &[Finding]) -> Vec<String> {
    let mut lines: Vec<(String, String)> = Vec::new();
    for finding in findings.iter().filter(|f| f.outcome == Outcome::Unknown && f.needed) {
        let why = finding.unknown.as_ref().map_or("no reason known", |unknown| unknown.why.as_str());
        if !lines.iter().any(|(group, _)| *group == finding.group) {
            lines.push((finding.group.clone(), format!("could not look: {} ({})", finding.check, why)));
        }
    }
    for finding in findings.iter().filter(|f| f.outcome == Outcome::NotApplicable) {
        let missing = finding.unknown.as_ref().filter(|unknown| unknown.kind == UnknownKind::MissingParam);
        if let Some(unknown) = missing {
            lines.push((String::new(), format!("could not try: {} ({})", finding.check, unknown.why)));
        }
    }
    lines.into_iter().map(|(_, line)| line).collect()
}

/// Who is affected, as far as the findings tell.
fn affected(decision: Decision, findings: &[Finding], has_customer: bool) -> Reach {
    if decision == Decision::NoIssue {
        return Reach::Unknown;
    }
    let bad: Vec<&Finding> = findings.iter().filter(|f| f.outcome == Outcome::Bad).collect();
    let of_customer = |f: &&&Finding| matches!(f.relation, Relation::OwnCase | Relation::Customer);
    // The own case fails while the synthetic run beside it passes: whatever else is bad is its shadow.
    let proved_own = has_customer && bad.iter().filter(of_customer).any(|f| f.proof && f.control_ok);
    let outside_or_tried =
        |f: &&&Finding| f.relation == Relation::Service && matches!(f.look, Look::External | Look::UseCase);
    let everyone = bad.iter().filter(|f| f.relation == Relation::Service && f.look != Look::UseCase);
    if proved_own && bad.iter().filter(outside_or_tried).count() == 0 {
        Reach::Customer
    } else if everyone.count() > 0 {
        Reach::Everyone
    } else if has_customer && bad.iter().filter(of_customer).any(|f| !fails_for_the_synthetic_too(f)) {
        Reach::Customer
    } else if bad.iter().any(|f| f.relation == Relation::Service || of_customer(&f)) {
        Reach::UseCase
    } else {
        Reach::Unknown
    }
}

/// True where the customer's own run failed and the control beside it, with synthetic parameters, didn't pass either: then
/// nothing says that it is this customer alone.
fn fails_for_the_synthetic_too(finding: &Finding) -> bool {
    finding.proof && !finding.control_ok
}

/// How it is now, told by what was bad at any time.
fn current_state(decision: Decision, findings: &[Finding]) -> CurrentState {
    let telling: Vec<&Finding> =
        findings.iter().filter(|f| f.outcome == Outcome::Bad || (f.outcome == Outcome::Odd && f.repeats > 0)).collect();
    if telling.is_empty() {
        return if decision == Decision::NoIssue { CurrentState::Ok } else { CurrentState::Unknown };
    }
    if telling.iter().any(|f| f.now == Some(Outcome::Bad)) {
        return CurrentState::Failing;
    }
    let flapping = telling.iter().filter(|f| f.repeats > 0 && f.repeats < f.attempts).max_by_key(|f| f.attempts);
    if let Some(finding) = flapping {
        return CurrentState::Intermittent { failed: finding.repeats, tried: finding.attempts };
    }
    if telling.iter().all(|f| f.now == Some(Outcome::Good)) { CurrentState::Recovered } else { CurrentState::Unknown }
}
