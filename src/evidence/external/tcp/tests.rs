//! Dialogues with real listeners: banners, captures, STARTTLS, and those who don't keep to them.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::evidence::external::testing::{
    ask, blindness, declared, example_reads, fault, hold, hurried, is_good, look, read as read_text,
};
use crate::expect::Held;
use crate::model::observation::{Phase, UnknownKind};
use crate::net::scripted::{self, Authority, Server};

/// Says the banner, then answers each line with what the pairs say.
async fn banner(greeting: &'static str, answers: &'static [(&'static str, &'static str)]) -> Server {
    scripted::tcp(move |_, mut stream| async move {
        let _ = stream.write_all(greeting.as_bytes()).await;
        let mut line = Vec::new();
        while let Ok(byte) = stream.read_u8().await {
            line.push(byte);
            if byte == b'\n' {
                let said = String::from_utf8_lossy(&line).trim_end().to_owned();
                let answer =
                    answers.iter().find(|(asked, _)| *asked == said).map_or("500 what?\r\n", |(_, answer)| answer);
                let _ = stream.write_all(answer.as_bytes()).await;
                line.clear();
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_connection_alone_is_good() {
    let server = banner("", &[]).await;
    let observation = look(&KIND, &format!("address: {}", server.address), &ask()).await;
    declared(&KIND, &observation);
    assert!(is_good(&KIND, &observation));
    assert_eq!(hold(&KIND, "connect_seconds > 0 && duration_seconds >= connect_seconds", &observation), Held::True);
    assert_eq!(observation.reproduce.unwrap(), format!("nc -vz 127.0.0.1 {}", server.address.port()));
}

#[tokio::test]
async fn a_dialogue_is_held_and_captures_are_sent_back() {
    let server = banner(
        "220-hello\r\n220 mail.example ESMTP\r\n",
        &[("EHLO mail.example", "250 hi\r\n"), ("QUIT", "221 bye\r\n")],
    )
    .await;
    let text = format!(
        "address: {}\ndialogue:\n  - {{ expect: '^220 (\\S+)', send: 'EHLO $1' }}\n  - {{ expect: '^250', send: QUIT }}\n  - {{ expect: '^221' }}",
        server.address
    );
    let observation = look(&KIND, &text, &ask()).await;
    assert!(is_good(&KIND, &observation), "{observation:?}");
    assert_eq!(hold(&KIND, "received.contains(\"221 bye\")", &observation), Held::True);
}

#[tokio::test]
async fn a_prompt_without_a_line_end_counts() {
    let server = banner("login: ", &[]).await;
    let text = format!("address: {}\ndialogue: [ {{ expect: '^login: $' }} ]", server.address);
    assert!(is_good(&KIND, &look(&KIND, &text, &ask()).await));
}

#[tokio::test]
async fn those_who_do_not_answer_as_expected_are_bad() {
    let dialogue = "dialogue: [ { expect: '^220' } ]";
    let silent = banner("", &[]).await;
    let observation = look(&KIND, &format!("address: {}\n{dialogue}", silent.address), &hurried()).await;
    assert!(fault(&observation).1.starts_with("no byte in "), "{observation:?}");
    assert_eq!(hold(&KIND, "connected", &observation), Held::True);

    let other = banner("554 go away\r\n", &[]).await;
    let observation = look(&KIND, &format!("address: {}\n{dialogue}", other.address), &hurried()).await;
    assert!(fault(&observation).1.starts_with("no line as expected in "), "{observation:?}");
    assert_eq!(observation.excerpt.as_deref(), Some("554 go away\r\n"));

    let closing = scripted::tcp(|_, mut stream| async move {
        let _ = stream.write_all(b"554 go away\r\n").await;
    })
    .await;
    let observation = look(&KIND, &format!("address: {}\n{dialogue}", closing.address), &ask()).await;
    assert_eq!(fault(&observation), (Phase::Processing, "connection closed before a line as expected came"));

    let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = refusing.local_addr().unwrap();
    drop(refusing);
    let observation = look(&KIND, &format!("address: {address}"), &ask()).await;
    assert_eq!(fault(&observation), (Phase::Connect, "connection refused"));
    assert_eq!(hold(&KIND, "connected", &observation), Held::False { actual: "connected is false".to_owned() });
}

#[tokio::test]
async fn a_flood_ends_at_its_cap() {
    let flood =
        scripted::tcp(|_, mut stream| async move { while stream.write_all(&[b'x'; 4_096]).await.is_ok() {} }).await;
    let text = format!("address: {}\ndialogue: [ {{ expect: '^220' }} ]", flood.address);
    let observation = look(&KIND, &text, &ask()).await;
    assert_eq!(blindness(&observation).0, UnknownKind::Incomplete);
    assert!(observation.measures.get("received").unwrap().show(10_000).len() <= KEPT + 2);
}

#[tokio::test]
async fn tls_is_spoken_from_the_start_or_from_where_it_is_said() {
    let authority = Authority::new();
    let identity = authority.issue(&["localhost"], |_| {});
    let tls = format!("tls: {{ ca: {} }}", authority.pem().display());
    let acceptor = identity.acceptor(&[]);
    let direct = scripted::tcp({
        let acceptor = acceptor.clone();
        move |_, stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let _ = stream.write_all(b"* OK ready\r\n").await;
                scripted::drain(&mut stream).await;
            }
        }
    })
    .await;
    let address = format!("address: localhost:{}", direct.address.port());
    let greeting = "dialogue: [ { expect: '^. OK' } ]";
    assert!(is_good(&KIND, &look(&KIND, &format!("{address}\n{tls}\n{greeting}"), &ask()).await));
    let observation = look(&KIND, &format!("{address}\ntls: true\n{greeting}"), &ask()).await;
    assert_eq!(fault(&observation).0, Phase::Tls);

    let upgrading = scripted::tcp(move |_, mut stream| {
        let acceptor = acceptor.clone();
        async move {
            let _ = stream.write_all(b"220 hi\r\n").await;
            let mut line = [0; 10];
            let _ = stream.read_exact(&mut line).await;
            // What is slipped in ahead of the handshake must not be taken for something said over TLS.
            let _ = stream.write_all(b"220 go ahead\r\n").await;
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let _ = stream.write_all(b"250 safe now\r\n").await;
            scripted::drain(&mut stream).await;
        }
    })
    .await;
    let text = format!(
        "address: localhost:{}\n{tls}\ndialogue:\n  - {{ expect: '^220', send: STARTTLS }}\n  - {{ expect: '^220 go', starttls: true }}\n  - {{ expect: '^250 safe' }}",
        upgrading.address.port()
    );
    let observation = look(&KIND, &text, &ask()).await;
    assert!(is_good(&KIND, &observation), "{observation:?}");
}

#[test]
fn wrong_values_are_refused_at_their_place() {
    for (text, line, part) in [
        ("address: shop", 1, "has no port"),
        ("address: \"{{ host }}:80\"", 1, "parameters"),
        ("address: h:1\ndialogue: [ { expect: '(' } ]", 2, "not a regular expression"),
        ("address: h:1\ndialogue: [ {} ]", 2, "says expect, send or starttls"),
        ("address: h:1\ndialogue: [ { send: \"{{ x }}\" } ]", 2, "parameters"),
        ("address: h:1\ndialogue: [ { starttls: true }, { starttls: true } ]", 2, "once"),
        ("address: h:1\ndialogue: [ { expcet: x } ]", 2, "expcet"),
        ("address: h:1\ntls: yes please", 2, ""),
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
