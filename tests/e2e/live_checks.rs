//! `checks.d/` changes under a running daemon: what is right is in force at once, what is wrong costs only itself.

use std::time::Duration;

use serde_json::{Value, json};

use super::daemon::{Daemon, ticket};
use super::tickets::{config, well};
use super::world::World;
use crate::lab::until;

/// Within two seconds, on a quiet machine.
const SOON: Duration = Duration::from_secs(10);

fn names(daemon: &Daemon) -> Vec<String> {
    let listed = daemon.get("/api/v1/checks").json();
    let checks = listed["checks"].as_array().expect("a list of checks");
    checks.iter().map(|check| check["name"].as_str().expect("a name").to_owned()).collect()
}

fn has(daemon: &Daemon, name: &str) -> bool {
    names(daemon).iter().any(|known| known == name)
}

fn stale(daemon: &Daemon) -> Value {
    daemon.get("/api/v1/checks").json()["stale_files"].clone()
}

#[test]
fn checks_come_break_heal_and_go_while_it_runs() {
    let world = World::start();
    let daemon = well(&world);
    assert_eq!(names(&daemon).len(), 4);
    let file = daemon.checks().join("extra.yaml");
    let good =
        |name: &str| format!("service: shop\nchecks:\n- {{ name: {name}, tcp: {{ address: '{}' }} }}\n", world.address);

    std::fs::write(&file, good("extra")).unwrap();
    until("a new file is in force", SOON, || has(&daemon, "extra"));
    let run = daemon.post("/api/v1/checks/extra/run", &json!({}));
    assert_eq!((run.status, &run.json()["outcome"]), (200, &json!("good")), "{}", run.text());

    let wrong = ["service: shop\nchecks:\n- { name: extra, tpc: {} }\n", "checks: [", "\u{0}\u{1b}[2J"];
    for (n, broken) in wrong.into_iter().enumerate() {
        std::fs::write(&file, broken).unwrap();
        until("a broken file is noticed", SOON, || daemon.metric("houston_config_stale_files") == Some(1.0));
        assert!(has(&daemon, "extra"), "its last good version stays");
        assert_eq!(stale(&daemon), json!(["checks.d/extra.yaml"]));
        let ready = daemon.get("/readyz");
        assert_eq!((ready.status, ready.text().contains("stale checks")), (200, true), "{}", ready.text());
        assert!(!ready.text().contains("extra"), "no details without a token: {}", ready.text());
        let status = daemon.command(&["status"]);
        assert_eq!(status.code, Some(1), "{status:?}");
        assert!(status.stdout.contains("checks.d/extra.yaml"), "{}", status.stdout);
        let verdict = daemon.post("/api/v1/tickets?wait=30s", &ticket(&n.to_string(), "the shop is slow")).json();
        assert_eq!(verdict["coverage"]["stale_files"], json!(["checks.d/extra.yaml"]), "{verdict}");
        assert_eq!(verdict["coverage"]["checks_answered"], 5, "the last good version was asked: {verdict}");

        std::fs::write(&file, good("extra")).unwrap();
        until("a mended file heals", SOON, || daemon.metric("houston_config_stale_files") == Some(0.0));
        assert_eq!(daemon.get("/readyz").text(), "ready\n");
        assert_eq!(daemon.command(&["status"]).code, Some(0));
    }

    // As editors save: a new file beside it, renamed over it.
    let beside = daemon.checks().join(".extra.yaml.swp");
    std::fs::write(&beside, good("renamed")).unwrap();
    std::fs::rename(&beside, &file).unwrap();
    until("a renamed file is in force", SOON, || has(&daemon, "renamed") && !has(&daemon, "extra"));

    std::fs::remove_file(&file).unwrap();
    until("a file that is gone is forgotten", SOON, || !has(&daemon, "renamed"));
    assert_eq!((names(&daemon).len(), stale(&daemon)), (4, json!([])));
    let log = daemon.log();
    assert!(!log.bytes().any(|byte| byte == 0x1b || byte == 0), "{log}");
}

#[test]
fn a_daemon_may_start_on_faults_and_on_nothing() {
    let world = World::start();
    let daemon = Daemon::start(&[("shop.yaml", "checks: [")], &config(&world, ""));
    assert_eq!(daemon.metric("houston_config_stale_files"), Some(1.0));
    let verdict = daemon.post("/api/v1/tickets?wait=30s", &ticket("1", "the shop is slow")).json();
    assert_eq!(verdict["verdict"], "doubtful", "{verdict}");
    assert_eq!(verdict["coverage"]["stale_files"], json!(["checks.d/shop.yaml"]));

    let empty = Daemon::start(&[], &config(&world, ""));
    assert!(empty.get("/readyz").text().contains("no checks"));
    let verdict = empty.post("/api/v1/tickets?wait=30s", &ticket("1", "the shop is slow")).json();
    assert_eq!(verdict["verdict"], "doubtful", "{verdict}");
    assert_eq!(empty.command(&["ticket", "show", "T-1"]).code, Some(3), "nothing answered");
}
