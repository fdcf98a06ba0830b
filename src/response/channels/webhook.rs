//! `webhook`: a signed POST of JSON to a URL of one's own.
//!
//! The body is one JSON object: the verdict's document as the API shows it, with `key`, `kind` (`escalate` or
//! `announce`), `round`, `recipient` and `created_at` beside it; an escalation has `why`, `summary`, `could_not_look` and
//! `would_decide` as well. The headers are
//!
//! | header | holds |
//! |---|---|
//! | `X-Houston-Key` | the action's key, the same for each repetition: remember it, and drop what you have |
//! | `X-Houston-Timestamp` | when this attempt was sent, in seconds since 1970 |
//! | `X-Houston-Signature` | `v1=` and in lower-case hex the HMAC-SHA-256, under the shared secret, of the timestamp as it stands in its header, a full stop, and the raw body |
//!
//! A receiver computes the signature over the raw bytes, compares in constant time, refuses a timestamp more than
//! 300 seconds off, and answers 2xx only when it has the message for good. In a shell:
//! `printf '%s.' "$timestamp" | cat - body | openssl dgst -sha256 -hmac "$secret"`.
//!
//! Any 2xx is delivered. 408, 425, 429 and 5xx are tried again, `Retry-After` respected, as is everything that is no
//! answer. Any other status, redirects among them, is a refusal: sent again it would be refused again.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, Method};
use jiff::Timestamp;
use serde::Deserialize;
use sha2::Sha256;
use url::Url;

use super::{Channel, ChannelKind, Outcome, Sending, Wires};
use crate::model::action::Action;
use crate::model::secret::{Redactor, Secret, SecretRef};
use crate::model::source::Diagnostic;
use crate::net::budget::Budget;
use crate::net::http::{Caps, Reason, Request, TlsOptions};
use crate::yaml::{self, Spanned};

/// How long one attempt may take.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// As much of an answer is read as lets the connection end in order.
const ANSWER_LIMIT: usize = 64 * 1024;

pub static WEBHOOK: ChannelKind = ChannelKind {
    name: "webhook",
    summary: "a signed POST of JSON to a URL of your own",
    docs: "Keys: `url` (http or https), `secret` (of at least 16 bytes, shared with the receiver, as `{ env: NAME }` or \
           `{ file: path }`), `bearer_token` (a secret, sent as `Authorization: Bearer`), `ca` (PEM file of roots to \
           trust instead of the system's). \
           Each POST carries `X-Houston-Key` (the same for each repetition), `X-Houston-Timestamp` and \
           `X-Houston-Signature: v1=hex(hmac-sha256(secret, timestamp + \".\" + body))`. \
           2xx is delivered; 408, 425, 429, 5xx and silence are tried again for three days; anything else is a \
           refusal, and goes to the log.",
    example: "{ url: \"https://desk.example.com/houston\", secret: { env: HOUSTON_WEBHOOK_SECRET } }",
    read: |node| Ok(Arc::new(read(node)?)),
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    url: Spanned<String>,
    secret: SecretRef,
    #[serde(default)]
    bearer_token: Option<SecretRef>,
    #[serde(default)]
    ca: Option<std::path::PathBuf>,
}

/// A receiver.
#[derive(Debug)]
pub struct Webhook {
    url: Url,
    secret: SecretRef,
    bearer_token: Option<SecretRef>,
    tls: Arc<TlsOptions>,
}

fn read(node: &yaml::Node) -> Result<Webhook, Diagnostic> {
    let declared: Declared = node.read()?;
    let wrong = |what: &str| Diagnostic::error(declared.url.at.clone(), what);
    let url = Url::parse(&declared.url.value).map_err(|error| wrong(&format!("not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("a webhook's URL begins with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("a user or password doesn't belong into a URL").hint("use `bearer_token: { env: NAME }`"));
    }
    let tls = Arc::new(TlsOptions { ca: declared.ca, ..TlsOptions::default() });
    Ok(Webhook { url, secret: declared.secret, bearer_token: declared.bearer_token, tls })
}

/// The shortest secret that is worth a signature, in bytes.
const SECRET_AT_LEAST: usize = 16;

impl Webhook {
    async fn post(&self, action: &Action, now: Timestamp, wires: &Wires) -> Outcome {
        // A secret that is not to be had now may be later: it is read anew for each attempt.
        let secret = match wires.credentials.get(&self.secret) {
            Ok(secret) if secret.expose().len() >= SECRET_AT_LEAST => secret,
            Ok(_) => return retry(format!("its secret is shorter than {SECRET_AT_LEAST} bytes")),
            Err(why) => return retry(why),
        };
        let mut secret_headers = Vec::new();
        if let Some(token) = &self.bearer_token {
            match wires.credentials.get(token) {
                Ok(token) => {
                    let value = Secret::new(format!("Bearer {}", token.expose()));
                    secret_headers.push(("Authorization".to_owned(), value));
                }
                Err(why) => return retry(why),
            }
        }
        let body = body(action, &wires.redactor);
        let timestamp = now.as_second().to_string();
        let Some(signature) = sign(&secret, &timestamp, body.as_bytes()) else {
            return retry("its secret can't be used as a key".to_owned());
        };
        let header = |name: &str, value: String| (name.to_owned(), value);
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        let request = Request {
            method: Method::POST,
            headers: vec![
                header("Content-Type", "application/json".to_owned()),
                header("X-Houston-Key", action.key.clone()),
                header("X-Houston-Timestamp", timestamp),
                header("X-Houston-Signature", signature),
            ],
            secret_headers,
            body: Bytes::from(body),
            tls: Arc::clone(&self.tls),
            caps: Caps { body: ANSWER_LIMIT, ..Caps::default() },
            budget: Budget::System,
            ..Request::get(self.url.clone(), deadline)
        };
        match wires.http.send(request).await {
            Ok(response) => judge(response.status, &response.headers, now),
            Err(failure) if failure.reason == Reason::Guard => Outcome::Rejected { why: failure.what },
            Err(failure) => retry(format!("{} ({})", failure.what, failure.phase.name())),
        }
    }
}

impl Channel for Webhook {
    fn send<'a>(&'a self, action: &'a Action, now: Timestamp, wires: &'a Wires) -> Sending<'a> {
        Box::pin(self.post(action, now, wires))
    }

    fn secrets(&self) -> Vec<SecretRef> {
        std::iter::once(self.secret.clone()).chain(self.bearer_token.clone()).collect()
    }
}

fn retry(why: String) -> Outcome {
    Outcome::Retry { after: None, why }
}

/// What an answer means; its body is of no interest.
fn judge(status: u16, headers: &HeaderMap, now: Timestamp) -> Outcome {
    let why = format!("it answered {status}");
    match status {
        200..300 => Outcome::Delivered,
        408 | 425 | 429 | 500.. => Outcome::Retry { after: retry_after(headers, now), why },
        300..400 => Outcome::Rejected { why: format!("{why}: redirects are not followed") },
        _ => Outcome::Rejected { why },
    }
}

/// `Retry-After`, as seconds or as a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(now.duration_until(at)).unwrap_or_default())
}

/// The message, without any secret that is known.
fn body(action: &Action, redactor: &Redactor) -> String {
    let mut fields = match action.facts.clone() {
        serde_json::Value::Object(fields) => fields,
        other => serde_json::Map::from_iter([("facts".to_owned(), other)]),
    };
    fields.entry("version").or_insert(1.into());
    fields.insert("key".to_owned(), action.key.as_str().into());
    fields.insert("kind".to_owned(), action.kind.name().into());
    fields.insert("round".to_owned(), action.round.into());
    fields.insert("recipient".to_owned(), action.recipient.as_str().into());
    fields.insert("created_at".to_owned(), action.created_at.to_string().into());
    fields
        .entry("ticket")
        .or_insert_with(|| serde_json::json!({ "number": crate::model::case::number_text(action.ticket) }));
    struck(serde_json::Value::Object(fields), redactor).to_string()
}

/// Every text in it struck; the JSON around them stays whole.
fn struck(value: serde_json::Value, redactor: &Redactor) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(text) => Value::String(redactor.strike(&text)),
        Value::Array(values) => values.into_iter().map(|value| struck(value, redactor)).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (redactor.strike(&name), struck(value, redactor))).collect()
        }
        other => other,
    }
}

/// `v1=` and the signature in hex.
fn sign(secret: &Secret, timestamp: &str, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).ok()?;
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    let mut signature = String::from("v1=");
    for byte in mac.finalize().into_bytes() {
        // Writing to a string never fails.
        let _ = write!(signature, "{byte:02x}");
    }
    Some(signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_documented_one() {
        // printf '%s.%s' 1700000000 '{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let secret = Secret::new("0123456789abcdef".to_owned());
        assert_eq!(
            sign(&secret, "1700000000", br#"{"a":1}"#).unwrap(),
            "v1=9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23"
        );
    }

    #[test]
    fn what_an_answer_means() {
        let now: Timestamp = "1994-11-06T08:49:07Z".parse().unwrap();
        let after = |seconds| Some(Duration::from_secs(seconds));
        for (status, header, expected) in [
            (200, None, Some(None)),
            (202, None, Some(None)),
            (299, None, Some(None)),
            (429, Some("120"), Some(after(120))),
            (503, Some("Sun, 06 Nov 1994 08:49:37 GMT"), Some(after(30))),
            (503, Some("Sun, 06 Nov 1994 08:00:00 GMT"), Some(after(0))),
            (503, Some("soon"), Some(None)),
            (500, None, Some(None)),
            (301, None, None),
            (400, None, None),
            (401, None, None),
            (410, Some("5"), None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = header {
                headers.insert(http::header::RETRY_AFTER, value.parse().unwrap());
            }
            match judge(status, &headers, now) {
                Outcome::Delivered => assert!((200..300).contains(&status)),
                Outcome::Retry { after, .. } => assert_eq!(Some(after), expected, "{status}"),
                Outcome::Rejected { .. } => assert_eq!(expected, None, "{status}"),
            }
        }
    }
}
