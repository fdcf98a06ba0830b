//! `zendesk`: tickets of Zendesk, as its webhooks tell of them; verdicts become internal comments and a tag.

use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{
    Hook, Incoming, Received, Refused, SystemKind, TicketSystem, What, at, check_keys, is_own_note, keys, mark,
    parse_time, text_at,
};
use crate::model::action::ActionKind;
use crate::model::delivery::{Message, Outcome};
use crate::model::encode;
use crate::model::letter::{Letter, Medium};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::model::text::Untrusted;
use crate::model::ticket::Report;
use crate::net::outgoing::{self, Call, Sending, Wires};
use crate::net::signature::{Writing, verifies};
use crate::yaml::{self, Spanned};

/// The tags of verdicts; a ticket carries one of them.
const TAGS: [&str; 3] = ["houston_issue", "houston_no_issue", "houston_doubtful"];

pub static ZENDESK: SystemKind = SystemKind {
    name: "zendesk",
    summary: "tickets of Zendesk",
    docs: "Keys: `secrets` (signing secrets of the webhook, 1 to 3, as `{ env: NAME }` or `{ file: path }`), `url` \
           (https://NAME.zendesk.com), `user` (the address of an agent) and `token` (an API token of it), for comments. \
           A delivery is signed: `X-Zendesk-Webhook-Signature: base64(hmac-sha256(secret, timestamp + body))`, with \
           `X-Zendesk-Webhook-Signature-Timestamp` at most 300 s off. \
           Of a trigger, whose JSON is yours, `{\"event\": \"opened\", \"ticket\": {\"id\": \"{{ticket.id}}\", \
           \"title\": \"{{ticket.title}}\", \"description\": \"{{ticket.description}}\", \"status\": \
           \"{{ticket.status}}\", \"url\": \"https://{{ticket.link}}\", \"requester\": \
           \"{{ticket.requester.name}}\"}}` is read, `event` being `opened` (the default), `updated`, `commented` (with \
           `comment` and `author` beside `ticket`), `closed` or `reopened`; of an event subscription `ticket.created`, \
           `ticket.comment_added` and `ticket.status_changed`, every other event of a ticket being a change of it. What \
           those hold of a ticket was read from public examples, not from an account. \
           By `fields`: whatever the delivery holds, like `ticket.organization` or `detail.organization_id`. \
           Ignored: our own comments. \
           A verdict is an internal comment (`public: false`) and one of the tags `houston_issue`, `houston_no_issue` and \
           `houston_doubtful`; only a reply to the customer is public. Comments can't be edited; after an attempt whose \
           end is not known, the comments are read first.",
    example: "{ secrets: [{ env: HOUSTON_DESK_SECRET }], url: \"https://acme.zendesk.com\", user: houston@example.com, token: { env: ZENDESK_TOKEN } }",
    payload: r#"{"event":"opened","ticket":{"id":"35436","title":"checkout fails","description":"since nine","status":"new","url":"https://acme.zendesk.com/agent/tickets/35436","requester":"Kim"}}"#,
    headers: &[],
    read: |node| Ok(Arc::new(read(node)?)),
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    secrets: Vec<SecretRef>,
    url: Spanned<String>,
    user: String,
    token: SecretRef,
}

#[derive(Debug)]
struct Zendesk {
    secrets: Vec<SecretRef>,
    url: String,
    user: String,
    token: SecretRef,
}

fn read(node: &yaml::Node) -> Result<Zendesk, Diagnostic> {
    let declared: Declared = node.read()?;
    check_keys(node.get("secrets").unwrap_or(node), &declared.secrets)?;
    let url = super::http_url(&declared.url)?.to_string();
    let url = url.trim_end_matches('/').to_owned();
    Ok(Zendesk { secrets: declared.secrets, url, user: declared.user, token: declared.token })
}

impl TicketSystem for Zendesk {
    fn verify(&self, hook: &Hook<'_>, wires: &Wires) -> Result<(), Refused> {
        let keys = keys(&self.secrets, wires)?;
        let (timestamp, signature) = hook
            .header("x-zendesk-webhook-signature-timestamp")
            .zip(hook.header("x-zendesk-webhook-signature"))
            .ok_or(Refused::NotSigned)?;
        if !verifies(&keys, &[timestamp.as_bytes(), hook.body], signature, Writing::Base64) {
            return Err(Refused::NotSigned);
        }
        let at = parse_time(timestamp).ok_or(Refused::NotSigned)?;
        hook.is_recent(&at.as_second().to_string())
    }

    fn read(&self, hook: &Hook<'_>) -> Result<Received, Refused> {
        let payload = hook.json()?;
        match payload["type"].as_str().and_then(|kind| kind.strip_prefix("zen:event-type:")) {
            Some(kind) => of_event(kind, &payload),
            None => of_trigger(&payload),
        }
    }

    fn annotate<'a>(&'a self, message: Message<'a>, wires: &'a Wires) -> Sending<'a> {
        Box::pin(async move { self.comment(message, wires).await.unwrap_or_else(|failed| failed) })
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.secrets.iter().chain([&self.token]).cloned().collect()
    }
}

/// What a trigger's JSON says, as the docs of this kind have it.
fn of_trigger(payload: &Value) -> Result<Received, Refused> {
    let id = text_at(payload, "ticket.id").ok_or_else(|| missing("ticket.id"))?;
    let text = |path: &str| text_at(payload, path).map(Untrusted::new);
    let what = match payload["event"].as_str().unwrap_or("opened") {
        "opened" => What::Opened,
        "updated" => What::Updated,
        "closed" => What::Closed,
        "reopened" => What::Reopened,
        "commented" => What::Commented { by: text("author"), text: text("comment").unwrap_or_default() },
        other => return Err(Refused::Unreadable(format!("`event` is {}", encode::terminal(other)))),
    };
    let report = Report {
        title: text("ticket.title"),
        text: text("ticket.description"),
        reporter: text_at(payload, "ticket.requester").map(|name| Untrusted::bounded(name, 256)),
        url: text("ticket.url"),
        ..Report::default()
    };
    Ok(received(text_at(payload, "delivery"), Incoming { id, what, report, payload: payload.clone() }))
}

/// What an event subscription tells.
fn of_event(kind: &str, payload: &Value) -> Result<Received, Refused> {
    if !kind.starts_with("ticket.") {
        return Ok(Received::ignored("an event that is about no ticket"));
    }
    let id = text_at(payload, "detail.id").ok_or_else(|| missing("detail.id"))?;
    let status = |path: &str| text_at(payload, path).map(|status| status.to_lowercase()).unwrap_or_default();
    let is_over = |status: &str| matches!(status, "solved" | "closed");
    let what = match kind {
        "ticket.created" => What::Opened,
        "ticket.comment_added" => What::Commented {
            by: text_at(payload, "event.comment.author.name").map(Untrusted::new),
            text: text_at(payload, "event.comment.body").map(Untrusted::new).unwrap_or_default(),
        },
        "ticket.status_changed" => match (is_over(&status("event.previous")), is_over(&status("event.current"))) {
            (false, true) => What::Closed,
            (true, false) => What::Reopened,
            _ => What::Updated,
        },
        _ => What::Updated,
    };
    let subject = text_at(payload, "detail.subject").unwrap_or_else(|| format!("Zendesk ticket {id}"));
    let report = Report {
        title: Some(Untrusted::new(subject)),
        text: text_at(payload, "detail.description").map(Untrusted::new),
        reported_at: at(payload, "detail.created_at").and_then(Value::as_str).and_then(parse_time),
        ..Report::default()
    };
    Ok(received(text_at(payload, "id"), Incoming { id, what, report, payload: payload.clone() }))
}

fn received(delivery: Option<String>, incoming: Incoming) -> Received {
    match &incoming.what {
        What::Commented { text, .. } if is_own_note(text.raw()) => Received::ignored("our own comment"),
        _ => Received { delivery, incoming: vec![incoming], ignored: None },
    }
}

impl Zendesk {
    fn call(&self, path: &str, wires: &Wires) -> Result<Call, Outcome> {
        let url = Url::parse(&format!("{}{path}", self.url));
        let url = url.map_err(|error| Outcome::rejected(format!("its address: {error}")))?;
        Call::get(url).basic(&format!("{}/token", self.user), &self.token, wires)
    }

    /// Sets the tag, which may be done again, then writes the comment, unless an attempt before left it there.
    async fn comment(&self, message: Message<'_>, wires: &Wires) -> Result<Outcome, Outcome> {
        let action = message.action;
        let ticket = format!("/api/v2/tickets/{}", encode::url_segment(&action.recipient));
        let letter = Letter::of(action, message.links);
        let mark = mark(&letter);
        if message.tries > 0 {
            let path = format!("{ticket}/comments.json?sort_order=desc");
            let comments = outgoing::json(&self.call(&path, wires)?.send(message.now, wires).await?)?;
            let mut comments = comments["comments"].as_array().into_iter().flatten();
            if comments.any(|comment| comment["body"].as_str().is_some_and(|text| text.contains(&mark))) {
                return Ok(Outcome::DELIVERED);
            }
        }
        let tag = action.facts["verdict"].as_str().map(|verdict| format!("houston_{verdict}"));
        if let Some(tag) = TAGS.iter().find(|known| tag.as_deref() == Some(**known)) {
            let others: Vec<&&str> = TAGS.iter().filter(|other| *other != tag).collect();
            for (method, tags) in [(Method::DELETE, json!(others)), (Method::PUT, json!([tag]))] {
                let call = self.call(&format!("{ticket}/tags.json"), wires)?;
                call.with_json(method, json!({ "tags": tags }), wires).send(message.now, wires).await?;
            }
        }
        let body = format!("{mark}\n{}", letter.write(Medium::Plain));
        let public = action.kind == ActionKind::Reply;
        let body = json!({ "ticket": { "comment": { "body": body, "public": public } } });
        let call = self.call(&format!("{ticket}.json"), wires)?.with_json(Method::PUT, body, wires);
        let answer = outgoing::json(&call.send(message.now, wires).await?)?;
        if answer["ticket"].is_null() {
            return Err(Outcome::retry("it answered without the ticket"));
        }
        Ok(Outcome::DELIVERED)
    }
}

fn missing(name: &str) -> Refused {
    Refused::Unreadable(format!("`{name}` is missing"))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::super::tests::service::{Service, action, annotate};
    use super::super::tests::{deliver, desk, hook, wires};
    use super::*;
    use crate::model::letter::hostile::HOSTILE;
    use crate::model::secret::Secret;
    use crate::net::signature::sign;

    const WRITTEN: (u16, &str, &str) = (200, "", r#"{"ticket":{"id":1},"tags":[]}"#);

    fn zendesk(url: &str) -> crate::ticketing::Desk {
        let keys = "secrets: [{ env: DESK_SECRET }], user: h@example.com, token: { env: OLD_SECRET }";
        desk("zendesk", &format!("{{ {keys}, url: '{url}' }}"))
    }

    fn signed(key: &str, timestamp: &str, body: &str) -> HeaderMap {
        let parts = [timestamp.as_bytes(), body.as_bytes()];
        let signature = sign(&Secret::new(key.to_owned()), &parts, Writing::Base64).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-zendesk-webhook-signature-timestamp", timestamp.parse().unwrap());
        headers.insert("x-zendesk-webhook-signature", signature.parse().unwrap());
        headers
    }

    #[test]
    fn only_what_is_signed_now_is_taken_in() {
        let desk = zendesk("http://127.0.0.1:9");
        let now = hook(&HeaderMap::new(), b"").now.to_string();
        let key = "desk-secret-0123456789";
        for (headers, expected) in [
            (signed(key, &now, "{}"), Ok(())),
            (signed("other-secret-0123456789", &now, "{}"), Err(Refused::NotSigned)),
            (signed(key, &now, "{ }"), Err(Refused::NotSigned)),
            (signed(key, "2021-03-25T05:09:27Z", "{}"), Err(Refused::Stale)),
            (signed(key, "now", "{}"), Err(Refused::NotSigned)),
            (HeaderMap::new(), Err(Refused::NotSigned)),
        ] {
            assert_eq!(desk.system.verify(&hook(&headers, b"{}"), &wires()), expected);
        }
    }

    #[test]
    fn what_a_delivery_becomes() {
        let desk = zendesk("http://127.0.0.1:9");
        let event = |kind: &str, event: Value| {
            json!({ "type": format!("zen:event-type:{kind}"), "id": "e-1", "detail": { "id": "7", "subject": "x" }, "event": event }).to_string()
        };
        let change = |from: &str, to: &str| json!({ "previous": from, "current": to });
        let said = What::Commented { by: None, text: "hello".into() };
        for (body, expected) in [
            (event("ticket.created", json!({})), What::Opened),
            (event("ticket.comment_added", json!({ "comment": { "body": "hello" } })), said.clone()),
            (event("ticket.status_changed", change("OPEN", "SOLVED")), What::Closed),
            (event("ticket.status_changed", change("SOLVED", "OPEN")), What::Reopened),
            (event("ticket.status_changed", change("NEW", "OPEN")), What::Updated),
            (event("ticket.priority_changed", json!({})), What::Updated),
            (r#"{"ticket":{"id":7,"title":"x"}}"#.to_owned(), What::Opened),
            (r#"{"event":"commented","comment":"hello","ticket":{"id":7}}"#.to_owned(), said),
            (r#"{"event":"closed","ticket":{"id":"7"}}"#.to_owned(), What::Closed),
        ] {
            let received = deliver(&desk, &body).unwrap();
            assert_eq!((received.incoming[0].id.as_str(), &received.incoming[0].what), ("7", &expected), "{body}");
        }
        let own = event("ticket.comment_added", json!({ "comment": { "body": "[houston/T-7 a]\nx" } }));
        for ignored in [own, event("user.created", json!({}))] {
            assert!(deliver(&desk, &ignored).unwrap().ignored.is_some(), "{ignored}");
        }
        for wrong in ["{}", r#"{"ticket":{"id":7},"event":"exploded"}"#, "["] {
            assert!(matches!(deliver(&desk, wrong), Err(Refused::Unreadable(_))), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_note_is_internal_and_says_text() {
        for title in HOSTILE {
            let service = Service::start(&[WRITTEN, WRITTEN, WRITTEN]).await;
            let outcome = annotate(&zendesk(&service.url), &action(ActionKind::Note, "7", title), 0).await;
            assert_eq!(outcome, Outcome::DELIVERED, "{title:?}");
            let asked = service.asked();
            let lines: Vec<&str> = asked.iter().map(|asked| asked.line.as_str()).collect();
            let tags = "/api/v2/tickets/7/tags.json HTTP/1.1";
            let expected =
                [format!("DELETE {tags}"), format!("PUT {tags}"), "PUT /api/v2/tickets/7.json HTTP/1.1".to_owned()];
            assert_eq!(lines, expected);
            assert_eq!(asked[1].json(), json!({ "tags": ["houston_doubtful"] }));
            // h@example.com/token:old-secret-0123456789
            let pair = "Basic aEBleGFtcGxlLmNvbS90b2tlbjpvbGQtc2VjcmV0LTAxMjM0NTY3ODk=";
            assert_eq!(asked[2].header("authorization"), Some(pair));
            let comment = &asked[2].json()["ticket"]["comment"];
            assert_eq!(comment["public"], false);
            let text = comment["body"].as_str().unwrap();
            assert!(is_own_note(text) && !text.contains(['\u{1b}', '\u{202e}', '\0', '\r']), "{text:?}");
        }
    }

    #[tokio::test]
    async fn only_a_reply_is_public_and_what_is_there_is_not_repeated() {
        let mut reply = action(ActionKind::Reply, "7", "x");
        reply.facts = json!({ "summary": "We are looking into it." });
        let service = Service::start(&[WRITTEN]).await;
        assert_eq!(annotate(&zendesk(&service.url), &reply, 0).await, Outcome::DELIVERED);
        assert_eq!(service.asked()[0].json()["ticket"]["comment"]["public"], true);

        let there = json!({ "comments": [{ "body": format!("{}\nx", mark(&Letter::of(&reply, None))) }] });
        let service = Service::start(&[(200, "", &there.to_string())]).await;
        assert_eq!(annotate(&zendesk(&service.url), &reply, 1).await, Outcome::DELIVERED);
        assert_eq!(service.asked().len(), 1, "nothing was written");

        for (answer, is_retried) in [
            ((429, "Retry-After: 7\r\n", "{}"), true),
            ((503, "", ""), true),
            ((200, "", "<html>hello</html>"), true),
            ((401, "", "{}"), false),
        ] {
            let service = Service::start(&[answer]).await;
            let outcome = annotate(&zendesk(&service.url), &reply, 0).await;
            assert_eq!(matches!(outcome, Outcome::Retry { .. }), is_retried, "{outcome:?}");
            assert_eq!(matches!(outcome, Outcome::Rejected { .. }), !is_retried, "{outcome:?}");
        }
    }
}
