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
    assert!(fault(&observation).1.starts_with("nothing as expected in "), "{observation:?}");
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

/// The dialogues of the example's comments, as the check that a reader makes of them.
fn commented(name: &str, address: &str, ca: &std::path::Path) -> String {
    let text = KIND.example_text;
    let (_, from) = text.split_once(&format!("  # - name: {name}\n  #   tcp:\n")).unwrap();
    let lines = from.lines().take_while(|line| line.starts_with("  #     "));
    let check: String = lines.map(|line| format!("{}\n", &line["  #     ".len()..])).collect();
    let (first, rest) = check.split_once('\n').unwrap();
    assert!(first.starts_with("address: "), "{check}");
    let tls = rest.lines().next().unwrap();
    assert!(tls.starts_with("tls: true"), "{check}");
    format!("address: {address}\n{}", rest.replacen(tls, &format!("tls: {{ ca: {} }}", ca.display()), 1))
}

#[tokio::test]
async fn a_directory_goes_over_to_tls_in_bytes() {
    let authority = Authority::new();
    let acceptor = authority.issue(&["localhost"], |_| {}).acceptor(&[]);
    for (answer, good) in [
        // An extended response with the result success (RFC 4511 §4.12), and one with protocolError.
        (&b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"[..], true),
        (b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00", false),
    ] {
        let acceptor = acceptor.clone();
        let directory = scripted::tcp(move |_, mut stream| {
            let acceptor = acceptor.clone();
            async move {
                let mut request = [0; 31];
                let _ = stream.read_exact(&mut request).await;
                assert!(request.starts_with(&[0x30, 29]) && request.ends_with(b"1.3.6.1.4.1.1466.20037"));
                // It comes in pieces.
                for piece in answer.chunks(9) {
                    let _ = stream.write_all(piece).await;
                    let _ = stream.flush().await;
                }
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                scripted::drain(&mut stream).await;
            }
        })
        .await;
        let text = commented("directory", &format!("localhost:{}", directory.address.port()), &authority.pem());
        let observation = look(&KIND, &text, &hurried()).await;
        assert_eq!(is_good(&KIND, &observation), good, "{observation:?}");
    }
}

#[tokio::test]
async fn files_and_mailboxes_go_over_to_tls_as_the_example_says() {
    let authority = Authority::new();
    let identity = authority.issue(&["localhost"], |_| {});
    type Script = &'static [(&'static str, &'static str)];
    let scripts: [(&str, &str, Script, &str, &str); 2] = [
        ("files", "220 files\r\n", &[("AUTH TLS", "234 go on\r\n")], "QUIT", "221 bye\r\n"),
        (
            "mailboxes",
            "* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n",
            &[("a1 STARTTLS", "a1 OK begin\r\n")],
            "a2 CAPABILITY",
            "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\na2 OK\r\n",
        ),
    ];
    for (name, greeting, before, asked, answer) in scripts {
        let acceptor = identity.acceptor(&[]);
        let server = scripted::tcp(move |_, mut stream| {
            let acceptor = acceptor.clone();
            async move {
                let _ = stream.write_all(greeting.as_bytes()).await;
                for (line, answer) in before {
                    let mut said = vec![0; line.len() + 2];
                    let _ = stream.read_exact(&mut said).await;
                    assert_eq!(String::from_utf8(said).unwrap(), format!("{line}\r\n"));
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut said = vec![0; asked.len() + 2];
                let _ = stream.read_exact(&mut said).await;
                if said == format!("{asked}\r\n").as_bytes() {
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
                scripted::drain(&mut stream).await;
            }
        })
        .await;
        let text = commented(name, &format!("localhost:{}", server.address.port()), &authority.pem());
        let observation = look(&KIND, &text, &ask()).await;
        assert!(is_good(&KIND, &observation), "{name}: {observation:?}");
    }
}

#[test]
fn wrong_values_are_refused_at_their_place() {
    for (text, line, part) in [
        ("address: shop", 1, "has no port"),
        ("address: \"{{ host }}:80\"", 1, "parameters"),
        ("address: h:1\ndialogue: [ { expect: '(' } ]", 2, "not a regular expression"),
        ("address: h:1\ndialogue: [ { send_bytes: \"0a0\" } ]", 2, "hexadecimal"),
        ("address: h:1\ndialogue: [ { expect_bytes: \"\" } ]", 2, "hexadecimal"),
        ("address: h:1\ndialogue: [ { send: x, send_bytes: \"0a\" } ]", 2, "not both"),
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
