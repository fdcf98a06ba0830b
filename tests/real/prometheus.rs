//! `prometheus` and `metrics` against a real Prometheus with a past, and against the pages of real programs.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use houston::demo::{Options, Shop};
use houston::model::observation::{Observation, Seen, UnknownKind};
use houston::model::window::{Moment, Window};
use houston::net::exposition::{self, Format, Limits};
use jiff::{SignedDuration, Timestamp};

use super::looking::{ask, look, now};
use crate::lab::alertmanager::Alertmanager;
use crate::lab::node_exporter::NodeExporter;
use crate::lab::prometheus::Prometheus;
use crate::lab::{get, get_with, place, until};

fn number(observation: &Observation, name: &str) -> f64 {
    observation.measures.number(name).unwrap_or_else(|| panic!("no {name} in {observation:?}"))
}

fn blind(observation: &Observation) -> (UnknownKind, &str) {
    match &observation.seen {
        Seen::Blind(unknown) => (unknown.kind, &unknown.why),
        other => panic!("{other:?}: {observation:?}"),
    }
}

/// The YAML of a check that asks this.
fn asks(url: &str, query: &str, more: &str) -> String {
    format!("url: {url}\nquery: {}\n{more}", serde_json::to_string(query).unwrap())
}

async fn now_of(query: &str) -> Observation {
    look("prometheus", &asks(&Prometheus::shared().url(), query, ""), &ask()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_is_asked_for_now() {
    for (query, value, series) in [
        ("up{job=\"node\"}", Some(1.0), 1.0),
        ("count(up)", Some(2.0), 1.0),
        ("up", None, 2.0),
        ("1/0", Some(f64::INFINITY), 1.0),
        ("scalar(count(up))", Some(2.0), 1.0),
        ("sum by (job) (up{job=~\"node|prometheus\"}) > bool 0", None, 2.0),
    ] {
        let seen = now_of(query).await;
        assert_eq!(seen.seen, Seen::Answered, "{query}: {seen:?}");
        assert_eq!((seen.measures.number("value"), number(&seen, "series")), (value, series), "{query}");
    }
    let seen = now_of("up{job=\"node\"}").await;
    assert!((0.0..60.0).contains(&number(&seen, "age_seconds")), "{seen:?}");
    assert!(seen.measures.get("values").unwrap().show(200).contains("job=\\\"node\\\""), "{seen:?}");

    for (query, kind, part) in [
        ("no_such_metric", UnknownKind::Incomplete, "no series"),
        ("0/0", UnknownKind::Incomplete, "only NaN"),
        ("sum(", UnknownKind::Unintelligible, "parse error"),
        ("up[5m]", UnknownKind::Unintelligible, "range vector"),
        ("\"text\"", UnknownKind::Unintelligible, "text"),
        ("no_such_metric or vector(0)", UnknownKind::Stale, "no current sample"),
    ] {
        let seen = now_of(query).await;
        let (found, why) = blind(&seen);
        assert!(found == kind && why.contains(part), "{query}: {found:?} {why}");
    }
    // A window that began before the server did is answered in part, and so not at all.
    let mut then = ask();
    then.moment = Moment::Then;
    let seen = look("prometheus", &asks(&Prometheus::shared().url(), "sum(up)", ""), &then).await;
    assert_eq!(blind(&seen).0, UnknownKind::Incomplete, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_to_reproduce_a_look_reproduces_it() {
    let seen = now_of("up{job=\"node\"} + 41 # it's \"x\"").await;
    let line = seen.reproduce.unwrap();
    #[allow(clippy::disallowed_methods)] // what a person would do
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    let answer = String::from_utf8_lossy(&output.stdout);
    assert!(answer.contains("\"42\""), "{line}\n{answer}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_parameter_stays_a_label_s_value() {
    let url = Prometheus::shared().url();
    let query = "count(up{job=\"{{ job }}\"})";
    let mut ask = ask();
    for (job, value) in [("node", Some(1.0)), ("node\"} or vector(99) #", None), ("\\\"} or up{job=\"node", None)] {
        ask.params.set("job", job, true);
        let seen = look("prometheus", &asks(&url, query, ""), &ask).await;
        assert_eq!(seen.measures.number("value"), value, "{job}: {seen:?}");
        if value.is_none() {
            assert!(blind(&seen).1.contains("no series"), "{seen:?}");
        }
    }
    let query = "count(up{job=~\"{{ job }}\"})";
    ask.params.set("job", ".*", true);
    let seen = look("prometheus", &asks(&url, query, ""), &ask).await;
    assert!(blind(&seen).1.contains("no series"), "a value in a regular expression matches itself only: {seen:?}");
}

/// A Prometheus that scrapes nobody and knows 50 hours of `shop_error_ratio{job="shop"}`, a point a minute. It was 0.01
/// (0.02 at each full hour's first minute), 0.5 from 40 to 30 minutes ago, and ends 20 minutes ago.
fn with_a_past(now: Timestamp) -> Prometheus {
    let mut page = String::from("# TYPE shop_error_ratio gauge\n");
    let now = now.as_second();
    for minute in (20..50 * 60).rev() {
        let value = if (30..=40).contains(&minute) { 0.5 } else { 0.01 };
        writeln!(page, "shop_error_ratio{{job=\"shop\"}} {value} {}", now - minute * 60).unwrap();
    }
    page.push_str("# EOF\n");
    Prometheus::with_past(&page)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_is_answered_from_the_past_and_a_dead_scrape_is_blindness() {
    let now = now();
    let server = with_a_past(now);
    let settings = asks(&server.url(), "max(shop_error_ratio{job=\"shop\"})", "");
    let ago = |minutes: i64| now.checked_sub(SignedDuration::from_mins(minutes)).unwrap();

    let mut then = ask();
    then.now = now;
    then.moment = Moment::Then;
    then.window = Window::new(ago(60), ago(30));
    then.usual = vec!["value".to_owned(), "maximum".to_owned()];
    let seen = look("prometheus", &settings, &then).await;
    assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
    assert_eq!(seen.points.len(), 31);
    let broken = seen.points.iter().filter(|point| point.number("value").unwrap() >= 0.1).count();
    assert_eq!(broken, 11, "{seen:?}");
    assert_eq!((number(&seen, "minimum"), number(&seen, "maximum"), number(&seen, "value")), (0.01, 0.5, 0.5));
    assert!(number(&seen, "age_seconds") <= 60.0, "{seen:?}");
    assert_eq!(seen.window, Some(then.window));
    let past = &seen.past["value"];
    assert_eq!(past.len(), 8 * 5, "five points of each of the eight spans: {past:?}");
    assert!(past.iter().all(|value| *value == 0.01), "{past:?}");

    // Health before: same query, a window in which all was well.
    then.window = Window::new(ago(120), ago(90));
    let seen = look("prometheus", &settings, &then).await;
    assert_eq!((seen.seen.clone(), number(&seen, "maximum")), (Seen::Answered, 0.01), "{seen:?}");

    // The scrape died 20 minutes ago: now is unknown, and so is a window that reaches beyond its death.
    let seen = look("prometheus", &settings, &ask()).await;
    let (kind, why) = blind(&seen);
    assert!(kind == UnknownKind::Incomplete && why.contains("no current samples"), "{why}");
    then.window = Window::new(ago(40), ago(0));
    let seen = look("prometheus", &settings, &then).await;
    assert_eq!(blind(&seen).0, UnknownKind::Stale, "{seen:?}");
    assert!(seen.points.iter().any(|point| point.number("value") == Some(0.5)), "what was bad still shows: {seen:?}");

    // A range that outlives the scrape yields a value, made of nothing current.
    let rate = asks(&server.url(), "max_over_time(shop_error_ratio{job=\"shop\"}[1h])", "");
    let seen = look("prometheus", &rate, &ask()).await;
    assert_eq!(blind(&seen).0, UnknownKind::Stale, "{seen:?}");
    // Nor does "absent means healthy" make a dead scrape healthy.
    let healthy = "absent_means: { healthy: true, because: it is only counted when it happens }";
    let absent = asks(&server.url(), "max(shop_error_ratio{job=\"shop\"})", healthy);
    let seen = look("prometheus", &absent, &ask()).await;
    let (kind, why) = blind(&seen);
    assert!(kind == UnknownKind::Stale && why.contains("knows no target of job shop"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn absence_is_health_while_the_target_is_up_and_not_when_it_is_down() {
    let mut exporter = NodeExporter::start();
    let prometheus = Prometheus::start(&[("shop", format!("127.0.0.1:{}", exporter.port))], "");
    prometheus.until("it is scraped", "up{job=\"shop\"} == 1 and count_over_time(up{job=\"shop\"}[1m]) >= 3");
    let healthy = "absent_means: { healthy: true, because: there is no failure yet }";
    let absent = asks(&prometheus.url(), "shop_failures_total{job=\"shop\"}", healthy);
    let seen = look("prometheus", &absent, &ask()).await;
    assert_eq!((seen.seen.clone(), number(&seen, "series")), (Seen::Answered, 0.0), "{seen:?}");
    let load = asks(&prometheus.url(), "rate(node_cpu_seconds_total{job=\"shop\",mode=\"idle\"}[1m])", "");
    let seen = look("prometheus", &load, &ask()).await;
    assert_eq!(seen.seen, Seen::Answered, "{seen:?}");

    exporter.server.stop();
    prometheus.until("its end is seen", "up{job=\"shop\"} == 0");
    // The rate still has a value, from the samples of the last minute.
    let seen = look("prometheus", &load, &ask()).await;
    assert_eq!(blind(&seen).0, UnknownKind::Stale, "{seen:?}");
    let seen = look("prometheus", &absent, &ask()).await;
    let (kind, why) = blind(&seen);
    assert!(kind == UnknownKind::Stale && why.contains("none of the 1 targets of job shop is up"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_that_hangs_or_is_gone_is_unknown() {
    let mut prometheus = Prometheus::start(&[], "");
    let settings = asks(&prometheus.url(), "up", "");
    prometheus.server.freeze();
    let mut short = ask();
    short.deadline = tokio::time::Instant::now() + Duration::from_secs(1);
    let seen = look("prometheus", &settings, &short).await;
    assert_eq!(blind(&seen).0, UnknownKind::TimedOut, "{seen:?}");
    prometheus.server.stop();
    let seen = look("prometheus", &settings, &ask()).await;
    assert_eq!(blind(&seen).0, UnknownKind::Unreachable, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_real_programs_are_read_whole() {
    let (node, prometheus, alertmanager) = (NodeExporter::shared(), Prometheus::shared(), Alertmanager::start());
    for port in [node.port, prometheus.port, alertmanager.port] {
        // The number of series changes between two requests only in rare cases; then once more.
        let mut counts = (0.0, 0);
        until("both count the same", Duration::from_secs(30), || {
            let page = get(port, "/metrics").unwrap().1;
            let lines = page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
            let seen = tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(look(
                    "metrics",
                    &format!("url: http://127.0.0.1:{port}/metrics"),
                    &ask(),
                ))
            });
            assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
            counts = (number(&seen, "series"), lines);
            counts.0 == lines as f64
        });
        assert!(counts.1 > 100, "{counts:?}");
    }
    let settings = format!("url: http://127.0.0.1:{}/metrics\nmetric: node_load1", node.port);
    let seen = look("metrics", &settings, &ask()).await;
    assert!(number(&seen, "value") >= 0.0 && number(&seen, "series") == 1.0, "{seen:?}");

    // The same programs where they offer OpenMetrics, and the shop, which writes nothing else.
    let shop = Shop::start(Options {
        directory: place::new().path().join("shop"),
        shop_port: 0,
        admin_port: 0,
        past_hours: 0,
        live_rate: 0.0,
        ..Options::default()
    })
    .await
    .unwrap();
    let shop_port = shop.address().port();
    for port in [node.port, prometheus.port, alertmanager.port, shop_port] {
        for _ in 0..3 {
            get(shop_port, "/").unwrap();
        }
        let header = "Accept: application/openmetrics-text; version=1.0.0";
        let page = get_with(port, "/metrics", &[header]).unwrap().1;
        let format = if page.ends_with("# EOF\n") { Format::OpenMetrics } else { Format::Text };
        assert!(format == Format::OpenMetrics || port != shop_port);
        if let Err(fault) = exposition::read(page.as_bytes(), format, Limits::default()) {
            panic!("port {port}: {fault}");
        }
    }
    let seen = look("metrics", &format!("url: http://127.0.0.1:{shop_port}/metrics\nmetric: shop_up"), &ask()).await;
    assert_eq!(number(&seen, "value"), 1.0, "{seen:?}");
    let seen = look("metrics", &format!("url: http://127.0.0.1:{shop_port}/\nmetric: shop_up"), &ask()).await;
    assert_eq!(blind(&seen).0, UnknownKind::Unintelligible, "{seen:?}");
}
