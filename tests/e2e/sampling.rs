//! The sampler: what was, what is usual, and that it asks no more than it may.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use houston::model::history::Sample;
use houston::model::look::Outcome;
use houston::model::window::Window;
use houston::store::history::{History, Keep};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::daemon::Daemon;
use super::tickets::config;
use super::wire::PATIENCE;
use super::world::World;
use crate::lab::until;

fn checks(world: &World, more: &str) -> String {
    let url = world.url("/switch");
    format!(
        "service: shop\nchecks:\n  \
         - {{ name: front, every: 1s, http: {{ url: '{url}' }}, expect: [status == 200{more}] }}\n  \
         - {{ name: by-hand, http: {{ url: '{url}?by-hand' }}, expect: [status == 200] }}\n"
    )
}

#[allow(clippy::disallowed_methods)] // the daemon under test lives in the present
fn now() -> Timestamp {
    Timestamp::now()
}

fn finding(verdict: &Value, check: &str) -> Value {
    let findings = verdict["findings"].as_array().unwrap_or_else(|| panic!("{verdict:#}"));
    findings.iter().find(|finding| finding["check"] == check).cloned().unwrap_or_else(|| panic!("{verdict:#}"))
}

fn samples(daemon: &Daemon, outcome: &str) -> f64 {
    daemon.metric(&format!("houston_samples_total{{outcome=\"{outcome}\"}}")).unwrap_or(0.0)
}

#[test]
fn what_failed_before_the_ticket_came_is_told_though_all_is_well_now() {
    let world = World::start();
    let mut daemon = Daemon::start(&[("shop.yaml", &checks(&world, ""))], &config(&world, ""));
    let began = now();
    until("it samples", PATIENCE, || samples(&daemon, "good") >= 2.0);
    world.switch(503);
    until("it sees the failure", PATIENCE, || samples(&daemon, "bad") >= 4.0);
    world.switch(200);
    let good = samples(&daemon, "good");
    until("it sees the end of it", PATIENCE, || samples(&daemon, "good") >= good + 2.0);
    // What was sampled outlives the process.
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.ended(Duration::from_secs(40)), Some(0), "{}", daemon.log());
    daemon.again();

    let body =
        json!({ "source": "test", "id": "1", "title": "the shop is slow", "services": ["shop"], "since": began });
    let verdict = daemon.post("/api/v1/tickets?wait=30s", &body).json();
    let front = finding(&verdict, "front");
    assert_eq!(
        (&front["outcome"], &front["then"], &front["now"]),
        (&json!("bad"), &json!("bad"), &json!("good")),
        "{front:#}"
    );
    let actual = front["failed"][0]["actual"].as_str().unwrap();
    assert!(actual.contains("samples failed") && actual.contains("status is 503"), "{actual}");
    assert_eq!(verdict["current_state"], "recovered", "{verdict:#}");
    let by_hand = finding(&verdict, "by-hand");
    assert_eq!((&by_hand["outcome"], &by_hand["then"]), (&json!("good"), &Value::Null), "{by_hand:#}");
}

#[test]
fn what_is_usual_comes_from_the_same_hour_of_other_days() {
    let world = World::start();
    let mut daemon = Daemon::start(&[("shop.yaml", &checks(&world, ", usual(duration_seconds)"))], &config(&world, ""));
    let ask = || -> Value {
        let body =
            json!({ "source": "test", "id": now().to_string(), "title": "the shop is slow", "services": ["shop"] });
        finding(&daemon.post("/api/v1/tickets?wait=30s", &body).json(), "front")
    };
    let young = ask();
    assert_eq!(young["outcome"], "unknown", "{young:#}");
    assert!(young["unknown"]["why"].as_str().unwrap().contains("not known yet"), "{young:#}");
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.ended(Duration::from_secs(40)), Some(0), "{}", daemon.log());

    // Five days of samples, as if it had run for as long: this hour and the next, of answers within 2 s or so.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let history = History::open(daemon.state(), Keep::default()).unwrap();
        for day in 1..=5 {
            let hour = Timestamp::from_second(now().as_second() / 3_600 * 3_600).unwrap();
            let batch = (0..120).map(|minute| {
                let at = hour - SignedDuration::from_hours(24 * day) + SignedDuration::from_mins(minute);
                let sample = Sample::new(at, Outcome::Good, Duration::ZERO);
                (Arc::from("front"), sample.measured([("duration_seconds", 1.0 + (minute % 60) as f64 / 60.0)]))
            });
            history.record(batch.collect()).await.unwrap();
        }
        history.compact(now()).await.unwrap();
    });
    daemon.again();
    let ask = || -> Value {
        let body =
            json!({ "source": "test", "id": now().to_string(), "title": "the shop is slow", "services": ["shop"] });
        finding(&daemon.post("/api/v1/tickets?wait=30s", &body).json(), "front")
    };
    let known = ask();
    assert_eq!(known["outcome"], "good", "{known:#}");
    let shown = daemon.command(&["check", "baseline", "front", "--measure", "duration_seconds"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.stdout.contains("sampled every 1.0 s") && shown.stdout.contains("5 days"), "{}", shown.stdout);
    assert!(shown.stdout.contains("usual at ") && shown.stdout.contains("up to "), "{}", shown.stdout);
    let misspelt = daemon.command(&["check", "baseline", "front", "--measure", "duration_second"]);
    assert_eq!(misspelt.code, Some(64), "{misspelt:?}");
    assert!(misspelt.stderr.contains("did you mean `duration_seconds`?"), "{}", misspelt.stderr);
}

#[test]
fn checks_that_change_are_sampled_as_they_are_and_none_is_asked_twice_at_once() {
    let world = World::start();
    let hanging = format!(
        "service: shop\nchecks:\n  - {{ name: slow, every: 1s, timeout: 20s, http: {{ url: '{}' }} }}\n",
        world.url("/hang")
    );
    let daemon = Daemon::start(&[("shop.yaml", &checks(&world, "")), ("slow.yaml", &hanging)], &config(&world, ""));
    until("turns are left out", PATIENCE, || daemon.metric("houston_samples_skipped_total").is_some_and(|n| n >= 3.0));
    assert_eq!(world.hanging(), 1, "one look of it at a time");
    assert!(samples(&daemon, "good") >= 2.0, "the others go on");

    std::fs::remove_file(daemon.checks().join("shop.yaml")).unwrap();
    until("it is not sampled any more", PATIENCE, || {
        let before = samples(&daemon, "good");
        std::thread::sleep(Duration::from_millis(2_500));
        samples(&daemon, "good") == before
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let history = History::open(daemon.state(), Keep::default()).unwrap();
    let window = Window::ending_at(now(), SignedDuration::from_mins(5));
    let names = BTreeSet::from(["front".to_owned(), "by-hand".to_owned()]);
    until("samples are written", PATIENCE, || {
        let found = runtime.block_on(history.samples(names.clone(), window)).unwrap();
        assert!(!found.contains_key("by-hand"), "what has no `every` is asked for tickets only");
        found.contains_key("front")
    });
}
