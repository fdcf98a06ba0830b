//! Tickets come in once, whatever comes twice; each has its verdict, and is there after a restart.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::daemon::{Daemon, ticket};
use super::world::{World, four_looks};
use crate::lab::until;

/// A configuration in which the world may be asked as often as these tests do.
pub fn config(world: &World, more: &str) -> String {
    // The tests file faster than any help desk.
    let fast = if more.contains("listen:") { "" } else { "listen: { tickets_per_minute: 1000000 }\n" };
    format!(
        "services: {{ shop: {{ aliases: [till] }} }}\n\
         triage: {{ deadline: 20s }}\n\
         budgets: {{ hosts: {{ '{}': {{ concurrent: 64, per_second: 1000 }} }} }}\n\
         {fast}{more}",
        world.address
    )
}

/// A daemon whose four looks are all well.
pub fn well(world: &World) -> Daemon {
    Daemon::start(&[("shop.yaml", &four_looks(world, "/well"))], &config(world, ""))
}

#[test]
fn a_ticket_is_accepted_decided_and_told_over_both_wires() {
    let world = World::start();
    let daemon = well(&world);

    let accepted = daemon.post("/api/v1/tickets", &ticket("1", "the shop is slow"));
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    assert_eq!(accepted.header("location"), Some("/api/v1/tickets/T-1"));
    assert_eq!(accepted.json()["ticket"], "T-1");

    let waited = daemon.post("/api/v1/tickets?wait=30s", &ticket("2", "the shop is slow"));
    assert_eq!(waited.status, 200, "{}", waited.text());
    assert_eq!(waited.header("location"), Some("/api/v1/tickets/T-2"));
    let verdict = waited.json();
    assert_eq!(
        (&verdict["verdict"], &verdict["version"], &verdict["phase"]),
        (&json!("no_issue"), &json!(1), &json!("final")),
        "{verdict}"
    );
    assert_eq!(verdict["coverage"]["checks_answered"], 4);

    // The local socket needs no token.
    let socket = daemon.socket();
    let request = b"GET /api/v1/tickets/T-2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let shown = socket.send(request).unwrap();
    assert_eq!(shown.status, 200, "{}", shown.text());
    let shown = shown.json();
    assert_eq!(
        (&shown["verdict"], &shown["round"], &shown["title"]),
        (&json!("no_issue"), &json!(1), &json!("the shop is slow"))
    );
    assert_eq!(shown["document"]["findings"], verdict["findings"]);

    daemon.decided("T-1");
    let listed: Vec<_> = daemon.all().iter().map(|ticket| ticket["ticket"].clone()).collect();
    assert_eq!(listed, ["T-2", "T-1"]);
    for (path, status) in [("T-3", 404), ("T-0", 404), ("T-18446744073709551616", 404), ("T--1", 404), ("%2e%2e", 404)]
    {
        assert_eq!(daemon.get(&format!("/api/v1/tickets/{path}")).status, status, "{path}");
    }
    assert_eq!(daemon.metric("houston_tickets_total"), Some(2.0));
}

#[test]
fn the_same_ticket_is_one_ticket_however_often_it_comes() {
    let world = World::start();
    let daemon = well(&world);
    let body = ticket("dup", "the shop is slow");

    let numbers: BTreeSet<String> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..10).map(|_| scope.spawn(|| daemon.post("/api/v1/tickets", &body))).collect();
        calls
            .into_iter()
            .map(|call| {
                let answer = call.join().unwrap();
                assert_eq!(answer.status, 202, "{}", answer.text());
                answer.json()["ticket"].as_str().unwrap().to_owned()
            })
            .collect()
    });
    assert_eq!(numbers, BTreeSet::from(["T-1".to_owned()]));
    assert_eq!(daemon.decided("T-1")["round"], 1);
    let again = daemon.post("/api/v1/tickets?wait=10s", &body);
    assert_eq!((again.status, &again.json()["verdict"]), (200, &json!("no_issue")));
    let (one, other) = (daemon.post("/api/v1/tickets", &body), daemon.post("/api/v1/tickets", &body));
    assert_eq!((one.status, one.text()), (other.status, other.text()), "the same delivery gets the same answer");
    assert_eq!(one.json()["ticket"], "T-1");

    // Another source, another ticket.
    let other = json!({ "source": "other", "id": "dup", "title": "the shop is slow" });
    assert_eq!(daemon.post("/api/v1/tickets", &other).json()["ticket"], "T-2");
    assert_eq!(daemon.all().len(), 2);
    assert_eq!(daemon.metric("houston_tickets_total"), Some(2.0));
}

#[test]
fn an_idempotency_key_stands_for_one_ticket() {
    let world = World::start();
    let daemon = well(&world);
    let send = |key: &str, body: &str| {
        let line = format!("Idempotency-Key: {key}");
        daemon.tcp().send(&daemon.request("POST", "/api/v1/tickets", &[&line], Some(body.as_bytes()))).unwrap()
    };
    let body = r#"{"title":"the shop is slow"}"#;
    let first = send("k-1", body);
    assert_eq!((first.status, &first.json()["ticket"]), (202, &json!("T-1")));
    let again = send("k-1", body);
    assert_eq!((again.status, again.text()), (202, first.text()));
    let changed = send("k-1", r#"{"title":"something else"}"#);
    assert_eq!(changed.status, 409, "{}", changed.text());
    assert_eq!(send("k-2", body).json()["ticket"], "T-2");
    let without = daemon.post("/api/v1/tickets", &json!({ "title": "the shop is slow" }));
    assert_eq!(without.json()["ticket"], "T-3", "without a key and an id each is another");
    assert_eq!(send(&"k".repeat(201), body).status, 400);
    assert_eq!(send("", body).status, 400);
}

#[test]
fn another_round_follows_and_everything_is_there_after_a_restart() {
    let world = World::start();
    let mut daemon = Daemon::start(&[("shop.yaml", &four_looks(&world, "/switch"))], &config(&world, ""));
    let first = daemon.post("/api/v1/tickets?wait=30s", &ticket("1", "the shop is slow"));
    assert_eq!(first.json()["verdict"], "no_issue");

    world.switch(503);
    // Answers are shared for ten seconds, those of another round too: this is a round of its own all the same.
    let again = daemon.post("/api/v1/tickets/T-1/retriage", &json!({}));
    assert_eq!((again.status, &again.json()["round"]), (202, &json!(2)), "{}", again.text());
    let second = daemon.decided("T-1");
    assert_eq!(second["round"], 2);
    assert_eq!(daemon.post("/api/v1/tickets/T-9/retriage", &json!({})).status, 404);

    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.ended(Duration::from_secs(40)), Some(0));
    daemon.again();
    assert_eq!(daemon.get("/api/v1/tickets/T-1").json()["document"], second["document"]);
    assert_eq!(daemon.post("/api/v1/tickets", &ticket("1", "the shop is slow")).json()["ticket"], "T-1");
    assert_eq!(daemon.all().len(), 1);
    let verdicts = daemon
        .events("T-1", None)
        .iter()
        .filter(|(_, name, data)| name == "verdict" && data["verdict"]["phase"] == "final")
        .count();
    assert_eq!(verdicts, 2, "the first round's verdict stands beside the second's");
}

#[test]
fn what_is_under_way_cannot_be_triaged_again() {
    let world = World::start();
    let daemon = Daemon::start(&[("shop.yaml", &super::world::a_hanging_look(&world))], &config(&world, ""));
    daemon.file("1", "the shop is slow");
    until("the look is under way", super::wire::PATIENCE, || world.hanging() > 0);
    let refused = daemon.post("/api/v1/tickets/T-1/retriage", &json!({}));
    assert_eq!(refused.status, 409, "{}", refused.text());
    // A wait that is over is no failure: the ticket is accepted, and the verdict comes later.
    let waited = daemon.post("/api/v1/tickets?wait=100ms", &ticket("1", "the shop is slow"));
    assert_eq!((waited.status, &waited.json()["ticket"]), (202, &json!("T-1")));
}
