//! Questions to name servers of the tests' own: answers, refusals, silence, nonsense.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::evidence::Setup;
use crate::evidence::external::testing::{
    ask, ask_with, blindness, declared, example_reads, fault, hold, hurried, is_good, look, read as read_text, setup,
};
use crate::expect::Held;
use crate::net::dns::Resolver;
use crate::net::scripted::{self, Says};

fn addresses(texts: &[&str]) -> Says {
    Says::Records(texts.iter().map(|text| (60, RData::A(text.parse().unwrap()))).collect())
}

async fn asked(server: SocketAddr, more: &str, ask: &Ask) -> Observation {
    look(&KIND, &format!("name: shop.example\nserver: {server}\n{more}"), ask).await
}

#[tokio::test]
async fn an_answer_is_measured() {
    let server = scripted::dns(|_, asked| {
        assert_eq!(asked.queries[0].name.to_string(), "shop.example.");
        assert!(asked.metadata.recursion_desired);
        addresses(&["192.0.2.1", "192.0.2.2"])
    })
    .await;
    let observation = asked(server, "", &ask()).await;
    declared(&KIND, &observation);
    assert!(is_good(&KIND, &observation), "{observation:?}");
    for that in [
        "rcode == \"NOERROR\"",
        "size(answers) == 2 && \"192.0.2.1\" in answers",
        "ttl_seconds == 60",
        "!authenticated",
        "duration_seconds > 0",
    ] {
        assert_eq!(hold(&KIND, that, &observation), Held::True, "{that}");
    }
    assert_eq!(observation.excerpt.unwrap().lines().next().unwrap(), "shop.example. 60 A 192.0.2.1");
    assert_eq!(observation.reproduce.unwrap(), format!("dig @127.0.0.1 -p {} shop.example A", server.port()));
}

#[tokio::test]
async fn authority_validation_and_recursion_are_told() {
    let address = || RData::A("192.0.2.1".parse().unwrap());
    let server = scripted::dns(move |_, _| Says::Certain(vec![(300, address()), (60, address())])).await;
    let observation = asked(server, "", &ask()).await;
    declared(&KIND, &observation);
    for that in ["authenticated", "authoritative", "ttl_seconds == 60", "size(authority) == 0"] {
        assert_eq!(hold(&KIND, that, &observation), Held::True, "{that}: {observation:?}");
    }

    // A server without the zone sends elsewhere where it isn't to ask for us.
    let elsewhere = scripted::dns(|_, asked| {
        assert!(!asked.metadata.recursion_desired);
        let server = hickory_resolver::proto::rr::rdata::NS("ns.example.".parse().unwrap());
        Says::Elsewhere(vec![(300, RData::NS(server))])
    })
    .await;
    let observation = asked(elsewhere, "recursion: false", &ask()).await;
    assert!(!is_good(&KIND, &observation));
    for that in ["!authoritative", "authority[0] == \"shop.example. NS ns.example.\"", "size(answers) == 0"] {
        assert_eq!(hold(&KIND, that, &observation), Held::True, "{that}: {observation:?}");
    }
    assert!(observation.reproduce.unwrap().contains(" +norecurse "));
}

#[tokio::test]
async fn codes_and_emptiness_are_answers_that_the_default_forbids() {
    for (code, name) in [
        (ResponseCode::NXDomain, "NXDOMAIN"),
        (ResponseCode::ServFail, "SERVFAIL"),
        (ResponseCode::Refused, "REFUSED"),
        (ResponseCode::NoError, "NOERROR"),
    ] {
        let server = scripted::dns(move |_, _| Says::Code(code)).await;
        let observation = asked(server, "", &ask()).await;
        assert_eq!(hold(&KIND, &format!("rcode == \"{name}\""), &observation), Held::True);
        assert!(!is_good(&KIND, &observation));
    }
}

#[tokio::test]
async fn types_are_asked_for_and_others_left_out() {
    let server = scripted::dns(|_, asked| match asked.queries[0].query_type {
        RecordType::TXT => Says::Records(vec![
            (5, RData::A("192.0.2.1".parse().unwrap())),
            (9, RData::TXT(hickory_resolver::proto::rr::rdata::TXT::new(vec!["\u{1b}[2Jhello".to_owned()]))),
        ]),
        _ => Says::Code(ResponseCode::Refused),
    })
    .await;
    let observation = asked(server, "type: txt", &ask()).await;
    assert_eq!(
        hold(&KIND, "size(answers) == 1 && answers[0].contains(\"hello\") && ttl_seconds == 5", &observation),
        Held::True
    );
    assert!(!format!("{observation:?}").contains('\u{1b}'));
}

#[tokio::test]
async fn a_named_server_that_does_not_answer_is_bad() {
    let silent = scripted::dns(|_, _| Says::Nothing).await;
    let observation = asked(silent, "", &hurried()).await;
    assert!(fault(&observation).1.starts_with("no answer in "), "{observation:?}");

    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let observation = asked(address, "", &ask()).await;
    assert_eq!(fault(&observation), (Phase::Connect, "connection refused"));

    for raw in [
        vec![0x80],
        vec![0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 0xc0, 0x0c, 0xff],
        vec![0x81, 0x80, 0, 0, 0, 9, 0, 0, 0, 0],
    ] {
        let server = scripted::dns(move |_, _| Says::Raw(raw.clone())).await;
        let observation = asked(server, "", &ask()).await;
        assert_eq!(fault(&observation).0, Phase::Processing, "{observation:?}");
    }
}

#[tokio::test]
async fn a_lost_datagram_is_sent_again() {
    let server = scripted::dns(|number, _| if number == 0 { Says::Nothing } else { addresses(&["192.0.2.1"]) }).await;
    assert!(is_good(&KIND, &asked(server, "", &ask()).await));
}

#[tokio::test]
async fn what_is_too_long_for_a_datagram_is_asked_over_tcp() {
    static OVER_TCP: AtomicUsize = AtomicUsize::new(0);
    let udp = scripted::dns(|_, _| Says::Raw(vec![0x83, 0x80, 0, 0, 0, 0, 0, 0, 0, 0])).await;
    let listener = tokio::net::TcpListener::bind(udp).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            OVER_TCP.fetch_add(1, Ordering::SeqCst);
            let length = stream.read_u16().await.unwrap();
            let mut question = vec![0; usize::from(length)];
            stream.read_exact(&mut question).await.unwrap();
            let asked = hickory_resolver::proto::op::Message::from_vec(&question).unwrap();
            let answer = scripted::reply(&asked, addresses(&["192.0.2.7"])).unwrap();
            stream.write_u16(answer.len() as u16).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    assert!(is_good(&KIND, &asked(udp, "", &ask()).await));
    assert!(is_good(&KIND, &asked(udp, "transport: tcp", &ask()).await));
    assert_eq!(OVER_TCP.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn our_own_resolver_that_does_not_work_is_unknown() {
    let silent = scripted::dns(|_, _| Says::Nothing).await;
    let refusing = scripted::dns(|_, _| Says::Code(ResponseCode::Refused)).await;
    let working = scripted::dns(|_, _| addresses(&["192.0.2.1"])).await;
    let with = |servers: Vec<SocketAddr>| {
        ask_with(Setup { resolver: Resolver::with_servers(servers), ..setup() }, Duration::from_secs(1))
    };
    let text = "name: shop.example";
    let observation = look(&KIND, text, &with(vec![silent])).await;
    assert_eq!(blindness(&observation).0, UnknownKind::Unreachable);
    let observation = look(&KIND, text, &with(vec![refusing])).await;
    assert!(blindness(&observation).1.contains("answered REFUSED"), "{observation:?}");
    for servers in [vec![refusing, working], vec![silent, working]] {
        assert!(is_good(&KIND, &look(&KIND, text, &with(servers)).await));
    }
    let missing = scripted::dns(|_, _| Says::Code(ResponseCode::NXDomain)).await;
    let observation = look(&KIND, text, &with(vec![missing, working])).await;
    assert_eq!(hold(&KIND, "rcode == \"NXDOMAIN\"", &observation), Held::True);
}

#[tokio::test]
async fn what_a_guard_forbids_is_unknown_and_localhost_needs_no_server() {
    let observation = look(&KIND, "name: a.example\nserver: 169.254.169.254", &ask()).await;
    assert_eq!(blindness(&observation).0, UnknownKind::Refused);
    for name in ["localhost", "LOCALHOST.", "a.localhost"] {
        assert!(is_good(&KIND, &look(&KIND, &format!("name: {name}"), &ask()).await));
    }
}

#[test]
fn wrong_values_are_refused_at_their_place() {
    for (text, line, part) in [
        ("type: A", 1, "name"),
        ("name: \"{{ host }}\"", 1, "parameters"),
        ("name: a..b", 1, "is no name"),
        ("name: a\ntype: NOSUCH", 2, "no record type"),
        ("name: a\nserver: a b", 2, "is no host"),
        ("name: a\ntransport: carrier pigeon", 2, ""),
        ("name: a\nport: 53", 2, "port"),
    ] {
        let error = read_text(&KIND, text).unwrap_err();
        assert!(error.message.contains(part), "{text}: {error:?}");
        assert_eq!(error.at.line, line, "{text}: {error:?}");
    }
}

#[test]
fn the_example_reads() {
    example_reads(&KIND);
}
