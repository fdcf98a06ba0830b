//! `loki` against what a real Loki was recorded to answer, its lines moved into the span that is asked for.

use houston::model::observation::{Seen, UnknownKind};
use serde_json::Value;

use super::looking::{ask, example, look, now, number};
use crate::lab::answers::{Answers, Asked, Reply};
use crate::lab::free_port;

/// The recorded lines, evenly over the span that is asked for. `calm`: with the words of a day without a fault.
fn streams(asked: &Asked, calm: bool) -> Reply {
    assert_eq!(asked.path, "/loki/api/v1/query_range");
    let (status, kind, body) = Answers::recorded("loki/query_range_streams");
    let mut answer: Value = serde_json::from_slice(&body).unwrap();
    let rows = answer["data"]["result"].as_array_mut().unwrap();
    let (start, end): (i64, i64) = (asked.field("start").parse().unwrap(), asked.field("end").parse().unwrap());
    let limit: usize = asked.field("limit").parse().unwrap();
    rows.truncate(limit);
    let step = (end - start) / (rows.len() as i64 + 1);
    for (place, row) in rows.iter_mut().enumerate() {
        let at = start + step * (place as i64 + 1);
        row["values"][0][0] = Value::from(at.to_string());
        if calm {
            row["stream"]["level"] = Value::from("info");
            row["stream"]["detected_level"] = Value::from("info");
            row["values"][0][1] = Value::from("level=info msg=\"checkout ok\" order=1180 dur=87ms");
        }
    }
    (status, kind, answer.to_string().into_bytes())
}

/// True where the span that is asked for reaches to now.
fn is_current(asked: &Asked) -> bool {
    let end: i128 = asked.field("end").parse().unwrap();
    end > now().as_nanosecond() - 600_000_000_000
}

fn outcome(server: &Answers) -> Value {
    example("loki", &[("127.0.0.1:3100", &format!("127.0.0.1:{}", server.port))], "{}")
}

#[test]
fn the_example_tells_a_new_error_from_a_known_one() {
    let known = Answers::start(|asked| streams(asked, false));
    let finding = outcome(&known);
    assert_eq!(finding["outcome"], "good", "{finding}");
    assert_eq!(finding["observed"]["matches"], 5, "{finding}");
    let calm = Answers::start(|asked| streams(asked, true));
    assert_eq!(outcome(&calm)["outcome"], "good");
    let new = Answers::start(|asked| streams(asked, !is_current(asked)));
    let finding = outcome(&new);
    assert_eq!(finding["outcome"], "bad", "{finding}");
    assert!(finding["excerpt"].as_str().unwrap().contains("payment gateway timeout"), "{finding}");
}

#[test]
fn the_example_is_unknown_where_loki_gives_no_whole_answer() {
    for (name, kind) in [
        ("loki/empty_result", "incomplete"),
        ("loki/error_syntax", "unintelligible"),
        ("loki/error_range", "unintelligible"),
        ("loki/error_limit", "unintelligible"),
        ("loki/error_empty_matcher", "unintelligible"),
        ("loki/not_found", "unintelligible"),
        ("loki/query_range_matrix", "unintelligible"),
    ] {
        let server = Answers::start(move |_| Answers::recorded(name));
        let finding = outcome(&server);
        assert_eq!(finding["outcome"], "unknown", "{name}: {finding}");
        assert_eq!(finding["unknown"]["kind"], kind, "{name}: {finding}");
    }
    let finding = example("loki", &[("127.0.0.1:3100", &format!("127.0.0.1:{}", free_port()))], "{}");
    assert_eq!((&finding["outcome"], &finding["unknown"]["kind"]), (&"unknown".into(), &"unreachable".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_window_of_a_ticket_is_the_one_that_is_read() {
    let server = Answers::start(|_| Answers::recorded("loki/query_range_streams"));
    let settings =
        format!("{{ url: \"http://127.0.0.1:{}\", query: '{{app=\"checkout\"}} |= \"timeout\"' }}", server.port);
    let mut then = ask();
    // When it was recorded.
    then.window = houston::model::window::Window::new(
        "2026-11-22T09:15:26Z".parse().unwrap(),
        "2026-11-22T09:37:07Z".parse().unwrap(),
    );
    let seen = look("loki", &settings, &then).await;
    assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
    assert_eq!((number(&seen, "lines"), number(&seen, "matches")), (5.0, 5.0), "{seen:?}");
    // The same lines are no answer to another window.
    let seen = look("loki", &settings, &ask()).await;
    assert!(matches!(&seen.seen, Seen::Blind(unknown) if unknown.kind == UnknownKind::Unintelligible), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_not_read_to_its_end() {
    let server = Answers::start(|_| {
        let start = "{\"status\":\"success\",\"data\":{\"resultType\":\"streams\",\"result\":[{\"stream\":{\"a\":\"";
        let mut body = start.as_bytes().to_vec();
        body.resize(20 << 20, b'x');
        (200, "application/json".to_owned(), body)
    });
    let settings = format!("{{ url: \"http://127.0.0.1:{}\", query: '{{app=\"checkout\"}}' }}", server.port);
    let seen = look("loki", &settings, &ask()).await;
    assert!(
        matches!(&seen.seen, Seen::Blind(unknown) if unknown.kind == UnknownKind::Incomplete && unknown.why.contains("more than 16777216 bytes")),
        "{seen:?}"
    );
}
