//! A small Request Tracker on loopback: what a poll finds, and what is written into its tickets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::poll::{Cursor, plain};
use super::*;
use crate::net::canned::{Asked, Canned, Reply};
use crate::ticketing::Desk;
use crate::ticketing::comment::tests::{attempt, holds_only_text, hostile, note, now, reply, why};
use crate::ticketing::tests::{declared, desk, wires};

fn at(url: &str) -> Desk {
    desk(
        "request_tracker",
        &format!(
            "{{ url: \"{url}/rt/\", token: {{ env: DESK_SECRET }}, user: houston, query: \"Queue = 'Support'\", verdict_field: Verdict }}"
        ),
    )
}

fn clock(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap().to_string()
}

/// A small Request Tracker: one ticket, and its transactions (number, second, type, creator, old and new value).
type History = Arc<Mutex<Vec<(u64, i64, &'static str, &'static str, &'static str, &'static str)>>>;

fn serve(asked: &Asked, history: &History) -> Reply {
    let dated = |body: Value| {
        let date = "application/json\r\ndate: Wed, 18 Nov 2026 11:06:40 GMT";
        Reply::of(200, date, body.to_string())
    };
    assert_eq!(asked.headers["authorization"], "token desk-secret-0123456789");
    let history = history.lock().unwrap();
    let path = asked.target.split('?').next().unwrap();
    match path.strip_prefix("/rt/REST/2.0/").unwrap() {
        "tickets" => {
            let query = asked.field("query").unwrap();
            let updated = clock(history.iter().map(|row| row.1).max().unwrap());
            let from = query.split('\'').nth(3).unwrap();
            let found = from <= updated.as_str() && query.ends_with("id > 0");
            assert!(query.starts_with("(Queue = 'Support') AND LastUpdated >= '20"), "{query}");
            let ticket = json!({ "id": "4", "Subject": "checkout 502", "Requestors": [{ "id": "bob@acme.test" }],
                "CustomFields": [{ "name": "Customer", "values": ["acme"] }], "Created": clock(1_795_000_010) });
            dated(json!({ "items": if found { vec![ticket] } else { vec![] } }))
        }
        "ticket/4/history" => {
            let rows = history.iter().rev().map(|(id, at, kind, by, old, new)| {
                json!({ "id": id.to_string(), "Created": clock(*at), "Type": kind, "Creator": { "id": by },
                        "Field": if *kind == "Status" { "Status" } else { "" }, "OldValue": old, "NewValue": new })
            });
            dated(json!({ "items": rows.collect::<Vec<_>>() }))
        }
        "ticket/4/attachments" => {
            dated(json!({ "items": [{ "id": "1", "ContentType": "text/plain", "Filename": "" }] }))
        }
        other if other.starts_with("transaction/") => dated(json!({ "items": [
            { "id": "9", "ContentType": "image/png", "Filename": "x.png" },
            { "id": "2", "ContentType": "text/html", "Filename": "" }] })),
        "attachment/1" => dated(json!({ "Content": "c2luY2UgbmluZSDigJQgYWxs\n" })),
        "attachment/2" => dated(json!({ "Content": "PHA+c3RpbGwgPGI+YnJva2VuPC9iPjwvcD4=\n" })),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn each_transaction_is_received_once_over_restarts_and_within_a_second() {
    let history: History = Arc::new(Mutex::new(vec![(10, 1_794_999_000, "Create", "bob@acme.test", "", "")]));
    let served = Arc::clone(&history);
    let server = Canned::start(move |asked| serve(asked, &served)).await;
    let mut cursor = None;
    // Everything is new each time, but for the cursor's text.
    let mut poll = async |expected: &[(&str, What)]| {
        let desk = at(&server.url());
        let polled = desk.system.poll(cursor.as_deref(), now(), &wires()).await.unwrap();
        cursor = polled.cursor;
        let found: Vec<_> =
            polled.received.into_iter().map(|r| (r.delivery.unwrap(), r.incoming[0].what.clone())).collect();
        let expected: Vec<_> = expected.iter().map(|(id, what)| (format!("transaction {id}"), what.clone())).collect();
        assert_eq!(found, expected);
    };
    let told = || What::Commented { by: Some("bob@acme.test".into()), text: "still broken".into() };
    poll(&[]).await;
    history.lock().unwrap().push((11, 1_795_000_010, "Create", "bob@acme.test", "", ""));
    poll(&[("11", What::Opened)]).await;
    poll(&[]).await;
    // In the same second, one after the other; our own is nothing.
    history.lock().unwrap().push((12, 1_795_000_010, "Correspond", "bob@acme.test", "", ""));
    history.lock().unwrap().push((13, 1_795_000_010, "Comment", "houston", "", ""));
    poll(&[("12", told())]).await;
    history.lock().unwrap().push((14, 1_795_000_010, "Status", "kim", "open", "resolved"));
    history.lock().unwrap().push((15, 1_795_000_011, "Status", "RT_System", "resolved", "open"));
    poll(&[("14", What::Closed), ("15", What::Reopened)]).await;
    // One that became visible late, below a known one's number.
    history.lock().unwrap().insert(1, (9, 1_795_000_010, "Correspond", "bob@acme.test", "", ""));
    poll(&[("9", told())]).await;
    poll(&[]).await;
}

#[tokio::test]
async fn a_ticket_that_cannot_be_read_holds_nobody_up_and_is_asked_for_again() {
    let server = Canned::start(|asked| {
        let path = asked.target.split('?').next().unwrap();
        match path.rsplit_once("/2.0/").unwrap().1 {
            "tickets" => Reply::of(
                200,
                "application/json\r\ndate: Wed, 18 Nov 2026 11:06:40 GMT",
                r#"{"items":[{"id":"3"},{"id":"4","Subject":"x"}]}"#,
            ),
            "ticket/3/history" => Reply::of(500, "text/plain", "broken"),
            "ticket/4/history" => Reply::json(
                r#"{"items":[{"id":"5","Type":"Set","Field":"Queue","Created":"2026-11-18T10:00:00Z","Creator":{"id":"kim"}}]}"#,
            ),
            _ => Reply::json(r#"{"items":[]}"#),
        }
    })
    .await;
    let from = 1_795_000_000;
    let cursor = serde_json::to_string(&Cursor { from, after: 0, next: None, seen: vec![] }).unwrap();
    let polled = at(&server.url()).system.poll(Some(&cursor), now(), &wires()).await.unwrap();
    assert_eq!(polled.received.len(), 0, "it is older than the cursor");
    let after: Cursor = serde_json::from_str(polled.cursor.as_deref().unwrap()).unwrap();
    assert_eq!(after.from, from, "it stays where the unread one is");
    let polled = at(&server.url()).system.poll(Some("{"), now(), &wires()).await.unwrap();
    assert_eq!(polled.received[0].incoming[0].what, What::Opened, "a day back; it was moved into the queue");
    for (status, body) in [(401, "{}"), (503, ""), (200, "<html>login</html>"), (200, "{}")] {
        let server = Canned::start(move |_| Reply::of(status, "text/html", body)).await;
        let failed = at(&server.url()).system.poll(Some(&cursor), now(), &wires()).await;
        assert!(failed.is_err(), "{status} {body}");
    }
}

/// A ticket whose field holds this, and what is answered to a comment.
fn ticket(verdict: &'static str, comments: Reply) -> impl Fn(&Asked) -> Reply {
    move |asked| {
        let path = asked.target.split('?').next().unwrap().rsplit_once("/2.0/").unwrap().1.to_owned();
        match (asked.method.as_str(), path.as_str()) {
            ("GET", "ticket/4") => Reply::of(
                200,
                "application/json\r\netag: \"43\"",
                json!({ "Status": "open", "CustomFields": [{ "name": "Verdict", "values": [verdict] }] }).to_string(),
            ),
            ("PUT", "ticket/4") if asked.headers["if-match"] == "\"43\"" => {
                let value: Value = serde_json::from_str(&asked.body).unwrap();
                Reply::json(json!([format!("Verdict changed to {}", value["CustomFields"]["Verdict"])]).to_string())
            }
            ("POST", "ticket/4/comment" | "ticket/4/correspond") => comments.clone(),
            _ => Reply::of(404, "application/json", r#"{"message":"Not Found"}"#),
        }
    }
}

#[tokio::test]
async fn a_note_is_a_comment_with_a_field_and_a_reply_is_correspondence() {
    let said = Reply::of(201, "application/json", r#"["Comments added"]"#);
    let server = Canned::start(ticket("issue", said)).await;
    let desk = at(&server.url());
    for action in hostile("4") {
        let before = server.asked().len();
        assert_eq!(attempt(&desk, &action, None, 0).await, Outcome::DELIVERED);
        let asked = server.asked();
        let posts: Vec<_> = asked[before..].iter().filter(|asked| asked.method == "POST").collect();
        let [post] = posts.as_slice() else { panic!("{posts:?}") };
        let body: Value = serde_json::from_str(&post.body).unwrap();
        holds_only_text(Medium::Html, body["Content"].as_str().unwrap());
        assert_eq!(body["ContentType"], "text/html");
        let put = asked[before..].iter().filter(|asked| asked.method == "PUT").count();
        let (way, puts) = if comment::is_reply(&action) { ("correspond", 0) } else { ("comment", 1) };
        assert!(post.target.ends_with(way) && put == puts, "{} {put}", post.target);
    }
}

#[tokio::test]
async fn what_an_answer_means() {
    for (reply, expected) in [
        (
            Reply::of(429, "text/plain\r\nretry-after: 7", ""),
            Outcome::Retry { after: Some(Duration::from_secs(7)), why: "429".into() },
        ),
        (Reply::of(503, "text/plain", "down"), Outcome::retry("503")),
        (Reply::of(200, "text/html", "<html>login</html>"), Outcome::retry("no JSON")),
        (
            Reply::of(400, "application/json", r#"{"message":"Message could not be recorded"}"#),
            Outcome::rejected("could not be recorded"),
        ),
        (Reply::of(401, "application/json", "{}"), Outcome::rejected("credentials")),
    ] {
        let server = Canned::start(ticket("no-issue", reply)).await;
        let outcome = attempt(&at(&server.url()), &note("4", "x"), None, 0).await;
        assert!(why(&outcome).contains(why(&expected)), "{outcome:?}");
        let after = |outcome: &Outcome| match outcome {
            Outcome::Retry { after, .. } => Some(*after),
            _ => None,
        };
        assert_eq!(after(&outcome), after(&expected), "{outcome:?}");
        assert!(!server.asked().iter().any(|asked| asked.method == "PUT"), "the field holds it already");
    }
    let server = Canned::start(ticket("issue", Reply::silent())).await;
    let gone = attempt(&at(&server.url()), &reply("99", "x"), None, 0).await;
    assert!(matches!(&gone, Outcome::Rejected { why } if why.contains("not there")), "{gone:?}");
}

#[test]
fn html_becomes_text() {
    for (html, text) in [
        ("<p>a</p><p>b &amp;lt; c</p>", "a\nb &lt; c"),
        ("one<br/>two<!-- <b> -->three", "one\ntwothree"),
        ("a <b", "a"),
        ("<pre>x</pre>&nbsp;&quot;y&quot;", "x\n \"y\""),
        ("ü<script>alert(1)</script>", "üalert(1)"),
    ] {
        assert_eq!(plain(html), text, "{html}");
    }
}

#[test]
fn a_wrong_declaration_is_refused() {
    let declaration = |more: &str| {
        declared(&format!(
            "{{ request_tracker: {{ url: \"http://a\", token: {{ env: A }}, user: h, query: x, {more} }} }}"
        ))
    };
    assert!(declaration("").is_ok());
    for wrong in ["every: 1", "every: 9999", "closd: []"] {
        assert!(declaration(wrong).is_err(), "{wrong}");
    }
}
