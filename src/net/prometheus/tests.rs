//! Answers as servers give them, whole and broken, over real sockets.

use super::*;
use crate::net::canned::{Canned, Reply};

fn server(canned: &Canned) -> Server {
    Server {
        client: Client::default(),
        url: canned.url().parse().unwrap(),
        headers: Vec::new(),
        secret_headers: Vec::new(),
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

async fn answered(reply: Reply) -> Result<Answer, NoAnswer> {
    let canned = Canned::start(move |_| reply.clone()).await;
    server(&canned).instant("up", at(1_795_340_737_255), soon()).await
}

#[tokio::test]
async fn every_shape_of_answer_is_read() {
    let vector = r#"{"status":"success","data":{"resultType":"vector","result":[
        {"metric":{"__name__":"up","job":"a\"b"},"value":[1795340737.255,"1"]},
        {"metric":{},"value":[1795340737,"+Inf"]},{"metric":{"x":"1"},"value":[1795340737,"NaN"]}]}}"#;
    let Data::Vector(series) = answered(Reply::json(vector)).await.unwrap().data else { panic!("a vector") };
    assert_eq!(series[0].labels["job"], "a\"b");
    assert_eq!(series[0].points, [Point { at: 1_795_340_737.255, value: 1.0 }]);
    assert_eq!(series[1].points[0].value, f64::INFINITY);
    assert!(series[2].points[0].value.is_nan());

    let matrix = r#"{"status":"success","data":{"result":[{"metric":{},"values":[[1,"2.5"],[2.5,"-Inf"]]}],"resultType":"matrix"}}"#;
    let Data::Matrix(series) = answered(Reply::json(matrix)).await.unwrap().data else { panic!("a matrix") };
    assert_eq!(series[0].points, [Point { at: 1.0, value: 2.5 }, Point { at: 2.5, value: f64::NEG_INFINITY }]);

    let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1795340737.373,"7e-3"]}}"#;
    assert_eq!(
        answered(Reply::json(scalar)).await.unwrap().data,
        Data::Scalar(Point { at: 1_795_340_737.373, value: 0.007 })
    );
    let text = r#"{"status":"success","data":{"resultType":"string","result":[1,"hello"]}}"#;
    assert_eq!(answered(Reply::json(text)).await.unwrap().data, Data::Text("hello".to_owned()));
    let empty = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    assert_eq!(answered(Reply::json(empty)).await.unwrap().data, Data::Vector(Vec::new()));
    let histogram =
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{"count":"1"}]}]}}"#;
    let Data::Vector(series) = answered(Reply::json(histogram)).await.unwrap().data else { panic!("a vector") };
    assert!(series[0].histograms && series[0].points.is_empty());
}

#[tokio::test]
async fn warnings_and_partial_answers_are_told_apart() {
    for (extra, warnings, infos, partial) in [
        ("", 0, 0, false),
        (r#","warnings":["one store didn't answer"]"#, 1, 0, false),
        (r#","infos":["metric might not be a counter"]"#, 0, 1, false),
        (r#","isPartial":true"#, 0, 0, true),
        (r#","isPartial":false,"warnings":null"#, 0, 0, false),
    ] {
        let body = format!(r#"{{"status":"success"{extra},"data":{{"resultType":"vector","result":[]}}}}"#);
        let answer = answered(Reply::json(body)).await.unwrap();
        assert_eq!((answer.warnings.len(), answer.infos.len(), answer.partial), (warnings, infos, partial), "{extra}");
    }
    let inside = r#"{"status":"success","data":{"resultType":"vector","result":[],"isPartial":true}}"#;
    assert!(answered(Reply::json(inside)).await.unwrap().partial);
}

#[tokio::test]
async fn what_is_not_an_answer_is_an_error_with_its_reason() {
    let bad_query =
        r#"{"status":"error","errorType":"bad_data","error":"1:5: parse error: unclosed left parenthesis"}"#;
    for (reply, part) in [
        (Reply::of(400, "application/json", bad_query), "400: 1:5: parse error: unclosed left parenthesis"),
        (Reply::json(r#"{"status":"error"}"#), "without a reason"),
        (Reply::of(503, "text/html", "<html>down</html>"), "503: <html>down</html>"),
        (Reply::of(502, "text/plain", ""), "502"),
        (Reply::of(200, "text/html", "<html>sign in</html>"), "not an answer of its query API"),
        (Reply::json(""), "not an answer"),
        (Reply::json("{}"), "not an answer"),
        (Reply::json(r#"{"status":"success"}"#), "success without data"),
        (Reply::json(r#"{"status":"maybe","data":{"resultType":"vector","result":[]}}"#), "not an answer"),
        (Reply::json(r#"{"status":"success","data":{"resultType":"tensor","result":[]}}"#), "unknown result type"),
        (Reply::json(r#"{"status":"success","data":{"resultType":"scalar","result":[]}}"#), "not a scalar"),
        (Reply::json(r#"{"status":"success","data":{"resultType":"vector","result":[1,"2"]}}"#), "not a vector"),
        (
            Reply::json(r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{}}]}}"#),
            "without its value",
        ),
        (
            Reply::json(
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"x"]}]}}"#,
            ),
            "not a number",
        ),
        (
            Reply::json(
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"1e999"]}]}}"#,
            ),
            "out of range",
        ),
        (
            Reply::json(
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,2]}]}}"#,
            ),
            "not an answer",
        ),
        (Reply { cut: 5, ..Reply::json(r#"{"status":"success"}"#) }, ""),
    ] {
        let shown = format!("{reply:?}");
        let error = answered(reply).await.expect_err(&shown).to_string();
        assert!(error.contains(part), "{shown}: {error}");
    }
}

#[tokio::test]
async fn hostile_words_of_a_server_are_cleaned() {
    let body = "{\"status\":\"error\",\"error\":\"\\u001b[2Jgone\\n\\u202e\"}";
    let error = answered(Reply::of(400, "application/json", body)).await.unwrap_err().to_string();
    assert_eq!(error, "400: \\u{1b}[2Jgone \\u{202e}");
}

#[tokio::test]
async fn more_than_we_read_is_an_error_and_not_a_part() {
    let series = |count: usize| vec![r#"{"metric":{},"value":[1,"1"]}"#; count].join(",");
    let vector = |rows: String| format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{rows}]}}}}"#);
    let full = answered(Reply::json(vector(series(SERIES_LIMIT)))).await.unwrap();
    assert!(matches!(full.data, Data::Vector(series) if series.len() == SERIES_LIMIT));
    for (body, what) in [
        (vector(series(SERIES_LIMIT + 1)), "series"),
        (
            vector(format!(r#"{{"metric":{{}},"values":[{}]}}"#, vec![r#"[1,"1"]"#; POINTS_LIMIT + 1].join(","))),
            "points",
        ),
        (vector(" ".repeat(BODY_LIMIT)), "bytes of answer"),
    ] {
        let error = answered(Reply::json(body)).await.unwrap_err();
        assert!(matches!(error, NoAnswer::TooMuch { what: w, .. } if w == what), "{error}");
    }
}

#[tokio::test]
async fn the_question_is_a_form_with_its_time() {
    let empty = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
    let canned = Canned::start(move |_| Reply::json(empty)).await;
    let mut server = server(&canned);
    server.url.set_path("/prom/");
    server.url.set_query(Some("dedup=true"));
    server.headers.push(("x-scope-orgid".to_owned(), "t1".to_owned()));
    server.secret_headers.push(("authorization".to_owned(), Secret::new("Bearer s3cret".to_owned())));
    let query = "sum(rate(x{a=\"b&c=d+e\"}[5m])) # ü";
    server.instant(query, at(1_500), soon()).await.unwrap();
    server.range(query, Window::new(at(-500), at(60_000)), Duration::from_millis(1_500), soon()).await.unwrap();
    let asked = canned.asked();
    let field = |index: usize, name: &str| asked[index].field(name).unwrap_or_default();
    assert_eq!((asked[0].method.as_str(), asked[0].target.as_str()), ("POST", "/prom/api/v1/query?dedup=true"));
    assert_eq!((field(0, "query").as_str(), field(0, "time").as_str()), (query, "1.500"));
    assert_eq!(asked[1].target, "/prom/api/v1/query_range?dedup=true");
    assert_eq!(
        (field(1, "start"), field(1, "end"), field(1, "step")),
        ("-0.500".into(), "60.000".into(), "1.500".into())
    );
    for asked in &asked {
        assert_eq!(asked.headers["x-scope-orgid"], "t1");
        assert_eq!(asked.headers["authorization"], "Bearer s3cret");
        assert!(asked.field("timeout").is_some_and(|timeout| timeout.ends_with("ms")));
    }
}

#[tokio::test]
async fn a_proxy_that_forbids_post_is_asked_by_get() {
    let empty = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    let canned =
        Canned::start(
            move |asked| {
                if asked.method == "POST" { Reply::of(405, "text/plain", "no") } else { Reply::json(empty) }
            },
        )
        .await;
    server(&canned).instant("a + b", at(0), soon()).await.unwrap();
    let asked = canned.asked();
    assert_eq!((asked.len(), asked[1].method.as_str()), (2, "GET"));
    assert_eq!(asked[1].field("query").as_deref(), Some("a + b"));
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let canned = Canned::start(|_| Reply::silent()).await;
    let deadline = Instant::now() + Duration::from_millis(200);
    let error = server(&canned).instant("up", at(0), deadline).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let timeout = r#"{"status":"error","errorType":"timeout","error":"query timed out in expression evaluation"}"#;
    assert!(answered(Reply::of(503, "application/json", timeout)).await.unwrap_err().is_timeout());
}
