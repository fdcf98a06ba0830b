//! Next steps: what a human does now, in words, for each verdict.

use std::collections::BTreeSet;

use crate::model::action::{Action, ActionKind};
use crate::model::catalog::Catalog;
use crate::model::encode::terminal;
use crate::model::look::Outcome;
use crate::model::verdict::{Decision, Verdict};

/// The next steps. `actions` are those that Houston takes itself (none without a daemon: then it says what it would do).
pub fn next(verdict: &Verdict, catalog: &Catalog, actions: &[Action]) -> Vec<String> {
    let customer = verdict.ticket.customer.as_ref().map_or("the customer".to_owned(), |name| terminal(name.raw()));
    let mut steps = Vec::new();
    match verdict.decision {
        Decision::Issue => {
            for owner in owners(verdict, catalog) {
                steps.push(format!("page {owner}"));
            }
            steps.push(format!("tell {customer} that it is ours and that we are on it"));
        }
        Decision::NoIssue => {
            steps.push(format!("call back {customer}: \"we see it working - do you still see it?\""));
            steps.push("still broken, or no answer: a human looks; it never counts as fixed by itself".to_owned());
        }
        Decision::Doubtful => {
            let channels: BTreeSet<&str> =
                actions.iter().filter(|a| a.kind == ActionKind::Escalate).map(|a| a.channel.as_str()).collect();
            steps.push(match (channels.is_empty(), &verdict.ticket.number) {
                (false, _) => format!("escalated over {}", channels.into_iter().collect::<Vec<_>>().join(", ")),
                (true, _) => "a human must look (a daemon would escalate now)".to_owned(),
            });
            steps.extend(what_would_decide(verdict));
        }
    }
    for question in &verdict.questions {
        steps.push(format!("ask {customer}: {question}"));
    }
    steps
}

/// The owners of what failed: the check's own, else its service's.
pub fn owners(verdict: &Verdict, catalog: &Catalog) -> BTreeSet<String> {
    let of_service = |name: &String| catalog.services.get(name).and_then(|service| service.owner.clone());
    let mut owners: BTreeSet<String> = verdict
        .findings
        .iter()
        .filter(|finding| finding.outcome == Outcome::Bad)
        .filter_map(|finding| finding.owner.clone().or_else(|| finding.service.as_ref().and_then(of_service)))
        .collect();
    if owners.is_empty() {
        owners.extend(verdict.ticket.services.iter().filter_map(of_service));
    }
    owners
}

/// The looks that nobody could take: an answer of theirs would decide it.
fn what_would_decide(verdict: &Verdict) -> Option<String> {
    let mut wanted: Vec<String> = Vec::new();
    for (index, finding) in verdict.findings.iter().enumerate() {
        let open = finding.outcome == Outcome::Unknown && finding.needed && finding.reproduce.is_some();
        if open && !wanted.iter().any(|other| other.starts_with(&format!("{} ", finding.check))) {
            wanted.push(format!("{} (#{})", finding.check, index + 1));
        }
    }
    wanted.truncate(5);
    (!wanted.is_empty()).then(|| format!("what would decide it: look by hand at {}", wanted.join(", ")))
}
