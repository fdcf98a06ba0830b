//! Tickets come in from the system in which they live, once; the verdict goes back into them, once.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::daemon::Daemon;
use super::receiver::Receiver;
use super::tickets::config;
use super::wire::Answer;
use super::world::{World, four_looks};
use crate::lab::until;

const KEY: &str = "a-key-that-the-desk-and-we-share";

/// A daemon with a desk whose verdicts go to this receiver.
fn daemon(world: &World, receiver: &Receiver) -> Daemon {
    let desk = format!(
        "ticketing:\n  desk:\n    webhook: {{ secrets: [{{ file: desk.key }}], url: '{}' }}\n    \
         fields: {{ service: {{ value: shop }}, customer: org.name }}\n    first_reply: true\n",
        receiver.url
    );
    let mut daemon = Daemon::prepared(&[], &[("shop.yaml", &four_looks(world, "/well"))], &config(world, &desk));
    let key = daemon.home().join("desk.key");
    std::fs::write(&key, KEY).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    daemon.again();
    daemon
}

/// A POST as the desk makes it: signed over the very bytes, without any token.
fn deliver(daemon: &Daemon, path: &str, body: &Value, key: &str) -> Answer {
    let body = body.to_string();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(format!("{now}.{body}").as_bytes());
    let signature: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let place = daemon.tcp();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         X-Houston-Timestamp: {now}\r\nX-Houston-Signature: v1={signature}\r\nContent-Length: {}\r\n\r\n{body}",
        place.host(),
        body.len()
    );
    place.send(request.as_bytes()).unwrap()
}

/// What was written into the desk's ticket of this id, by kind.
fn written(receiver: &Receiver, id: &str) -> Vec<String> {
    let of = receiver.deliveries().into_iter().filter(|delivery| delivery.body["id"] == id);
    of.map(|delivery| delivery.body["kind"].as_str().unwrap_or("").to_owned()).collect()
}

#[test]
fn a_ticket_of_a_desk_gets_its_verdict_there_once() {
    let (world, receiver) = (World::start(), Receiver::start());
    let mut daemon = daemon(&world, &receiver);
    let opened = json!({ "id": "4711", "title": "the till is broken", "org": { "name": "acme" }, "delivery": "d-1" });
    for _ in 0..3 {
        let answer = deliver(&daemon, "/hooks/desk", &opened, KEY);
        assert_eq!((answer.status, answer.json()["tickets"].clone()), (202, json!(["T-1"])), "{}", answer.text());
    }
    let case = daemon.decided("T-1");
    assert_eq!((&case["source"], &case["id"], &case["customer"]), (&json!("desk"), &json!("4711"), &json!("acme")));
    until("the verdict is in the ticket", Duration::from_secs(60), || written(&receiver, "4711").len() >= 2);
    let mut kinds = written(&receiver, "4711");
    kinds.sort();
    assert_eq!(kinds, ["note", "reply"]);
    let reply = receiver.deliveries().into_iter().find(|delivery| delivery.body["kind"] == "reply").unwrap();
    assert!(reply.body["summary"].as_str().unwrap().contains("T-1"), "{}", reply.body);
    assert!(reply.body.get("findings").is_none(), "a customer sees no evidence: {}", reply.body);
    assert!(receiver.keys().values().all(|times| *times == 1), "{:?}", receiver.keys());

    // Known after a restart, too.
    daemon.kill();
    daemon.again();
    let answer = deliver(&daemon, "/hooks/desk", &opened, KEY);
    assert_eq!((answer.status, answer.json()["tickets"].clone()), (202, json!(["T-1"])));
    assert_eq!(daemon.all().len(), 1);
}

#[test]
fn what_happens_to_a_ticket_there_is_told_here_and_still_broken_is_looked_at_again() {
    let (world, receiver) = (World::start(), Receiver::start());
    let daemon = daemon(&world, &receiver);
    deliver(&daemon, "/hooks/desk", &json!({ "id": "1", "title": "the till is broken" }), KEY);
    daemon.decided("T-1");
    let comment =
        json!({ "id": "1", "event": "commented", "author": "kim", "comment": "any news?", "delivery": "d-2" });
    for _ in 0..2 {
        assert_eq!(deliver(&daemon, "/hooks/desk", &comment, KEY).json()["tickets"], json!(["T-1"]));
    }
    deliver(&daemon, "/hooks/desk", &json!({ "id": "1", "event": "reopened" }), KEY);
    until("a second round", Duration::from_secs(60), || {
        let case = daemon.get("/api/v1/tickets/T-1").json();
        case["round"] == 2 && case["state"] == "decided"
    });
    let heard: Vec<(String, Value)> = daemon
        .events("T-1", None)
        .into_iter()
        .filter(|(_, name, _)| name == "heard")
        .map(|(_, _, data)| (data["what"].as_str().unwrap().to_owned(), data["text"].clone()))
        .collect();
    assert_eq!(heard, [("commented".to_owned(), json!("any news?")), ("reopened".to_owned(), Value::Null)]);
    let unknown = deliver(&daemon, "/hooks/desk", &json!({ "id": "nobody's", "event": "closed" }), KEY);
    assert_eq!((unknown.status, unknown.json()["tickets"].clone()), (202, json!([])));
}

#[test]
fn only_the_desk_itself_gets_in() {
    let (world, receiver) = (World::start(), Receiver::start());
    let daemon = daemon(&world, &receiver);
    let opened = json!({ "id": "1", "title": "the till is broken" });
    let forged = deliver(&daemon, "/hooks/desk", &opened, "some-other-key-of-some-length");
    assert_eq!(forged.status, 401, "{}", forged.text());
    assert!(!forged.text().contains("till"), "nothing is echoed");
    assert_eq!(deliver(&daemon, "/hooks/another", &opened, KEY).status, 404);
    // Not even with the admin's token: a desk proves itself by its signature.
    assert_eq!(daemon.post("/hooks/desk", &opened).status, 401);
    let broken = deliver(&daemon, "/hooks/desk", &json!({ "title": "no id" }), KEY);
    assert_eq!((broken.status, broken.text().contains("`id` is missing")), (400, true), "{}", broken.text());
    assert!(daemon.all().is_empty());
}

#[test]
fn a_desk_that_is_down_gets_its_verdicts_when_it_is_back() {
    let (world, receiver) = (World::start(), Receiver::start());
    let mut daemon = daemon(&world, &receiver);
    receiver.break_down(true);
    for id in ["1", "2", "3"] {
        deliver(&daemon, "/hooks/desk", &json!({ "id": id, "title": "the till is broken" }), KEY);
    }
    for number in ["T-1", "T-2", "T-3"] {
        daemon.decided(number);
    }
    daemon.kill();
    receiver.break_down(false);
    daemon.again();
    until("every ticket has its note", Duration::from_secs(90), || {
        ["1", "2", "3"].iter().all(|id| written(&receiver, id).iter().any(|kind| kind == "note"))
    });
    for id in ["1", "2", "3"] {
        assert_eq!(written(&receiver, id).iter().filter(|kind| *kind == "note").count(), 1, "{id}");
    }
}

#[test]
fn two_robots_that_answer_each_other_are_muted_and_a_human_is_told() {
    let (world, receiver) = (World::start(), Receiver::start());
    let daemon = daemon(&world, &receiver);
    deliver(&daemon, "/hooks/desk", &json!({ "id": "1", "title": "the till is broken" }), KEY);
    daemon.decided("T-1");
    for n in 0..12 {
        let comment = json!({ "id": "1", "event": "commented", "comment": format!("we got your mail {n}") });
        assert_eq!(deliver(&daemon, "/hooks/desk", &comment, KEY).status, 202);
    }
    let events = daemon.events("T-1", None);
    let heard = events.iter().filter(|(_, name, _)| name == "heard").count();
    assert!((5..=6).contains(&heard), "{heard} were noted");
    let loops = events.iter().filter(|(_, name, data)| name == "action" && data["action"]["facts"]["why"] == "loop");
    assert_eq!(loops.count(), 1, "one escalation, and no more");
}
