//! The command line's word is its exit code; what it prints is for people on a terminal and for programs in a pipe.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::daemon::Daemon;
use super::program::{Ended, Running, finish, houston, run};
use super::receiver::Receiver;
use super::tickets::{config, well};
use super::wire::PATIENCE;
use super::world::{World, a_hanging_look, four_looks};
use crate::lab::{program, until};

/// A directory with these files, for commands without a daemon.
fn home(files: &[(&str, &str)]) -> tempfile::TempDir {
    let home = crate::lab::place::new();
    for (name, text) in files {
        let path = home.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    home
}

fn two(world: &World) -> tempfile::TempDir {
    home(&[("checks.d/shop.yaml", &four_looks(world, "/switch")), ("houston.yaml", &config(world, ""))])
}

/// Runs each line of words, and compares its exit code.
fn codes(home: &std::path::Path, table: &[(&str, i32)]) -> Vec<Ended> {
    table
        .iter()
        .map(|(line, code)| {
            let words: Vec<&str> = line.split('|').collect();
            let ended = run(home, &words);
            assert_eq!(ended.code, Some(*code), "houston {line}: {ended:?}");
            ended
        })
        .collect()
}

#[test]
fn a_triage_answers_with_its_exit_code() {
    let world = World::start();
    let home = two(&world);
    let fine = codes(home.path(), &[("triage|the shop is slow", 0), ("triage|the shop is slow|--exit-zero", 0)]);
    assert!(fine[0].stdout.contains("NO ISSUE"), "{}", fine[0].stdout);
    // A customer whose own case nothing tries: nobody can say that it works.
    let doubtful = codes(
        home.path(),
        &[("triage|the shop is slow|--customer|acme", 1), ("triage|the shop is slow|--customer|acme|--exit-zero", 0)],
    );
    assert!(doubtful[0].stdout.contains("DOUBTFUL"), "{}", doubtful[0].stdout);
    world.switch(503);
    let bad = codes(home.path(), &[("triage|the shop is slow", 2), ("triage|the shop is slow|--exit-zero", 0)]);
    assert!(bad[0].stdout.contains("ISSUE") && !bad[0].stdout.contains("NO ISSUE"), "{}", bad[0].stdout);

    // Nothing answered, nothing there, nothing readable: it could not tell, and --exit-zero doesn't hide that.
    std::fs::write(home.path().join("checks.d/shop.yaml"), "checks: [").unwrap();
    codes(
        home.path(),
        &[
            ("triage|the shop is slow", 3),
            ("triage|the shop is slow|--exit-zero", 3),
            ("triage|the shop is slow|--checks|nowhere", 3),
            ("triage|the shop is slow|--config|nowhere.yaml", 3),
            ("triage|the shop is slow|--server|unix:nowhere.sock", 3),
            ("triage|the shop is slow|--server|http://127.0.0.1:1", 3),
            ("triage|--file|nowhere.json", 3),
        ],
    );
    std::fs::write(home.path().join("checks.d/shop.yaml"), a_hanging_pipe(home.path())).unwrap();
    codes(
        home.path(),
        &[("triage|the shop is slow|--deadline|1s", 3), ("triage|the shop is slow|--deadline|1s|--exit-zero", 3)],
    );
    std::fs::write(home.path().join("houston.yaml"), "triage: { deadlin: 1s }").unwrap();
    let wrong = codes(home.path(), &[("triage|the shop is slow", 3)]);
    assert!(wrong[0].stderr.contains("houston.yaml:1:11"), "{}", wrong[0].stderr);
}

/// A look that blocks and never answers: a pipe that nobody writes to.
fn a_hanging_pipe(home: &std::path::Path) -> String {
    let pipe = home.join("pipe.log");
    if !pipe.exists() {
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    }
    format!("service: shop\nchecks:\n- {{ name: pipe, log_file: {{ paths: ['{}'] }} }}\n", pipe.display())
}

#[test]
fn what_cannot_be_meant_is_64_and_asking_for_help_is_not() {
    let world = World::start();
    let home = two(&world);
    let table: Vec<(&str, i32)> = vec![
        ("", 64),
        ("traige|x", 64),
        ("triage", 64),
        ("triage|x|y", 64),
        ("triage|x|--nonsense", 64),
        ("triage|x|--deadline|10s|--server|http://127.0.0.1:1", 64),
        ("triage|x|--deadline|soon", 64),
        ("triage|x|--deadline|30", 64),
        ("triage|x|--since|the day before", 64),
        ("triage|x|--param|novalue", 64),
        ("triage|", 64),
        ("triage|x|--file|y", 64),
        ("triage|x|--server|ftp://x", 64),
        ("triage|x|--color|sometimes", 64),
        ("check|run", 64),
        ("check|run|frnt", 64),
        ("check|run|front|--param|nosuch=1", 64),
        ("check|kinds|htpp", 64),
        ("show|T-1#0", 64),
        ("show|T-1#x", 64),
        ("serve|--listen|nowhere", 64),
        ("serve|--listen|0.0.0.0:0", 64),
        ("completions|nosuchshell", 64),
        ("--help", 0),
        ("help", 0),
        ("help|triage", 0),
        ("triage|--help", 0),
        ("--version", 0),
        ("completions|bash", 0),
        ("check|kinds", 0),
        ("check|kinds|http", 0),
        ("check|schema", 0),
        ("check|list", 0),
    ];
    let ended = codes(home.path(), &table);
    for ((line, code), ended) in table.iter().zip(&ended) {
        assert_eq!(ended.stdout.is_empty(), *code != 0, "{line}: {ended:?}");
        assert_eq!(ended.stderr.is_empty(), *code == 0, "{line}: {ended:?}");
    }
    let near = run(home.path(), ["check", "run", "frnt"]);
    assert!(near.stderr.contains("did you mean `front`?"), "{}", near.stderr);
}

#[test]
fn checks_are_validated_and_run_with_their_exit_codes() {
    let world = World::start();
    let url = world.url("/well");
    let check = |name: &str, more: &str| format!("- {{ name: {name}, attempts: 1, {more} }}\n");
    let silent = world.url("/hang");
    let shop = format!(
        "service: shop\ndefaults: {{ timeout: 1s }}\nchecks:\n{}{}{}{}",
        check("good", &format!("http: {{ url: '{url}' }}")),
        check("odd", &format!("http: {{ url: '{url}' }}, expect: [{{ that: status == 201, else: odd }}]")),
        check("bad", &format!("http: {{ url: '{}' }}", world.url("/broken"))),
        check("silent", &format!("http: {{ url: '{silent}' }}")),
    );
    let home = home(&[("checks.d/shop.yaml", &shop)]);
    let pipe = a_hanging_pipe(home.path()).replace("name: pipe", "name: pipe, timeout: 1s");
    std::fs::write(home.path().join("checks.d/pipe.yaml"), pipe).unwrap();
    codes(
        home.path(),
        &[
            ("check|run|good", 0),
            ("check|run|odd", 1),
            ("check|run|bad", 2),
            ("check|run|silent", 2),
            ("check|run|pipe", 3),
            ("check|run|good|--json", 0),
            ("check|run|pipe|--json", 3),
        ],
    );

    let tried = |text: &str, strict: i32, lax: i32| {
        std::fs::write(home.path().join("checks.d/shop.yaml"), text).unwrap();
        let ended = codes(
            home.path(),
            &[("check|validate", lax), ("check|validate|--strict", strict), ("check|validate|checks.d|--json", lax)],
        );
        let document: Value = serde_json::from_str(&ended[2].stdout).unwrap();
        (ended[0].stdout.clone(), document)
    };
    let (said, document) = tried(&four_looks(&world, "/well"), 0, 0);
    assert!(said.contains("no issue"), "{said}");
    assert_eq!((&document["errors"], &document["warnings"], &document["checks"]), (&json!(0), &json!(0), &json!(5)));
    let unused = "params: { account: { from: ticket.customer, default: none } }";
    let warned = format!("checks:\n- {{ name: a, http: {{ url: '{url}' }}, {unused} }}\n");
    let (said, document) = tried(&warned, 2, 1);
    assert!(document["warnings"].as_u64() > Some(0) && said.contains("shop.yaml:2:"), "{said} {document}");
    let (said, document) = tried("checks:\n- { name: a, htpp: {} }\n- { name: b, tpc: {} }\n", 2, 2);
    assert_eq!(document["errors"], 2, "all at once: {document}");
    assert!(said.contains("checks.d/shop.yaml:2:") && said.contains("checks.d/shop.yaml:3:"), "{said}");
    assert!(said.contains("did you mean `http`?") && said.contains("did you mean `tcp`?"), "{said}");
    codes(home.path(), &[("check|list", 1), ("check|validate|nowhere", 3), ("check|validate|checks.d/shop.yaml", 3)]);
}

#[test]
fn a_daemon_is_asked_with_the_same_exit_codes() {
    let world = World::start();
    let mut daemon = well(&world);
    let table = |daemon: &Daemon, table: &[(&str, i32)]| {
        for (line, code) in table {
            let words: Vec<&str> = line.split('|').collect();
            let ended = daemon.command(&words);
            assert_eq!(ended.code, Some(*code), "houston {line}: {ended:?}");
        }
    };
    table(
        &daemon,
        &[
            ("status", 0),
            ("status|--json", 0),
            ("ticket|list", 0),
            ("ticket|show|T-1", 3),
            ("triage|the shop is slow", 0),
            ("triage|the shop is slow|--customer|acme", 1),
            ("triage|the shop is slow|--customer|acme|--exit-zero", 0),
            ("ticket|show|T-1", 0),
            ("ticket|show|1|--json", 0),
            ("ticket|show|T-2", 1),
            ("ticket|retriage|T-2", 1),
            ("ticket|show|T-9", 3),
            ("show|T-1", 0),
            ("show|T-1#1", 0),
            ("show|T-1#99", 3),
            ("ticket|show|../status", 3),
        ],
    );
    // Over TCP, with the token from its file.
    let url = format!("http://{}", daemon.tcp().host());
    let token = daemon.state().join("admin.token").display().to_string();
    let over_tcp = |more: &[&str]| run(daemon.home(), [&["status", "--server", &url], more].concat());
    assert_eq!(over_tcp(&["--token-file", &token]).code, Some(0));
    let refused = over_tcp(&[]);
    assert_eq!(refused.code, Some(3));
    assert!(refused.stderr.contains("--token-file"), "{}", refused.stderr);

    std::fs::write(daemon.checks().join("bad.yaml"), "checks: [").unwrap();
    until("the fault is noticed", PATIENCE, || daemon.metric("houston_config_stale_files") == Some(1.0));
    table(&daemon, &[("status", 1), ("status|--json", 1)]);
    daemon.kill();
    let gone = daemon.command(&["status"]);
    assert_eq!(gone.code, Some(3), "{gone:?}");
    assert!(gone.stderr.contains("no daemon at") && gone.stderr.contains("houston serve"), "{}", gone.stderr);
    table(&daemon, &[("ticket|list", 3), ("triage|the shop is slow", 3), ("show|T-1#1", 3)]);
}

#[test]
fn interrupted_it_says_so_and_sends_nothing() {
    let (world, receiver) = (World::start(), Receiver::start());
    let more = format!(
        "channels: {{ desk: {{ webhook: {{ url: '{}', secret: {{ env: HOOK_SECRET }} }} }} }}\n\
         escalation: {{ channels: [desk] }}\nannounce: {{ channels: [desk] }}\n",
        receiver.url
    );
    let files = [
        ("checks.d/shop.yaml", four_looks(&world, "/broken")),
        ("checks.d/silent.yaml", a_hanging_look(&world)),
        ("houston.yaml", config(&world, &more)),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let home = home(&files);
    for (json, signal, code) in [(false, Signal::INT, Some(130)), (true, Signal::INT, Some(130))] {
        let before = world.hanging();
        let mut command = houston(&[], home.path());
        command.args(["triage", "the shop is slow"]).args(json.then_some("--json"));
        let mut running = Running::start(&mut command);
        until("it looks", PATIENCE, || world.hanging() > before);
        running.signal(signal);
        let ended = running.wait();
        assert_eq!(ended.code, code, "{ended:?}");
        assert!(ended.stderr.contains("interrupted") && ended.stderr.contains("nothing was sent"), "{ended:?}");
        assert!(!ended.stdout.contains("verdict"), "no verdict: {ended:?}");
        until("the look has ended", PATIENCE, || world.hanging() == 0);
    }

    // With a daemon the ticket is filed; only the waiting is interrupted.
    let checks = [("silent.yaml", a_hanging_look(&world))];
    let daemon = Daemon::start(&[(checks[0].0, &checks[0].1)], &config(&world, ""));
    let mut command = houston(&[], daemon.home());
    command.args(["triage", "the shop is slow", "--server", &daemon.server()]);
    let mut running = Running::start(&mut command);
    until("it looks", PATIENCE, || world.hanging() > 0);
    running.signal(Signal::INT);
    let ended = running.wait();
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert!(ended.stderr.contains("T-1"), "it says where to look: {ended:?}");
    assert_eq!(receiver.deliveries().len(), 0);
}

#[test]
fn a_triage_without_a_daemon_never_acts() {
    let (world, receiver) = (World::start(), Receiver::start());
    let more = format!(
        "channels: {{ desk: {{ webhook: {{ url: '{}', secret: {{ env: HOOK_SECRET }} }} }} }}\n\
         escalation: {{ channels: [desk] }}\nannounce: {{ channels: [desk] }}\n",
        receiver.url
    );
    let home =
        home(&[("checks.d/shop.yaml", &four_looks(&world, "/switch")), ("houston.yaml", &config(&world, &more))]);
    for (status, code) in [(200, 0), (503, 2)] {
        world.switch(status);
        codes(home.path(), &[("triage|the shop is slow", code)]);
    }
    codes(home.path(), &[("triage|the shop is slow|--customer|acme", 2)]);
    assert_eq!(receiver.deliveries().len(), 0);
    assert!(!home.path().join("houston-data").exists(), "and keeps nothing");
}

/// Commands that print much, one of each sort.
const SHOWN: &[&[&str]] = &[
    &["triage", "the shop is slow", "--all"],
    &["check", "validate"],
    &["check", "run", "front"],
    &["check", "kinds"],
    &["check", "kinds", "http"],
    &["check", "list"],
    &["judge", "case.json"],
    &["check", "validate", "bad.d"],
    &["--help"],
    &["triage"],
];

fn shown(world: &World) -> tempfile::TempDir {
    let home = two(world);
    let case = json!({ "checks": [{ "id": "a", "look": "logs", "group": "g", "outcome": "bad", "class": "fair", "relation": "service",
        "proof": false, "control_ok": true, "repeats": 2, "own": false, "needed": true }] });
    std::fs::write(home.path().join("case.json"), case.to_string()).unwrap();
    std::fs::create_dir(home.path().join("bad.d")).unwrap();
    std::fs::write(home.path().join("bad.d/bad.yaml"), "checks:\n- { name: a, htpp: {} }\n").unwrap();
    home
}

#[test]
fn in_a_pipe_there_are_no_escape_codes_and_with_ascii_only_ascii() {
    let world = World::start();
    let home = shown(&world);
    for words in SHOWN {
        for more in [&[][..], &["--ascii"], &["--color", "auto"]] {
            let ended = run(home.path(), [words, more].concat());
            let all = format!("{}{}", ended.stdout, ended.stderr);
            assert!(!all.is_empty() && !all.contains('\u{1b}'), "{words:?} {more:?}: {all:?}");
            if more == ["--ascii"] {
                assert!(all.is_ascii(), "{words:?}: {:?}", all.chars().filter(|c| !c.is_ascii()).collect::<String>());
            }
        }
        // A place where other characters can't be shown.
        let mut command = houston(&[], home.path());
        command.args(*words).env("LC_ALL", "C");
        let ended = finish(command);
        assert!(ended.stdout.is_ascii() && ended.stderr.is_ascii(), "{words:?}: {ended:?}");
    }
}

/// Runs the program on a terminal of its own; everything that the terminal was sent.
fn on_a_terminal(home: &std::path::Path, words: &[&str], environment: &[(&str, &str)]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let line = format!("'{}' {}", env!("CARGO_BIN_EXE_houston"), quoted.join(" "));
    #[allow(clippy::disallowed_methods)] // `script` is the terminal
    let mut command = std::process::Command::new(program("script"));
    command.args(["-qec", &line, "/dev/null"]).current_dir(home).stdin(Stdio::null());
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8").env("TERM", "xterm-256color");
    command.envs(environment.iter().copied());
    finish(command).stdout
}

#[test]
fn on_a_terminal_colour_and_motion_come_and_go_as_one_wishes() {
    let world = World::start();
    let home = shown(&world);
    let triage = ["triage", "the shop is slow"];
    let colourful = on_a_terminal(home.path(), &triage, &[]);
    assert!(colourful.contains("\u{1b}[") && colourful.contains("NO ISSUE"), "{colourful:?}");
    for words in SHOWN {
        for environment in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let plain = on_a_terminal(home.path(), words, &[environment]);
            assert!(!plain.is_empty() && !plain.contains('\u{1b}'), "{words:?} {environment:?}: {plain:?}");
        }
    }
    // Nothing is redrawn there: each look is told once.
    std::fs::write(home.path().join("checks.d/silent.yaml"), a_hanging_look(&world)).unwrap();
    let slow = ["triage", "the shop is slow", "--deadline", "2s"];
    for environment in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let plain = on_a_terminal(home.path(), &slow, &[environment]);
        assert!(plain.lines().count() < 60 && !plain.contains('\u{1b}'), "{environment:?}: {plain}");
    }
    let never = on_a_terminal(home.path(), &["check", "kinds", "--color", "never"], &[]);
    assert!(!never.contains('\u{1b}'), "{never:?}");
    let piped = run(home.path(), ["check", "kinds", "--color", "always"]);
    assert!(piped.stdout.contains("\u{1b}["), "{piped:?}");
}

#[test]
fn json_is_one_document_a_line() {
    let world = World::start();
    let daemon = well(&world);
    daemon.command(&["triage", "the shop is slow"]);
    for (words, lines, key) in [
        (&["triage", "the shop is slow"][..], 1, "verdict"),
        (&["ticket", "show", "T-1"], 1, "verdict"),
        (&["ticket", "list"], 2, "ticket"),
        (&["show", "T-1#1"], 1, "outcome"),
        (&["status"], 1, "version"),
        (&["check", "list"], 4, "name"),
        (&["check", "run", "front"], 1, "outcome"),
        (&["check", "validate"], 1, "services"),
        (&["check", "kinds", "http"], 1, "measures"),
    ] {
        let ended = daemon.command(&[words, &["--json"]].concat());
        let documents: Vec<Value> = ended
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{words:?}: {error}: {line}")))
            .collect();
        assert_eq!(documents.len(), lines, "{words:?}: {}", ended.stdout);
        assert!(documents.iter().all(|document| document.get(key).is_some()), "{words:?}: {}", ended.stdout);
        assert_eq!(ended.stderr, "", "{words:?}");
    }
}

#[test]
fn the_judge_repeats_every_recorded_verdict() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/verdict-vectors.json");
    let home = home(&[]);
    let expected: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let judged = run(home.path(), ["judge", file, "--json"]);
    assert_eq!(judged.code, Some(2), "the gravest of all: {}", judged.stderr);
    let judged: Vec<Value> = judged.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((judged.len(), expected.len()), (400, 400));
    for (n, (judged, expected)) in judged.iter().zip(&expected).enumerate() {
        let expected = &expected["expect"];
        assert_eq!(
            (&judged["verdict"], &judged["clean_looks"]),
            (&expected["verdict"], &expected["clean_looks"]),
            "case {n}"
        );
        for name in ["probability", "power"] {
            let (is, should) = (judged[name].as_f64().unwrap(), expected[name].as_f64().unwrap());
            assert!((is - should).abs() < 1e-6, "case {n}: {name} is {is}, not {should}");
        }
    }

    let doubtful = json!({ "checks": [] }).to_string();
    std::fs::write(home.path().join("case.json"), &doubtful).unwrap();
    std::fs::write(home.path().join("wrong.json"), "[{]").unwrap();
    std::fs::write(home.path().join("costs.json"), json!({ "checks": [], "config": { "c_miss": 1.0 } }).to_string())
        .unwrap();
    codes(
        home.path(),
        &[
            ("judge|case.json", 1),
            ("judge|wrong.json", 3),
            ("judge|costs.json", 3),
            ("judge|nowhere.json", 3),
            ("judge", 64),
        ],
    );
    let mut command = houston(&[], home.path());
    command.args(["judge", "-"]).stdin(std::fs::File::open(home.path().join("case.json")).unwrap());
    assert_eq!(finish(command).code, Some(1));
}

#[test]
fn a_triage_that_is_cut_short_is_never_fine() {
    let world = World::start();
    let home = home(&[("checks.d/shop.yaml", &a_hanging_look(&world)), ("houston.yaml", &config(&world, ""))]);
    let mut command = houston(&[], home.path());
    command.args(["triage", "the shop is slow", "--deadline", "2s"]);
    let started = std::time::Instant::now();
    let ended = finish(command);
    assert!(started.elapsed() < Duration::from_secs(2 + 5), "{:?}", started.elapsed());
    assert!(ended.code.is_some_and(|code| code != 0), "cut short is never fine: {ended:?}");
}
