//! IRC: one short visit, in which lines are said to a channel and the server is heard to have taken them.
//!
//! By RFC 2812, with SASL PLAIN as IRCv3 has it (<https://ircv3.net/specs/extensions/sasl-3.1>). A server answers in the
//! order in which it is asked: once it has answered our `PING`, it has dealt with what was said before.

use std::time::Duration;

use base64::Engine as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;
use url::Host;

use super::budget::Budget;
use super::dial::Target;
use super::guard::Reach;
use super::http::{Client, Failure, Reason, TlsOptions};
use super::progress::{Progress, Stage};
use super::tcp::Wire;
use super::tls::{Verify, borrowed};
use crate::model::delivery::Outcome;
use crate::model::encode;
use crate::model::secret::Secret;

/// The most that is read in one visit, in bytes: a long message of the day and the names of a large channel.
const HEARD: usize = 512 * 1024;
/// The most of what a server says that is shown, in characters.
const SHOWN: usize = 200;
/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);
/// So often another name is tried where ours is taken.
const NAMES: usize = 3;
/// The longest piece of SASL that needs no second one, in bytes of base64.
const SASL_PIECE: usize = 400;

/// How we say who we are.
#[derive(Debug, Clone)]
pub enum Login {
    /// The server's password.
    Password(Secret),
    /// An account's, by SASL PLAIN.
    Account { user: String, password: Secret },
}

/// Where to, and what is said.
#[derive(Debug, Clone)]
pub struct Visit {
    pub host: Host<String>,
    pub port: u16,
    /// Without, nothing is encrypted.
    pub tls: Option<TlsOptions>,
    /// Names of people, channels and accounts hold no space, no line break and no control.
    pub nick: String,
    pub login: Option<Login>,
    pub channel: String,
    pub channel_key: Option<Secret>,
    /// Each at most 400 bytes, without a line break.
    pub lines: Vec<String>,
    pub deadline: Instant,
}

/// A message of the server's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    command: String,
    parameters: Vec<String>,
}

impl Said {
    /// `@tags :prefix COMMAND a b :the rest`
    fn read(line: &str) -> Option<Self> {
        let mut rest = line.trim_end_matches(['\r', '\n']);
        for mark in ['@', ':'] {
            if rest.starts_with(mark) {
                rest = rest.split_once(' ')?.1.trim_start_matches(' ');
            }
        }
        let (head, last) = match rest.split_once(" :") {
            Some((head, last)) => (head, Some(last)),
            None => (rest, None),
        };
        let mut words = head.split(' ').filter(|word| !word.is_empty()).map(str::to_owned);
        let command = words.next()?.to_ascii_uppercase();
        let parameters = words.chain(last.map(str::to_owned)).collect();
        Some(Said { command, parameters })
    }

    fn last(&self) -> &str {
        self.parameters.last().map_or("", String::as_str)
    }

    /// What it says, to be shown.
    fn shown(&self) -> String {
        let text: String = self.last().chars().take(SHOWN).collect();
        format!("the server says {}: {}", encode::terminal(&self.command), encode::terminal(&text))
    }
}

/// A connection with what was read and not yet looked at.
struct Session {
    wire: Box<dyn Wire>,
    unread: Vec<u8>,
    heard: usize,
}

impl Visit {
    /// Connects, registers, joins, says the lines, and waits until the server has taken them.
    ///
    /// # Errors
    /// Whether it is to be tried again, or would be refused again. After an error nobody may know whether the lines
    /// arrived.
    pub async fn hold(&self, client: &Client) -> Result<(), Outcome> {
        let mut progress = Progress::new();
        match tokio::time::timeout_at(self.deadline, self.talk(client, &mut progress)).await {
            Ok(result) => result,
            Err(_) => Err(failed(progress.timed_out(self.deadline))),
        }
    }

    async fn talk(&self, client: &Client, progress: &mut Progress) -> Result<(), Outcome> {
        let host = borrowed(&self.host);
        let target = Target { host, port: self.port, ip: None, budget: Budget::System, reach: Reach::Anywhere };
        let connected = client.dialer().connect(&target, progress).await.map_err(failed)?;
        let _turn = connected.turn;
        let wire: Box<dyn Wire> = match &self.tls {
            Some(tls) => {
                progress.enter(Stage::Tls);
                let host = self.host.to_string();
                let (stream, _) = client.tls().handshake(connected.stream, &host, tls, &[], Verify::Require).await;
                Box::new(stream.map_err(|(reason, what)| failed(progress.fail(reason, what)))?)
            }
            None => Box::new(connected.stream),
        };
        progress.enter(Stage::FirstByte);
        let mut session = Session { wire, unread: Vec::new(), heard: 0 };
        self.register(&mut session).await?;
        self.join(&mut session).await?;
        self.speak(&mut session).await?;
        // The lines are there: however the goodbye goes, it changes nothing.
        let _ = tokio::time::timeout(GOODBYE, session.leave()).await;
        Ok(())
    }

    async fn register(&self, session: &mut Session) -> Result<(), Outcome> {
        match &self.login {
            Some(Login::Account { .. }) => session.say("CAP REQ :sasl").await?,
            Some(Login::Password(password)) => session.say(&format!("PASS :{}", password.expose())).await?,
            None => {}
        }
        let mut nick = self.nick.clone();
        session.say(&format!("NICK {nick}")).await?;
        session.say(&format!("USER {} 0 * :Houston", self.nick)).await?;
        let mut names = 1;
        loop {
            let said = session.hear().await?;
            match said.command.as_str() {
                "001" => return Ok(()),
                "433" | "436" if names < NAMES => {
                    names += 1;
                    nick.push('_');
                    session.say(&format!("NICK {nick}")).await?;
                }
                "433" | "436" | "437" => return Err(Outcome::retry(said.shown())),
                "CAP" if said.parameters.get(1).is_some_and(|word| word == "ACK") => {
                    session.say("AUTHENTICATE PLAIN").await?;
                }
                "CAP" if said.parameters.get(1).is_some_and(|word| word == "NAK") => {
                    return Err(Outcome::rejected("the server knows no SASL"));
                }
                "AUTHENTICATE" => session.say(&self.sasl()?).await?,
                "903" => session.say("CAP END").await?,
                "410" | "421" | "431" | "432" | "464" | "465" | "902" | "904" | "905" | "906" | "908" => {
                    return Err(Outcome::rejected(said.shown()));
                }
                _ => {}
            }
        }
    }

    /// `user NUL user NUL password` (RFC 4616) in base64.
    fn sasl(&self) -> Result<String, Outcome> {
        let Some(Login::Account { user, password }) = &self.login else {
            return Err(Outcome::retry("the server asks for SASL that was not offered"));
        };
        let plain = format!("{user}\0{user}\0{}", password.expose());
        let coded = base64::engine::general_purpose::STANDARD.encode(plain);
        if coded.len() >= SASL_PIECE {
            return Err(Outcome::rejected("the account's name and password are too long for SASL"));
        }
        Ok(format!("AUTHENTICATE {coded}"))
    }

    async fn join(&self, session: &mut Session) -> Result<(), Outcome> {
        let key = self.channel_key.as_ref().map(|key| format!(" {}", key.expose())).unwrap_or_default();
        session.say(&format!("JOIN {}{key}", self.channel)).await?;
        loop {
            let said = session.hear().await?;
            match said.command.as_str() {
                // The end of the names in the channel.
                "366" => return Ok(()),
                "437" => return Err(Outcome::retry(said.shown())),
                "403" | "405" | "407" | "461" | "470" | "471" | "473" | "474" | "475" | "476" | "477" | "489" => {
                    return Err(Outcome::rejected(said.shown()));
                }
                _ => {}
            }
        }
    }

    async fn speak(&self, session: &mut Session) -> Result<(), Outcome> {
        for line in &self.lines {
            session.say(&format!("PRIVMSG {} :{line}", self.channel)).await?;
        }
        let token = "houston-was-heard";
        session.say(&format!("PING :{token}")).await?;
        loop {
            let said = session.hear().await?;
            match said.command.as_str() {
                "PONG" if said.last() == token => return Ok(()),
                "401" | "403" | "404" | "407" | "411" | "412" | "413" | "414" | "417" | "442" => {
                    return Err(Outcome::rejected(said.shown()));
                }
                _ => {}
            }
        }
    }
}

impl Session {
    /// One message. A line break in it, which only a secret could hold, ends nothing: it is refused.
    async fn say(&mut self, line: &str) -> Result<(), Outcome> {
        if line.contains(['\r', '\n', '\0']) {
            return Err(Outcome::rejected("a line break can't be sent within a line of IRC"));
        }
        let sent = async {
            self.wire.write_all(format!("{line}\r\n").as_bytes()).await?;
            self.wire.flush().await
        };
        sent.await.map_err(|error| Outcome::retry(format!("the connection broke: {}", error.kind())))
    }

    /// The next message that isn't a `PING`, which is answered.
    async fn hear(&mut self) -> Result<Said, Outcome> {
        loop {
            let Some(said) = Said::read(&self.line().await?) else { continue };
            match said.command.as_str() {
                "PING" => {
                    let token: String = said.last().chars().filter(|c| !c.is_control()).collect();
                    self.say(&format!("PONG :{token}")).await?;
                }
                "ERROR" if said.last().to_ascii_lowercase().contains("password") => {
                    return Err(Outcome::rejected(said.shown()));
                }
                "ERROR" => return Err(Outcome::retry(said.shown())),
                _ => return Ok(said),
            }
        }
    }

    async fn line(&mut self) -> Result<String, Outcome> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            let mut buffer = [0; 4_096];
            let read = self.wire.read(&mut buffer).await;
            match read.map_err(|error| Outcome::retry(format!("the connection broke: {}", error.kind())))? {
                0 => return Err(Outcome::retry("the server closed the connection")),
                count => {
                    self.heard += count;
                    if self.heard > HEARD {
                        return Err(Outcome::retry("the server talks without end"));
                    }
                    self.unread.extend_from_slice(buffer.get(..count).unwrap_or_default());
                }
            }
        }
    }

    /// Says goodbye, and waits for the server to hang up.
    async fn leave(&mut self) -> Result<(), Outcome> {
        self.say("QUIT :said").await?;
        loop {
            self.line().await?;
        }
    }
}

fn failed(failure: Failure) -> Outcome {
    match failure.reason {
        Reason::Guard => Outcome::rejected(failure.what),
        _ => Outcome::retry(format!("{} ({})", failure.what, failure.phase.name())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read() {
        let said = |command: &str, parameters: &[&str]| {
            Some(Said {
                command: command.to_owned(),
                parameters: parameters.iter().map(|parameter| (*parameter).to_owned()).collect(),
            })
        };
        for (line, expected) in [
            ("PING :irc.example.com\r\n", said("PING", &["irc.example.com"])),
            (":irc.example.com 001 houston :Welcome to IRC\r\n", said("001", &["houston", "Welcome to IRC"])),
            ("@time=2026 :a!b@c PRIVMSG #x :hello :there", said("PRIVMSG", &["#x", "hello :there"])),
            (":irc 366 houston #ops :End of NAMES list", said("366", &["houston", "#ops", "End of NAMES list"])),
            ("authenticate +", said("AUTHENTICATE", &["+"])),
            ("", None),
            (":only-a-prefix", None),
        ] {
            assert_eq!(Said::read(line), expected, "{line}");
        }
    }
}
