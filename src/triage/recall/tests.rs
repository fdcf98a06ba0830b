//! What samples say of a window, and what they can't say.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::model::history::Baseline;
use crate::model::look::Relation;
use crate::model::params::Params;
use crate::model::value::Measures;
use crate::model::window::Moment;

fn minute(minute: i64) -> Timestamp {
    "2026-11-22T09:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minute)
}

fn question(customer: Option<&str>, params: Params) -> Question {
    let directory = tempfile::tempdir().unwrap();
    let text = "service: shop\nchecks:\n  - name: page\n    every: 1m\n    http: { url: 'http://127.0.0.1:1/' }\n    \
                expect: [ 'usual(duration_seconds)' ]\n";
    std::fs::write(directory.path().join("checks.yaml"), text).unwrap();
    let (set, faults) = crate::checks::load(directory.path(), crate::evidence::KINDS, Arc::new(|_| Ok(())));
    assert!(faults.is_empty(), "{faults:?}");
    Question {
        check: Arc::clone(&set.checks[0]),
        relation: Relation::Service,
        rho: 0.9,
        own: false,
        proof_capable: false,
        params,
        customer: customer.map(str::to_owned),
        since: minute(0),
        moments: vec![(Moment::Now, Window::new(minute(0), minute(30)))],
        control: None,
    }
}

fn scope() -> Scope {
    Scope {
        services: Vec::new(),
        dependencies: Vec::new(),
        customer: None,
        window: Window::new(minute(0), minute(30)),
        is_past: true,
        now: minute(600),
        notes: Vec::new(),
    }
}

/// A sample a minute, each a letter: good, odd, bad, unknown; a dot for none.
fn memory(outcomes: &str) -> Memory {
    let sample = |(at, letter): (usize, char)| {
        let outcome = match letter {
            'g' => Outcome::Good,
            'o' => Outcome::Odd,
            'b' => Outcome::Bad,
            'u' => Outcome::Unknown,
            _ => return None,
        };
        let sample = Sample::new(minute(at as i64), outcome, Duration::ZERO);
        Some(if outcome == Outcome::Bad { sample.because("status is 503") } else { sample })
    };
    let samples: Vec<Sample> = outcomes.chars().enumerate().filter_map(sample).collect();
    let mut memory = Memory::default();
    memory.samples.insert("page".to_owned(), samples.into());
    memory
}

#[test]
fn what_was_then() {
    let good = "g".repeat(31);
    let asked = question(None, Params::default());
    for (outcomes, expected) in [
        (good.clone(), Some((Outcome::Good, 0, 31))),
        (good.replacen('g', "b", 1), Some((Outcome::Odd, 1, 31))),
        (good.replacen('g', "o", 1), Some((Outcome::Odd, 0, 31))),
        (good.replacen("ggg", "bbb", 1), Some((Outcome::Odd, 3, 31))),
        (good.replacen("gggg", "bbbb", 1), Some((Outcome::Bad, 4, 31))),
        // Never twice in a row: nothing that a second try would have confirmed.
        (good.replace("gg", "bg"), Some((Outcome::Odd, 15, 31))),
        (good.replacen("gggggg", "bgbbgb", 1), Some((Outcome::Bad, 4, 31))),
        // Holes: a failure could have fitted in unseen, but one that was seen was.
        (format!("ggggg{}ggggg", ".".repeat(21)), None),
        (format!("bbbbb{}ggggg", ".".repeat(21)), Some((Outcome::Bad, 5, 10))),
        (format!("ggggg{}gggggg", "u".repeat(20)), None),
        ("gg".to_owned() + &".".repeat(29), None),
        (".".repeat(31), None),
        ("u".repeat(31), None),
        // Now and then one is missing.
        (good.replace("gggg", "g.gg"), Some((Outcome::Good, 0, 24))),
    ] {
        let found = then(&asked, &scope(), &memory(&outcomes));
        let brief = found.as_ref().map(|then| (then.outcome, then.failed, then.answered));
        assert_eq!(brief, expected, "{outcomes}");
    }
}

#[test]
fn samples_speak_for_everyone_and_for_nobody_in_particular() {
    let memory = memory(&"b".repeat(31));
    let mut params = Params::default();
    params.set("account", "acme", true);
    assert_eq!(then(&question(Some("acme"), Params::default()), &scope(), &memory), None);
    assert_eq!(then(&question(None, params), &scope(), &memory), None);
    assert!(then(&question(None, Params::default()), &scope(), &memory).is_some());
}

#[test]
fn the_worse_of_then_and_now_is_the_outcome() {
    let asked = question(None, Params::default());
    let recalled = |outcomes: &str| then(&asked, &scope(), &memory(outcomes)).unwrap();
    let finding = |now: Outcome| {
        let mut finding = super::super::assess::unanswered(
            &asked,
            crate::model::observation::Unknown::new(crate::model::observation::UnknownKind::Unreachable, "gone"),
            Duration::ZERO,
        );
        (finding.outcome, finding.now) = (now, Some(now));
        finding
    };
    let mut was_bad = finding(Outcome::Good);
    add(&mut was_bad, &asked.check, recalled(&"b".repeat(31)));
    assert_eq!((was_bad.outcome, was_bad.then, was_bad.now), (Outcome::Bad, Some(Outcome::Bad), Some(Outcome::Good)));
    assert_eq!(was_bad.failed[0].actual, "31 of 31 samples failed, 09:00 to 09:30 UTC: status is 503");
    assert_eq!(was_bad.failed[0].that, "sampled every 1 m");
    let mut is_bad = finding(Outcome::Bad);
    add(&mut is_bad, &asked.check, recalled(&"g".repeat(31)));
    assert_eq!((is_bad.outcome, is_bad.then), (Outcome::Bad, Some(Outcome::Good)));
    assert!(is_bad.failed.is_empty() && is_bad.notes.iter().any(|note| note.contains("none failed")), "{is_bad:?}");
    let mut silent = finding(Outcome::Unknown);
    add(&mut silent, &asked.check, recalled(&"g".repeat(31)));
    assert_eq!(silent.outcome, Outcome::Unknown, "that it was well then doesn't say how it is");
}

#[test]
fn what_the_history_knows_need_not_be_asked_of_the_source() {
    let mut memory = Memory::default();
    let mut known = BTreeMap::new();
    known.insert("duration_seconds".to_owned(), Baseline { values: vec![0.1, 0.2], hours: 3, enough_at: None });
    memory.baselines.insert("page".to_owned(), known);
    let asked = question(None, Params::default());
    assert_eq!(unknown_yet(&asked, &memory), [""; 0]);
    assert_eq!(unknown_yet(&asked, &Memory::default()), ["duration_seconds"]);
    assert_eq!(unknown_yet(&question(Some("acme"), Params::default()), &memory), ["duration_seconds"]);
    let mut seen = Observation::answered(Measures::new());
    usual(&asked, &memory, &mut seen);
    assert_eq!(seen.past["duration_seconds"], [0.1, 0.2]);

    let soon = Baseline { values: Vec::new(), hours: 1, enough_at: Some(minute(0)) };
    memory.baselines.get_mut("page").unwrap().insert("duration_seconds".to_owned(), soon);
    assert_eq!(unknown_yet(&asked, &memory), ["duration_seconds"]);
    let mut seen = Observation::answered(Measures::new());
    usual(&asked, &memory, &mut seen);
    assert!(seen.past.is_empty());
    assert_eq!(seen.notes, ["what is usual for duration_seconds at this hour will be known from 2026-11-22 09:00 UTC"]);
}
