//! What the kind makes of pages, over real sockets; and what it refuses when it is read.

use super::*;
use crate::model::observation::Seen;
use crate::model::params::Params;
use crate::model::window::{Moment, Window};
use crate::net::canned::{Canned, Reply};
use crate::yaml;

const NOW: i64 = 1_795_340_700;
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn ask() -> Ask {
    let now = Timestamp::from_second(NOW).unwrap();
    Ask {
        now,
        window: Window::new(now, now),
        moment: Moment::Now,
        since: now,
        params: Params::default(),
        customer: None,
        attempt: 1,
        usual: Vec::new(),
        deadline: Instant::now() + Duration::from_secs(10),
        memory: Arc::default(),
        check: "queue".into(),
        tools: Arc::default(),
    }
}

fn probe(text: &str) -> Result<Arc<dyn Probe>, String> {
    yaml::parse("m.yaml", text).and_then(|node| read(&node)).map_err(|error| error.to_string())
}

async fn look(reply: Reply, more: &str) -> Observation {
    let server = Canned::start(move |_| reply.clone()).await;
    probe(&format!("url: {}/metrics\n{more}", server.url())).unwrap().observe(&ask()).await
}

const PAGE: &str = "# TYPE queue gauge\nqueue{name=\"mail\",shard=\"1\"} 3\nqueue{name=\"mail\",shard=\"2\"} 8\nqueue{name=\"pay\"} 1\n\
    # TYPE h histogram\nh_bucket{le=\"+Inf\"} 2\nh_sum 1.5\nh_count 2\nratio NaN\nsome{a=\"1\"} NaN\nsome{a=\"2\"} 4\nold 1 1795333500000\nfresh 1 1795340690000\nahead 1 1795347900000\n";

#[tokio::test]
async fn samples_are_found_by_name_and_labels() {
    for (more, value, series, maximum) in [
        ("metric: queue\nlabels: { name: pay }", Some(1.0), 1.0, Some(1.0)),
        ("metric: queue\nlabels: { name: pay, shard: '' }", Some(1.0), 1.0, Some(1.0)),
        ("metric: queue\nlabels: { name: mail }", None, 2.0, Some(8.0)),
        ("metric: queue", None, 3.0, Some(8.0)),
        ("metric: h_sum", Some(1.5), 1.0, Some(1.5)),
        ("metric: h_bucket\nlabels: { le: +Inf }", Some(2.0), 1.0, Some(2.0)),
        ("metric: some", Some(4.0), 1.0, Some(4.0)),
        ("", None, 12.0, None),
    ] {
        let seen = look(Reply::of(200, TEXT, PAGE), more).await;
        assert_eq!(seen.seen, Seen::Answered, "{more}: {seen:?}");
        let found = ["value", "series", "maximum"].map(|name| seen.measures.number(name));
        assert_eq!(found, [value, Some(series), maximum], "{more}");
    }
    let seen = look(Reply::of(200, TEXT, PAGE), "metric: queue\nlabels: { name: mail }").await;
    let values = seen.measures.get("values").unwrap().show(200);
    assert_eq!(values, r#"{"{name=\"mail\",shard=\"1\"}":3.0,"{name=\"mail\",shard=\"2\"}":8.0}"#);
    assert_eq!(seen.excerpt.unwrap(), "{name=\"mail\",shard=\"2\"} 8\n{name=\"mail\",shard=\"1\"} 3");
    assert!(seen.reproduce.unwrap().ends_with("/metrics | grep -E '^queue[{ ]'"));
    let fresh = look(Reply::of(200, TEXT, PAGE), "metric: fresh").await;
    assert_eq!((fresh.measures.number("age_seconds"), fresh.data_until.unwrap().as_second()), (Some(10.0), NOW - 10));
    let open = look(Reply::of(200, OPEN_METRICS, "# TYPE a counter\na_total 5\n# EOF\n"), "metric: a_total").await;
    assert_eq!(open.measures.number("value"), Some(5.0));
}

#[tokio::test]
async fn what_is_no_whole_page_or_no_number_is_unknown() {
    let big = format!("{}a 1\n", "#".repeat(16 * 1024 * 1024));
    for (reply, more, kind, part) in [
        (Reply::of(200, TEXT, PAGE), "metric: gone", UnknownKind::Incomplete, "no metric `gone`"),
        (Reply::of(200, TEXT, PAGE), "metric: h", UnknownKind::Incomplete, "there is `h_count`"),
        (
            Reply::of(200, TEXT, PAGE),
            "metric: queue\nlabels: { name: x }",
            UnknownKind::Incomplete,
            "no sample of `queue` has",
        ),
        (Reply::of(200, TEXT, PAGE), "metric: ratio", UnknownKind::Incomplete, "is NaN"),
        (Reply::of(200, TEXT, PAGE), "metric: old", UnknownKind::Stale, "the newest sample is 2 h old"),
        (Reply::of(200, TEXT, PAGE), "metric: ahead", UnknownKind::Unintelligible, "dated 2 h ahead"),
        (Reply::of(200, TEXT, "a 1\na{x=\"2\" 3\n"), "metric: a", UnknownKind::Unintelligible, "line 2, column 9"),
        (Reply::of(200, TEXT, "a 1\nb 2"), "metric: a", UnknownKind::Unintelligible, "cut off"),
        (Reply::of(200, TEXT, ""), "", UnknownKind::Unintelligible, "no samples"),
        (
            Reply::of(200, TEXT, "a 1\na 2\n"),
            "metric: a",
            UnknownKind::Unintelligible,
            "line 2: the same series of `a` twice",
        ),
        (Reply::of(200, OPEN_METRICS, "a 1\n"), "metric: a", UnknownKind::Unintelligible, "no `# EOF`"),
        (Reply::of(200, TEXT, "<html>502</html>\n"), "metric: a", UnknownKind::Unintelligible, "HTML"),
        (Reply::of(200, "text/html", "a 1\n"), "metric: a", UnknownKind::Unintelligible, "content type is `text/html`"),
        (
            Reply { content_type: None, ..Reply::of(200, "", "a 1\n") },
            "",
            UnknownKind::Unintelligible,
            "no content type",
        ),
        (Reply::of(502, "text/html", "<html>"), "metric: a", UnknownKind::Unreachable, "answered 502"),
        (Reply::of(404, TEXT, "a 1\n"), "metric: a", UnknownKind::Unintelligible, "answered 404"),
        (Reply::of(403, TEXT, "a 1\n"), "metric: a", UnknownKind::Refused, "answered 403"),
        (Reply { cut: 10, ..Reply::of(200, TEXT, "a 1\n") }, "metric: a", UnknownKind::Unreachable, "(transfer)"),
        (Reply::of(200, TEXT, big), "metric: a", UnknownKind::Incomplete, "larger than we read"),
        (Reply::of(200, TEXT, "a 1\n".repeat(100_001)), "", UnknownKind::Incomplete, "more than 100000 samples"),
        (Reply::of(200, TEXT, "a{x=\"\u{1b}[2J\"y} 1\n"), "", UnknownKind::Unintelligible, "\\u{1b}[2J"),
    ] {
        let shown =
            format!("{} {:?} {more}", reply.status, String::from_utf8_lossy(&reply.body[..reply.body.len().min(40)]));
        let seen = look(reply, more).await;
        let Seen::Blind(unknown) = &seen.seen else { panic!("{shown}: {seen:?}") };
        assert!(unknown.kind == kind && unknown.why.contains(part), "{shown}: {unknown:?}");
    }
    let server = Canned::start(|_| Reply::silent()).await;
    let mut short = ask();
    short.deadline = Instant::now() + Duration::from_millis(300);
    let probe = probe(&format!("url: {}", server.url())).unwrap();
    let seen =
        tokio::time::timeout_at(short.deadline, probe.observe(&short)).await.expect("before the caller gives up");
    assert!(matches!(seen.seen, Seen::Blind(Unknown { kind: UnknownKind::TimedOut, .. })), "{seen:?}");
}

#[tokio::test]
async fn absence_is_health_only_where_it_is_said_and_only_true_absence() {
    let healthy = "absent_means: { healthy: true, because: none before the first error }";
    let seen = look(Reply::of(200, TEXT, PAGE), &format!("metric: errors_total\n{healthy}")).await;
    assert_eq!((seen.seen.clone(), seen.measures.number("series")), (Seen::Answered, Some(0.0)));
    assert!(seen.notes[0].contains("none before the first error"), "{:?}", seen.notes);
    for (page, metric) in [(PAGE, "ratio"), ("", "errors_total"), ("a 1\nerr", "errors_total")] {
        let seen = look(Reply::of(200, TEXT, page), &format!("metric: {metric}\n{healthy}")).await;
        assert!(matches!(seen.seen, Seen::Blind(_)), "{metric}: {seen:?}");
    }
}

#[tokio::test]
async fn the_page_is_asked_for_as_text_and_with_its_secrets() {
    let server = Canned::start(|_| Reply::of(200, TEXT, "a{customer=\"acme\"} 1\n")).await;
    let probe = probe(&format!(
        "url: {}/m?x=1\nmetric: a\nlabels: {{ customer: '{{{{ customer }}}}' }}\nheaders: {{ X-Tenant: t }}",
        server.url()
    ))
    .unwrap();
    assert_eq!(probe.params(), ["customer"]);
    let mut ask = ask();
    ask.params.set("customer", "acme", true);
    assert_eq!(probe.observe(&ask).await.measures.number("value"), Some(1.0));
    let asked = &server.asked()[0];
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("GET", "/m?x=1"));
    assert!(asked.headers["accept"].starts_with("text/plain;version=0.0.4"));
    assert_eq!(asked.headers["x-tenant"], "t");
    // A second look of the same check is a fresh one.
    let _ = probe.observe(&ask).await;
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn what_is_wrong_is_refused_at_its_place() {
    for (text, part) in [
        ("metric: a", "url"),
        ("url: http://a\nmetric: ''", "m.yaml:2:9: the metric's name is empty"),
        ("url: http://a\nmetric: 'a{b=\"c\"}'", "no labels and no functions"),
        ("url: http://a\nlabels: { a: b }", "need a `metric`"),
        ("url: http://a\nabsent_means: { healthy: true, because: x }", "need a `metric`"),
        ("url: http://a\nmetric: a\nabsent_means: { healthy: true, because: '' }", "needs the reason"),
        ("url: http://a\nmetrics: a", "metric"),
    ] {
        let error = probe(text).map(|_| ()).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}
