//! Who is on call at a time. Pure: the same declaration and the same time give the same answer.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::model::people::{OnCall, Override, Rotation};

/// Who is on call, and for how long that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Duty {
    /// Nobody, where there are none.
    pub who: Vec<String>,
    /// Since when, where there was somebody else (or nobody) before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The first moment for which it has to be asked again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// By what: `rotation`, `override`; or why nobody is.
    pub why: String,
}

impl Duty {
    fn nobody(why: &str) -> Self {
        Duty { who: Vec::new(), since: None, until: None, why: why.to_owned() }
    }
}

/// Who is on call at this time.
pub fn at(on_call: &OnCall, at: Timestamp) -> Duty {
    let in_force = |over: &&Override| over.from <= at && at < over.until;
    if let Some((index, over)) = on_call.overrides.iter().enumerate().rev().find(|(_, over)| in_force(over)) {
        // One that is written later takes over from it when it begins.
        let later = on_call.overrides[index + 1..].iter().map(|over| over.from).filter(|from| *from > at);
        let until = later.chain([over.until]).min();
        return Duty { who: vec![over.who.clone()], since: Some(over.from), until, why: "override".to_owned() };
    }
    let mut duty = match &on_call.rotation {
        Some(rotation) => turn(rotation, at),
        None => Duty::nobody("nobody stands in at this time, and there is no rotation"),
    };
    let next = on_call.overrides.iter().map(|over| over.from).filter(|from| *from > at);
    let last = on_call.overrides.iter().map(|over| over.until).filter(|until| *until <= at).max();
    duty.until = next.chain(duty.until).min();
    duty.since = duty.since.max(last.filter(|_| duty.since.is_some()));
    duty
}

fn turn(rotation: &Rotation, at: Timestamp) -> Duty {
    let Rotation { start, time_zone, every, members } = rotation;
    let begins = |n: i64| -> Option<Timestamp> {
        let passed = SignedDuration::from_secs(every.as_secs().checked_mul(n)?);
        Some(start.checked_add(passed).ok()?.to_zoned(time_zone.clone()).ok()?.timestamp())
    };
    if every.as_secs() <= 0 || members.is_empty() {
        return Duty::nobody("the rotation has no turns");
    }
    let local = at.to_zoned(time_zone.clone()).datetime();
    let mut n = local.duration_since(*start).as_secs().div_euclid(every.as_secs());
    // By the clock on the wall this is the turn, but where the clocks change the wall says an hour twice, or never.
    while begins(n).is_some_and(|begin| begin > at) {
        n -= 1;
    }
    while begins(n + 1).is_some_and(|begin| begin <= at) {
        n += 1;
    }
    if n < 0 {
        let until = begins(0);
        return Duty { until, ..Duty::nobody("the rotation has not begun") };
    }
    let index = usize::try_from(n).unwrap_or(0) % members.len();
    let who = members.get(index).cloned().into_iter().collect();
    Duty { who, since: begins(n), until: begins(n + 1), why: "rotation".to_owned() }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;

    fn rotation(start: &str, every_hours: i64) -> Rotation {
        Rotation {
            start: start.parse().unwrap(),
            time_zone: TimeZone::get("Europe/Berlin").unwrap(),
            every: SignedDuration::from_hours(every_hours),
            members: vec!["ana".into(), "kim".into(), "lee".into()],
        }
    }

    fn only(rotation: Rotation) -> OnCall {
        OnCall { rotation: Some(rotation), overrides: Vec::new() }
    }

    #[test]
    fn a_handover_at_nine_stays_at_nine_when_the_clocks_change() {
        let weekly = only(rotation("2026-10-19T09:00", 7 * 24));
        // On the 25th of October 2026 the clocks in Berlin go from 03:00 back to 02:00.
        for (when, who, until) in [
            ("2026-10-19T08:59:59+02:00", "", "2026-10-19T09:00:00+02:00"),
            ("2026-10-19T09:00:00+02:00", "ana", "2026-10-26T09:00:00+01:00"),
            ("2026-10-26T08:59:59+01:00", "ana", "2026-10-26T09:00:00+01:00"),
            ("2026-10-26T09:00:00+01:00", "kim", "2026-11-02T09:00:00+01:00"),
            ("2026-11-08T23:00:00+01:00", "lee", "2026-11-09T09:00:00+01:00"),
            ("2026-11-09T09:00:00+01:00", "ana", "2026-11-16T09:00:00+01:00"),
            ("2027-03-29T08:59:59+02:00", "kim", "2027-03-29T09:00:00+02:00"),
            ("2027-03-29T09:00:00+02:00", "lee", "2027-04-05T09:00:00+02:00"),
        ] {
            let duty = at(&weekly, when.parse().unwrap());
            assert_eq!(duty.who.join(","), who, "{when}");
            assert_eq!(duty.until, Some(until.parse().unwrap()), "{when}");
        }
    }

    #[test]
    fn an_hour_that_comes_twice_or_never_has_one_handover() {
        // Every day at 02:30, which is twice on the 25th of October 2026 and never on the 28th of March 2027.
        let nightly = only(rotation("2026-10-23T02:30", 24));
        for (when, who) in [
            ("2026-10-25T02:29:00+02:00", "kim"),
            ("2026-10-25T02:30:00+02:00", "lee"),
            ("2026-10-25T02:10:00+01:00", "lee"),
            ("2026-10-25T02:40:00+01:00", "lee"),
            ("2026-10-26T02:30:00+01:00", "ana"),
        ] {
            assert_eq!(at(&nightly, when.parse().unwrap()).who, [who], "{when}");
        }
        let spring = only(rotation("2027-03-27T02:30", 24));
        for (when, who) in [
            ("2027-03-28T01:59:00+01:00", "ana"),
            ("2027-03-28T03:29:00+02:00", "ana"),
            ("2027-03-28T03:30:00+02:00", "kim"),
            ("2027-03-29T02:30:00+02:00", "lee"),
        ] {
            assert_eq!(at(&spring, when.parse().unwrap()).who, [who], "{when}");
        }
    }

    #[test]
    fn who_stands_in_wins_and_the_last_one_written_of_them() {
        let over = |from: &str, until: &str, who: &str| Override {
            from: from.parse().unwrap(),
            until: until.parse().unwrap(),
            who: who.to_owned(),
        };
        let on_call = OnCall {
            rotation: Some(rotation("2026-11-16T09:00", 7 * 24)),
            overrides: vec![
                over("2026-11-17T00:00:00Z", "2026-11-19T00:00:00Z", "max"),
                over("2026-11-18T00:00:00Z", "2026-11-18T12:00:00Z", "eve"),
            ],
        };
        for (when, who, until, why) in [
            ("2026-11-16T20:00:00Z", "ana", "2026-11-17T00:00:00Z", "rotation"),
            ("2026-11-17T00:00:00Z", "max", "2026-11-18T00:00:00Z", "override"),
            ("2026-11-18T11:59:59Z", "eve", "2026-11-18T12:00:00Z", "override"),
            ("2026-11-18T12:00:00Z", "max", "2026-11-19T00:00:00Z", "override"),
            ("2026-11-19T00:00:00Z", "ana", "2026-11-23T08:00:00Z", "rotation"),
        ] {
            let duty = at(&on_call, when.parse().unwrap());
            assert_eq!((duty.who.join(",").as_str(), duty.why.as_str()), (who, why), "{when}");
            assert_eq!(duty.until, Some(until.parse().unwrap()), "{when}");
        }
        let nobody = at(&OnCall::default(), "2026-11-16T20:00:00Z".parse().unwrap());
        assert!(nobody.who.is_empty() && nobody.why.contains("nobody"), "{nobody:?}");
    }

    proptest! {
        #[test]
        fn a_turn_holds_from_its_begin_to_its_end_and_the_next_member_follows(
            hours in 2_i64..400, seconds in 0_i64..100_000_000,
        ) {
            let rotation = rotation("2026-01-05T02:30", hours);
            let members = rotation.members.clone();
            let on_call = only(rotation);
            let when = Timestamp::from_second(1_767_600_000 + seconds).unwrap();
            let duty = at(&on_call, when);
            let (since, until) = (duty.since.unwrap(), duty.until.unwrap());
            prop_assert!(since <= when && when < until);
            prop_assert_eq!(&at(&on_call, since).who, &duty.who);
            let next = at(&on_call, until);
            let place = |who: &str| members.iter().position(|member| member == who).unwrap();
            prop_assert_eq!(place(&next.who[0]), (place(&duty.who[0]) + 1) % 3);
            prop_assert_eq!(next.since, Some(until));
        }
    }
}
