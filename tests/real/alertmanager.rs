//! `alertmanager` against a real Alertmanager, and a real Prometheus that remembers what fired.

use std::fmt::Write as _;
use std::time::Duration;

use houston::model::observation::{Observation, Seen, UnknownKind};
use houston::model::window::{Moment, Window};
use jiff::{SignedDuration, Timestamp};

use super::looking::{ask, example, look, now, number, text};
use crate::lab::alertmanager::Alertmanager;
use crate::lab::prometheus::Prometheus;
use crate::lab::{READY, free_port, get, until};

fn settings(alertmanager: &Alertmanager, more: &str) -> String {
    format!("url: {}\nmatchers: ['service=\"checkout\"']\n{more}", alertmanager.url())
}

fn blind(seen: &Observation) -> UnknownKind {
    match &seen.seen {
        Seen::Blind(unknown) => unknown.kind,
        _ => panic!("{seen:?}"),
    }
}

fn listed(alertmanager: &Alertmanager, what: &str) -> bool {
    get(alertmanager.port, "/api/v2/alerts").is_some_and(|(_, body)| body.contains(what))
}

/// What a Prometheus remembers of the last three hours: the watchdog all the time, and `Slow` of checkout from 80 to 60
/// minutes ago.
fn remembered(now: Timestamp) -> Prometheus {
    let mut page = String::from("# TYPE ALERTS gauge\n");
    let mut samples = |labels: &str, minutes: std::ops::RangeInclusive<i64>| {
        for minute in minutes.rev() {
            writeln!(page, "ALERTS{{alertstate=\"firing\",{labels}}} 1 {}", now.as_second() - minute * 60).unwrap();
        }
    };
    samples("alertname=\"Watchdog\",severity=\"none\"", 0..=180);
    samples("alertname=\"Slow\",severity=\"page\",service=\"checkout\"", 60..=80);
    page.push_str("# EOF\n");
    Prometheus::with_past(&page)
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_fire_are_silenced_and_inhibited_in_a_real_alertmanager() {
    let alertmanager = Alertmanager::start();
    let watched = settings(&alertmanager, "watchdog: Watchdog");
    let seen = look("alertmanager", &watched, &ask()).await;
    assert_eq!(blind(&seen), UnknownKind::Stale, "an empty list is what a dead Prometheus looks like: {seen:?}");

    alertmanager.fire(&[("Watchdog", ""), ("Slow", "search")]);
    until("the alerts are listed", READY, || listed(&alertmanager, "Watchdog") && listed(&alertmanager, "Slow"));
    let seen = look("alertmanager", &watched, &ask()).await;
    assert_eq!((seen.seen.clone(), number(&seen, "firing")), (Seen::Answered, 0.0), "{seen:?}");
    let seen = look("alertmanager", &settings(&alertmanager, ""), &ask()).await;
    assert_eq!(blind(&seen), UnknownKind::Incomplete, "{seen:?}");

    alertmanager.fire(&[("Slow", "checkout"), ("Errors", "checkout")]);
    alertmanager.silence("Errors", "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z");
    until("one is silenced", READY, || listed(&alertmanager, "suppressed"));
    let seen = look("alertmanager", &watched, &ask()).await;
    let numbers = ["firing", "active", "silenced", "inhibited"].map(|name| number(&seen, name));
    assert_eq!((seen.seen.clone(), numbers), (Seen::Answered, [2.0, 1.0, 1.0, 0.0]), "{seen:?}");
    assert_eq!(
        (text(&seen, "names"), text(&seen, "severities")),
        (r#"["Errors","Slow"]"#.into(), r#"{"page":2}"#.into())
    );
    let excerpt = seen.excerpt.unwrap();
    assert!(excerpt.contains("silenced by ann until 2099-01-01 00:00 UTC: we know\\u{1b}[2J"), "{excerpt}");
    assert!(excerpt.contains("– Slow of checkout"), "{excerpt}");

    alertmanager.fire(&[("NodeDown", "checkout")]);
    until("one is inhibited", READY, || {
        get(alertmanager.port, "/api/v2/alerts?filter=alertname=Slow&filter=service=checkout")
            .is_some_and(|(_, body)| body.contains("suppressed"))
    });
    let seen = look("alertmanager", &watched, &ask()).await;
    let numbers = ["firing", "active", "silenced", "inhibited"].map(|name| number(&seen, name));
    assert_eq!(numbers, [3.0, 1.0, 1.0, 2.0], "{seen:?}");

    // A matcher that it can't read is no empty list.
    let broken = format!("url: {}\nmatchers: ['service=~\"(\"']\nwatchdog: Watchdog", alertmanager.url());
    assert_eq!(blind(&look("alertmanager", &broken, &ask()).await), UnknownKind::Unintelligible);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_comes_from_the_alerts_that_prometheus_wrote() {
    let alertmanager = Alertmanager::start();
    alertmanager.fire(&[("Watchdog", "")]);
    until("it is listed", READY, || listed(&alertmanager, "Watchdog"));
    let now = now();
    let prometheus = remembered(now);
    let more = format!("watchdog: Watchdog\nprometheus: {{ url: {} }}", prometheus.url());
    let settings = settings(&alertmanager, &more);
    let ago = |minutes: i64| now.checked_sub(SignedDuration::from_mins(minutes)).unwrap();
    let mut then = ask();
    then.now = now;
    then.moment = Moment::Then;
    for (from, to, firing, ratio) in [(90, 50, 1.0, 0.5), (150, 120, 0.0, 0.0), (15, 0, 0.0, 0.0)] {
        then.window = Window::new(ago(from), ago(to));
        let seen = look("alertmanager", &settings, &then).await;
        assert_eq!((seen.seen.clone(), number(&seen, "firing")), (Seen::Answered, firing), "{seen:?}");
        assert!((number(&seen, "firing_ratio") - ratio).abs() < 0.2, "{seen:?}");
    }
    // Before its memory begins it knows nothing.
    then.window = Window::new(ago(600), ago(570));
    assert_eq!(blind(&look("alertmanager", &settings, &then).await), UnknownKind::Incomplete);

    // As a real Prometheus writes them: the rules' own ALERTS, one of them silenced nowhere and sent nowhere.
    let rules = "groups: [{ name: shop, rules: [\
        { alert: Watchdog, expr: vector(1) }, \
        { alert: Slow, expr: vector(1), labels: { service: checkout, severity: page } }] }]";
    let live = Prometheus::start(&[], rules);
    live.until("both fire", "count(ALERTS{alertstate=\"firing\"}) == 2");
    let mut just_now = ask();
    just_now.moment = Moment::Then;
    just_now.window = Window::ending_at(just_now.now, SignedDuration::from_secs(1));
    let more = format!("watchdog: Watchdog\nprometheus: {{ url: {} }}", live.url());
    let seen = look("alertmanager", &self::settings(&alertmanager, &more), &just_now).await;
    assert_eq!((seen.seen.clone(), number(&seen, "firing")), (Seen::Answered, 1.0), "{seen:?}");
    assert_eq!(seen.excerpt.as_deref(), Some("Slow{service=\"checkout\",severity=\"page\"}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alertmanager_that_hangs_is_gone_or_is_another_program_is_unknown() {
    let mut alertmanager = Alertmanager::start();
    let settings = settings(&alertmanager, "watchdog: Watchdog");
    alertmanager.server.freeze();
    let mut short = ask();
    short.deadline = tokio::time::Instant::now() + Duration::from_secs(1);
    assert_eq!(blind(&look("alertmanager", &settings, &short).await), UnknownKind::TimedOut);
    alertmanager.server.stop();
    assert_eq!(blind(&look("alertmanager", &settings, &ask()).await), UnknownKind::Unreachable);
    let other = format!("url: {}\nmatchers: ['a=\"b\"']", Prometheus::shared().url());
    assert_eq!(blind(&look("alertmanager", &other, &ask()).await), UnknownKind::Unintelligible);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_tells_good_from_bad_from_unknown() {
    let alertmanager = Alertmanager::start();
    let prometheus = remembered(now());
    let (alertmanager_url, prometheus_url) = (alertmanager.url(), prometheus.url());
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let finding = |alertmanager: &str, prometheus: &str| {
        let replaced = [("http://127.0.0.1:9093", alertmanager), ("http://127.0.0.1:9090", prometheus)];
        example("alertmanager", &replaced, "{}\n")
    };
    alertmanager.fire(&[("Watchdog", "")]);
    until("it is listed", READY, || listed(&alertmanager, "Watchdog"));
    let fine = finding(&alertmanager_url, &prometheus_url);
    assert_eq!(fine["outcome"], "good", "{fine}");
    assert_eq!(finding(&nobody, &prometheus_url)["outcome"], "unknown");
    assert_eq!(finding(&alertmanager_url, &nobody)["outcome"], "unknown");

    alertmanager.fire(&[("Errors", "checkout")]);
    alertmanager.silence("Errors", "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z");
    until("it is silenced", READY, || listed(&alertmanager, "suppressed"));
    let silenced = finding(&alertmanager_url, &prometheus_url);
    assert_eq!(silenced["outcome"], "bad", "{silenced}");
    assert_eq!(silenced["observed"]["silenced"], 1, "{silenced}");
}
