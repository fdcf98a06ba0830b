//! `elasticsearch` against answers as Elastic publishes them, their documents moved into the span that is asked for.
//! No package brings a server that speaks this API.

use houston::model::observation::{Seen, UnknownKind};
use jiff::Timestamp;
use serde_json::Value;

use super::looking::{ask, example, look, now};
use crate::lab::answers::{Answers, Asked, Reply};
use crate::lab::free_port;

/// The published documents, evenly over the span that is asked for. `calm`: with the words of a day without a fault.
fn documents(asked: &Asked, calm: bool) -> Reply {
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/logs-shop-%2A/_search"));
    let (status, kind, body) = Answers::recorded("elasticsearch/search");
    let mut answer: Value = serde_json::from_slice(&body).unwrap();
    let (from, to) = span(asked);
    let size = serde_json::from_slice::<Value>(&asked.body).unwrap()["size"].as_u64().unwrap();
    let hits = answer["hits"]["hits"].as_array_mut().unwrap();
    hits.truncate(usize::try_from(size).unwrap());
    let step = (to.as_millisecond() - from.as_millisecond()) / (hits.len() as i64 + 1);
    for (place, hit) in hits.iter_mut().enumerate() {
        hit["sort"][0] = Value::from((to.as_millisecond() - step * (place as i64 + 1)) * 1_000_000);
        if calm {
            hit["_source"]["log"]["level"] = Value::from("info");
            hit["_source"]["message"] = Value::from("checkout ok order=1180 dur=87ms");
        }
    }
    (status, kind, answer.to_string().into_bytes())
}

fn span(asked: &Asked) -> (Timestamp, Timestamp) {
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    let range = &body["query"]["bool"]["filter"][0]["range"]["@timestamp"];
    let time = |name: &str| range[name].as_str().unwrap().parse().unwrap();
    (time("gte"), time("lte"))
}

fn outcome(port: u16) -> Value {
    example("elasticsearch", &[("127.0.0.1:9200", &format!("127.0.0.1:{port}"))], "{}")
}

#[test]
fn the_example_tells_a_new_error_from_a_known_one() {
    let known = Answers::start(|asked| documents(asked, false));
    let finding = outcome(known.port);
    assert_eq!(finding["outcome"], "good", "{finding}");
    assert_eq!(finding["observed"]["matches"], 6, "{finding}");
    let ten_minutes = jiff::SignedDuration::from_mins(10);
    let new = Answers::start(move |asked| documents(asked, span(asked).1 < now() - ten_minutes));
    let finding = outcome(new.port);
    assert_eq!(finding["outcome"], "bad", "{finding}");
    assert!(finding["excerpt"].as_str().unwrap().contains("payment gateway timeout"), "{finding}");
}

#[test]
fn the_example_is_unknown_where_there_is_no_whole_answer() {
    for (name, kind) in [
        ("empty", "incomplete"),
        ("shard_failures", "incomplete"),
        ("timed_out", "incomplete"),
        ("clusters_skipped", "incomplete"),
        ("index_not_found", "unintelligible"),
        ("parsing_exception", "unintelligible"),
        ("security_exception", "refused"),
        ("all_shards_failed", "unreachable"),
    ] {
        let server = Answers::start(move |_| Answers::recorded(&format!("elasticsearch/{name}")));
        let finding = outcome(server.port);
        assert_eq!(finding["outcome"], "unknown", "{name}: {finding}");
        assert_eq!(finding["unknown"]["kind"], kind, "{name}: {finding}");
    }
    assert_eq!(outcome(free_port())["unknown"]["kind"], "unreachable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_not_read_to_its_end() {
    let server = Answers::start(|_| {
        let mut body = b"{\"took\":1,\"timed_out\":false,\"hits\":{\"hits\":[{\"_index\":\"".to_vec();
        body.resize(20 << 20, b'x');
        (200, "application/json".to_owned(), body)
    });
    let settings = format!("{{ url: \"http://127.0.0.1:{}\", index: logs }}", server.port);
    let seen = look("elasticsearch", &settings, &ask()).await;
    assert!(
        matches!(&seen.seen, Seen::Blind(unknown) if unknown.kind == UnknownKind::Incomplete && unknown.why.contains("more than 16777216 bytes")),
        "{seen:?}"
    );
}
