//! The people: channels by which they are reached, and who is asked and told.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::{Config, entries, undeclared};
use crate::model::people::{Hours, Person, Way};
use crate::model::source::Diagnostic;
use crate::model::units;
use crate::response::callback::{Rules, Then};
use crate::response::channels::Channels;
use crate::response::playbook::{DeskRule, Policy, Target};
use crate::yaml::{Keys, Node, Shape, Spanned};

const MINUTE: Duration = Duration::from_secs(60);

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

#[derive(Deserialize)]
struct WayText {
    over: Spanned<String>,
    to: Option<String>,
    from: Option<Spanned<String>>,
    until: Option<Spanned<String>>,
    #[serde(default)]
    days: Vec<Spanned<String>>,
}

/// `people: { ana: { time_zone: Europe/Berlin, reach: [{ over: sms, to: "+49…", from: "08:00", until: "20:00" }] } }`.
/// Without a time zone it is UTC; without `to` the channel gets the person's name.
pub(super) fn people(
    node: Option<&Node>,
    channels: &Channels,
    errors: &mut Vec<Diagnostic>,
) -> BTreeMap<String, Person> {
    let mut people = BTreeMap::new();
    for (name, key, value) in entries(node, "people", errors) {
        let mut keys = match Keys::of(value, "a person") {
            Ok(keys) => keys,
            Err(error) => {
                errors.push(error.hint("write `{ time_zone: Europe/Berlin, reach: [{ over: CHANNEL, to: … }] }`"));
                continue;
            }
        };
        let time_zone = zone(keys.read("time_zone", errors), errors);
        let reach = keys.take("reach");
        keys.finish(errors);
        let Some(reach) = reach else {
            errors.push(
                Diagnostic::error(key.span.clone(), format!("nothing reaches `{name}`"))
                    .hint("add `reach: [{ over: CHANNEL, to: … }]`"),
            );
            continue;
        };
        let written: Vec<WayText> = match reach.read() {
            Ok(written) => written,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        if written.is_empty() {
            let error = Diagnostic::error(reach.span.clone(), format!("nothing reaches `{name}`"));
            errors.push(error.hint("write `[{ over: CHANNEL, to: … }]`"));
        }
        let reach = written.into_iter().filter_map(|way| read_way(way, name, channels, errors)).collect();
        people.insert(name.to_owned(), Person { time_zone, reach });
    }
    people
}

fn read_way(way: WayText, name: &str, channels: &Channels, errors: &mut Vec<Diagnostic>) -> Option<Way> {
    let mut time = |text: Option<Spanned<String>>| -> Option<Time> {
        let text = text?;
        let time = Time::strptime("%H:%M", &text.value).ok();
        if time.is_none() {
            let error = Diagnostic::error(text.at, format!("not a time of day: `{}`", text.value));
            errors.push(error.hint("write `\"08:00\"`"));
        }
        time
    };
    let bounded = way.from.is_some() || way.until.is_some() || !way.days.is_empty();
    let (from, until) = (time(way.from), time(way.until));
    let mut days = Vec::new();
    for day in way.days {
        match weekday(&day.value) {
            Some(day) => days.push(day),
            None => errors.push(
                Diagnostic::error(day.at, format!("not a day of the week: `{}`", day.value))
                    .hint("mon, tue, wed, thu, fri, sat, sun"),
            ),
        }
    }
    let over = known(vec![way.over], channels, errors).pop()?;
    let hours = bounded.then(|| Hours {
        from: from.unwrap_or(Time::midnight()),
        until: until.unwrap_or(Time::midnight()),
        days,
    });
    Some(Way { over, to: way.to.unwrap_or_else(|| name.to_owned()), hours })
}

fn weekday(text: &str) -> Option<Weekday> {
    Some(match text.to_lowercase().as_str() {
        "mon" | "monday" => Weekday::Monday,
        "tue" | "tuesday" => Weekday::Tuesday,
        "wed" | "wednesday" => Weekday::Wednesday,
        "thu" | "thursday" => Weekday::Thursday,
        "fri" | "friday" => Weekday::Friday,
        "sat" | "saturday" => Weekday::Saturday,
        "sun" | "sunday" => Weekday::Sunday,
        _ => return None,
    })
}

/// The zone with this name; UTC where none is written.
pub(super) fn zone(name: Option<Spanned<String>>, errors: &mut Vec<Diagnostic>) -> TimeZone {
    let Some(name) = name else { return TimeZone::UTC };
    TimeZone::get(&name.value).unwrap_or_else(|_| {
        let short: String = name.value.chars().take(64).collect();
        let error = Diagnostic::error(name.at, format!("this machine knows no time zone `{short}`"));
        errors.push(error.hint("write one of the IANA database, as `Europe/Berlin` (Debian: tzdata)"));
        TimeZone::UTC
    })
}

pub(super) fn known(named: Vec<Spanned<String>>, channels: &Channels, errors: &mut Vec<Diagnostic>) -> Vec<String> {
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
        // A team with a ladder is paged; the others are told over their channels.
        policy.page = node.get("team").and_then(Node::text).map(str::to_owned).filter(|team| climbs(team, config));
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

/// Without it nobody is told to call, and the call-back only stands on its ticket.
/// `call_back: { within: 30m, remind: 15m, reminders: 2, then: escalate, channels: […], team: … }`. Who calls is who is
/// asked to look, unless it says otherwise.
pub(super) fn call_back(node: Option<&Node>, config: &Config, errors: &mut Vec<Diagnostic>) -> Rules {
    let Some(node) = node else { return Rules::default() };
    let mut rules = Rules { targets: config.policy.escalate.clone(), ..Rules::declared() };
    let Shape::Map(entries) = &node.shape else {
        errors.push(
            Diagnostic::error(node.span.clone(), format!("`call_back` is a map, not {}", node.describe()))
                .hint("write `{ within: 30m, channels: […] }`"),
        );
        return rules;
    };
    let (people, own): (Vec<_>, Vec<_>) =
        entries.iter().cloned().partition(|(key, _)| matches!(key.text(), Some("channels" | "team")));
    let own = Node { span: node.span.clone(), shape: Shape::Map(own) };
    if let Ok(mut keys) = Keys::of(&own, "`call_back`") {
        for (name, place, most) in [("within", &mut rules.within, 7 * 24), ("remind", &mut rules.remind, 24)] {
            if let Some(span) = keys.read::<Spanned<units::Span>>(name, errors) {
                match span.value.0 {
                    time if time >= MINUTE && time <= MINUTE * 60 * most => *place = time,
                    _ => errors.push(
                        Diagnostic::error(span.at, format!("`{name}` is one minute to {most} hours")).hint("30m"),
                    ),
                }
            }
        }
        match keys.read::<Spanned<u32>>("reminders", errors) {
            Some(number) if number.value <= 10 => rules.reminders = number.value,
            Some(number) => errors.push(Diagnostic::error(number.at, "at most 10 reminders").hint("2")),
            None => {}
        }
        match keys.read::<Spanned<String>>("then", errors) {
            Some(then) if then.value == "escalate" => rules.then = Then::Escalate,
            Some(then) if then.value == "leave" => rules.then = Then::Leave,
            Some(then) => errors.push(
                Diagnostic::error(then.at, "this can't follow when nobody answers")
                    .hint("`escalate`, or `leave`: it never counts as fixed"),
            ),
            None => {}
        }
        keys.finish(errors);
    }
    if !people.is_empty() {
        let people = Node { span: node.span.clone(), shape: Shape::Map(people) };
        if let Some(targets) = targets(&people, "call_back", config, errors) {
            rules.targets = targets;
        }
    }
    rules
}

fn climbs(team: &str, config: &Config) -> bool {
    config.catalog.teams.get(team).is_some_and(|team| team.ladder.is_some())
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
    let mut paged = false;
    if let Some(node) = team {
        match node.text().map(|name| (name, config.catalog.teams.get(name))) {
            Some((name, Some(_))) if what == "escalation" && climbs(name, config) => paged = true,
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
    if targets.is_empty() && !paged && errors.len() == before {
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
