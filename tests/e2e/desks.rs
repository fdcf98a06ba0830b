//! Ticket systems that are real, and a daemon that they tell of their tickets.

use serde_json::json;

use super::daemon::Daemon;
use super::program::variable;
use crate::lab::alertmanager::Alertmanager;
use crate::lab::{READY, until};

/// A check, so that a daemon has one.
const CHECKS: &[(&str, &str)] =
    &[("shop.yaml", "service: shop\nchecks:\n- { name: port, tcp: { address: '127.0.0.1:9' } }\n")];

#[test]
fn a_real_alertmanager_opens_and_closes_tickets() {
    let config = "ticketing: { alerts: { alertmanager: { secrets: [{ env: HOOK_SECRET }] } } }\n";
    let daemon = Daemon::start(CHECKS, config);
    let super::wire::Place::Tcp(address) = daemon.tcp() else { panic!("it listens over TCP") };
    let alertmanager = Alertmanager::telling(&format!("http://{address}/hooks/alerts"), variable("HOOK_SECRET"));
    alertmanager.fire(&[("CheckoutSlow", "shop")]);
    until("a ticket", READY, || !daemon.all().is_empty());
    let ticket = daemon.all().remove(0);
    assert_eq!(ticket["title"], "CheckoutSlow of shop", "{ticket}");
    let number = ticket["ticket"].as_str().unwrap().to_owned();
    let shown = daemon.decided(&number);
    assert_eq!((&shown["report"]["alert"], &shown["report"]["services"]), (&json!(true), &json!(["shop"])), "{shown}");
    alertmanager.resolve("CheckoutSlow", "shop");
    until("the end of the alert", READY, || {
        daemon.events(&number, None).iter().any(|(_, name, data)| name == "heard" && data["what"] == "closed")
    });
    assert_eq!(daemon.all().len(), 1, "whatever was repeated is the same ticket");
}

#[test]
fn an_alertmanager_with_a_wrong_token_opens_none() {
    let config = "ticketing: { alerts: { alertmanager: { secrets: [{ env: HOOK_SECRET }] } } }\n";
    let daemon = Daemon::start(CHECKS, config);
    let super::wire::Place::Tcp(address) = daemon.tcp() else { panic!("it listens over TCP") };
    let alertmanager = Alertmanager::telling(&format!("http://{address}/hooks/alerts"), "not-the-key-0123456789");
    alertmanager.fire(&[("CheckoutSlow", "shop")]);
    until("a refusal in the log", READY, || daemon.log().contains("a delivery was refused"));
    assert!(daemon.all().is_empty());
}
