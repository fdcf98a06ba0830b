//! From an answer to measures and an excerpt. Whatever is a secret of ours is struck out first: servers echo.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::evidence::Ask;
use crate::model::secret::Redactor;
use crate::model::value::{Measures, Value};
use crate::net::http::Response;

use super::failure;

/// The most of a body that is kept as an excerpt, in bytes.
const EXCERPT: usize = 600;

pub(super) fn measures(response: &Response, ask: &Ask) -> Measures {
    let mut measures = Measures::new();
    measures.set("status", response.status).set("duration_seconds", response.timings.total.as_secs_f64());
    failure::phases(&response.timings, &mut measures);
    measures
        .set("headers", headers(&response.headers, &ask.tools.redactor))
        .set("redirects", response.redirects.len())
        .set("http_version", version(response.version));
    if let Some(expiry) = response.certificate_expiry {
        measures.set("certificate_expiry_days", days(ask.now, expiry));
    }
    if !response.truncated {
        let text = ask.tools.redactor.strike(&String::from_utf8_lossy(&response.body));
        // serde_json bounds the depth (128) and refuses numbers beyond f64: such a body is simply not JSON.
        let json = serde_json::from_str::<serde_json::Value>(&text).unwrap_or(serde_json::Value::Null);
        measures.set("body_bytes", response.body.len()).set("json", json).set("body", text);
    }
    measures
}

/// The beginning of the body, where it is text.
pub(super) fn excerpt(response: &Response, redactor: &Redactor) -> Option<String> {
    let mut end = response.body.len().min(EXCERPT);
    let text = loop {
        // The cut may fall within a character; more than three bytes back it is no text at all.
        match std::str::from_utf8(response.body.get(..end)?) {
            Ok(text) => break text,
            Err(error) if error.error_len().is_none() => end = error.valid_up_to(),
            Err(_) => return None,
        }
    };
    let text = text.trim();
    if text.is_empty() || text.contains('\0') {
        return None;
    }
    // A secret that the cut goes through would not be recognised: strike the whole, then cut.
    let struck = redactor.strike(&String::from_utf8_lossy(&response.body));
    let struck = struck.trim();
    let mut end = struck.len().min(EXCERPT);
    while !struck.is_char_boundary(end) {
        end -= 1;
    }
    struck.get(..end).map(str::to_owned)
}

pub(super) fn days(now: Timestamp, expiry: Timestamp) -> f64 {
    now.duration_until(expiry).as_secs_f64() / 86_400.0
}

fn version(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_2 => "HTTP/2",
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

/// Headers by lower-case name; several of one name are joined by a comma, as RFC 9110 has it.
fn headers(headers: &http::HeaderMap, redactor: &Redactor) -> Value {
    let mut map: BTreeMap<String, Value> = BTreeMap::new();
    for (name, value) in headers {
        let value = redactor.strike(&String::from_utf8_lossy(value.as_bytes()));
        match map.get_mut(name.as_str()) {
            Some(Value::Text(text)) => {
                text.push_str(", ");
                text.push_str(&value);
            }
            _ => {
                map.insert(name.as_str().to_owned(), Value::Text(value));
            }
        }
    }
    Value::Map(map)
}
