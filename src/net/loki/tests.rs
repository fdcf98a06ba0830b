//! A Loki that keeps to its API over real sockets, the answers that a real one gave, and answers that no Loki gives.

use std::time::Duration;

use serde_json::{Value as Json, json};
use url::Url;

use super::*;
use crate::net::canned::{Asked, Canned, Reply};
use crate::net::http::Client;

const FROM: i64 = 1_795_340_000;

fn window(seconds: i64) -> Window {
    Window::new(Timestamp::from_second(FROM).unwrap(), Timestamp::from_second(FROM + seconds).unwrap())
}

fn number(asked: &Asked, name: &str) -> i64 {
    asked.field(name).unwrap().parse().unwrap()
}

/// Answers as Loki does from these lines (seconds after the beginning, stream, text); it allows so many at once.
fn loki(lines: Vec<(i64, &'static str, String)>, most: usize) -> impl Fn(&Asked) -> Reply + Send + Sync + 'static {
    move |asked| {
        assert!(asked.target.starts_with("/x/loki/api/v1/query_range?"), "{asked:?}");
        let (start, end) = (number(asked, "start"), number(asked, "end"));
        let limit = usize::try_from(number(asked, "limit")).unwrap();
        if limit > most {
            let why =
                format!("max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {most})");
            return Reply::of(400, "text/plain; charset=utf-8", why);
        }
        let mut fit: Vec<(i64, &str, &String)> = lines
            .iter()
            .map(|(second, stream, line)| ((FROM + second) * 1_000_000_000, *stream, line))
            .filter(|(at, ..)| (start..end).contains(at))
            .collect();
        fit.sort_by_key(|(at, ..)| *at);
        if asked.field("direction").unwrap() == "backward" {
            fit.reverse();
        }
        fit.truncate(limit);
        let mut streams: BTreeMap<&str, Vec<Json>> = BTreeMap::new();
        for (at, stream, line) in fit {
            streams.entry(stream).or_default().push(json!([at.to_string(), line]));
        }
        let rows: Vec<Json> = streams
            .into_iter()
            .map(|(stream, values)| json!({ "stream": { "app": stream, "level": "info" }, "values": values }))
            .collect();
        Reply::json(json!({"status":"success","data":{"resultType":"streams","result":rows,"stats":{}}}).to_string())
    }
}

async fn read(server: &Canned, limit: usize, direction: Direction) -> Result<Entries, NoAnswer> {
    let system = System {
        client: Client::default(),
        url: Url::parse(&format!("{}/x/", server.url())).unwrap(),
        headers: vec![("x-scope-orgid".to_owned(), "shop".to_owned())],
        secret_headers: Vec::new(),
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    lines(&system, Span { query: "{app=\"shop\"}", window: window(10_000), limit, direction, deadline }).await
}

#[tokio::test]
async fn every_line_of_the_span_is_read_once_however_small_the_pages_are() {
    // Three lines a second, of two streams, and a hundred in one second.
    let mut all: Vec<(i64, &'static str, String)> =
        (0..900).map(|n| (n / 3, if n % 3 == 0 { "a" } else { "b" }, format!("line {n}"))).collect();
    all.extend((0..100).map(|n| (150, "a", format!("burst {n}"))));
    for (most, direction) in [(5_000, Direction::Backward), (150, Direction::Backward), (150, Direction::Forward)] {
        let server = Canned::start(loki(all.clone(), most)).await;
        let entries = read(&server, 5_000, direction).await.unwrap();
        assert_eq!((entries.lines.len(), &entries.incomplete), (1_000, &None), "{most} {direction:?}");
        let distinct: HashSet<&String> = entries.lines.iter().map(|entry| &entry.line).collect();
        assert_eq!(distinct.len(), 1_000, "{most} {direction:?}");
        assert!(entries.lines.is_sorted_by_key(|entry| entry.at) && entries.streams.len() == 2);
        for asked in server.asked() {
            assert_eq!(asked.headers["x-scope-orgid"], "shop");
            assert_eq!(asked.field("query").unwrap(), "{app=\"shop\"}");
        }
    }
}

#[tokio::test]
async fn what_is_beyond_the_bound_is_missing_at_the_far_end_and_said() {
    let all: Vec<_> = (0..300).map(|n| (n, "a", format!("line {n}"))).collect();
    for (direction, first, last) in
        [(Direction::Backward, "line 200", "line 299"), (Direction::Forward, "line 0", "line 99")]
    {
        for most in [5_000, 30] {
            let server = Canned::start(loki(all.clone(), most)).await;
            let entries = read(&server, 100, direction).await.unwrap();
            assert_eq!(entries.incomplete.as_deref(), Some("more than 100 lines"), "{direction:?}");
            let ends = (entries.lines[0].line.as_str(), entries.lines[99].line.as_str());
            assert_eq!((entries.lines.len(), ends), (100, (first, last)), "{direction:?} {most}");
        }
    }
    let exactly = Canned::start(loki(all.into_iter().take(100).collect(), 30)).await;
    assert_eq!(read(&exactly, 100, Direction::Backward).await.unwrap().incomplete, None);
}

#[tokio::test]
async fn more_lines_at_one_instant_than_a_page_holds_are_not_read_for_ever() {
    let all: Vec<_> = (0..300).map(|n| (7, "a", format!("line {n}"))).collect();
    let server = Canned::start(loki(all, 50)).await;
    let entries = read(&server, 5_000, Direction::Backward).await.unwrap();
    assert!(entries.incomplete.unwrap().contains("at one instant"));
    assert!(server.asked().len() < 10);
    // Nor is a server that repeats itself.
    let same = format!("[\"{}000000000\",\"x\"]", FROM + 5);
    let values = vec![same; 5_000].join(",");
    let body = format!(
        "{{\"status\":\"success\",\"data\":{{\"resultType\":\"streams\",\"result\":[{{\"stream\":{{}},\"values\":[{values}]}}]}}}}"
    );
    let server = Canned::start(move |_| Reply::json(body.clone())).await;
    let entries = read(&server, 100_000, Direction::Backward).await.unwrap();
    assert!(entries.incomplete.is_some() && server.asked().len() < 10);
}

/// What a real Loki answered.
fn recorded(name: &str) -> (u16, String, String) {
    let path = format!("{}/tests/fixtures/loki/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let record: Json = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let body = match &record["body"] {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    let status = u16::try_from(record["status"].as_u64().unwrap()).unwrap();
    (status, record["content_type"].as_str().unwrap().to_owned(), body)
}

async fn answered(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Result<Entries, NoAnswer> {
    let reply = Reply::of(status, kind, body);
    let server = Canned::start(move |_| reply.clone()).await;
    read(&server, 1_000, Direction::Backward).await
}

#[tokio::test]
async fn a_real_loki_s_answers_are_read() {
    let (status, kind, body) = recorded("query_range_streams");
    let entries = answered(status, &kind, body).await.unwrap();
    assert_eq!((entries.lines.len(), entries.streams.len()), (5, 5), "each trace id is a stream of its own");
    assert!(entries.lines[0].line.starts_with("level=error msg=\"payment gateway timeout\""), "{entries:?}");
    assert_eq!(entries.streams[entries.lines[0].stream]["detected_level"], "error");
    let (status, kind, body) = recorded("empty_result");
    assert_eq!(answered(status, &kind, body).await.unwrap(), Entries::default());
    for (name, expected) in [
        ("error_limit", "400: max entries limit per query exceeded"),
        ("error_syntax", "400: parse error at line 1, col 16"),
        ("error_range", "400: the query time range exceeds the limit"),
        ("not_found", "404: 404 page not found"),
        ("query_range_matrix", "not an answer of its API"),
        ("query_instant_vector", "not an answer of its API"),
    ] {
        let (status, kind, body) = recorded(name);
        let error = answered(status, &kind, body).await.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{name}: {error}");
    }
}

#[tokio::test]
async fn answers_that_no_loki_gives_are_no_answers() {
    let whole = |values: &str| {
        format!(
            r#"{{"status":"success","data":{{"resultType":"streams","result":[{{"stream":{{"a":"b"}},"values":[{values}]}}]}}}}"#
        )
    };
    let at = |second: i64| format!("{}000000000", FROM + second);
    for (body, part) in [
        ("<html>login</html>".to_owned(), "not an answer of its API"),
        (String::new(), "not an answer"),
        ("{}".to_owned(), "not an answer"),
        (r#"{"status":"success"}"#.to_owned(), "no success"),
        (r#"{"status":"error","data":{"resultType":"streams","result":[]}}"#.to_owned(), "no success"),
        (whole("[\"x\",\"y\"]"), "no number"),
        (whole("[1,\"y\"]"), "not an answer"),
        (whole(&format!("[\"{}\"]", at(1))), "without its line"),
        (whole(&format!("[\"{}\",\"early\"]", at(-1))), "outside of the span"),
        (whole(&format!("[\"{}\",\"late\"]", at(10_001))), "outside of the span"),
        (whole(&vec![format!("[\"{}\",\"\"]", at(1)); ENTRIES_LIMIT + 1].join(",")), "more than 20000"),
        (whole("")[..40].to_owned(), "not an answer"),
        (
            r#"{"status":"success","warnings":["some \u001b[2J shards failed"],"data":{"resultType":"streams","result":[]}}"#
                .to_owned(),
            "some \\u{1b}[2J shards failed",
        ),
    ] {
        let error = answered(200, "application/json", body.clone()).await.unwrap_err().to_string();
        let shown: String = body.chars().take(120).collect();
        assert!(error.contains(part), "{shown}: {error}");
    }
    let metadata = whole(&format!("[\"{}\",\"y\",{{\"structuredMetadata\":{{\"a\":\"b\"}}}}]", at(1)));
    assert_eq!(answered(200, "application/json", metadata).await.unwrap().lines.len(), 1);
}
