//! Decides what follows a verdict. Pure: the same case gives the same actions, with the same keys.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::callback::Rules;
use super::escalation::{self, Cause};
use super::reply;
use crate::model::action::{Action, ActionKind};
use crate::model::ticket::Ticket;
use crate::model::verdict::{Phase, Verdict};

/// Who is told, over which channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The name of a channel in `houston.yaml`, or `log`.
    pub channel: String,
    /// A team, an address; for channels that know only one, a name to be read.
    pub recipient: String,
}

/// Who is told of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Where a human is asked to look.
    pub escalate: Vec<Target>,
    /// Where every final verdict is told.
    pub announce: Vec<Target>,
    /// When customers are called back.
    pub call_back: Rules,
    /// What becomes of verdicts on tickets of the systems in which they live, by the system's name.
    pub desks: BTreeMap<String, DeskRule>,
}

/// What is written into the tickets of a system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeskRule {
    /// The channel that leads into its tickets.
    pub channel: String,
    /// Whether verdicts are noted there.
    pub note: bool,
    /// Everybody can read what is written there: only customer-safe words are.
    pub public: bool,
    /// Whether the customer gets a first reply there.
    pub first_reply: bool,
}

impl Default for Policy {
    /// Escalations go to the log, where nothing else is configured: they must never go nowhere.
    fn default() -> Self {
        let log = Target { channel: "log".to_owned(), recipient: "operators".to_owned() };
        Policy { escalate: vec![log], announce: Vec::new(), call_back: Rules::default(), desks: BTreeMap::new() }
    }
}

/// A round that has come to its end.
#[derive(Debug, Clone, Copy)]
pub struct Occasion<'a> {
    pub number: u64,
    pub round: u32,
    pub ticket: &'a Ticket,
    pub verdict: &'a Verdict,
    pub cause: Cause,
}

/// The actions that follow, to be written in one transaction with the verdict.
///
/// An escalation follows a doubtful verdict, a round that came to its end by lateness or by our own failing, whatever
/// its verdict says. An announcement follows every final verdict.
pub fn follow_up(occasion: &Occasion<'_>, policy: &Policy, now: Timestamp) -> Vec<Action> {
    let make = |kind, targets: &[Target], facts: &dyn Fn() -> serde_json::Value| -> Vec<Action> {
        if targets.is_empty() {
            return Vec::new();
        }
        let facts = facts();
        let mut actions: Vec<Action> = Vec::new();
        for Target { channel, recipient } in targets {
            let action = Action::new(occasion.number, occasion.round, kind, channel, recipient, facts.clone(), now);
            // A target that is named twice is told once.
            if !actions.iter().any(|other| other.key == action.key) {
                actions.push(action);
            }
        }
        actions
    };
    let mut actions = Vec::new();
    if escalation::is_needed(occasion) {
        let fallback = Policy::default().escalate;
        let targets = if policy.escalate.is_empty() { &fallback } else { &policy.escalate };
        actions.extend(make(ActionKind::Escalate, targets, &|| escalation::facts(occasion)));
    }
    if occasion.verdict.phase == Phase::Final {
        actions.extend(make(ActionKind::Announce, &policy.announce, &|| escalation::document(occasion)));
        if let Some(rule) = policy.desks.get(&occasion.ticket.source).filter(|rule| rule.note) {
            let there = Target { channel: rule.channel.clone(), recipient: occasion.ticket.id.clone() };
            actions.extend(make(ActionKind::Note, &[there], &|| match rule.public {
                true => reply::verdict(occasion),
                false => escalation::document(occasion),
            }));
        }
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::super::escalation::tests::{ticket, verdict};
    use super::*;
    use crate::model::verdict::Decision;

    fn target(channel: &str) -> Target {
        Target { channel: channel.to_owned(), recipient: "ops".to_owned() }
    }

    #[test]
    fn who_is_told_of_what() {
        let policy = Policy {
            escalate: vec![target("hook"), target("log"), target("hook")],
            announce: vec![target("desk")],
            ..Policy::default()
        };
        let now = Timestamp::UNIX_EPOCH;
        for (decision, cause, expected) in [
            (Decision::Issue, Cause::Judged, vec!["announce desk"]),
            (Decision::NoIssue, Cause::Judged, vec!["announce desk"]),
            (Decision::Doubtful, Cause::Judged, vec!["escalate hook", "escalate log", "announce desk"]),
            (Decision::NoIssue, Cause::Late, vec!["escalate hook", "escalate log", "announce desk"]),
            (Decision::Issue, Cause::Crashed { attempts: 3 }, vec!["escalate hook", "escalate log", "announce desk"]),
        ] {
            let (ticket, verdict) = (ticket(), verdict(decision));
            let occasion = Occasion { number: 3, round: 1, ticket: &ticket, verdict: &verdict, cause };
            let actions = follow_up(&occasion, &policy, now);
            let told: Vec<_> = actions.iter().map(|a| format!("{} {}", a.kind.name(), a.channel)).collect();
            assert_eq!(told, expected, "{decision:?} {cause:?}");
            assert_eq!(actions, follow_up(&occasion, &policy, now), "the same case, the same actions");
        }
    }

    #[test]
    fn an_escalation_never_goes_nowhere() {
        let nobody = Policy { escalate: vec![], announce: vec![], ..Policy::default() };
        let (ticket, verdict) = (ticket(), verdict(Decision::Doubtful));
        let occasion = Occasion { number: 3, round: 1, ticket: &ticket, verdict: &verdict, cause: Cause::Judged };
        for policy in [nobody, Policy::default()] {
            let actions = follow_up(&occasion, &policy, Timestamp::UNIX_EPOCH);
            assert_eq!(actions.iter().map(|action| action.channel.as_str()).collect::<Vec<_>>(), ["log"]);
        }
    }
}
