//! The kind against real servers: what is good, bad, unknown, and what is never shown.

use std::time::Duration;

use rcgen::date_time_ymd;

use super::*;
use crate::evidence::Setup;
use crate::evidence::external::testing::{
    ask, ask_with, blindness, declared, example_reads, fault, hold, hurried, is_good, look, read as read_text, setup,
};
use crate::expect::Held;
use crate::model::observation::{Phase, Seen, UnknownKind};
use crate::model::value::Value;
use crate::net::budget::{Limit, Limits};
use crate::net::dns::Resolver;
use crate::net::guard::{Entry, Guard};
use crate::net::scripted::{self, Authority, Says, ok, redirect};

async fn get(server: &scripted::Server, path: &str) -> Observation {
    look(&KIND, &format!("url: {}", server.url(path)), &ask()).await
}

#[tokio::test]
async fn an_answer_is_measured() {
    let server = scripted::http(|_| {
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-A: 1\r\nX-A: 2\r\ncontent-length: 14\r\n\r\n{\"state\":\"ok\"}".to_vec()
    })
    .await;
    let observation = get(&server, "/health?x=1").await;
    declared(&KIND, &observation);
    assert!(is_good(&KIND, &observation));
    for that in [
        "status == 200",
        "body.contains(\"ok\") && body_bytes == 14",
        "json.state == \"ok\"",
        "headers[\"content-type\"] == \"application/json\" && headers[\"x-a\"] == \"1, 2\"",
        "redirects == 0",
        "http_version == \"HTTP/1.1\"",
        "duration_seconds > 0 && duration_seconds >= connect_seconds + first_byte_seconds",
        "resolve_seconds >= 0",
    ] {
        assert_eq!(hold(&KIND, that, &observation), Held::True, "{that}");
    }
    assert!(observation.measures.get("tls_seconds").is_none());
    assert_eq!(observation.excerpt.as_deref(), Some("{\"state\":\"ok\"}"));
    let url = server.url("/health?x=1");
    assert_eq!(observation.reproduce.unwrap(), format!("curl -sS -i -L --max-redirs 10 '{url}'"));
}

#[tokio::test]
async fn by_default_2xx_is_good() {
    for (status, good) in
        [(200, true), (201, true), (299, true), (300, false), (304, false), (404, false), (503, false)]
    {
        let server =
            scripted::http(move |_| format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n").into_bytes()).await;
        let observation = get(&server, "/").await;
        assert_eq!(observation.seen, Seen::Answered);
        assert_eq!(is_good(&KIND, &observation), good, "{status}");
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_breaks_what_is_expected_of_json() {
    for body in ["<html>sorry</html>", "", "{\"state\":", "null"] {
        let server = scripted::http(move |_| ok(body)).await;
        let observation = get(&server, "/").await;
        assert_eq!(observation.measures.get("json"), Some(&Value::Null), "{body}");
        let held = hold(&KIND, "json.state == \"ok\"", &observation);
        assert!(matches!(held, Held::False { .. }), "{body}: {held:?}");
    }
}

#[tokio::test]
async fn a_body_beyond_the_cap_leaves_only_what_needs_it_unknown() {
    let server = scripted::http(|_| ok(&"x".repeat(1024 * 1024 + 1))).await;
    let observation = get(&server, "/").await;
    assert_eq!(hold(&KIND, "status == 200", &observation), Held::True);
    for that in ["body.contains(\"x\")", "json.a == 1", "body_bytes > 5"] {
        assert!(matches!(hold(&KIND, that, &observation), Held::Unknown { .. }), "{that}");
    }
    assert_eq!(observation.notes, ["the body was not measured: it is longer than 1 MiB"]);
}

#[tokio::test]
async fn what_the_service_does_wrong_is_bad_with_its_phase() {
    let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("url: http://{}/?key=s3cret", refusing.local_addr().unwrap());
    drop(refusing);
    let observation = look(&KIND, &url, &ask()).await;
    assert_eq!(fault(&observation), (Phase::Connect, "connection refused"));

    let silent = scripted::tcp(|_, mut stream| async move { scripted::drain(&mut stream).await }).await;
    let observation = look(&KIND, &format!("url: {}", silent.url("/?key=s3cret")), &hurried()).await;
    let (phase, what) = fault(&observation);
    assert!(phase == Phase::Processing && what.starts_with("no byte in "), "{what}");
    assert!(!what.contains("s3cret"));
    assert!(observation.measures.number("connect_seconds").is_some());

    let looping = scripted::http(|_| redirect(302, "/")).await;
    let observation = get(&looping, "/").await;
    assert_eq!(fault(&observation).0, Phase::Processing);
    assert_eq!(observation.notes, [format!("redirected to http://{}", looping.address)]);

    let authority = Authority::new();
    let expired = authority.issue(&["localhost"], |params| params.not_after = date_time_ymd(2020, 1, 1)).serve().await;
    let text =
        format!("url: https://localhost:{}/\ntls: {{ ca: {} }}", expired.address.port(), authority.pem().display());
    let observation = look(&KIND, &text, &ask()).await;
    assert!(fault(&observation).1.starts_with("certificate expired 2020-01-01"));
    assert!(observation.measures.number("certificate_expiry_days").unwrap() < -2_000.0);
}

#[tokio::test]
async fn a_name_without_an_address_is_bad_and_a_silent_resolver_is_unknown() {
    use hickory_resolver::proto::op::ResponseCode;
    for (code, bad, word) in [
        (Some(ResponseCode::NXDomain), true, "NXDOMAIN"),
        (Some(ResponseCode::ServFail), true, "SERVFAIL"),
        (Some(ResponseCode::NoError), true, "no address"),
        (Some(ResponseCode::Refused), false, "REFUSED"),
        (None, false, "did not answer"),
    ] {
        let server = scripted::dns(move |_, _| code.map_or(Says::Nothing, Says::Code)).await;
        let setup = Setup { resolver: Resolver::with_servers(vec![server]), ..setup() };
        let patience = if code.is_none() { Duration::from_millis(500) } else { Duration::from_secs(20) };
        let observation = look(&KIND, "url: http://shop.example/", &ask_with(setup, patience)).await;
        if bad {
            let (phase, what) = fault(&observation);
            assert!(phase == Phase::Resolve && what.contains(word), "{what}");
        } else {
            let (kind, why) = blindness(&observation);
            assert!(kind == UnknownKind::Unreachable && why.contains(word), "{why}");
        }
    }
}

#[tokio::test]
async fn what_a_guard_forbids_and_what_a_budget_delays_is_unknown() {
    for url in ["http://169.254.169.254/", "http://metadata.google.internal/", "http://0/"] {
        let observation = look(&KIND, &format!("url: {url}"), &ask()).await;
        assert_eq!(blindness(&observation).0, UnknownKind::Refused, "{url}");
    }
    let server = scripted::tcp(|_, mut stream| async move { scripted::drain(&mut stream).await }).await;
    let guard = Guard::new(vec![Entry::parse("127.0.0.0/8").unwrap()], Vec::new());
    let observation = look(
        &KIND,
        &format!("url: {}", server.url("/")),
        &ask_with(Setup { guard, ..setup() }, Duration::from_secs(20)),
    )
    .await;
    assert_eq!(blindness(&observation).0, UnknownKind::Refused);
    assert_eq!(server.connections(), 0);

    let limits = Limits { service: Limit { at_once: 1, per_second: None }, ..Limits::default() };
    let ask = ask_with(Setup { limits, ..setup() }, Duration::from_millis(500));
    let text = format!("url: {}\nmethod: POST", server.url("/"));
    let (first, second) = tokio::join!(look(&KIND, &text, &ask), look(&KIND, &text, &ask));
    let blind = [first, second].iter().filter(|seen| matches!(seen.seen, Seen::Blind(_))).count();
    assert_eq!(blind, 1);
}

#[tokio::test]
async fn secrets_are_sent_and_never_shown() {
    let server = scripted::http(|head| {
        let echo = head.replace("\r\n", " ");
        format!("HTTP/1.1 200 OK\r\nx-echo: {echo}\r\ncontent-length: {}\r\n\r\n{head}", head.len()).into_bytes()
    })
    .await;
    for (text, sent, shown) in [
        ("bearer_token: { env: TOKEN }", "bearer t0ken-s3cret", "-H \"authorization: Bearer $TOKEN\""),
        (
            "basic: { user: anna, password: { env: PASSWORD } }",
            "basic yw5uytpwnhnzlxmzy3jlda==",
            "-u \"anna:$PASSWORD\"",
        ),
        ("headers: { X-Api-Key: { env: TOKEN } }", "x-api-key: t0ken-s3cret", "-H \"x-api-key: $TOKEN\""),
    ] {
        let ask = ask();
        let observation = look(&KIND, &format!("url: {}\n{text}", server.url("/")), &ask).await;
        assert!(server.asked().last().unwrap().to_lowercase().contains(sent), "{:?}", server.asked());
        let everything = format!("{observation:?}").to_lowercase();
        for hidden in ["s3cret", "yw5uytpwnhnzlxmzy3jlda"] {
            assert!(!everything.contains(hidden), "{text}: {everything}");
        }
        assert!(observation.excerpt.as_ref().unwrap().contains("‹secret›"));
        assert!(observation.reproduce.unwrap().contains(shown));
    }
    let ask = ask();
    let observation = look(&KIND, &format!("url: {}\nbearer_token: {{ env: NOT_SET }}", server.url("/")), &ask).await;
    assert_eq!(blindness(&observation).0, UnknownKind::Refused);
    let probe = read_text(&KIND, "url: http://h/\nbearer_token: { env: A }\nheaders: { k: { file: /x } }").unwrap();
    assert_eq!(probe.secrets().len(), 2);
}

#[tokio::test]
async fn parameters_fill_their_slots() {
    let server = scripted::http(|_| ok("")).await;
    let text = format!(
        "url: {}/a/{{{{ who }}}}?q={{{{ what }}}}\nheaders: {{ X-Who: \"{{{{ who }}}}\" }}\njson: {{ n: \"{{{{ what }}}}\", k: 1 }}",
        server.url("").as_str().trim_end_matches('/')
    );
    assert_eq!(read_text(&KIND, &text).unwrap().params(), ["what", "who"]);
    let mut ask = ask();
    assert_eq!(blindness(&look(&KIND, &text, &ask).await).0, UnknownKind::MissingParam);
    ask.params.set("who", "../b", true);
    ask.params.set("what", "\"&x='1", true);
    let observation = look(&KIND, &text, &ask).await;
    assert!(is_good(&KIND, &observation));
    let head = &server.asked()[0];
    assert!(head.starts_with("POST /a/..%2Fb?q=%22%26x%3D%271 HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("x-who: ../b\r\n"), "{head}");
    let reproduce = observation.reproduce.unwrap();
    assert!(reproduce.contains(r#"--data-raw '{"k":1,"n":"\"&x='\''1"}'"#), "{reproduce}");
}

#[tokio::test]
async fn a_second_attempt_is_a_fresh_look() {
    let server = scripted::http(|_| ok("")).await;
    let text = format!("url: {}", server.url("/"));
    let mut ask = ask();
    for attempt in 1..=3 {
        ask.attempt = attempt;
        look(&KIND, &text, &ask).await;
        assert_eq!(server.connections(), attempt as usize);
    }
}

#[test]
fn wrong_values_are_refused_at_their_place() {
    for (text, line, part) in [
        ("url: ftp://h/", 1, "not an http or https URL"),
        ("url: http://user:pw@h/", 1, "no user or password"),
        ("url: \"http://{{ host }}/\"", 1, "can't stand in"),
        ("method: GET", 1, "url"),
        ("url: http://h/\nmethod: \"G T\"", 2, "not an HTTP method"),
        ("url: http://h/\nmethod: CONNECT", 2, "not sent"),
        ("url: http://h/\nbody: a\njson: { a: 1 }", 2, "one body"),
        ("url: http://h/\nbearer_token: abc", 2, ""),
        ("url: http://h/\nbasic: { user: a, password: abc }", 2, ""),
        ("url: http://h/\nbearer_token: { env: A }\nbasic: { user: a, password: { env: B } }", 3, "one Authorization"),
        ("url: http://h/\nheaders:\n  Authorization: Bearer abc", 3, "is a secret"),
        ("url: http://h/\nheaders:\n  \"a b\": c", 3, "name of a header"),
        ("url: http://h/\nheaders:\n  Content-Length: 5", 3, "the client itself"),
        ("url: http://h/\nheaders:\n  X-A: 1\n  x-a: 2", 4, "given twice"),
        ("url: http://h/\nfollow_redirects: 21", 2, "at most 20"),
        ("url: http://h/\nfollow_redirect: 1", 2, "follow_redirect"),
        ("url: http://h/\ntls: { insecrue: true }", 2, "insecrue"),
        ("url: http://h/\nip: v5", 2, "v5"),
    ] {
        let error = read_text(&KIND, text).unwrap_err();
        assert!(error.message.contains(part), "{text}: {error:?}");
        assert_eq!(error.at.line, line, "{text}: {error:?}");
    }
}

#[test]
fn the_example_reads() {
    example_reads(&KIND);
}
