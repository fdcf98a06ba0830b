//! A small GitHub on loopback, deliveries as it sends them, and what is written into its issues.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;

use super::*;
use crate::net::canned::{Asked, Canned, Reply};
use crate::net::signature::sign;
use crate::ticketing::Desk;
use crate::ticketing::comment::tests::{attempt, holds_only_text, hostile, note, reply, safe_note, why};
use crate::ticketing::tests::{desk, hook, wires};

const ISSUE: &str = "acme/shop#2";

fn at(url: &str, more: &str) -> Desk {
    desk(
        "github",
        &format!(
            "{{ secrets: [{{ env: DESK_SECRET }}, {{ env: OLD_SECRET }}], token: {{ env: OLD_SECRET }}, user: houston-bot, url: \"{url}\", {more} }}"
        ),
    )
}

/// Comments (id, login, body) and labels of the one issue.
#[derive(Debug, Default)]
struct Issue {
    comments: Vec<(u64, String, String)>,
    labels: Vec<String>,
    private: bool,
}

/// A small GitHub with one issue, which answers as the documentation says.
fn serve(asked: &Asked, issue: &Mutex<Issue>) -> Reply {
    assert_eq!(asked.headers["authorization"], "Bearer old-secret-0123456789");
    assert_eq!(asked.headers["user-agent"], "houston");
    let mut issue = issue.lock().unwrap();
    let body: Value = serde_json::from_str(&asked.body).unwrap_or_default();
    let path = asked.target.split('?').next().unwrap().strip_prefix("/repos/acme/shop").unwrap().to_owned();
    let json = |status, value: Value| Reply::of(status, "application/json", value.to_string());
    let text = |body: &Value| body["body"].as_str().unwrap().to_owned();
    match (asked.method.as_str(), path.as_str()) {
        ("GET", "") => json(200, json!({ "private": issue.private })),
        ("GET", "/issues/2/comments") => {
            let list = issue.comments.iter();
            let list = list.map(|(id, by, body)| json!({ "id": id, "user": { "login": by }, "body": body }));
            json(200, Value::Array(list.collect()))
        }
        ("POST", "/issues/2/comments") => {
            let id = 100 + issue.comments.len() as u64;
            issue.comments.push((id, "houston-bot".to_owned(), text(&body)));
            json(201, json!({ "id": id }))
        }
        ("PATCH", path) => {
            let id: u64 = path.strip_prefix("/issues/comments/").unwrap().parse().unwrap();
            match issue.comments.iter_mut().find(|comment| comment.0 == id) {
                Some(comment) => {
                    comment.2 = text(&body);
                    json(200, json!({ "id": id }))
                }
                None => json(404, json!({ "message": "Not Found" })),
            }
        }
        ("POST", "/issues/2/labels") => {
            issue.labels.push(body["labels"][0].as_str().unwrap().to_owned());
            json(200, issue.labels.iter().map(|name| json!({ "name": name })).collect())
        }
        ("DELETE", path) => {
            let name = path.strip_prefix("/issues/2/labels/").unwrap().replace("%3A", ":");
            issue.labels.retain(|label| *label != name);
            json(200, json!([]))
        }
        _ => json(404, json!({ "message": "Not Found" })),
    }
}

async fn github(issue: &Arc<Mutex<Issue>>) -> Canned {
    let issue = Arc::clone(issue);
    Canned::start(move |asked| serve(asked, &issue)).await
}

#[test]
fn it_is_signed_as_github_documents_it() {
    let desk = at("https://api.github.com", "");
    let body = GITHUB.payload;
    for (key, is_good) in
        [("desk-secret-0123456789", true), ("old-secret-0123456789", true), ("another-0123456789", false)]
    {
        let key = crate::model::secret::Secret::new(key.to_owned());
        let signature = sign(&key, &[body.as_bytes()], Writing::Hex).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-hub-signature-256", format!("sha256={signature}").parse().unwrap());
        assert_eq!(desk.system.verify(&hook(&headers, body.as_bytes()), &wires()).is_ok(), is_good);
        let longer = format!("{body} ");
        assert_eq!(desk.system.verify(&hook(&headers, longer.as_bytes()), &wires()), Err(Refused::NotSigned));
        headers.insert("x-hub-signature-256", signature.parse().unwrap());
        assert_eq!(desk.system.verify(&hook(&headers, body.as_bytes()), &wires()), Err(Refused::NotSigned));
    }
}

#[test]
fn what_a_delivery_becomes() {
    let desk = at("https://api.github.com", "");
    let read = |event: &str, change: &dyn Fn(&mut Value)| {
        let mut payload: Value = serde_json::from_str(GITHUB.payload).unwrap();
        change(&mut payload);
        let mut headers = HeaderMap::new();
        headers.insert("x-github-event", event.parse().unwrap());
        headers.insert("x-github-delivery", "72d3".parse().unwrap());
        desk.system.read(&hook(&headers, payload.to_string().as_bytes()))
    };
    let said = What::Commented { by: Some("kim".into()), text: "still".into() };
    for (event, action, expected) in [
        ("issues", "opened", Some(What::Opened)),
        ("issues", "edited", Some(What::Updated)),
        ("issues", "closed", Some(What::Closed)),
        ("issues", "reopened", Some(What::Reopened)),
        ("issues", "labeled", None),
        ("issue_comment", "created", Some(said)),
        ("issue_comment", "edited", None),
        ("ping", "", None),
        ("push", "", None),
    ] {
        let received = read(event, &|payload| {
            payload["action"] = action.into();
            payload["comment"] = json!({ "user": { "login": "kim" }, "body": "still" });
        });
        let received = received.unwrap();
        assert_eq!(received.delivery.as_deref(), Some("72d3"));
        assert_eq!(received.ignored.is_some(), expected.is_none(), "{event} {action}");
        assert_eq!(received.incoming.first().map(|incoming| incoming.what.clone()), expected, "{event} {action}");
        assert!(received.incoming.iter().all(|incoming| incoming.id == ISSUE));
    }
    for (path, value) in [("sender", json!({ "login": "Houston-Bot" })), ("issue", json!({ "pull_request": {} }))] {
        let ignored = read("issues", &|payload| payload[path] = value.clone()).unwrap();
        assert!(ignored.ignored.is_some() && ignored.incoming.is_empty(), "{path}");
    }
    let bot = read("issue_comment", &|payload| {
        payload["action"] = "created".into();
        payload["sender"]["type"] = "Bot".into();
    });
    assert!(bot.unwrap().ignored.is_some());
    for name in ["a/b/c", "../x", "a", "a/b?c", "a/.."] {
        assert!(read("issues", &|payload| payload["repository"]["full_name"] = name.into()).is_err(), "{name}");
    }
    assert!(desk.system.is_public() && !at("https://a", "private: true").system.is_public());
}

#[tokio::test]
async fn one_note_is_edited_in_place_and_a_reply_stands_by_itself() {
    let issue = Arc::new(Mutex::new(Issue {
        private: true,
        labels: vec!["bug".into(), "houston:issue".into()],
        ..Issue::default()
    }));
    let server = github(&issue).await;
    let desk = at(&server.url(), "private: true");
    assert_eq!(attempt(&desk, &reply(ISSUE, "We look into it."), None, 0).await, Outcome::DELIVERED);
    assert_eq!(attempt(&desk, &note(ISSUE, "first"), None, 0).await, Outcome::delivered_as("101"));
    assert_eq!(issue.lock().unwrap().labels, ["bug", "houston:no-issue"]);
    // The next verdict; the first one's answer was lost; a repeated reply.
    assert_eq!(attempt(&desk, &note(ISSUE, "second"), Some("101"), 0).await, Outcome::delivered_as("101"));
    assert_eq!(attempt(&desk, &note(ISSUE, "third"), None, 1).await, Outcome::delivered_as("101"));
    assert_eq!(attempt(&desk, &reply(ISSUE, "We look into it."), None, 1).await, Outcome::DELIVERED);
    {
        let mut issue = issue.lock().unwrap();
        assert_eq!(issue.comments.len(), 2);
        assert!(issue.comments[0].2.starts_with("We look into it.") && issue.comments[1].2.contains("third"));
        // Somebody else copied the marker; then our comment was deleted.
        let copy = issue.comments.remove(1).2;
        issue.comments.push((7, "mallory".to_owned(), copy));
    }
    assert_eq!(attempt(&desk, &note(ISSUE, "fourth"), Some("101"), 1).await, Outcome::delivered_as("102"));
    assert_eq!(issue.lock().unwrap().comments.len(), 3);
    // The repository was made public.
    issue.lock().unwrap().private = false;
    let refused = attempt(&desk, &note(ISSUE, "secret"), Some("102"), 0).await;
    assert!(why(&refused).contains("everybody"), "{refused:?}");
    assert!(!issue.lock().unwrap().comments.iter().any(|comment| comment.2.contains("secret")));
}

#[tokio::test]
async fn hostile_texts_stay_text_and_public_issues_get_safe_words_alone() {
    let issue = Arc::new(Mutex::new(Issue { private: true, ..Issue::default() }));
    let server = github(&issue).await;
    let desk = at(&server.url(), "private: true");
    for (count, action) in hostile(ISSUE).iter().enumerate() {
        assert!(matches!(attempt(&desk, action, None, 0).await, Outcome::Delivered { .. }));
        let issue = issue.lock().unwrap();
        assert_eq!(issue.comments.len(), count + 1);
        holds_only_text(Medium::Markdown, &issue.comments[count].2);
    }
    let public = at(&server.url(), "");
    let before = server.asked().len();
    let refused = attempt(&public, &note(ISSUE, "x"), None, 0).await;
    assert!(why(&refused).contains("customers") && server.asked().len() == before, "nothing was asked");
    assert!(matches!(attempt(&public, &safe_note(ISSUE), None, 0).await, Outcome::Delivered { .. }));
}

#[tokio::test]
async fn what_an_answer_means() {
    let retry = |seconds: Option<u64>| Some(seconds.map(Duration::from_secs));
    for (status, headers, body, expected, said) in [
        (429, "retry-after: 7", "", retry(Some(7)), "429"),
        (403, "x-ratelimit-remaining: 0\r\nx-ratelimit-reset: 1795000090", "", retry(Some(90)), "limit"),
        (403, "retry-after: 60", "", retry(Some(60)), "limit"),
        (403, "x-ratelimit-remaining: 9", r#"{"message":"Resource not accessible"}"#, None, "not accessible"),
        (401, "x: y", r#"{"message":"Bad credentials"}"#, None, "credentials"),
        (404, "x: y", "{}", None, "not there"),
        (410, "x: y", "{}", None, "not there"),
        (502, "x: y", "<html>", retry(None), "502"),
        (200, "x: y", "<html>login</html>", retry(None), "no JSON"),
        (301, "location: https://elsewhere", "", None, "redirects"),
    ] {
        let server = Canned::start(move |_| Reply::of(status, &format!("text/plain\r\n{headers}"), body)).await;
        let outcome = attempt(&at(&server.url(), ""), &safe_note(ISSUE), None, 0).await;
        assert!(why(&outcome).contains(said), "{status}: {outcome:?}");
        match &outcome {
            Outcome::Retry { after, .. } => assert_eq!(Some(*after), expected, "{status}"),
            _ => assert_eq!(expected, None, "{status}"),
        }
    }
    assert!(matches!(
        attempt(&at("http://127.0.0.1:9", ""), &safe_note("../x#1"), None, 0).await,
        Outcome::Rejected { .. }
    ));
}

#[tokio::test]
async fn a_label_that_may_not_be_set_does_not_repeat_the_note() {
    let server = Canned::start(|asked| match asked.target.ends_with("/labels") {
        true => Reply::of(403, "application/json", r#"{"message":"Resource not accessible"}"#),
        false => Reply::of(201, "application/json", r#"{"id":5}"#),
    })
    .await;
    assert_eq!(attempt(&at(&server.url(), ""), &safe_note(ISSUE), None, 0).await, Outcome::delivered_as("5"));
}
