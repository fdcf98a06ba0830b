//! The shop's living customers: they make the visits of the plan over real connections, so that the present looks like
//! the past.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::clock;
use super::past::{LOST_CART, UNKNOWN_BOOK};
use super::visits::{Act, Visit, Visits};

/// Visits under way at once; when a slow shop makes them pile up, customers stay away.
const MAX_VISITS: usize = 64;
/// A customer's patience with one request.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 64 * 1024;
/// Behind the plan by more than this, the visits between are left out: the machine slept.
const MAX_LATE_MILLIS: i64 = 5_000;

/// Lets the customers come when the plan says so, until told to stop.
pub async fn come_and_go(shop: SocketAddr, mut visits: Visits, stopping: CancellationToken) {
    let mut inside = JoinSet::new();
    let coming = async {
        loop {
            let now = clock::now_millis();
            if visits.next_at() < now - MAX_LATE_MILLIS {
                visits.skip_to(now);
            }
            let early = visits.next_at().saturating_sub(now).max(0);
            tokio::time::sleep(Duration::from_millis(early as u64)).await;
            while inside.try_join_next().is_some() {}
            let visit = visits.next();
            if inside.len() < MAX_VISITS {
                inside.spawn(stay(shop, visit));
            }
        }
    };
    tokio::select! {
        () = coming => {}
        () = stopping.cancelled() => {}
    }
    // Dropping the set ends the visits that are under way.
}

/// One visit: one connection, like a browser's.
async fn stay(shop: SocketAddr, visit: Visit) {
    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, TcpStream::connect(shop)).await else { return };
    let _ = stream.set_nodelay(true);
    let Ok((mut sender, connection)) = handshake(TokioIo::new(stream)).await else { return };
    tokio::select! {
        // The shop hung up: the visit is over.
        _ = connection => {}
        () = act(&mut sender, &visit) => {}
    }
}

async fn act(sender: &mut SendRequest<Full<Bytes>>, visit: &Visit) {
    let mut cart = None;
    for &(pause, act) in &visit.acts {
        tokio::time::sleep(Duration::from_millis(pause.max(0) as u64)).await;
        let Some((method, target, body)) = request(act, visit, cart.as_deref()) else { continue };
        let Ok(Some(answer)) = tokio::time::timeout(PATIENCE, send(sender, visit, method, &target, body)).await else {
            return;
        };
        if act == Act::OpenCart {
            cart = answer.get("id").and_then(Value::as_str).map(str::to_owned);
        }
    }
}

/// What an act asks of the shop; nothing where it needs a cart and there is none.
fn request(act: Act, visit: &Visit, cart: Option<&str>) -> Option<(Method, String, Option<Value>)> {
    let add =
        |cart: &str, sku: &str| Some((Method::POST, format!("/api/cart/{cart}/items"), Some(json!({ "sku": sku }))));
    match act {
        Act::Front => Some((Method::GET, "/".into(), None)),
        Act::Icon => Some((Method::GET, "/favicon.ico".into(), None)),
        Act::Status => Some((Method::GET, "/status".into(), None)),
        Act::Search(word) => Some((Method::GET, format!("/api/search?q={word}"), None)),
        Act::SearchNothing => Some((Method::GET, "/api/search?q=".into(), None)),
        Act::OpenCart => Some((Method::POST, "/api/cart".into(), Some(json!({ "account": visit.customer? })))),
        Act::Add(sku) => add(cart?, sku),
        Act::AddUnknown => add(cart?, UNKNOWN_BOOK),
        Act::AddTooLate => add(LOST_CART, "book-1"),
        Act::Pay => Some((Method::POST, format!("/api/cart/{}/pay", cart?), None)),
        Act::Drop => Some((Method::DELETE, format!("/api/cart/{}", cart?), None)),
    }
}

/// The answer's document, `Null` where it has none; `None` where the connection failed.
async fn send(
    sender: &mut SendRequest<Full<Bytes>>,
    visit: &Visit,
    method: Method,
    target: &str,
    body: Option<Value>,
) -> Option<Value> {
    let mut request =
        Request::builder().method(method).uri(target).header("host", "shop.example").header("user-agent", visit.agent);
    if let Some(customer) = visit.customer {
        request = request.header("x-account", customer);
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let body = body.map(|document| Bytes::from(document.to_string())).unwrap_or_default();
    let request = request.body(Full::new(body)).ok()?;
    sender.ready().await.ok()?;
    let answer = sender.send_request(request).await.ok()?;
    let text = Limited::new(answer.into_body(), MAX_ANSWER).collect().await.ok()?.to_bytes();
    Some(serde_json::from_slice(&text).unwrap_or(Value::Null))
}
