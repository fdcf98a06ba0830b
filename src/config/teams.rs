//! Teams: who is in them, who is on call, and the ladder by which they are reached.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::people::{known, zone};
use super::{entries, undeclared};
use crate::model::catalog::Team;
use crate::model::people::{ACKNOWLEDGE_FOR, Ladder, OnCall, Override, Person, Rotation, Step, WAIT, Whom};
use crate::model::source::Diagnostic;
use crate::model::units::{Span, show_duration};
use crate::response::channels::Channels;
use crate::yaml::{Keys, Node, Shape, Spanned};

/// The most steps of a ladder.
const STEPS: usize = 20;
/// The most times that a ladder is climbed again.
const REPEAT: u32 = 10;
/// How long a step may wait, and an acknowledgement hold.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(7 * 86_400);
/// The shortest turn of a rotation.
const TURN: Duration = Duration::from_secs(3_600);

/// What the teams' words may name.
pub(super) struct Named<'a> {
    pub channels: &'a Channels,
    pub people: &'a BTreeMap<String, Person>,
}

pub(super) fn teams(node: Option<&Node>, named: &Named<'_>, errors: &mut Vec<Diagnostic>) -> BTreeMap<String, Team> {
    let mut teams = BTreeMap::new();
    for (name, _, value) in entries(node, "teams", errors) {
        let mut keys = match Keys::of(value, "a team") {
            Ok(keys) => keys,
            Err(error) => {
                errors.push(error.hint("write `{ members: […], channels: […] }`"));
                continue;
            }
        };
        let members: Vec<String> = keys.read("members", errors).unwrap_or_default();
        let over: Vec<Spanned<String>> = keys.read("channels", errors).unwrap_or_default();
        let mut team = Team { members, channels: known(over, named.channels, errors), ..Team::default() };
        team.on_call = keys.take("on_call").and_then(|node| on_call(node, named, errors));
        let steps = keys.take("ladder");
        let repeat: Option<Spanned<u32>> = keys.read("repeat", errors);
        let hold: Option<Spanned<Span>> = keys.read("acknowledge_for", errors);
        keys.finish(errors);
        if let Some(repeat) = repeat.as_ref().filter(|repeat| repeat.value > REPEAT) {
            errors.push(
                Diagnostic::error(repeat.at.clone(), format!("a ladder is climbed again at most {REPEAT} times"))
                    .hint(format!("write {REPEAT} or less")),
            );
        }
        let hold = hold.map_or(ACKNOWLEDGE_FOR, |hold| bounded(&hold, "an acknowledgement holds", errors));
        let steps = match steps {
            Some(node) => ladder(node, &team, named, errors),
            // Whoever is on call is told first, and then everybody.
            None if team.on_call.is_some() => {
                let everybody = reaches(&team, named).then_some(Whom::Team);
                [Some(Whom::OnCall), everybody]
                    .into_iter()
                    .flatten()
                    .map(|notify| Step { notify, wait: WAIT })
                    .collect()
            }
            None => Vec::new(),
        };
        if !steps.is_empty() {
            let repeat = repeat.map_or(0, |repeat| repeat.value.min(REPEAT));
            team.ladder = Some(Ladder { steps, repeat, acknowledge_for: hold });
        }
        teams.insert(name.to_owned(), team);
    }
    teams
}

/// True where a step that tells the whole team reaches anybody.
fn reaches(team: &Team, named: &Named<'_>) -> bool {
    !team.channels.is_empty() || team.members.iter().any(|member| named.people.contains_key(member))
}

fn bounded(span: &Spanned<Span>, what: &str, errors: &mut Vec<Diagnostic>) -> Duration {
    let duration = span.value.0;
    if !(SHORTEST..=LONGEST).contains(&duration) {
        let bounds = format!("{} to {}", show_duration(SHORTEST), show_duration(LONGEST));
        errors.push(Diagnostic::error(span.at.clone(), format!("{what} for {bounds}")).hint("write `30m`"));
    }
    duration
}

fn person(name: Spanned<String>, named: &Named<'_>, errors: &mut Vec<Diagnostic>) -> Option<String> {
    if named.people.contains_key(&name.value) {
        return Some(name.value);
    }
    let error = undeclared(&name.at, "person", &name.value, named.people.keys().map(String::as_str));
    let near = error.hint.as_ref().is_some_and(|hint| hint.contains("did you mean"));
    errors.push(if near { error } else { error.hint("declare how to reach them under `people`") });
    None
}

fn ladder(node: &Node, team: &Team, named: &Named<'_>, errors: &mut Vec<Diagnostic>) -> Vec<Step> {
    let hint = "write `[{ notify: on_call, wait: 5m }, { notify: team }]`";
    let Shape::List(written) = &node.shape else {
        let message = format!("a ladder is a list of steps, found {}", node.describe());
        errors.push(Diagnostic::error(node.span.clone(), message).hint(hint));
        return Vec::new();
    };
    if written.is_empty() || written.len() > STEPS {
        errors.push(Diagnostic::error(node.span.clone(), format!("a ladder has 1 to {STEPS} steps")).hint(hint));
    }
    let mut steps = Vec::new();
    for written in written.iter().take(STEPS) {
        let mut keys = match Keys::of(written, "a step") {
            Ok(keys) => keys,
            Err(error) => {
                errors.push(error.hint(hint));
                continue;
            }
        };
        let notify = keys.take("notify");
        let wait: Option<Spanned<Span>> = keys.read("wait", errors);
        keys.finish(errors);
        let wait = wait.map_or(WAIT, |wait| bounded(&wait, "a step waits", errors));
        let Some(notify) = notify else {
            errors.push(Diagnostic::error(written.span.clone(), "a step tells nobody").hint("add `notify: on_call`"));
            continue;
        };
        if let Some(notify) = whom(notify, team, named, errors) {
            steps.push(Step { notify, wait });
        }
    }
    steps
}

fn whom(node: &Node, team: &Team, named: &Named<'_>, errors: &mut Vec<Diagnostic>) -> Option<Whom> {
    match node.text() {
        Some("on_call") if team.on_call.is_none() => {
            errors.push(
                Diagnostic::error(node.span.clone(), "nobody of this team is on call")
                    .hint("add `on_call: { rotation: … }` to the team"),
            );
            None
        }
        Some("on_call") => Some(Whom::OnCall),
        Some("team") if !reaches(team, named) => {
            errors.push(
                Diagnostic::error(node.span.clone(), "nobody of this team can be reached")
                    .hint("add `channels: […]` to the team, or declare its members under `people`"),
            );
            None
        }
        Some("team") => Some(Whom::Team),
        Some(_) => {
            let name = node.read().map_err(|error| errors.push(error)).ok()?;
            person(name, named, errors).map(|name| Whom::People(vec![name]))
        }
        None => {
            let names: Vec<Spanned<String>> = node.read().map_err(|error| errors.push(error)).ok()?;
            if names.is_empty() {
                errors.push(
                    Diagnostic::error(node.span.clone(), "a step tells nobody")
                        .hint("write `on_call`, `team` or names of people"),
                );
            }
            let named: Vec<String> = names.into_iter().filter_map(|name| person(name, named, errors)).collect();
            (!named.is_empty()).then_some(Whom::People(named))
        }
    }
}

#[derive(Deserialize)]
struct RotationText {
    start: Spanned<String>,
    every: Spanned<Span>,
    time_zone: Option<Spanned<String>>,
    members: Spanned<Vec<Spanned<String>>>,
}

#[derive(Deserialize)]
struct OverrideText {
    from: Spanned<String>,
    until: Spanned<String>,
    who: Spanned<String>,
}

fn on_call(node: &Node, named: &Named<'_>, errors: &mut Vec<Diagnostic>) -> Option<OnCall> {
    let hint = "write `{ rotation: { start: 2026-01-05 09:00, every: 1w, members: […] } }`";
    let mut keys = Keys::of(node, "`on_call`").map_err(|error| errors.push(error.hint(hint))).ok()?;
    let written: Option<RotationText> = keys.read("rotation", errors);
    let overrides: Vec<OverrideText> = keys.read("overrides", errors).unwrap_or_default();
    keys.finish(errors);
    let rotation = written.and_then(|written| rotation(written, named, errors));
    let mut stand_ins = Vec::new();
    for OverrideText { from, until, who } in overrides {
        let zone = rotation.as_ref().map_or(jiff::tz::TimeZone::UTC, |rotation| rotation.time_zone.clone());
        let (begin, end) = (moment(&from, &zone, errors), moment(&until, &zone, errors));
        let (Some(begin), Some(end), Some(who)) = (begin, end, person(who, named, errors)) else { continue };
        if end <= begin {
            errors.push(Diagnostic::error(until.at, "it ends before it begins").hint("write a later time"));
            continue;
        }
        stand_ins.push(Override { from: begin, until: end, who });
    }
    Some(OnCall { rotation, overrides: stand_ins })
}

fn rotation(written: RotationText, named: &Named<'_>, errors: &mut Vec<Diagnostic>) -> Option<Rotation> {
    let time_zone = zone(written.time_zone, errors);
    if written.every.value.0 < TURN {
        let error = Diagnostic::error(written.every.at.clone(), "a turn is an hour at least");
        errors.push(error.hint("write `1d`, `1w`"));
        return None;
    }
    let every = SignedDuration::from_secs(i64::try_from(written.every.value.0.as_secs()).unwrap_or(i64::MAX));
    let start = civil(&written.start.value);
    if start.is_none() {
        let error = Diagnostic::error(written.start.at, format!("not a date and time: `{}`", written.start.value));
        errors.push(error.hint("write it by the clock on the wall: `2026-01-05 09:00`"));
    }
    if written.members.value.is_empty() {
        errors.push(Diagnostic::error(written.members.at, "nobody takes turns").hint("name people: `[ana, kim]`"));
        return None;
    }
    let all = written.members.value.len();
    let members: Vec<String> =
        written.members.value.into_iter().filter_map(|name| person(name, named, errors)).collect();
    (members.len() == all).then_some(Rotation { start: start?, time_zone, every, members })
}

/// `2026-01-05 09:00`, `2026-01-05T09:00`.
fn civil(text: &str) -> Option<DateTime> {
    DateTime::strptime("%Y-%m-%d %H:%M", text).ok().or_else(|| text.parse().ok())
}

/// A moment: RFC 3339, or by the clock on the wall in this zone.
fn moment(text: &Spanned<String>, zone: &jiff::tz::TimeZone, errors: &mut Vec<Diagnostic>) -> Option<Timestamp> {
    let local = || civil(&text.value)?.to_zoned(zone.clone()).ok().map(|at| at.timestamp());
    let at = text.value.parse().ok().or_else(local);
    if at.is_none() {
        let error = Diagnostic::error(text.at.clone(), format!("not a time: `{}`", text.value));
        errors.push(error.hint("write `2026-12-24 18:00`, or `2026-12-24T18:00:00+01:00`"));
    }
    at
}
