//! Connections: a name becomes addresses, the guard judges each, and only a judged address is connected to.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use url::Host;

use super::budget::{Budget, Budgets, Turn};
use super::dns::{Resolver, Unresolved};
use super::guard::{Denied, Guard, Reach};
use super::http::{Failure, IpVersion, Reason};
use super::progress::{Progress, Stage};

/// How long an address may keep us waiting before the next one is tried beside it (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Resolver, guard and budgets, as every connection needs them; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Dialer {
    pub resolver: Resolver,
    pub guard: Guard,
    pub budgets: Budgets,
}

/// Where to.
#[derive(Debug, Clone)]
pub(super) struct Target<'a> {
    pub(super) host: Host<&'a str>,
    pub(super) port: u16,
    pub(super) ip: Option<IpVersion>,
    pub(super) budget: Budget,
    pub(super) reach: Reach,
}

/// A connection, with the turn that it was made under.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) turn: Turn,
}

impl Dialer {
    /// Waits for a turn, resolves and judges: the addresses that may be asked, at least one. Leaves `progress` in
    /// [`Stage::Connect`].
    pub(super) async fn judged(
        &self,
        target: &Target<'_>,
        progress: &mut Progress,
    ) -> Result<(Turn, Vec<SocketAddr>), Failure> {
        self.nameable(target, progress).map_err(|denied| progress.fail(Reason::Guard, denied.to_string()))?;
        let turn = self.budgets.turn(&target.host.to_string(), target.port, target.budget).await;
        Ok((turn, self.addresses(target, progress).await?))
    }

    /// Judges the host as it is written. Leaves `progress` in [`Stage::Turn`].
    pub(super) fn nameable(&self, target: &Target<'_>, progress: &mut Progress) -> Result<(), Denied> {
        progress.enter(Stage::Turn);
        self.guard.check_host(&target.host, target.port, target.reach)
    }

    /// Resolves and judges, for whoever has a turn: at least one address. Leaves `progress` in [`Stage::Connect`].
    pub(super) async fn addresses(
        &self,
        target: &Target<'_>,
        progress: &mut Progress,
    ) -> Result<Vec<SocketAddr>, Failure> {
        let host = target.host.to_string();
        progress.enter(Stage::Resolve);
        let addresses = self.resolver.addresses(&host, target.ip).await.map_err(|unresolved| match unresolved {
            Unresolved::NoAddress(what) => progress.fail(Reason::Service, what),
            Unresolved::Ours(what) => progress.fail(Reason::Ours, what),
        })?;
        progress.timings.resolve = Some(progress.enter(Stage::Connect));

        let mut refused = None;
        let mut judged = Vec::with_capacity(addresses.len());
        for ip in addresses {
            let address = SocketAddr::new(ip, target.port);
            match self.guard.check_address(address, target.reach) {
                Ok(()) => judged.push(address),
                Err(denied) => refused = Some(denied),
            }
        }
        if judged.is_empty() {
            let why = refused.map_or_else(|| "no address".to_owned(), |denied| denied.to_string());
            let what = if why.starts_with(&host) { why } else { format!("{host}: {why}") };
            return Err(progress.fail(Reason::Guard, what));
        }
        Ok(judged)
    }

    /// Waits for a turn, resolves, judges, connects. Leaves `progress` in [`Stage::Connect`].
    pub(super) async fn connect(&self, target: &Target<'_>, progress: &mut Progress) -> Result<Connected, Failure> {
        let (turn, judged) = self.judged(target, progress).await?;
        let (stream, peer) = self.open(&judged, progress).await?;
        Ok(Connected { stream, peer, turn })
    }

    /// Connects to the first of these judged addresses that takes it.
    pub(super) async fn open(
        &self,
        judged: &[SocketAddr],
        progress: &mut Progress,
    ) -> Result<(TcpStream, SocketAddr), Failure> {
        let (stream, peer) = first_of(judged).await.map_err(|error| {
            let (reason, what) = connect_error(&error);
            progress.fail(reason, what)
        })?;
        progress.timings.connect = Some(progress.since().elapsed());
        if let Ok(local) = stream.local_addr() {
            self.guard
                .check_connected(local, peer)
                .map_err(|denied| progress.fail(Reason::Guard, denied.to_string()))?;
        }
        // Small requests must not wait for an acknowledgement; without it the probe is only slower.
        let _ = stream.set_nodelay(true);
        Ok((stream, peer))
    }
}

/// The first address that takes a connection; each next one starts when the one before has failed or is slow.
async fn first_of(addresses: &[SocketAddr]) -> io::Result<(TcpStream, SocketAddr)> {
    let mut waiting = addresses.iter().copied();
    let mut running = FuturesUnordered::new();
    let mut worst: Option<io::Error> = None;
    let open = |address| async move { TcpStream::connect(address).await.map(|stream| (stream, address)) };
    running.extend(waiting.next().map(open));
    while !running.is_empty() {
        let next = if waiting.len() == 0 {
            running.next().await
        } else {
            tokio::time::timeout(HEAD_START, running.next()).await.unwrap_or(None)
        };
        match next {
            Some(Ok(connected)) => return Ok(connected),
            // "No route for this version of IP" says less than what any other address answered.
            Some(Err(error)) if worst.is_some() && error.kind() == io::ErrorKind::NetworkUnreachable => {}
            Some(Err(error)) => worst = Some(error),
            None => {}
        }
        running.extend(waiting.next().map(open));
    }
    Err(worst.unwrap_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable)))
}

/// Whose fault a failed connection is, and what to call it.
pub(super) fn connect_error(error: &io::Error) -> (Reason, String) {
    use io::ErrorKind::{
        AddrInUse, AddrNotAvailable, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable,
        PermissionDenied, TimedOut,
    };
    // EMFILE and ENFILE have no kind of their own.
    if matches!(error.raw_os_error(), Some(23 | 24)) {
        return (Reason::Ours, "no file descriptors left".to_owned());
    }
    match error.kind() {
        ConnectionRefused => (Reason::Service, "connection refused".to_owned()),
        ConnectionReset => (Reason::Service, "connection reset".to_owned()),
        HostUnreachable => (Reason::Service, "host unreachable".to_owned()),
        TimedOut => (Reason::Timeout, "no connection, the system gave up".to_owned()),
        NetworkUnreachable => (Reason::Ours, "no route to that network from here".to_owned()),
        AddrNotAvailable | AddrInUse => (Reason::Ours, "no local port left".to_owned()),
        PermissionDenied => (Reason::Ours, "this host does not permit the connection".to_owned()),
        _ => (Reason::Service, error.to_string()),
    }
}
