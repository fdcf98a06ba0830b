//! People are reached: step by step until somebody takes it on, over a crash, and once in a storm.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::daemon::Daemon;
use super::receiver::Receiver;
use super::wire::PATIENCE;
use super::world::{World, four_looks};
use crate::lab::until;

/// A daemon whose shop is broken, and belongs to `crew`; the ladder of `other` is there to tell the time.
fn daemon(world: &World, receiver: &Receiver, crew: &str) -> Daemon {
    let config = format!(
        "services: {{ shop: {{ owner: crew }}, till: {{ owner: other }} }}\n\
         triage: {{ deadline: 20s }}\n\
         budgets: {{ hosts: {{ '{}': {{ concurrent: 64, per_second: 1000 }} }} }}\n\
         channels: {{ desk: {{ webhook: {{ url: '{}', secret: {{ env: HOOK_SECRET }} }} }} }}\n\
         escalation: {{ channels: [desk] }}\n\
         people:\n  \
           ana: {{ reach: [{{ over: desk, to: ana }}] }}\n  \
           kim: {{ reach: [{{ over: desk, to: kim }}] }}\n\
         teams:\n  \
           crew: {{ {crew} }}\n  \
           other: {{ ladder: [{{ notify: kim, wait: 5s }}, {{ notify: kim, wait: 5s }}] }}\n",
        world.address, receiver.url
    );
    let shop = four_looks(world, "/broken");
    let till = shop.replace("service: shop", "service: till").replace("name: ", "name: till-");
    Daemon::start(&[("shop.yaml", &shop), ("till.yaml", &till)], &config)
}

/// What came about this ticket: kind and recipient, each key once, in order.
fn told(receiver: &Receiver, number: &str) -> Vec<(String, String, Value)> {
    let mut seen = BTreeMap::new();
    let mut told = Vec::new();
    for delivery in receiver.deliveries() {
        let text = |name: &str| delivery.body[name].as_str().unwrap_or("").to_owned();
        if delivery.body["ticket"]["number"] == number && seen.insert(delivery.key.clone(), ()).is_none() {
            told.push((text("kind"), text("recipient"), delivery.body.clone()));
        }
    }
    told
}

fn kinds(receiver: &Receiver, number: &str) -> Vec<String> {
    told(receiver, number).into_iter().map(|(kind, recipient, _)| format!("{kind} {recipient}")).collect()
}

#[test]
fn nobody_takes_it_on_and_the_ladder_is_climbed_to_its_end_over_a_crash() {
    let (world, receiver) = (World::start(), Receiver::start());
    let mut daemon = daemon(&world, &receiver, "ladder: [{ notify: ana, wait: 4s }, { notify: kim, wait: 4s }]");
    let number = daemon.file("1", "the shop is down");
    assert_eq!(daemon.decided(&number)["verdict"], "issue");
    until("the first page", PATIENCE, || !kinds(&receiver, &number).is_empty());
    daemon.kill();
    daemon.again();
    until("the end of the ladder", PATIENCE, || kinds(&receiver, &number).len() >= 3);
    assert_eq!(kinds(&receiver, &number), ["page ana", "page kim", "escalate operators"]);
    // Killed between a delivery and its note, the same message comes again, with the key that is known.
    assert!(receiver.keys().values().all(|times| *times <= 2), "{:?}", receiver.keys());
    let late = daemon.post(&format!("/api/v1/tickets/{number}/acknowledge"), &json!({}));
    assert_eq!(late.status, 409, "{}", late.text());
}

#[test]
fn who_takes_it_on_is_reminded_and_nobody_else_is_reached() {
    let (world, receiver) = (World::start(), Receiver::start());
    let crew = "acknowledge_for: 2s, ladder: [{ notify: ana, wait: 8s }, { notify: kim, wait: 8s }]";
    let daemon = daemon(&world, &receiver, crew);
    let number = daemon.file("1", "the shop is down");
    daemon.decided(&number);
    until("the page", PATIENCE, || !kinds(&receiver, &number).is_empty());
    let link = told(&receiver, &number)[0].2["acknowledge"].as_str().expect("a link").to_owned();

    let bare = |method: &str, path: &str| {
        let place = daemon.tcp();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            place.host()
        );
        place.send(request.as_bytes()).unwrap()
    };
    let acknowledged = || daemon.events(&number, None).iter().filter(|(_, name, _)| name == "acknowledged").count();
    let page = bare("GET", &link);
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(page.text().contains("<button>") && !page.text().contains("the shop is down"), "{}", page.text());
    assert_eq!(acknowledged(), 0, "to look at it changes nothing");
    assert_eq!(bare("POST", &format!("{link}0")).status, 404);
    assert_eq!(bare("POST", &link).status, 200);
    assert_eq!(acknowledged(), 1);
    let shown = daemon.get(&format!("/api/v1/tickets/{number}/events")).text();
    assert!(!shown.contains(&link), "who may read may not therefore take it on");

    until("the reminder", PATIENCE, || kinds(&receiver, &number).len() >= 2);
    let ended = daemon.command(&["ticket", "acknowledge", &number, "--for", "1h"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    // As long as another team's ladder takes nobody else hears of it.
    let body = json!({ "source": "test", "id": "2", "title": "the till is down", "services": ["till"] });
    let other = daemon.post("/api/v1/tickets", &body).json()["ticket"].as_str().unwrap().to_owned();
    until("the other ladder's end", PATIENCE, || kinds(&receiver, &other).len() >= 3);
    assert_eq!(kinds(&receiver, &number), ["page ana", "remind ana"]);
}

#[test]
fn a_storm_of_twenty_is_one_page() {
    let (world, receiver) = (World::start(), Receiver::start());
    let daemon = daemon(&world, &receiver, "ladder: [{ notify: ana, wait: 1h }]");
    let numbers: Vec<String> = (0..20).map(|n| daemon.file(&n.to_string(), "the shop is down")).collect();
    for number in &numbers {
        assert_eq!(daemon.decided(number)["verdict"], "issue");
    }
    until("a page", PATIENCE, || !receiver.deliveries().is_empty());
    let taken = daemon.post(&format!("/api/v1/tickets/{}/acknowledge", numbers[7]), &json!({ "by": "ana" }));
    assert_eq!(taken.status, 200, "{}", taken.text());
    assert_eq!(taken.json()["tickets"].as_array().map(Vec::len), Some(20), "{}", taken.text());
    until("the outbox is empty", PATIENCE, || daemon.metric("houston_outbox_queue") == Some(0.0));
    let pages: Vec<_> = receiver.deliveries().into_iter().filter(|delivery| delivery.body["kind"] == "page").collect();
    assert_eq!(pages.len(), 1, "{pages:?}");
    for number in &numbers {
        let events = daemon.events(number, None);
        assert!(events.iter().any(|(_, name, data)| name == "acknowledged" && data["by"] == "ana"), "{number}");
    }
}
