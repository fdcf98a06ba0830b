//! Handshakes with certificates of every sort: what is wrong is said, and expiry is known all the same.

use rcgen::date_time_ymd;

use super::*;
use crate::evidence::external::testing::{
    ask, blindness, declared, example_reads, fault, hold, hurried, is_good, look, read as read_text,
};
use crate::expect::Held;
use crate::model::observation::{Phase, Seen, UnknownKind};
use crate::net::scripted::{self, Authority, Identity, self_signed};

async fn shake(identity: Identity, authority: &Authority, more: &str) -> Observation {
    let server = identity.serve().await;
    let (port, ca) = (server.address.port(), authority.pem());
    look(&KIND, &format!("address: localhost:{port}\nca: {}\n{more}", ca.display()), &ask()).await
}

#[tokio::test]
async fn a_good_certificate_is_verified_and_read() {
    let authority = Authority::new();
    let identity = authority
        .issue(&["localhost", "shop.example", "10.0.0.1"], |params| params.not_after = date_time_ymd(2031, 2, 3));
    let observation = shake(identity, &authority, "").await;
    declared(&KIND, &observation);
    assert!(is_good(&KIND, &observation), "{observation:?}");
    for that in [
        "verified && failure == \"\"",
        "expiry_days > 1500",
        "not_after == \"2031-02-03T00:00:00Z\"",
        "\"shop.example\" in names && \"10.0.0.1\" in names && size(names) == 3",
        "version == \"TLSv1.3\"",
        "issuer.contains(\"Root of\")",
        "cipher.startsWith(\"TLS13_\")",
        "chain_length == 1 && size(chain) == 1",
        "!ocsp_stapled && ocsp_status == \"none\"",
    ] {
        assert_eq!(hold(&KIND, that, &observation), Held::True, "{that}: {observation:?}");
    }
    assert!(observation.reproduce.unwrap().starts_with("openssl s_client -connect localhost:"));
}

#[tokio::test]
async fn what_is_wrong_is_told_beside_the_expiry() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let early = authority.issue(&["localhost"], |params| params.not_before = date_time_ymd(4000, 1, 1));
    for (identity, failure) in [
        (authority.issue(&["localhost"], |params| params.not_after = date_time_ymd(2020, 1, 1)), "expired 2020-01-01"),
        (early, "not valid before 4000-01-01"),
        (authority.issue(&["wrong.example"], |_| {}), "is for wrong.example, not localhost"),
        (stranger.issue(&["localhost"], |_| {}), "issuer is not trusted"),
        (self_signed(&["localhost"]), "self-signed"),
    ] {
        let observation = shake(identity, &authority, "").await;
        assert_eq!(observation.seen, Seen::Answered);
        assert!(!is_good(&KIND, &observation));
        let said = observation.measures.get("failure").unwrap().show(300);
        assert!(said.contains(failure), "{said}");
        assert!(observation.measures.number("expiry_days").is_some());
        let held = hold(&KIND, "verified", &observation);
        assert_eq!(held, Held::False { actual: "verified is false".to_owned() });
    }
}

#[tokio::test]
async fn another_name_can_be_asked_for() {
    let authority = Authority::new();
    let observation = shake(authority.issue(&["shop.example"], |_| {}), &authority, "server_name: shop.example").await;
    assert!(is_good(&KIND, &observation), "{observation:?}");
}

#[tokio::test]
async fn a_thousand_names_and_hostile_ones_are_bounded_and_encoded() {
    let authority = Authority::new();
    let many: Vec<_> = (0..1_500).map(|number| format!("host-{number}.example")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let observation = shake(authority.issue(&many, |_| {}), &authority, "").await;
    assert_eq!(hold(&KIND, "size(names) == 1000", &observation), Held::True);
    let said = observation.measures.get("failure").unwrap().show(400);
    assert!(said.contains("and 997 more"), "{said}");

    let hostile = authority.issue(&["localhost"], |params| {
        let name = rcgen::SanType::OtherName((vec![1, 2, 3], "\u{1b}[2J".to_owned().into()));
        params.subject_alt_names.push(name);
    });
    assert!(is_good(&KIND, &shake(hostile, &authority, "").await));
}

#[tokio::test]
async fn no_handshake_at_all_is_bad() {
    let plain = scripted::http(|_| scripted::ok("")).await;
    let text = format!("address: {}", plain.address);
    let observation = look(&KIND, &text, &hurried()).await;
    assert_eq!(fault(&observation).0, Phase::Tls);
    let closing = scripted::tcp(|_, stream| async move { drop(stream) }).await;
    let observation = look(&KIND, &format!("address: {}", closing.address), &ask()).await;
    assert_eq!(fault(&observation).0, Phase::Tls);
}

#[tokio::test]
async fn a_ca_file_that_cannot_be_read_is_our_own_blindness() {
    let server = self_signed(&["localhost"]).serve().await;
    let text = format!("address: {}\nca: /does/not/exist.pem", server.address);
    let observation = look(&KIND, &text, &ask()).await;
    let (kind, why) = blindness(&observation);
    assert!(kind == UnknownKind::Refused && why.contains("/does/not/exist.pem"), "{observation:?}");
}

#[test]
fn wrong_values_are_refused() {
    for text in ["{}", "address: shop", "address: h:1\ninsecure: true", "address: h:1\nca: 5\nfoo: 1"] {
        assert!(read_text(&KIND, text).is_err(), "{text}");
    }
}

#[test]
fn the_example_reads() {
    example_reads(&KIND);
}
