//! What the kind makes of tables that are made up for it.

use jiff::Timestamp;

use super::*;
use crate::model::observation::Seen;
use crate::model::params::Params;
use crate::model::value::Value;
use crate::model::window::{Moment, Window};
use crate::yaml;

fn ask(patience: Duration) -> Ask {
    let now = Timestamp::from_second(1_795_340_700).unwrap();
    Ask {
        now,
        window: Window::new(now, now),
        moment: Moment::Now,
        since: now,
        params: Params::default(),
        customer: None,
        attempt: 1,
        usual: Vec::new(),
        deadline: Instant::now() + patience,
        memory: Arc::default(),
        check: "wire".into(),
        tools: Arc::default(),
    }
}

fn probe(text: &str) -> Result<Arc<dyn Probe>, String> {
    yaml::parse("i.yaml", text).and_then(|node| read(&node)).map_err(|error| error.to_string())
}

const DEV: &str = "Inter-|   Receive  |  Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes\n\
    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n  eth0: 1000 10 1 2 0 0 0 0 2000 20 3 4 0 0 0 0\neth0.5: 5 5 0 0 0 0 0 0 5 5 0 0 0 0 0 0\n";
const SNMP: &str = "Ip: Forwarding\nIp: 1\nTcp: MaxConn EstabResets OutSegs RetransSegs\nTcp: -1 5 900 100\n";
const NETSTAT: &str = "TcpExt: ListenOverflows ListenDrops\nTcpExt: 7 8\nIpExt: InOctets\nIpExt: 9\n";
const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr\n\
    0: 00000000:2116 00000000:0000 0A 00000000:00000003 00:00000000\n\
    1: 0100007F:2116 0100007F:C000 01 00000000:00000000 00:00000000\n\
    2: 0100007F:2116 0100007F:C001 08 00000000:00000001 00:00000000\n\
    3: 0100007F:0050 0100007F:C002 06 00000000:00000000 00:00000000\n\u{1b}[2J\n4: x y zz\n";
const TCP6: &str = "  sl\n   0: 00000000000000000000000000000000:2116 00000000000000000000000000000000:0000 0A 00000000:00000009 00:0\n";

/// A directory that stands for `/`.
fn made_up(dev: &str, snmp: &str) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let net = place.path().join("proc/1/net");
    std::fs::create_dir_all(&net).unwrap();
    for (name, text) in [("dev", dev), ("snmp", snmp), ("netstat", NETSTAT), ("tcp", TCP), ("tcp6", TCP6)] {
        std::fs::write(net.join(name), text).unwrap();
    }
    place
}

fn counters(place: &Path, names: &[&str]) -> Counters {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    Counters::read(&place.join("proc/1/net"), &names).unwrap()
}

#[test]
fn two_readings_make_rates() {
    let place = made_up(DEV, SNMP);
    let before = counters(place.path(), &[]);
    assert_eq!(before.interfaces.keys().collect::<Vec<_>>(), ["eth0", "eth0.5"]);
    let later = DEV.replace("eth0: 1000 10 1 2", "eth0: 5000 50 3 2").replace("2000 20 3 4", "2000 20 3 8");
    let place = made_up(&later, &SNMP.replace("-1 5 900 100", "-1 9 990 110"));
    let mut after = counters(place.path(), &[]);
    after.at = before.at + Duration::from_secs(2);
    let measures = difference::tell(&before, &after).unwrap();
    for (name, value) in [
        ("interval_seconds", 2.0),
        ("receive_bytes_per_second", 2000.0),
        ("receive_packets_per_second", 20.0),
        ("transmit_bytes_per_second", 0.0),
        ("errors_per_second", 1.0),
        ("drops_per_second", 2.0),
        ("segments_sent_per_second", 45.0),
        ("retransmits_per_second", 5.0),
        ("retransmit_ratio", 0.1),
        ("resets_per_second", 2.0),
        ("listen_overflows_per_second", 0.0),
        ("listen_drops_per_second", 0.0),
    ] {
        assert_eq!(measures.number(name), Some(value), "{name}");
    }
    assert_eq!(measures.get("accepts_per_second"), None, "a counter that this kernel doesn't have");
    // Idle wires have no ratio, and counters that went back tell nothing.
    let mut idle = before.clone();
    idle.at += Duration::from_secs(1);
    assert_eq!(difference::tell(&before, &idle).unwrap().get("retransmit_ratio"), None);
    let mut back = before.clone();
    back.at -= Duration::from_secs(1);
    assert!(difference::tell(&before, &back).is_err());
    let error = difference::tell(&Counters { at: before.at, ..after }, &idle).unwrap_err();
    assert!(error.kind == UnknownKind::Incomplete && error.why.contains("went back"), "{error:?}");
}

#[tokio::test]
async fn sockets_are_counted_by_state_and_port() {
    let place = made_up(DEV, SNMP);
    let root = place.path().display();
    for (port, listeners, queue, established, time_wait) in
        [("port: 8470", 2.0, Some(9.0), 1.0, 0.0), ("port: 80", 0.0, None, 0.0, 1.0), ("", 2.0, Some(9.0), 1.0, 1.0)]
    {
        let probe = probe(&format!("root: {root}\ninterval: 100ms\n{port}")).unwrap();
        let seen = probe.observe(&ask(Duration::from_secs(20))).await;
        assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
        let numbers = ["listeners", "established", "time_wait"].map(|name| seen.measures.number(name));
        assert_eq!(numbers, [listeners, established, time_wait].map(Some), "{port}");
        assert_eq!(seen.measures.number("listen_queue"), queue, "{port}");
        let Some(Value::Map(states)) = seen.measures.get("connections") else { panic!("{seen:?}") };
        assert_eq!(states.len(), 11, "{states:?}");
        assert!(!seen.excerpt.unwrap().contains('\u{1b}'));
    }
}

#[tokio::test]
async fn what_can_t_be_counted_is_unknown() {
    let place = made_up(DEV, SNMP);
    let root = place.path().display();
    let empty = tempfile::tempdir().unwrap();
    for (text, patience, kind, part) in [
        (
            format!("root: {root}\ninterfaces: [wan0]\ninterval: 100ms"),
            20_000,
            UnknownKind::Incomplete,
            "no interface wan0",
        ),
        (format!("root: {}\ninterval: 100ms", empty.path().display()), 20_000, UnknownKind::Refused, "can't be read"),
        (
            format!("root: {root}\ninterval: 30s"),
            2_000,
            UnknownKind::TimedOut,
            "not enough to read counters 30.0 s apart",
        ),
    ] {
        let seen = probe(&text).unwrap().observe(&ask(Duration::from_millis(patience))).await;
        let Seen::Blind(unknown) = &seen.seen else { panic!("{text}: {seen:?}") };
        assert!(unknown.kind == kind && unknown.why.contains(part), "{text}: {unknown:?}");
    }
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    for (text, part) in [
        ("interfaces: [\"{{ x }}\"]", "i.yaml:1:13: `{{ x }}` is not the name"),
        ("interfaces: [\"a b\"]", "is not the name"),
        ("interfaces: [a-name-that-is-too-long]", "is not the name"),
        ("port: 0", "i.yaml:1:7: a port"),
        ("port: 70000", "i.yaml:1:7"),
        ("interval: 1m", "i.yaml:1:11: the interval"),
        ("root: host", "i.yaml:1:7"),
    ] {
        let error = probe(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}
