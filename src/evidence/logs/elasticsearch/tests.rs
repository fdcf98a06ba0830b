//! `elasticsearch` against a server that keeps to the search API: counts, what is new, customers, what makes it blind.

use super::super::testing::{NOW, ask, blind, number, shop};
use super::*;
use crate::model::observation::Seen;
use crate::net::canned::{Canned, Reply};
use crate::net::elasticsearch::tests::{Ways, published, server};
use crate::yaml;

fn documents(step: i64, fault: Option<i64>) -> Vec<(i64, Value)> {
    let document = |said: super::super::testing::Said| {
        let source = json!({
            "message": said.message, "log": { "level": said.level }, "labels": { "customer": said.customer },
            "service": "shop"
        });
        (said.at * 1_000, source)
    };
    shop(step, fault).into_iter().map(document).collect()
}

fn probe(text: &str) -> Result<Arc<dyn Probe>, String> {
    yaml::parse("e.yaml", text).and_then(|node| read(&node)).map_err(|error| error.to_string())
}

async fn look(server: &Canned, more: &str, ask: &Ask) -> Observation {
    probe(&format!("url: {}\nindex: logs-shop\n{more}", server.url())).unwrap().observe(ask).await
}

#[tokio::test]
async fn an_error_that_was_never_seen_is_new_and_one_that_was_is_not() {
    for (fault, new) in [(None, 0.0), (Some(NOW - 600), 1.0)] {
        let server = Canned::start(server(Ways::Elasticsearch, documents(3, fault))).await;
        let seen = look(&server, "query: { match_all: {} }", &ask()).await;
        assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
        assert_eq!((number(&seen, "lines"), number(&seen, "new_error_templates")), (301.0, new), "{seen:?}");
        assert_eq!(number(&seen, "last_line_age_seconds"), 0.0);
        let line = seen.reproduce.unwrap();
        assert!(line.contains("/logs-shop/_search -d '{") && line.contains("match_all"), "{line}");
    }
}

#[tokio::test]
async fn customers_and_terms_are_compared_as_they_are() {
    let server = Canned::start(server(Ways::OpenSearch, documents(3, None))).await;
    let mut ask = ask();
    ask.customer = Some("acme".to_owned());
    ask.params.set("service", "shop", true);
    let settings = "terms: { service: \"{{ service }}\" }\ncustomer: { field: labels.customer }";
    assert_eq!(number(&look(&server, settings, &ask).await, "lines"), 101.0);
    ask.params.set("service", "* OR shop", true);
    assert!(blind(&look(&server, settings, &ask).await).1.contains("no line of the ticket's customer"));
    ask.params = Default::default();
    assert_eq!(blind(&look(&server, settings, &ask).await).0, UnknownKind::MissingParam);
    assert_eq!(blind(&look(&server, "limit: 9", &ask).await).0, UnknownKind::Refused);
}

#[tokio::test]
async fn a_window_is_read_up_to_its_bound_and_silence_is_no_good_sign() {
    let full = Canned::start(server(Ways::Elasticsearch, documents(1, None))).await;
    let seen = look(&full, "limit: 200", &ask()).await;
    assert!(blind(&seen).1.contains("more than 200 lines") && number(&seen, "lines") == 200.0, "{seen:?}");

    let healthy = "terms: { service: mail }\nabsent_means: { healthy: true, because: it writes only when it fails }";
    let seen = look(&full, healthy, &ask()).await;
    assert_eq!((seen.seen.clone(), number(&seen, "lines")), (Seen::Answered, 0.0), "{seen:?}");
    assert_eq!(blind(&look(&full, "terms: { service: mail }", &ask()).await).0, UnknownKind::Incomplete);
    let old = documents(3, None).into_iter().filter(|(at, _)| *at < (NOW - 4_000) * 1_000).collect();
    let dead = Canned::start(server(Ways::Elasticsearch, old)).await;
    let seen = look(&dead, healthy, &ask()).await;
    assert!(blind(&seen).0 == UnknownKind::Stale && blind(&seen).1.contains("no document at all"), "{seen:?}");
}

#[tokio::test]
async fn what_is_no_whole_answer_is_blindness_with_its_reason() {
    let shards = r#""_shards":{"total":5,"successful":4,"skipped":0,"failed":1},"#;
    let nowhere = r#""timed_out":false,"_shards":{"total":0,"successful":0,"skipped":0,"failed":0},"#;
    let fine = r#""timed_out":false,"_shards":{"total":1,"successful":1,"failed":0},"#;
    let textless = format!(r#"{{"_index":"l","_id":"1","_source":{{"msg":"x"}},"sort":[{}000]}}"#, NOW - 5);
    for (reply, kind, part) in [
        (
            Reply::json(published(&format!("\"timed_out\":false,{shards}"), "")),
            UnknownKind::Incomplete,
            "1 of 5 shards",
        ),
        (Reply::json(published(nowhere, "")), UnknownKind::Incomplete, "no index is called `logs-shop`"),
        (Reply::json(published(fine, &textless)), UnknownKind::Unintelligible, "no document has the field `message`"),
        (Reply::of(401, "application/json", "{\"error\":\"who are you\"}"), UnknownKind::Refused, "who are you"),
        (Reply::of(429, "application/json", "{}"), UnknownKind::Unreachable, "429"),
        (Reply::of(200, "text/html", "<html>"), UnknownKind::Unintelligible, "<html>"),
    ] {
        let server = Canned::start(move |_| reply.clone()).await;
        let seen = look(&server, "", &ask()).await;
        let (found, why) = blind(&seen);
        assert!(found == kind && why.contains(part), "{part}: {found:?} {why}");
    }
}

#[test]
fn wrong_values_are_errors_at_their_own_place() {
    for (more, part) in [
        ("index: 'a/../b c'", "e.yaml:2:8: not the names of indices"),
        ("index: _all", "not the names"),
        ("index: 'a,,b'", "not the names"),
        ("index: 'a-{{ b }}'", "not the names"),
        ("index: a\nquery: 'x:{{ b }}'", "e.yaml:3:8: no parameters can stand in the query"),
        ("index: a\nquery: { term: { x: '{{ b }}' } }", "no parameters can stand in the query"),
        ("index: a\nquery: [1]", "a query string, or a map"),
        ("index: a\nlimit: 0", "e.yaml:3:8"),
        ("index: a\nheaders: { authorization: ApiKey x }", "holds a secret"),
    ] {
        let error = probe(&format!("url: http://e:9200\n{more}")).unwrap_err();
        assert!(error.contains(part), "{more}: {error}");
    }
}
