//! What the shop's software writes into its application log: one place, so that the past and the present use one wording.

use super::lines::{Level, Said};

fn said(level: Level, message: String, customer: Option<&'static str>, order: Option<String>) -> Said {
    Said { level, message: message.into(), customer, order }
}

pub fn cart_opened(cart: &str, customer: &'static str) -> Said {
    said(Level::Info, format!("cart {cart} opened"), Some(customer), None)
}

pub fn cart_dropped(cart: &str, customer: &'static str) -> Said {
    said(Level::Info, format!("cart {cart} dropped"), Some(customer), None)
}

pub fn order_authorized(order: String, books: usize, cents: u32, customer: &'static str) -> Said {
    let (whole, rest) = (cents / 100, cents % 100);
    said(Level::Info, format!("order authorized: {books} books, {whole}.{rest:02} EUR"), Some(customer), Some(order))
}

pub fn slow_search(text: &str, seconds: f64) -> Said {
    let millis = (seconds * 1000.0).round();
    said(Level::Warn, format!("slow search took {millis} ms for \"{text}\""), None, None)
}

pub fn gateway_retried(seconds: f64, customer: &'static str) -> Said {
    let millis = (seconds * 1000.0).round();
    said(Level::Warn, format!("payment gateway answered on the second try after {millis} ms"), Some(customer), None)
}

pub fn unknown_book(sku: &str, customer: &'static str) -> Said {
    said(Level::Warn, format!("no book {sku} in the catalog"), Some(customer), None)
}

pub fn stock_unreadable(sku: &str, customer: &'static str) -> Said {
    said(Level::Error, format!("stock record of {sku} is unreadable: count is missing"), Some(customer), None)
}

pub fn search_failed() -> Said {
    said(Level::Error, "search index is unavailable: shard 2 of 4 not started".into(), None, None)
}

pub fn slow_query(what: &str, seconds: f64, customer: Option<&'static str>) -> Said {
    let millis = (seconds * 1000.0).round();
    said(Level::Warn, format!("database query of {what} took {millis} ms, lock wait included"), customer, None)
}

pub fn payment_unreachable(customer: &'static str) -> Said {
    said(Level::Error, "payment gateway is unreachable: connection refused".into(), Some(customer), None)
}

pub fn currency_rejected(shard: u8, customer: &'static str, order: String) -> Said {
    let message = format!("payment authorization failed: ledger shard {shard} rejected currency for account");
    said(Level::Error, message, Some(customer), Some(order))
}

pub fn handler_crashed(route: &str, customer: Option<&'static str>) -> Said {
    said(Level::Error, format!("unhandled exception in {route}: PriceTable has no column vat_class"), customer, None)
}
