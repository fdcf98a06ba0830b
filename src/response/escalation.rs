//! What a human is told who has to decide where Houston could not: why, what was seen, what would decide it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::playbook::Occasion;
use crate::model::case::{Case, number_text};
use crate::model::encode;
use crate::model::look::Outcome;
use crate::model::verdict::{self, Coverage, CurrentState, Decision, Phase, Scope, TicketHead, Verdict};
use crate::model::window::Window;

/// The most findings that a message carries; the case has them all.
const FINDINGS: usize = 50;

/// After how many begun attempts that never came to an end a ticket isn't worked on again: it may be what ends us.
pub const POISONED_AFTER: u32 = 3;

/// How a round came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// By its looks.
    Judged,
    /// The deadline passed before they were judged.
    Late,
    /// Houston ended while it worked on the ticket, this often.
    Crashed { attempts: u32 },
    /// What was stored of the ticket can't be read any more.
    Damaged,
}

impl Cause {
    fn name(self) -> Option<&'static str> {
        match self {
            Cause::Judged => None,
            Cause::Late => Some("late"),
            Cause::Crashed { .. } => Some("crashed"),
            Cause::Damaged => Some("damaged"),
        }
    }
}

/// True where a human has to look.
pub fn is_needed(occasion: &Occasion<'_>) -> bool {
    occasion.verdict.decision == Decision::Doubtful || occasion.cause != Cause::Judged
}

/// The verdict as the API shows it, with its number, and with no more findings than a message should carry.
pub fn document(occasion: &Occasion<'_>) -> Value {
    let mut short = occasion.verdict.clone();
    let left_out = short.findings.len().saturating_sub(FINDINGS);
    short.findings.truncate(FINDINGS);
    short.ticket.number = Some(number_text(occasion.number));
    let mut document = serde_json::to_value(&short).unwrap_or_else(|error| {
        // The words of the model are plain data, so this doesn't happen; if it does, the message still goes out.
        json!({ "version": verdict::VERSION, "verdict": short.decision.name(), "not_shown": error.to_string() })
    });
    if let Value::Object(fields) = &mut document {
        fields.insert("round".to_owned(), occasion.round.into());
        if left_out > 0 {
            fields.insert("findings_left_out".to_owned(), left_out.into());
        }
    }
    document
}

/// What an escalation says: the verdict's document, and beside it `why`, `summary`, `could_not_look`, `would_decide`
/// and how the reporter is reached.
pub fn facts(occasion: &Occasion<'_>) -> Value {
    let mut facts = document(occasion);
    let (ticket, verdict) = (occasion.ticket, occasion.verdict);
    if let Value::Object(fields) = &mut facts {
        let why = occasion.cause.name().unwrap_or_else(|| verdict.decision.name());
        fields.insert("why".to_owned(), why.into());
        fields.insert("summary".to_owned(), summary(occasion).into());
        fields.insert("could_not_look".to_owned(), could_not_look(verdict).into());
        fields.insert("would_decide".to_owned(), would_decide(verdict).into());
        for (name, value) in [("reporter", &ticket.reporter), ("contact", &ticket.contact)] {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value.raw().into());
            }
        }
    }
    facts
}

/// One line that is understood without any other.
fn summary(occasion: &Occasion<'_>) -> String {
    let number = number_text(occasion.number);
    let title = encode::terminal(occasion.verdict.ticket.title.raw());
    match occasion.cause {
        Cause::Judged => format!("{number} is {}: {title}", occasion.verdict.decision.title().to_lowercase()),
        Cause::Late => format!("{number} was not judged by its deadline: {title}"),
        Cause::Crashed { attempts } => format!("Houston failed {attempts} times on {number}: {title}"),
        Cause::Damaged => format!("{number} can't be read any more: {title}"),
    }
}

fn could_not_look(verdict: &Verdict) -> Vec<Value> {
    let unknown = verdict.findings.iter().filter(|finding| finding.outcome == Outcome::Unknown);
    unknown
        .take(FINDINGS)
        .map(|finding| {
            let why = finding.unknown.as_ref().map_or("no reason was given", |unknown| unknown.why.as_str());
            json!({ "check": finding.check, "look": finding.look, "why": why })
        })
        .collect()
}

/// The answers that are missing, the ones that count first.
fn would_decide(verdict: &Verdict) -> Vec<String> {
    let blind =
        |needed: bool| {
            verdict.findings.iter().filter(move |f| f.outcome == Outcome::Unknown && f.needed == needed).map(
                |finding| format!("an answer of {} ({}): {}", finding.check, finding.look.name(), finding.headline()),
            )
        };
    let mut answers: Vec<String> = blind(true).collect();
    answers.extend(verdict.questions.iter().map(|question| format!("the reporter's answer: {question}")));
    answers
        .extend(verdict.coverage.not_looked_at.iter().map(|what| format!("a look at what no check looked at: {what}")));
    answers.extend(blind(false));
    answers.truncate(FINDINGS);
    answers
}

/// The verdict on a round in which nothing was looked at: the ticket is poisoned or damaged, or its time was over before
/// it began. Doubtful, for not to have looked is to know nothing.
pub fn without_looking(case: &Case, why: &str, prior: f64, now: Timestamp) -> Verdict {
    let ticket = &case.ticket;
    let deadline = case.accepted_at.duration_until(case.deadline_at);
    let took = case.accepted_at.duration_until(now);
    let millis = |duration: jiff::SignedDuration| u64::try_from(duration.as_millis()).unwrap_or(0);
    Verdict {
        version: verdict::VERSION,
        ticket: TicketHead {
            number: Some(number_text(case.number)),
            source: ticket.source.clone(),
            id: ticket.id.clone(),
            title: ticket.title.clone(),
            customer: ticket.customer.clone(),
            services: ticket.services.clone(),
            services_from: Vec::new(),
        },
        decision: Decision::Doubtful,
        phase: Phase::Final,
        probability: prior,
        power: 0.0,
        scope: Scope::Unknown,
        window: ticket.symptom.map_or(Window::new(ticket.reported_at, now), |symptom| symptom.window(now)),
        current_state: CurrentState::Unknown,
        coverage: Coverage { not_looked_at: vec!["everything".to_owned()], ..Coverage::default() },
        reasons: vec![why.to_owned()],
        findings: Vec::new(),
        incident: None,
        next: Vec::new(),
        questions: Vec::new(),
        deadline_ms: millis(deadline),
        took_ms: millis(took),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::finding::Finding;
    use crate::model::look::{Class, Look, Relation};
    use crate::model::observation::{Unknown, UnknownKind};
    use crate::model::ticket::{Report, Ticket};
    use crate::model::value::Measures;

    pub(in super::super) fn ticket() -> Ticket {
        let report =
            Report { title: Some("slow\u{1b}[2J\nlogin".into()), contact: Some("+49 1".into()), ..Report::default() };
        report.accept(Timestamp::UNIX_EPOCH, "9").unwrap()
    }

    pub(in super::super) fn case() -> Case {
        Case {
            number: 3,
            ticket: ticket(),
            accepted_at: Timestamp::UNIX_EPOCH,
            round: 1,
            deadline_at: Timestamp::from_second(60).unwrap(),
            state: crate::model::case::CaseState::Running,
            attempts: 3,
            verdict: None,
            filed_by: None,
        }
    }

    pub(in super::super) fn verdict(decision: Decision) -> Verdict {
        let now = Timestamp::from_second(61).unwrap();
        Verdict { decision, ..without_looking(&case(), "nothing was looked at", 0.35, now) }
    }

    fn blind(check: &str, needed: bool) -> Finding {
        Finding {
            check: check.to_owned(),
            look: Look::Internal,
            kind: "prometheus".to_owned(),
            service: None,
            owner: None,
            relation: Relation::Service,
            group: "g".to_owned(),
            class: Class::Fair,
            outcome: Outcome::Unknown,
            then: None,
            now: None,
            rho: 1.0,
            own: true,
            needed,
            proof: false,
            control_ok: false,
            repeats: 0,
            attempts: 1,
            odds: String::new(),
            weight: 0.0,
            observed: Measures::new(),
            failed: Vec::new(),
            fault: None,
            unknown: Some(Unknown::new(UnknownKind::TimedOut, "prometheus did not answer")),
            held: Vec::new(),
            window: None,
            excerpt: None,
            picture: None,
            reproduce: None,
            notes: Vec::new(),
            at: "checks.d/a.yaml:1:1".to_owned(),
            took_ms: 1,
        }
    }

    #[test]
    fn an_escalation_says_what_would_decide_it() {
        let ticket = ticket();
        let mut verdict = verdict(Decision::Doubtful);
        verdict.findings = vec![blind("nice-to-have", false), blind("error-ratio", true)];
        verdict.questions = vec!["what is the account?".to_owned()];
        verdict.coverage.not_looked_at = vec!["search".to_owned()];
        let facts = facts(&Occasion { number: 3, round: 2, ticket: &ticket, verdict: &verdict, cause: Cause::Judged });
        assert_eq!(facts["why"], "doubtful");
        assert_eq!((&facts["verdict"], &facts["round"]), (&json!("doubtful"), &json!(2)));
        assert_eq!(facts["ticket"]["number"], "T-3");
        assert_eq!(facts["contact"], "+49 1");
        assert_eq!(facts["could_not_look"].as_array().unwrap().len(), 2);
        assert_eq!(
            facts["would_decide"],
            json!([
                "an answer of error-ratio (internal): prometheus did not answer",
                "the reporter's answer: what is the account?",
                "a look at what no check looked at: search",
                "an answer of nice-to-have (internal): prometheus did not answer",
            ])
        );
        let summary = facts["summary"].as_str().unwrap();
        assert!(summary.starts_with("T-3 is doubtful: slow") && !summary.contains(['\u{1b}', '\n']), "{summary}");
    }

    #[test]
    fn a_message_is_bounded_whatever_the_case_holds() {
        let ticket = ticket();
        let mut verdict = verdict(Decision::Doubtful);
        verdict.findings = vec![blind("c", true); 1_000];
        let facts = facts(&Occasion { number: 3, round: 1, ticket: &ticket, verdict: &verdict, cause: Cause::Late });
        assert_eq!(facts["findings"].as_array().unwrap().len(), FINDINGS);
        assert_eq!(facts["findings_left_out"], 950);
        assert_eq!(facts["why"], "late");
        assert!(facts["would_decide"].as_array().unwrap().len() <= FINDINGS);
    }

    #[test]
    fn nothing_looked_at_is_doubtful() {
        let verdict =
            without_looking(&case(), "Houston failed on it 3 times", 0.35, Timestamp::from_second(70).unwrap());
        assert_eq!(verdict.decision, Decision::Doubtful);
        assert_eq!((verdict.deadline_ms, verdict.took_ms), (60_000, 70_000));
        assert_eq!(verdict.power, 0.0);
    }
}
