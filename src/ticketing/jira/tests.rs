//! A small Jira on loopback, deliveries as it sends them, and what is written into its issues.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;

use super::*;
use crate::net::canned::{Asked, Canned, Reply};
use crate::net::signature::sign;
use crate::ticketing::Desk;
use crate::ticketing::comment::tests::{attempt, holds_only_text, hostile, note, now, reply, safe_note, why};
use crate::ticketing::tests::{desk, hook, wires};

const ISSUE: &str = "WA-20";

fn at(url: &str, more: &str) -> Desk {
    let text = format!(
        "{{ url: \"{url}\", secrets: [{{ env: DESK_SECRET }}], token: {{ env: OLD_SECRET }}, user: houston{more} }}"
    );
    desk("jira", &text)
}

#[derive(Debug, Default)]
struct Issue {
    /// id, author, body, customers see it
    comments: Vec<(u64, String, String, bool)>,
    labels: Vec<String>,
    /// A project of Jira Service Management.
    service_desk: bool,
    /// It doesn't mind the property.
    forgetful: bool,
}

/// A small Jira with one issue, which answers as the documentation says; it writes markup anew.
fn serve(asked: &Asked, issue: &Mutex<Issue>) -> Reply {
    let mut issue = issue.lock().unwrap();
    let body: Value = serde_json::from_str(&asked.body).unwrap_or_default();
    let path = asked.target.split('?').next().unwrap();
    let path = path.strip_prefix("/rest/api/2/issue/WA-20").unwrap().to_owned();
    let json = |status, value: Value| Reply::of(status, "application/json", value.to_string());
    let created = now().to_string();
    let shown = |(id, by, body, public): &(u64, String, String, bool)| json!({ "id": id.to_string(), "author": { "accountId": by }, "body": body.replace('\\', ""), "created": created, "jsdPublic": public });
    let id = path.strip_prefix("/comment/").and_then(|id| id.parse::<u64>().ok());
    let text = |body: &Value| body["body"].as_str().unwrap().to_owned();
    match (asked.method.as_str(), path.as_str(), id) {
        ("GET", "", _) => {
            let kind = if issue.service_desk { "service_desk" } else { "software" };
            json(200, json!({ "fields": { "project": { "projectTypeKey": kind } } }))
        }
        ("GET", "/comment", _) => {
            let comments: Vec<Value> = issue.comments.iter().rev().map(shown).collect();
            json(200, json!({ "comments": comments }))
        }
        ("POST", "/comment", _) => {
            let internal =
                body["properties"][0] == json!({ "key": "sd.public.comment", "value": { "internal": true } });
            let public = !(issue.service_desk && internal && !issue.forgetful);
            let id = 100 + issue.comments.len() as u64;
            issue.comments.push((id, "houston".to_owned(), text(&body), public));
            json(201, shown(issue.comments.last().unwrap()))
        }
        ("PUT", "", _) => {
            for change in body["update"]["labels"].as_array().unwrap() {
                if let Some(label) = change["remove"].as_str() {
                    issue.labels.retain(|standing| standing != label);
                } else {
                    issue.labels.push(change["add"].as_str().unwrap().to_owned());
                }
            }
            Reply::of(204, "text/plain", "")
        }
        ("PUT", _, Some(id)) => match issue.comments.iter_mut().find(|comment| comment.0 == id) {
            Some(comment) => {
                comment.2 = text(&body);
                json(200, shown(comment))
            }
            None => json(404, json!({ "errorMessages": ["Can not find a comment"] })),
        },
        ("DELETE", _, Some(id)) => {
            issue.comments.retain(|comment| comment.0 != id);
            Reply::of(204, "text/plain", "")
        }
        _ => json(404, json!({ "errorMessages": ["Issue does not exist"] })),
    }
}

async fn jira(issue: &Arc<Mutex<Issue>>) -> Canned {
    let issue = Arc::clone(issue);
    Canned::start(move |asked| serve(asked, &issue)).await
}

#[test]
fn it_is_signed_or_brings_its_secret() {
    let body = JIRA.payload.as_bytes();
    let key = crate::model::secret::Secret::new("desk-secret-0123456789".to_owned());
    let signature = sign(&key, &[body], Writing::Hex).unwrap();
    let (signed, secret) = (at("https://a", ""), at("https://a", ", header: X-Jira-Secret"));
    for (name, value, by_signature, by_secret) in [
        ("x-hub-signature", format!("sha256={signature}"), true, false),
        ("x-hub-signature", format!("sha1={signature}"), false, false),
        ("x-hub-signature", signature, false, false),
        ("x-jira-secret", "desk-secret-0123456789".to_owned(), false, true),
        ("x-jira-secret", "desk-secret-0123456780".to_owned(), false, false),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        let hook = hook(&headers, body);
        let found = (signed.system.verify(&hook, &wires()).is_ok(), secret.system.verify(&hook, &wires()).is_ok());
        assert_eq!(found, (by_signature, by_secret), "{name}: {value}");
    }
}

#[test]
fn what_a_delivery_becomes() {
    let desk = at("https://acme.atlassian.net", "");
    let read = |change: Value| {
        let mut payload: Value = serde_json::from_str(JIRA.payload).unwrap();
        for (name, value) in change.as_object().unwrap() {
            payload[name] = value.clone();
        }
        desk.system.read(&hook(&HeaderMap::new(), payload.to_string().as_bytes()))
    };
    let updated = |from: Value, to: Value| {
        let items = json!([{ "field": "status" }, { "field": "resolution", "from": from, "to": to }]);
        json!({ "webhookEvent": "jira:issue_updated", "changelog": { "items": items } })
    };
    let said = What::Commented { by: Some("Kim".into()), text: "still".into() };
    let comment = |by: &str| json!({ "webhookEvent": "comment_created", "comment": { "author": { "accountId": by, "displayName": "Kim" }, "body": "still" } });
    for (change, expected) in [
        (json!({}), Some(What::Opened)),
        (updated(Value::Null, "1".into()), Some(What::Closed)),
        (updated("1".into(), Value::Null), Some(What::Reopened)),
        (updated("1".into(), "2".into()), Some(What::Updated)),
        (json!({ "webhookEvent": "jira:issue_updated" }), Some(What::Updated)),
        (json!({ "webhookEvent": "jira:issue_updated", "issue_event_type_name": "issue_commented" }), None),
        (comment("kim"), Some(said)),
        (comment("houston"), None),
        (json!({ "user": { "name": "houston" } }), None),
        (json!({ "webhookEvent": "sprint_started" }), None),
    ] {
        let received = read(change.clone()).unwrap();
        assert_eq!(received.ignored.is_some(), expected.is_none(), "{change}");
        assert_eq!(received.incoming.first().map(|incoming| incoming.what.clone()), expected, "{change}");
    }
    let report = read(json!({})).unwrap().incoming[0].report.clone();
    assert_eq!(report.reported_at, "2026-11-18T09:00:08.623Z".parse().ok());
    assert_eq!(report.url.unwrap().raw(), "https://acme.atlassian.net/browse/WA-20");
    for key in ["../x", "WA-", "-1", "WA-1/comment", "WA"] {
        assert!(read(json!({ "issue": { "key": key } })).is_err(), "{key}");
    }
}

#[tokio::test]
async fn one_internal_comment_is_edited_in_place_and_a_reply_stands_by_itself() {
    let labels = vec!["shop".to_owned(), "houston-issue".to_owned()];
    let issue = Arc::new(Mutex::new(Issue { service_desk: true, labels, ..Issue::default() }));
    let server = jira(&issue).await;
    let desk = at(&server.url(), "");
    let words = "We (all of us) look into T-7.";
    assert_eq!(attempt(&desk, &reply(ISSUE, words), None, 0).await, Outcome::DELIVERED);
    assert_eq!(attempt(&desk, &note(ISSUE, "first"), None, 0).await, Outcome::delivered_as("101"));
    assert_eq!(attempt(&desk, &note(ISSUE, "second"), Some("101"), 0).await, Outcome::delivered_as("101"));
    assert_eq!(attempt(&desk, &note(ISSUE, "third"), None, 1).await, Outcome::delivered_as("101"));
    assert_eq!(attempt(&desk, &reply(ISSUE, words), Some("101"), 1).await, Outcome::DELIVERED);
    {
        let mut issue = issue.lock().unwrap();
        let seen: Vec<_> = issue.comments.iter().map(|comment| comment.3).collect();
        assert_eq!(seen, [true, false]);
        assert!(issue.comments[1].2.contains("third"));
        assert_eq!(
            issue.labels.iter().filter(|label| label.starts_with("houston")).collect::<std::collections::BTreeSet<_>>(),
            [&"houston-no-issue".to_owned()].into()
        );
        issue.comments.remove(1);
        issue.forgetful = true;
    }
    let refused = attempt(&desk, &note(ISSUE, "inner"), Some("101"), 0).await;
    assert!(matches!(&refused, Outcome::Rejected { why } if why.contains("deleted again")), "{refused:?}");
    assert!(!issue.lock().unwrap().comments.iter().any(|comment| comment.2.contains("inner")));
    // In other projects nothing is internal, and Jira says nothing of it.
    issue.lock().unwrap().service_desk = false;
    assert!(matches!(attempt(&desk, &note(ISSUE, "inner"), None, 0).await, Outcome::Delivered { .. }));
}

#[tokio::test]
async fn hostile_texts_stay_text_and_public_issues_get_safe_words_alone() {
    let issue = Arc::new(Mutex::new(Issue { service_desk: true, ..Issue::default() }));
    let server = jira(&issue).await;
    let desk = at(&server.url(), "");
    for (count, action) in hostile(ISSUE).iter().enumerate() {
        assert!(matches!(attempt(&desk, action, None, 0).await, Outcome::Delivered { .. }));
        let issue = issue.lock().unwrap();
        assert_eq!(issue.comments.len(), count + 1);
        holds_only_text(Medium::Jira, &issue.comments[count].2);
    }
    let public = at(&server.url(), ", public: true");
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
        (403, "x: y", "{}", None, "403"),
        (401, "x: y", "Basic auth with password is not allowed", None, "credentials"),
        (404, "x: y", "{}", None, "not there"),
        (503, "x: y", "<html>", retry(None), "503"),
        (200, "x: y", "<html>login</html>", retry(None), "no JSON"),
    ] {
        let server = Canned::start(move |_| Reply::of(status, &format!("text/plain\r\n{headers}"), body)).await;
        let outcome = attempt(&at(&server.url(), ""), &note(ISSUE, "x"), None, 0).await;
        assert!(why(&outcome).contains(said), "{status}: {outcome:?}");
        match &outcome {
            Outcome::Retry { after, .. } => assert_eq!(Some(*after), expected, "{status}"),
            _ => assert_eq!(expected, None, "{status}"),
        }
    }
    for (more, expected) in [
        ("", "Bearer old-secret-0123456789"),
        (", email: h@a.example", "Basic aEBhLmV4YW1wbGU6b2xkLXNlY3JldC0wMTIzNDU2Nzg5"),
    ] {
        let server = Canned::start(|_| Reply::json(r#"{"id":"5"}"#)).await;
        attempt(&at(&server.url(), more), &reply(ISSUE, "x"), None, 0).await;
        assert_eq!(server.asked()[0].headers["authorization"], expected);
    }
    assert!(matches!(
        attempt(&at("http://127.0.0.1:9", ""), &note("WA-1/../x", "x"), None, 0).await,
        Outcome::Rejected { .. }
    ));
}
