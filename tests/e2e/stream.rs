//! Events of a ticket as they happen: in order, numbered, and resumed where they broke off.

use std::io::{BufRead, BufReader, Write};

use serde_json::json;

use super::daemon::{Daemon, events, ticket};
use super::tickets::{config, well};
use super::world::{World, a_hanging_look, four_looks};

#[test]
fn a_history_is_told_in_order_and_resumed_without_loss_or_repetition() {
    let world = World::start();
    let daemon = well(&world);
    daemon.post("/api/v1/tickets?wait=30s", &ticket("1", "the shop is slow"));
    let all = daemon.events("T-1", None);

    let names: Vec<&str> = all.iter().map(|(_, name, _)| name.as_str()).collect();
    assert_eq!(names.first(), Some(&"ticket"), "{names:?}");
    assert_eq!(names.iter().filter(|name| **name == "finding").count(), 4, "{names:?}");
    assert_eq!(names.iter().filter(|name| **name == "verdict").count(), 1, "{names:?}");
    let verdict = names.iter().position(|name| *name == "verdict").unwrap();
    let last_finding = names.iter().rposition(|name| *name == "finding").unwrap();
    assert!(last_finding < verdict, "{names:?}");
    assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0), "ids grow: {all:?}");
    for (_, name, data) in &all {
        assert_eq!(data["event"], name.as_str());
    }

    for cut in 0..all.len() {
        let rest = daemon.events("T-1", Some(&all[cut].0.to_string()));
        assert_eq!(rest, all[cut + 1..], "after event {cut}");
    }
    // What is no id is as good as none: better everything twice than something not at all.
    for id in ["x", "-1", "1e3", ""] {
        assert_eq!(daemon.events("T-1", Some(id)).len(), all.len(), "{id:?}");
    }
    assert_eq!(daemon.events("T-1", Some("18446744073709551615")), []);
    assert_eq!(daemon.get("/api/v1/tickets/T-2/events").status, 404);
}

/// Reads a stream of events under way, one at a time.
struct Live(BufReader<Box<dyn super::wire::Stream>>);

impl Live {
    fn follow(daemon: &Daemon, number: &str, after: Option<u64>) -> Live {
        let line = format!("Last-Event-ID: {}", after.unwrap_or(0));
        let request = daemon.request("GET", &format!("/api/v1/tickets/{number}/events"), &[&line], None);
        let mut stream = daemon.tcp().connect().unwrap();
        stream.write_all(&request).unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        Live(reader)
    }

    fn next(&mut self) -> (u64, String, serde_json::Value) {
        let mut block = String::new();
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ended after {block:?}");
            let line = line.trim_end();
            if line.is_empty() && block.contains("data:") {
                return events(&format!("{block}\n")).remove(0);
            }
            // Lengths of chunks, and the signs of life between events, are not events.
            if line.starts_with("id:") || line.starts_with("event:") || line.starts_with("data:") {
                block.push_str(line);
                block.push('\n');
            }
        }
    }
}

#[test]
fn a_follower_hears_each_event_as_it_happens_and_can_come_back() {
    let world = World::start();
    let checks = [("shop.yaml", four_looks(&world, "/well")), ("silent.yaml", a_hanging_look(&world))];
    let checks: Vec<(&str, &str)> = checks.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let daemon = Daemon::start(&checks, &config(&world, "").replace("deadline: 20s", "deadline: 6s"));
    daemon.file("1", "the shop is slow");

    // Four answer at once, the fifth never: the stream stands open in between.
    let mut live = Live::follow(&daemon, "T-1", None);
    let mut heard = Vec::new();
    while heard.iter().filter(|(_, name, _): &&(u64, String, _)| name == "finding").count() < 4 {
        heard.push(live.next());
    }
    drop(live);
    let mut live = Live::follow(&daemon, "T-1", heard.last().map(|(id, _, _)| *id));
    while !heard.iter().any(|(_, name, data)| name == "verdict" && data["verdict"]["phase"] == "final") {
        heard.push(live.next());
    }
    let kept = daemon.events("T-1", None);
    assert_eq!(heard, kept[..heard.len()], "nothing lost, nothing twice");
    // Whether it has arrived by now is another matter.
    let last = kept.iter().map(|(_, name, _)| name.as_str()).rfind(|name| *name != "reached");
    assert_eq!(last, Some("action"), "it was escalated: {kept:?}");
}

#[test]
fn no_follower_ever_misses_the_verdict() {
    let world = World::start();
    let daemon = well(&world);
    // Short rounds, followed from their first moment: whichever way the two race, the last word is the verdict.
    for round in 0..25 {
        let number = daemon.file(&round.to_string(), "the shop is slow");
        let told = daemon.events(&number, None);
        let last = told.last().map(|(_, name, data)| (name.as_str(), data["verdict"]["verdict"].clone()));
        assert_eq!(last, Some(("verdict", json!("no_issue"))), "{number}: {told:?}");
    }
}
