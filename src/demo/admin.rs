//! The switch by which the shop is broken and repaired, on a port of its own.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::api::error;
use super::faults::{Fault, NAMES};
use super::state::Inner;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    fault: String,
    customer: Option<String>,
}

pub fn router(shop: Arc<Inner>) -> Router {
    Router::new()
        .route("/faults", get(list).post(add).delete(repair))
        .fallback(|| async { error(StatusCode::NOT_FOUND, "there is only /faults") })
        .layer(DefaultBodyLimit::max(4096))
        .layer(middleware::from_fn(only_from_here))
        .with_state(shop)
}

/// A web page in somebody's browser must not break the shop under a name that it made point here.
async fn only_from_here(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if matches!(name, "127.0.0.1" | "localhost") {
        return next.run(request).await;
    }
    error(StatusCode::FORBIDDEN, "ask 127.0.0.1 or localhost")
}

/// `GET /faults`: those that hold, and all that there are.
async fn list(State(shop): State<Arc<Inner>>) -> Response {
    let active: Vec<_> = shop
        .faults()
        .iter()
        .map(|fault| match fault.customer() {
            Some(customer) => json!({ "fault": fault.name(), "customer": customer }),
            None => json!({ "fault": fault.name() }),
        })
        .collect();
    Json(json!({ "active": active, "available": NAMES })).into_response()
}

/// `POST /faults {"fault": "customer-only", "customer": "acme"}`: this one, too; `none` repairs all.
async fn add(State(shop): State<Arc<Inner>>, body: Result<Json<Switch>, JsonRejection>) -> Response {
    let switch = match body {
        Ok(Json(switch)) => switch,
        Err(rejection) => return error(rejection.status(), &rejection.body_text()),
    };
    let done = Fault::new(&switch.fault, switch.customer.as_deref()).and_then(|fault| shop.add_fault(fault));
    match done {
        Ok(()) => list(State(shop)).await,
        Err(unknown) => error(StatusCode::UNPROCESSABLE_ENTITY, &unknown.to_string()),
    }
}

/// `DELETE /faults`: repairs all.
async fn repair(State(shop): State<Arc<Inner>>) -> Response {
    match shop.set_fault(Fault::None) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(unknown) => error(StatusCode::UNPROCESSABLE_ENTITY, &unknown.to_string()),
    }
}
