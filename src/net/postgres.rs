//! PostgreSQL: one connection, one statement in a read-only transaction, its rows as values.
//!
//! The protocol (<https://www.postgresql.org/docs/current/protocol.html>) and its authentication are tokio-postgres',
//! the connection is ours: dialled, judged and, where it is wanted, put under TLS as every other one. What the server may
//! make us read is counted. A statement ends on the server a little before we stop waiting for it, so that none is left
//! running there.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::StreamExt as _;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;
use tokio_postgres::config::SslMode;
use tokio_postgres::types::{Format, IsNull, ToSql, Type};
use tokio_postgres::{Client as Session, Config, NoTls};
use url::Host;

use super::budget::Budget;
use super::dial::Target;
use super::guard::Reach;
use super::http::{Client, Failure, Reason, TlsOptions};
use super::progress::{Progress, Stage};
use super::tls::{Verify, borrowed};
use crate::model::encode;
use crate::model::secret::Secret;
use crate::model::units::show_size;
use crate::model::value::Value;

mod cell;

/// The most bytes that the server may send in one look.
const READ_LIMIT: usize = 1024 * 1024;
/// The most rows of an answer.
pub const ROWS_LIMIT: usize = 1_000;
/// The most columns of an answer.
pub const COLUMNS_LIMIT: usize = 100;
/// Asks for TLS: a length of 8 and the code 80877103 ("SSLRequest" in the protocol's message formats).
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Who asks which database where.
#[derive(Debug, Clone)]
pub struct Database {
    pub host: Host<String>,
    pub port: u16,
    pub name: String,
    pub user: String,
    pub password: Option<Secret>,
    /// Speak TLS, and check the certificate so.
    pub tls: Option<TlsOptions>,
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Statement {
    pub sql: String,
    /// Bound to `$1`, `$2` … as text, of whatever type the statement makes of them.
    pub values: Vec<String>,
    /// How long it may take on the server; never longer than the time that is left.
    pub timeout: Option<Duration>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
    /// As the server calls it: `15.18 (Debian 15.18-0+deb12u1)`.
    pub version: Option<String>,
    /// Until the server took us in.
    pub connect: Duration,
    /// The statement alone.
    pub statement: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NoAnswer {
    /// The exchange failed; whose fault that was is in it.
    #[error("{0}")]
    Wire(Box<Failure>),
    /// The server can't do it at present: it starts, ends, has no connection left, gave up at its time limit.
    #[error("{0}")]
    Unable(String),
    /// It won't do it: a wrong password, no such table, a statement that writes.
    #[error("{0}")]
    Refused(String),
    /// A value that has no place among measures.
    #[error("{0}")]
    Unreadable(String),
    /// More than we read.
    #[error("the answer has more than {0}")]
    TooMuch(String),
}

/// How long before the caller's end the server is told to stop.
fn margin(left: Duration) -> Duration {
    (left / 10).clamp(Duration::from_millis(20), Duration::from_millis(500))
}

impl Database {
    /// Connects, asks, and closes.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn ask(&self, client: &Client, statement: &Statement, deadline: Instant) -> Result<Answer, NoAnswer> {
        let mut progress = Progress::new();
        match tokio::time::timeout_at(deadline, self.converse(client, statement, deadline, &mut progress)).await {
            Ok(result) => result,
            Err(_) => Err(wire(progress.timed_out(deadline))),
        }
    }

    async fn converse(
        &self,
        client: &Client,
        statement: &Statement,
        deadline: Instant,
        progress: &mut Progress,
    ) -> Result<Answer, NoAnswer> {
        let target = Target {
            host: borrowed(&self.host),
            port: self.port,
            ip: None,
            budget: Budget::Service,
            reach: Reach::Anywhere,
        };
        let connected = client.dialer().connect(&target, progress).await.map_err(wire)?;
        let _turn = connected.turn;
        let mut stream = connected.stream;
        let wire_of: Box<dyn Wire> = match &self.tls {
            None => Box::new(stream),
            Some(options) => {
                progress.enter(Stage::Tls);
                // One byte and no more: what comes behind it in the clear must not be taken for the server's.
                let mut reply = [0];
                let asked = async {
                    stream.write_all(&SSL_REQUEST).await?;
                    stream.read_exact(&mut reply).await
                };
                asked.await.map_err(|error| wire(lost(&error, progress)))?;
                match reply {
                    [b'S'] => {}
                    [b'N'] => return Err(wire(progress.fail(Reason::Service, "it speaks no TLS"))),
                    _ => return Err(wire(progress.fail(Reason::Service, "it doesn't speak PostgreSQL's protocol"))),
                }
                let host = self.host.to_string();
                let (secured, _) = client.tls().handshake(stream, &host, options, &[], Verify::Require).await;
                Box::new(secured.map_err(|(reason, what)| wire(progress.fail(reason, what)))?)
            }
        };
        progress.enter(Stage::FirstByte);
        let flooded = Arc::new(AtomicBool::new(false));
        let counted = Counted { inner: wire_of, left: READ_LIMIT, flooded: Arc::clone(&flooded) };
        let mut config = Config::new();
        config.user(&self.user).dbname(&self.name).application_name("houston").ssl_mode(SslMode::Disable);
        if let Some(password) = &self.password {
            config.password(password.expose());
        }
        let heard = |error: tokio_postgres::Error, progress: &mut Progress| match flooded.load(Ordering::Relaxed) {
            true => NoAnswer::TooMuch(show_size(READ_LIMIT as u64)),
            false => complaint(&error, progress),
        };
        let (session, connection) = config.connect_raw(counted, NoTls).await.map_err(|error| heard(error, progress))?;
        let version = connection.parameter("server_version").map(str::to_owned);
        let connect = progress.total();

        let asking = ask(&session, statement, deadline);
        tokio::pin!(asking, connection);
        let result = tokio::select! {
            biased;
            result = &mut asking => result,
            ended = &mut connection => match ended {
                Err(error) => Err(Trouble::Wire(error)),
                // It answered and hung up; what it answered may be there already.
                Ok(()) => asking.await,
            },
        };
        match result {
            Ok((columns, rows, took)) => Ok(Answer { columns, rows, version, connect, statement: took }),
            Err(Trouble::Wire(error)) => Err(heard(error, progress)),
            Err(Trouble::Answer(no_answer)) => Err(no_answer),
        }
    }
}

/// What goes wrong once there is a session.
enum Trouble {
    Wire(tokio_postgres::Error),
    Answer(NoAnswer),
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        Trouble::Wire(error)
    }
}

type Rows = (Vec<String>, Vec<Vec<Value>>, Duration);

async fn ask(session: &Session, statement: &Statement, deadline: Instant) -> Result<Rows, Trouble> {
    let left = deadline.saturating_duration_since(Instant::now());
    let most = left.saturating_sub(margin(left)).max(Duration::from_millis(1));
    let timeout = statement.timeout.map_or(most, |declared| declared.min(most)).as_millis();
    // All in one transaction, so that it holds behind a pooler as well; numbers only, so nothing can be injected.
    let begin = format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {timeout}; SET LOCAL lock_timeout = {timeout}");
    session.batch_execute(&begin).await?;
    let started = Instant::now();
    // The unknown type lets the server find out what each value is.
    let values: Vec<(AsText<'_>, Type)> = statement.values.iter().map(|value| (AsText(value), Type::UNKNOWN)).collect();
    let rows =
        session.query_typed_raw(&statement.sql, values.iter().map(|(value, kind)| (value, kind.clone()))).await?;
    tokio::pin!(rows);
    let mut columns: Vec<String> = Vec::new();
    let mut table = Vec::new();
    while let Some(row) = rows.next().await {
        let row = row?;
        if table.is_empty() {
            if row.columns().len() > COLUMNS_LIMIT {
                return Err(Trouble::Answer(NoAnswer::TooMuch(format!("{COLUMNS_LIMIT} columns"))));
            }
            columns = row.columns().iter().map(|column| column.name().to_owned()).collect();
        }
        if table.len() >= ROWS_LIMIT {
            return Err(Trouble::Answer(NoAnswer::TooMuch(format!("{ROWS_LIMIT} rows"))));
        }
        table.push(cell::values(&row).map_err(|why| Trouble::Answer(NoAnswer::Unreadable(why)))?);
    }
    let took = started.elapsed();
    // Nothing was written; a server that can't even end that has told us what we asked.
    let _ = session.batch_execute("ROLLBACK").await;
    Ok((columns, table, took))
}

/// A value that is sent as text, whatever the statement takes it for.
#[derive(Debug)]
struct AsText<'a>(&'a str);

impl ToSql for AsText<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    tokio_postgres::types::to_sql_checked!();
}

fn wire(failure: Failure) -> NoAnswer {
    NoAnswer::Wire(Box::new(failure))
}

fn lost(error: &io::Error, progress: &mut Progress) -> Failure {
    let what = match error.kind() {
        io::ErrorKind::UnexpectedEof => "connection closed before it answered",
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "connection reset",
        _ => return progress.fail(Reason::Service, encode::terminal(&error.to_string())),
    };
    progress.fail(Reason::Service, what)
}

/// What the server, or the way to it, complains of. The classes of codes are those of
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn complaint(error: &tokio_postgres::Error, progress: &mut Progress) -> NoAnswer {
    let Some(said) = error.as_db_error() else {
        if error.is_closed() {
            return wire(progress.fail(Reason::Service, "connection closed before it answered"));
        }
        let broken = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
        if let Some(broken) = broken.filter(|broken| !is_misread(broken) && !is_about_us(&error.to_string())) {
            return wire(lost(broken, progress));
        }
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        let what: String = encode::terminal(&format!("{error}{cause}")).chars().take(300).collect();
        return match is_about_us(&what) {
            true => NoAnswer::Refused(what),
            false => NoAnswer::Unreadable(format!("it doesn't speak PostgreSQL's protocol ({what})")),
        };
    };
    let code = said.code().code();
    let message: String = encode::terminal(said.message()).chars().take(300).collect();
    let what = format!("{message} ({code})");
    match (code, code.get(..2).unwrap_or_default()) {
        // A statement that wants another number of values: of that class, and ours.
        ("08P01", _) => NoAnswer::Refused(what),
        // Resources, an operator's doing, the system below, a bug in the server; its own limits of time.
        (_, "08" | "53" | "57" | "58" | "XX" | "F0") | ("55P03", _) => NoAnswer::Unable(what),
        _ => NoAnswer::Refused(what),
    }
}

/// True for what the library says of bytes that it can't read.
fn is_misread(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::Other)
}

/// True for a password that is wanted and not declared, and a way to prove who we are that we don't know. The library
/// tells these apart from a broken answer in words alone.
fn is_about_us(what: &str) -> bool {
    what.starts_with("authentication error") || what.starts_with("invalid configuration")
}

/// A stream of either sort.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Wire for S {}

/// A stream of which only so much is read.
struct Counted {
    inner: Box<dyn Wire>,
    left: usize,
    flooded: Arc<AtomicBool>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        let came = buf.filled().len() - before;
        match self.left.checked_sub(came) {
            Some(left) => self.left = left,
            None => {
                self.flooded.store(true, Ordering::Relaxed);
                return Poll::Ready(Err(io::Error::other("it sends more than is read")));
            }
        }
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
