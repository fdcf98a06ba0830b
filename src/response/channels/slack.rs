//! `slack`: messages to a channel of Slack, over an incoming webhook or as a bot.
//!
//! Shapes, limits and errors are those of <https://docs.slack.dev/reference/methods/chat.postMessage>,
//! <https://docs.slack.dev/reference/methods/chat.update> and
//! <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>. Text from outside stands in blocks with
//! `verbatim`, so that Slack makes no link, no mention and no channel of it, and the blocks' own markup is escaped.

use std::path::PathBuf;
use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{Channel, ChannelKind};
use crate::model::action::ActionKind;
use crate::model::delivery::{Message, Outcome};
use crate::model::letter::{Letter, Medium, Part};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::net::http::TlsOptions;
use crate::net::outgoing::{Call, Sending, Wires, below, json as json_of, secret_url};
use crate::response::thread::Root;
use crate::yaml::{self, Spanned, http_url};

pub static SLACK: ChannelKind = ChannelKind {
    name: "slack",
    summary: "messages to a channel of Slack, by webhook or as a bot",
    docs: "Either `url` (an incoming webhook's, as a secret: `{ env: NAME }` or `{ file: path }`), or `token` (a bot's \
           token, a secret, with the scope `chat:write`) and `channel` (its ID: `C0123ABCD`). Further keys: `api` (where \
           Slack's API is; `https://slack.com/api`), `ca` (PEM file of roots to trust instead of the system's). \
           A webhook posts each message anew. A bot replaces its message when the verdict of a ticket changes, and says \
           everything else about the ticket in the thread below its first message; what wants a human is shown in the \
           channel as well. Each message ends with the ticket and the beginning of its key. \
           An attempt whose end is unknown is looked up by its key before it is made again: the bot needs \
           `channels:history` (`groups:history` in a private channel) for it, and without says it twice under the same \
           key, as a webhook does. 429, 5xx, `ratelimited`, Slack's own failures and silence are tried again; \
           `channel_not_found`, `invalid_auth` and any other error of Slack's is a refusal. \
           What is longer than Slack takes is cut, and says so.",
    example: "{ url: { env: SLACK_WEBHOOK_URL } }",
    read: |node| Ok(Arc::new(read(node)?)),
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    #[serde(default)]
    url: Option<SecretRef>,
    #[serde(default)]
    token: Option<SecretRef>,
    #[serde(default)]
    channel: Option<Spanned<String>>,
    #[serde(default)]
    api: Option<Spanned<String>>,
    #[serde(default)]
    ca: Option<PathBuf>,
}

/// A channel of Slack.
#[derive(Debug)]
pub struct Slack {
    way: Way,
    tls: Arc<TlsOptions>,
}

#[derive(Debug)]
enum Way {
    Hook(SecretRef),
    Bot(Bot),
}

#[derive(Debug)]
struct Bot {
    token: SecretRef,
    channel: String,
    api: Url,
}

fn read(node: &yaml::Node) -> Result<Slack, Diagnostic> {
    let declared: Declared = node.read()?;
    let api = match &declared.api {
        Some(api) => http_url(api)?,
        None => Url::parse("https://slack.com/api")
            .map_err(|error| Diagnostic::error(node.span.clone(), error.to_string()))?,
    };
    let way = match (declared.url, declared.token, declared.channel) {
        (Some(url), None, None) => Way::Hook(url),
        (None, Some(token), Some(channel)) => {
            if channel.value.trim().is_empty() {
                return Err(Diagnostic::error(channel.at, "a channel's ID isn't empty"));
            }
            Way::Bot(Bot { token, channel: channel.value, api })
        }
        _ => {
            return Err(Diagnostic::error(node.span.clone(), "neither a webhook nor a bot")
                .hint("write either `url: { env: … }`, or `token: { env: … }` and `channel: C…`"));
        }
    };
    Ok(Slack { way, tls: Arc::new(TlsOptions { ca: declared.ca, ..TlsOptions::default() }) })
}

/// The most characters of a block's text; bytes are never fewer.
const BLOCK: usize = 3_000;

/// What Slack says of itself when it failed: nobody knows whether the message arrived.
const PASSING: [&str; 7] = [
    "ratelimited",
    "rate_limited",
    "internal_error",
    "fatal_error",
    "request_timeout",
    "service_unavailable",
    "team_added_to_org",
];

/// The message that was to be changed or answered isn't there any more, or can't be.
const GONE: [&str; 6] = [
    "message_not_found",
    "cant_update_message",
    "edit_window_closed",
    "thread_not_found",
    "cannot_reply_to_message",
    "invalid_thread_ts",
];

/// A call that failed: as Slack said it, or before it could say anything.
enum Failed {
    Said(String),
    Sent(Outcome),
}

impl Failed {
    fn outcome(self) -> Outcome {
        match self {
            Failed::Sent(outcome) => outcome,
            Failed::Said(error) if PASSING.contains(&error.as_str()) => Outcome::retry(format!("Slack says {error}")),
            Failed::Said(error) => Outcome::rejected(format!("Slack says {error}")),
        }
    }
}

impl Slack {
    async fn post(&self, message: Message<'_>, wires: &Wires) -> Result<Outcome, Outcome> {
        match &self.way {
            Way::Hook(url) => {
                let url = secret_url(url, wires)?;
                let letter = Letter::of(message.action, message.links);
                let call = Call::get(url).with_json(Method::POST, content(&letter), wires).tls(&self.tls);
                let answer = call.send(message.now, wires).await?;
                match answer.body.trim_ascii() {
                    b"ok" => Ok(Outcome::DELIVERED),
                    _ => Err(Outcome::retry("it answered 2xx, but not `ok` as Slack does")),
                }
            }
            Way::Bot(bot) => self.say(bot, message, wires).await,
        }
    }

    async fn say(&self, bot: &Bot, message: Message<'_>, wires: &Wires) -> Result<Outcome, Outcome> {
        let action = message.action;
        let letter = Letter::of(action, message.links);
        let mut said = content(&letter);
        said["metadata"] = json!({ "event_type": "houston_action", "event_payload": { "key": action.key } });
        let mut root = message.previous.and_then(At::read);
        if let Some(found) = &root
            && found.root.is_replaced_by(action.kind)
        {
            let mut update = said.clone();
            update["channel"] = found.channel.into();
            update["ts"] = found.ts.into();
            match self.call(bot, "chat.update", update, message, wires).await {
                Ok(_) => return Ok(Outcome::delivered_as(found.root.receipt())),
                Err(Failed::Said(error)) if GONE.contains(&error.as_str()) => root = None,
                Err(failed) => return Err(failed.outcome()),
            }
        }
        if message.tries > 0
            && let Some(receipt) = self.find(bot, root.as_ref(), message, wires).await?
        {
            return Ok(Outcome::delivered_as(receipt));
        }
        said["channel"] = bot.channel.as_str().into();
        if let Some(found) = &root {
            let mut reply = said.clone();
            reply["channel"] = found.channel.into();
            reply["thread_ts"] = found.ts.into();
            reply["reply_broadcast"] = wants_a_human(action.kind).into();
            match self.call(bot, "chat.postMessage", reply, message, wires).await {
                Ok(_) => return Ok(Outcome::delivered_as(found.root.receipt())),
                Err(Failed::Said(error)) if GONE.contains(&error.as_str()) => {}
                Err(failed) => return Err(failed.outcome()),
            }
        }
        let answer = self.call(bot, "chat.postMessage", said, message, wires).await.map_err(Failed::outcome)?;
        match (answer["channel"].as_str(), answer["ts"].as_str()) {
            (Some(channel), Some(ts)) => Ok(Outcome::delivered_as(receipt(action.kind, channel, ts))),
            // It is there; it only can't be changed or answered later.
            _ => Ok(Outcome::DELIVERED),
        }
    }

    /// The receipt of the message with this key, where it is there already. Where Slack doesn't let us look, there is none.
    async fn find(
        &self,
        bot: &Bot,
        root: Option<&At<'_>>,
        message: Message<'_>,
        wires: &Wires,
    ) -> Result<Option<String>, Outcome> {
        let oldest = message.action.created_at.as_second() - 60;
        let mut fields = vec![
            ("channel", root.map_or(bot.channel.as_str(), |root| root.channel).to_owned()),
            ("oldest", oldest.to_string()),
            ("limit", "200".to_owned()),
            ("include_all_metadata", "true".to_owned()),
        ];
        let method = match root {
            Some(root) => {
                fields.push(("ts", root.ts.to_owned()));
                "conversations.replies"
            }
            None => "conversations.history",
        };
        let call = Call::get(below(&bot.api, method)?)
            .secret("Authorization", "Bearer ", &bot.token, wires)?
            .with_form(fields, wires)
            .tls(&self.tls);
        let answer = json_of(&call.send(message.now, wires).await?)?;
        let messages = answer["messages"].as_array().map_or(&[][..], Vec::as_slice);
        let key = message.action.key.as_str();
        let Some(there) = messages.iter().find(|there| there["metadata"]["event_payload"]["key"] == key) else {
            return Ok(None);
        };
        let first = |ts| receipt(message.action.kind, &bot.channel, ts);
        Ok(root.map(|at| at.root.receipt()).or_else(|| there["ts"].as_str().map(first)))
    }

    async fn call(
        &self,
        bot: &Bot,
        method: &str,
        body: Value,
        message: Message<'_>,
        wires: &Wires,
    ) -> Result<Value, Failed> {
        let url = below(&bot.api, method).map_err(Failed::Sent)?;
        let call = Call::get(url)
            .secret("Authorization", "Bearer ", &bot.token, wires)
            .map_err(Failed::Sent)?
            .with_json(Method::POST, body, wires)
            .tls(&self.tls);
        let answer = call.send(message.now, wires).await.map_err(Failed::Sent)?;
        let answer = json_of(&answer).map_err(Failed::Sent)?;
        match (answer["ok"].as_bool(), answer["error"].as_str()) {
            (Some(true), _) => Ok(answer),
            (Some(false), Some(error)) => Err(Failed::Said(crate::model::encode::terminal(error))),
            _ => Err(Failed::Sent(Outcome::retry("its answer isn't one of Slack's"))),
        }
    }
}

impl Channel for Slack {
    fn send<'a>(&'a self, message: Message<'a>, wires: &'a Wires) -> Sending<'a> {
        Box::pin(async move { self.post(message, wires).await.unwrap_or_else(|failed| failed) })
    }

    fn secrets(&self) -> Vec<SecretRef> {
        match &self.way {
            Way::Hook(url) => vec![url.clone()],
            Way::Bot(bot) => vec![bot.token.clone()],
        }
    }
}

/// Where the first message about a ticket is.
struct At<'a> {
    root: Root<'a>,
    /// The channel's ID, as Slack calls it.
    channel: &'a str,
    /// The time stamp by which Slack names the message.
    ts: &'a str,
}

impl<'a> At<'a> {
    fn read(receipt: &'a str) -> Option<Self> {
        let root = Root::read(receipt)?;
        let (channel, ts) = root.id.split_once(' ')?;
        Some(At { root, channel, ts })
    }
}

fn receipt(kind: ActionKind, channel: &str, ts: &str) -> String {
    Root { kind: kind.name(), id: &format!("{channel} {ts}") }.receipt()
}

/// What is shown in the channel even where it belongs into a thread.
fn wants_a_human(kind: ActionKind) -> bool {
    matches!(kind, ActionKind::Escalate | ActionKind::Page | ActionKind::Remind | ActionKind::CallBack)
}

/// A message: its blocks, and the line that notifications show.
fn content(letter: &Letter) -> Value {
    let mut blocks = vec![section(letter.head_within(Medium::Slack, BLOCK))];
    let mut groups: Vec<Vec<Part>> = Vec::new();
    for part in &letter.parts {
        match groups.last_mut() {
            Some(group) if group.first().is_some_and(|first| belongs_to(first, part)) => group.push(part.clone()),
            _ => groups.push(vec![part.clone()]),
        }
    }
    for parts in groups {
        let group = Letter { headline: String::new(), parts, ..letter.clone() };
        blocks.push(section(
            group.fitted(|group| group.body(Medium::Slack).len() <= BLOCK).body(Medium::Slack).trim_end().to_owned(),
        ));
    }
    blocks.push(json!({ "type": "context", "elements": [{ "type": "plain_text", "text": letter.mark() }] }));
    json!({
        "text": letter.head_within(Medium::Slack, BLOCK),
        "blocks": blocks,
        "link_names": false,
        "parse": "none",
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

/// Fields stand together, and links do.
fn belongs_to(first: &Part, part: &Part) -> bool {
    matches!((first, part), (Part::Field { .. }, Part::Field { .. }) | (Part::Link { .. }, Part::Link { .. }))
}

fn section(text: String) -> Value {
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": text, "verbatim": true } })
}

#[cfg(test)]
mod tests;
