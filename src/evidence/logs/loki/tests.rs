//! `loki` against a server that keeps to Loki's API: counts, what is new, customers, bounds, and what makes it blind.

use serde_json::json;

use super::super::testing::{NOW, Said, ask, blind, number, second, shop};
use super::*;
use crate::model::observation::Seen;
use crate::net::canned::{Asked, Canned, Reply};
use crate::yaml;

/// Answers as Loki would: a stream per level; filters and a customer's label are all of LogQL that it knows.
fn loki(lines: Vec<Said>) -> impl Fn(&Asked) -> Reply + Send + Sync + 'static {
    move |asked| {
        let field = |name: &str| asked.field(name).unwrap();
        let (start, end): (i64, i64) = (field("start").parse().unwrap(), field("end").parse().unwrap());
        let (query, limit) = (field("query"), field("limit").parse().unwrap());
        let between = |start: &str| query.split_once(start).map(|(_, rest)| rest.split('"').next().unwrap().to_owned());
        let (customer, filter) = (between("customer=\""), between("|= \""));
        let fits = |said: &&Said| {
            query.starts_with("{app=\"shop\"}")
                && (start..end).contains(&(said.at * 1_000_000_000))
                && customer.as_ref().is_none_or(|customer| said.customer == customer)
                && filter.as_ref().is_none_or(|filter| said.message.contains(filter))
        };
        let mut rows = std::collections::BTreeMap::<&str, Vec<serde_json::Value>>::new();
        let mut answer = |said: &Said| {
            rows.entry(said.level).or_default().push(json!([(said.at * 1_000_000_000).to_string(), said.message]));
        };
        if field("direction") == "backward" {
            lines.iter().rev().filter(fits).take(limit).for_each(&mut answer);
        } else {
            lines.iter().filter(fits).take(limit).for_each(&mut answer);
        }
        let result: Vec<_> = rows
            .into_iter()
            .map(|(level, values)| json!({"stream": {"app": "shop", "detected_level": level}, "values": values}))
            .collect();
        Reply::json(json!({"status":"success","data":{"resultType":"streams","result":result}}).to_string())
    }
}

fn probe(text: &str) -> Result<Arc<dyn Probe>, String> {
    yaml::parse("l.yaml", text).and_then(|node| read(&node)).map_err(|error| error.to_string())
}

async fn look(server: &Canned, more: &str, ask: &Ask) -> Observation {
    let query = if more.contains("query:") { "" } else { "query: '{app=\"shop\"}'\n" };
    probe(&format!("url: {}\n{query}{more}", server.url())).unwrap().observe(ask).await
}

#[tokio::test]
async fn an_error_that_was_never_seen_is_new_and_one_that_was_is_not() {
    let calm = Canned::start(loki(shop(3, None))).await;
    let seen = look(&calm, "tenant: shop", &ask()).await;
    assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
    assert_eq!((number(&seen, "lines"), number(&seen, "matches")), (301.0, 7.0), "{seen:?}");
    assert_eq!((number(&seen, "new_templates"), number(&seen, "new_error_templates")), (0.0, 0.0), "{seen:?}");
    assert_eq!(number(&seen, "last_line_age_seconds"), 0.0);
    assert!(calm.asked().iter().all(|asked| asked.headers["x-scope-orgid"] == "shop"));

    let faulty = Canned::start(loki(shop(3, Some(NOW - 600)))).await;
    let seen = look(&faulty, "match: gateway refused", &ask()).await;
    assert_eq!((number(&seen, "new_error_templates"), number(&seen, "matches")), (1.0, 20.0), "{seen:?}");
    assert!(seen.excerpt.as_ref().unwrap().contains("payment gateway refused"), "{seen:?}");
    let line = seen.reproduce.unwrap();
    assert!(line.starts_with("curl -sS -G http://127.0.0.1:") && line.contains("query={app=\"shop\"}"), "{line}");
}

#[tokio::test]
async fn the_window_is_asked_for_with_both_its_ends_and_the_past_before_it() {
    let server = Canned::start(loki(shop(30, None))).await;
    let mut then = ask();
    then.window = Window::new(second(NOW - 7_200), second(NOW - 6_000));
    then.since = second(NOW - 7_200);
    then.usual = vec!["matches_per_second".to_owned(), "lines".to_owned()];
    let seen = look(&server, "direction: forward", &then).await;
    assert_eq!(number(&seen, "lines"), 41.0, "{seen:?}");
    assert_eq!(number(&seen, "last_line_age_seconds"), 0.0, "the log still writes");
    assert_eq!(seen.past["lines"], [41.0; 8], "{seen:?}");
    let asked = server.asked();
    let spans: Vec<(String, String)> =
        asked.iter().map(|asked| (asked.field("start").unwrap(), asked.field("end").unwrap())).collect();
    assert!(spans.contains(&(format!("{}000000000", NOW - 7_200), format!("{}000000001", NOW - 6_000))), "{spans:?}");
    assert!(spans.iter().all(|(start, _)| start.parse::<i64>().unwrap() >= (NOW - 50 * 3_600) * 1_000_000_000));
}

#[tokio::test]
async fn more_lines_than_the_limit_are_at_least_so_many_and_unknown() {
    let server = Canned::start(loki(shop(1, Some(NOW - 600)))).await;
    let seen = look(&server, "limit: 200", &ask()).await;
    let (kind, why) = blind(&seen);
    assert!(kind == UnknownKind::Incomplete && why.contains("more than 200 lines in the window"), "{why}");
    assert_eq!(number(&seen, "lines"), 200.0, "{seen:?}");
}

#[tokio::test]
async fn the_lines_of_one_customer_are_asked_for_alone() {
    let server = Canned::start(loki(shop(3, Some(NOW - 600)))).await;
    let mut ask = ask();
    ask.customer = Some("acme".to_owned());
    let seen = look(&server, "customer: { label: customer }", &ask).await;
    assert_eq!(number(&seen, "lines"), 101.0, "{seen:?}");
    assert!(server.asked().iter().any(|asked| asked.field("query").unwrap() == "{app=\"shop\"}\n| customer=\"acme\""));
    ask.customer = Some("nobody\" or customer=~\".+".to_owned());
    let seen = look(&server, "customer: { label: customer }", &ask).await;
    assert!(blind(&seen).1.contains("no line of the ticket's customer"), "{seen:?}");
    let seen = look(&server, "", &ask).await;
    assert_eq!(blind(&seen).0, UnknownKind::Refused);
}

#[tokio::test]
async fn silence_is_healthy_only_where_the_check_says_so_and_the_log_is_alive() {
    let query = "query: '{app=\"shop\"} |= \"panicked\"'\n";
    let healthy = "absent_means: { healthy: true, because: it never panics }";
    let server = Canned::start(loki(shop(3, None))).await;
    let seen = look(&server, query, &ask()).await;
    let (kind, why) = blind(&seen);
    assert!(kind == UnknownKind::Incomplete && why.contains("no line between"), "{why}");
    let seen = look(&server, &format!("{query}{healthy}"), &ask()).await;
    assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
    assert_eq!((number(&seen, "lines"), number(&seen, "new_error_templates")), (0.0, 0.0));
    assert!(seen.notes.iter().any(|note| note.contains("it never panics")), "{seen:?}");

    let old = shop(3, None).into_iter().filter(|said| said.at < NOW - 3_700).collect();
    let dead = Canned::start(loki(old)).await;
    let seen = look(&dead, &format!("{query}{healthy}"), &ask()).await;
    let (kind, why) = blind(&seen);
    assert!(kind == UnknownKind::Stale && why.contains("no line of `{app=\"shop\"}` at all"), "{why}");
}

#[tokio::test]
async fn what_is_no_answer_is_blindness_with_its_reason() {
    for (reply, kind, part) in [
        (Reply::of(400, "text/plain", "parse error at line 1, col 16"), UnknownKind::Unintelligible, "parse error"),
        (Reply::of(401, "text/plain", "no org id\n"), UnknownKind::Refused, "401: no org id"),
        (Reply::of(429, "text/plain", "too many outstanding requests"), UnknownKind::Unreachable, "outstanding"),
        (Reply::of(503, "text/html", "<html>"), UnknownKind::Unreachable, "503"),
        (Reply::of(200, "text/html", "<html>log in"), UnknownKind::Unintelligible, "<html>log in"),
        (Reply { cut: 9, ..Reply::json("{\"status\":") }, UnknownKind::Unreachable, "127.0.0.1"),
        (
            Reply::json(
                r#"{"status":"success","warnings":["1 of 3 ingesters failed"],"data":{"resultType":"streams","result":[]}}"#,
            ),
            UnknownKind::Incomplete,
            "1 of 3 ingesters failed",
        ),
    ] {
        let server = Canned::start(move |_| reply.clone()).await;
        let seen = look(&server, "", &ask()).await;
        let (found, why) = blind(&seen);
        assert!(found == kind && why.contains(part), "{part}: {found:?} {why}");
    }
    let silent = Canned::start(|_| Reply::silent()).await;
    let mut ask = ask();
    ask.deadline = Instant::now() + std::time::Duration::from_millis(300);
    assert_eq!(blind(&look(&silent, "", &ask).await).0, UnknownKind::TimedOut);
}

#[tokio::test]
async fn a_past_that_does_not_come_costs_only_what_is_new() {
    let calm = loki(shop(3, None));
    let server = Canned::start(move |asked| {
        let end: i64 = asked.field("end").unwrap().parse().unwrap();
        if end > NOW * 1_000_000_000 { calm(asked) } else { Reply::of(500, "text/plain", "too far back") }
    })
    .await;
    let seen = look(&server, "", &ask()).await;
    assert_eq!((seen.seen.clone(), number(&seen, "lines")), (Seen::Answered, 301.0));
    assert!(seen.measures.get("new_error_templates").is_none(), "{seen:?}");
    assert!(seen.notes.iter().any(|note| note.contains("too far back")), "{seen:?}");
}

#[test]
fn wrong_values_are_errors_at_their_own_place() {
    for (text, part) in [
        ("url: http://l\nquery: 'rate({app=\"x\"}[5m])'", "l.yaml:2:8: a log query begins with its stream selector"),
        ("url: http://l\nquery: '{app=\"x\"} | line_format \"{{ a }}\"'", "l.yaml:2:8"),
        ("url: http://l\nquery: '{a=\"b\"}'\nlimit: 0", "l.yaml:3:8: the limit is from 1"),
        ("url: http://l\nquery: '{a=\"b\"}'\nlimit: 100001", "l.yaml:3:8"),
        ("url: http://l\nquery: '{a=\"b\"}'\nmatch: '('", "l.yaml:3:8: no usable regular expression"),
        ("url: http://l\nquery: '{a=\"b\"}'\ncustomer: { label: 'a b' }", "l.yaml:3:20: not the name of a label"),
        ("url: http://l\nquery: '{a=\"b\"}'\ntenant: x\nheaders: { x-scope-orgid: y }", "the same thing"),
        ("url: http://l\nquery: '{a=\"b\"}'\ndirection: sideways", "sideways"),
        ("url: loki:3100\nquery: '{a=\"b\"}'", "must begin with http"),
    ] {
        let error = probe(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
    let good = probe("url: http://loki:3100\nquery: '{a=\"{{ a }}\"} |= \"{{ b }}\"'").unwrap();
    assert_eq!((good.system(), good.params()), ("loki:3100".to_owned(), vec!["a".to_owned(), "b".to_owned()]));
}
