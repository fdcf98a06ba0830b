//! Call-backs: after *no issue* the customer is asked, and silence is never taken for "fixed". Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::playbook::{Occasion, Policy, Target};
use crate::model::action::{Action, ActionKind};
use crate::model::callback::{Answer, CallBack, CallBackState};
use crate::model::case::number_text;
use crate::model::verdict::{Decision, Phase};

/// When customers are called back, and what follows silence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// After the verdict.
    pub within: Duration,
    /// Between two reminders.
    pub remind: Duration,
    /// So many reminders; then it is as `then` says.
    pub reminders: u32,
    pub then: Then,
    /// Who calls.
    pub targets: Vec<Target>,
}

/// What follows when nobody answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// A human looks.
    Escalate,
    /// It is left as it is: unanswered.
    Leave,
}

impl Default for Rules {
    /// Whoever declares nothing has the call-back on the ticket, and is told of nothing.
    fn default() -> Self {
        Rules { reminders: 0, then: Then::Leave, ..Rules::declared() }
    }
}

impl Rules {
    /// What holds where `call_back` says nothing else.
    pub fn declared() -> Self {
        Rules {
            within: Duration::from_secs(30 * 60),
            remind: Duration::from_secs(15 * 60),
            reminders: 2,
            then: Then::Escalate,
            targets: Vec::new(),
        }
    }
}

/// The most characters of a title that a message repeats.
const TITLE: usize = 120;

/// The call-back that follows this verdict, with the message that asks for it. A machine is not called back.
pub fn begin(occasion: &Occasion<'_>, policy: &Policy, now: Timestamp) -> Option<(CallBack, Vec<Action>)> {
    let verdict = occasion.verdict;
    if verdict.decision != Decision::NoIssue || verdict.phase != Phase::Final || occasion.ticket.alert {
        return None;
    }
    let rules = &policy.call_back;
    let call_back = CallBack {
        ticket: occasion.number,
        round: occasion.round,
        state: CallBackState::Open,
        who: occasion.ticket.reporter.clone().or_else(|| occasion.ticket.customer.clone()),
        contact: occasion.ticket.contact.clone(),
        ask: "we see it working: do you still see the problem?".to_owned(),
        by: later(now, rules.within),
        reminded: 0,
    };
    let title: String = occasion.ticket.title.raw().chars().take(TITLE).collect();
    let actions = messages(&call_back, &title, ActionKind::CallBack, "", policy, now);
    Some((call_back, actions))
}

/// What happens to an open call-back whose time has come: a reminder, and in the end what the rules say.
pub fn overdue(call_back: &CallBack, title: &str, policy: &Policy, now: Timestamp) -> (CallBack, Vec<Action>) {
    let rules = &policy.call_back;
    let mut next = call_back.clone();
    if call_back.reminded < rules.reminders {
        next.reminded += 1;
        next.by = later(now, rules.remind);
        let occasion = format!("reminder {}", next.reminded);
        let actions = messages(&next, title, ActionKind::Remind, &occasion, policy, now);
        return (next, actions);
    }
    next.state = CallBackState::Unanswered;
    let actions = match rules.then {
        Then::Leave => Vec::new(),
        Then::Escalate => {
            escalation(call_back, title, "nobody could tell whether the customer still sees it", policy, now)
        }
    };
    (next, actions)
}

/// What the customer said. *Still broken* is escalated at once: we said that there was no issue.
pub fn answered(
    call_back: &CallBack,
    answer: Answer,
    title: &str,
    policy: &Policy,
    now: Timestamp,
) -> (CallBack, Vec<Action>) {
    let mut next = call_back.clone();
    match answer {
        Answer::Fine => {
            next.state = CallBackState::Fine;
            (next, Vec::new())
        }
        Answer::StillBroken => {
            next.state = CallBackState::StillBroken;
            let why = "the customer still sees it, though we saw it working";
            (next, escalation(call_back, title, why, policy, now))
        }
        Answer::NoAnswer => overdue(call_back, title, policy, now),
    }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| now.checked_add(by).ok()).unwrap_or(now)
}

fn operators(policy: &Policy) -> Vec<Target> {
    if policy.escalate.is_empty() { Policy::default().escalate } else { policy.escalate.clone() }
}

fn messages(
    call_back: &CallBack,
    title: &str,
    kind: ActionKind,
    occasion: &str,
    policy: &Policy,
    now: Timestamp,
) -> Vec<Action> {
    let number = number_text(call_back.ticket);
    let again = if kind == ActionKind::Remind { " (again)" } else { "" };
    let facts = json!({
        "summary": format!("{number}: call the customer back{again} by {}: {title}", call_back.by.strftime("%H:%M UTC")),
        "ticket": { "number": number, "title": title },
        "reporter": call_back.who,
        "contact": call_back.contact,
        "next": [format!("ask: {}", call_back.ask), format!("houston ticket callback {number} fine|still-broken|no-answer")],
    });
    let targets = &policy.call_back.targets;
    each(call_back, kind, occasion, targets, &facts, now)
}

fn escalation(call_back: &CallBack, title: &str, why: &str, policy: &Policy, now: Timestamp) -> Vec<Action> {
    let number = number_text(call_back.ticket);
    let facts = json!({
        "summary": format!("{number}: {why}: {title}"),
        "ticket": { "number": number, "title": title },
        "why": "call_back",
        "reporter": call_back.who,
        "contact": call_back.contact,
    });
    each(call_back, ActionKind::Escalate, "call-back", &operators(policy), &facts, now)
}

fn each(
    call_back: &CallBack,
    kind: ActionKind,
    occasion: &str,
    targets: &[Target],
    facts: &serde_json::Value,
    now: Timestamp,
) -> Vec<Action> {
    let make = |Target { channel, recipient }: &Target| {
        let (ticket, round) = (call_back.ticket, call_back.round);
        Action::at_occasion(ticket, round, kind, channel, recipient, occasion, facts.clone(), now)
    };
    targets.iter().map(make).collect()
}

#[cfg(test)]
mod tests {
    use super::super::escalation::Cause;
    use super::super::escalation::tests::{ticket, verdict};
    use super::*;

    fn policy() -> Policy {
        let desk = Target { channel: "desk".to_owned(), recipient: "callers".to_owned() };
        Policy { call_back: Rules { targets: vec![desk], ..Rules::declared() }, ..Policy::default() }
    }

    fn begun(decision: Decision, alert: bool) -> Option<(CallBack, Vec<Action>)> {
        let (mut ticket, verdict) = (ticket(), verdict(decision));
        ticket.alert = alert;
        let occasion = Occasion { number: 3, round: 1, ticket: &ticket, verdict: &verdict, cause: Cause::Judged };
        begin(&occasion, &policy(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn only_who_heard_that_there_is_no_issue_is_called_back() {
        assert!(begun(Decision::Issue, false).is_none());
        assert!(begun(Decision::Doubtful, false).is_none());
        assert!(begun(Decision::NoIssue, true).is_none(), "a machine");
        let (call_back, actions) = begun(Decision::NoIssue, false).unwrap();
        assert_eq!(call_back.by, "1970-01-01T00:30:00Z".parse().unwrap());
        assert_eq!((actions.len(), actions[0].kind, actions[0].channel.as_str()), (1, ActionKind::CallBack, "desk"));
    }

    #[test]
    fn silence_is_reminded_of_and_then_escalated_and_never_fixed() {
        let (mut call_back, _) = begun(Decision::NoIssue, false).unwrap();
        let mut kinds = Vec::new();
        let mut keys = std::collections::BTreeSet::new();
        for _ in 0..3 {
            let (next, actions) = overdue(&call_back, "t", &policy(), call_back.by);
            kinds.extend(actions.iter().map(|action| action.kind));
            assert!(actions.into_iter().all(|action| keys.insert(action.key)), "each is said once");
            call_back = next;
        }
        assert_eq!(kinds, [ActionKind::Remind, ActionKind::Remind, ActionKind::Escalate]);
        assert_eq!(call_back.state, CallBackState::Unanswered);
        let left = Policy { call_back: Rules { then: Then::Leave, reminders: 0, ..policy().call_back }, ..policy() };
        let (open, _) = begun(Decision::NoIssue, false).unwrap();
        assert_eq!(overdue(&open, "t", &left, open.by).1, []);
    }

    #[test]
    fn still_broken_is_escalated_at_once() {
        let (call_back, _) = begun(Decision::NoIssue, false).unwrap();
        let (next, actions) = answered(&call_back, Answer::StillBroken, "t", &policy(), Timestamp::UNIX_EPOCH);
        assert_eq!(next.state, CallBackState::StillBroken);
        assert_eq!(
            actions.iter().map(|a| (a.kind, a.channel.as_str())).collect::<Vec<_>>(),
            [(ActionKind::Escalate, "log")]
        );
        let (next, actions) = answered(&call_back, Answer::Fine, "t", &policy(), Timestamp::UNIX_EPOCH);
        assert_eq!((next.state, actions.len()), (CallBackState::Fine, 0));
    }
}
