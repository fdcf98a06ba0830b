//! The `websocket` kind: a handshake, and what is said over the socket.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::failure::{self, measure};
use super::pattern::Pattern;
use super::tls_options::{self, Ip, Tls};
use crate::evidence::endpoint::{Endpoint, HeaderText};
use crate::evidence::slots::without_slots;
use crate::evidence::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::encode::shell_word;
use crate::model::look::Look;
use crate::model::measure::Type;
use crate::model::observation::Observation;
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::model::value::Measures;
use crate::net::websocket::{Held, Session, Turn};
use crate::yaml::{Node, Spanned};

#[cfg(test)]
mod tests;

/// The most turns of a dialogue.
const TURNS: usize = 32;
/// The most of what was received that is kept as a measure, in bytes.
const KEPT: usize = 4_096;

/// The kind's entry in the registry.
pub static KIND: Kind = Kind {
    name: "websocket",
    look: Look::External,
    summary: "a WebSocket handshake, and what is said over the socket",
    docs: "\
Connects, over TLS for wss:, shakes hands (RFC 6455) and holds the dialogue in order. A turn waits for a message that
matches `expect` (a regular expression; messages before it are passed over), then sends `send` as a text. What the last
`expect` captured can be sent back: `$1`, `${name}`; `$$` is a dollar sign. To send first and then wait, write two turns.
Redirects aren't followed.

Bad: the name doesn't resolve, the service refuses, resets, fails TLS, answers something that is no WebSocket, closes
before an expected message came, or no such message comes within the time of the check; and, unless expected otherwise,
any answer to the handshake but 101.
Unknown: our resolver doesn't answer, a guard of ours forbids the address, the target's budget left no time, a message is
longer than 64 KiB, that much or 1,000 messages came without one as expected.

Parameters can't stand here.",
    keys: &[
        Key { name: "url", takes: "ws: or wss: URL", default: None, meaning: "where to connect to" },
        Key {
            name: "dialogue",
            takes: "list of { expect: regular expression, send: text }",
            default: Some("none"),
            meaning: "what is expected and said, turn by turn",
        },
        Key { name: "subprotocols", takes: "list of names", default: Some("none"), meaning: "what is offered" },
        Key {
            name: "headers",
            takes: "map of text or secret",
            default: Some("none"),
            meaning: "sent with the handshake, such as `origin`; secret ones as { env: NAME } or { file: path }",
        },
        Key { name: "bearer_token", takes: "secret", default: Some("none"), meaning: "sent as `Authorization: Bearer …`" },
        Key {
            name: "tls",
            takes: tls_options::TAKES,
            default: Some("the system's roots, verified"),
            meaning: "whom to trust, and what a server is shown that asks for a certificate",
        },
        Key { name: "ip", takes: "v4 or v6", default: Some("either"), meaning: "which addresses of the host to use" },
    ],
    measures: &[
        measure("connected", Type::Bool, "true or false", "the handshake was agreed to"),
        measure("status", Type::Number, "HTTP status", "the handshake's answer; 101 where it was agreed to"),
        measure("duration_seconds", Type::Number, "seconds", "from the first step to the end of the dialogue"),
        measure("connect_seconds", Type::Number, "seconds", "connecting alone"),
        measure("tls_seconds", Type::Number, "seconds", "the TLS handshake; absent for ws:"),
        measure("handshake_seconds", Type::Number, "seconds", "from asking for the WebSocket to the answer"),
        measure("subprotocol", Type::Text, "text", "what the service chose; absent where it chose none"),
        measure("messages", Type::Number, "count", "messages that came"),
        measure("received", Type::Text, "text", "what they said, a line a message, the first 4 KiB"),
    ],
    default_expect: &["connected"],
    headline: &["connected", "duration_seconds"],
    sees: Sees::Now,
    attempts: 2,
    example: "external/websocket.yaml",
    example_text: include_str!("../../../checks.d/external/websocket.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// `ws://…` or `wss://…`
    url: Spanned<String>,
    #[serde(default)]
    dialogue: Vec<DialogueTurn>,
    #[serde(default)]
    subprotocols: Vec<String>,
    #[serde(default)]
    headers: Option<Spanned<BTreeMap<String, HeaderText>>>,
    /// Sent as `Authorization: Bearer …`.
    #[serde(default)]
    bearer_token: Option<SecretRef>,
    #[serde(default)]
    tls: Tls,
    #[serde(default)]
    ip: Option<Ip>,
}

#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct DialogueTurn {
    expect: Option<Pattern>,
    send: Option<String>,
}

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    let at = |key: &str| node.get(key).unwrap_or(node).span.clone();
    let lower = config.url.value.to_ascii_lowercase();
    let Some(rest) = ["ws://", "wss://"].iter().find(|scheme| lower.starts_with(*scheme)) else {
        return Err(Diagnostic::error(config.url.at, "the URL must begin with ws:// or wss:// and name a host"));
    };
    // What holds for a URL and headers over HTTP holds here.
    let behind = config.url.value.get(rest.len()..).unwrap_or_default();
    let scheme = if *rest == "wss://" { "https" } else { "http" };
    let url = Spanned { at: config.url.at.clone(), value: format!("{scheme}://{behind}") };
    let headers = config.headers.unwrap_or_else(|| Spanned { at: node.span.clone(), value: BTreeMap::new() });
    if let Some(ours) = headers.value.keys().find(|name| is_ours(name)) {
        return Err(Diagnostic::error(headers.at, format!("`{ours}` is written by the handshake itself"))
            .hint("subprotocols go under `subprotocols`"));
    }
    let endpoint = Endpoint::new(&url, headers, config.bearer_token)?;
    let mut target = endpoint.url.clone();
    let set = target.set_scheme(if scheme == "https" { "wss" } else { "ws" });
    set.map_err(|()| Diagnostic::error(url.at.clone(), "not a URL of a WebSocket"))?;
    if config.dialogue.len() > TURNS {
        return Err(Diagnostic::error(at("dialogue"), format!("a dialogue has at most {TURNS} turns")));
    }
    for turn in &config.dialogue {
        if turn.expect.is_none() && turn.send.is_none() {
            return Err(Diagnostic::error(at("dialogue"), "a turn of a dialogue says expect or send"));
        }
        if let Some(send) = &turn.send {
            without_slots(send).map_err(|error| Diagnostic::error(at("dialogue"), error.to_string()))?;
        }
    }
    let token = |name: &String| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b',');
    if !config.subprotocols.iter().all(token) {
        return Err(Diagnostic::error(at("subprotocols"), "a subprotocol is a word without spaces and commas"));
    }
    let dialogue = config
        .dialogue
        .into_iter()
        .map(|turn| Turn { expect: turn.expect.map(|pattern| pattern.0), send: turn.send })
        .collect();
    let (subprotocols, tls, ip) = (config.subprotocols, config.tls, config.ip);
    Ok(Arc::new(Websocket { endpoint, url: target, dialogue, subprotocols, tls, ip }))
}

fn is_ours(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("sec-websocket-") || matches!(name.as_str(), "connection" | "upgrade" | "host")
}

#[derive(Debug)]
struct Websocket {
    /// The same place over HTTP, with the headers.
    endpoint: Endpoint,
    url: url::Url,
    dialogue: Vec<Turn>,
    subprotocols: Vec<String>,
    tls: Tls,
    ip: Option<Ip>,
}

impl Probe for Websocket {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(async move {
            let (headers, secret_headers) = match self.endpoint.headers(&ask.tools) {
                Ok(headers) => headers,
                Err(unknown) => return Observation::blind(unknown.kind, unknown.why),
            };
            let tls = match self.tls.options(&ask.tools) {
                Ok(tls) => tls,
                Err(unknown) => return Observation::blind(unknown.kind, unknown.why),
            };
            let session = Session {
                url: self.url.clone(),
                headers,
                secret_headers,
                subprotocols: self.subprotocols.clone(),
                dialogue: self.dialogue.clone(),
                tls,
                ip: self.ip.map(Ip::version),
                deadline: ask.deadline,
            };
            let held = session.hold(&ask.tools.http).await;
            told(&held, ask).reproduce(self.by_hand())
        })
    }

    fn system(&self) -> String {
        self.endpoint.system()
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.endpoint.secrets().into_iter().chain(self.tls.secrets()).collect()
    }
}

impl Websocket {
    /// The handshake alone, which any curl can show; its key is that of RFC 6455 §1.3.
    fn by_hand(&self) -> String {
        let mut line = format!("{} -i -N --http1.1 -m 5", self.endpoint.curl());
        line += &self.tls.curl();
        line += " -H 'connection: Upgrade' -H 'upgrade: websocket' -H 'sec-websocket-version: 13' \
                 -H 'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=='";
        if !self.subprotocols.is_empty() {
            let offered = format!("sec-websocket-protocol: {}", self.subprotocols.join(", "));
            line += &format!(" -H {}", shell_word(&offered));
        }
        format!("{line} {}", shell_word(self.endpoint.url.as_str()))
    }
}

fn told(held: &Held, ask: &Ask) -> Observation {
    let mut measures = Measures::new();
    measures.set("connected", held.status == Some(101)).set("messages", held.messages);
    if let Some(status) = held.status {
        measures.set("status", status);
    }
    for (name, time) in
        [("connect_seconds", held.connect), ("tls_seconds", held.tls), ("handshake_seconds", held.handshake)]
    {
        if let Some(time) = time {
            measures.set(name, time.as_secs_f64());
        }
    }
    if let Some(subprotocol) = &held.subprotocol {
        measures.set("subprotocol", subprotocol.chars().take(100).collect::<String>());
    }
    let kept = held.received.as_bytes().get(..KEPT).unwrap_or(held.received.as_bytes());
    let received = ask.tools.redactor.strike(&String::from_utf8_lossy(kept));
    measures.set("received", received.clone());
    let observation = match &held.failure {
        Some(failure) => failure::observation(failure, measures),
        None => {
            measures.set("duration_seconds", held.total.as_secs_f64());
            let answered = Observation::answered(measures).took(held.total);
            match held.status {
                Some(status) if status != 101 => answered.note(format!("answered {status} to the handshake")),
                _ => answered,
            }
        }
    };
    observation.excerpt(received)
}
