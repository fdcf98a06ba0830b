//! A forward proxy for a program that we started (hurl, Chromium): what it connects to is judged and dialled by us.
//!
//! The program is told to send everything through a port on loopback. A name is resolved here, once, and only an
//! address that the guard has seen is connected to, so neither a redirect nor a name that changes its address leads the
//! program past the guard. `CONNECT` makes a tunnel; `http://` requests are passed on as they are, so that what comes
//! back is what would have come without a proxy in between.
//!
//! Who may use it, see [`Admit`]. It ends with its deadline or when it is dropped, whichever comes first, and every
//! connection through it with it. A program that doesn't ask the proxy is not held by it: whoever runs one has to see
//! to that (no option of the program may switch the proxy off).

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio::time::Instant;
use url::Host;

use super::budget::{Budget, Turn};
use super::dial::{Dialer, Target};
use super::guard::{Denied, Reach, is_inside};
use super::http::{Failure, Reason};
use super::progress::{Progress, Stage};
use crate::model::secret::Secret;

mod counted;
mod owner;
mod serve;

/// The most refusals, and failures, that are kept; those after them are only counted.
const KEPT: usize = 16;
/// The most `host:port` that one program may connect to.
const TARGETS: usize = 256;
/// The user's name in the credential.
const USER: &str = "houston";

/// Who may use the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    /// Who sends the random credential of [`Proxy::url`]: for clients that take one from a proxy's URL, like curl.
    Credential,
    /// Any process of the user that we run as, by what the kernel says of its socket. For Chromium, which takes no
    /// credential from its command line and asks a person instead. Others of the same user could use the port while it
    /// is open; they can read our memory and our secrets anyway, so a credential would keep nothing from them. Other
    /// users of the host, whom a firewall may hold more tightly than us, are turned away.
    SameUser,
}

/// What the proxy allows.
#[derive(Debug, Clone)]
pub struct Settings {
    pub admit: Admit,
    /// Hosts that a check names: they may be inside, whatever came before. Any other may be inside only until the
    /// program has been connected to something outside, as it is with redirects of our own client.
    pub declared: Vec<(Host<String>, u16)>,
    /// How sparingly each target is to be asked. The program is one visitor: it takes one turn at each target, with the
    /// first connection, and keeps it.
    pub budget: Budget,
    pub bounds: Bounds,
    /// Nothing goes on beyond this.
    pub deadline: Instant,
}

/// What the program may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at once; the next wait until one ends.
    pub connections: usize,
    /// Bytes of a request's head, 8 KiB at least.
    pub head: usize,
    /// A connection on which nothing moves for so long is closed.
    pub idle: Duration,
    /// Bytes between the program and the proxy, both directions and all connections together.
    pub bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { connections: 64, head: 64 * 1024, idle: Duration::from_secs(60), bytes: 256 * 1024 * 1024 }
    }
}

/// A connection that was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmade {
    /// `host:port`; from outside.
    pub target: String,
    pub reason: Reason,
    /// "connection refused", "169.254.169.254 is a metadata service"
    pub what: String,
}

/// The program's turn at a target, once it has one.
type OneTurn = OnceCell<Turn>;

/// A running proxy; it ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    accepting: tokio::task::AbortHandle,
}

#[derive(Debug)]
struct Shared {
    dialer: Dialer,
    settings: Settings,
    address: SocketAddr,
    /// User and password; `None` where the user of the host decides.
    password: Option<String>,
    turns: Mutex<HashMap<(String, u16), Arc<OneTurn>>>,
    /// Something outside was connected to.
    was_outside: AtomicBool,
    moved: AtomicU64,
    spent: AtomicBool,
    unmade: Mutex<Vec<Unmade>>,
}

impl Proxy {
    /// Listens on a loopback port of the system's choice.
    ///
    /// # Errors
    /// There is no port, or no randomness for a credential.
    pub async fn start(dialer: &Dialer, settings: Settings) -> io::Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let password = match settings.admit {
            Admit::Credential => Some(password()?),
            Admit::SameUser => None,
        };
        let shared = Arc::new(Shared {
            dialer: dialer.clone(),
            address: listener.local_addr()?,
            settings,
            password,
            turns: Mutex::default(),
            was_outside: AtomicBool::new(false),
            moved: AtomicU64::new(0),
            spent: AtomicBool::new(false),
            unmade: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Ok(Proxy { shared, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// What to tell the program, with the credential where there is one: `http://user:password@127.0.0.1:port`. Not for
    /// a command line, which everybody may read.
    pub fn url(&self) -> Secret {
        let address = self.shared.address;
        Secret::new(match &self.shared.password {
            Some(password) => format!("http://{USER}:{password}@{address}"),
            None => format!("http://{address}"),
        })
    }

    /// The credential's password, so that it can be struck out of what the program says.
    pub fn password(&self) -> Option<Secret> {
        self.shared.password.clone().map(Secret::new)
    }

    /// The first connections that the guard refused.
    pub fn refusals(&self) -> Vec<Unmade> {
        self.unmade(|reason| reason == Reason::Guard)
    }

    /// The first connections that failed: nobody listens, no such name, the resolver is silent.
    pub fn failures(&self) -> Vec<Unmade> {
        self.unmade(|reason| reason != Reason::Guard)
    }

    fn unmade(&self, which: impl Fn(Reason) -> bool) -> Vec<Unmade> {
        let unmade = self.shared.unmade.lock().unwrap_or_else(PoisonError::into_inner);
        unmade.iter().filter(|unmade| which(unmade.reason)).cloned().collect()
    }

    /// True where more than [`Bounds::bytes`] wanted to go through: connections were cut.
    pub fn is_spent(&self) -> bool {
        self.shared.spent.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn password() -> io::Result<String> {
    let mut bytes = [0_u8; 24];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// Takes connections until the deadline. They are tasks of this one: they end with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    let until = tokio::time::sleep_until(shared.settings.deadline);
    tokio::pin!(until);
    loop {
        tokio::select! {
            biased;
            () = &mut until => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < shared.settings.bounds.connections => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(serve::connection(Arc::clone(&shared), stream, peer));
                }
                // No file descriptor left, most likely: better to wait than to spin.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
        }
    }
}

impl Shared {
    /// Judges and dials.
    async fn connect(&self, host: &Host<String>, port: u16) -> Result<TcpStream, Failure> {
        let mut progress = Progress::new();
        let connected = self.dial(host, port, &mut progress).await;
        if let Err(failure) = &connected {
            self.note(format!("{host}:{port}"), failure);
        }
        connected
    }

    async fn dial(&self, host: &Host<String>, port: u16, progress: &mut Progress) -> Result<TcpStream, Failure> {
        let borrowed = super::tls::borrowed(host);
        let budget = self.settings.budget;
        let target = Target { host: borrowed, port, ip: None, budget, reach: self.reach(host, port) };
        self.dialer.nameable(&target, progress).map_err(|denied| progress.fail(Reason::Guard, denied.to_string()))?;
        let name = host.to_string();
        let cell = self.turn(&name, port).ok_or_else(|| {
            progress.fail(Reason::Ours, format!("the program asks more than {TARGETS} different hosts and ports"))
        })?;
        cell.get_or_init(|| self.dialer.budgets.turn(&name, port, budget)).await;
        let addresses = self.dialer.addresses(&target, progress).await?;
        if addresses.contains(&self.address) {
            return Err(progress.fail(Reason::Guard, Denied::Own(self.address).to_string()));
        }
        let (stream, peer) = self.dialer.open(&addresses, progress).await?;
        if !is_inside(peer.ip()) {
            self.was_outside.store(true, Ordering::Relaxed);
        }
        progress.enter(Stage::FirstByte);
        Ok(stream)
    }

    fn reach(&self, host: &Host<String>, port: u16) -> Reach {
        let is_declared = self.settings.declared.iter().any(|(name, at)| name == host && *at == port);
        match is_declared || !self.was_outside.load(Ordering::Relaxed) {
            true => Reach::Anywhere,
            false => Reach::PublicOnly,
        }
    }

    /// The program's turn at a target, taken or not; `None` where it has too many.
    fn turn(&self, name: &str, port: u16) -> Option<Arc<OneTurn>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.to_owned(), port);
        if turns.len() >= TARGETS && !turns.contains_key(&key) {
            return None;
        }
        Some(Arc::clone(turns.entry(key).or_default()))
    }

    /// Keeps the first of each sort.
    fn note(&self, target: String, failure: &Failure) {
        let mut unmade = self.unmade.lock().unwrap_or_else(PoisonError::into_inner);
        let is_refusal = failure.reason == Reason::Guard;
        if unmade.iter().filter(|other| (other.reason == Reason::Guard) == is_refusal).count() < KEPT {
            unmade.push(Unmade { target, reason: failure.reason, what: failure.what.clone() });
        }
    }

    /// Whether this is the value of a `Proxy-Authorization` header (RFC 7617) that lets in.
    fn is_admitted(&self, authorization: Option<&[u8]>) -> bool {
        use subtle::ConstantTimeEq as _;
        let Some(password) = &self.password else { return true };
        let token = authorization.and_then(|value| value.split_at_checked(6));
        let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"basic ")).map(|(_, token)| token);
        let given = token.and_then(|token| base64::engine::general_purpose::STANDARD.decode(token.trim_ascii()).ok());
        given.is_some_and(|given| given.ct_eq(format!("{USER}:{password}").as_bytes()).into())
    }

    /// How many bytes may still move.
    fn room(&self) -> u64 {
        self.settings.bounds.bytes.saturating_sub(self.moved.load(Ordering::Relaxed))
    }

    /// Counts bytes between the program and us; false where that was too much.
    fn may_move(&self, bytes: usize) -> bool {
        let before = self.moved.fetch_add(bytes as u64, Ordering::Relaxed);
        let fits = before.saturating_add(bytes as u64) <= self.settings.bounds.bytes;
        if !fits {
            self.spent.store(true, Ordering::Relaxed);
        }
        fits
    }
}

#[cfg(test)]
mod tests;
