//! `grpc` at a real gRPC server.

use std::time::Duration;

use houston::model::observation::{Observation, Phase, Seen};

use super::looking::{ask, example, look, number, text};
use crate::lab::grpc_server::GrpcServer;
use crate::lab::until;

async fn seen(server: &GrpcServer, more: &str) -> Observation {
    look("grpc", &format!("address: 127.0.0.1:{}\n{more}", server.port), &ask()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_tells_its_health() {
    let mut server = GrpcServer::start();
    for (service, code, status) in [
        ("''", "OK", "SERVING"),
        ("shop.v1.Cart", "OK", "SERVING"),
        ("shop.v1.Pay", "OK", "NOT_SERVING"),
        ("shop.v1.Nobody", "NOT_FOUND", ""),
    ] {
        let seen = seen(&server, &format!("service: {service}")).await;
        assert_eq!(seen.seen, Seen::Answered, "{service}: {seen:?}");
        assert_eq!((text(&seen, "code").as_str(), text(&seen, "status").as_str()), (code, status), "{service}");
    }
    let other = GrpcServer::without_health();
    assert_eq!(text(&seen(&other, "").await, "code"), "UNIMPLEMENTED");

    let address = format!("address: localhost:{}", server.tls_port);
    let secure = look("grpc", &format!("{address}\ntls: {{ ca: {} }}", server.authority().display()), &ask()).await;
    assert_eq!(text(&secure, "status"), "SERVING", "{secure:?}");
    assert!(number(&secure, "tls_seconds") > 0.0, "{secure:?}");
    let untrusted = look("grpc", &format!("{address}\ntls: true"), &ask()).await;
    assert!(matches!(&untrusted.seen, Seen::Failed(fault) if fault.phase == Phase::Tls), "{untrusted:?}");
    let plain = look("grpc", &address, &ask()).await;
    assert!(matches!(&plain.seen, Seen::Failed(_)), "in the clear at a TLS port: {plain:?}");

    server.server.stop();
    let gone = seen(&server, "").await;
    assert!(matches!(&gone.seen, Seen::Failed(fault) if fault.phase == Phase::Connect), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_is_kept_on_both_sides() {
    let server = GrpcServer::start();
    let mut hurried = ask();
    hurried.deadline = tokio::time::Instant::now() + Duration::from_secs(1);
    let slow = look("grpc", &format!("address: 127.0.0.1:{}\nservice: slow", server.port), &hurried).await;
    // Whichever side is first to say so.
    let told = text(&slow, "code") == "DEADLINE_EXCEEDED";
    assert!(told || matches!(&slow.seen, Seen::Failed(fault) if fault.what.contains("no byte")), "{slow:?}");
    until("the server gave up as well", Duration::from_secs(20), || server.server.said().contains("given up"));
}

#[test]
fn the_example_asks_a_real_server() {
    let mut server = GrpcServer::start();
    let here = format!("127.0.0.1:{}", server.port);
    let outcome = |service| example("grpc", &[("127.0.0.1:50051", &here), ("shop.v1.Cart", service)], "{}");
    assert_eq!(outcome("shop.v1.Cart")["outcome"], "good");
    assert_eq!(outcome("shop.v1.Pay")["outcome"], "bad");
    assert_eq!(outcome("shop.v1.Nobody")["outcome"], "bad");
    server.server.stop();
    assert_eq!(outcome("shop.v1.Cart")["outcome"], "bad");
}
