//! A server that keeps to the search API, in the ways of Elasticsearch, of OpenSearch and of neither; and answers that
//! are not whole.

use std::sync::Mutex;

use super::*;
use crate::net::canned::{Asked, Canned, Reply};
use crate::net::http::Client;

/// Which points in time a server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ways {
    Elasticsearch,
    OpenSearch,
    /// None at all.
    Neither,
}

/// Answers as such a server does from these documents: milliseconds, and the source. Term filters and ranges are all of
/// the query DSL that it knows.
pub(crate) fn server(ways: Ways, documents: Vec<(i64, Value)>) -> impl Fn(&Asked) -> Reply + Send + Sync + 'static {
    let open = Mutex::new(0_i64);
    move |asked| {
        let path = asked.target.split('?').next().unwrap();
        let body: Value = serde_json::from_str(&asked.body).unwrap_or_default();
        let opens = match ways {
            Ways::Elasticsearch => "_pit",
            Ways::OpenSearch => "_search/point_in_time",
            Ways::Neither => "nowhere",
        };
        if let (true, "POST") = (path.ends_with(opens), asked.method.as_str()) {
            *open.lock().unwrap() += 1;
            let name = if ways == Ways::Elasticsearch { "id" } else { "pit_id" };
            return Reply::json(
                json!({ name: "p0", "_shards": { "total": 1, "successful": 1, "failed": 0 } }).to_string(),
            );
        }
        if asked.method == "DELETE" {
            *open.lock().unwrap() -= 1;
            return Reply::json("{\"succeeded\":true,\"num_freed\":1}");
        }
        if !path.ends_with("/_search") {
            let why =
                r#"{"error":{"root_cause":[],"type":"illegal_argument_exception","reason":"no handler"},"status":400}"#;
            return Reply::of(400, "application/json", why);
        }
        let pit = body.get("pit").is_some();
        assert_eq!(pit, path == "/_search", "an index is named where there is no point in time, and only there");
        let filter = body.pointer("/query/bool/filter").and_then(Value::as_array).unwrap();
        let range = &filter[0]["range"]["@timestamp"];
        let millisecond = |name: &str| range[name].as_str().unwrap().parse::<Timestamp>().unwrap().as_millisecond();
        let (from, to) = (millisecond("gte"), millisecond("lte"));
        let fits = |source: &Value| {
            filter[1..]
                .iter()
                .filter_map(|filter| filter.get("term")?.as_object()?.iter().next())
                .all(|(field, wanted)| source.pointer(&format!("/{}", field.replace('.', "/"))) == Some(wanted))
        };
        let mut found: Vec<(usize, &(i64, Value))> =
            documents.iter().enumerate().filter(|(_, (at, source))| (from..=to).contains(at) && fits(source)).collect();
        found.sort_by_key(|(number, (at, _))| (std::cmp::Reverse(*at), *number));
        let exact = pit && ways == Ways::Elasticsearch;
        if let Some(after) = body["search_after"].as_array() {
            assert!(exact && after.len() == 2, "{body}");
            let after = (-after[0].as_i64().unwrap(), after[1].as_u64().unwrap());
            found.retain(|(number, (at, _))| (-at * 1_000_000, *number as u64) > after);
        }
        found.truncate(usize::try_from(body["size"].as_u64().unwrap()).unwrap());
        let hits: Vec<Value> = found
            .into_iter()
            .map(|(number, (at, source))| {
                let mut sort = vec![json!(at * 1_000_000)];
                sort.extend(exact.then(|| json!(number)));
                json!({ "_index": "logs-1", "_id": format!("d{number}"), "_score": null, "_source": source, "sort": sort })
            })
            .collect();
        let mut answer = json!({
            "took": 3, "timed_out": false, "_shards": { "total": 1, "successful": 1, "skipped": 0, "failed": 0 },
            "hits": { "max_score": null, "hits": hits }
        });
        if pit {
            answer["pit_id"] = json!("p1");
        }
        Reply::json(answer.to_string())
    }
}

const START: i64 = 1_795_340_000_000;

async fn read(server: &Canned, limit: usize) -> Result<Documents, NoAnswer> {
    let system = System {
        client: Client::default(),
        url: url::Url::parse(&server.url()).unwrap(),
        headers: Vec::new(),
        secret_headers: Vec::new(),
    };
    let window = Window::new(
        Timestamp::from_millisecond(START).unwrap(),
        Timestamp::from_millisecond(START + 10_000_000).unwrap(),
    );
    let deadline = Instant::now() + Duration::from_secs(30);
    let (index, time_field, fields) = ("logs-*,x", "@timestamp", &["message"][..]);
    documents(&system, Span { index, time_field, filter: &[], fields, window, limit, deadline }).await
}

#[tokio::test]
async fn every_document_is_read_once_in_each_server_s_way() {
    // Twelve thousand over a thousand instants, and three thousand at one.
    let mut all: Vec<(i64, Value)> =
        (0..12_000).map(|n| (START + n / 12 * 1_000, json!({ "message": format!("line {n}") }))).collect();
    all.extend((0..3_000).map(|n| (START + 500_000, json!({ "message": format!("burst {n}") }))));
    for ways in [Ways::Elasticsearch, Ways::OpenSearch, Ways::Neither] {
        let server = Canned::start(server(ways, all.clone())).await;
        let documents = read(&server, 20_000).await.unwrap();
        assert_eq!((documents.found.len(), &documents.incomplete), (15_000, &None), "{ways:?}");
        let distinct: HashSet<&String> = documents.found.iter().map(|found| &found.fields["message"]).collect();
        assert_eq!(distinct.len(), 15_000, "{ways:?}");
        assert!(documents.found.is_sorted_by_key(|document| document.at));
        let asked = server.asked();
        let deleted = asked.iter().filter(|asked| asked.method == "DELETE").count();
        assert_eq!(deleted, usize::from(ways != Ways::Neither), "what was opened is closed: {ways:?}");
        assert!(asked[0].target.starts_with("/logs-%2A,x/_search"), "{}", asked[0].target);
        let few = read(&server, 100).await.unwrap();
        assert_eq!((few.found.len(), few.incomplete.as_deref()), (100, Some("more than 100 lines")));
        assert_eq!(few.found[99].at, (START + 999_000) * 1_000_000, "the newest are read");
    }
}

#[tokio::test]
async fn what_fits_one_page_needs_no_point_in_time_and_one_instant_has_an_end() {
    let documents: Vec<_> = (0..50).map(|n| (START + n, json!({ "message": "x" }))).collect();
    let small = Canned::start(server(Ways::Elasticsearch, documents)).await;
    assert_eq!(read(&small, 20_000).await.unwrap().found.len(), 50);
    assert_eq!(small.asked().len(), 1);
    let documents: Vec<_> = (0..6_000).map(|_| (START + 7, json!({ "message": "x" }))).collect();
    let burst = Canned::start(server(Ways::Neither, documents)).await;
    let read = read(&burst, 20_000).await.unwrap();
    assert!(read.incomplete.unwrap().contains("at one instant") && burst.asked().len() < 10);
}

/// A published answer of a search, with this put into it.
pub(crate) fn published(more: &str, hits: &str) -> String {
    format!(r#"{{"took":30,{more}"hits":{{"total":{{"value":1,"relation":"eq"}},"max_score":null,"hits":[{hits}]}}}}"#)
}

#[tokio::test]
async fn an_answer_that_is_not_whole_is_none() {
    let shards = r#""_shards":{"total":5,"successful":5,"skipped":0,"failed":0},"#;
    let fine = format!("\"timed_out\":false,{shards}");
    let hit = |sort: &str| format!(r#"{{"_index":"logs","_id":"1","_source":{{"message":"x"}},"sort":[{sort}]}}"#);
    for (body, part) in [
        (published(&format!("\"timed_out\":true,{shards}"), ""), "timed_out"),
        (published(&format!("\"terminated_early\":true,{fine}"), ""), "terminated_early"),
        (
            published(
                r#""timed_out":false,"_shards":{"total":5,"successful":3,"skipped":0,"failed":2,"failures":[{"shard":0,"index":"logs","node":"n","reason":{"type":"exception","reason":"disk \u001b[2Jgone"}}]},"#,
                "",
            ),
            "2 of 5 shards failed: disk \\u{1b}[2Jgone",
        ),
        (
            published(&format!("\"_clusters\":{{\"total\":3,\"successful\":2,\"skipped\":1}},{fine}"), ""),
            "1 of 3 clusters",
        ),
        (published(&fine, &hit("")), "without its time"),
        (published(&fine, &hit("\"yesterday\"")), "without its time"),
        (published(&fine, &hit("1")), "not asked for"),
        (published(&fine, r#"{"_index":"logs","_id":"1","sort":[1],"_source":7"#), "not an answer"),
        (published(shards, ""), "timed_out"),
        ("<html>".to_owned(), "not an answer"),
        ("{}".to_owned(), "not an answer"),
    ] {
        let (reply, shown) = (Reply::json(body.clone()), body);
        let server = Canned::start(move |_| reply.clone()).await;
        let error = read(&server, 100).await.unwrap_err().to_string();
        assert!(error.contains(part), "{shown}: {error}");
    }
    for (status, body, part) in [
        (
            404,
            r#"{"error":{"root_cause":[{"type":"index_not_found_exception","reason":"no such index [x]"}],"type":"index_not_found_exception","reason":"no such index [x]"},"status":404}"#,
            "404: no such index [x]",
        ),
        (
            401,
            r#"{"error":{"root_cause":[{"type":"security_exception","reason":"missing authentication credentials"}]},"status":401}"#,
            "401: missing",
        ),
        (403, r#"{"message":"not for you"}"#, "403: not for you"),
        (502, "<html>bad gateway", "502: <html>bad gateway"),
    ] {
        let server = Canned::start(move |_| Reply::of(status, "application/json", body)).await;
        let error = read(&server, 100).await.unwrap_err().to_string();
        assert!(error.starts_with(part), "{body}: {error}");
    }
}

#[tokio::test]
async fn times_come_in_every_published_form() {
    let at = START + 1_234;
    for (sort, expected) in [
        (at.to_string(), at * 1_000_000),
        ((at * 1_000_000 + 5).to_string(), at * 1_000_000 + 5),
        (format!("\"{}\"", Timestamp::from_millisecond(at).unwrap()), at * 1_000_000),
    ] {
        let hit = format!(
            r#"{{"_index":"l","_id":"1","_source":{{"log":{{"level":"error"}},"message":["a","b"],"n":1,"x":null}},"sort":[{sort},7]}}"#
        );
        let fine = r#""timed_out":false,"_shards":{"total":1,"successful":1,"failed":0},"#;
        let reply = Reply::json(published(fine, &hit));
        let server = Canned::start(move |_| reply.clone()).await;
        let read = read(&server, 100).await.unwrap();
        let fields = [("log.level", "error"), ("message", "a"), ("n", "1")];
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(read.found, [Document { at: expected, fields }]);
    }
}
