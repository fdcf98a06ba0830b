//! `websocket` at a real server, straight and over TLS through a real nginx.

use houston::model::observation::{Observation, Phase, Seen};

use super::looking::{ask, example, look, number, text};
use crate::lab::nginx::Nginx;
use crate::lab::websocket_server::WebsocketServer;

const DIALOGUE: &str =
    "dialogue: [{ expect: welcome, send: '{\"subscribe\":\"books\"}' }, { expect: asked for books }]";

async fn seen(url: &str, more: &str) -> Observation {
    look("websocket", &format!("url: {url}\n{more}"), &ask()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_is_spoken_with() {
    let mut server = WebsocketServer::start();
    let url = format!("ws://127.0.0.1:{}/live", server.port);
    let good = seen(&url, &format!("{DIALOGUE}\nsubprotocols: [stock.v1, other]")).await;
    assert_eq!(good.seen, Seen::Answered, "{good:?}");
    assert_eq!((number(&good, "status"), text(&good, "subprotocol").as_str()), (101.0, "stock.v1"), "{good:?}");
    assert_eq!(text(&good, "received"), "welcome\nyou asked for books\n", "{good:?}");

    let closed = seen(&url.replace("live", "broken"), DIALOGUE).await;
    let Seen::Failed(fault) = &closed.seen else { panic!("{closed:?}") };
    assert!(fault.what.contains("closed with 1011 (no stock today)"), "{closed:?}");

    server.server.stop();
    let gone = seen(&url, DIALOGUE).await;
    assert!(matches!(&gone.seen, Seen::Failed(fault) if fault.phase == Phase::Connect), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_in_between_speaks_tls_and_has_errors_of_its_own() {
    let mut server = WebsocketServer::start();
    let nginx = Nginx::start(&format!(
        "location /live {{ proxy_pass http://127.0.0.1:{}; proxy_http_version 1.1;
           proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }}",
        server.port
    ));
    let url = format!("wss://localhost:{}/live", nginx.tls_port);
    let trusting = format!("{DIALOGUE}\ntls: {{ ca: {} }}", nginx.authority().display());
    let good = seen(&url, &trusting).await;
    assert_eq!(good.seen, Seen::Answered, "{good:?}");
    assert!(number(&good, "tls_seconds") > 0.0 && text(&good, "connected") == "true", "{good:?}");
    let untrusted = seen(&url, DIALOGUE).await;
    assert!(matches!(&untrusted.seen, Seen::Failed(fault) if fault.phase == Phase::Tls), "{untrusted:?}");
    let missing = seen(&url.replace("live", "other"), &trusting).await;
    assert_eq!((number(&missing, "status"), text(&missing, "connected").as_str()), (404.0, "false"), "{missing:?}");
    server.server.stop();
    let gone = seen(&url, &trusting).await;
    assert_eq!((number(&gone, "status"), text(&gone, "connected").as_str()), (502.0, "false"), "{gone:?}");
}

#[test]
fn the_example_speaks_with_a_real_server() {
    let mut server = WebsocketServer::start();
    let here = format!("127.0.0.1:{}", server.port);
    let outcome = || example("websocket", &[("127.0.0.1:8471", &here)], "{}");
    assert_eq!(outcome()["outcome"], "good");
    server.server.stop();
    assert_eq!(outcome()["outcome"], "bad");
}
