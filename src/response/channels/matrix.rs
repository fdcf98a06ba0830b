//! `matrix`: messages to a room of Matrix.
//!
//! By the client-server API, <https://spec.matrix.org/latest/client-server-api/>: an event is put under a transaction ID
//! of ours, by which the homeserver itself tells a repetition; `m.relates_to` makes of it a reply in a thread or a
//! replacement of what was said before.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{Channel, ChannelKind};
use crate::model::action::ActionKind;
use crate::model::delivery::{Message, Outcome};
use crate::model::encode;
use crate::model::letter::{Letter, Medium};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::net::http::{Response, TlsOptions};
use crate::net::outgoing::{Call, Sending, Wires, accepted, below, json as json_of};
use crate::response::thread::Root;
use crate::yaml::{self, Spanned, http_url};

pub static MATRIX: ChannelKind = ChannelKind {
    name: "matrix",
    summary: "messages to a room of Matrix",
    docs: "Keys: `homeserver` (http or https), `room` (its ID: `!abc:example.com`, as the room's advanced settings show \
           it), `token` (the access token of an account that has joined the room, a secret: `{ env: NAME }` or \
           `{ file: path }`), `ca` (PEM file of roots to trust instead of the system's). \
           A new verdict of a ticket replaces the one before; everything else about the ticket is said in the thread \
           below its first message. What wants a human is a text, which rings; the rest are notices, which don't. \
           Rooms with encryption are not spoken to in code: the message is sent as it is. \
           The action's key is the transaction ID: the homeserver itself drops what was sent twice, for as long as it \
           remembers (Synapse: about a day). 408, 425, 429 (`M_LIMIT_EXCEEDED`), 5xx and silence are tried again; any \
           other status is a refusal. What is longer than an event can be is cut, and says so.",
    example: "{ homeserver: \"https://matrix.example.com\", room: \"!abc:example.com\", token: { env: MATRIX_TOKEN } }",
    read: |node| Ok(Arc::new(read(node)?)),
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    homeserver: Spanned<String>,
    room: Spanned<String>,
    token: SecretRef,
    #[serde(default)]
    ca: Option<PathBuf>,
}

/// A room of Matrix.
#[derive(Debug)]
pub struct Matrix {
    homeserver: Url,
    room: String,
    token: SecretRef,
    tls: Arc<TlsOptions>,
}

fn read(node: &yaml::Node) -> Result<Matrix, Diagnostic> {
    let declared: Declared = node.read()?;
    let room = declared.room;
    if !room.value.starts_with('!') || room.value.len() > 255 || room.value.chars().any(encode::is_unprintable) {
        return Err(Diagnostic::error(room.at, "a room's ID begins with `!`")
            .hint("the advanced settings of the room show it; `#name:server` is only an alias of it"));
    }
    let tls = Arc::new(TlsOptions { ca: declared.ca, ..TlsOptions::default() });
    Ok(Matrix { homeserver: http_url(&declared.homeserver)?, room: room.value, token: declared.token, tls })
}

/// An event has 65,536 bytes at most, with all that the homeserver adds. A replacement holds its text twice.
const LONGEST: usize = 24_000;

impl Matrix {
    async fn put(&self, message: Message<'_>, wires: &Wires) -> Result<Outcome, Outcome> {
        let action = message.action;
        let root = message.previous.and_then(Root::read).filter(|root| root.id.starts_with('$'));
        let path = format!(
            "_matrix/client/v3/rooms/{}/send/m.room.message/{}",
            encode::url_segment(&self.room),
            encode::url_segment(&action.key)
        );
        let call = Call::get(below(&self.homeserver, &path)?)
            .secret("Authorization", "Bearer ", &self.token, wires)?
            .with_json(Method::PUT, event(message, root.as_ref()), wires)
            .tls(&self.tls);
        let answer = call.ask(wires).await?;
        let waits = waits(&answer);
        let answer = match accepted(answer, message.now, wires) {
            Err(Outcome::Retry { after: None, why }) => Err(Outcome::Retry { after: waits, why }),
            other => other,
        };
        match (root, json_of(&answer?)?["event_id"].as_str()) {
            (Some(root), Some(_)) => Ok(Outcome::delivered_as(root.receipt())),
            (None, Some(id)) => Ok(Outcome::delivered_as(Root { kind: action.kind.name(), id }.receipt())),
            (_, None) => Err(Outcome::retry("its answer isn't one of Matrix's")),
        }
    }
}

impl Channel for Matrix {
    fn send<'a>(&'a self, message: Message<'a>, wires: &'a Wires) -> Sending<'a> {
        Box::pin(async move { self.put(message, wires).await.unwrap_or_else(|failed| failed) })
    }

    fn secrets(&self) -> Vec<SecretRef> {
        vec![self.token.clone()]
    }
}

/// How long a homeserver asks us to wait where it says so in its body alone, as those before version 1.10 of the
/// specification do.
fn waits(answer: &Response) -> Option<Duration> {
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    body["retry_after_ms"].as_u64().map(Duration::from_millis)
}

/// The event's content.
fn event(message: Message<'_>, root: Option<&Root<'_>>) -> Value {
    let action = message.action;
    let letter = Letter::of(action, message.links);
    let write = |letter: &Letter| {
        let mark = letter.mark();
        let plain = format!("{}{}", letter.write(Medium::Plain), Medium::Plain.text(&mark));
        let html = format!("{}<p>{}</p>", letter.write(Medium::Html), Medium::Html.text(&mark));
        (plain, html)
    };
    let fits = |letter: &Letter| {
        let (plain, html) = write(letter);
        Value::from(plain).to_string().len() + Value::from(html).to_string().len() <= LONGEST
    };
    let (plain, html) = write(&letter.fitted(fits));
    let rings = !matches!(action.kind, ActionKind::Announce | ActionKind::Note | ActionKind::Reply);
    // That nobody is mentioned is said, so that clients don't look for names in the text.
    let mut content = json!({
        "msgtype": if rings { "m.text" } else { "m.notice" },
        "body": plain,
        "format": "org.matrix.custom.html",
        "formatted_body": html,
        "m.mentions": {},
    });
    match root {
        Some(root) if root.is_replaced_by(action.kind) => {
            let new = content.clone();
            content["m.new_content"] = new;
            content["m.relates_to"] = json!({ "rel_type": "m.replace", "event_id": root.id });
        }
        Some(root) => {
            content["m.relates_to"] = json!({
                "rel_type": "m.thread",
                "event_id": root.id,
                "is_falling_back": true,
                "m.in_reply_to": { "event_id": root.id },
            });
        }
        None => {}
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::encode::is_unprintable;
    use crate::model::letter::hostile::HOSTILE;
    use crate::response::loopback::{
        Answer, Asked, Chat, Service, action, is_rejected, is_retry, long_action, receipt,
    };

    const TOKEN: &str = "syt_aG91c3Rvbg_abcdefghijklmnop_0a1b2c";
    const EVENT: &str = "$YUwRidLecu:example.com";

    /// A homeserver with one room.
    fn homeserver(asked: &Asked) -> Answer {
        let error = |status: u16, code: &str| (status, None, json!({ "errcode": code, "error": "no" }).to_string());
        if asked.header("authorization") != format!("Bearer {TOKEN}") {
            return error(401, "M_UNKNOWN_TOKEN");
        }
        let prefix = "PUT /_matrix/client/v3/rooms/%21abc%3Aexample.com/send/m.room.message/";
        assert!(asked.body.len() < 60_000);
        match asked.line.strip_prefix(prefix) {
            Some(transaction) if transaction.len() == 64 => (200, None, json!({ "event_id": EVENT }).to_string()),
            _ => error(403, "M_FORBIDDEN"),
        }
    }

    fn chat(service: &Service, room: &str) -> Chat {
        let declared =
            format!("{{ matrix: {{ homeserver: \"{}\", room: \"{room}\", token: {{ env: TOKEN }} }} }}", service.url);
        Chat::new(&declared, &[("TOKEN", TOKEN)])
    }

    #[tokio::test]
    async fn a_verdict_is_replaced_and_the_rest_is_said_in_its_thread() {
        let service = Service::start(homeserver).await;
        let chat = chat(&service, "!abc:example.com");
        let announced = action(ActionKind::Announce, 1, "no issue");
        let first = receipt(&chat.send(&announced, None, 0).await).to_owned();
        let asked = service.asked().remove(0);
        assert!(asked.line.ends_with(&format!("/{}", announced.key)), "the key is the transaction");
        let body = asked.json();
        assert_eq!((&body["msgtype"], &body["m.mentions"]), (&json!("m.notice"), &json!({})));
        assert!(body["formatted_body"].as_str().unwrap().starts_with("<p><b>no issue</b></p>"));
        assert_eq!(body["m.relates_to"], Value::Null);

        // The same attempt again is the same transaction.
        assert_eq!(receipt(&chat.send(&announced, None, 1).await), first);
        assert_eq!(service.asked()[0].line, asked.line);

        assert_eq!(receipt(&chat.send(&action(ActionKind::Announce, 2, "an issue"), Some(&first), 0).await), first);
        let body = service.asked()[0].json();
        assert_eq!(body["m.relates_to"], json!({ "rel_type": "m.replace", "event_id": EVENT }));
        assert!(body["m.new_content"]["body"].as_str().unwrap().starts_with("an issue"));

        assert_eq!(receipt(&chat.send(&action(ActionKind::Page, 2, "an issue"), Some(&first), 0).await), first);
        let body = service.asked()[0].json();
        assert_eq!(body["msgtype"], "m.text");
        assert_eq!(
            (&body["m.relates_to"]["rel_type"], &body["m.relates_to"]["event_id"]),
            (&json!("m.thread"), &json!(EVENT))
        );
    }

    #[tokio::test]
    async fn what_a_homeserver_answers_is_understood() {
        let page = action(ActionKind::Page, 1, "checkout fails");
        let service = Service::start(homeserver).await;
        assert!(is_rejected(&chat(&service, "!other:example.com").send(&page, None, 0).await, "M_FORBIDDEN"));
        for (status, after, body, retried) in [
            (429, None, "{\"errcode\":\"M_LIMIT_EXCEEDED\",\"retry_after_ms\":2000}", Some(Some(2))),
            (429, Some("7"), "{\"errcode\":\"M_LIMIT_EXCEEDED\",\"retry_after_ms\":2000}", Some(Some(7))),
            (502, None, "", Some(None)),
            (200, None, "<html>a proxy's page</html>", Some(None)),
            (200, None, "{}", Some(None)),
            (401, None, "{\"errcode\":\"M_UNKNOWN_TOKEN\"}", None),
            (413, None, "{\"errcode\":\"M_TOO_LARGE\"}", None),
        ] {
            let service = Service::start(move |_| (status, after, body.to_owned())).await;
            let outcome = chat(&service, "!abc:example.com").send(&page, None, 0).await;
            match retried {
                Some(after) => assert!(is_retry(&outcome, after), "{status} {body}: {outcome:?}"),
                None => assert!(is_rejected(&outcome, ""), "{status} {body}: {outcome:?}"),
            }
        }
    }

    #[tokio::test]
    async fn hostile_text_stays_text() {
        let service = Service::start(homeserver).await;
        let chat = chat(&service, "!abc:example.com");
        let tag =
            regex::Regex::new(r#"</?(p|b|ul|li|pre)>|<a href="https://houston\.example\.com/[^"]*">|</a>"#).unwrap();
        for text in HOSTILE {
            receipt(&chat.send(&action(ActionKind::Page, 1, text), None, 0).await);
            let asked = service.asked();
            assert_eq!(asked.len(), 1, "{text:?}");
            let body = asked[0].json();
            let html = body["formatted_body"].as_str().unwrap();
            assert!(!tag.replace_all(html, "").contains(['<', '>']), "{text:?}: {html}");
            for shown in [html, body["body"].as_str().unwrap()] {
                assert!(!shown.chars().any(|c| c != '\n' && is_unprintable(c)), "{text:?}: {shown}");
            }
        }
    }

    #[tokio::test]
    async fn a_long_story_is_cut_and_says_so() {
        let service = Service::start(homeserver).await;
        let chat = chat(&service, "!abc:example.com");
        receipt(&chat.send(&long_action(ActionKind::Announce), Some(&format!("announce {EVENT}")), 0).await);
        let body = service.asked()[0].json();
        assert!(body["m.new_content"]["formatted_body"].as_str().unwrap().contains("the rest is in Houston"));
    }

    #[test]
    fn a_room_is_named_by_its_id() {
        for room in ["#ops:example.com", "ops", ""] {
            let text = format!("{{ homeserver: \"https://a\", room: \"{room}\", token: {{ env: A }} }}");
            assert!(read(&yaml::parse("houston.yaml", &text).unwrap()).is_err(), "{text}");
        }
    }
}
