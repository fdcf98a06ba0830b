//! The client against servers that behave, misbehave and attack.

use super::*;
use crate::net::budget::{Budgets, Limit, Limits};
use crate::net::scripted::{self, ok, redirect, shortly, soon};

mod hostile;
mod kept;
mod redirects;
mod shared;
mod tls;

/// A client that may ask as often as a test likes.
pub(super) fn client() -> Client {
    let free = Limit { at_once: 64, per_second: None };
    let budgets = Budgets::new(Limits { service: free, system: free, ..Limits::default() });
    Client::new(Dialer { budgets, ..Dialer::default() })
}

pub(super) async fn get(url: Url) -> Result<Response, Failure> {
    client().send(Request { follow_redirects: 10, ..Request::get(url, soon()) }).await
}

#[tokio::test]
async fn an_answer_comes_with_its_phases() {
    let server = scripted::http(|_| ok("hello")).await;
    let response = get(server.url("/a?b=c")).await.unwrap();
    assert_eq!((response.status, &response.body[..], response.truncated), (200, &b"hello"[..], false));
    assert_eq!(response.version, http::Version::HTTP_11);
    let timings = response.timings;
    assert!(timings.resolve.is_some() && timings.connect.is_some() && timings.first_byte.is_some());
    assert_eq!(timings.tls, None);
    assert!(timings.total >= timings.connect.unwrap() + timings.first_byte.unwrap());

    let heads = server.asked();
    assert!(heads[0].starts_with("GET /a?b=c HTTP/1.1\r\n"), "{heads:?}");
    let lower = heads[0].to_lowercase();
    for header in [
        format!("host: {}", server.address),
        format!("user-agent: houston/{}", env!("CARGO_PKG_VERSION")),
        "x-houston-probe: 1".to_owned(),
        "accept-encoding: gzip, deflate".to_owned(),
    ] {
        assert!(lower.contains(&format!("{header}\r\n")), "{header}: {heads:?}");
    }
    assert!(!lower.contains("referer") && !lower.contains("cookie"));
}

#[tokio::test]
async fn method_headers_and_body_are_sent_as_given() {
    let server = scripted::http(|_| ok("")).await;
    let request = Request {
        method: Method::POST,
        headers: vec![("Content-Type".into(), "text/plain".into()), ("Host".into(), "shop.example".into())],
        secret_headers: vec![("Authorization".into(), Secret::new("Bearer t0ken".into()))],
        body: Bytes::from_static(b"x=1"),
        ..Request::get(server.url("/"), soon())
    };
    assert!(!format!("{request:?}").contains("t0ken"));
    client().send(request).await.unwrap();
    let head = server.asked()[0].to_lowercase();
    for line in ["post / http/1.1", "content-type: text/plain", "host: shop.example", "content-length: 3"] {
        assert!(head.contains(line), "{line}: {head}");
    }
    assert!(head.contains("authorization: bearer t0ken") && head.matches("host:").count() == 1);
}

#[tokio::test]
async fn headers_that_would_break_the_request_are_not_sent() {
    let server = scripted::http(|_| ok("")).await;
    for (name, value) in [("x", "a\r\nb: c"), ("x y", "z"), ("x\n", "z"), ("", "z"), ("x", "a\0b")] {
        let request = Request { headers: vec![(name.into(), value.into())], ..Request::get(server.url("/"), soon()) };
        let failure = client().send(request).await.unwrap_err();
        assert_eq!(failure.reason, Reason::Guard, "{name:?}: {value:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_body_beyond_the_cap_is_cut_there() {
    let server = scripted::http(|_| ok(&"x".repeat(5_000))).await;
    for (cap, kept, truncated) in [(4_999, 4_999, true), (5_000, 5_000, false), (0, 0, true)] {
        let caps = Caps { body: cap, ..Caps::default() };
        let response = client().send(Request { caps, ..Request::get(server.url("/"), soon()) }).await.unwrap();
        assert_eq!((response.body.len(), response.truncated), (kept, truncated), "{cap}");
    }
}

#[tokio::test]
async fn who_refuses_is_named_with_the_phase() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let failure = get(Url::parse(&format!("http://{address}/?token=s3cret")).unwrap()).await.unwrap_err();
    assert_eq!((failure.reason, failure.phase), (Reason::Service, Phase::Connect));
    assert_eq!(failure.what, "connection refused");
    assert!(!format!("{failure}").contains("s3cret"));
}

#[tokio::test]
async fn waiting_for_our_own_turn_is_not_blamed_on_the_target() {
    let server = scripted::tcp(|_, mut stream| async move {
        scripted::read_head(&mut stream).await;
        scripted::drain(&mut stream).await;
    })
    .await;
    let one = Limit { at_once: 1, per_second: None };
    let budgets = Budgets::new(Limits { service: one, ..Limits::default() });
    let client = Client::new(Dialer { budgets, ..Dialer::default() });
    let slow = tokio::spawn({
        let (client, url) = (client.clone(), server.url("/"));
        async move { client.send(Request::get(url, soon())).await }
    });
    while server.connections() == 0 {
        tokio::task::yield_now().await;
    }
    let failure = client.send(Request::get(server.url("/"), shortly())).await.unwrap_err();
    assert_eq!(failure.reason, Reason::Ours, "{failure:?}");
    assert!(failure.what.contains("no turn"), "{failure:?}");
    assert_eq!(server.connections(), 1);
    slow.abort();
}

#[tokio::test]
async fn compressed_bodies_are_decoded() {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use std::io::Write as _;
    let text = "hello ".repeat(2_000);
    let gzip = || {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(text.as_bytes()).unwrap();
    let mut bare = DeflateEncoder::new(Vec::new(), Compression::default());
    bare.write_all(text.as_bytes()).unwrap();
    for (label, bytes) in [
        ("gzip", gzip()),
        ("GZIP", gzip()),
        ("x-gzip", gzip()),
        ("identity, gzip", gzip()),
        ("deflate", zlib.finish().unwrap()),
        ("deflate", bare.finish().unwrap()),
        ("identity", text.clone().into_bytes()),
    ] {
        let server = scripted::http(move |_| {
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-encoding: {label}\r\ncontent-length: {}\r\n\r\n", bytes.len());
            [head.as_bytes(), &bytes].concat()
        })
        .await;
        let response = get(server.url("/")).await.unwrap();
        assert_eq!((&response.body[..], response.truncated), (text.as_bytes(), false), "{label}");
    }
}
