//! What the service answered to one step, as the measures that its expectations and captures see.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::measure::{Measure, Type};
use crate::model::value::{Measures, Value};
use crate::net::http::Response;

/// The names in a step's expectations and captures: those of the `http` kind.
pub static STEP_MEASURES: &[Measure] = &[
    measure("status", Type::Number, "HTTP status", "the answer's status"),
    measure("duration_seconds", Type::Number, "seconds", "the whole exchange, redirects included"),
    measure("resolve_seconds", Type::Number, "seconds", "resolving the name, at the last hop"),
    measure("connect_seconds", Type::Number, "seconds", "connecting, at the last hop"),
    measure("tls_seconds", Type::Number, "seconds", "the TLS handshake, at the last hop"),
    measure("first_byte_seconds", Type::Number, "seconds", "until the first byte of the answer, at the last hop"),
    measure("body", Type::Text, "text", "the body, decoded"),
    measure("body_bytes", Type::Number, "bytes", "the length of the decoded body"),
    measure("headers", Type::Map, "text by name", "the answer's headers by their names in lower case"),
    measure("json", Type::Any, "any", "the body read as JSON"),
    measure("redirects", Type::Number, "count", "redirects that were followed"),
    measure("http_version", Type::Text, "text", "`HTTP/1.1`, `HTTP/2`"),
    measure("certificate_expiry_days", Type::Number, "days", "until the first certificate of the chain expires"),
];

const fn measure(name: &'static str, kind: Type, unit: &'static str, meaning: &'static str) -> Measure {
    Measure { name, kind, unit, meaning }
}

/// The names that say what was answered, not only that something was.
pub const CONTENT: [&str; 3] = ["body", "json", "headers"];

/// The measures of an answer. `body` and `json` are absent where the body was not read to its end, `json` where the
/// body isn't JSON.
pub fn measures(response: &Response, now: Timestamp) -> Measures {
    let mut measures = Measures::new();
    measures.set("status", response.status).set("duration_seconds", response.timings.total.as_secs_f64());
    for (name, time) in [
        ("resolve_seconds", response.timings.resolve),
        ("connect_seconds", response.timings.connect),
        ("tls_seconds", response.timings.tls),
        ("first_byte_seconds", response.timings.first_byte),
    ] {
        if let Some(time) = time {
            measures.set(name, time.as_secs_f64());
        }
    }
    measures
        .set("headers", headers(&response.headers))
        .set("redirects", response.redirects.len())
        .set("http_version", format!("{:?}", response.version).replace("HTTP/2.0", "HTTP/2"));
    if let Some(expiry) = response.certificate_expiry {
        let days = now.duration_until(expiry).as_secs_f64() / 86_400.0;
        measures.set("certificate_expiry_days", days);
    }
    if !response.truncated {
        measures
            .set("body_bytes", response.body.len())
            .set("body", String::from_utf8_lossy(&response.body).into_owned());
        // serde_json bounds the depth (128) and refuses numbers beyond f64: such a body is simply not JSON.
        if let Ok(json) = serde_json::from_slice::<serde_json::Value>(&response.body) {
            measures.set("json", json);
        }
    }
    measures
}

/// Headers by lower-case name; several of one name are joined by a comma, as RFC 9110 has it.
fn headers(headers: &http::HeaderMap) -> Value {
    let mut map: BTreeMap<String, Value> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        match map.get_mut(name.as_str()) {
            Some(Value::Text(text)) => {
                text.push_str(", ");
                text.push_str(&value);
            }
            _ => {
                map.insert(name.as_str().to_owned(), Value::Text(value.into_owned()));
            }
        }
    }
    Value::Map(map)
}
