//! `irc`: lines to a channel of IRC.

use std::path::PathBuf;

use serde::Deserialize;
use tokio::time::Instant;
use url::Host;

use super::{Channel, ChannelKind};
use crate::model::delivery::{Message, Outcome};
use crate::model::encode;
use crate::model::letter::{Letter, Medium};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::net::http::TlsOptions;
use crate::net::irc::{Login, Visit};
use crate::net::outgoing::{Sending, TIMEOUT, Wires};
use crate::yaml::{self, Spanned};

pub static IRC: ChannelKind = ChannelKind {
    name: "irc",
    summary: "lines to a channel of IRC",
    docs: "Keys: `server` (a host's name), `channel` (`\"#incidents\"`), `port` (6697, without TLS 6667), `tls` (true), `ca` \
           (PEM file of roots to trust instead of the system's), `nick` (`houston`; where it is taken, `houston_`), \
           `password` (a secret: `{ env: NAME }` or `{ file: path }`; the server's, or, with `account`, that account's by \
           SASL PLAIN), `channel_key` (a secret). \
           Each message is a visit of its own: Houston joins, says at most 8 lines of at most 400 bytes, of which the \
           last has the ticket and the beginning of the key, waits until the server has taken them, and leaves. \
           What is longer is cut, and says so. A refused name, password or channel, and a channel that may not be spoken \
           in, is a refusal; a taken name, a closed connection and silence are tried again, where nobody knows whether it \
           arrived with the same key.",
    example: "{ server: irc.example.com, channel: \"#incidents\" }",
    read: |node| Ok(std::sync::Arc::new(read(node)?)),
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    server: Spanned<String>,
    channel: Spanned<String>,
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    tls: Option<bool>,
    #[serde(default)]
    ca: Option<PathBuf>,
    #[serde(default)]
    nick: Option<Spanned<String>>,
    #[serde(default)]
    account: Option<Spanned<String>>,
    #[serde(default)]
    password: Option<SecretRef>,
    #[serde(default)]
    channel_key: Option<SecretRef>,
}

/// A channel of IRC.
#[derive(Debug)]
pub struct Irc {
    host: Host<String>,
    port: u16,
    tls: Option<TlsOptions>,
    nick: String,
    account: Option<String>,
    password: Option<SecretRef>,
    channel: String,
    channel_key: Option<SecretRef>,
}

fn read(node: &yaml::Node) -> Result<Irc, Diagnostic> {
    let declared: Declared = node.read()?;
    let host = Host::parse(&declared.server.value)
        .map_err(|error| Diagnostic::error(declared.server.at.clone(), format!("not the name of a host: {error}")))?;
    let word = |text: &Spanned<String>, what: &str, most: usize| {
        let fits = (1..=most).contains(&text.value.len())
            && !text.value.starts_with(':')
            && !text.value.chars().any(|c| c.is_whitespace() || c == ',' || encode::is_unprintable(c));
        if fits { Ok(()) } else { Err(Diagnostic::error(text.at.clone(), format!("{what} is one word"))) }
    };
    word(&declared.channel, "a channel", 200)?;
    if !declared.channel.value.starts_with(['#', '&', '+', '!']) {
        return Err(Diagnostic::error(declared.channel.at, "a channel begins with `#`")
            .hint("write it between quotes: `\"#incidents\"`"));
    }
    for (name, what, most) in [(&declared.nick, "a nick", 30), (&declared.account, "an account", 100)] {
        if let Some(name) = name {
            word(name, what, most)?;
        }
    }
    if let (Some(account), None) = (&declared.account, &declared.password) {
        return Err(Diagnostic::error(account.at.clone(), "an account needs its password")
            .hint("add `password: { env: NAME }`"));
    }
    let encrypted = declared.tls.unwrap_or(true);
    Ok(Irc {
        host,
        port: declared.port.unwrap_or(if encrypted { 6697 } else { 6667 }),
        tls: encrypted.then(|| TlsOptions { ca: declared.ca, ..TlsOptions::default() }),
        nick: declared.nick.map_or_else(|| "houston".to_owned(), |nick| nick.value),
        account: declared.account.map(|account| account.value),
        password: declared.password,
        channel: declared.channel.value,
        channel_key: declared.channel_key,
    })
}

/// The most lines of one message: more at once is a flood to most servers.
const LINES: usize = 8;
/// The most bytes of a line: a message of IRC has 512, with the sender's name and address before it.
const LINE: usize = 400;

impl Irc {
    async fn visit(&self, message: Message<'_>, wires: &Wires) -> Result<Outcome, Outcome> {
        let secret = |from: &Option<SecretRef>| {
            from.as_ref().map(|from| wires.credentials.get(from).map_err(Outcome::retry)).transpose()
        };
        let login = secret(&self.password)?.map(|password| match &self.account {
            Some(user) => Login::Account { user: user.clone(), password },
            None => Login::Password(password),
        });
        let channel_key = secret(&self.channel_key)?;
        let letter = Letter::of(message.action, message.links).fitted(|letter| lines(letter).len() <= LINES);
        let visit = Visit {
            host: self.host.clone(),
            port: self.port,
            tls: self.tls.clone(),
            nick: self.nick.clone(),
            login,
            channel: self.channel.clone(),
            channel_key,
            lines: lines(&letter).iter().map(|line| wires.redactor.strike(line)).collect(),
            deadline: Instant::now() + TIMEOUT,
        };
        visit.hold(&wires.http).await?;
        Ok(Outcome::DELIVERED)
    }
}

impl Channel for Irc {
    fn send<'a>(&'a self, message: Message<'a>, wires: &'a Wires) -> Sending<'a> {
        Box::pin(async move { self.visit(message, wires).await.unwrap_or_else(|failed| failed) })
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.password.iter().chain(&self.channel_key).cloned().collect()
    }
}

/// The letter in lines that IRC takes.
fn lines(letter: &Letter) -> Vec<String> {
    let text = format!("{}{}", letter.write(Medium::Plain), Medium::Plain.text(&letter.mark()));
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let mut rest = line;
        while rest.len() > LINE {
            let (piece, left) = rest.split_at(rest.floor_char_boundary(LINE));
            lines.push(piece.to_owned());
            rest = left;
        }
        lines.push(rest.to_owned());
    }
    lines
}

#[cfg(test)]
mod tests;
