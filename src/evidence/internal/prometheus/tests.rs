//! What the kind makes of a server's answers, over real sockets; and what it refuses when it is read.

use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::model::observation::{Observation, Seen, UnknownKind};
use crate::model::params::Params;
use crate::model::window::{Moment, Window};
use crate::net::canned::{Asked, Canned, Reply};
use crate::yaml;

const NOW: i64 = 1_795_340_700;

fn second(at: i64) -> Timestamp {
    Timestamp::from_second(at).unwrap()
}

fn ask(moment: Moment) -> Ask {
    Ask {
        now: second(NOW),
        window: Window::new(second(NOW - 900), second(NOW - 300)),
        moment,
        since: second(NOW - 900),
        params: Params::default(),
        customer: None,
        attempt: 1,
        usual: Vec::new(),
        deadline: tokio::time::Instant::now() + Duration::from_secs(10),
        memory: Arc::default(),
        check: "error-ratio".into(),
        tools: Arc::default(),
    }
}

fn probe(text: &str) -> Result<Arc<dyn Probe>, String> {
    yaml::parse("p.yaml", text).and_then(|node| read(&node)).map_err(|error| error.to_string())
}

fn vector(rows: &str) -> Reply {
    Reply::json(format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{rows}]}}}}"#))
}

fn one(value: &str) -> Reply {
    vector(&format!(r#"{{"metric":{{}},"value":[{NOW},"{value}"]}}"#))
}

/// A Prometheus whose samples are 12 s old and whose one target of each job is up; `main` answers everything else.
async fn server(main: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Canned {
    Canned::start(move |asked| {
        let query = asked.field("query").unwrap_or_default();
        match () {
            () if query.starts_with("time() - max(timestamp(") => one("12"),
            () if query.starts_with("up{job=") => one("1"),
            () => main(asked),
        }
    })
    .await
}

async fn look(server: &Canned, more: &str, ask: &Ask) -> Observation {
    probe(&format!("url: {}\nquery: 'sum(rate(x{{job=\"shop\"}}[5m]))'\n{more}", server.url()))
        .unwrap()
        .observe(ask)
        .await
}

fn blind(observation: &Observation) -> (UnknownKind, &str) {
    match &observation.seen {
        Seen::Blind(unknown) => (unknown.kind, &unknown.why),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_series_now_is_a_value_with_its_age() {
    let server = server(|_| one("0.25")).await;
    let seen = look(&server, "", &ask(Moment::Now)).await;
    assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
    for (name, expected) in
        [("value", 0.25), ("series", 1.0), ("minimum", 0.25), ("maximum", 0.25), ("age_seconds", 12.0)]
    {
        assert_eq!(seen.measures.number(name), Some(expected), "{name}");
    }
    assert_eq!(seen.data_until, Some(second(NOW - 12)));
    assert!(seen.points.is_empty() && seen.window.is_none());
    assert_eq!(
        seen.reproduce.unwrap(),
        format!(
            "curl -sS -G {}/api/v1/query --data-urlencode 'query=sum(rate(x{{job=\"shop\"}}[5m]))' --data-urlencode time=2026-11-22T09:45:00Z",
            server.url()
        )
    );
    let main: Vec<Asked> =
        server.asked().into_iter().filter(|a| a.field("query").unwrap().starts_with("sum")).collect();
    assert_eq!(main.len(), 1);
    assert_eq!(main[0].field("time").unwrap(), format!("{NOW}.000"));
}

#[tokio::test]
async fn a_window_has_points_and_its_extremes() {
    let server = server(|asked| {
        assert!(asked.target.ends_with("/query_range"), "{asked:?}");
        let (start, end): (f64, f64) =
            (asked.field("start").unwrap().parse().unwrap(), asked.field("end").unwrap().parse().unwrap());
        let step: f64 = asked.field("step").unwrap().parse().unwrap();
        let count = ((end - start) / step).round() as usize + 1;
        let points: Vec<String> = (0..count)
            .map(|n| format!("[{},\"{}\"]", start + step * n as f64, if n == 7 { 0.9 } else { 0.1 }))
            .collect();
        Reply::json(format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{}},"values":[{}]}}]}}}}"#,
            points.join(",")
        ))
    })
    .await;
    let seen = look(&server, "", &ask(Moment::Then)).await;
    assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
    assert_eq!(seen.points.len(), 31);
    assert_eq!(seen.points[7].number("value"), Some(0.9));
    assert_eq!(seen.measures.number("value"), Some(0.1));
    assert_eq!((seen.measures.number("minimum"), seen.measures.number("maximum")), (Some(0.1), Some(0.9)));
    assert_eq!(seen.window, Some(Window::new(second(NOW - 900), second(NOW - 300))));
    // A declared step that would ask for too much is widened, and the companions look at the window's end.
    let seen = look(&server, "step: 1s", &ask(Moment::Then)).await;
    assert_eq!(seen.points.len(), 55);
    let companion = server.asked().into_iter().find(|a| a.field("query").unwrap().starts_with("time()")).unwrap();
    assert_eq!(companion.field("time").unwrap(), format!("{}.000", NOW - 300));
}

#[tokio::test]
async fn a_window_with_holes_is_unknown_but_shows_what_there_is() {
    let matrix = |points: usize| {
        move |_: &Asked| {
            let points: Vec<String> = (0..points).map(|n| format!("[{},\"1\"]", NOW - 900 + 20 * n as i64)).collect();
            Reply::json(format!(
                r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{}},"values":[{}]}}]}}}}"#,
                points.join(",")
            ))
        }
    };
    let holes = server(matrix(20)).await;
    let seen = look(&holes, "", &ask(Moment::Then)).await;
    let (kind, why) = blind(&seen);
    assert!(kind == UnknownKind::Incomplete && why.ends_with("data at 20 of 31 points of the window"), "{why}");
    assert_eq!(seen.points.len(), 20);
    let healthy = "absent_means: { healthy: true, because: only errors are counted }";
    assert_eq!(look(&holes, healthy, &ask(Moment::Then)).await.seen, Seen::Answered);
    let nearly = server(matrix(29)).await;
    let seen = look(&nearly, "", &ask(Moment::Then)).await;
    assert_eq!((seen.seen, seen.notes), (Seen::Answered, vec!["data at 29 of 31 points of the window".to_owned()]));
}

#[tokio::test]
async fn no_answer_worth_the_name_is_unknown() {
    let partial = r#"{"status":"success","isPartial":true,"data":{"resultType":"vector","result":[{"metric":{},"value":[1,"1"]}]}}"#;
    let warned = r#"{"status":"success","warnings":["store-1 is down"],"data":{"resultType":"vector","result":[{"metric":{},"value":[1,"1"]}]}}"#;
    let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
    let text = r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#;
    let histogram =
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{}]}]}}"#;
    let bad_query = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
    let slow = r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#;
    for (reply, kind, part) in [
        (vector(""), UnknownKind::Incomplete, "no series"),
        (one("NaN"), UnknownKind::Incomplete, "only NaN"),
        (Reply::json(partial), UnknownKind::Incomplete, "partial"),
        (Reply::json(warned), UnknownKind::Incomplete, "store-1 is down"),
        (Reply::json(matrix), UnknownKind::Unintelligible, "range vector"),
        (Reply::json(text), UnknownKind::Unintelligible, "text"),
        (Reply::json(histogram), UnknownKind::Unintelligible, "native histograms"),
        (Reply::of(400, "application/json", bad_query), UnknownKind::Unintelligible, "answered 400: parse error"),
        (Reply::of(503, "application/json", slow), UnknownKind::TimedOut, "timed out"),
        (Reply::of(503, "text/html", "<html>"), UnknownKind::Unreachable, "answered 503"),
        (Reply::of(401, "text/plain", "who?"), UnknownKind::Refused, "answered 401: who?"),
        (Reply::of(200, "text/html", "<html>login</html>"), UnknownKind::Unintelligible, "not an answer"),
        (Reply { cut: 9, ..one("1") }, UnknownKind::Unreachable, "127.0.0.1"),
    ] {
        let shown = format!("{reply:?}");
        let server = server(move |_| reply.clone()).await;
        let seen = look(&server, "", &ask(Moment::Now)).await;
        let (found, why) = blind(&seen);
        assert!(found == kind && why.contains(part), "{shown}: {found:?} {why}");
        assert!(seen.reproduce.is_some());
    }
    let silent = server(|_| Reply::silent()).await;
    let mut short = ask(Moment::Now);
    short.deadline = tokio::time::Instant::now() + Duration::from_millis(300);
    let seen =
        tokio::time::timeout_at(short.deadline, look(&silent, "", &short)).await.expect("before the caller gives up");
    assert_eq!(blind(&seen).0, UnknownKind::TimedOut);
}

#[tokio::test]
async fn nobody_there_is_unknown_too() {
    let gone = server(|_| one("1")).await;
    let url = gone.url();
    drop(gone);
    let refused = async || {
        let seen = probe(&format!("url: {url}\nquery: up")).unwrap().observe(&ask(Moment::Now)).await;
        blind(&seen).0
    };
    let end = tokio::time::Instant::now() + Duration::from_secs(10);
    while refused().await != UnknownKind::Unreachable {
        assert!(tokio::time::Instant::now() < end);
    }
}

/// The scrape of the service is dead while Prometheus itself answers well.
#[tokio::test]
async fn a_dead_scrape_is_never_health() {
    // (series of the query, age, up) → outcome without and with `absent_means: healthy`
    for (value, age, up, without, with) in [
        ("0", "12", "1", None, None),
        ("", "", "1", Some(UnknownKind::Incomplete), None),
        ("", "", "0", Some(UnknownKind::Incomplete), Some(UnknownKind::Stale)),
        ("", "", "", Some(UnknownKind::Incomplete), Some(UnknownKind::Stale)),
        // `… or vector(0)`: a value though nothing is written any more.
        ("0", "", "1", Some(UnknownKind::Stale), None),
        ("0", "", "0", Some(UnknownKind::Stale), Some(UnknownKind::Stale)),
        ("0", "7200", "1", Some(UnknownKind::Stale), Some(UnknownKind::Stale)),
    ] {
        let reply = |value: &str| if value.is_empty() { vector("") } else { one(value) };
        let (main, age_reply, up_reply) = (reply(value), reply(age), reply(up));
        let server = Canned::start(move |asked| {
            let query = asked.field("query").unwrap_or_default();
            match () {
                () if query.starts_with("time() - max(timestamp(") => age_reply.clone(),
                () if query == "up{job=\"shop\"}" => up_reply.clone(),
                () => main.clone(),
            }
        })
        .await;
        for (more, expected) in [("", without), ("absent_means: { healthy: true, because: no errors yet }", with)] {
            let seen = look(&server, more, &ask(Moment::Now)).await;
            let found = match &seen.seen {
                Seen::Blind(unknown) => Some(unknown.kind),
                _ => None,
            };
            assert_eq!(found, expected, "{value:?} {age:?} {up:?} {more}: {:?}", seen.seen);
            if expected.is_none() && value.is_empty() {
                assert_eq!(seen.measures.number("series"), Some(0.0));
                assert!(seen.notes[0].contains("healthy here: no errors yet"), "{:?}", seen.notes);
            }
        }
    }
}

#[tokio::test]
async fn companions_that_fail_cost_a_note_and_not_the_answer() {
    let server = Canned::start(|asked| {
        let query = asked.field("query").unwrap_or_default();
        if query.starts_with("sum") { one("1") } else { Reply::of(500, "text/plain", "no") }
    })
    .await;
    let seen = look(&server, "", &ask(Moment::Now)).await;
    assert_eq!((seen.seen.clone(), seen.measures.get("age_seconds")), (Seen::Answered, None));
    assert!(seen.notes[0].contains("could not be asked"), "{:?}", seen.notes);
    let healthy = "absent_means: { healthy: true, because: x }";
    let nothing = Canned::start(|asked| {
        let query = asked.field("query").unwrap_or_default();
        if query.starts_with("sum") { vector("") } else { Reply::of(500, "text/plain", "no") }
    })
    .await;
    assert_eq!(blind(&look(&nothing, healthy, &ask(Moment::Now)).await).0, UnknownKind::Incomplete);
}

#[tokio::test]
async fn targets_that_are_down_beside_others_are_noted() {
    let server = Canned::start(|asked| {
        let query = asked.field("query").unwrap_or_default();
        if query.starts_with("up{") {
            vector(r#"{"metric":{"instance":"a"},"value":[1,"1"]},{"metric":{"instance":"b"},"value":[1,"0"]}"#)
        } else {
            one("1")
        }
    })
    .await;
    let seen = look(&server, "", &ask(Moment::Now)).await;
    assert_eq!(seen.notes, ["1 of 2 targets of job shop are up"]);
}

#[tokio::test]
async fn the_usual_is_asked_from_the_same_source_earlier() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen_times = Arc::clone(&times);
    let server = server(move |asked| {
        let time: f64 = asked.field("time").unwrap().parse().unwrap();
        let hours = (NOW as f64 - time) / 3_600.0;
        seen_times.lock().unwrap().push(hours as i64);
        // 23 h ago there was nothing, 47 h ago it was broken.
        match hours as i64 {
            23 => vector(""),
            47 => Reply::of(500, "text/plain", "no"),
            hours => one(&format!("{hours}")),
        }
    })
    .await;
    let mut ask = ask(Moment::Now);
    ask.usual = vec!["value".to_owned(), "series".to_owned()];
    let seen = look(&server, "", &ask).await;
    assert_eq!(seen.past["value"], [1.0, 2.0, 3.0, 24.0, 25.0, 48.0]);
    assert_eq!(seen.past["series"], [1.0; 6]);
    let sorted = || {
        let mut times = std::mem::take(&mut *times.lock().unwrap());
        times.sort_unstable();
        times
    };
    assert_eq!(sorted(), [0, 1, 2, 3, 23, 24, 25, 47, 48]);
    // What lies within the trouble is no measure of what is usual.
    ask.since = second(NOW - 3 * 3_600);
    look(&server, "", &ask).await;
    assert_eq!(sorted(), [0, 3, 23, 24, 25, 47, 48]);
}

#[tokio::test]
async fn a_ticket_stays_inside_its_label() {
    let server = server(|_| one("1")).await;
    let probe = probe(&format!("url: {}\nquery: 'sum(x{{customer=\"{{{{ customer }}}}\"}})'", server.url())).unwrap();
    assert_eq!(probe.params(), ["customer"]);
    assert_eq!(blind(&probe.observe(&ask(Moment::Now)).await).0, UnknownKind::MissingParam);
    let mut ask = ask(Moment::Now);
    ask.params.set("customer", "a\"} or vector(0) #", true);
    assert_eq!(probe.observe(&ask).await.seen, Seen::Answered);
    let queries: Vec<String> = server.asked().iter().map(|asked| asked.field("query").unwrap()).collect();
    assert!(queries.contains(&r#"sum(x{customer="a\"} or vector(0) #"})"#.to_owned()), "{queries:?}");
    assert!(
        queries.contains(&r#"time() - max(timestamp(x{customer="a\"} or vector(0) #"}))"#.to_owned()),
        "{queries:?}"
    );
}

#[test]
fn grids_end_where_their_window_ends() {
    use super::observe::Grid;
    for (length, step, points) in [(0, None, 1), (20, None, 2), (600, None, 31), (86_400, None, 31), (600, Some(1), 55)]
    {
        let window = Window::new(second(NOW - length), second(NOW));
        let grid = Grid::of(window, step.map(Duration::from_secs));
        assert_eq!(grid.points, points, "{length} {step:?}");
        assert_eq!(grid.to(), second(NOW));
    }
    let month = Window::new(second(NOW - 30 * 86_400), second(NOW));
    assert!(Grid::of(month, None).points <= 60);
}

#[test]
fn what_is_wrong_is_refused_at_its_place() {
    for (text, part) in [
        ("query: up", "url"),
        ("url: http://a", "query"),
        ("url: http://a\nquery: ''", "p.yaml:2:8: the query is empty"),
        ("url: http://a\nquery: up\nsteps: 5s", "step"),
        ("url: http://a\nquery: up\nstep: 5", "no unit"),
        ("url: http://a\nquery: up\nstep: 10ms", "p.yaml:3:7: the step is shorter"),
        ("url: http://a\nquery: 'x[{{ range }}]'", "can't stand"),
        ("url: http://a\nquery: up\nabsent_means: healthy", "p.yaml:3:15"),
        ("url: http://a\nquery: up\nabsent_means: { healthy: true }", "because"),
        ("url: http://a\nquery: up\nabsent_means: { healthy: true, because: ' ' }", "needs the reason"),
        ("url: http://a\nquery: up\nbearer_token: abc", "p.yaml:3:15: a secret is not written here"),
    ] {
        let error = probe(text).map(|_| ()).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
    let probe = probe("url: http://Prom:9090/x\nquery: up\nbearer_token: { env: T }").unwrap();
    assert_eq!((probe.system().as_str(), probe.secrets().len()), ("prom:9090", 1));
}
