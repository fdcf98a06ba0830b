//! The shop's programming interface: search, carts, payment, accounts.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::catalog::{self, UNCOUNTED};
use super::faults::Fault;
use super::route::Route;
use super::state::{Cart, Inner, MAX_ITEMS, wait};
use super::words;

/// Whose request it was; handlers leave it at their answer for the log and the metrics.
#[derive(Debug, Clone, Copy)]
pub struct Buyer(pub &'static str);

#[derive(Debug, Deserialize)]
pub struct SearchQuery {
    #[serde(default)]
    q: String,
}

#[derive(Debug, Deserialize)]
pub struct NewCart {
    account: String,
}

#[derive(Debug, Deserialize)]
pub struct NewItem {
    sku: String,
}

/// `{"error": "…"}`
pub fn error(status: StatusCode, what: &str) -> Response {
    (status, Json(json!({ "error": what }))).into_response()
}

fn of(buyer: &'static str, answer: impl axum::response::IntoResponse) -> Response {
    (Extension(Buyer(buyer)), answer).into_response()
}

/// `GET /api/search?q=bread`
pub async fn search(State(shop): State<Arc<Inner>>, query: Result<Query<SearchQuery>, QueryRejection>) -> Response {
    let text = query.map(|Query(query)| query.q).unwrap_or_default();
    let text: String = text.trim().chars().take(100).collect();
    if text.is_empty() {
        return error(StatusCode::BAD_REQUEST, "search for what?");
    }
    if shop.has(&Fault::SearchDown) {
        shop.logs.said(&words::search_failed());
        return error(StatusCode::SERVICE_UNAVAILABLE, "search is unavailable");
    }
    shop.database("the catalog", None).await;
    let hiccup = Route::Search.hiccup(&mut shop.random());
    if let Some(seconds) = hiccup {
        wait(seconds).await;
        shop.logs.said(&words::slow_search(&text, seconds));
    }
    let found: Vec<Value> = catalog::search(&text)
        .iter()
        .map(|book| json!({ "sku": book.sku, "title": book.title, "cents": book.cents }))
        .collect();
    Json(json!({ "query": text, "count": found.len(), "results": found })).into_response()
}

/// `POST /api/cart {"account": "acme"}`
pub async fn open_cart(State(shop): State<Arc<Inner>>, body: Result<Json<NewCart>, JsonRejection>) -> Response {
    let Ok(Json(NewCart { account })) = body else {
        return error(StatusCode::BAD_REQUEST, "this takes {\"account\": \"…\"}");
    };
    let Some(customer) = catalog::find_customer(&account) else {
        return error(StatusCode::NOT_FOUND, "no such account");
    };
    let id = shop.desk().open_cart(customer);
    shop.logs.said(&words::cart_opened(&id, customer.name));
    let cart = json!({ "id": id, "account": customer.name, "items": [], "cents": 0 });
    of(customer.name, (StatusCode::CREATED, Json(cart)))
}

/// `GET /api/cart/{id}`
pub async fn show_cart(State(shop): State<Arc<Inner>>, Path(id): Path<String>) -> Response {
    let desk = shop.desk();
    match desk.key(&id).and_then(|key| desk.carts.get(&key)) {
        Some(cart) => of(cart.customer.name, Json(document(&id, cart))),
        None => no_such_cart(),
    }
}

/// `POST /api/cart/{id}/items {"sku": "book-1"}`
pub async fn add_item(
    State(shop): State<Arc<Inner>>,
    Path(id): Path<String>,
    body: Result<Json<NewItem>, JsonRejection>,
) -> Response {
    let Ok(Json(NewItem { sku })) = body else {
        return error(StatusCode::BAD_REQUEST, "this takes {\"sku\": \"…\"}");
    };
    let mut desk = shop.desk();
    let Some(cart) = desk.key(&id).and_then(|key| desk.carts.get_mut(&key)) else { return no_such_cart() };
    let customer = cart.customer.name;
    let Some(book) = catalog::find(&sku) else {
        let sku: String = sku.chars().take(40).collect();
        shop.logs.said(&words::unknown_book(&sku, customer));
        return of(customer, error(StatusCode::NOT_FOUND, "no such book"));
    };
    if book.sku == UNCOUNTED {
        shop.logs.said(&words::stock_unreadable(book.sku, customer));
        return of(customer, error(StatusCode::INTERNAL_SERVER_ERROR, "the stock can't be looked up"));
    }
    if cart.order.is_some() {
        return of(customer, error(StatusCode::CONFLICT, "this cart is paid already"));
    }
    if cart.books.len() >= MAX_ITEMS {
        return of(customer, error(StatusCode::CONFLICT, "this cart is full"));
    }
    cart.books.push(book);
    of(customer, Json(document(&id, cart)))
}

/// `POST /api/cart/{id}/pay`: the same order however often it is asked.
pub async fn pay(State(shop): State<Arc<Inner>>, Path(id): Path<String>) -> Response {
    let Some((key, customer)) = ({
        let desk = shop.desk();
        desk.key(&id).and_then(|key| desk.carts.get(&key).map(|cart| (key, cart.customer)))
    }) else {
        return no_such_cart();
    };
    let buyer = customer.name;
    if shop.has(&Fault::PayDown) {
        shop.metrics.payment_failed(buyer);
        shop.logs.said(&words::payment_unreachable(buyer));
        return of(buyer, error(StatusCode::SERVICE_UNAVAILABLE, "payments are unavailable, try again later"));
    }
    shop.database("the ledger", Some(buyer)).await;

    let bookable = shop.desk().accounts.get(buyer).is_some_and(|account| account.is_bookable());
    if !bookable {
        // The gateway waits for the ledger before it gives up.
        wait(0.2).await;
        let order = shop.desk().numbers.order();
        shop.metrics.payment_failed(buyer);
        shop.logs.said(&words::currency_rejected(customer.ledger_shard, buyer, order.clone()));
        let answer = json!({ "error": "payment could not be authorized", "state": "failed", "order": order });
        return of(buyer, (StatusCode::BAD_GATEWAY, Json(answer)));
    }
    let hiccup = Route::Pay.hiccup(&mut shop.random());
    if let Some(seconds) = hiccup {
        wait(seconds).await;
        shop.logs.said(&words::gateway_retried(seconds, buyer));
    }

    let (order, books, cents, is_new) = {
        let mut desk = shop.desk();
        let desk = &mut *desk;
        // It may have been dropped in the meantime.
        let Some(cart) = desk.carts.get_mut(&key) else { return no_such_cart() };
        let is_new = cart.order.is_none();
        let order = cart.order.get_or_insert_with(|| desk.numbers.order()).clone();
        let (books, cents) = (cart.books.len(), cart.cents());
        if is_new && let Some(account) = desk.accounts.get_mut(buyer) {
            account.orders += 1;
            account.spent_cents += u64::from(cents);
        }
        (order, books, cents, is_new)
    };
    if is_new {
        shop.metrics.ordered(buyer);
        shop.logs.said(&words::order_authorized(order.clone(), books, cents, buyer));
    }
    of(buyer, Json(json!({ "state": "authorized", "order": order, "cents": cents })))
}

/// `DELETE /api/cart/{id}`
pub async fn drop_cart(State(shop): State<Arc<Inner>>, Path(id): Path<String>) -> Response {
    let dropped = {
        let mut desk = shop.desk();
        desk.key(&id).and_then(|key| desk.carts.remove(&key))
    };
    match dropped {
        Some(cart) => {
            shop.logs.said(&words::cart_dropped(&id, cart.customer.name));
            of(cart.customer.name, StatusCode::NO_CONTENT)
        }
        None => no_such_cart(),
    }
}

/// `GET /api/account/{name}`
pub async fn account(State(shop): State<Arc<Inner>>, Path(name): Path<String>) -> Response {
    let desk = shop.desk();
    match desk.accounts.get_key_value(name.as_str()) {
        Some((name, account)) => {
            let known = json!({
                "account": name, "currency": account.currency, "orders": account.orders, "spent_cents": account.spent_cents
            });
            of(name, Json(known))
        }
        None => error(StatusCode::NOT_FOUND, "no such account"),
    }
}

fn document(id: &str, cart: &Cart) -> Value {
    let items: Vec<&str> = cart.books.iter().map(|book| book.sku).collect();
    let mut document = json!({ "id": id, "account": cart.customer.name, "items": items, "cents": cart.cents() });
    if let Some(order) = &cart.order {
        document["order"] = json!(order);
    }
    document
}

fn no_such_cart() -> Response {
    error(StatusCode::NOT_FOUND, "no such cart")
}
