//! `mattermost`: messages to a channel of Mattermost, over an incoming webhook or as a bot.
//!
//! Shapes are those of <https://developers.mattermost.com/integrate/webhooks/incoming/> and of the posts of
//! <https://developers.mattermost.com/api-documentation/>: `POST /api/v4/posts` answers 201 with the post's `id`,
//! `PUT /api/v4/posts/{id}/patch` changes it, `GET /api/v4/channels/{id}/posts?since=…` lists what is new.

use std::path::PathBuf;
use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{Channel, ChannelKind};
use crate::model::delivery::{Message, Outcome};
use crate::model::encode;
use crate::model::letter::{Letter, Medium};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::net::http::{Response, TlsOptions};
use crate::net::outgoing::{Call, Sending, Wires, accepted, below, json as json_of, secret_url};
use crate::response::thread::Root;
use crate::yaml::{self, Spanned, http_url};

pub static MATTERMOST: ChannelKind = ChannelKind {
    name: "mattermost",
    summary: "messages to a channel of Mattermost, by webhook or as a bot",
    docs: "Either `url` (an incoming webhook's, as a secret: `{ env: NAME }` or `{ file: path }`), or `server` (http or \
           https), `token` (a bot's access token, a secret) and `channel` (the channel's ID, 26 letters and digits). \
           Further key: `ca` (PEM file of roots to trust instead of the system's). \
           A webhook posts each message anew. A bot changes its post when the verdict of a ticket changes, and says \
           everything else about the ticket in the thread below its first post. Each message ends with the ticket and \
           the beginning of its key. An attempt whose end is unknown is looked up by its key before a bot makes it again; \
           a webhook says it twice under the same key. 408, 425, 429, 5xx and silence are tried again; any other status \
           is a refusal. What is longer than 16,000 bytes is cut, and says so.",
    example: "{ server: \"https://chat.example.com\", token: { env: MATTERMOST_TOKEN }, channel: qmd5oqtwoibz8cuzxzg5ekshgr }",
    read: |node| Ok(Arc::new(read(node)?)),
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    #[serde(default)]
    url: Option<SecretRef>,
    #[serde(default)]
    server: Option<Spanned<String>>,
    #[serde(default)]
    token: Option<SecretRef>,
    #[serde(default)]
    channel: Option<Spanned<String>>,
    #[serde(default)]
    ca: Option<PathBuf>,
}

/// A channel of Mattermost.
#[derive(Debug)]
pub struct Mattermost {
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
    server: Url,
    token: SecretRef,
    channel: String,
}

fn read(node: &yaml::Node) -> Result<Mattermost, Diagnostic> {
    let declared: Declared = node.read()?;
    let way = match (declared.url, declared.server, declared.token, declared.channel) {
        (Some(url), None, None, None) => Way::Hook(url),
        (None, Some(server), Some(token), Some(channel)) => {
            if !is_id(&channel.value) {
                return Err(Diagnostic::error(channel.at, "a channel's ID is made of letters and digits")
                    .hint("the channel's information shows it"));
            }
            Way::Bot(Bot { server: http_url(&server)?, token, channel: channel.value })
        }
        _ => {
            return Err(Diagnostic::error(node.span.clone(), "neither a webhook nor a bot")
                .hint("write either `url: { env: … }`, or `server`, `token: { env: … }` and `channel`"));
        }
    };
    Ok(Mattermost { way, tls: Arc::new(TlsOptions { ca: declared.ca, ..TlsOptions::default() }) })
}

/// A post holds 16,383 characters unless its server was built long ago; bytes are never fewer.
const LONGEST: usize = 16_000;

impl Mattermost {
    async fn post(&self, message: Message<'_>, wires: &Wires) -> Result<Outcome, Outcome> {
        match &self.way {
            Way::Hook(url) => {
                let url = secret_url(url, wires)?;
                let body = json!({ "text": text(message) });
                let call = Call::get(url).with_json(Method::POST, body, wires).tls(&self.tls);
                let answer = call.send(message.now, wires).await?;
                match answer.body.trim_ascii() {
                    b"ok" => Ok(Outcome::DELIVERED),
                    _ => Err(Outcome::retry("it answered 2xx, but not `ok` as Mattermost does")),
                }
            }
            Way::Bot(bot) => self.say(bot, message, wires).await,
        }
    }

    async fn say(&self, bot: &Bot, message: Message<'_>, wires: &Wires) -> Result<Outcome, Outcome> {
        let action = message.action;
        let said = json!({ "message": text(message), "props": { "houston_key": action.key } });
        let mut root = message.previous.and_then(Root::read).filter(|root| is_id(root.id));
        if let Some(found) = &root
            && found.is_replaced_by(action.kind)
        {
            let path = format!("api/v4/posts/{}/patch", encode::url_segment(found.id));
            let answer = self.ask(bot, Method::PUT, &path, said.clone(), wires).await?;
            match answer.status {
                // Deleted, or too old to be changed: it is said anew.
                403 | 404 => root = None,
                _ => {
                    id_of(&accepted(answer, message.now, wires)?)?;
                    return Ok(Outcome::delivered_as(found.receipt()));
                }
            }
        }
        if message.tries > 0
            && let Some(found) = self.find(bot, root.as_ref(), message, wires).await?
        {
            return Ok(Outcome::delivered_as(found));
        }
        let mut post = said;
        post["channel_id"] = bot.channel.as_str().into();
        if let Some(found) = &root {
            let mut reply = post.clone();
            reply["root_id"] = found.id.into();
            let answer = self.ask(bot, Method::POST, "api/v4/posts", reply, wires).await?;
            // 400 and 404 where the thread's first post was deleted.
            if !matches!(answer.status, 400 | 404) {
                id_of(&accepted(answer, message.now, wires)?)?;
                return Ok(Outcome::delivered_as(found.receipt()));
            }
        }
        let answer = self.ask(bot, Method::POST, "api/v4/posts", post, wires).await?;
        let id = id_of(&accepted(answer, message.now, wires)?)?;
        Ok(Outcome::delivered_as(Root { kind: action.kind.name(), id: &id }.receipt()))
    }

    /// The receipt of the post with this key, where it is there already. Where we may not look, there is none.
    async fn find(
        &self,
        bot: &Bot,
        root: Option<&Root<'_>>,
        message: Message<'_>,
        wires: &Wires,
    ) -> Result<Option<String>, Outcome> {
        let mut url = below(&bot.server, &format!("api/v4/channels/{}/posts", bot.channel))?;
        let since = message.action.created_at.as_millisecond() - 60_000;
        url.query_pairs_mut().append_pair("since", &since.to_string());
        let call = Call::get(url).secret("Authorization", "Bearer ", &bot.token, wires)?.tls(&self.tls);
        let answer = call.ask(wires).await?;
        if answer.status == 403 {
            return Ok(None);
        }
        let answer = json_of(&accepted(answer, message.now, wires)?)?;
        let posts = answer["posts"].as_object();
        let key = message.action.key.as_str();
        let there = posts.and_then(|posts| posts.values().find(|post| post["props"]["houston_key"] == key));
        let first = |id| Root { kind: message.action.kind.name(), id }.receipt();
        Ok(there.and_then(|there| root.map(Root::receipt).or_else(|| there["id"].as_str().map(first))))
    }

    async fn ask(
        &self,
        bot: &Bot,
        method: Method,
        path: &str,
        body: Value,
        wires: &Wires,
    ) -> Result<Response, Outcome> {
        Call::get(below(&bot.server, path)?)
            .secret("Authorization", "Bearer ", &bot.token, wires)?
            .with_json(method, body, wires)
            .tls(&self.tls)
            .ask(wires)
            .await
    }
}

impl Channel for Mattermost {
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

/// The message in Mattermost's Markdown.
fn text(message: Message<'_>) -> String {
    let letter = Letter::of(message.action, message.links);
    let write = |letter: &Letter| {
        format!("{}\n{}", letter.write(Medium::Markdown).trim_end(), Medium::Markdown.text(&letter.mark()))
    };
    write(&letter.fitted(|letter| write(letter).len() <= LONGEST))
}

/// Letters and digits, as all of Mattermost's IDs are made of.
fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The ID of the post that was answered.
fn id_of(answer: &Response) -> Result<String, Outcome> {
    match json_of(answer)?["id"].as_str() {
        Some(id) if is_id(id) => Ok(id.to_owned()),
        _ => Err(Outcome::retry("its answer is no post of Mattermost's")),
    }
}

#[cfg(test)]
mod tests;
