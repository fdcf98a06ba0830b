//! `ntfy`: push notifications to phones and desktops through an ntfy server.
//!
//! The shape is that of <https://docs.ntfy.sh/publish/#publish-as-json>: one JSON object, posted to the server's root.

use std::path::PathBuf;
use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{Channel, ChannelKind};
use crate::model::action::ActionKind;
use crate::model::delivery::{Message, Outcome};
use crate::model::letter::{Letter, Medium, Severity};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::net::http::TlsOptions;
use crate::net::outgoing::{Call, Sending, Wires, json as json_of};
use crate::yaml::{self, Spanned, http_url};

pub static NTFY: ChannelKind = ChannelKind {
    name: "ntfy",
    summary: "push notifications through an ntfy server",
    docs: "Keys: `server` (http or https; `https://ntfy.sh`), `topic` (letters, digits, `-` and `_`, at most 64: where \
           anybody may read, it is as good as a password), `token` (an access token, a secret: `{ env: NAME }` or \
           `{ file: path }`), `ca` (PEM file of roots to trust instead of the system's). \
           Critical messages have priority 5, doubts 4, good news 3. A tap opens the ticket in Houston, and a button \
           opens the page on which it is acknowledged. The action's key is the notification's sequence ID: what is sent \
           twice since nobody knew whether it had arrived is one notification, on servers from 2.16; older ones show it \
           twice, with the same key. 408, 425, 429, 5xx, silence and answers that aren't ntfy's are tried again; any \
           other status is a refusal. What is longer than 4,000 bytes is cut, and says so.",
    example: "{ server: \"https://ntfy.example.com\", topic: houston-ops, token: { env: NTFY_TOKEN } }",
    read: |node| Ok(Arc::new(read(node)?)),
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    #[serde(default)]
    server: Option<Spanned<String>>,
    topic: Spanned<String>,
    #[serde(default)]
    token: Option<SecretRef>,
    #[serde(default)]
    ca: Option<PathBuf>,
}

/// A topic of an ntfy server.
#[derive(Debug)]
pub struct Ntfy {
    server: Url,
    topic: String,
    token: Option<SecretRef>,
    tls: Arc<TlsOptions>,
}

fn read(node: &yaml::Node) -> Result<Ntfy, Diagnostic> {
    let declared: Declared = node.read()?;
    let server = match &declared.server {
        Some(server) => http_url(server)?,
        None => {
            Url::parse("https://ntfy.sh").map_err(|error| Diagnostic::error(node.span.clone(), error.to_string()))?
        }
    };
    let topic = &declared.topic.value;
    if !(1..=64).contains(&topic.len())
        || !topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    {
        return Err(Diagnostic::error(declared.topic.at, "a topic has 1 to 64 letters, digits, `-` and `_`"));
    }
    let tls = Arc::new(TlsOptions { ca: declared.ca, ..TlsOptions::default() });
    Ok(Ntfy { server, topic: declared.topic.value, token: declared.token, tls })
}

/// A server takes 4,096 bytes of text by default; beyond that it makes a file of it.
const LONGEST: usize = 4_000;
/// It reads twice as much of JSON.
const LONGEST_JSON: usize = 8_000;
/// The longest title that phones show any of.
const TITLE: usize = 250;

impl Ntfy {
    async fn publish(&self, message: Message<'_>, wires: &Wires) -> Result<Outcome, Outcome> {
        let mut call = Call::get(self.server.clone());
        if let Some(token) = &self.token {
            call = call.secret("Authorization", "Bearer ", token, wires)?;
        }
        let call = call.with_json(Method::POST, self.notification(message), wires).tls(&self.tls);
        let answer = json_of(&call.send(message.now, wires).await?)?;
        match (answer["id"].as_str(), answer["topic"].as_str()) {
            (Some(id), Some(topic)) if topic == self.topic => Ok(Outcome::delivered_as(id)),
            _ => Err(Outcome::retry("its answer isn't one of ntfy's")),
        }
    }

    fn notification(&self, message: Message<'_>) -> Value {
        let action = message.action;
        let letter = Letter::of(action, message.links);
        let write = |letter: &Letter| {
            let mut notification = json!({
                "topic": self.topic,
                "title": title(letter),
                "message": text(letter),
                "priority": match letter.severity {
                    Severity::Critical => 5,
                    Severity::Warning => 4,
                    Severity::Info => 3,
                },
                "tags": [action.kind.name(), letter.thread],
                "sequence_id": letter.key,
                "markdown": false,
            });
            if let Some((_, url)) = letter.links().next() {
                notification["click"] = url.into();
            }
            let acknowledge = letter.links().find(|(title, _)| *title == "Acknowledge");
            if let Some((title, url)) = acknowledge.filter(|_| action.kind != ActionKind::Reply) {
                notification["actions"] = json!([{ "action": "view", "label": title, "url": url, "clear": true }]);
            }
            notification
        };
        let fits = |letter: &Letter| text(letter).len() <= LONGEST && write(letter).to_string().len() <= LONGEST_JSON;
        write(&letter.fitted(fits))
    }
}

impl Channel for Ntfy {
    fn send<'a>(&'a self, message: Message<'a>, wires: &'a Wires) -> Sending<'a> {
        Box::pin(async move { self.publish(message, wires).await.unwrap_or_else(|failed| failed) })
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.token.iter().cloned().collect()
    }
}

fn title(letter: &Letter) -> String {
    letter.head_within(Medium::Plain, TITLE)
}

/// The whole headline only where the title has less of it.
fn text(letter: &Letter) -> String {
    let head = letter.head(Medium::Plain);
    let head = if head == title(letter) { String::new() } else { format!("{head}\n") };
    format!("{head}{}{}", letter.body(Medium::Plain), Medium::Plain.text(&letter.mark()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::encode::is_unprintable;
    use crate::model::letter::hostile::HOSTILE;
    use crate::response::loopback::{
        Answer, Asked, Chat, Service, action, is_rejected, is_retry, long_action, receipt,
    };

    const TOKEN: &str = "tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2";

    /// A server as ntfy documents it.
    fn ntfy(asked: &Asked) -> Answer {
        let error = |status: u16| (status, None, json!({ "code": status * 100, "error": "refused" }).to_string());
        let body = asked.json();
        if asked.header("authorization") != format!("Bearer {TOKEN}") {
            return error(403);
        }
        if asked.line != "POST /" || body["topic"] != "houston-ops" || asked.body.len() > 8_192 {
            return error(400);
        }
        let text = body["message"].as_str().unwrap();
        assert!(!text.is_empty() && text.len() <= 4_096 && body["title"].is_string());
        (
            200,
            None,
            json!({ "id": "xE73Iyuabi", "time": 1_700_000_000, "event": "message", "topic": "houston-ops" })
                .to_string(),
        )
    }

    fn chat(service: &Service, token: &str) -> Chat {
        let declared =
            format!("{{ ntfy: {{ server: \"{}\", topic: houston-ops, token: {{ env: TOKEN }} }} }}", service.url);
        Chat::new(&declared, &[("TOKEN", token)])
    }

    #[tokio::test]
    async fn a_notification_opens_the_ticket_and_can_be_acknowledged() {
        let service = Service::start(ntfy).await;
        let page = action(ActionKind::Page, 1, "checkout fails");
        assert_eq!(receipt(&chat(&service, TOKEN).send(&page, None, 0).await), "xE73Iyuabi");
        let asked = service.asked();
        assert_eq!(asked.len(), 1);
        let body = asked[0].json();
        assert_eq!((&body["title"], &body["priority"]), (&json!("checkout fails"), &json!(5)));
        assert_eq!(body["sequence_id"], page.key.as_str());
        assert_eq!(body["click"], "https://houston.example.com/t/T-7");
        let button = json!({ "action": "view", "label": "Acknowledge",
            "url": "https://houston.example.com/ack/one-time", "clear": true });
        assert_eq!(body["actions"], json!([button]));
        assert!(body["message"].as_str().unwrap().contains(&page.key[..12]));
    }

    #[tokio::test]
    async fn what_ntfy_answers_is_understood() {
        let page = action(ActionKind::Page, 1, "checkout fails");
        let service = Service::start(ntfy).await;
        assert!(is_rejected(&chat(&service, "tk_of_yesterday").send(&page, None, 0).await, "403"));
        for (status, after, body, retried) in [
            (429, Some("60"), "{\"code\":42901}", Some(Some(60))),
            (507, None, "", Some(None)),
            (200, None, "<html>a proxy's page</html>", Some(None)),
            (200, None, "{\"id\":\"x\",\"topic\":\"other\"}", Some(None)),
            (401, None, "{\"code\":40101}", None),
            (413, None, "", None),
        ] {
            let service = Service::start(move |_| (status, after, body.to_owned())).await;
            let outcome = chat(&service, TOKEN).send(&page, None, 0).await;
            match retried {
                Some(after) => assert!(is_retry(&outcome, after), "{status} {body}: {outcome:?}"),
                None => assert!(is_rejected(&outcome, ""), "{status} {body}: {outcome:?}"),
            }
        }
    }

    #[tokio::test]
    async fn hostile_text_stays_text() {
        let service = Service::start(ntfy).await;
        let chat = chat(&service, TOKEN);
        for text in HOSTILE {
            receipt(&chat.send(&action(ActionKind::Page, 1, text), None, 0).await);
            let asked = service.asked();
            assert_eq!(asked.len(), 1, "{text:?}");
            let body = asked[0].json();
            assert!(!body["title"].as_str().unwrap().chars().any(is_unprintable), "{text:?}");
            assert!(!body["message"].as_str().unwrap().chars().any(|c| c != '\n' && is_unprintable(c)), "{text:?}");
            assert_eq!((&body["markdown"], &body["priority"]), (&json!(false), &json!(5)));
            assert_eq!(body["tags"], json!(["page", "houston/T-7"]));
            assert!(body["click"].as_str().unwrap().starts_with("https://houston.example.com/"));
        }
    }

    #[tokio::test]
    async fn a_long_story_is_cut_and_says_so() {
        let service = Service::start(ntfy).await;
        receipt(&chat(&service, TOKEN).send(&long_action(ActionKind::Page), None, 0).await);
        let body = service.asked()[0].json();
        assert!(body["message"].as_str().unwrap().contains("the rest is in Houston"));
        assert!(body["title"].as_str().unwrap().len() <= TITLE && body["click"].is_string());
    }

    #[test]
    fn a_topic_is_a_plain_name() {
        for text in ["{}", "{ topic: \"\" }", "{ topic: a/b }", "{ topic: a, server: \"ftp://a\" }"] {
            assert!(read(&yaml::parse("houston.yaml", text).unwrap()).is_err(), "{text}");
        }
    }
}
