//! What is said of counts, and what is wrong in a file.

use crate::model::observation::Seen;

use super::*;

fn request() -> Request {
    Request { interface: "eth0".to_owned(), port: 443, duration: DURATION }
}

fn counts() -> Counts {
    Counts {
        micros: 2_000_000,
        packets: 90,
        connections: 4,
        established: 3,
        refused: 1,
        segments: 50,
        ..Counts::default()
    }
}

#[test]
fn counts_become_rates_and_absent_ones_stay_absent() {
    let seen = facts(&request(), Ok(Said::Counts(Counts { retransmits: 5, ..counts() }.into())));
    assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
    for (name, expected) in [
        ("connections_per_second", Some(2.0)),
        ("handshake_failure_ratio", Some(0.25)),
        ("retransmit_ratio", Some(0.1)),
        ("error_ratio", None),
        ("requests_per_second", None),
        ("handshake_p50_seconds", None),
        ("p50_seconds", None),
    ] {
        assert_eq!(seen.measures.number(name), expected, "{name}");
    }
    let http = Counts { requests: 4, status_2xx: 3, status_5xx: 1, answer_p95_micros: Some(250_000), ..counts() };
    let seen = facts(&request(), Ok(Said::Counts(http.into())));
    assert_eq!(seen.measures.number("error_ratio"), Some(0.25));
    assert_eq!(seen.measures.number("requests_per_second"), Some(2.0));
    assert_eq!(seen.measures.number("p95_seconds"), Some(0.25));
}

#[test]
fn what_was_not_seen_whole_is_unknown() {
    for (said, kind, why) in [
        (Ok(Said::NotPermitted), UnknownKind::Refused, "setcap cap_net_raw=ep"),
        (Ok(Said::NoPacketSockets), UnknownKind::Refused, "AF_PACKET"),
        (Ok(Said::NoInterface), UnknownKind::Unreachable, "no interface eth0"),
        (Ok(Said::Down), UnknownKind::Unreachable, "down"),
        (Ok(Said::Failed(12)), UnknownKind::Unreachable, "os error 12"),
        (Ok(Said::Counts(Counts::default().into())), UnknownKind::Incomplete, "no packet of port 443"),
        (Ok(Said::Counts(Counts { lost: 3, ..counts() }.into())), UnknownKind::Incomplete, "rmem_max"),
        (Ok(Said::Counts(Counts { forgotten: 3, ..counts() }.into())), UnknownKind::Incomplete, "3 were forgotten"),
        (Err(Silent::TimedOut), UnknownKind::TimedOut, "not done in time"),
        (Err(Silent::NoAnswer), UnknownKind::Unintelligible, "without an answer"),
    ] {
        let shown = format!("{said:?}");
        match facts(&request(), said).seen {
            Seen::Blind(unknown) => assert!(unknown.kind == kind && unknown.why.contains(why), "{shown}: {unknown:?}"),
            other => panic!("{shown}: {other:?}"),
        }
    }
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    for (text, place, message) in [
        ("{ interface: a/b, port: 1 }", "test.yaml:1:14", "not the name"),
        ("{ interface: eth0, port: 0 }", "test.yaml:1:26", "65535"),
        ("{ interface: eth0, port: 1, duration: 31s }", "test.yaml:1:39", "30s"),
    ] {
        let error = read(&crate::yaml::parse("test.yaml", text).unwrap()).unwrap_err();
        assert_eq!(error.at.to_string(), place, "{text}: {error}");
        assert!(error.message.contains(message), "{text}: {error}");
    }
}
