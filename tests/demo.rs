//! The demo as a newcomer runs it, and every example of `checks.d/` beside a running shop.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use houston::demo::{Options, Shop};
use houston::evidence::KINDS;
use serde_json::Value;

use crate::lab::prometheus::Prometheus;

/// Both tests need the demo's own ports.
fn ports() -> MutexGuard<'static, ()> {
    static PORTS: Mutex<()> = Mutex::new(());
    PORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[allow(clippy::disallowed_methods)] // the binary under test
fn houston(arguments: &[&str], place: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_houston")).args(arguments).current_dir(place).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_demo_gives_the_three_verdicts_one_document_a_line() {
    let _ports = ports();
    let elsewhere = tempfile::tempdir().unwrap();
    let output = houston(&["demo", "--once", "--json"], elsewhere.path());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let documents: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<(&str, &str)> =
        documents.iter().map(|d| (d["verdict"].as_str().unwrap(), d["scope"].as_str().unwrap())).collect();
    assert_eq!(told[0].0, "no_issue", "{}", documents[0]);
    assert_eq!(told[1], ("issue", "customer"), "{}", documents[1]);
    assert_eq!(told[2].0, "doubtful", "{}", documents[2]);
    assert_eq!(told.len(), 3);
    for (number, document) in documents.iter().enumerate() {
        assert_eq!(document["version"], 1);
        assert_eq!(document["phase"], "final");
        assert_eq!(document["ticket"]["number"], format!("T-{}", number + 1));
        assert!(document["findings"].as_array().is_some_and(|findings| findings.len() >= 8));
    }
    let next = documents[2]["next"].to_string();
    assert!(next.contains("escalated over log"), "{next}");
}

/// The service of the examples whose systems the shop doesn't play: each runs beside a real one, in `tests/real`.
const ELSEWHERE: &str = "platform";

/// The examples as they stand, but for the Prometheus: ours has a port of its own.
fn examples(place: &Path, prometheus: u16) {
    for kind in KINDS {
        let to = place.join("checks.d").join(kind.example);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        let text = std::fs::read_to_string(root().join("checks.d").join(kind.example)).unwrap();
        assert_eq!(text, kind.example_text, "{} is not the example that is built in", kind.example);
        std::fs::write(to, text.replace("127.0.0.1:9090", &format!("127.0.0.1:{prometheus}"))).unwrap();
    }
    std::fs::copy(root().join("houston.yaml"), place.join("houston.yaml")).unwrap();
}

#[test]
fn every_example_is_good_beside_a_running_shop_and_a_triage_just_works() {
    let _ports = ports();
    let place = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let shop = runtime.block_on(Shop::start(Options::default())).unwrap();
    let prometheus = Prometheus::start(&[("shop", shop.address().to_string())], "");
    prometheus.until("the shop is scraped", "sum(rate(http_requests_total{job=\"shop\"}[1m])) > 0");
    examples(place.path(), prometheus.port);

    let list = houston(&["check", "list", "--json"], place.path());
    let listed = String::from_utf8(list.stdout.clone()).unwrap();
    let mut kinds: Vec<String> = Vec::new();
    for line in listed.lines() {
        let check: Value = serde_json::from_str(line).unwrap();
        let name = check["name"].as_str().unwrap();
        if check["service"] == ELSEWHERE {
            continue;
        }
        let run = houston(&["check", "run", name, "--json"], place.path());
        let finding: Value =
            serde_json::from_slice(&run.stdout).unwrap_or_else(|error| panic!("{name}: {error} {}", said(&run)));
        assert_eq!(finding["outcome"], "good", "{name}: {finding:#}");
        assert_eq!(run.status.code(), Some(0), "{name}");
        kinds.push(check["kind"].as_str().unwrap().to_owned());
    }
    for kind in KINDS.iter().filter(|kind| !kind.example_text.contains(&format!("service: {ELSEWHERE}"))) {
        assert!(kinds.iter().any(|name| name == kind.name), "no example was run of {}", kind.name);
    }

    let triage = houston(&["triage", "checkout felt slow", "--customer", "globex", "--json"], place.path());
    let verdict: Value =
        serde_json::from_slice(&triage.stdout).unwrap_or_else(|error| panic!("{error} {}", said(&triage)));
    assert_eq!(verdict["verdict"], "no_issue", "{verdict:#}");
    assert_eq!(triage.status.code(), Some(0));
    runtime.block_on(shop.stop());
}
