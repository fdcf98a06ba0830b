//! Sockets of the tests' own: dialogues, refusals, and those who don't keep to the protocol.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

use super::*;
use crate::evidence::external::testing::{
    ask, blindness, declared, example_reads, fault, hold, hurried, is_good, look, read as read_text,
};
use crate::expect::Held as That;
use crate::model::observation::{Phase, UnknownKind};
use crate::net::scripted::{self, Authority, Server};

/// Greets, and answers each message with itself, until it is told to close.
async fn talk(mut socket: WebSocketStream<impl AsyncRead + AsyncWrite + Unpin>) {
    let _ = socket.send(Message::text("welcome 42")).await;
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) if text.as_str() == "close" => {
                let _ = socket.close(None).await;
            }
            Message::Text(text) => {
                let _ = socket.send(Message::text(format!("echo {text}"))).await;
            }
            _ => {}
        }
    }
}

async fn echo() -> Server {
    scripted::tcp(|_, stream| async move {
        if let Ok(socket) = accept_async(stream).await {
            talk(socket).await;
        }
    })
    .await
}

/// Agrees to the handshake, and then sends these bytes.
async fn rude(bytes: Vec<u8>) -> Server {
    scripted::tcp(move |_, mut stream| {
        let bytes = bytes.clone();
        async move {
            let head = scripted::read_head(&mut stream).await;
            let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap_or_default();
            let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.trim().as_bytes());
            let answer = format!(
                "HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.write_all(&bytes).await;
            scripted::drain(&mut stream).await;
        }
    })
    .await
}

async fn seen(server: &Server, more: &str) -> Observation {
    look(&KIND, &format!("url: ws://{}/live\n{more}", server.address), &ask()).await
}

#[tokio::test]
async fn a_dialogue_is_held_and_captures_are_sent_back() {
    let server = echo().await;
    let alone = seen(&server, "").await;
    declared(&KIND, &alone);
    assert!(is_good(&KIND, &alone), "{alone:?}");
    let dialogue = "dialogue: [{ expect: '^welcome (\\d+)', send: 'hello $1' }, { expect: 'echo hello 42' }]";
    let observation = seen(&server, dialogue).await;
    declared(&KIND, &observation);
    for that in [
        "connected && status == 101 && messages == 2",
        "received == \"welcome 42\\necho hello 42\\n\"",
        "connect_seconds > 0 && handshake_seconds > 0 && duration_seconds >= handshake_seconds",
    ] {
        assert_eq!(hold(&KIND, that, &observation), That::True, "{that}: {observation:?}");
    }
    assert!(observation.reproduce.unwrap().ends_with(&format!("http://{}/live", server.address)));
}

#[tokio::test]
async fn tls_is_spoken_and_verified() {
    let authority = Authority::new();
    let acceptor = authority.issue(&["localhost"], |_| {}).acceptor(&[b"http/1.1"]);
    let server = scripted::tcp(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            if let Ok(socket) = accept_async(stream).await {
                talk(socket).await;
            }
        }
    })
    .await;
    let url = format!("url: wss://localhost:{}/\ndialogue: [{{ expect: welcome }}]", server.address.port());
    let good = look(&KIND, &format!("{url}\ntls: {{ ca: {} }}", authority.pem().display()), &ask()).await;
    assert_eq!(hold(&KIND, "connected && tls_seconds > 0", &good), That::True, "{good:?}");
    let untrusted = look(&KIND, &url, &ask()).await;
    assert_eq!(fault(&untrusted).0, Phase::Tls, "{untrusted:?}");
}

#[tokio::test]
async fn another_answer_to_the_handshake_is_told() {
    let server = scripted::http(|head| match head.contains("authorization: Bearer t0ken-s3cret") {
        true => b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n".to_vec(),
        false => scripted::ok("<html>"),
    })
    .await;
    let refused =
        seen(&server, "bearer_token: { env: TOKEN }\nsubprotocols: [a, b]\nheaders: { origin: \"http://x\" }").await;
    assert_eq!(hold(&KIND, "!connected && status == 403", &refused), That::True, "{refused:?}");
    assert!(!is_good(&KIND, &refused));
    let head = &server.asked()[0].to_lowercase();
    for line in ["get /live http/1.1", "sec-websocket-protocol: a, b", "origin: http://x", "x-houston-probe: 1"] {
        assert!(head.contains(line), "{line}: {head}");
    }
    assert!(!refused.reproduce.unwrap().contains("s3cret"));
    let page = seen(&server, "").await;
    assert_eq!(hold(&KIND, "!connected && status == 200", &page), That::True, "{page:?}");
}

#[tokio::test]
async fn what_goes_wrong_is_the_service_s_or_ours() {
    let waits = "dialogue: [{ expect: ^never$ }]";
    let close = "dialogue: [{ send: close }, { expect: ^never$ }]";
    let closed = seen(&echo().await, close).await;
    assert!(fault(&closed).1.contains("closed"), "{closed:?}");
    for (bytes, part) in [
        (b"\x88\x06\x03\xf3oh\x1b[".to_vec(), "closed with 1011"),
        (b"\xff\x01x".to_vec(), "no WebSocket"),
        (b"\x81\x02\xff\xfe".to_vec(), "no WebSocket"),
        // A masked frame of a server.
        (b"\x81\x81aaaab".to_vec(), "no WebSocket"),
    ] {
        let observation = seen(&rude(bytes).await, waits).await;
        let (phase, what) = fault(&observation);
        assert!(phase == Phase::Processing && what.contains(part) && !what.contains('\u{1b}'), "{part}: {what}");
    }
    let flood = [&b"\x81\x7e\x40\x00"[..], &vec![b'x'; 0x4000]].concat();
    for (bytes, part) in [
        (b"\x81\x7f\x00\x00\x00\x01\x00\x00\x00\x00".to_vec(), "longer than 64"),
        (
            [b"\x01\x7e\xff\xff".to_vec(), vec![b'x'; 0xffff], b"\x00\x7e\xff\xff".to_vec(), vec![b'x'; 0xffff]]
                .concat(),
            "longer",
        ),
        (flood.repeat(8), "in the first 64"),
        (b"\x81\x01x".repeat(2_000), "1000 messages"),
    ] {
        let observation = seen(&rude(bytes).await, waits).await;
        let (kind, why) = blindness(&observation);
        assert!(kind == UnknownKind::Incomplete && why.contains(part), "{part}: {observation:?}");
        assert!(observation.measures.get("received").unwrap().show(10_000).len() <= KEPT + 10);
    }
    let silent = rude(Vec::new()).await;
    let text = format!("url: ws://{}/\n{waits}", silent.address);
    let late = look(&KIND, &text, &hurried()).await;
    assert!(fault(&late).1.starts_with("no message in"), "{late:?}");
    let mute = scripted::tcp(|_, stream| async move {
        tokio::time::sleep(Duration::from_secs(30)).await;
        drop(stream);
    })
    .await;
    let late = look(&KIND, &format!("url: ws://{}/", mute.address), &hurried()).await;
    assert!(fault(&late).1.contains("no answer to the handshake"), "{late:?}");
    let gone = look(&KIND, "url: ws://127.0.0.1:1/", &ask()).await;
    assert_eq!(fault(&gone).0, Phase::Connect);
    let metadata = look(&KIND, "url: ws://169.254.169.254/", &ask()).await;
    assert_eq!(blindness(&metadata).0, UnknownKind::Refused);
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    example_reads(&KIND);
    for (text, place, part) in [
        ("url: http://a/", "test.yaml:1:6", "ws://"),
        ("url: ws://", "test.yaml:1:6", "URL"),
        ("url: ws://u:p@a/", "test.yaml:1:6", "credentials"),
        ("url: 'ws://{{ h }}/'", "test.yaml:1:6", "parameters"),
        ("url: ws://a/\ndialogue: [{}]", "test.yaml:2:11", "expect or send"),
        ("url: ws://a/\ndialogue: [{ send: '{{ a }}' }]", "test.yaml:2:11", "no parameters"),
        ("url: ws://a/\nsubprotocols: ['a, b']", "test.yaml:2:15", "a word"),
        ("url: ws://a/\nheaders: { Sec-WebSocket-Protocol: a }", "test.yaml:2:10", "handshake itself"),
        ("url: ws://a/\nheaders: { cookie: a }", "test.yaml:2:10", "secret"),
    ] {
        let error = read_text(&KIND, text).unwrap_err();
        assert_eq!(error.at.to_string(), place, "{text}: {error}");
        assert!(error.message.contains(part), "{text}: {error}");
    }
    assert_eq!(read_text(&KIND, "url: WSS://Shop.Example/x").unwrap().system(), "shop.example:443");
}
