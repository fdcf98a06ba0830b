//! The deadline holds, whatever the looks do.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::daemon::{Daemon, ticket};
use super::receiver::Receiver;
use super::tickets::config;
use super::world::World;
use crate::lab::until;

#[test]
fn looks_that_hang_or_block_end_in_doubt_and_with_a_human() {
    let (world, receiver) = (World::start(), Receiver::start());
    // A pipe without a writer, and lines without end: what blocks a thread rather than waits.
    let mut daemon = Daemon::prepared(&[], &[], "");
    let pipe = daemon.home().join("pipe.log");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let mut checks = "service: shop\ndefaults: { timeout: 60s, attempts: 3 }\nchecks:\n".to_owned();
    for n in 0..20 {
        let url = world.url(&format!("/hang/{n}"));
        checks.push_str(&format!(
            "- {{ name: silent-{n}, prometheus: {{ url: '{url}', query: up }}, expect: [value == 1] }}\n"
        ));
    }
    checks.push_str(&format!("- {{ name: pipe, log_file: {{ paths: ['{}'] }} }}\n", pipe.display()));
    checks.push_str("- { name: endless, log_file: { paths: [/dev/zero] } }\n");
    checks.push_str(&format!("- {{ name: answers, tcp: {{ address: '{}' }} }}\n", world.address));
    std::fs::write(daemon.checks().join("shop.yaml"), checks).unwrap();
    let more = format!(
        "channels: {{ desk: {{ webhook: {{ url: '{}', secret: {{ env: HOOK_SECRET }} }} }} }}\n\
         escalation: {{ channels: [desk] }}\n",
        receiver.url
    );
    let config = config(&world, &more).replace("deadline: 20s", "deadline: 3s");
    std::fs::write(daemon.home().join("houston.yaml"), config).unwrap();
    daemon.again();

    let started = Instant::now();
    let answer = daemon.post("/api/v1/tickets?wait=60s", &ticket("1", "the shop is slow"));
    let took = started.elapsed();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(took < Duration::from_secs(3 + 5), "the verdict took {took:?}");
    let verdict = answer.json();
    assert_eq!(verdict["verdict"], "doubtful", "{verdict}");
    let findings = verdict["findings"].as_array().unwrap();
    let of = |name: &str| -> &Value {
        findings.iter().find(|finding| finding["check"] == name).unwrap_or_else(|| panic!("no finding of {name}"))
    };
    assert_eq!(findings.len(), 23, "a finding of each");
    for n in 0..20 {
        let finding = of(&format!("silent-{n}"));
        assert_eq!(finding["outcome"], "unknown", "{finding}");
    }
    assert_eq!((&of("pipe")["outcome"], &of("endless")["outcome"]), (&json!("unknown"), &json!("unknown")));
    assert_eq!(of("answers")["outcome"], "good", "one that hangs costs only itself");

    until("the escalation arrives", super::wire::PATIENCE, || !receiver.deliveries().is_empty());
    let told = &receiver.deliveries()[0].body;
    assert_eq!(
        (&told["kind"], &told["why"], &told["ticket"]["number"]),
        (&json!("escalate"), &json!("doubtful"), &json!("T-1"))
    );
    // Nothing is left asking: who was dropped at the deadline has hung up.
    until("every look has ended", super::wire::PATIENCE, || world.hanging() == 0);
}

#[test]
fn a_ticket_that_waited_too_long_is_escalated_at_the_start_without_looking() {
    let (world, receiver) = (World::start(), Receiver::start());
    let more = format!(
        "channels: {{ desk: {{ webhook: {{ url: '{}', secret: {{ env: HOOK_SECRET }} }} }} }}\n\
         escalation: {{ channels: [desk] }}\n",
        receiver.url
    );
    let config = config(&world, &more).replace("deadline: 20s", "deadline: 2s");
    let mut daemon = Daemon::start(&[("shop.yaml", &super::world::a_hanging_look(&world))], &config);
    daemon.file("1", "the shop is slow");
    daemon.kill();
    // Its deadline passes while nobody is there.
    let deadline = Instant::now() + Duration::from_secs(2);
    until("the deadline is over", super::wire::PATIENCE, || Instant::now() > deadline);
    daemon.again();
    let decided = daemon.decided("T-1");
    assert_eq!((&decided["verdict"], &decided["round"]), (&json!("doubtful"), &json!(1)));
    until("the escalation arrives", super::wire::PATIENCE, || !receiver.deliveries().is_empty());
    assert_eq!(receiver.deliveries()[0].body["why"], "late");
    assert_eq!(receiver.keys().len(), 1);
}
