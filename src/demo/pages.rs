//! The shop's router, its pages for people and for machines, and what happens around every request.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::HttpBody as _;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::{get, post};

use super::api::{self, Buyer};
use super::faults::Fault;
use super::lines::Served;
use super::metrics::CONTENT_TYPE;
use super::recent::Part;
use super::route::Route;
use super::state::{Inner, lock};
use super::{catalog, clock, words};

/// The front page.
pub const FRONT: &str = "<!doctype html>
<html lang=\"en\"><head><meta charset=\"utf-8\"><title>The Small Bookshop</title></head>
<body><h1>The Small Bookshop</h1>
<form action=\"/api/search\"><label>Search <input name=\"q\"></label> <button>Go</button></form>
<ul><li>The Lighthouse Keeper's Ledger</li><li>A Short History of Harbours</li><li>Bread for Beginners</li></ul>
<p>For businesses: log in with your account. <a href=\"/status\">Status</a></p></body></html>
";

/// Bytes of a request's body.
const MAX_BODY: usize = 16 * 1024;

/// What customers may name themselves by, where the path doesn't say whose request it is.
const ACCOUNT_HEADER: &str = "x-account";

pub fn router(shop: Arc<Inner>) -> Router {
    Router::new()
        .route("/", get(|| async { Html(FRONT) }))
        .route("/status", get(status))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics))
        .route("/api/search", get(api::search))
        .route("/api/cart", post(api::open_cart))
        .route("/api/cart/{id}", get(api::show_cart).delete(api::drop_cart))
        .route("/api/cart/{id}/items", post(api::add_item))
        .route("/api/cart/{id}/pay", post(api::pay))
        .route("/api/account/{name}", get(api::account))
        .fallback(|| async { api::error(StatusCode::NOT_FOUND, "there is nothing here") })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(shop.clone(), around))
        .with_state(shop)
}

/// Every request passes here: faults that hit all routes, the work itself, the log and the counters.
async fn around(State(shop): State<Arc<Inner>>, request: Request, next: Next) -> Response {
    let Ok(_permit) = shop.requests.try_acquire() else {
        return api::error(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once");
    };
    let route = Route::of(request.method().as_str(), request.uri().path());
    if route.is_for_machines() {
        return next.run(request).await;
    }
    let started = Instant::now();
    let headers = request.headers();
    let agent = text(headers, header::USER_AGENT.as_str()).to_owned();
    let known = catalog::find_customer(text(headers, ACCOUNT_HEADER)).map(|customer| customer.name);
    let method = request.method().to_string();
    let target = request.uri().path_and_query().map_or_else(|| request.uri().path().to_owned(), ToString::to_string);

    let answer = if shop.has(&Fault::BotsRefused) && route.is_checkout() && !is_browser(&agent) {
        let mut refusal = api::error(StatusCode::TOO_MANY_REQUESTS, "are you a robot? try again later");
        refusal.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("600"));
        refusal
    } else if shop.has(&Fault::BadDeploy) && shop.random().chance(0.2) {
        shop.logs.said(&words::handler_crashed(route.label(), known));
        api::error(StatusCode::INTERNAL_SERVER_ERROR, "something went wrong")
    } else {
        shop.work(route).await;
        next.run(request).await
    };

    let customer = answer.extensions().get::<Buyer>().map(|buyer| buyer.0).or(known);
    let status = answer.status().as_u16();
    let seconds = started.elapsed().as_secs_f64();
    shop.logs.served(&Served {
        customer,
        method: Cow::Owned(method),
        target: Cow::Owned(target),
        status,
        bytes: answer.body().size_hint().exact().unwrap_or_default(),
        agent: Cow::Owned(agent),
        seconds,
    });
    shop.metrics.served(route, status, customer, seconds);
    lock(&shop.recent).count(clock::now_millis() / 1000, route, status >= 500);
    answer
}

/// A header's text; empty where it isn't there or no text.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn is_browser(agent: &str) -> bool {
    agent.starts_with("Mozilla/") || agent.starts_with("bookshop-")
}

/// `GET /status`: by the last minute, part by part.
async fn status(State(shop): State<Arc<Inner>>) -> Html<String> {
    let second = clock::now_millis() / 1000;
    let rows: String = Part::ALL
        .iter()
        .map(|part| {
            let word = match lock(&shop.recent).error_ratio(second, *part) {
                Some(ratio) if ratio >= 0.5 => "outage",
                Some(ratio) if ratio >= 0.05 => "degraded",
                _ => "operational",
            };
            format!("<tr><th scope=\"row\">{}</th><td>{word}</td></tr>\n", part.name())
        })
        .collect();
    Html(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Status</title></head>\n\
         <body><h1>The Small Bookshop: status</h1>\n<table>\n{rows}</table></body></html>\n"
    ))
}

/// `GET /metrics`
async fn metrics(State(shop): State<Arc<Inner>>) -> Response {
    if shop.has(&Fault::MetricsDead) {
        let page = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
                    <center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n";
        return (StatusCode::BAD_GATEWAY, Html(page)).into_response();
    }
    let mut faults = shop.watch_faults();
    let hangs = faults.borrow().metrics_hang();
    if hangs {
        let Ok(_permit) = shop.hanging.try_acquire() else {
            return api::error(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once");
        };
        tokio::select! {
            _ = faults.wait_for(|active| !active.metrics_hang()) => {}
            () = shop.stopping.cancelled() => {}
        }
    }
    let second = clock::now_millis() / 1000;
    let ratio = lock(&shop.recent).total_error_ratio(second);
    let version = if shop.has(&Fault::BadDeploy) { "5.3.0" } else { "5.2.0" };
    let open = shop.desk().carts.values().filter(|cart| cart.order.is_none()).count();
    let page = shop.metrics.page(open, ratio, version);
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response()
}
