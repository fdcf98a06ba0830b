//! `traffic` against a real Prometheus: one with a past of two days, and one that scrapes a page of the test's own.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Instant;

use houston::model::observation::{Observation, Seen, UnknownKind};
use jiff::Timestamp;

use super::looking::{ask, example, look, now, number};
use crate::lab::answers::Answers;
use crate::lab::{Server, encoded, free_port, get, place, program, until};

/// Starts one on this directory's data.
fn prometheus(place: tempfile::TempDir, config: &str, port: u16) -> Server {
    let file = place.path().join("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    let arguments = [
        format!("--config.file={}", file.display()),
        format!("--storage.tsdb.path={}", place.path().join("data").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--enable-feature=native-histograms".into(),
        "--log.level=warn".into(),
    ];
    Server::start("prometheus", place, arguments, || get(port, "/-/ready").is_some_and(|(status, _)| status == 200))
}

/// A Prometheus that knows two days of the shop's counters, a sample a minute, the last of `ends` minutes ago: acme asks
/// once a second, globex twice, and a request takes a tenth of a second. In the last ten minutes of it every second
/// request of acme fails where `fault`, and all of its take three seconds. A restart 30 hours ago set all back to zero.
fn with_a_past(now: Timestamp, ends: i64, fault: bool) -> (Server, u16) {
    const BOUNDS: [&str; 4] = ["0.1", "0.5", "5", "+Inf"];
    let mut requests = String::from("# TYPE http_requests counter\n");
    let mut durations = String::from("# TYPE http_request_duration_seconds histogram\n");
    for (customer, per_minute) in [("acme", 60), ("globex", 120)] {
        // The counts of 200, of 503, of the fast and of all.
        let mut counts = [0_i64; 4];
        let mut rows = [const { String::new() }; 6];
        for minute in (ends..50 * 60).rev() {
            let at = now.as_second() - minute * 60;
            if minute == 30 * 60 {
                counts = [0; 4];
            }
            let is_faulty = fault && customer == "acme" && minute < ends + 10;
            let failed = if is_faulty { per_minute / 2 } else { i64::from(minute % 60 == 7) };
            counts[0] += per_minute - failed;
            counts[1] += failed;
            counts[2] += if is_faulty { 0 } else { per_minute };
            counts[3] += per_minute;
            let labels = format!("job=\"shop\",customer=\"{customer}\"");
            writeln!(rows[0], "http_requests_total{{{labels},code=\"200\"}} {} {at}", counts[0]).unwrap();
            writeln!(rows[1], "http_requests_total{{{labels},code=\"503\"}} {} {at}", counts[1]).unwrap();
            for (row, (bound, count)) in
                rows[2..].iter_mut().zip(BOUNDS.iter().zip([0, counts[2], counts[3], counts[3]]))
            {
                writeln!(row, "http_request_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {count} {at}").unwrap();
            }
        }
        requests.push_str(&rows[..2].concat());
        durations.push_str(&rows[2..].concat());
    }
    let place = place::new();
    let (file, data) = (place.path().join("past.om"), place.path().join("data"));
    std::fs::write(&file, format!("{requests}{durations}# EOF\n")).unwrap();
    #[allow(clippy::disallowed_methods)] // the lab prepares its server
    let mut backfill = Command::new(program("promtool"));
    let output = backfill.args(["tsdb", "create-blocks-from", "openmetrics"]).arg(&file).arg(&data).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let port = free_port();
    (prometheus(place, "global: {}\n", port), port)
}

const SELECTORS: &str = "requests: 'http_requests_total{job=\"shop\"}', \
    errors: 'http_requests_total{job=\"shop\",code=~\"5..\"}', \
    duration: 'http_request_duration_seconds_bucket{job=\"shop\"}', customer: { label: customer }";

fn blind(observation: &Observation) -> (UnknownKind, &str) {
    match &observation.seen {
        Seen::Blind(unknown) => (unknown.kind, &unknown.why),
        other => panic!("{other:?}: {observation:?}"),
    }
}

fn is_about(observation: &Observation, name: &str, expected: f64) {
    let found = number(observation, name);
    assert!((found - expected).abs() <= expected * 0.08 + 0.001, "{name} is {found}, not {expected}: {observation:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_s_fault_stands_out_from_everyone_s_rates_and_from_the_past() {
    let now = now();
    let (_server, port) = with_a_past(now, 0, true);
    let settings = format!("{{ url: \"http://127.0.0.1:{port}\", {SELECTORS} }}");
    let mut ask = ask();
    ask.now = now;
    ask.window = houston::model::window::Window::ending_at(now, jiff::SignedDuration::from_mins(15));
    ask.since = now.checked_sub(jiff::SignedDuration::from_mins(15)).unwrap();
    ask.usual = vec!["error_ratio".to_owned(), "requests_per_second".to_owned(), "p99_seconds".to_owned()];
    let all = look("traffic", &settings, &ask).await;
    assert_eq!(all.seen, Seen::Answered, "{all:?}");
    is_about(&all, "requests_per_second", 3.0);
    is_about(&all, "error_ratio", 300.0 / 2_700.0);
    assert!(number(&all, "p50_seconds") <= 0.5 && number(&all, "p99_seconds") > 0.5, "{all:?}");
    assert!(number(&all, "age_seconds") <= 60.0, "{all:?}");
    assert_eq!(all.past["requests_per_second"].len(), 8, "{all:?}");
    assert!(all.past["requests_per_second"].iter().all(|rate| (2.8..3.2).contains(rate)), "{all:?}");
    assert!(all.past["error_ratio"].iter().all(|ratio| *ratio < 0.01), "{all:?}");
    assert!(all.past["p99_seconds"].iter().all(|seconds| *seconds <= 0.5), "{all:?}");

    for (customer, rate, ratio) in [("acme", 1.0, 300.0 / 900.0), ("globex", 2.0, 0.001)] {
        ask.customer = Some(customer.to_owned());
        let alone = look("traffic", &settings, &ask).await;
        assert_eq!(alone.seen, Seen::Answered, "{customer}: {alone:?}");
        is_about(&alone, "requests_per_second", rate);
        is_about(&alone, "error_ratio", ratio);
    }
    ask.customer = Some("acme\"} or http_requests_total{customer=\"globex".to_owned());
    let nobody = look("traffic", &settings, &ask).await;
    assert!(blind(&nobody).1.contains("no series"), "{nobody:?}");

    // A window over the restart: what a counter lost isn't growth.
    ask.customer = None;
    let ago = |minutes: i64| now.checked_sub(jiff::SignedDuration::from_mins(minutes)).unwrap();
    ask.window = houston::model::window::Window::new(ago(30 * 60 + 8), ago(30 * 60 - 7));
    let restarted = look("traffic", &settings, &ask).await;
    assert_eq!(restarted.seen, Seen::Answered, "{restarted:?}");
    is_about(&restarted, "requests_per_second", 3.0);

    // The line to look again by hand does.
    let line = restarted.reproduce.unwrap();
    #[allow(clippy::disallowed_methods)] // what a person would do
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"success\""), "{line}");
}

#[test]
fn the_example_is_good_bad_or_unknown_as_the_counters_are() {
    let outcome = |port: u16| example("traffic", &[("127.0.0.1:9090", &format!("127.0.0.1:{port}"))], "{}");
    let (_healthy, port) = with_a_past(now(), 0, false);
    let finding = outcome(port);
    assert_eq!(finding["outcome"], "good", "{finding}");
    let (_faulty, port) = with_a_past(now(), 0, true);
    let finding = outcome(port);
    assert_eq!(finding["outcome"], "bad", "{finding}");
    let (_dead, port) = with_a_past(now(), 12, false);
    let finding = outcome(port);
    assert_eq!((&finding["outcome"], &finding["unknown"]["kind"]), (&"unknown".into(), &"stale".into()), "{finding}");
    let finding = outcome(free_port());
    assert_eq!(finding["unknown"]["kind"], "unreachable", "{finding}");
    let flood = Answers::start(|_| (200, "application/json".to_owned(), vec![b'['; 20 << 20]));
    let finding = outcome(flood.port);
    assert_eq!(finding["outcome"], "unknown", "{finding}");
}

/// A field of a Protocol Buffers message: its number and wire type, and what follows.
fn field(number: u64, wire: u64, value: &[u8]) -> Vec<u8> {
    let mut out = varint(number << 3 | wire);
    if wire == 2 {
        out.extend(varint(value.len() as u64));
    }
    out.extend_from_slice(value);
    out
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// As signed numbers are written: 0, -1, 1, -2 …
fn zigzag(value: i64) -> Vec<u8> {
    varint(((value << 1) ^ (value >> 63)) as u64)
}

/// A counter and a native histogram with so many observations between 0.25 and 0.5, in the only format in which a
/// Prometheus takes native histograms: length-delimited `io.prometheus.client.MetricFamily`.
fn page(count: u64) -> Vec<u8> {
    let histogram = [
        field(1, 0, &varint(count)),
        field(2, 1, &(count as f64 * 0.4).to_le_bytes()),
        // Schema 0: bucket -1 ends at a half, and begins at a quarter.
        field(5, 0, &zigzag(0)),
        field(6, 1, &1e-9_f64.to_le_bytes()),
        field(7, 0, &varint(0)),
        field(12, 2, &[field(1, 0, &zigzag(-1)), field(2, 0, &varint(1))].concat()),
        field(13, 0, &zigzag(i64::try_from(count).unwrap())),
    ]
    .concat();
    let counter = field(1, 1, &(count as f64).to_le_bytes());
    let family = |name: &str, kind: u64, number: u64, value: &[u8]| {
        let metric = field(number, 2, value);
        let family =
            [field(1, 2, name.as_bytes()), field(2, 2, b"x"), field(3, 0, &varint(kind)), field(4, 2, &metric)]
                .concat();
        [varint(family.len() as u64), family].concat()
    };
    [family("requests_total", 0, 3, &counter), family("request_seconds", 4, 7, &histogram)].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_histogram_that_is_scraped_has_its_quantiles_and_a_young_past_is_no_window() {
    let started = Instant::now();
    let target = Answers::start(move |_| {
        let kind = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
        (200, kind.to_owned(), page(1_000 + started.elapsed().as_millis() as u64 / 10))
    });
    let port = free_port();
    let config = format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs:\n- job_name: page\n  static_configs: [{{ targets: [\"127.0.0.1:{}\"] }}]\n",
        target.port
    );
    let server = prometheus(place::new(), &config, port);
    let query = format!("/api/v1/query?query={}", encoded("histogram_count(rate(request_seconds[1m])) > 0"));
    until("the histogram grows", crate::lab::READY, || {
        get(port, &query).is_some_and(|(_, body)| body.contains("\"value\""))
    });
    let settings = format!(
        "{{ url: \"http://127.0.0.1:{port}\", requests: 'requests_total{{job=\"page\"}}', errors: 'requests_failed_total{{job=\"page\"}}', \
         duration: 'request_seconds{{job=\"page\"}}' }}"
    );
    let mut ask = ask();
    ask.window = houston::model::window::Window::ending_at(now(), jiff::SignedDuration::from_mins(5));
    ask.now = ask.window.to;
    let seen = look("traffic", &settings, &ask).await;
    let (kind, why) = blind(&seen);
    assert!(kind == UnknownKind::Incomplete && why.contains("points of the window"), "{why}");
    assert!(number(&seen, "requests") > 0.0, "{seen:?}");
    assert!((0.25..=0.5).contains(&number(&seen, "p50_seconds")), "{seen:?}");
    assert!(number(&seen, "p99_seconds") > number(&seen, "p50_seconds"), "{seen:?}");
    assert!(seen.measures.get("error_ratio").is_none(), "a metric that isn't there counts no failures: {seen:?}");
    drop(server);
}
