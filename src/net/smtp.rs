//! SMTP (RFC 5321): one mail handed to a server, in the clear, over STARTTLS (RFC 3207) or TLS from the start (RFC 8314).
//!
//! The connection and the handshake are ours, like everybody's: guarded addresses, our roots. The dialogue is lettre's.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use lettre::address::Address;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use url::Host;

use super::budget::Budget;
use super::dial::Target;
use super::guard::Reach;
use super::http::{Client, Reason, TlsOptions};
use super::progress::Progress;
use super::tls::{Verify, borrowed};
use crate::model::encode;
use crate::model::secret::Secret;

/// The most of one reply that is read before TLS, in bytes.
const REPLY: usize = 16 * 1024;
/// As much of a server's words is shown, in characters.
const SHOWN: usize = 200;

/// How a connection is kept private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Privacy {
    /// TLS begins after the greeting; a server that has none is not spoken to.
    Starttls,
    /// TLS from the start.
    Tls,
    /// In the clear.
    None,
}

/// A mail server, and who we are to it.
#[derive(Debug, Clone)]
pub struct Server<'a> {
    pub host: &'a Host<String>,
    pub port: u16,
    pub privacy: Privacy,
    pub tls: &'a TlsOptions,
    /// The name that we greet with.
    pub hello: &'a str,
    pub login: Option<(&'a str, Secret)>,
}

/// What was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Recipients that were refused beside others that were not, each with the server's words.
    pub refused: Vec<String>,
}

/// Why it was not taken; the words are fit to be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It would be refused again: a reply of 5xx, or an address that may not be asked.
    #[error("{0}")]
    Refused(String),
    /// A reply of 4xx, or nobody knows: no connection, or none until the end.
    #[error("{0}")]
    Again(String),
}

impl From<lettre::transport::smtp::Error> for NotTaken {
    fn from(error: lettre::transport::smtp::Error) -> Self {
        let mut said = error.to_string();
        if let Some(cause) = std::error::Error::source(&error) {
            said.push_str(": ");
            said.push_str(&cause.to_string());
        }
        let said: String = encode::terminal(said.trim()).chars().take(SHOWN).collect();
        if error.is_permanent() { NotTaken::Refused(said) } else { NotTaken::Again(said) }
    }
}

impl Server<'_> {
    /// Hands over one mail, as it is on the wire but for the dots. Has no deadline of its own; where it is dropped,
    /// nobody knows whether the mail was taken.
    ///
    /// # Errors
    /// It was not taken, or nobody knows.
    pub async fn take(&self, from: &Address, to: &[Address], mail: &[u8], client: &Client) -> Result<Taken, NotTaken> {
        let mut progress = Progress::new();
        let target = Target {
            host: borrowed(self.host),
            port: self.port,
            ip: None,
            budget: Budget::System,
            reach: Reach::Anywhere,
        };
        let connected =
            client.dialer().connect(&target, &mut progress).await.map_err(|failure| match failure.reason {
                Reason::Guard => NotTaken::Refused(failure.what),
                _ => NotTaken::Again(failure.what),
            })?;
        let _turn = connected.turn;
        let peer = connected.peer;
        let stream: Box<dyn AsyncTokioStream> = match self.privacy {
            Privacy::None => Box::new(connected.stream),
            Privacy::Tls => {
                let stream = self.secure(connected.stream, client).await?;
                Box::new(Secured { greeting: Vec::new(), read: 0, stream, peer })
            }
            Privacy::Starttls => {
                let mut plain = connected.stream;
                let greeting = self.starttls(&mut plain).await?;
                let stream = self.secure(plain, client).await?;
                Box::new(Secured { greeting, read: 0, stream, peer })
            }
        };
        let hello = ClientId::Domain(self.hello.to_owned());
        let mut connection = AsyncSmtpConnection::connect_with_transport(stream, &hello).await?;
        let taken = self.hand_over(&mut connection, from, to, mail).await;
        // What was taken is taken, whatever is said to the good-bye; its answer is not worth waiting for long.
        if taken.is_ok() {
            let _ = tokio::time::timeout(std::time::Duration::from_millis(500), connection.quit()).await;
        }
        taken
    }

    async fn hand_over(
        &self,
        connection: &mut AsyncSmtpConnection,
        from: &Address,
        to: &[Address],
        mail: &[u8],
    ) -> Result<Taken, NotTaken> {
        if let Some((user, password)) = &self.login {
            let credentials = Credentials::new((*user).to_owned(), password.expose().to_owned());
            // The words of a refused login may repeat what was sent.
            connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await.map_err(|error| {
                let code = error.status().map(|code| format!(" ({code})")).unwrap_or_default();
                let what = format!("the mail server doesn't take the login{code}");
                if error.is_permanent() { NotTaken::Refused(what) } else { NotTaken::Again(what) }
            })?;
        }
        connection.command(Mail::new(Some(from.clone()), Vec::new())).await?;
        let (mut refused, mut first, mut accepted) = (Vec::new(), None, false);
        for address in to {
            match connection.command(Rcpt::new(address.clone(), Vec::new())).await {
                Ok(_) => accepted = true,
                Err(error) if error.status().is_some() => {
                    let again = NotTaken::from(error);
                    refused.push(format!("{}: {again}", encode::terminal(address.as_ref())));
                    // One that is to be tried again is worth more than one that isn't.
                    if !matches!(first, Some(NotTaken::Again(_))) {
                        first = Some(again);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        if !accepted {
            return Err(first.unwrap_or_else(|| NotTaken::Refused("it names no recipient".to_owned())));
        }
        connection.command(Data).await?;
        connection.message(mail).await?;
        Ok(Taken { refused })
    }

    /// Greets, and asks for TLS; gives the greeting back.
    async fn starttls(&self, stream: &mut TcpStream) -> Result<Vec<u8>, NotTaken> {
        let greeting = reply(stream, "greeting").await?;
        say(stream, &format!("EHLO {}\r\n", self.hello)).await?;
        let offered = reply(stream, "EHLO").await?;
        let offers = offered
            .split(|byte| *byte == b'\n')
            .any(|line| line.get(4..).is_some_and(|word| word.trim_ascii().eq_ignore_ascii_case(b"STARTTLS")));
        if !offers {
            return Err(NotTaken::Refused("the mail server offers no STARTTLS".to_owned()));
        }
        say(stream, "STARTTLS\r\n").await?;
        reply(stream, "STARTTLS").await?;
        Ok(greeting)
    }

    async fn secure(&self, stream: TcpStream, client: &Client) -> Result<TlsStream<TcpStream>, NotTaken> {
        let host = self.host.to_string();
        let (stream, _) = client.tls().handshake(stream, &host, self.tls, &[], Verify::Require).await;
        stream.map_err(|(_, what)| NotTaken::Again(what))
    }
}

async fn say(stream: &mut TcpStream, line: &str) -> Result<(), NotTaken> {
    stream.write_all(line.as_bytes()).await.map_err(|error| NotTaken::Again(error.to_string()))
}

/// One whole reply, which must be a 2xx and all that was said: nothing that came in the clear may be taken for something
/// that was said under TLS.
async fn reply(stream: &mut TcpStream, to: &str) -> Result<Vec<u8>, NotTaken> {
    let mut bytes = Vec::new();
    loop {
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines = bytes.get(..end).unwrap_or_default();
        let last = lines
            .split_inclusive(|byte| *byte == b'\n')
            .position(|line| line.len() > 3 && line.get(3).is_some_and(|byte| *byte != b'-'));
        if let Some(last) = last {
            let count = lines.split_inclusive(|byte| *byte == b'\n').count();
            if last + 1 != count || end != bytes.len() {
                return Err(NotTaken::Again(format!("the mail server said more than its reply to {to}")));
            }
            let said: String = encode::terminal(String::from_utf8_lossy(lines).trim()).chars().take(SHOWN).collect();
            return match bytes.first() {
                Some(b'2') => Ok(bytes),
                Some(b'5') => Err(NotTaken::Refused(format!("{to}: {said}"))),
                _ => Err(NotTaken::Again(format!("{to}: {said}"))),
            };
        }
        if bytes.len() >= REPLY {
            return Err(NotTaken::Again(format!("the mail server's reply to {to} doesn't end")));
        }
        let mut piece = [0_u8; 1_024];
        match stream.read(&mut piece).await {
            Ok(0) => return Err(NotTaken::Again("the mail server closed the connection".to_owned())),
            Ok(came) => bytes.extend_from_slice(piece.get(..came).unwrap_or_default()),
            Err(error) => return Err(NotTaken::Again(error.to_string())),
        }
    }
}

/// A connection under TLS. A server greets once: before STARTTLS, so that greeting is read again from here.
#[derive(Debug)]
struct Secured {
    greeting: Vec<u8>,
    read: usize,
    stream: TlsStream<TcpStream>,
    peer: SocketAddr,
}

impl AsyncRead for Secured {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let left = self.greeting.get(self.read..).unwrap_or_default();
        if !left.is_empty() {
            let taken = left.len().min(out.remaining());
            out.put_slice(left.get(..taken).unwrap_or_default());
            self.read += taken;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, out)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl AsyncTokioStream for Secured {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}
