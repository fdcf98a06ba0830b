//! A WebSocket (RFC 6455) and a short dialogue over it, message by message.
//!
//! The frames are tokio-tungstenite's; the connection, its guard and its TLS are ours.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderName, HeaderValue};
use regex::Regex;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use url::Url;

use super::budget::Budget;
use super::dial::Target;
use super::guard::Reach;
use super::http::{Client, Failure, IpVersion, MARKER, Reason, TlsOptions, USER_AGENT_TEXT};
use super::progress::{Progress, Stage};
use super::tcp::{Wire, filled};
use super::tls::Verify;
use crate::model::encode;
use crate::model::observation::UnknownKind;
use crate::model::secret::Secret;
use crate::model::units::{show_duration, show_size};

/// The longest message, and the most that is read in one session, in bytes.
const RECEIVED: usize = 64 * 1024;
/// The most messages that are read in one session.
const MESSAGES: usize = 1_000;
/// Answers to pings that may wait to be sent, in bytes.
const UNSENT: usize = 256 * 1024;
/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_millis(250);

/// One turn of a dialogue; its parts happen in this order.
#[derive(Debug, Clone, Default)]
pub struct Turn {
    /// Waits for a message that matches.
    pub expect: Option<Regex>,
    /// Sends this as a text; `$1`, `${name}` are what the last `expect` captured, `$$` is a dollar.
    pub send: Option<String>,
}

/// Where to, and what is said.
#[derive(Debug, Clone)]
pub struct Session {
    /// With the scheme `ws` or `wss`.
    pub url: Url,
    pub headers: Vec<(String, String)>,
    /// Never shown.
    pub secret_headers: Vec<(String, Secret)>,
    /// What is offered as `Sec-WebSocket-Protocol`.
    pub subprotocols: Vec<String>,
    pub dialogue: Vec<Turn>,
    pub tls: TlsOptions,
    pub ip: Option<IpVersion>,
    pub deadline: Instant,
}

/// How a session went.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// What went wrong, if anything did. That the handshake was answered with another status is nothing of that sort.
    pub failure: Option<Failure>,
    /// The status that the handshake was answered with: 101 where it was agreed to.
    pub status: Option<u16>,
    /// What the server chose of the subprotocols; from outside.
    pub subprotocol: Option<String>,
    pub connect: Option<Duration>,
    pub tls: Option<Duration>,
    /// From the request to its answer.
    pub handshake: Option<Duration>,
    pub total: Duration,
    pub messages: usize,
    /// What the other side said, a line a message, at most 64 KiB; from outside.
    pub received: String,
}

impl Session {
    /// Connects, shakes hands and holds the dialogue, within the deadline.
    pub async fn hold(&self, client: &Client) -> Held {
        let mut progress = Progress::new();
        let mut held = Held::default();
        let talk = tokio::time::timeout_at(self.deadline, self.talk(client, &mut progress, &mut held));
        let failure = match talk.await {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure),
            Err(_) => Some(self.late(&mut progress, &held)),
        };
        held.failure = failure;
        (held.connect, held.tls) = (progress.timings.connect, progress.timings.tls);
        held.total = progress.total();
        held
    }

    async fn talk(&self, client: &Client, progress: &mut Progress, held: &mut Held) -> Result<(), Failure> {
        let request = self.request().map_err(|what| progress.fail(Reason::Guard, what))?;
        let Some(host) = self.url.host() else {
            return Err(progress.fail(Reason::Guard, "the URL names no host"));
        };
        let host_text = host.to_string();
        let port = self.url.port_or_known_default().unwrap_or(0);
        let target = Target { host, port, ip: self.ip, budget: Budget::Service, reach: Reach::Anywhere };
        let connected = client.dialer().connect(&target, progress).await?;
        let _turn = connected.turn;
        let wire: Box<dyn Wire> = if self.url.scheme() == "wss" {
            progress.enter(Stage::Tls);
            let alpn: &[&[u8]] = &[b"http/1.1"];
            let handshake = client.tls().handshake(connected.stream, &host_text, &self.tls, alpn, Verify::Require);
            let (stream, shown) = handshake.await;
            progress.certificate_expiry = shown.certificates.and_then(|certificates| certificates.expiry);
            let stream = stream.map_err(|(reason, what)| progress.fail(reason, what))?;
            progress.timings.tls = Some(progress.enter(Stage::FirstByte));
            Box::new(stream)
        } else {
            progress.enter(Stage::FirstByte);
            Box::new(connected.stream)
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(16 * 1024)
            .max_write_buffer_size(UNSENT)
            .write_buffer_size(16 * 1024)
            .max_message_size(Some(RECEIVED))
            .max_frame_size(Some(RECEIVED));
        let mut socket = match client_async_with_config(request, wire, Some(config)).await {
            Ok((socket, response)) => {
                held.status = Some(response.status().as_u16());
                let chosen = response.headers().get("sec-websocket-protocol");
                held.subprotocol = chosen.map(|chosen| String::from_utf8_lossy(chosen.as_bytes()).into_owned());
                socket
            }
            Err(Error::Http(response)) => {
                held.status = Some(response.status().as_u16());
                return Ok(());
            }
            Err(error) => return Err(broken(&error, "the handshake", progress)),
        };
        held.handshake = Some(progress.enter(Stage::FirstByte));
        self.dialogue(&mut socket, progress, held).await?;
        let _ = tokio::time::timeout(GOODBYE, socket.close(None)).await;
        Ok(())
    }

    fn request(&self) -> Result<Request, String> {
        let unfit = |what: &str| format!("{what} can't be sent");
        let mut request = self.url.as_str().into_client_request().map_err(|_| unfit("the URL"))?;
        let headers = request.headers_mut();
        headers.insert("user-agent", HeaderValue::from_static(USER_AGENT_TEXT));
        let plain = self.headers.iter().map(|(name, value)| (name, value.as_str(), false));
        let secret = self.secret_headers.iter().map(|(name, value)| (name, value.expose(), true));
        for (name, value, secret) in plain.chain(secret) {
            let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit("a header's name"))?;
            let mut value = HeaderValue::from_str(value).map_err(|_| unfit("a header's value"))?;
            value.set_sensitive(secret);
            headers.insert(parsed, value);
        }
        if !self.subprotocols.is_empty() {
            let offered = HeaderValue::from_str(&self.subprotocols.join(", ")).map_err(|_| unfit("a subprotocol"))?;
            headers.insert("sec-websocket-protocol", offered);
        }
        headers.insert(MARKER, HeaderValue::from_static("1"));
        Ok(request)
    }

    async fn dialogue(
        &self,
        socket: &mut WebSocketStream<Box<dyn Wire>>,
        progress: &mut Progress,
        held: &mut Held,
    ) -> Result<(), Failure> {
        let mut captured: Option<(&Regex, String)> = None;
        for turn in &self.dialogue {
            progress.enter(Stage::FirstByte);
            if let Some(expect) = &turn.expect {
                captured = Some((expect, next(expect, socket, progress, held).await?));
            }
            if let Some(send) = &turn.send {
                let text = filled(send, captured.as_ref());
                socket.send(Message::text(text)).await.map_err(|error| broken(&error, "the dialogue", progress))?;
            }
        }
        Ok(())
    }

    fn late(&self, progress: &mut Progress, held: &Held) -> Failure {
        let mut failure = progress.timed_out(self.deadline);
        if progress.stage() == Stage::FirstByte && failure.reason == Reason::Timeout {
            let waited = show_duration(progress.since().elapsed());
            failure.what = match (held.handshake, held.messages) {
                (None, _) => format!("no answer to the handshake in {waited}"),
                (Some(_), 0) => format!("no message in {waited}"),
                (Some(_), _) => format!("no message as expected in {waited}"),
            };
        }
        failure
    }
}

/// The next message that matches; those before it are passed over.
async fn next(
    expect: &Regex,
    socket: &mut WebSocketStream<Box<dyn Wire>>,
    progress: &mut Progress,
    held: &mut Held,
) -> Result<String, Failure> {
    loop {
        let text = match socket.next().await {
            Some(Ok(Message::Text(text))) => text.as_str().to_owned(),
            Some(Ok(Message::Binary(bytes))) => String::from_utf8_lossy(&bytes).into_owned(),
            Some(Ok(Message::Close(frame))) => return Err(progress.fail(Reason::Service, closed(frame.as_ref()))),
            Some(Ok(_)) => continue,
            Some(Err(error)) => return Err(broken(&error, "the dialogue", progress)),
            None => return Err(progress.fail(Reason::Service, closed(None))),
        };
        held.messages += 1;
        if held.messages > MESSAGES || held.received.len() + text.len() > RECEIVED {
            let limit = show_size(RECEIVED as u64);
            let what = format!("no message as expected in the first {limit} or {MESSAGES} messages");
            return Err(incomplete(progress, what));
        }
        held.received.push_str(&text);
        held.received.push('\n');
        if expect.is_match(&text) {
            return Ok(text);
        }
    }
}

fn closed(frame: Option<&CloseFrame>) -> String {
    match frame {
        Some(frame) if frame.reason.is_empty() => {
            format!("closed with {} before a message as expected came", u16::from(frame.code))
        }
        Some(frame) => {
            let reason: String = frame.reason.chars().take(80).collect();
            let code = u16::from(frame.code);
            format!("closed with {code} ({}) before a message as expected came", encode::terminal(&reason))
        }
        None => "closed before a message as expected came".to_owned(),
    }
}

fn incomplete(progress: &mut Progress, what: String) -> Failure {
    let mut failure = progress.fail(Reason::Ours, what);
    failure.unknown = UnknownKind::Incomplete;
    failure
}

/// Whose fault a broken session is, and what to call it.
fn broken(error: &Error, within: &str, progress: &mut Progress) -> Failure {
    let what = match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => {
            return incomplete(progress, format!("a message is longer than {}", show_size(RECEIVED as u64)));
        }
        Error::Capacity(_) | Error::AttackAttempt => {
            return incomplete(progress, format!("more came in {within} than we read"));
        }
        Error::WriteBufferFull(_) => return incomplete(progress, "more pings came than could be answered".to_owned()),
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::HandshakeIncomplete | ProtocolError::ResetWithoutClosingHandshake) => {
            format!("connection closed within {within}")
        }
        Error::Io(error) => match error.kind() {
            std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => {
                format!("connection reset within {within}")
            }
            std::io::ErrorKind::UnexpectedEof => format!("connection closed within {within}"),
            _ => format!("{within} broke off: {error}"),
        },
        other => {
            let shown: String = encode::terminal(&other.to_string()).chars().take(160).collect();
            format!("answered something that is no WebSocket: {shown}")
        }
    };
    progress.fail(Reason::Service, what)
}
