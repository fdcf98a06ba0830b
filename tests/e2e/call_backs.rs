//! After *no issue* somebody calls back; what the customer says counts, and silence says nothing.

use serde_json::json;

use super::daemon::{Daemon, ticket};
use super::receiver::Receiver;
use super::tickets::config;
use super::world::{World, four_looks};
use crate::lab::until;
use std::time::Duration;

fn daemon(world: &World, receiver: &Receiver) -> Daemon {
    let more = format!(
        "channels: {{ desk: {{ webhook: {{ url: '{}', secret: {{ env: HOOK_SECRET }} }} }} }}\n\
         escalation: {{ channels: [desk] }}\ncall_back: {{ within: 20m }}\n",
        receiver.url
    );
    Daemon::start(&[("shop.yaml", &four_looks(world, "/well"))], &config(world, &more))
}

#[test]
fn still_broken_is_escalated_at_once_and_looked_at_again() {
    let (world, receiver) = (World::start(), Receiver::start());
    let daemon = daemon(&world, &receiver);
    let mut report = ticket("1", "the till is broken");
    report["contact"] = json!("+49 30 1234");
    daemon.post("/api/v1/tickets", &report);
    let case = daemon.decided("T-1");
    assert_eq!((&case["verdict"], &case["callback"]["state"]), (&json!("no_issue"), &json!("open")), "{case}");
    assert_eq!(case["callback"]["contact"], "+49 30 1234");
    let kinds = || -> Vec<String> {
        receiver.deliveries().iter().map(|delivery| delivery.body["kind"].as_str().unwrap_or("").to_owned()).collect()
    };
    until("somebody is asked to call", Duration::from_secs(60), || kinds() == ["call_back"]);
    assert_eq!(receiver.deliveries()[0].body["contact"], "+49 30 1234");

    let said = daemon.command(&["ticket", "callback", "T-1", "still-broken", "--note", "two of three shops"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_eq!(said.stdout.trim(), "T-1: noted, still broken");
    until("a human is told", Duration::from_secs(60), || kinds().contains(&"escalate".to_owned()));
    until("another round", Duration::from_secs(60), || {
        let case = daemon.get("/api/v1/tickets/T-1").json();
        case["round"] == 2 && case["state"] == "decided"
    });
    assert_eq!(daemon.metric("houston_missed_issues_total"), Some(1.0));
    let told = daemon.events("T-1", None).into_iter().find(|(_, name, _)| name == "called_back").unwrap().2;
    assert_eq!((&told["answer"], &told["note"]), (&json!("still_broken"), &json!("two of three shops")));
}

#[test]
fn fine_ends_it_and_is_said_once() {
    let (world, receiver) = (World::start(), Receiver::start());
    let daemon = daemon(&world, &receiver);
    daemon.file("1", "the till is broken");
    daemon.decided("T-1");
    let path = "/api/v1/tickets/T-1/callback";
    let fine = daemon.post(path, &json!({ "answer": "fine" }));
    assert_eq!((fine.status, &fine.json()["callback"]), (200, &json!("fine")), "{}", fine.text());
    assert_eq!(daemon.post(path, &json!({ "answer": "still_broken" })).status, 409, "it is over");
    assert_eq!(daemon.post(path, &json!({ "answer": "perhaps" })).status, 400);
    assert_eq!(daemon.metric("houston_missed_issues_total"), Some(0.0));
    assert_eq!(daemon.get("/api/v1/tickets/T-1").json()["round"], 1);
}
