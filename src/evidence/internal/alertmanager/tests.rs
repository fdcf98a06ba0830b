//! What the kind makes of answers, over real sockets; and what it refuses when it is read.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::*;
use crate::model::observation::{Observation, Seen, UnknownKind};
use crate::model::params::Params;
use crate::model::value::Value;
use crate::model::window::{Moment, Window};
use crate::net::canned::{Asked, Canned, Reply};
use crate::yaml;

const NOW: i64 = 1_795_340_700;

fn ask(moment: Moment, minutes_ago: i64) -> Ask {
    let now = Timestamp::from_second(NOW).unwrap();
    let to = now.checked_sub(SignedDuration::from_mins(minutes_ago)).unwrap();
    let mut params = Params::default();
    params.set("tenant", "a\"c.me", true);
    Ask {
        now,
        window: Window::ending_at(to, SignedDuration::from_mins(15)),
        moment,
        since: now,
        params,
        customer: None,
        attempt: 1,
        usual: Vec::new(),
        deadline: Instant::now() + Duration::from_secs(20),
        memory: Arc::default(),
        check: "alerts".into(),
        tools: Arc::default(),
    }
}

fn probe(text: &str) -> Result<Arc<dyn Probe>, String> {
    yaml::parse("a.yaml", text).and_then(|node| read(&node)).map_err(|error| error.to_string())
}

/// An alert as Alertmanager lists it, which began this long ago.
fn row(name: &str, status: &str, seconds_ago: i64, ends_in: i64) -> String {
    let at = |seconds: i64| Timestamp::from_second(NOW + seconds).unwrap();
    format!(
        r#"{{"labels":{{"alertname":"{name}","severity":"page","service":"\u001b[2Jx"}},"annotations":{{"summary":"it\nburns"}},"startsAt":"{}","endsAt":"{}","status":{{{status}}}}}"#,
        at(-seconds_ago),
        at(ends_in)
    )
}

const ACTIVE: &str = r#""state":"active","silencedBy":[],"inhibitedBy":[]"#;
const SILENCED: &str = r#""state":"suppressed","silencedBy":["s-1"],"inhibitedBy":[]"#;
const INHIBITED: &str = r#""state":"suppressed","silencedBy":[],"inhibitedBy":["f"]"#;

fn alertmanager(asked: &Asked, rows: &[String], watchdog: &[String]) -> Reply {
    if asked.target.contains("/silence/s-1") {
        return Reply::json(r#"{"comment":"we know\u001b","createdBy":"ann","endsAt":"2026-11-22T12:00:00Z"}"#);
    }
    let rows = if asked.target.contains("Watchdog") { watchdog } else { rows };
    Reply::json(format!("[{}]", rows.join(",")))
}

async fn look(rows: Vec<String>, watchdog: Vec<String>, more: &str, ask: &Ask) -> Observation {
    let server = Canned::start(move |asked| alertmanager(asked, &rows, &watchdog)).await;
    let text = format!("url: {}\nmatchers: ['service=\"shop\"']\n{more}", server.url());
    probe(&text).unwrap().observe(ask).await
}

fn blind(seen: &Observation) -> (UnknownKind, &str) {
    match &seen.seen {
        Seen::Blind(unknown) => (unknown.kind, &unknown.why),
        _ => panic!("{seen:?}"),
    }
}

#[tokio::test]
async fn silenced_and_inhibited_alerts_fire_and_are_told_apart() {
    let rows = vec![
        row("Slow", ACTIVE, 60, 240),
        row("Errors", SILENCED, 600, 240),
        row("Disk", INHIBITED, 30, 240),
        row("Over", ACTIVE, 900, -1),
    ];
    let seen = look(rows, vec![], "", &ask(Moment::Now, 0)).await;
    assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
    let numbers = ["firing", "active", "silenced", "inhibited", "oldest_seconds"].map(|m| seen.measures.number(m));
    assert_eq!(numbers, [3.0, 1.0, 1.0, 1.0, 600.0].map(Some));
    let names = ["Disk", "Errors", "Slow"].map(|name| Value::Text(name.to_owned())).to_vec();
    assert_eq!(seen.measures.get("names"), Some(&Value::List(names)));
    let excerpt = seen.excerpt.unwrap();
    assert!(
        excerpt.starts_with("Errors{service=\"\\u{1b}[2Jx\",severity=\"page\"} fires for 10 m, silenced by ann until"),
        "{excerpt}"
    );
    assert!(excerpt.contains("we know\\u{1b} – it burns\nSlow{"), "{excerpt}");
    assert!(excerpt.ends_with("inhibited by another alert – it burns"), "{excerpt}");
}

#[tokio::test]
async fn an_empty_list_needs_a_proof() {
    let dog = || vec![row("Watchdog", ACTIVE, 9_000, 240)];
    let late = || vec![row("Watchdog", ACTIVE, 9_000, -10)];
    let because = "absent_means: { healthy: true, because: seldom }";
    for (watchdog, more, expected) in [
        (dog(), "watchdog: Watchdog", None),
        (vec![], because, None),
        (vec![], "", Some((UnknownKind::Incomplete, "nothing proves"))),
        (vec![], "watchdog: Watchdog", Some((UnknownKind::Stale, "which always fires"))),
        (late(), "watchdog: Watchdog", Some((UnknownKind::Stale, "which always fires"))),
        (
            vec![],
            "watchdog: Watchdog\nabsent_means: { healthy: true, because: x }",
            Some((UnknownKind::Stale, "isn't")),
        ),
        (vec![], "absent_means: { healthy: false, because: x }", Some((UnknownKind::Incomplete, "nothing proves"))),
    ] {
        let seen = look(vec![], watchdog, more, &ask(Moment::Now, 0)).await;
        match expected {
            None => {
                assert_eq!(seen.seen, Seen::Answered, "{more}: {seen:?}");
                assert_eq!(seen.measures.number("firing"), Some(0.0), "{more}");
            }
            Some((kind, part)) => {
                let (found, why) = blind(&seen);
                assert!(found == kind && why.contains(part), "{more}: {found:?} {why}");
                assert!(seen.measures.is_empty(), "{more}: {seen:?}");
            }
        }
    }
    // The watchdog is the proof and no fault, even where the matchers match it.
    let seen = look(dog(), dog(), "watchdog: Watchdog", &ask(Moment::Now, 0)).await;
    assert_eq!(seen.measures.number("firing"), Some(0.0), "{seen:?}");
}

#[tokio::test]
async fn without_a_prometheus_a_window_that_is_over_is_unknown() {
    let rows = || vec![row("Slow", ACTIVE, 60, 240)];
    let over = look(rows(), vec![], "", &ask(Moment::Then, 30)).await;
    assert!(matches!(blind(&over), (UnknownKind::Incomplete, why) if why.contains("the present only")), "{over:?}");
    let open = look(rows(), vec![], "", &ask(Moment::Then, 0)).await;
    assert_eq!((open.seen.clone(), open.measures.number("firing")), (Seen::Answered, Some(1.0)), "{open:?}");
}

/// A matrix of one series with a sample at each of these steps of the window, 30 s apart.
fn matrix(labels: &str, from: i64, steps: std::ops::Range<i64>) -> String {
    let values: Vec<String> = steps.map(|step| format!("[{},\"1\"]", from + step * 30)).collect();
    let series = if values.is_empty() {
        String::new()
    } else {
        format!(r#"{{"metric":{{{labels}}},"values":[{}]}}"#, values.join(","))
    };
    format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{series}]}}}}"#)
}

/// Looks at a window that is over (or goes on), in which alerts fired at these of 31 steps and others are known.
async fn history(
    fired: std::ops::Range<i64>,
    known: std::ops::Range<i64>,
    more: &str,
    minutes_ago: i64,
) -> (Observation, Vec<Asked>) {
    let from = NOW - minutes_ago * 60 - 900;
    let prometheus = Canned::start(move |asked| {
        let query = asked.field("query").unwrap();
        let fires = query.contains("service=");
        let labels = if fires { r#""alertname":"Slow","severity":"page","alertstate":"firing""# } else { "" };
        Reply::json(matrix(labels, from, if fires { fired.clone() } else { known.clone() }))
    })
    .await;
    let more = format!("prometheus: {{ url: {} }}\n{more}", prometheus.url());
    let dog = vec![row("Watchdog", ACTIVE, 9_000, 240)];
    let seen = look(vec![], dog, &more, &ask(Moment::Then, minutes_ago)).await;
    (seen, prometheus.asked())
}

#[tokio::test]
async fn the_past_is_what_prometheus_remembers() {
    let (seen, asked) = history(4..10, 0..31, "watchdog: Watchdog", 60).await;
    assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
    assert_eq!((seen.measures.number("firing"), seen.points.len()), (Some(1.0), 31));
    assert_eq!(seen.points.iter().filter(|point| point.number("firing") == Some(1.0)).count(), 6);
    assert!((seen.measures.number("firing_ratio").unwrap() - 6.0 / 31.0).abs() < 1e-9, "{seen:?}");
    assert_eq!(seen.excerpt.as_deref(), Some("Slow{severity=\"page\"}"));
    assert_eq!(seen.measures.get("silenced"), None);
    let queries: Vec<String> = asked.iter().filter_map(|asked| asked.field("query")).collect();
    assert!(queries.contains(&"ALERTS{alertstate=\"firing\",service=\"shop\"}".to_owned()), "{queries:?}");
    assert!(queries.contains(&"count(ALERTS{alertname=\"Watchdog\",alertstate=\"firing\"})".to_owned()), "{queries:?}");
}

#[tokio::test]
async fn the_past_needs_its_proof_as_well() {
    let because = "absent_means: { healthy: true, because: seldom }";
    for (fired, known, more, ago, expected) in [
        (0..0, 0..31, "watchdog: Watchdog", 60, None),
        (0..0, 0..31, because, 60, None),
        (0..0, 0..31, "watchdog: Watchdog", 0, None),
        (0..0, 0..31, "", 60, Some("nothing proves")),
        (0..0, 0..20, "watchdog: Watchdog", 60, Some("Watchdog has samples at 20 of 31")),
        (0..0, 0..0, because, 60, Some("up has samples at 0 of 31")),
        (0..5, 0..5, because, 60, Some("at 5 of 31")),
        (0..0, 0..20, "watchdog: Watchdog", 0, Some("at 20 of 31")),
    ] {
        let (seen, _) = history(fired, known, more, ago).await;
        match expected {
            None => {
                assert_eq!((seen.seen.clone(), seen.measures.number("firing")), (Seen::Answered, Some(0.0)), "{seen:?}")
            }
            Some(part) => assert!(blind(&seen).1.contains(part), "{more} {ago}: {seen:?}"),
        }
    }
}

#[tokio::test]
async fn a_value_of_a_ticket_stays_the_value_of_a_matcher() {
    let server = Canned::start(|_| Reply::json("[]")).await;
    let text =
        format!("url: {}\nmatchers: ['tenant=\"{{{{ tenant }}}}\"', 'also=~\"x|{{{{ tenant }}}}\"']", server.url());
    let probe = probe(&text).unwrap();
    assert_eq!(probe.params(), ["tenant"]);
    probe.observe(&ask(Moment::Now, 0)).await;
    let target = server.asked()[0].target.clone();
    let filters: Vec<String> = url::form_urlencoded::parse(target.split_once('?').unwrap().1.as_bytes())
        .filter(|(key, _)| key == "filter")
        .map(|(_, value)| value.into_owned())
        .collect();
    assert_eq!(filters, [r#"tenant="a\"c.me""#, r#"also=~"x|a\"c\\.me""#]);
    let mut hostile = ask(Moment::Now, 0);
    hostile.params.set("tenant", "a\u{1}b", true);
    assert_eq!(blind(&probe.observe(&hostile).await).0, UnknownKind::Refused);
    hostile.params = Params::default();
    assert_eq!(blind(&probe.observe(&hostile).await).0, UnknownKind::MissingParam);
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    for (text, part) in [
        ("url: http://a/\nmatchers: []", "a.yaml:2:11: no matchers"),
        ("url: http://a/\nmatchers: [service=x]", "a.yaml:2:12: not a matcher"),
        ("url: http://a/\nmatchers: ['a=\"b\",c=\"d\"']", "not a matcher"),
        ("url: http://a/\nmatchers: ['a=\"b\"} or up{x=\"\"']", "not a matcher"),
        ("url: http://a/\nmatchers: ['a=\"\\t\"']", "not a matcher"),
        ("url: http://a/\nmatchers: ['{{ x }}=\"b\"']", "not a matcher"),
        ("url: http://a/\nmatchers: ['a=\"b\"']\nwatchdog: ''", "a.yaml:3:11: `watchdog`"),
        ("url: a\nmatchers: ['a=\"b\"']", "a.yaml:1:6"),
        ("url: http://a/\nmatchers: ['a=\"b\"']\nprometheus: { url: b }", "a.yaml:3:20"),
        ("url: http://a/\nmatchers: ['a=\"b\"']\nfilter: x", "filter"),
    ] {
        let error = probe(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}
