//! What is usual at this hour: which hours of a measure's history are comparable, and whether they are enough.
//!
//! Traffic, latency and errors follow the day and the week, so an hour is held against the same hour (in UTC) of the same
//! weekday; while there are fewer than four weeks of those, against the same hour of every day. Fewer than three such
//! hours say nothing.

use jiff::{SignedDuration, Timestamp};

use crate::model::history::{Baseline, HOUR, Hour};
use crate::model::window::Window;

/// So far back hours are comparable.
pub const REACH: SignedDuration = SignedDuration::from_hours(28 * 24);
/// The same hour of so many weeks is preferred to the same hour of every day.
const WEEKS: usize = 4;
/// The fewest comparable hours that say anything.
pub const HOURS_NEEDED: usize = 3;

/// Milliseconds of a day and of a week.
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;

/// The number of the hour since 1970.
fn number(at: Timestamp) -> i64 {
    at.as_millisecond().div_euclid(HOUR)
}

/// True where the hour that begins at `start` and this span have a moment in common.
fn touches(start: Timestamp, span: Window) -> bool {
    span.from.as_millisecond() < start.as_millisecond() + HOUR && span.to >= start
}

/// What was seen at the hour of `at` on earlier days. Hours that touch the trouble, which is said to have begun at
/// `since`, or an earlier one, are left out, or what is wrong becomes what is usual.
pub fn baseline(hours: &[Hour], at: Timestamp, since: Timestamp, earlier: &[Window]) -> Baseline {
    let asked = number(at);
    let comparable = |period: i64| {
        hours.iter().filter(move |hour| {
            let start = number(hour.start);
            start < asked
                && (asked - start) % (period / HOUR) == 0
                && at.duration_since(hour.start) <= REACH + SignedDuration::from_hours(1)
                && hour.start.as_millisecond() + HOUR <= since.as_millisecond()
                && !earlier.iter().any(|trouble| touches(hour.start, *trouble))
                && !hour.spread.points.is_empty()
        })
    };
    let weekly: Vec<&Hour> = comparable(WEEK).collect();
    let chosen = if weekly.len() >= WEEKS { weekly } else { comparable(DAY).collect() };
    let found = chosen.len();
    if found < HOURS_NEEDED {
        let missing = (HOURS_NEEDED - found) as i64;
        let enough_at = Timestamp::from_millisecond(asked * HOUR + missing * DAY).ok();
        return Baseline { values: Vec::new(), hours: found, enough_at };
    }
    let values = chosen.iter().flat_map(|hour| hour.spread.points.iter().copied()).collect();
    Baseline { values, hours: found, enough_at: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::history::Spread;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn hour(start: &str, value: f64) -> Hour {
        Hour { start: at(start), spread: Spread::of(vec![value]) }
    }

    #[test]
    fn the_same_hour_of_other_days_is_comparable() {
        let now = at("2026-11-22T09:41:00Z");
        let hours = [
            hour("2026-11-19T09:00:00Z", 1.0),
            hour("2026-11-20T08:00:00Z", 100.0),
            hour("2026-11-20T09:00:00Z", 2.0),
            hour("2026-11-21T09:00:00Z", 3.0),
            hour("2026-11-21T10:00:00Z", 100.0),
            hour("2026-11-22T09:00:00Z", 100.0), // the hour that is asked about
            hour("2026-09-01T09:00:00Z", 100.0), // too long ago
        ];
        let found = baseline(&hours, now, now, &[]);
        assert_eq!((found.values, found.hours, found.enough_at), (vec![1.0, 2.0, 3.0], 3, None));
    }

    #[test]
    fn the_same_weekday_is_preferred_once_there_are_four() {
        let now = at("2026-11-22T09:41:00Z");
        let mut hours: Vec<Hour> = (1..=27)
            .map(|days| Hour {
                start: at("2026-11-22T09:00:00Z") - SignedDuration::from_hours(24 * days),
                spread: Spread::of(vec![if days % 7 == 0 { 7.0 } else { 1.0 }]),
            })
            .collect();
        assert_eq!(baseline(&hours, now, now, &[]).hours, 27, "three Sundays are too few");
        hours.push(hour("2026-10-25T09:00:00Z", 7.0));
        assert_eq!(baseline(&hours, now, now, &[]).values, vec![7.0; 4]);
    }

    #[test]
    fn too_few_hours_say_when_there_will_be_enough() {
        let now = at("2026-11-22T09:41:00Z");
        for (hours, enough_at) in [
            (vec![], "2026-11-25T09:00:00Z"),
            (vec![hour("2026-11-21T09:00:00Z", 1.0)], "2026-11-24T09:00:00Z"),
            (vec![hour("2026-11-20T09:00:00Z", 1.0), hour("2026-11-21T09:00:00Z", 1.0)], "2026-11-23T09:00:00Z"),
        ] {
            let found = baseline(&hours, now, now, &[]);
            assert_eq!((found.values, found.enough_at), (vec![], Some(at(enough_at))), "{hours:?}");
        }
    }

    #[test]
    fn what_touches_the_trouble_is_no_measure_of_what_is_usual() {
        let now = at("2026-11-22T09:41:00Z");
        let hours: Vec<Hour> = (1..=4)
            .map(|days| Hour {
                start: at("2026-11-22T09:00:00Z") - SignedDuration::from_hours(24 * days),
                spread: Spread::of(vec![days as f64]),
            })
            .collect();
        // Since yesterday at half past nine: yesterday's hour is part of it.
        assert_eq!(baseline(&hours, now, at("2026-11-21T09:30:00Z"), &[]).values, vec![2.0, 3.0, 4.0]);
        assert_eq!(baseline(&hours, now, at("2026-11-21T10:00:00Z"), &[]).hours, 4);
    }

    #[test]
    fn an_earlier_trouble_is_no_measure_of_what_is_usual_either() {
        let now = at("2026-11-22T09:41:00Z");
        let hours: Vec<Hour> = (1..=5)
            .map(|days| Hour {
                start: at("2026-11-22T09:00:00Z") - SignedDuration::from_hours(24 * days),
                spread: Spread::of(vec![days as f64]),
            })
            .collect();
        for (from, to, left) in [
            ("2026-11-20T09:30:00Z", "2026-11-20T09:31:00Z", vec![1.0, 3.0, 4.0, 5.0]),
            ("2026-11-20T10:00:00Z", "2026-11-21T09:00:00Z", vec![2.0, 3.0, 4.0, 5.0]),
            ("2026-11-20T10:00:00Z", "2026-11-21T08:59:59Z", vec![1.0, 2.0, 3.0, 4.0, 5.0]),
        ] {
            let trouble = Window::new(at(from), at(to));
            assert_eq!(baseline(&hours, now, now, &[trouble]).values, left, "{from}");
        }
    }
}
