//! The `tcp` kind: a connection, and a short dialogue over it where one is declared.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, de};

use super::address::Address;
use super::failure::{self, measure};
use super::pattern::Pattern;
use super::tls_options::{self, Ip, OptionalTls, Tls};
use crate::evidence::slots::without_slots;
use crate::evidence::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::encode::shell_word;
use crate::model::look::Look;
use crate::model::measure::Type;
use crate::model::observation::{Observation, Unknown};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::model::value::Measures;
use crate::net::budget::Budget;
use crate::net::tcp::{Conversation, Turn};
use crate::yaml::Node;

/// The most turns of a dialogue.
const TURNS: usize = 32;
/// The most of what was received that is kept as a measure, in bytes.
const KEPT: usize = 4_096;

/// The kind's entry in the registry.
pub static KIND: Kind = Kind {
    name: "tcp",
    look: Look::External,
    summary: "a TCP connection, and what is said over it",
    docs: "\
Connects, over TLS where `tls` is given, and holds the dialogue in order. A turn waits for a line that matches `expect`
(a regular expression; lines before it are passed over, a prompt without a line end counts once nothing follows it),
then sends `send` with a line end, then goes on over TLS where it says `starttls: true`. What the last `expect` captured
can be sent back: `$1`, `${name}`; `$$` is a dollar sign. Protocols without lines are spoken in bytes, written as pairs of
hexadecimal digits: `expect_bytes` waits until they have come, wherever, and `send_bytes` sends them as they are. The
example has dialogues for SMTP, IMAP, FTP and LDAP.

Bad: the name doesn't resolve, the service refuses, resets, fails TLS, closes before an expected line came, or no such
line comes within the time of the check.
Unknown: our resolver doesn't answer, a guard of ours forbids the address, the target's budget left no time, 64 KiB came
without a line as expected.

Parameters can't stand here.",
    keys: &[
        Key { name: "address", takes: "host:port", default: None, meaning: "where to connect to" },
        Key {
            name: "tls",
            takes: tls_options::OPTIONAL_TAKES,
            default: Some("no TLS"),
            meaning: "speak TLS from the start (with a dialogue that says starttls: from there)",
        },
        Key {
            name: "dialogue",
            takes: "list of { expect: regular expression, expect_bytes: hex, send: text, send_bytes: hex, starttls: true }",
            default: Some("none"),
            meaning: "what is expected and said, turn by turn",
        },
        Key { name: "ip", takes: "v4 or v6", default: Some("either"), meaning: "which addresses of the host to use" },
    ],
    measures: &[
        measure("connected", Type::Bool, "true or false", "a connection came about"),
        measure("duration_seconds", Type::Number, "seconds", "from the first step to the end of the dialogue"),
        measure("connect_seconds", Type::Number, "seconds", "connecting alone"),
        measure("received", Type::Text, "text", "what the other side said, its first 4 KiB"),
    ],
    default_expect: &["connected"],
    headline: &["connected", "duration_seconds"],
    sees: Sees::Now,
    attempts: 2,
    example: "external/tcp.yaml",
    example_text: include_str!("../../../checks.d/external/tcp.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    address: Address,
    #[serde(default)]
    tls: OptionalTls,
    #[serde(default)]
    dialogue: Vec<DialogueTurn>,
    #[serde(default)]
    ip: Option<Ip>,
}

#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct DialogueTurn {
    expect: Option<Pattern>,
    expect_bytes: Option<Bytes>,
    send: Option<String>,
    send_bytes: Option<Bytes>,
    starttls: bool,
}

/// At least one byte, written as pairs of hexadecimal digits with blanks or colons between them or none.
#[derive(Debug)]
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b' ' | b':')).collect();
        let pairs = digits.chunks(2).map(|pair| match pair {
            [high, low] => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
            }
            _ => None,
        });
        match pairs.collect::<Option<Vec<u8>>>() {
            Some(bytes) if !bytes.is_empty() => Ok(Bytes(bytes)),
            _ => Err(de::Error::custom("bytes are pairs of hexadecimal digits, such as \"0a0100\"")),
        }
    }
}

impl schemars::JsonSchema for Bytes {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HexBytes".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^([ :]*[0-9a-fA-F]{2})+[ :]*$" })
    }
}

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    let at = |key: &str| node.get(key).unwrap_or(node).span.clone();
    if config.dialogue.len() > TURNS {
        return Err(Diagnostic::error(at("dialogue"), format!("a dialogue has at most {TURNS} turns")));
    }
    for turn in &config.dialogue {
        if turn.expect.is_some() && turn.expect_bytes.is_some() || turn.send.is_some() && turn.send_bytes.is_some() {
            let message = "a turn of a dialogue expects and sends lines or bytes, not both";
            return Err(Diagnostic::error(at("dialogue"), message));
        }
        let speaks = turn.send.is_some() || turn.send_bytes.is_some() || turn.starttls;
        if turn.expect.is_none() && turn.expect_bytes.is_none() && !speaks {
            let message = "a turn of a dialogue says expect, send or starttls";
            return Err(Diagnostic::error(at("dialogue"), message));
        }
        if let Some(send) = &turn.send {
            without_slots(send).map_err(|error| Diagnostic::error(at("dialogue"), error.to_string()))?;
        }
    }
    if config.dialogue.iter().filter(|turn| turn.starttls).count() > 1 {
        return Err(Diagnostic::error(at("dialogue"), "starttls is said once"));
    }
    Ok(Arc::new(Tcp { config }))
}

#[derive(Debug)]
struct Tcp {
    config: Config,
}

impl Tcp {
    fn conversation(&self, ask: &Ask) -> Result<Conversation, Unknown> {
        let Config { address, tls, dialogue, ip } = &self.config;
        let starttls = dialogue.iter().any(|turn| turn.starttls);
        Ok(Conversation {
            host: address.host.clone(),
            port: address.port,
            ip: ip.map(Ip::version),
            tls: tls.0.is_some() && !starttls,
            tls_options: tls.0.as_ref().map(|tls| tls.options(&ask.tools)).transpose()?.unwrap_or_default(),
            dialogue: dialogue
                .iter()
                .map(|turn| Turn {
                    expect: turn.expect.as_ref().map(|pattern| pattern.0.clone()),
                    expect_bytes: turn.expect_bytes.as_ref().map(|bytes| bytes.0.clone()),
                    send: turn.send.clone(),
                    send_bytes: turn.send_bytes.as_ref().map(|bytes| bytes.0.clone()),
                    starttls: turn.starttls,
                })
                .collect(),
            budget: Budget::Service,
            deadline: ask.deadline,
        })
    }

    fn reproduce(&self) -> String {
        let Config { address, tls, dialogue, .. } = &self.config;
        let host = address.host.to_string();
        let starttls = dialogue.iter().any(|turn| turn.starttls);
        match &tls.0 {
            Some(tls) if !starttls => tls.openssl(&address.to_string(), &host, None),
            _ => {
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                let command = if dialogue.is_empty() { "nc -vz" } else { "nc -v" };
                format!("{command} {} {}", shell_word(bare), address.port)
            }
        }
    }
}

impl Probe for Tcp {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(async move {
            let conversation = match self.conversation(ask) {
                Ok(conversation) => conversation,
                Err(unknown) => return Observation::blind(unknown.kind, unknown.why),
            };
            let conversed = conversation.hold(&ask.tools.http).await;
            let mut measures = Measures::new();
            measures.set("connected", conversed.connected);
            if let Some(connect) = conversed.connect {
                measures.set("connect_seconds", connect.as_secs_f64());
            }
            let kept = conversed.received.get(..KEPT).unwrap_or(&conversed.received);
            let received = ask.tools.redactor.strike(&String::from_utf8_lossy(kept));
            measures.set("received", received.clone());
            let observation = match &conversed.failure {
                Some(failure) => failure::observation(failure, measures),
                None => {
                    measures.set("duration_seconds", conversed.total.as_secs_f64());
                    Observation::answered(measures).took(conversed.total)
                }
            };
            observation.excerpt(received).reproduce(self.reproduce())
        })
    }

    fn system(&self) -> String {
        self.config.address.to_string()
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.config.tls.0.iter().flat_map(Tls::secrets).collect()
    }
}

#[cfg(test)]
mod tests;
