//! Killed at any moment, again and again: what was accepted is neither lost nor decided twice, and every escalation
//! arrives, under one key.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::daemon::{Daemon, ticket};
use super::receiver::Receiver;
use super::wire::{PATIENCE, Place};
use super::world::{World, a_hanging_look, four_looks};
use crate::lab::until;

/// How often it is killed; more with `HOUSTON_KILLS`.
const KILLS: usize = 15;

/// How many tickets may be under way, so that the end doesn't take forever.
const MOST: usize = 400;

/// Numbers without a library: where a test failed, its seed says how to repeat it.
struct Dice(u64);

impl Dice {
    fn between(&mut self, from: u64, to: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        from + self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % (to - from)
    }
}

#[allow(clippy::disallowed_methods)] // the test's own settings
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Files tickets until it is told to stop; goes on only once an accepted number is on disk.
struct Filer<'a> {
    place: &'a Mutex<(Place, String)>,
    witness: &'a Path,
    stop: &'a AtomicBool,
    filed: &'a AtomicUsize,
}

impl Filer<'_> {
    fn run(&self, name: usize) {
        let mut witness = OpenOptions::new().create(true).append(true).open(self.witness).unwrap();
        let mut n = 0;
        while !self.stop.load(Ordering::SeqCst) && self.filed.load(Ordering::SeqCst) < MOST {
            let id = format!("{name}-{n}");
            let (place, token) = self.place.lock().unwrap().clone();
            let body = ticket(&id, "the shop is slow").to_string();
            let request = format!(
                "POST /api/v1/tickets HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                place.host(),
                body.len()
            );
            match place.send(request.as_bytes()) {
                Ok(answer) if answer.status == 202 => {
                    let number = answer.json()["ticket"].as_str().unwrap().to_owned();
                    // In one piece, for there are two who write.
                    witness.write_all(format!("{number} {id}\n").as_bytes()).unwrap();
                    witness.sync_data().unwrap();
                    self.filed.fetch_add(1, Ordering::SeqCst);
                    n += 1;
                }
                Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text()),
                // Nobody knows whether it was accepted: the same id is sent again, as any sender does.
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

#[test]
fn nothing_accepted_is_lost_or_decided_twice_however_often_it_is_killed() {
    let kills = setting("HOUSTON_KILLS").map_or(KILLS, |kills| kills as usize);
    let seed = setting("HOUSTON_SEED").unwrap_or_else(|| u64::from(std::process::id()) << 20 | 1);
    eprintln!("HOUSTON_SEED={seed} HOUSTON_KILLS={kills}");
    let mut dice = Dice(seed);
    let (world, receiver) = (World::start(), Receiver::start());
    let config = format!(
        "services: {{ shop: {{}} }}\n\
         triage: {{ deadline: 1s }}\n\
         budgets: {{ hosts: {{ '{}': {{ concurrent: 64, per_second: 1000 }} }} }}\n\
         channels: {{ desk: {{ webhook: {{ url: '{}', secret: {{ env: HOOK_SECRET }} }} }} }}\n\
         escalation: {{ channels: [desk] }}\n",
        world.address, receiver.url
    );
    let checks = [("shop.yaml", four_looks(&world, "/well")), ("silent.yaml", a_hanging_look(&world))];
    let checks: Vec<(&str, &str)> = checks.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let mut daemon = Daemon::start(&checks, &config);
    let witness = daemon.home().join("witness");
    let place = Mutex::new((daemon.tcp(), daemon.token.clone()));
    let (stop, filed) = (AtomicBool::new(false), AtomicUsize::new(0));

    let filer = Filer { place: &place, witness: &witness, stop: &stop, filed: &filed };
    std::thread::scope(|scope| {
        let filer = &filer;
        let filers: Vec<_> = (0..2).map(|name| scope.spawn(move || filer.run(name))).collect();
        for round in 0..kills {
            std::thread::sleep(Duration::from_millis(dice.between(50, 900)));
            daemon.kill();
            // The desk is away now and then: what it missed must come again in a later life.
            receiver.break_down(round % 3 == 1);
            daemon.again();
            *place.lock().unwrap() = (daemon.tcp(), daemon.token.clone());
        }
        stop.store(true, Ordering::SeqCst);
        filers.into_iter().for_each(|filer| filer.join().unwrap());
    });
    receiver.break_down(false);

    let mut accepted: BTreeMap<String, String> = BTreeMap::new();
    for line in std::fs::read_to_string(&witness).unwrap().lines() {
        let (number, id) = line.split_once(' ').unwrap();
        let before = accepted.insert(number.to_owned(), id.to_owned());
        assert!(before.is_none_or(|before| before == id), "{number} was given to two tickets");
    }
    assert!(accepted.len() >= kills.min(20), "only {} tickets came in", accepted.len());
    until("every ticket is decided", PATIENCE * 2, || daemon.metric("houston_cases_open") == Some(0.0));
    until("every escalation is delivered", PATIENCE * 2, || daemon.metric("houston_outbox_queue") == Some(0.0));

    let known = daemon.all();
    let by_number: BTreeMap<&str, &serde_json::Value> =
        known.iter().map(|ticket| (ticket["ticket"].as_str().unwrap(), ticket)).collect();
    assert_eq!(by_number.len(), known.len());
    let ids: BTreeSet<&str> = known.iter().map(|ticket| ticket["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), known.len(), "no ticket is there twice");
    for (number, id) in &accepted {
        let ticket = by_number.get(number.as_str()).unwrap_or_else(|| panic!("{number} is lost"));
        assert_eq!(ticket["id"], id.as_str(), "{number}");
    }
    let mut keys = BTreeSet::new();
    for ticket in &known {
        let number = ticket["ticket"].as_str().unwrap();
        assert_eq!((&ticket["state"], &ticket["round"]), (&"decided".into(), &1.into()), "{ticket}");
        let history = daemon.events(number, None);
        let finals = history.iter().filter(|(_, name, data)| name == "verdict" && data["verdict"]["phase"] == "final");
        assert_eq!(finals.count(), 1, "{number} has one verdict: {history:?}");
        let escalations: Vec<&str> = history
            .iter()
            .filter(|(_, name, data)| name == "action" && data["action"]["kind"] == "escalate")
            .map(|(_, _, data)| data["action"]["key"].as_str().unwrap())
            .collect();
        assert_eq!(escalations.len(), 1, "{number} is escalated once, for one look never answers: {history:?}");
        keys.extend(escalations.into_iter().map(str::to_owned));
    }
    let delivered = receiver.keys();
    assert_eq!(delivered.keys().cloned().collect::<BTreeSet<_>>(), keys, "each arrived, and nothing else");
    let mut of_ticket: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for delivery in receiver.deliveries() {
        let number = delivery.body["ticket"]["number"].as_str().unwrap().to_owned();
        of_ticket.entry(number).or_default().insert(delivery.key);
    }
    assert!(of_ticket.values().all(|keys| keys.len() == 1), "a ticket's escalation keeps its key: {of_ticket:?}");
    eprintln!(
        "{} accepted, {} known, {} deliveries of {} escalations",
        accepted.len(),
        known.len(),
        receiver.deliveries().len(),
        keys.len()
    );
    drop(daemon);
}
