//! One HTTP connection, of whichever version, and the requests that it serves one after the other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

use super::meter::{Meter, Metered};

/// hyper allows 100 by default, which some real services exceed.
pub(super) const HEADERS: usize = 256;
/// A connection whose last exchange isn't over by then is not waited for.
pub(super) const PROMPT: Duration = Duration::from_millis(100);

type Message = http::Request<Full<Bytes>>;

/// Whom it connects with, who reads and writes it, and how much has come.
pub(super) struct Connection {
    sender: Sender,
    pub(super) meter: Arc<Meter>,
    facts: Facts,
    _task: Background,
}

/// What is known of a connection since it was made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) peer: SocketAddr,
    /// The earliest expiry in the chain that the server showed.
    pub(super) certificate_expiry: Option<jiff::Timestamp>,
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// A task that ends with whoever waits for it.
struct Background(tokio::task::AbortHandle);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why there was no answer's head.
pub(super) struct Unanswered {
    pub(super) error: hyper::Error,
    /// The message, or a part of it, may have gone over the wire.
    pub(super) sent: bool,
}

impl From<TrySendError<Message>> for Unanswered {
    fn from(error: TrySendError<Message>) -> Self {
        Unanswered { sent: error.message().is_none(), error: error.into_error() }
    }
}

impl Connection {
    /// Speaks HTTP, of version 2 where `two`, over this stream. `head`: how long an answer's head may be, in bytes.
    pub(super) async fn new<S>(
        stream: S,
        two: bool,
        head: usize,
        meter: Arc<Meter>,
        facts: Facts,
    ) -> hyper::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let io = TokioIo::new(Metered { inner: stream, meter: Arc::clone(&meter) });
        let (sender, task) = if two {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX));
            let (sender, connection) = builder.handshake(io).await?;
            (Sender::Two(sender), tokio::spawn(connection).abort_handle())
        } else {
            let mut builder = http1::Builder::new();
            builder.max_headers(HEADERS).max_buf_size(head.max(8_192));
            let (sender, connection) = builder.handshake(io).await?;
            (Sender::One(sender), tokio::spawn(connection).abort_handle())
        };
        Ok(Connection { sender, meter, facts, _task: Background(task) })
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.facts.peer
    }

    pub(super) fn certificate_expiry(&self) -> Option<jiff::Timestamp> {
        self.facts.certificate_expiry
    }

    pub(super) fn is_two(&self) -> bool {
        matches!(self.sender, Sender::Two(_))
    }

    /// Sends a request and waits for the answer's head.
    pub(super) async fn send(&mut self, message: Message) -> Result<http::Response<Incoming>, Unanswered> {
        Ok(match &mut self.sender {
            Sender::One(sender) => sender.try_send_request(message).await?,
            Sender::Two(sender) => sender.try_send_request(message).await?,
        })
    }

    /// Between two answers nothing but a little of the protocol's own may come.
    pub(super) fn rest(&self) {
        self.meter.arm();
    }

    /// Whether it can take one more request: the exchange before is over, and the other side hasn't closed it.
    pub(super) async fn is_ready(&mut self) -> bool {
        // What has come meanwhile, the end too, is read by the connection's own task: it gets its turn first.
        tokio::task::yield_now().await;
        let ready = async {
            match &mut self.sender {
                Sender::One(sender) => sender.ready().await,
                Sender::Two(sender) => sender.ready().await,
            }
        };
        matches!(tokio::time::timeout(PROMPT, ready).await, Ok(Ok(())))
    }

    /// Whether the other side left without an answer, after the request may have been sent.
    pub(super) fn was_left(&self, error: &hyper::Error) -> bool {
        match &self.sender {
            Sender::One(_) => self.meter.first().is_none() && !error.is_parse(),
            Sender::Two(sender) => sender.is_closed() || !sender.is_ready(),
        }
    }
}
