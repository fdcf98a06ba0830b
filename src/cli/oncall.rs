//! `houston oncall`: who of each team is on call, now or at another time, as the configuration says.

use jiff::Timestamp;
use serde_json::json;

use super::args::Cli;
use super::{Exit, Mistyped, Terminal, context, now, when};
use crate::model::catalog::Team;
use crate::model::encode::terminal as safe;
use crate::response::oncall::{self, Duty};

pub fn run(terminal: &Terminal, cli: &Cli, at: Option<&str>) -> anyhow::Result<Exit> {
    let now = now();
    let at = match at {
        Some(text) => ahead(text, &now).map_err(Mistyped)?,
        None => now.timestamp(),
    };
    let config = context::config(&cli.common)?;
    let mut everybody = true;
    for (name, team) in &config.catalog.teams {
        let Some(duty) = duty(team, at) else { continue };
        everybody &= !duty.who.is_empty();
        let next = duty.until.and_then(|until| Some((until, self::duty(team, until)?)));
        if terminal.json {
            let next = next.map(|(_, next)| next);
            terminal.document(&json!({ "team": name, "at": at, "on_call": duty, "next": next }))?;
            continue;
        }
        let local = |at: Timestamp| at.to_zoned(now.time_zone().clone()).strftime("%a %Y-%m-%d %H:%M %Z").to_string();
        let names = |duty: &Duty| match duty.who.is_empty() {
            true => "nobody".to_owned(),
            false => safe(&duty.who.join(", ")),
        };
        let then = next.map(|(until, next)| format!("  until {}, then {}", local(until), names(&next)));
        let line = format!("{:<16} {:<12} {}{}", safe(name), names(&duty), duty.why, then.unwrap_or_default());
        terminal.line(&terminal.style.plain(&line));
    }
    if !terminal.json && config.catalog.teams.values().all(|team| team.on_call.is_none()) {
        terminal.line("no team says who is on call (`on_call` of a team in houston.yaml)");
    }
    Ok(if everybody { Exit::Fine } else { Exit::Doubtful })
}

fn duty(team: &Team, at: Timestamp) -> Option<Duty> {
    team.on_call.as_ref().map(|on_call| oncall::at(on_call, at))
}

/// A time as elsewhere; a day and a time may lie ahead, and `tomorrow 09:00` does.
fn ahead(text: &str, now: &jiff::Zoned) -> Result<Timestamp, String> {
    match text.trim().strip_prefix("tomorrow ") {
        Some(clock) => {
            let tomorrow = now.tomorrow().map_err(|error| error.to_string())?;
            when::parse(&format!("today {clock}"), &tomorrow)
        }
        None => when::parse(text, now),
    }
}
