//! Exporters that answer as they are told: what is the target's failure, what the exporter's own, what no answer at all.

use super::*;
use crate::evidence::external::testing::{
    ask, blindness, declared, example_reads, hold, hurried, is_good, look, read as read_text,
};
use crate::expect::Held;
use crate::model::observation::Seen;
use crate::net::canned::{Asked, Canned, Reply};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const GOOD: &str = "\
# TYPE probe_success gauge
probe_success 1
# TYPE probe_duration_seconds gauge
probe_duration_seconds 0.25
probe_dns_lookup_time_seconds 0.01
# TYPE probe_http_duration_seconds gauge
probe_http_duration_seconds{phase=\"connect\"} 0.02
probe_http_duration_seconds{phase=\"tls\"} 0.1
probe_http_status_code 200
probe_ssl_earliest_cert_expiry 1.795864e+09
probe_ip_addr_hash NaN
";

async fn exporter(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Canned {
    Canned::start(answer).await
}

async fn seen(server: &Canned) -> Observation {
    look(&KIND, &format!("{{ url: \"{}\", target: \"http://shop/?a=b&c\" }}", server.url()), &ask()).await
}

/// A page that says no, and this log.
fn failing(line: &'static str) -> impl Fn(&Asked) -> Reply + Send + Sync + 'static {
    move |asked| match asked.target.contains("debug=true") {
        true => Reply::of(200, "text/plain", format!("Logs for the probe:\n{line}\n\n\n\nMetrics that …\n")),
        false => Reply::of(200, TEXT, "probe_success 0\nprobe_duration_seconds 1\nprobe_http_status_code 0\n"),
    }
}

#[tokio::test]
async fn what_the_exporter_says_is_told() {
    let server = exporter(|_| Reply::of(200, TEXT, GOOD)).await;
    let observation = seen(&server).await;
    declared(&KIND, &observation);
    assert!(is_good(&KIND, &observation), "{observation:?}");
    for that in [
        "success && duration_seconds == 0.25 && resolve_seconds == 0.01 && status == 200",
        "phases.connect == 0.02 && phases.tls == 0.1",
        "certificate_expiry_days == 10.0",
        "values[\"probe_http_duration_seconds{phase=\\\"tls\\\"}\"] == 0.1 && size(values) == 7",
    ] {
        assert_eq!(hold(&KIND, that, &observation), Held::True, "{that}: {observation:?}");
    }
    let asked = &server.asked()[0];
    assert_eq!(asked.target, "/probe?module=http_2xx&target=http%3A%2F%2Fshop%2F%3Fa%3Db%26c");
    let timeout: f64 = asked.headers["x-prometheus-scrape-timeout-seconds"].parse().unwrap();
    assert!((5.0..=12.0).contains(&timeout), "{timeout}");
    let by_hand = observation.reproduce.unwrap();
    assert!(by_hand.ends_with("b%26c&debug=true'"), "{by_hand}");
}

#[tokio::test]
async fn a_failed_probe_is_told_with_its_reason() {
    let line = "level=error msg=\"Error for HTTP request\" err=\"connection refused\"";
    let server = exporter(failing(line)).await;
    let observation = seen(&server).await;
    assert_eq!(observation.seen, Seen::Answered);
    assert_eq!(hold(&KIND, "success", &observation), Held::False { actual: "success is false".to_owned() });
    assert_eq!(observation.excerpt.as_deref(), Some("Error for HTTP request: connection refused"));
    assert!(observation.measures.get("status").is_none(), "status 0 is none: {observation:?}");

    let server = exporter(|asked| match asked.target.contains("debug") {
        true => Reply::of(403, "text/plain", "no"),
        false => Reply::of(200, TEXT, "probe_success 0\n"),
    });
    let observation = seen(&server.await).await;
    assert_eq!(observation.seen, Seen::Answered);
    assert!(observation.notes[0].contains("why is not known") && observation.notes[0].contains("403"));

    let again = failing("level=info msg=\"Probe succeeded\"");
    let observation = seen(&exporter(again).await).await;
    assert!(observation.notes[0].contains("succeeded"), "{observation:?}");
}

#[tokio::test]
async fn an_exporter_that_could_not_look_is_unknown() {
    let line = "level=error msg=\"Error listening to socket\" err=\"operation not permitted\"";
    let observation = seen(&exporter(failing(line)).await).await;
    let (kind, why) = blindness(&observation);
    assert_eq!(kind, UnknownKind::Refused);
    assert!(why.contains("could not look by itself: Error listening to socket: operation not permitted"), "{why}");
}

#[tokio::test]
async fn no_page_as_it_should_be_is_unknown() {
    let twice = "probe_success 1\nprobe_success{a=\"1\"} 0\n";
    let huge = format!("probe_success 1\n{}", "a 1\n".repeat(300_000));
    for (reply, kind, part) in [
        (Reply::of(400, "text/plain", "Unknown module \"x\u{1b}[2J\""), UnknownKind::Unintelligible, "Unknown module"),
        (Reply::of(503, "text/plain", ""), UnknownKind::Unreachable, "503"),
        (Reply::of(401, "text/plain", ""), UnknownKind::Refused, "401"),
        (Reply::of(200, "text/html", "<html>"), UnknownKind::Unintelligible, "text/html"),
        (Reply::of(200, TEXT, ""), UnknownKind::Unintelligible, "no samples"),
        (Reply::of(200, TEXT, "up 1\n"), UnknownKind::Unintelligible, "no `probe_success`"),
        (Reply::of(200, TEXT, "probe_success 1"), UnknownKind::Unintelligible, "cut off"),
        (Reply::of(200, TEXT, "probe_success 1\nprobe_dura"), UnknownKind::Unintelligible, "line 2"),
        (Reply::of(200, TEXT, "probe_success NaN\n"), UnknownKind::Unintelligible, "neither 0 nor 1"),
        (Reply::of(200, TEXT, "probe_success 2\n"), UnknownKind::Unintelligible, "neither 0 nor 1"),
        (Reply::of(200, TEXT, twice), UnknownKind::Unintelligible, "second time"),
        (Reply::of(200, TEXT, huge.as_str()), UnknownKind::Incomplete, "larger than we read"),
        (Reply { cut: 5, ..Reply::of(200, TEXT, GOOD) }, UnknownKind::Unreachable, "closed"),
    ] {
        let observation = seen(&exporter(move |_| reply.clone()).await).await;
        let (found, why) = blindness(&observation);
        assert!(found == kind && why.contains(part) && !why.contains('\u{1b}'), "{kind:?} {part}: {observation:?}");
    }
    let server = exporter(|_| Reply::silent()).await;
    let silent = look(&KIND, &format!("{{ url: \"{}\", target: shop }}", server.url()), &hurried()).await;
    assert_eq!(blindness(&silent).0, UnknownKind::TimedOut, "{silent:?}");
    let gone = look(&KIND, "{ url: \"http://127.0.0.1:1\", target: shop }", &ask()).await;
    assert_eq!(blindness(&gone).0, UnknownKind::Unreachable, "{gone:?}");
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    example_reads(&KIND);
    for (text, place, part) in [
        ("url: http://b:9115/probe\ntarget: a", "test.yaml:1:6", "without `/probe`"),
        ("url: http://b:9115/?x=1\ntarget: a", "test.yaml:1:6", "without `/probe`"),
        ("url: b:9115\ntarget: a", "test.yaml:1:6", "begin with http"),
        ("url: http://b:9115\ntarget: '{{ host }}'", "test.yaml:2:9", "no parameters"),
        ("url: http://b:9115\ntarget: ''", "test.yaml:2:9", "empty"),
        ("url: http://b:9115\ntarget: http://u:p@a/", "test.yaml:2:9", "credentials"),
        ("url: http://b:9115\ntarget: a\nmodul: b", "test.yaml:3:1", "modul"),
        ("url: http://b:9115", "test.yaml:1:1", "target"),
    ] {
        let error = read_text(&KIND, text).unwrap_err();
        assert_eq!(error.at.to_string(), place, "{text}: {error}");
        assert!(error.message.contains(part), "{text}: {error}");
    }
    let prefixed = read_text(&KIND, "url: https://mon.example/bb/\ntarget: a").unwrap();
    assert_eq!(prefixed.system(), "mon.example:443");
}
