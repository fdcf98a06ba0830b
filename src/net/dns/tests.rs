//! The resolver against name servers of the tests' own.

use std::collections::BTreeSet;

use hickory_resolver::proto::rr::{RData, RecordType};

use super::*;
use crate::net::scripted::{self, Says, soon};

async fn resolve(server: SocketAddr, host: &str, ip: Option<IpVersion>) -> Result<Vec<IpAddr>, Unresolved> {
    let resolver = Resolver::with_servers(vec![server]);
    tokio::time::timeout_at(soon(), resolver.addresses(host, ip)).await.unwrap()
}

/// Answers A with one address and AAAA with another.
async fn both() -> SocketAddr {
    scripted::dns(|_, asked| match asked.queries[0].query_type {
        RecordType::A => Says::Records(vec![(60, RData::A("192.0.2.1".parse().unwrap()))]),
        RecordType::AAAA => Says::Records(vec![(60, RData::AAAA("2001:db8::1".parse().unwrap()))]),
        _ => Says::Nothing,
    })
    .await
}

#[tokio::test]
async fn both_versions_of_ip_are_found_and_one_can_be_chosen() {
    let server = both().await;
    for (ip, found) in [
        (None, vec!["2001:db8::1", "192.0.2.1"]),
        (Some(IpVersion::V4), vec!["192.0.2.1"]),
        (Some(IpVersion::V6), vec!["2001:db8::1"]),
    ] {
        let found: Vec<IpAddr> = found.into_iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(resolve(server, "shop.example", ip).await.unwrap(), found);
    }
}

#[tokio::test]
async fn literals_and_localhost_are_not_asked_for() {
    let silent = scripted::dns(|_, _| Says::Nothing).await;
    for (host, ip, found) in [
        ("127.0.0.1", None, "127.0.0.1"),
        ("[::1]", None, "::1"),
        ("::1", Some(IpVersion::V6), "::1"),
        ("localhost", Some(IpVersion::V4), "127.0.0.1"),
        ("LOCALHOST.", Some(IpVersion::V6), "::1"),
        ("shop.localhost", Some(IpVersion::V4), "127.0.0.1"),
    ] {
        assert_eq!(resolve(silent, host, ip).await.unwrap(), [found.parse::<IpAddr>().unwrap()], "{host}");
    }
    assert!(matches!(resolve(silent, "127.0.0.1", Some(IpVersion::V6)).await, Err(Unresolved::NoAddress(_))));
}

#[tokio::test]
async fn an_answer_is_not_kept() {
    let server = scripted::dns(|number, _| {
        Says::Records(vec![(3_600, RData::A(format!("192.0.2.{}", number % 250).parse().unwrap()))])
    })
    .await;
    let resolver = Resolver::with_servers(vec![server]);
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        seen.extend(resolver.addresses("shop.example", Some(IpVersion::V4)).await.unwrap());
    }
    assert_eq!(seen.len(), 5);
}

#[tokio::test]
async fn many_addresses_are_bounded() {
    let server = scripted::dns(|_, _| {
        Says::Records((0..60_u8).map(|last| (60, RData::A(format!("192.0.2.{last}").parse().unwrap()))).collect())
    })
    .await;
    assert_eq!(resolve(server, "many.example", Some(IpVersion::V4)).await.unwrap().len(), ADDRESSES);
}

#[tokio::test]
async fn nonsense_is_no_address_of_a_name() {
    for bytes in [vec![], vec![0x81, 0x80], vec![0xff; 600]] {
        let server = scripted::dns(move |_, _| Says::Raw(bytes.clone())).await;
        let resolver = Resolver::with_servers(vec![server]);
        let asked = resolver.addresses("shop.example", Some(IpVersion::V4));
        // It may be told at once or be waited out; it is never taken for an answer.
        if let Ok(answer) = tokio::time::timeout(Duration::from_secs(3), asked).await {
            assert!(matches!(answer, Err(Unresolved::Ours(_))), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_silent_name_server_does_not_stop_reading_files() {
    let silent = scripted::dns(|_, _| Says::Nothing).await;
    let resolver = Resolver::with_servers(vec![silent]);
    let lookups: Vec<_> = (0..600)
        .map(|number| {
            let resolver = resolver.clone();
            tokio::spawn(async move { resolver.addresses(&format!("host-{number}.example"), None).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let read = tokio::time::timeout(Duration::from_secs(5), tokio::fs::read(file)).await;
    assert!(read.unwrap().is_ok());
    assert!(lookups.iter().any(|lookup| !lookup.is_finished()));
    lookups.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn what_can_be_no_name_has_no_address() {
    let server = both().await;
    let long = format!("{}.example", "x".repeat(64));
    for host in [long.as_str(), "a..b"] {
        assert!(matches!(resolve(server, host, None).await, Err(Unresolved::NoAddress(_))), "{host}");
    }
}
