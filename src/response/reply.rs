//! What customers are told: built from a closed set of words that are safe to say, never from evidence.
//!
//! No host, no address, no path, no check's name, no reason and no excerpt gets in here: only the ticket's number, the
//! services' public names as the verdict's decision needs them, and what was decided.

use serde_json::{Value, json};

use super::playbook::Occasion;
use crate::model::case::number_text;
use crate::model::verdict::Decision;

/// The first reply: a number, that somebody looks, and no promise besides.
pub fn first(number: u64) -> Value {
    let number = number_text(number);
    let text = format!(
        "Thank you for telling us. Your report has the number {number}. We are looking into it now and will come back to \
         you here."
    );
    json!({ "summary": text, "ticket": { "number": number } })
}

/// A verdict, for a ticket that everybody can read.
pub fn verdict(occasion: &Occasion<'_>) -> Value {
    let number = number_text(occasion.number);
    let text = match occasion.verdict.decision {
        Decision::Issue => format!("{number}: we have found a problem on our side, and are working on it."),
        Decision::NoIssue => {
            format!("{number}: we see it working at the moment. Please tell us if you still see the problem.")
        }
        Decision::Doubtful => format!("{number}: we are looking into it further."),
    };
    json!({ "summary": text, "verdict": occasion.verdict.decision.name(), "ticket": { "number": number }, "customer_safe": true })
}

#[cfg(test)]
mod tests {
    use super::super::escalation::Cause;
    use super::super::escalation::tests::{ticket, verdict as verdict_of};
    use super::*;

    #[test]
    fn nothing_of_the_evidence_gets_out() {
        for decision in [Decision::Issue, Decision::NoIssue, Decision::Doubtful] {
            let (ticket, mut verdict) = (ticket(), verdict_of(decision));
            verdict.reasons = vec!["canary-reason".into()];
            verdict.next = vec!["canary-next".into()];
            let occasion = Occasion { number: 3, round: 1, ticket: &ticket, verdict: &verdict, cause: Cause::Judged };
            let told = super::verdict(&occasion).to_string();
            assert!(told.contains("T-3"), "{told}");
            for inner in ["canary", "findings", "probability", ticket.title.raw()] {
                assert!(!told.contains(inner), "{inner}: {told}");
            }
        }
    }
}
