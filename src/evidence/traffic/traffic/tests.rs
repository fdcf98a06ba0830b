//! What the kind makes of a server's answers, over real sockets; and what it refuses when it is read.

use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::model::observation::{Observation, Seen, UnknownKind};
use crate::model::params::Params;
use crate::model::window::{Moment, Window};
use crate::net::canned::{Asked, Canned, Reply};
use crate::yaml;

const NOW: i64 = 1_795_340_700;

fn second(at: i64) -> Timestamp {
    Timestamp::from_second(at).unwrap()
}

fn ask() -> Ask {
    Ask {
        now: second(NOW),
        window: Window::new(second(NOW - 900), second(NOW)),
        moment: Moment::Now,
        since: second(NOW - 900),
        params: Params::default(),
        customer: None,
        attempt: 1,
        usual: Vec::new(),
        deadline: tokio::time::Instant::now() + Duration::from_secs(10),
        memory: Arc::default(),
        check: "red".into(),
        tools: Arc::default(),
    }
}

fn probe(text: &str) -> Result<Arc<dyn Probe>, String> {
    yaml::parse("t.yaml", text).and_then(|node| read(&node)).map_err(|error| error.to_string())
}

const SELECTORS: &str = "requests: x_total{job=\"shop\"}\nerrors: x_total{job=\"shop\",code=~\"5..\"}\n\
    client_errors: y_total{job=\"shop\"}\nduration: d_seconds_bucket{job=\"shop\"}\ncustomer: { label: tenant }\n";

async fn look(server: &Canned, more: &str, ask: &Ask) -> Observation {
    probe(&format!("url: {}\n{SELECTORS}{more}", server.url())).unwrap().observe(ask).await
}

fn vector(rows: &str) -> Reply {
    Reply::json(format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{rows}]}}}}"#))
}

fn one(value: &str) -> Reply {
    vector(&format!(r#"{{"metric":{{}},"value":[{NOW},"{value}"]}}"#))
}

/// A Prometheus whose samples are so old, with the counter at so many of a hundred points; `main` answers the growth.
async fn server(
    age: &'static str,
    up: &'static str,
    share: usize,
    main: impl Fn(&str, i64) -> Reply + Send + Sync + 'static,
) -> Canned {
    Canned::start(move |asked: &Asked| {
        let query = asked.field("query").unwrap_or_default();
        let number = |name: &str| asked.field(name).unwrap().parse::<f64>().unwrap();
        match () {
            () if query.starts_with("time() - max(timestamp(") && age.is_empty() => vector(""),
            () if query.starts_with("time() - max(timestamp(") => one(age),
            () if query.starts_with("up{job=") => one(up),
            () if query.starts_with("count(") => {
                let all = ((number("end") - number("start")) / number("step")).floor() as usize + 1;
                let points: Vec<String> = (0..all * share / 100)
                    .map(|point| format!("[{}, \"1\"]", number("start") + point as f64 * number("step")))
                    .collect();
                let rows = match points.len() {
                    0 => String::new(),
                    _ => format!(r#"{{"metric":{{}},"values":[{}]}}"#, points.join(",")),
                };
                Reply::json(format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{rows}]}}}}"#))
            }
            () => main(&query, number("time") as i64),
        }
    })
    .await
}

/// 9000 requests in a quarter of an hour, one in ten bad; no series of what clients had wrong.
fn busy(query: &str, _: i64) -> Reply {
    match () {
        () if query.contains("histogram_quantile(0.5,") => one("0.2"),
        () if query.contains("histogram_quantile(0.95,") => one("NaN"),
        () if query.contains("histogram_quantile(0.99,") => one("+Inf"),
        () if query.contains("y_total") => vector(""),
        () if query.contains("code=~") => one("900"),
        () => one("9000"),
    }
}

fn blind(observation: &Observation) -> (UnknownKind, &str) {
    match &observation.seen {
        Seen::Blind(unknown) => (unknown.kind, &unknown.why),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn counters_become_rates_and_ratios_over_the_window() {
    let server = server("12", "1", 100, busy).await;
    let seen = look(&server, "", &ask()).await;
    assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
    for (name, expected) in [
        ("requests", Some(9_000.0)),
        ("requests_per_second", Some(10.0)),
        ("error_ratio", Some(0.1)),
        ("client_error_ratio", None),
        ("p50_seconds", Some(0.2)),
        ("p95_seconds", None),
        ("p99_seconds", None),
        ("age_seconds", Some(12.0)),
    ] {
        assert_eq!(seen.measures.number(name), expected, "{name}");
    }
    assert_eq!((seen.window, seen.data_until), (Some(ask().window), Some(second(NOW - 12))));
    assert!(seen.notes.iter().any(|note| note.contains("no series of `client_errors`")), "{seen:?}");
    let asked: Vec<String> = server.asked().iter().filter_map(|asked| asked.field("query")).collect();
    assert!(asked.contains(&"sum(increase(x_total{job=\"shop\",code=~\"5..\"}[900s]))".to_owned()), "{asked:?}");
    assert!(seen.reproduce.unwrap().contains("query=sum(increase(x_total{job=\"shop\"}[900s]))"));
}

#[tokio::test]
async fn a_customer_is_a_matcher_in_every_selector_and_stays_one() {
    let server = server("12", "1", 100, busy).await;
    let mut ask = ask();
    ask.customer = Some("a\"} or x{b=\"".to_owned());
    look(&server, "", &ask).await;
    for asked in server.asked() {
        let query = asked.field("query").unwrap();
        assert!(query.starts_with("up{") || query.contains(r#",tenant="a\"} or x{b=\""}"#), "{query}");
    }
    let unsplit = probe(&format!("url: {}\nrequests: x_total", server.url())).unwrap();
    assert_eq!(blind(&unsplit.observe(&ask).await).0, UnknownKind::Refused);
}

#[tokio::test]
async fn counters_that_stand_still_are_a_rate_of_zero_without_a_ratio() {
    let server = server("12", "1", 100, |_, _| one("0")).await;
    let seen = look(&server, "", &ask()).await;
    assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
    assert_eq!(seen.measures.number("requests_per_second"), Some(0.0));
    assert!(seen.measures.get("error_ratio").is_none(), "{seen:?}");
}

#[tokio::test]
async fn failures_that_no_series_counts_yet_are_none_only_of_the_same_metric() {
    let server = server("12", "1", 100, |query, _| match query.contains("code=~") || query.contains("y_total") {
        true => vector(""),
        false => one("9000"),
    })
    .await;
    let seen = look(&server, "", &ask()).await;
    assert_eq!(seen.measures.number("error_ratio"), Some(0.0), "{seen:?}");
    assert!(seen.measures.get("client_error_ratio").is_none(), "another metric may be misspelt: {seen:?}");
}

#[tokio::test]
async fn what_is_usual_is_asked_of_the_same_span_earlier() {
    let server = server("12", "1", 100, |query, time| match (query.contains("code=~"), time < NOW) {
        (false, _) => one("9000"),
        (true, true) => one("9"),
        (true, false) => one("900"),
    })
    .await;
    let mut ask = ask();
    ask.usual = vec!["error_ratio".to_owned(), "requests_per_second".to_owned()];
    let seen = look(&server, "", &ask).await;
    assert_eq!(seen.past["error_ratio"], [0.001; 8], "{seen:?}");
    assert_eq!(seen.past["requests_per_second"], [10.0; 8]);
    let times: std::collections::BTreeSet<i64> = server
        .asked()
        .iter()
        .filter_map(|asked| asked.field("time"))
        .map(|time| (NOW - time.parse::<f64>().unwrap() as i64) / 3_600)
        .collect();
    assert_eq!(times.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 23, 24, 25, 47, 48]);
    // What lies after the trouble began is no measure of what is usual.
    ask.since = second(NOW - 10 * 3_600);
    assert_eq!(look(&server, "", &ask).await.past["error_ratio"].len(), 5);
}

#[tokio::test]
async fn what_is_missing_old_or_in_part_is_unknown() {
    type Main = fn(&str, i64) -> Reply;
    let rows: [(&'static str, usize, Main, UnknownKind, &str); 9] = [
        ("12", 0, |_, _| vector(""), UnknownKind::Incomplete, "no series of `x_total{job=\"shop\"}`"),
        ("900", 100, busy, UnknownKind::Stale, "15 m old"),
        ("", 100, busy, UnknownKind::Stale, "no current sample"),
        ("12", 70, busy, UnknownKind::Incomplete, "of 31 points of the window"),
        ("12", 100, |_, _| vector(""), UnknownKind::Incomplete, "too few samples"),
        ("12", 100, |_, _| one("NaN"), UnknownKind::Incomplete, "too few samples"),
        ("12", 100, |_, _| Reply::of(503, "text/plain", "no"), UnknownKind::Unreachable, "503"),
        (
            "12",
            100,
            |_, _| {
                Reply::json(
                    r#"{"status":"success","warnings":["a store is away"],"data":{"resultType":"vector","result":[]}}"#,
                )
            },
            UnknownKind::Incomplete,
            "a store is away",
        ),
        (
            "12",
            100,
            |_, _| vector(r#"{"metric":{},"histogram":[1,{"count":"1","sum":"1"}]}"#),
            UnknownKind::Unintelligible,
            "name its counter",
        ),
    ];
    for (age, share, main, kind, part) in rows {
        let server = server(age, "1", share, main).await;
        let seen = look(&server, "", &ask()).await;
        let (found, why) = blind(&seen);
        assert!(found == kind && why.contains(part), "{part}: {found:?} {why}");
    }
}

#[tokio::test]
async fn no_series_are_healthy_only_with_a_reason_and_a_live_scrape() {
    let healthy = "absent_means: { healthy: true, because: it is only asked on Mondays }";
    let alive = server("12", "1", 0, |_, _| vector("")).await;
    let seen = look(&alive, healthy, &ask()).await;
    assert_eq!((seen.seen.clone(), seen.measures.number("requests")), (Seen::Answered, Some(0.0)), "{seen:?}");
    let dead = server("12", "0", 0, |_, _| vector("")).await;
    assert_eq!(blind(&look(&dead, healthy, &ask()).await).0, UnknownKind::Stale);
}

#[test]
fn wrong_values_are_errors_at_their_own_place() {
    for (text, part) in [
        ("url: http://p\nrequests: rate(x[5m])", "t.yaml:2:11: not the selector of one metric"),
        ("url: http://p\nrequests: '{job=\"x\"}'", "not the selector"),
        ("url: http://p\nrequests: x + y", "not the selector"),
        ("url: http://p\nrequests: x[5m]", "not the selector"),
        ("url: http://p\nrequests: ''", "not the selector"),
        ("url: http://p\nrequests: x\nerrors: 'x{a=\"{{ b }}\"} # c'", "t.yaml:3:9: not the selector"),
        ("url: http://p\nrequests: x\ncustomer: { label: a-b }", "t.yaml:3:20: not the name of a label"),
        ("url: p:9090\nrequests: x", "must begin with http"),
    ] {
        let error = probe(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
    let good = probe("url: http://p\nrequests: x{a=\"{{ b }}\"}\nduration: y{a=\"{{ c }}\"}").unwrap();
    assert_eq!(good.params(), ["b", "c"]);
}
