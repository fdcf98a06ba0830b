//! What was answered, as the measures that both kinds have.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::evidence::external::failure;
use crate::model::value::{Measures, Value};
use crate::net::http::Response;

/// The measures of an answer, its texts as `strike` leaves them. `body`, `body_bytes` and `json` are absent where the
/// body was not read to its end, and `json` where the body isn't any.
pub fn measures(response: &Response, now: Timestamp, strike: impl Fn(&str) -> String) -> Measures {
    let mut measures = Measures::new();
    measures.set("status", response.status).set("duration_seconds", response.timings.total.as_secs_f64());
    failure::phases(&response.timings, &mut measures);
    measures
        .set("headers", headers(&response.headers, &strike))
        .set("redirects", response.redirects.len())
        .set("http_version", version(response.version));
    if let Some(expiry) = response.certificate_expiry {
        measures.set("certificate_expiry_days", days(now, expiry));
    }
    if !response.truncated {
        let text = strike(&String::from_utf8_lossy(&response.body));
        // serde_json bounds the depth (128) and refuses numbers beyond f64: such a body is simply not JSON.
        if std::str::from_utf8(&response.body).is_ok()
            && let Ok(json) = serde_json::from_str::<serde_json::Value>(&text)
        {
            measures.set("json", json);
        }
        measures.set("body_bytes", response.body.len()).set("body", text);
    }
    measures
}

/// Until a certificate expires; negative after it.
pub fn days(now: Timestamp, expiry: Timestamp) -> f64 {
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
fn headers(headers: &http::HeaderMap, strike: impl Fn(&str) -> String) -> Value {
    let mut map: BTreeMap<String, Value> = BTreeMap::new();
    for (name, value) in headers {
        let value = strike(&String::from_utf8_lossy(value.as_bytes()));
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
