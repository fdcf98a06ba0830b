//! A TCP connection and a short dialogue over it, line by line: a banner, a greeting, STARTTLS.

use std::time::Duration;

use regex::Regex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use url::Host;

use super::budget::Budget;
use super::dial::Target;
use super::guard::Reach;
use super::http::{Client, Failure, IpVersion, Reason, TlsOptions};
use super::progress::{Progress, Stage};
use super::tls::{Verify, borrowed};
use crate::model::units::{show_duration, show_size};

/// The most that is read in one conversation.
const RECEIVED: usize = 64 * 1024;
/// How long text without a line end must stand there to be taken for a prompt.
const PROMPT: Duration = Duration::from_millis(200);

/// One turn of a dialogue; its parts happen in this order.
#[derive(Debug, Clone, Default)]
pub struct Turn {
    /// Waits for a line that matches.
    pub expect: Option<Regex>,
    /// Waits until these bytes have come, wherever among those that were not read yet.
    pub expect_bytes: Option<Vec<u8>>,
    /// Sends this and a line end; `$1`, `${name}` are what the last `expect` captured, `$$` is a dollar.
    pub send: Option<String>,
    /// Sends these bytes as they are.
    pub send_bytes: Option<Vec<u8>>,
    /// Goes on over TLS.
    pub starttls: bool,
}

/// Where to, and what is said.
#[derive(Debug, Clone)]
pub struct Conversation {
    pub host: Host<String>,
    pub port: u16,
    pub ip: Option<IpVersion>,
    /// TLS from the start.
    pub tls: bool,
    /// For TLS from the start and for STARTTLS.
    pub tls_options: TlsOptions,
    pub dialogue: Vec<Turn>,
    pub budget: Budget,
    pub deadline: Instant,
}

/// How a conversation went.
#[derive(Debug, Clone)]
pub struct Conversed {
    /// What went wrong, if anything did.
    pub failure: Option<Failure>,
    pub connected: bool,
    pub connect: Option<Duration>,
    pub total: Duration,
    /// What the other side said, at most 64 KiB; from outside.
    pub received: Vec<u8>,
}

/// A stream of either sort.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Wire for S {}

/// What was said and what of it is still to be looked at.
struct Heard {
    all: Vec<u8>,
    /// Up to where lines have been matched.
    read: usize,
}

impl Conversation {
    /// Connects and holds the dialogue, within the deadline.
    pub async fn hold(&self, client: &Client) -> Conversed {
        let mut progress = Progress::new();
        let mut heard = Heard { all: Vec::new(), read: 0 };
        let talk = tokio::time::timeout_at(self.deadline, self.talk(client, &mut progress, &mut heard));
        let failure = match talk.await {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure),
            Err(_) => Some(self.late(&mut progress, &heard)),
        };
        Conversed {
            failure,
            connected: progress.timings.connect.is_some(),
            connect: progress.timings.connect,
            total: progress.total(),
            received: heard.all,
        }
    }

    async fn talk(&self, client: &Client, progress: &mut Progress, heard: &mut Heard) -> Result<(), Failure> {
        let target = Target {
            host: borrowed(&self.host),
            port: self.port,
            ip: self.ip,
            budget: self.budget,
            reach: Reach::Anywhere,
        };
        let connected = client.dialer().connect(&target, progress).await?;
        let _turn = connected.turn;
        let mut plain = Some(connected.stream);
        let mut wire: Box<dyn Wire> = Box::new(tokio::io::empty());
        if self.tls {
            wire = self.secure(client, &mut plain, progress).await?;
        }
        let mut captured: Option<(&Regex, String)> = None;
        for turn in &self.dialogue {
            let stream: &mut dyn Wire = match &mut plain {
                Some(stream) => stream,
                None => &mut *wire,
            };
            if let Some(expect) = &turn.expect {
                progress.enter(Stage::FirstByte);
                let line = heard.line(expect, stream, progress).await?;
                captured = Some((expect, line));
            }
            if let Some(bytes) = &turn.expect_bytes {
                progress.enter(Stage::FirstByte);
                heard.bytes(bytes, stream, progress).await?;
            }
            if let Some(send) = &turn.send {
                progress.enter(Stage::FirstByte);
                let mut text = filled(send, captured.as_ref());
                if !text.ends_with('\n') {
                    text.push_str("\r\n");
                }
                say(stream, text.as_bytes()).await.map_err(|error| broken(&error, progress))?;
            }
            if let Some(bytes) = &turn.send_bytes {
                progress.enter(Stage::FirstByte);
                say(stream, bytes).await.map_err(|error| broken(&error, progress))?;
            }
            if turn.starttls {
                if plain.is_none() {
                    return Err(progress.fail(Reason::Ours, "starttls on a connection that speaks TLS already"));
                }
                // Whatever was sent in the clear ahead of the handshake must not be taken for part of it.
                heard.read = heard.all.len();
                wire = self.secure(client, &mut plain, progress).await?;
            }
        }
        Ok(())
    }

    async fn secure(
        &self,
        client: &Client,
        plain: &mut Option<TcpStream>,
        progress: &mut Progress,
    ) -> Result<Box<dyn Wire>, Failure> {
        progress.enter(Stage::Tls);
        let Some(stream) = plain.take() else {
            return Err(progress.fail(Reason::Ours, "no connection to speak TLS over"));
        };
        let host = self.host.to_string();
        let (stream, _) = client.tls().handshake(stream, &host, &self.tls_options, &[], Verify::Require).await;
        match stream {
            Ok(stream) => Ok(Box::new(stream)),
            Err((reason, what)) => Err(progress.fail(reason, what)),
        }
    }

    fn late(&self, progress: &mut Progress, heard: &Heard) -> Failure {
        let mut failure = progress.timed_out(self.deadline);
        if progress.stage() == Stage::FirstByte && failure.reason == Reason::Timeout {
            let waited = show_duration(progress.since().elapsed());
            failure.what = match heard.all.len() {
                0 => format!("no byte in {waited}"),
                _ => format!("nothing as expected in {waited}"),
            };
        }
        failure
    }
}

async fn say(stream: &mut dyn Wire, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

impl Heard {
    /// Up to and with these bytes; those before them are passed over.
    async fn bytes(&mut self, expect: &[u8], stream: &mut dyn Wire, progress: &mut Progress) -> Result<(), Failure> {
        loop {
            let unread = self.all.get(self.read..).unwrap_or_default();
            if let Some(at) = memchr::memmem::find(unread, expect) {
                self.read += at + expect.len();
                return Ok(());
            }
            if self.all.len() >= RECEIVED {
                let what = format!("no bytes as expected in the first {}", show_size(RECEIVED as u64));
                return Err(progress.fail(Reason::Ours, what));
            }
            let mut piece = vec![0; (RECEIVED - self.all.len()).min(4_096)];
            match stream.read(&mut piece).await.map_err(|error| broken(&error, progress))? {
                0 => return Err(progress.fail(Reason::Service, "connection closed before bytes as expected came")),
                came => self.all.extend_from_slice(piece.get(..came).unwrap_or_default()),
            }
        }
    }

    /// The next line that matches; those before it are passed over.
    async fn line(
        &mut self,
        expect: &Regex,
        stream: &mut dyn Wire,
        progress: &mut Progress,
    ) -> Result<String, Failure> {
        loop {
            while let Some(line) = self.next_line() {
                if expect.is_match(&line) {
                    return Ok(line);
                }
            }
            if self.all.len() >= RECEIVED {
                let what = format!("no line as expected in the first {}", show_size(RECEIVED as u64));
                return Err(progress.fail(Reason::Ours, what));
            }
            let mut piece = vec![0; (RECEIVED - self.all.len()).min(4_096)];
            let came = match tokio::time::timeout(PROMPT, stream.read(&mut piece)).await {
                Ok(came) => Some(came.map_err(|error| broken(&error, progress))?),
                Err(_) => None,
            };
            let Some(came @ 1..) = came else {
                // A prompt has no line end: what stands there without one, and stays so, may match as well.
                let unread = String::from_utf8_lossy(self.all.get(self.read..).unwrap_or_default()).into_owned();
                if !unread.is_empty() && expect.is_match(&unread) {
                    self.read = self.all.len();
                    return Ok(unread);
                }
                if came.is_none() {
                    continue;
                }
                let what = match self.all.len() {
                    0 => "connection closed before a byte came",
                    _ => "connection closed before a line as expected came",
                };
                return Err(progress.fail(Reason::Service, what));
            };
            self.all.extend_from_slice(piece.get(..came).unwrap_or_default());
        }
    }

    fn next_line(&mut self) -> Option<String> {
        let unread = self.all.get(self.read..)?;
        let end = unread.iter().position(|byte| *byte == b'\n')?;
        let line = unread.get(..end).unwrap_or_default();
        self.read += end + 1;
        Some(String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned())
    }
}

/// What is sent, with what was captured before put in.
pub(super) fn filled(send: &str, captured: Option<&(&Regex, String)>) -> String {
    let mut text = String::new();
    match captured.and_then(|(regex, line)| regex.captures(line)) {
        Some(captures) => captures.expand(send, &mut text),
        None => text.push_str(send),
    }
    text
}

fn broken(error: &std::io::Error, progress: &mut Progress) -> Failure {
    let what = match error.kind() {
        std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => "connection reset".to_owned(),
        _ => error.to_string(),
    };
    progress.fail(Reason::Service, what)
}
