//! Text from outside reaches no screen, page or log as anything but text.

use std::time::Duration;

use serde_json::json;

use super::daemon::Daemon;
use super::program::{Ended, run};
use super::tickets::config;
use super::world::{World, four_looks};
use crate::lab::until;

/// Escape codes of either sort, what turns text around, what hides, and a line of a log that nobody wrote.
const HOSTILE: &str = "the shop \u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m \u{202e}evil\u{2066}\u{200b}\u{feff}\u{2028} \r\n\
                       ts=2026-01-01T00:00:00Z level=error target=houston::daemon msg=\"forged\" ticket=T-999 \u{0}<script>alert(1)</script>";

/// Everything that may not stand on a terminal: the test's own list, apart from the program's.
fn raw(text: &str) -> Vec<char> {
    text.chars()
        .filter(|c| {
            (c.is_control() && *c != '\n')
                || ('\u{200b}'..='\u{200f}').contains(c)
                || ('\u{2028}'..='\u{202e}').contains(c)
                || ('\u{2060}'..='\u{206f}').contains(c)
                || *c == '\u{feff}'
        })
        .collect()
}

fn is_clean(what: &str, ended: &Ended) {
    for (name, text) in [("stdout", &ended.stdout), ("stderr", &ended.stderr)] {
        assert!(raw(text).is_empty(), "{what}: {:?} on {name}: {text:?}", raw(text));
    }
}

fn daemon(world: &World) -> Daemon {
    let hostile = format!(
        "service: shop\nchecks:\n- {{ name: echo, look: traffic, attempts: 1, http: {{ url: '{}' }} }}\n",
        world.url("/escapes")
    );
    let checks = [("shop.yaml", four_looks(world, "/well")), ("echo.yaml", hostile)];
    let checks: Vec<(&str, &str)> = checks.iter().map(|(name, text)| (*name, text.as_str())).collect();
    Daemon::start(&checks, &config(world, ""))
}

#[test]
fn what_a_ticket_or_a_service_says_is_shown_as_text() {
    let world = World::start();
    let daemon = daemon(&world);
    let report = json!({
        "source": "test", "title": HOSTILE, "text": HOSTILE, "customer": "acme\u{1b}[1m\u{202e}",
        "reporter": HOSTILE.get(..40), "contact": "kim\u{9b}2J", "services": ["shop", "sh\u{1b}[5mop"],
        "params": { "account": "a\u{1b}[7mb" },
    });
    let accepted = daemon.post("/api/v1/tickets?wait=30s", &report);
    assert_eq!(accepted.status, 200, "{}", accepted.text());
    let kept = daemon.get("/api/v1/tickets/T-1").json();
    assert_eq!(kept["title"].as_str(), HOSTILE.get(..HOSTILE.len().min(512)), "kept as it came, in JSON");

    let file = daemon.home().join("ticket.json");
    std::fs::write(&file, report.to_string()).unwrap();
    let file = file.display().to_string();
    let local = ["--checks", "checks.d", "--config", "houston.yaml"];
    for ascii in [false, true] {
        for json in [false, true] {
            let mut shapes: Vec<&str> = Vec::new();
            shapes.extend(ascii.then_some("--ascii"));
            shapes.extend(json.then_some("--json"));
            let mut all = Vec::new();
            for words in [
                &["ticket", "list"][..],
                &["ticket", "show", "T-1", "--all"],
                &["show", "T-1"],
                &["show", "T-1#1"],
                &["show", "T-1#5"],
                &["status"],
                &["ticket", "show", "T-1\u{1b}[2J"],
                &["triage", "--file", &file],
            ] {
                all.push((format!("{words:?} {shapes:?}"), daemon.command(&[words, &shapes].concat())));
            }
            for words in [
                &["triage", HOSTILE_ARGUMENT, "--customer", "ac\u{1b}[2Jme", "--all"][..],
                &["triage", "--file", &file, "--all"],
                &["check", "run", "echo"],
                &["check", "run", "no\u{1b}[2Jne"],
                &["check", "kinds", "no\u{1b}[2Jne"],
                &["triage", "x", "--since", "\u{1b}[2J"],
                &["triage", "x", "--deadline", "\u{1b}[2J"],
                &["triage", "x", "--param", "\u{1b}[2J"],
                &["judge", "no\u{1b}[2Jne"],
            ] {
                all.push((format!("{words:?} {shapes:?}"), run(daemon.home(), [words, &local, &shapes].concat())));
            }
            for (what, ended) in &all {
                is_clean(what, ended);
                if ascii {
                    assert!(ended.stdout.is_ascii() && ended.stderr.is_ascii(), "{what}: {ended:?}");
                }
                if json {
                    for line in ended.stdout.lines() {
                        serde_json::from_str::<serde_json::Value>(line)
                            .unwrap_or_else(|e| panic!("{what}: {e}: {line}"));
                    }
                }
            }
            let shown = &all[1].1.stdout;
            assert!(json || shown.contains("\\u{1b}[2J"), "escapes are visible: {shown}");
        }
    }

    let page = daemon.get("/t/T-1");
    assert_eq!(page.status, 200);
    assert!(!page.text().contains("<script>"), "{}", page.text());
    assert!(page.text().contains("&lt;script&gt;"), "{}", page.text());
    assert!(!daemon.get("/").text().contains("<script>"));
    assert!(!daemon.get("/metrics").text().contains("acme"));
}

/// As [`HOSTILE`], without the NUL that no argument can have.
const HOSTILE_ARGUMENT: &str = "the shop \u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m \u{202e}evil\u{2066}\u{200b}\r\nforged";

#[test]
fn a_file_of_checks_cannot_play_tricks_when_its_faults_are_shown() {
    let world = World::start();
    let home = tempfile::tempdir().unwrap();
    let checks = home.path().join("checks.d");
    std::fs::create_dir(&checks).unwrap();
    let url = world.url("/well");
    for (n, text) in [
        format!("checks:\n- {{ name: \"a\\e[2J\\u202e\", htpp: {{ url: '{url}' }} }}\n"),
        "checks:\n- { name: \"\u{202e}a\u{200b}\", http: 1 }\n".to_owned(),
        "checks:\n- { name: a, http: { url: \"http://x/\\e]0;owned\\a\", \"\\e[2J\": 1 } }\n".to_owned(),
        "\u{1b}[2J: [".to_owned(),
        format!("checks:\n- {{ name: b, http: {{ url: '{url}' }}, expect: [\"status == '\\e[2J'\"] }}\n"),
    ]
    .iter()
    .enumerate()
    {
        std::fs::write(checks.join(format!("bad-{n}.yaml")), text).unwrap();
    }
    std::fs::write(checks.join("ev\u{1b}[2Jil.yaml"), "checks: [").unwrap();
    for more in [&[][..], &["--json"], &["--ascii"]] {
        let ended = run(home.path(), [&["check", "validate", "checks.d"], more].concat());
        assert_eq!(ended.code, Some(2), "{ended:?}");
        is_clean(&format!("validate {more:?}"), &ended);
        is_clean("list", &run(home.path(), [&["check", "list", "--checks", "checks.d"], more].concat()));
    }
}

#[test]
fn no_text_forges_a_line_of_the_log() {
    let world = World::start();
    let daemon = daemon(&world);
    for n in 0..10 {
        let report = json!({
            "source": format!("desk {n}"), "id": format!("{n} level=error"), "title": format!("{n} {HOSTILE}"), "text": HOSTILE,
            "customer": "acme\nts=2026", "contact": HOSTILE.get(..100), "services": ["shop\nts=1 level=error"],
        });
        let accepted = daemon.post("/api/v1/tickets?wait=30s", &report);
        assert_eq!(accepted.status, 200, "{}", accepted.text());
    }
    let evil = "GET /api/v1/tickets/%0ats=1%1b%5b2J HTTP/1.1\r\nHost: x\r\nUser-Agent: a\u{9b}b\r\n\r\n";
    let _ = daemon.tcp().send(evil.as_bytes());
    let action = "target=houston::action";
    until("each escalation stands in the log", Duration::from_secs(30), || {
        daemon.metric("houston_outbox_queue") == Some(0.0) && daemon.log().matches(action).count() >= 10
    });
    let log = daemon.log();
    assert!(raw(&log).is_empty(), "{:?}", raw(&log));
    let of = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    assert_eq!((of(" msg=accepted "), of(" msg=verdict "), of(action)), (10, 10, 10), "{log}");
    for line in log.lines() {
        let mut words = line.split(' ');
        let time = words.next().and_then(|word| word.strip_prefix("ts="));
        assert!(time.is_some_and(|time| time.parse::<jiff::Timestamp>().is_ok()), "{line}");
        let level = words.next().and_then(|word| word.strip_prefix("level="));
        assert!(level.is_some_and(|level| ["info", "warn", "error"].contains(&level)), "{line}");
        assert!(words.next().is_some_and(|word| word.starts_with("target=houston")), "{line}");
        assert!(!line.starts_with("ts=2026-01-01T00:00:00Z level=error"), "forged: {line}");
    }
}
