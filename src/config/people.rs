//! The people: channels by which they are reached, teams, and who is asked and told.

use std::collections::BTreeMap;

use super::{Config, entries, undeclared};
use crate::model::catalog::Team;
use crate::model::source::Diagnostic;
use crate::response::channels::Channels;
use crate::response::playbook::{DeskRule, Policy, Target};
use crate::yaml::{Keys, Node, Shape, Spanned};

/// Who reads what goes to a channel for no team in particular.
const OPERATORS: &str = "operators";

pub(super) fn channels(node: Option<&Node>, errors: &mut Vec<Diagnostic>) -> Channels {
    let mut channels = Channels::default();
    for (_, key, value) in entries(node, "channels", errors) {
        if let Err(error) = channels.declare(key, value) {
            errors.push(error);
        }
    }
    channels
}

pub(super) fn teams(node: Option<&Node>, channels: &Channels, errors: &mut Vec<Diagnostic>) -> BTreeMap<String, Team> {
    let mut teams = BTreeMap::new();
    for (name, _, value) in entries(node, "teams", errors) {
        let mut keys = match Keys::of(value, "a team") {
            Ok(keys) => keys,
            Err(error) => {
                errors.push(error.hint("write `{ members: […], channels: […] }`"));
                continue;
            }
        };
        let members = keys.read("members", errors).unwrap_or_default();
        let named: Vec<Spanned<String>> = keys.read("channels", errors).unwrap_or_default();
        keys.finish(errors);
        let channels = known(named, channels, errors);
        teams.insert(name.to_owned(), Team { members, channels });
    }
    teams
}

fn known(named: Vec<Spanned<String>>, channels: &Channels, errors: &mut Vec<Diagnostic>) -> Vec<String> {
    let mut known = Vec::new();
    for name in named {
        if channels.get(&name.value).is_some() {
            known.push(name.value);
        } else {
            errors.push(undeclared(&name.at, "channel", &name.value, channels.names()));
        }
    }
    known
}

/// `escalation: { channels: […], team: … }` and `announce`, alike. Without `escalation` it is the log: a case that
/// nobody could decide must not go nowhere.
pub(super) fn policy(
    escalation: Option<&Node>,
    announce: Option<&Node>,
    config: &Config,
    errors: &mut Vec<Diagnostic>,
) -> Policy {
    let mut policy = Policy::default();
    if let Some(node) = escalation
        && let Some(targets) = targets(node, "escalation", config, errors)
    {
        policy.escalate = targets;
    }
    if let Some(node) = announce
        && let Some(targets) = targets(node, "announce", config, errors)
    {
        policy.announce = targets;
    }
    policy
}

/// What becomes of the verdicts on a desk's tickets.
pub(super) fn rule(desk: &crate::ticketing::Desk) -> DeskRule {
    DeskRule {
        channel: desk.channel(),
        note: desk.note,
        public: desk.system.is_public(),
        first_reply: desk.first_reply,
    }
}

fn targets(node: &Node, what: &str, config: &Config, errors: &mut Vec<Diagnostic>) -> Option<Vec<Target>> {
    let before = errors.len();
    let mut keys = Keys::of(node, &format!("`{what}`"))
        .map_err(|error| errors.push(error.hint("write `{ channels: […] }` or `{ team: … }`")))
        .ok()?;
    let channels: Vec<Spanned<String>> = keys.read("channels", errors).unwrap_or_default();
    let team = keys.take("team");
    keys.finish(errors);
    let target = |channel: String, recipient: &str| Target { channel, recipient: recipient.to_owned() };
    let mut targets: Vec<Target> =
        known(channels, &config.channels, errors).into_iter().map(|channel| target(channel, OPERATORS)).collect();
    if let Some(node) = team {
        match node.text().map(|name| (name, config.catalog.teams.get(name))) {
            Some((name, Some(team))) => {
                if team.channels.is_empty() {
                    errors.push(
                        Diagnostic::error(node.span.clone(), format!("the team `{name}` has no channel"))
                            .hint("add `channels: […]` to the team"),
                    );
                }
                targets.extend(team.channels.iter().map(|channel| target(channel.clone(), name)));
            }
            Some((name, None)) => {
                let known = config.catalog.teams.keys().map(String::as_str);
                errors.push(undeclared(&node.span, "team", name, known));
            }
            None => errors.push(
                Diagnostic::error(node.span.clone(), format!("expected a team's name, found {}", node.describe()))
                    .hint("write `team: NAME`"),
            ),
        }
    }
    if targets.is_empty() && errors.len() == before {
        let at = match &node.shape {
            Shape::Map(entries) => entries.first().map_or(&node.span, |(key, _)| &key.span),
            _ => &node.span,
        };
        errors.push(
            Diagnostic::error(at.clone(), format!("`{what}` names nobody"))
                .hint("add `channels: […]` or `team: …`, or remove the key"),
        );
    }
    Some(targets)
}
