//! HTTP/2 servers of the tests' own that answer as they are told: health, refusals, and what is no gRPC.

use std::convert::Infallible;
use std::sync::Mutex;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::*;
use crate::evidence::external::testing::{
    ask, blindness, declared, example_reads, fault, hold, hurried, is_good, look, read as read_text,
};
use crate::expect::Held;
use crate::model::observation::{Phase, UnknownKind};
use crate::net::scripted::{self, Authority, Server};

/// What a server answers.
#[derive(Clone)]
struct Says {
    http: u16,
    content_type: &'static str,
    data: Vec<u8>,
    /// `grpc-status` and `grpc-message`, behind the data.
    trailers: &'static [(&'static str, &'static str)],
    /// The same in the head.
    headers: &'static [(&'static str, &'static str)],
    silent: bool,
}

const SERVING: &[u8] = b"\0\0\0\0\x02\x08\x01";

fn says(data: &[u8], trailers: &'static [(&'static str, &'static str)]) -> Says {
    Says { http: 200, content_type: "application/grpc", data: data.to_vec(), trailers, headers: &[], silent: false }
}

type Asked = Arc<Mutex<Vec<(http::request::Parts, Bytes)>>>;

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, says: Says, asked: Asked) {
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let (says, asked) = (says.clone(), Arc::clone(&asked));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            asked.lock().unwrap().push((head, body));
            if says.silent {
                std::future::pending::<()>().await;
            }
            let mut trailers = HeaderMap::new();
            for (name, value) in says.trailers {
                trailers.insert(*name, HeaderValue::from_static(value));
            }
            let end = async move { (!trailers.is_empty()).then_some(Ok::<_, Infallible>(trailers)) };
            let mut answer = http::Response::builder().status(says.http).header("content-type", says.content_type);
            for (name, value) in says.headers {
                answer = answer.header(*name, *value);
            }
            Ok::<_, Infallible>(answer.body(Full::new(Bytes::from(says.data)).with_trailers(end)).unwrap())
        }
    });
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn server(says: Says) -> (Server, Asked) {
    let asked = Asked::default();
    let noted = Arc::clone(&asked);
    let server = scripted::tcp(move |_, stream| serve(stream, says.clone(), Arc::clone(&noted))).await;
    (server, asked)
}

async fn seen(says: Says, more: &str) -> Observation {
    let (server, _) = server(says).await;
    look(&KIND, &format!("address: {}\n{more}", server.address), &ask()).await
}

#[tokio::test]
async fn the_health_is_told() {
    let (server, asked) = server(says(SERVING, &[("grpc-status", "0")])).await;
    let text = format!(
        "address: {}\nservice: shop.Cart\nmetadata: {{ x-tenant: acme }}\nbearer_token: {{ env: TOKEN }}",
        server.address
    );
    let good = look(&KIND, &text, &ask()).await;
    declared(&KIND, &good);
    assert!(is_good(&KIND, &good), "{good:?}");
    assert_eq!(hold(&KIND, "first_byte_seconds > 0 && duration_seconds >= connect_seconds", &good), Held::True);
    let (head, body) = asked.lock().unwrap().remove(0);
    assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/grpc.health.v1.Health/Check"));
    assert_eq!(&body[..], b"\0\0\0\0\x0b\x0a\x09shop.Cart");
    for (name, value) in [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("x-tenant", "acme"),
        ("authorization", "Bearer t0ken-s3cret"),
        ("x-houston-probe", "1"),
    ] {
        assert_eq!(head.headers[name], value, "{name}");
    }
    // The time that is left, of twenty seconds.
    let timeout = head.headers["grpc-timeout"].to_str().unwrap();
    let millis: u64 = timeout.strip_suffix('m').unwrap().parse().unwrap();
    assert!((1..20_000).contains(&millis), "{timeout}");
    let address = server.address.to_string();
    assert_eq!(good.reproduce.unwrap(), format!("grpc_health_probe -addr {address} -service shop.Cart"));
}

#[tokio::test]
async fn any_other_health_and_status_is_told_and_not_good() {
    let refused = says(b"", &[]);
    let refused = Says { headers: &[("grpc-status", "12"), ("grpc-message", "no%20health")], ..refused };
    for (says, holds) in [
        (says(b"\0\0\0\0\x02\x08\x02", &[("grpc-status", "0")]), "status == \"NOT_SERVING\""),
        (says(b"\0\0\0\0\0", &[("grpc-status", "0")]), "status == \"UNKNOWN\""),
        (says(b"\0\0\0\0\x02\x08\x09", &[("grpc-status", "0")]), "status == \"9\""),
        (
            says(b"", &[("grpc-status", "5"), ("grpc-message", "unknown service")]),
            "code == \"NOT_FOUND\" && message == \"unknown service\"",
        ),
        (says(b"", &[("grpc-status", "99")]), "code == \"99\""),
        (says(b"", &[("grpc-status", "4")]), "code == \"DEADLINE_EXCEEDED\""),
        (refused, "code == \"UNIMPLEMENTED\" && message == \"no health\""),
    ] {
        let observation = seen(says, "").await;
        declared(&KIND, &observation);
        assert_eq!(hold(&KIND, holds, &observation), Held::True, "{holds}: {observation:?}");
        let default = hold(&KIND, KIND.default_expect[0], &observation);
        assert!(matches!(default, Held::False { .. }), "{holds}: {default:?}");
    }
}

#[tokio::test]
async fn what_is_no_grpc_is_the_service_s_failure() {
    let page = Says { content_type: "text/html", ..says(b"<html>", &[]) };
    let proxy = Says { http: 502, ..page.clone() };
    for (says, phase, part) in [
        (page, Phase::Transfer, "not gRPC (HTTP 200)"),
        (proxy, Phase::Transfer, "not gRPC (HTTP 502)"),
        (says(SERVING, &[]), Phase::Transfer, "without a status"),
        (says(SERVING, &[("grpc-status", "x")]), Phase::Transfer, "without a status"),
        (says(b"", &[("grpc-status", "0")]), Phase::Transfer, "no whole message"),
        (says(b"\0\xff\xff\xff\xff\x08\x01", &[("grpc-status", "0")]), Phase::Transfer, "no whole message"),
        (says(b"\x01\0\0\0\x02\x08\x01", &[("grpc-status", "0")]), Phase::Transfer, "compressed"),
    ] {
        let observation = seen(says, "").await;
        let (found, what) = fault(&observation);
        assert!(found == phase && what.contains(part), "{part}: {found:?} {what}");
    }
    let flood = seen(says(&vec![0; 1 << 20], &[("grpc-status", "0")]), "").await;
    assert_eq!(blindness(&flood).0, UnknownKind::Incomplete, "{flood:?}");
    let one = scripted::http(|_| scripted::ok("hello")).await;
    let one = look(&KIND, &format!("address: {}", one.address), &ask()).await;
    assert_eq!(fault(&one).0, Phase::Processing, "HTTP/1: {one:?}");
    let closing = scripted::tcp(|_, mut stream| async move {
        let _ = stream.shutdown().await;
    })
    .await;
    let closing = look(&KIND, &format!("address: {}", closing.address), &ask()).await;
    assert_eq!(fault(&closing).0, Phase::Processing, "{closing:?}");
    let (silent, _) = server(Says { silent: true, ..says(SERVING, &[]) }).await;
    let silent = look(&KIND, &format!("address: {}", silent.address), &hurried()).await;
    assert!(fault(&silent).1.starts_with("no byte in"), "{silent:?}");
    let gone = look(&KIND, "address: 127.0.0.1:1", &ask()).await;
    assert_eq!(fault(&gone).0, Phase::Connect);
    let metadata = look(&KIND, "address: 169.254.169.254:80", &ask()).await;
    assert_eq!(blindness(&metadata).0, UnknownKind::Refused);
}

#[tokio::test]
async fn tls_is_verified_and_has_to_offer_http_2() {
    let authority = Authority::new();
    for (alpn, good) in [(&b"h2"[..], true), (b"", false)] {
        let protocols: Vec<&[u8]> = if alpn.is_empty() { Vec::new() } else { vec![alpn] };
        let acceptor = authority.issue(&["localhost"], |_| {}).acceptor(&protocols);
        let server = scripted::tcp(move |_, stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                serve(stream, says(SERVING, &[("grpc-status", "0")]), Asked::default()).await;
            }
        })
        .await;
        let address = format!("address: localhost:{}", server.address.port());
        let ca = authority.pem();
        let observation = look(&KIND, &format!("{address}\ntls: {{ ca: {} }}", ca.display()), &ask()).await;
        if good {
            assert!(is_good(&KIND, &observation), "{observation:?}");
            assert_eq!(hold(&KIND, "tls_seconds > 0", &observation), Held::True);
            assert!(observation.reproduce.unwrap().contains(" -tls -tls-ca-cert "));
        } else {
            assert!(fault(&observation).1.contains("offers no HTTP/2"), "{observation:?}");
        }
        let untrusted = look(&KIND, &format!("{address}\ntls: true"), &ask()).await;
        assert_eq!(fault(&untrusted).0, Phase::Tls, "{untrusted:?}");
    }
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    example_reads(&KIND);
    for (text, place, part) in [
        ("address: shop", "test.yaml:1:10", "no port"),
        ("address: '{{ h }}:1'", "test.yaml:1:10", "no parameters"),
        ("address: a:1\nservice: '{{ s }}'", "test.yaml:2:10", "no parameters"),
        ("address: a:1\nservice: \"a\\u0007\"", "test.yaml:2:10", "name of a service"),
        ("address: a:1\nmetadata: { grpc-timeout: 1m }", "test.yaml:2:11", "gRPC itself"),
        ("address: a:1\nmetadata: { x-token: abc }", "test.yaml:2:11", "secret"),
        ("service: a", "test.yaml:1:1", "address"),
    ] {
        let error = read_text(&KIND, text).unwrap_err();
        assert_eq!(error.at.to_string(), place, "{text}: {error}");
        assert!(error.message.contains(part), "{text}: {error}");
    }
}
