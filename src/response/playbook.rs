//! Decides what follows a verdict. Pure: the same case gives the same actions, with the same keys.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::callback::Rules;
use super::escalation::{self, Cause};
use super::reply;
use crate::model::action::{Action, ActionKind};
use crate::model::catalog::{Catalog, Team};
use crate::model::look::Outcome;
use crate::model::ticket::Ticket;
use crate::model::verdict::{Decision, Phase, Verdict};

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
    /// The team that is paged where a human is asked to look: one with a ladder.
    pub page: Option<String>,
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
        Policy {
            escalate: vec![log],
            announce: Vec::new(),
            page: None,
            call_back: Rules::default(),
            desks: BTreeMap::new(),
        }
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

/// That a team is to be paged.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub team: String,
    /// What it is about.
    pub services: Vec<String>,
    pub facts: serde_json::Value,
}

/// Who is to be paged: for an issue the owners of what failed, where a human must look the team that the policy names.
pub fn calls(occasion: &Occasion<'_>, policy: &Policy, catalog: &Catalog, owners: &BTreeSet<String>) -> Vec<Call> {
    let verdict = occasion.verdict;
    let mut calls: Vec<Call> = Vec::new();
    if verdict.decision == Decision::Issue {
        for owner in owners {
            if catalog.teams.get(owner).is_some_and(|team| is_reachable(team, catalog)) {
                let services = services_of(owner, verdict, catalog);
                calls.push(Call { team: owner.clone(), services, facts: escalation::facts(occasion) });
            }
        }
    }
    if let Some(team) = policy.page.as_ref().filter(|_| escalation::is_needed(occasion))
        && !calls.iter().any(|call| call.team == *team)
    {
        let services = verdict.ticket.services.clone();
        calls.push(Call { team: team.clone(), services, facts: escalation::facts(occasion) });
    }
    calls
}

fn is_reachable(team: &Team, catalog: &Catalog) -> bool {
    team.ladder.is_some()
        || !team.channels.is_empty()
        || team.members.iter().any(|member| catalog.people.contains_key(member))
}

/// What failed of this owner's; where nothing has a service, those that the ticket is about.
fn services_of(owner: &str, verdict: &Verdict, catalog: &Catalog) -> Vec<String> {
    let owns =
        |service: &String| catalog.services.get(service).is_some_and(|known| known.owner.as_deref() == Some(owner));
    let failed = verdict.findings.iter().filter(|finding| finding.outcome == Outcome::Bad);
    let services: BTreeSet<String> = failed
        .filter_map(|finding| {
            let service = finding.service.as_ref()?;
            let own = finding.owner.as_ref().map_or_else(|| owns(service), |named| named == owner);
            own.then(|| service.clone())
        })
        .collect();
    if services.is_empty() { verdict.ticket.services.clone() } else { services.into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use super::super::escalation::tests::{ticket, verdict};
    use super::*;

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
    fn owners_are_paged_for_an_issue_and_the_named_team_where_a_human_must_look() {
        let team = || Team { channels: vec!["chat".into()], ..Team::default() };
        let teams = [("shop", team()), ("silent", Team::default()), ("night", team())];
        let catalog = Catalog {
            teams: teams.into_iter().map(|(name, team)| (name.to_owned(), team)).collect(),
            ..Catalog::default()
        };
        let policy = Policy { page: Some("night".to_owned()), ..Policy::default() };
        let owners: BTreeSet<String> = ["shop", "silent", "gone"].map(str::to_owned).into();
        for (decision, cause, expected) in [
            (Decision::Issue, Cause::Judged, vec!["shop"]),
            (Decision::NoIssue, Cause::Judged, vec![]),
            (Decision::Doubtful, Cause::Judged, vec!["night"]),
            (Decision::NoIssue, Cause::Late, vec!["night"]),
            (Decision::Issue, Cause::Crashed { attempts: 3 }, vec!["shop", "night"]),
        ] {
            let (ticket, verdict) = (ticket(), verdict(decision));
            let occasion = Occasion { number: 3, round: 1, ticket: &ticket, verdict: &verdict, cause };
            let teams: Vec<String> =
                calls(&occasion, &policy, &catalog, &owners).into_iter().map(|call| call.team).collect();
            assert_eq!(teams, expected, "{decision:?} {cause:?}");
            assert!(calls(&occasion, &Policy::default(), &Catalog::default(), &owners).is_empty());
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
