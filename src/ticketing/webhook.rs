//! `webhook`: any system that can post JSON, signed; and, where it has an address of its own, is posted the verdict.

use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{Hook, Incoming, Received, Refused, SystemKind, TicketSystem, What, check_keys, keys, text_at};
use crate::model::delivery::{Message, Outcome};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::model::text::Untrusted;
use crate::model::ticket::Report;
use crate::net::http::TlsOptions;
use crate::net::outgoing::{Call, Sending, Wires};
use crate::net::signature::{Writing, sign};
use crate::yaml::{self, Spanned};

pub static WEBHOOK: SystemKind = SystemKind {
    name: "webhook",
    summary: "any system that can post JSON",
    docs: "Keys: `secrets` (1 to 3 keys of at least 16 bytes, as `{ env: NAME }` or `{ file: path }`; any of them may \
           sign), `url` (where verdicts are posted; without it none are), `ca` (PEM file of roots to trust for it). \
           A delivery is a POST of a JSON object: `id` and `title` or `text`, and as they are known `service`, \
           `customer`, `reporter`, `contact`, `reported_at`, `since`, `until`, `url`, `params`, `alert`; `event` \
           (`opened`, the default, `updated`, `commented` with `comment` and `author`, `closed`, `reopened`), \
           `delivery` (an id by which a repetition is recognised). It is signed as our own are: \
           `X-Houston-Timestamp` (seconds since 1970, at most 300 off) and `X-Houston-Signature: \
           v1=hex(hmac-sha256(key, timestamp + \".\" + body))`. A system that can't sign sends the key itself as \
           `X-Houston-Token`, over TLS. \
           What is posted to `url` is the verdict's document, signed with the first key.",
    example: "{ secrets: [{ env: HOUSTON_DESK_SECRET }], url: \"https://desk.example.com/houston\" }",
    payload: r#"{"id":"4711","title":"checkout is failing for us","text":"since nine, all of our shops","service":"checkout","customer":"acme","since":"2026-11-22T09:00:00Z","params":{"account":"acme-1"}}"#,
    headers: &[],
    read: |node| Ok(Arc::new(read(node)?)),
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    secrets: Vec<SecretRef>,
    #[serde(default)]
    url: Option<Spanned<String>>,
    #[serde(default)]
    ca: Option<std::path::PathBuf>,
}

#[derive(Debug)]
struct Webhook {
    secrets: Vec<SecretRef>,
    url: Option<Url>,
    tls: Arc<TlsOptions>,
}

fn read(node: &yaml::Node) -> Result<Webhook, Diagnostic> {
    let declared: Declared = node.read()?;
    check_keys(node.get("secrets").unwrap_or(node), &declared.secrets)?;
    let url = declared.url.as_ref().map(crate::ticketing::http_url).transpose()?;
    let tls = Arc::new(TlsOptions { ca: declared.ca, ..TlsOptions::default() });
    Ok(Webhook { secrets: declared.secrets, url, tls })
}

impl TicketSystem for Webhook {
    fn verify(&self, hook: &Hook<'_>, wires: &Wires) -> Result<(), Refused> {
        super::signed_as_ours(hook, &keys(&self.secrets, wires)?)
    }

    fn read(&self, hook: &Hook<'_>) -> Result<Received, Refused> {
        let payload = hook.json()?;
        let id = text_at(&payload, "id").ok_or_else(|| Refused::Unreadable("`id` is missing".to_owned()))?;
        let text = |path: &str| text_at(&payload, path).map(Untrusted::new);
        let what = match payload["event"].as_str().unwrap_or("opened") {
            "opened" => What::Opened,
            "updated" => What::Updated,
            "commented" => What::Commented { by: text("author"), text: text("comment").unwrap_or_default() },
            "closed" => What::Closed,
            "reopened" => What::Reopened,
            other => return Err(Refused::Unreadable(format!("`event` is {}", crate::model::encode::terminal(other)))),
        };
        let incoming = Incoming { id, what, report: report(&payload)?, payload: payload.clone() };
        Ok(Received { delivery: text_at(&payload, "delivery"), incoming: vec![incoming], ignored: None })
    }

    fn annotate<'a>(&'a self, message: Message<'a>, wires: &'a Wires) -> Sending<'a> {
        Box::pin(async move { self.post(message, wires).await.unwrap_or_else(|failed| failed) })
    }

    fn takes_notes(&self) -> bool {
        self.url.is_some()
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.secrets.clone()
    }
}

impl Webhook {
    async fn post(&self, message: Message<'_>, wires: &Wires) -> Result<Outcome, Outcome> {
        let url = self.url.clone().ok_or_else(|| Outcome::rejected("no address is declared to post verdicts to"))?;
        let key = self.secrets.first().ok_or_else(|| Outcome::rejected("no secret is declared"))?;
        let key = wires.credentials.get(key).map_err(Outcome::retry)?;
        let action = message.action;
        let mut body = action.facts.clone();
        if let Value::Object(fields) = &mut body {
            fields.insert("id".to_owned(), action.recipient.as_str().into());
            fields.insert("key".to_owned(), action.key.as_str().into());
            fields.insert("kind".to_owned(), action.kind.name().into());
        }
        let timestamp = message.now.as_second().to_string();
        let call = Call::get(url).with_json(Method::POST, body, wires).tls(&self.tls);
        let signature = sign(&key, &[timestamp.as_bytes(), b".", &call.body], Writing::Hex)
            .ok_or_else(|| Outcome::retry("its secret can't be used as a key"))?;
        let call = call
            .header("X-Houston-Key", action.key.as_str())
            .header("X-Houston-Timestamp", timestamp)
            .header("X-Houston-Signature", format!("v1={signature}"));
        call.send(message.now, wires).await?;
        Ok(Outcome::DELIVERED)
    }
}

/// The fields that are a report's own; what stands beside them is for the declared fields.
fn report(payload: &Value) -> Result<Report, Refused> {
    let mut own = serde_json::Map::new();
    for name in
        ["title", "text", "customer", "reporter", "contact", "since", "until", "reported_at", "params", "alert", "url"]
    {
        if let Some(value) = payload.get(name).filter(|value| !value.is_null()) {
            own.insert(name.to_owned(), value.clone());
        }
    }
    if let Some(service) = text_at(payload, "service") {
        own.insert("services".to_owned(), json!([service]));
    } else if let Some(services) = payload.get("services") {
        own.insert("services".to_owned(), services.clone());
    }
    serde_json::from_value(Value::Object(own)).map_err(|error| Refused::Unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::super::tests::{deliver, desk, hook, wires};
    use super::*;

    const TEXT: &str = "{ secrets: [{ env: DESK_SECRET }, { env: OLD_SECRET }] }";

    fn signed(key: &str, timestamp: &str, body: &str) -> HeaderMap {
        let key = crate::model::secret::Secret::new(key.to_owned());
        let signature = sign(&key, &[timestamp.as_bytes(), b".", body.as_bytes()], Writing::Hex).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-houston-timestamp", timestamp.parse().unwrap());
        headers.insert("x-houston-signature", format!("v1={signature}").parse().unwrap());
        headers
    }

    #[test]
    fn only_what_is_signed_by_a_known_key_is_taken_in() {
        let desk = desk("webhook", TEXT);
        let body = r#"{"id":"1","title":"x"}"#;
        let now = "1795000000";
        for (headers, expected) in [
            (signed("desk-secret-0123456789", now, body), Ok(())),
            (signed("old-secret-0123456789", now, body), Ok(())),
            (signed("another-secret-0123456789", now, body), Err(Refused::NotSigned)),
            (signed("desk-secret-0123456789", now, r#"{"id":"2","title":"x"}"#), Err(Refused::NotSigned)),
            (signed("desk-secret-0123456789", "1794999000", body), Err(Refused::Stale)),
            (HeaderMap::new(), Err(Refused::NotSigned)),
        ] {
            assert_eq!(desk.system.verify(&hook(&headers, body.as_bytes()), &wires()), expected);
        }
        let mut token = HeaderMap::new();
        token.insert("x-houston-token", "desk-secret-0123456789".parse().unwrap());
        assert_eq!(desk.system.verify(&hook(&token, b"anything"), &wires()), Ok(()));
        token.insert("x-houston-token", "desk-secret".parse().unwrap());
        assert_eq!(desk.system.verify(&hook(&token, b"anything"), &wires()), Err(Refused::NotSigned));
    }

    #[test]
    fn what_a_delivery_becomes() {
        let desk = desk("webhook", TEXT);
        let received =
            deliver(&desk, r#"{"id":"7","event":"commented","author":"kim","comment":"still","delivery":"d-1"}"#);
        assert_eq!(received.unwrap().delivery.as_deref(), Some("d-1"));
        for (body, why) in [
            (r#"{"title":"x"}"#, "`id` is missing"),
            (r#"{"id":"1","event":"exploded"}"#, "`event` is exploded"),
            (r#"{"id":"1","title":"x","since":"soon"}"#, "year"),
            ("[", "no JSON"),
        ] {
            let refused = deliver(&desk, body);
            assert!(matches!(&refused, Err(Refused::Unreadable(said)) if said.contains(why)), "{refused:?}");
        }
    }
}
