//! One daemon to a state directory, ended in order when asked to, ended at once when its store is gone.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::daemon::{Daemon, ticket};
use super::program::run;
use super::receiver::Receiver;
use super::tickets::{config, well};
use super::wire::PATIENCE;
use super::world::{World, a_hanging_look, four_looks};
use crate::lab::until;

#[test]
fn a_second_daemon_on_the_same_state_ends_at_once_and_says_why() {
    let world = World::start();
    let mut daemon = well(&world);
    let token = daemon.token.clone();
    let start = |listen: &str| {
        let arguments =
            ["serve", "--listen", listen, "--checks", "checks.d", "--config", "houston.yaml", "--state", "state"];
        let started = Instant::now();
        let second = run(daemon.home(), arguments);
        assert!(started.elapsed() < Duration::from_secs(10), "it took {:?}", started.elapsed());
        second
    };
    let own = match daemon.tcp() {
        super::wire::Place::Tcp(address) => address,
        super::wire::Place::Socket(_) => unreachable!("it listens on TCP"),
    };
    // On a port of its own, and on the first one's, as when somebody simply starts it twice.
    for listen in ["127.0.0.1:0", &own] {
        let second = start(listen);
        assert_eq!(second.code, Some(3), "{second:?}");
        assert!(second.stderr.contains("in use by another daemon"), "{}", second.stderr);
        assert!(second.stderr.contains("houston status"), "{}", second.stderr);
        assert_eq!(second.stdout, "");
    }
    assert_eq!(daemon.get("/readyz").status, 200, "the first one is not disturbed");
    assert!(daemon.command(&["status"]).stdout.contains("houston"), "nor is its socket");

    // What a killed one leaves behind is no obstacle.
    daemon.file("1", "the shop is slow");
    daemon.kill();
    assert!(daemon.state().join("houston.lock").exists() && daemon.state().join("houston.sock").exists());
    daemon.again();
    assert_eq!(daemon.token, token, "the token is the same in the second life");
    daemon.decided("T-1");
    assert_eq!(daemon.command(&["ticket", "list"]).code, Some(0));
}

#[test]
fn asked_to_end_it_lets_rounds_end_and_takes_no_more() {
    let world = World::start();
    let checks = [("shop.yaml", four_looks(&world, "/well")), ("silent.yaml", a_hanging_look(&world))];
    let checks: Vec<(&str, &str)> = checks.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let mut daemon = Daemon::start(&checks, &config(&world, "").replace("deadline: 20s", "deadline: 4s"));
    for n in 0..5 {
        daemon.file(&n.to_string(), "the shop is slow");
    }
    until("the looks are under way", PATIENCE, || world.hanging() > 0);
    daemon.signal(Signal::TERM);
    until("it drains", PATIENCE, || daemon.get("/readyz").status == 503);
    let refused = daemon.post("/api/v1/tickets", &ticket("late", "the shop is slow"));
    assert_eq!((refused.status, refused.header("retry-after").is_some()), (503, true), "{}", refused.text());
    assert_eq!(daemon.ended(Duration::from_secs(40)), Some(0), "{}", daemon.log());
    let log = daemon.log();
    assert!(log.trim_end().ends_with("msg=stopped"), "its last words are not lost with it: {log}");

    daemon.again();
    let all = daemon.all();
    assert_eq!(all.len(), 5, "what was refused is not there");
    for ticket in all {
        let ticket = daemon.decided(ticket["ticket"].as_str().unwrap());
        assert_eq!((&ticket["round"], ticket["verdict"].is_string()), (&json!(1), true), "{ticket}");
    }
}

#[test]
fn asked_twice_it_ends_at_once_and_the_next_start_goes_on() {
    let world = World::start();
    let checks = [("silent.yaml", a_hanging_look(&world))];
    let checks: Vec<(&str, &str)> = checks.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let mut daemon = Daemon::start(&checks, &config(&world, ""));
    daemon.file("1", "the shop is slow");
    until("the look is under way", PATIENCE, || world.hanging() > 0);
    daemon.signal(Signal::TERM);
    until("it drains", PATIENCE, || daemon.get("/readyz").status == 503);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended(Duration::from_secs(10)), Some(0), "{}", daemon.log());
    assert!(daemon.log().contains("a second signal"), "{}", daemon.log());
    daemon.again();
    assert_eq!(daemon.decided("T-1")["verdict"], "doubtful");
}

#[test]
fn asked_to_end_under_load_it_loses_nothing() {
    let world = World::start();
    let mut daemon = well(&world);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let accepted = std::thread::scope(|scope| {
        let filers: Vec<_> = (0..4)
            .map(|filer| {
                let (daemon, stop) = (&daemon, &stop);
                scope.spawn(move || {
                    let mut accepted = Vec::new();
                    for n in 0.. {
                        if stop.load(std::sync::atomic::Ordering::SeqCst) {
                            break;
                        }
                        match daemon.try_post("/api/v1/tickets", &ticket(&format!("{filer}-{n}"), "the shop is slow")) {
                            Ok(answer) if answer.status == 202 => {
                                accepted.push(answer.json()["ticket"].as_str().unwrap().to_owned());
                            }
                            Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text()),
                            Err(_) => std::thread::sleep(Duration::from_millis(5)),
                        }
                    }
                    accepted
                })
            })
            .collect();
        until("some tickets are in", PATIENCE, || daemon.metric("houston_tickets_total").is_some_and(|n| n > 40.0));
        daemon.signal(Signal::TERM);
        until("it has ended", PATIENCE, || daemon.tcp().connect().is_err());
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        filers.into_iter().flat_map(|filer| filer.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(daemon.ended(Duration::from_secs(40)), Some(0), "{}", daemon.log());
    daemon.again();
    for number in &accepted {
        daemon.decided(number);
    }
    assert_eq!(daemon.all().len(), accepted.len(), "{accepted:?}");
}

#[test]
fn a_store_that_is_gone_ends_the_process_and_accepts_nothing() {
    let world = World::start();
    let mut daemon = Daemon::start(&[("shop.yaml", &a_hanging_look(&world))], &config(&world, ""));
    daemon.file("1", "the shop is slow");
    until("a round is under way", PATIENCE, || world.hanging() > 0);
    std::fs::remove_file(daemon.state().join("houston.db")).unwrap();
    // Nobody asks: it must notice by itself. The round under way, which has 20 s, is not waited for.
    let noticed = Instant::now();
    let code = daemon.ended(PATIENCE);
    assert!(noticed.elapsed() < Duration::from_secs(15), "it took {:?}", noticed.elapsed());
    assert!(code.is_some_and(|code| code != 0), "ended with {code:?}:\n{}", daemon.log());
    assert!(daemon.log().contains("deleted or replaced"), "{}", daemon.log());
    // The next life says what happened, and never starts silently empty.
    daemon.again();
    assert!(daemon.get("/readyz").text().contains("store recovered"), "{}", daemon.get("/readyz").text());
    assert_eq!(daemon.command(&["status"]).code, Some(1));
    let number = daemon.file("2", "the shop is slow");
    assert_ne!(number, "T-1", "no number is given twice");
}

#[test]
fn a_ticket_that_is_damaged_on_disk_goes_to_a_human_and_disturbs_no_other() {
    let (world, receiver) = (World::start(), Receiver::start());
    let more = format!(
        "channels: {{ desk: {{ webhook: {{ url: '{}', secret: {{ env: HOOK_SECRET }} }} }} }}\n\
         escalation: {{ channels: [desk] }}\n",
        receiver.url
    );
    let mut daemon = Daemon::start(&[("shop.yaml", &a_hanging_look(&world))], &config(&world, &more));
    for n in 0..3 {
        daemon.file(&n.to_string(), "the shop is slow");
    }
    daemon.kill();
    std::fs::write(daemon.checks().join("shop.yaml"), four_looks(&world, "/well")).unwrap();
    let database = rusqlite::Connection::open(daemon.state().join("houston.db")).unwrap();
    let bits = "UPDATE ticket SET body = CAST(replace(CAST(body AS TEXT), 'slow', 'fast') AS BLOB) WHERE number = 2";
    let changed = database.execute(bits, []);
    assert_eq!(changed, Ok(1));
    drop(database);

    daemon.again();
    until("all are decided", PATIENCE, || daemon.metric("houston_cases_open") == Some(0.0));
    assert_eq!(daemon.decided("T-1")["verdict"], "no_issue");
    assert_eq!(daemon.decided("T-3")["verdict"], "no_issue");
    until("a human is told", PATIENCE, || !receiver.deliveries().is_empty());
    let told = receiver.deliveries();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0].body["why"], &told[0].body["ticket"]["number"]), (&json!("damaged"), &json!("T-2")));
}
