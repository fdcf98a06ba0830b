//! `request_tracker` against a real Request Tracker: tickets come in once, verdicts go back in once.

use houston::model::action::{Action, ActionKind};
use houston::model::delivery::{Message, Outcome};
use houston::model::secret::{Environment, Redactor};
use houston::net::credentials::Credentials;
use houston::net::outgoing::Wires;
use houston::ticketing::{Desk, What, declare};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::lab::request_tracker::RequestTracker;

fn desk(tracker: &RequestTracker) -> Desk {
    let text = format!(
        "{{ request_tracker: {{ url: \"{}\", token: {{ env: RT_TOKEN }}, user: houston, query: \"Queue = 'Support'\", \
         verdict_field: Houston verdict }}, fields: {{ customer: ticket.CustomFields.Customer }} }}",
        tracker.url()
    );
    let mut errors = Vec::new();
    let node = houston::yaml::parse("houston.yaml", &text).unwrap();
    declare("rt", &node, &mut errors).unwrap_or_else(|| panic!("{errors:?}"))
}

fn wires(token: &str) -> Wires {
    let redactor = Redactor::default();
    let environment = Environment::new([("RT_TOKEN".to_owned(), token.to_owned())]);
    let credentials = Credentials::new(environment, redactor.clone());
    Wires { http: houston::net::http::Client::default(), credentials, redactor }
}

fn action(kind: ActionKind, id: &str, verdict: &str) -> Action {
    let facts = match kind {
        ActionKind::Reply => json!({ "summary": "We are looking into it: <b>T-1</b>." }),
        _ => json!({ "verdict": verdict, "reasons": ["a <script>alert(1)</script> & more"] }),
    };
    Action::new(1, 1, kind, "ticketing:rt", id, facts, Timestamp::now())
}

async fn write(desk: &Desk, action: &Action, tries: u32, wires: &Wires) -> Outcome {
    let message = Message { action, previous: None, tries, now: Timestamp::now(), links: None };
    desk.system.annotate(message, wires).await
}

/// What stands in a ticket of this kind of transaction, as it is kept.
fn written(tracker: &RequestTracker, id: &str, kind: &str) -> Vec<String> {
    let none = Value::Null;
    let history = tracker.ask("GET", &format!("ticket/{id}/history?fields=Type,Creator&per_page=100"), &none);
    let of =
        history["items"].as_array().unwrap().iter().filter(|t| t["Type"] == kind && t["Creator"]["id"] == "houston");
    of.map(|transaction| {
        let id = transaction["id"].as_str().unwrap();
        let path = format!("transaction/{id}/attachments?fields=Content,ContentType");
        tracker.ask("GET", &path, &none)["items"][0]["Content"].as_str().unwrap().to_owned()
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_come_in_once_and_verdicts_go_back_once() {
    let tracker = RequestTracker::start();
    let (desk, wires) = (desk(&tracker), self::wires(&tracker.token));
    let mut cursor: Option<String> = None;
    let mut news = async || {
        let polled = desk.system.poll(cursor.as_deref(), Timestamp::now(), &wires).await.unwrap();
        cursor = polled.cursor;
        polled.received.into_iter().flat_map(|received| received.incoming).collect::<Vec<_>>()
    };
    assert_eq!(news().await.len(), 0);

    let ticket = json!({ "Queue": "Support", "Subject": "checkout 502 ü", "Requestor": "carol@acme.test",
        "Content": "since nine — all shops", "ContentType": "text/plain", "CustomFields": { "Customer": "acme" } });
    let id = tracker.ask("POST", "ticket", &ticket)["id"].as_str().unwrap().to_owned();
    let elsewhere = json!({ "Queue": "Sales", "Subject": "an offer", "Content": "x" });
    let moved = tracker.ask("POST", "ticket", &elsewhere)["id"].as_str().unwrap().to_owned();
    let found = news().await;
    let [opened] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((opened.id.as_str(), &opened.what), (id.as_str(), &What::Opened));
    let ticket = desk.ticket(opened, Timestamp::now()).unwrap();
    assert_eq!((ticket.title.raw(), ticket.text.raw()), ("checkout 502 ü", "since nine — all shops"));
    assert_eq!((ticket.customer.unwrap().raw(), ticket.contact.unwrap().raw()), ("acme", "carol@acme.test"));

    // Our own note, its field, and the reply: each once, however often they are attempted.
    for (kind, way) in [(ActionKind::Note, "Comment"), (ActionKind::Reply, "Correspond")] {
        let action = action(kind, &id, "no_issue");
        assert_eq!(write(&desk, &action, 0, &wires).await, Outcome::DELIVERED);
        assert_eq!(write(&desk, &action, 1, &wires).await, Outcome::DELIVERED);
        let texts = written(&tracker, &id, way);
        assert!(texts.len() == 1 && texts[0].contains("&lt;") && !texts[0].contains("<script"), "{way}: {texts:?}");
    }
    let verdict = || {
        let ticket = tracker.ask("GET", &format!("ticket/{id}"), &Value::Null);
        let fields = ticket["CustomFields"].as_array().unwrap().clone();
        fields.into_iter().find(|field| field["name"] == "Houston verdict").unwrap()["values"].clone()
    };
    assert_eq!(verdict(), json!(["no-issue"]));
    assert_eq!(write(&desk, &action(ActionKind::Note, &id, "issue"), 1, &wires).await, Outcome::DELIVERED);
    assert_eq!((verdict(), written(&tracker, &id, "Comment").len()), (json!(["issue"]), 1), "the same key");

    // What others do is heard once; what we did is not.
    tracker.ask(
        "POST",
        &format!("ticket/{id}/correspond"),
        &json!({ "Content": "<p>still <b>broken</b></p>", "ContentType": "text/html" }),
    );
    tracker.ask("PUT", &format!("ticket/{id}"), &json!({ "Status": "resolved" }));
    tracker.ask("PUT", &format!("ticket/{moved}"), &json!({ "Queue": "Support" }));
    let found: Vec<_> = news().await.into_iter().map(|incoming| (incoming.id, incoming.what)).collect();
    let said = What::Commented { by: Some("root".into()), text: "still broken".into() };
    for expected in [(id.clone(), said), (id.clone(), What::Closed)] {
        assert_eq!(found.iter().filter(|incoming| **incoming == expected).count(), 1, "{expected:?} in {found:?}");
    }
    assert!(found.contains(&(moved, What::Opened)), "{found:?}");
    assert_eq!(news().await.len(), 0);

    // What can't be delivered says why.
    for (id, token, why) in [("999", tracker.token.as_str(), "not there"), (id.as_str(), "1-2-wrong", "credentials")] {
        let refused = write(&desk, &action(ActionKind::Note, id, "issue"), 0, &self::wires(token)).await;
        assert!(matches!(&refused, Outcome::Rejected { why: said } if said.contains(why)), "{refused:?}");
    }
}
