//! Who is behind a service: how each is reached by time of day, who is on call, and in which order they are told.

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Somebody who can be reached.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    /// In which the hours of the ways are meant.
    pub time_zone: TimeZone,
    pub reach: Vec<Way>,
}

/// One way to reach somebody.
#[derive(Debug, Clone, PartialEq)]
pub struct Way {
    /// The name of a channel in `houston.yaml`.
    pub over: String,
    /// Whom the channel knows them as: an address, a number, a name.
    pub to: String,
    /// When it may be used; without, always.
    pub hours: Option<Hours>,
}

/// A part of each day. From 20:00 until 08:00 spans midnight, and belongs to the day on which it begins; with both the
/// same it is the whole day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    pub from: Time,
    /// The first moment that is not part of it.
    pub until: Time,
    /// Every day, where there are none.
    pub days: Vec<Weekday>,
}

impl Hours {
    pub fn contains(&self, local: DateTime) -> bool {
        let counts = |date: Date| self.days.is_empty() || self.days.contains(&date.weekday());
        let (today, time) = (local.date(), local.time());
        if self.from < self.until {
            return counts(today) && self.from <= time && time < self.until;
        }
        (counts(today) && time >= self.from) || (time < self.until && today.yesterday().is_ok_and(counts))
    }
}

impl Person {
    /// The ways that are open at this time; where none is, all of them: a quiet rule never swallows a page.
    pub fn ways(&self, at: Timestamp) -> Vec<&Way> {
        let local = at.to_zoned(self.time_zone.clone()).datetime();
        let open = |way: &&Way| way.hours.as_ref().is_none_or(|hours| hours.contains(local));
        let ways: Vec<&Way> = self.reach.iter().filter(open).collect();
        if ways.is_empty() { self.reach.iter().collect() } else { ways }
    }
}

/// Who of a team is on call when.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OnCall {
    pub rotation: Option<Rotation>,
    /// The last one that is in force wins.
    pub overrides: Vec<Override>,
}

/// People take turns. The times of handover are civil ones: what is at 09:00 stays at 09:00 when the clocks change.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotation {
    /// When the first turn of the first member begins.
    pub start: DateTime,
    pub time_zone: TimeZone,
    /// How long a turn is, by the clock on the wall; at least an hour.
    pub every: SignedDuration,
    /// At least one.
    pub members: Vec<String>,
}

/// Somebody stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    pub from: Timestamp,
    /// The first moment that is not part of it.
    pub until: Timestamp,
    pub who: String,
}

/// Whom a step tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    OnCall,
    /// Every member that can be reached, and the team's channels.
    Team,
    People(Vec<String>),
}

/// One step of a ladder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub notify: Whom,
    /// How long an acknowledgement is waited for before the next step.
    pub wait: Duration,
}

/// In which order a team is told, until somebody takes it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ladder {
    /// At least one.
    pub steps: Vec<Step>,
    /// How often it is climbed again from its foot.
    pub repeat: u32,
    /// An acknowledgement is good for so long; then there is a reminder, and the ladder goes on.
    pub acknowledge_for: Duration,
}

/// For how long somebody has taken it on who doesn't say so.
pub const ACKNOWLEDGE_FOR: Duration = Duration::from_secs(30 * 60);
/// How long a step waits where nothing else is written.
pub const WAIT: Duration = Duration::from_secs(5 * 60);

impl Ladder {
    /// How many steps are taken at the most.
    pub fn height(&self) -> usize {
        self.steps.len().saturating_mul(self.repeat as usize + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_those_of_the_wall_clock_and_may_span_midnight() {
        let time = |text: &str| Time::strptime("%H:%M", text).unwrap();
        let hours = |from: &str, until: &str, days: &[Weekday]| Hours {
            from: time(from),
            until: time(until),
            days: days.to_vec(),
        };
        let office = hours("08:00", "20:00", &[Weekday::Friday]);
        let night = hours("20:00", "08:00", &[Weekday::Friday]);
        let whole = hours("00:00", "00:00", &[Weekday::Friday]);
        // The 20th of November 2026 is a Friday.
        for (at, [in_office, at_night, that_day]) in [
            ("2026-11-20T08:00", [true, false, true]),
            ("2026-11-20T19:59:59", [true, false, true]),
            ("2026-11-20T20:00", [false, true, true]),
            ("2026-11-21T07:59", [false, true, false]),
            ("2026-11-21T08:00", [false, false, false]),
            ("2026-11-20T07:59", [false, false, true]),
            ("2026-11-21T21:00", [false, false, false]),
        ] {
            let local: DateTime = at.parse().unwrap();
            assert_eq!(office.contains(local), in_office, "office at {at}");
            assert_eq!(night.contains(local), at_night, "night at {at}");
            assert_eq!(whole.contains(local), that_day, "the day at {at}");
        }
    }

    #[test]
    fn where_no_way_is_open_all_are() {
        let way = |over: &str, from: i8, until: i8| Way {
            over: over.to_owned(),
            to: "ana".to_owned(),
            hours: Some(Hours {
                from: Time::constant(from, 0, 0, 0),
                until: Time::constant(until, 0, 0, 0),
                days: vec![],
            }),
        };
        let person = Person {
            time_zone: TimeZone::get("Europe/Berlin").unwrap(),
            reach: vec![way("chat", 8, 18), way("phone", 18, 22)],
        };
        for (at, expected) in [
            ("2026-11-22T07:00:00Z", vec!["chat"]),
            ("2026-07-22T06:00:00Z", vec!["chat"]),
            ("2026-11-22T06:59:00Z", vec!["chat", "phone"]),
            ("2026-11-22T17:00:00Z", vec!["phone"]),
            ("2026-11-22T23:00:00Z", vec!["chat", "phone"]),
        ] {
            let ways: Vec<&str> = person.ways(at.parse().unwrap()).iter().map(|way| way.over.as_str()).collect();
            assert_eq!(ways, expected, "{at}");
        }
    }
}
