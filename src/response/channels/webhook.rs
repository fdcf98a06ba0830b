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

use hmac::{Hmac, KeyInit, Mac};
use http::Method;
use serde::Deserialize;
use sha2::Sha256;
use url::Url;

use super::{Channel, ChannelKind};
use crate::model::action::Action;
use crate::model::delivery::{Message, Outcome};
use crate::model::secret::{Secret, SecretRef};
use crate::model::source::Diagnostic;
use crate::net::http::TlsOptions;
use crate::net::outgoing::{Call, Sending, Wires};
use crate::yaml::{self, Spanned};

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
    async fn post(&self, message: Message<'_>, wires: &Wires) -> Result<Outcome, Outcome> {
        // A secret that is not to be had now may be later: it is read anew for each attempt.
        let secret = wires.credentials.get(&self.secret).map_err(Outcome::retry)?;
        if secret.expose().len() < SECRET_AT_LEAST {
            return Err(Outcome::retry(format!("its secret is shorter than {SECRET_AT_LEAST} bytes")));
        }
        // All secrets are known before the body is written, so that none of them is in it.
        let mut call = Call::get(self.url.clone());
        if let Some(token) = &self.bearer_token {
            call = call.secret("Authorization", "Bearer ", token, wires)?;
        }
        let call = call.with_json(Method::POST, body(message.action), wires).tls(&self.tls);
        let timestamp = message.now.as_second().to_string();
        let signature =
            sign(&secret, &timestamp, &call.body).ok_or_else(|| Outcome::retry("its secret can't be used as a key"))?;
        let call = call
            .header("X-Houston-Key", message.action.key.as_str())
            .header("X-Houston-Timestamp", timestamp)
            .header("X-Houston-Signature", signature);
        call.send(message.now, wires).await?;
        Ok(Outcome::DELIVERED)
    }
}

impl Channel for Webhook {
    fn send<'a>(&'a self, message: Message<'a>, wires: &'a Wires) -> Sending<'a> {
        Box::pin(async move { self.post(message, wires).await.unwrap_or_else(|failed| failed) })
    }

    fn secrets(&self) -> Vec<SecretRef> {
        std::iter::once(self.secret.clone()).chain(self.bearer_token.clone()).collect()
    }
}

/// The message: the facts, and beside them what the action is.
fn body(action: &Action) -> serde_json::Value {
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
    serde_json::Value::Object(fields)
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
}
