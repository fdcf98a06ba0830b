//! A small GitLab on loopback, deliveries as it sends them, and what is written into its issues.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;

use super::*;
use crate::net::canned::{Asked, Canned, Reply};
use crate::ticketing::Desk;
use crate::ticketing::comment::tests::{attempt, holds_only_text, hostile, note, reply, why};
use crate::ticketing::tests::{desk, hook, wires};

const ISSUE: &str = "38#23";

fn at(url: &str) -> Desk {
    let text = format!(
        "{{ secrets: [{{ env: DESK_SECRET }}], token: {{ env: OLD_SECRET }}, user: houston, url: \"{url}/gitlab/\" }}"
    );
    desk("gitlab", &text)
}

#[derive(Debug, Default)]
struct Issue {
    /// id, author, body, internal
    notes: Vec<(u64, String, String, bool)>,
    labels: Vec<String>,
    /// An old version, which doesn't know internal notes.
    old: bool,
}

/// A small GitLab with one issue, which answers as the documentation says.
fn serve(asked: &Asked, issue: &Mutex<Issue>) -> Reply {
    assert_eq!(asked.headers["private-token"], "old-secret-0123456789");
    let mut issue = issue.lock().unwrap();
    let body: Value = serde_json::from_str(&asked.body).unwrap_or_default();
    let path = asked.target.split('?').next().unwrap();
    let path = path.strip_prefix("/gitlab/api/v4/projects/38/issues/23").unwrap().to_owned();
    let json = |status, value: Value| Reply::of(status, "application/json", value.to_string());
    let shown = |note: &(u64, String, String, bool)| json!({ "id": note.0, "author": { "username": note.1 }, "body": note.2, "internal": note.3 });
    let id = path.strip_prefix("/notes/").and_then(|id| id.parse::<u64>().ok());
    match (asked.method.as_str(), path.as_str(), id) {
        ("GET", "/notes", _) => json(200, issue.notes.iter().rev().map(shown).collect()),
        ("POST", "/notes", _) => {
            let internal = body["internal"] == true && !issue.old;
            let text = body["body"].as_str().unwrap().to_owned();
            let id = 100 + issue.notes.len() as u64;
            issue.notes.push((id, "houston".to_owned(), text, internal));
            json(201, shown(issue.notes.last().unwrap()))
        }
        ("PUT", "", _) => {
            issue.labels.push(body["add_labels"].as_str().unwrap().to_owned());
            let gone: Vec<&str> = body["remove_labels"].as_str().unwrap().split(',').collect();
            issue.labels.retain(|label| !gone.contains(&label.as_str()));
            json(200, json!({ "iid": 23 }))
        }
        ("PUT", _, Some(id)) => match issue.notes.iter_mut().find(|note| note.0 == id) {
            Some(note) => {
                note.2 = body["body"].as_str().unwrap().to_owned();
                json(200, shown(note))
            }
            None => json(404, json!({ "message": "404 Not found" })),
        },
        ("DELETE", _, Some(id)) => {
            issue.notes.retain(|note| note.0 != id);
            Reply::of(204, "text/plain", "")
        }
        _ => json(404, json!({ "message": "404 Not found" })),
    }
}

async fn gitlab(issue: &Arc<Mutex<Issue>>) -> Canned {
    let issue = Arc::clone(issue);
    Canned::start(move |asked| serve(asked, &issue)).await
}

#[test]
fn only_who_knows_the_token_is_heard() {
    let desk = at("https://gitlab.com");
    for (token, expected) in [
        (Some("desk-secret-0123456789"), Ok(())),
        (Some("desk-secret-012345678"), Err(Refused::NotSigned)),
        (Some(""), Err(Refused::NotSigned)),
        (None, Err(Refused::NotSigned)),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert("x-gitlab-token", token.parse().unwrap());
        }
        assert_eq!(desk.system.verify(&hook(&headers, b"{}"), &wires()), expected, "{token:?}");
    }
}

#[test]
fn what_a_delivery_becomes() {
    let desk = at("https://gitlab.com");
    let read = |change: &dyn Fn(&mut Value)| {
        let mut payload: Value = serde_json::from_str(GITLAB.payload).unwrap();
        change(&mut payload);
        let mut headers = HeaderMap::new();
        headers.insert("x-gitlab-event-uuid", "13792a34".parse().unwrap());
        desk.system.read(&hook(&headers, payload.to_string().as_bytes()))
    };
    for (action, expected) in [
        (json!("open"), Some(What::Opened)),
        (Value::Null, Some(What::Opened)),
        (json!("update"), Some(What::Updated)),
        (json!("close"), Some(What::Closed)),
        (json!("reopen"), Some(What::Reopened)),
        (json!("approved"), None),
    ] {
        let received = read(&|payload| payload["object_attributes"]["action"] = action.clone()).unwrap();
        assert_eq!(received.delivery.as_deref(), Some("13792a34"));
        assert_eq!(received.incoming.first().map(|incoming| incoming.what.clone()), expected, "{action}");
        assert!(received.incoming.iter().all(|incoming| incoming.id == ISSUE));
    }
    let opened = read(&|_| {}).unwrap();
    assert_eq!(opened.incoming[0].report.reported_at, "2026-11-18T09:00:00Z".parse().ok());
    let comment = |system: bool, on: &str, by: &str| {
        read(&|payload| {
            payload["object_kind"] = "note".into();
            payload["user"]["username"] = by.into();
            payload["issue"] = json!({ "iid": 23, "title": "checkout 502" });
            payload["object_attributes"] =
                json!({ "note": "still", "noteable_type": on, "system": system, "action": "create" });
        })
        .unwrap()
    };
    let said = What::Commented { by: Some("kim".into()), text: "still".into() };
    assert_eq!(comment(false, "Issue", "kim").incoming[0].what, said);
    assert_eq!(comment(false, "Issue", "kim").incoming[0].id, ISSUE);
    for ignored in
        [comment(true, "Issue", "kim"), comment(false, "MergeRequest", "kim"), comment(false, "Issue", "Houston")]
    {
        assert!(ignored.ignored.is_some() && ignored.incoming.is_empty(), "{ignored:?}");
    }
    assert!(read(&|payload| payload["project"]["id"] = Value::Null).is_err());
}

#[tokio::test]
async fn one_internal_note_is_edited_in_place_and_a_reply_stands_by_itself() {
    let issue = Arc::new(Mutex::new(Issue { labels: vec!["bug".into(), "houston:issue".into()], ..Issue::default() }));
    let server = gitlab(&issue).await;
    let desk = at(&server.url());
    assert_eq!(attempt(&desk, &reply(ISSUE, "/close We look into it."), None, 0).await, Outcome::DELIVERED);
    assert_eq!(attempt(&desk, &note(ISSUE, "first"), None, 0).await, Outcome::delivered_as("101"));
    assert_eq!(attempt(&desk, &note(ISSUE, "second"), Some("101"), 0).await, Outcome::delivered_as("101"));
    assert_eq!(attempt(&desk, &note(ISSUE, "third"), None, 1).await, Outcome::delivered_as("101"));
    assert_eq!(attempt(&desk, &reply(ISSUE, "/close We look into it."), Some("101"), 1).await, Outcome::DELIVERED);
    {
        let mut issue = issue.lock().unwrap();
        let seen: Vec<_> = issue.notes.iter().map(|note| note.3).collect();
        assert_eq!(seen, [false, true]);
        assert!(!issue.notes[0].2.starts_with('/'), "no quick action: {}", issue.notes[0].2);
        assert!(issue.notes[1].2.contains("third"));
        assert!(
            issue.labels.contains(&"houston:no-issue".to_owned())
                && !issue.labels.contains(&"houston:issue".to_owned())
        );
        issue.notes.remove(1);
    }
    assert_eq!(
        attempt(&desk, &note(ISSUE, "fourth"), Some("101"), 0).await,
        Outcome::delivered_as("101"),
        "posted anew"
    );
    // A version that doesn't know internal notes.
    issue.lock().unwrap().old = true;
    let refused = attempt(&desk, &note(ISSUE, "inner"), None, 0).await;
    assert!(matches!(&refused, Outcome::Rejected { why } if why.contains("deleted again")), "{refused:?}");
    assert!(!issue.lock().unwrap().notes.iter().any(|note| note.2.contains("inner")));
}

#[tokio::test]
async fn hostile_texts_stay_text() {
    let issue = Arc::new(Mutex::new(Issue::default()));
    let server = gitlab(&issue).await;
    let desk = at(&server.url());
    for (count, action) in hostile(ISSUE).iter().enumerate() {
        assert!(matches!(attempt(&desk, action, None, 0).await, Outcome::Delivered { .. }));
        let issue = issue.lock().unwrap();
        assert_eq!(issue.notes.len(), count + 1);
        holds_only_text(Medium::Markdown, &issue.notes[count].2);
    }
}

#[tokio::test]
async fn what_an_answer_means() {
    let retry = |seconds: Option<u64>| Some(seconds.map(Duration::from_secs));
    for (status, headers, body, expected, said) in [
        (429, "retry-after: 7", "", retry(Some(7)), "429"),
        (403, "x: y", r#"{"message":"403 Forbidden"}"#, None, "403"),
        (401, "x: y", "{}", None, "credentials"),
        (404, "x: y", "{}", None, "not there"),
        (502, "x: y", "<html>", retry(None), "502"),
        (200, "x: y", "<html>login</html>", retry(None), "no JSON"),
        (302, "location: /users/sign_in", "", None, "redirects"),
    ] {
        let server = Canned::start(move |_| Reply::of(status, &format!("text/plain\r\n{headers}"), body)).await;
        let outcome = attempt(&at(&server.url()), &note(ISSUE, "x"), None, 0).await;
        assert!(why(&outcome).contains(said), "{status}: {outcome:?}");
        match &outcome {
            Outcome::Retry { after, .. } => assert_eq!(Some(*after), expected, "{status}"),
            _ => assert_eq!(expected, None, "{status}"),
        }
    }
    assert!(matches!(
        attempt(&at("http://127.0.0.1:9"), &note("38/../1#2", "x"), None, 0).await,
        Outcome::Rejected { .. }
    ));
}
