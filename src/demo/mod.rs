//! A small bookshop to try a monitoring on: a real HTTP server with customers, metrics, logs and switchable faults.
//!
//! It stands for a foreign system, so it knows nothing of Houston and shares no code with it: what is seen of it is seen
//! over HTTP and in its log files alone. Only its past is generated; whatever is logged after the start has happened.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

mod admin;
mod api;
mod catalog;
mod clock;
mod connections;
mod customers;
mod directory;
mod faults;
mod lines;
mod logs;
mod metrics;
mod names;
mod pages;
mod past;
mod random;
mod recent;
mod route;
mod secure;
mod state;
mod visits;
mod words;

pub use faults::{Fault, UnknownFault};
pub use secure::NAME as SERVER_NAME;

use logs::Logs;
use past::Past;
use state::Inner;

/// The port on which the shop is found unless told otherwise.
pub const SHOP_PORT: u16 = 8470;
/// The port of the switch by which it is broken and repaired.
pub const ADMIN_PORT: u16 = 8471;
/// The port on which it answers over TLS.
pub const TLS_PORT: u16 = 8472;
/// The port of its name server (UDP).
pub const NAMES_PORT: u16 = 8473;
/// Where its log files are unless told otherwise.
pub const DIRECTORY: &str = "/tmp/houston-demo";

/// How a shop is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the log files are written; made if it isn't there.
    pub directory: PathBuf,
    /// 0 takes a free one.
    pub shop_port: u16,
    /// 0 takes a free one.
    pub admin_port: u16,
    /// 0 takes a free one.
    pub tls_port: u16,
    /// 0 takes a free one.
    pub names_port: u16,
    /// The same seed gives the same past for the same span.
    pub seed: u64,
    /// How much of a past the logs have at the start; 0 for none.
    pub past_hours: u32,
    /// Requests per second of the shop's own customers, before the daily rhythm of ± 15 %; 0 for none (their past then
    /// has the default rate).
    pub live_rate: f64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            directory: PathBuf::from(DIRECTORY),
            shop_port: SHOP_PORT,
            admin_port: ADMIN_PORT,
            tls_port: TLS_PORT,
            names_port: NAMES_PORT,
            seed: 1,
            past_hours: 50,
            live_rate: visits::DEFAULT_RATE,
        }
    }
}

/// Why a shop could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("port {port} on 127.0.0.1, which the {what} wants, is in use (by another demo?)")]
    PortTaken { what: &'static str, port: u16 },
    #[error("the {what} can't listen on 127.0.0.1:{port}")]
    Listen { what: &'static str, port: u16, source: std::io::Error },
    #[error("{} can't be used for the shop's logs: {why}", directory.display())]
    Directory { directory: PathBuf, why: String },
    #[error("the shop's certificate could not be made: {0}")]
    Certificate(secure::Failure),
    #[error("the shop's past could not be written to {}", directory.display())]
    Past { directory: PathBuf, source: std::io::Error },
}

/// A shop that is open. Dropping it closes it as well, only without waiting.
#[derive(Debug)]
pub struct Shop {
    inner: Arc<Inner>,
    address: SocketAddr,
    admin_address: SocketAddr,
    tls_address: SocketAddr,
    names_address: SocketAddr,
    stopping: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    /// Keeps a second shop out of the directory.
    _lock: std::fs::File,
}

impl Shop {
    /// Takes its ports, writes its past, opens its doors and lets its customers in.
    ///
    /// # Errors
    /// A port that is taken, a directory that can't be trusted or written.
    pub async fn start(options: Options) -> Result<Shop, StartError> {
        let shop = listen("shop", options.shop_port).await?;
        let admin = listen("shop's fault switch", options.admin_port).await?;
        let address = local(&shop, "shop", options.shop_port)?;
        let admin_address = local(&admin, "shop's fault switch", options.admin_port)?;
        let secured = listen("shop over TLS", options.tls_port).await?;
        let names = UdpSocket::bind((Ipv4Addr::LOCALHOST, options.names_port)).await;
        let names = names.map_err(|error| refused("shop's name server", options.names_port, error))?;
        let tls_address = local(&secured, "shop over TLS", options.tls_port)?;
        let names_address =
            names.local_addr().map_err(|error| refused("shop's name server", options.names_port, error))?;
        let lock = directory::prepare(&options.directory)?;
        let tls = secure::certificate(&options.directory).map_err(StartError::Certificate)?;

        let (mut past, logs) = write_past(&options).await?;
        let stopping = CancellationToken::new();
        let inner = Arc::new(Inner::new(logs, past.numbers(), options.seed, stopping.clone()));

        // The writing took a moment, which is past by now as well.
        let caught_up = past.advance(clock::now_millis(), &mut |event| inner.logs.past(event));
        caught_up.map_err(|source| StartError::Past { directory: options.directory.clone(), source })?;
        inner.continue_numbers(past.numbers());

        let mut tasks = vec![
            connections::serve(shop, pages::router(inner.clone()), stopping.clone()),
            connections::serve(admin, admin::router(inner.clone()), stopping.clone()),
            names::serve(names, stopping.clone()),
        ];
        tasks.extend(secure::serve(secured, tls, pages::router(inner.clone()), stopping.clone()));
        if options.live_rate > 0.0 {
            let visits = past.into_visits();
            tasks.push(tokio::spawn(customers::come_and_go(address, visits, stopping.clone())));
        }
        tracing::debug!(%address, %admin_address, directory = %options.directory.display(), "the shop is open");
        Ok(Shop { inner, address, admin_address, tls_address, names_address, stopping, tasks, _lock: lock })
    }

    /// Where the shop answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its fault switch answers.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Where it answers over TLS, under the name [`SERVER_NAME`].
    pub fn tls_address(&self) -> SocketAddr {
        self.tls_address
    }

    /// Where its name server answers (UDP).
    pub fn names_address(&self) -> SocketAddr {
        self.names_address
    }

    /// Where its log files are.
    pub fn directory(&self) -> &Path {
        self.inner.logs.directory()
    }

    /// Breaks the shop in this way and in no other; [`Fault::None`] repairs it.
    ///
    /// # Errors
    /// A customer that the shop doesn't have.
    pub fn set_fault(&self, fault: Fault) -> Result<(), UnknownFault> {
        self.inner.set_fault(fault)
    }

    /// Breaks the shop in this way as well.
    ///
    /// # Errors
    /// A customer that the shop doesn't have.
    pub fn add_fault(&self, fault: Fault) -> Result<(), UnknownFault> {
        self.inner.add_fault(fault)
    }

    /// How it is broken at the moment; empty when it isn't.
    pub fn faults(&self) -> Vec<Fault> {
        self.inner.faults()
    }

    /// Closes: no new requests, those under way get two seconds. The log files stay where they are.
    pub async fn stop(mut self) {
        self.stopping.cancel();
        for task in self.tasks.drain(..) {
            let abort = task.abort_handle();
            if tokio::time::timeout(Duration::from_secs(2), task).await.is_err() {
                abort.abort();
            }
        }
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.stopping.cancel();
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn listen(what: &'static str, port: u16) -> Result<TcpListener, StartError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| refused(what, port, error))
}

fn refused(what: &'static str, port: u16, error: std::io::Error) -> StartError {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => StartError::PortTaken { what, port },
        _ => StartError::Listen { what, port, source: error },
    }
}

fn local(listener: &TcpListener, what: &'static str, port: u16) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| StartError::Listen { what, port, source })
}

/// Generates the log files, in the blocking pool: it takes up to a few seconds of pure work.
async fn write_past(options: &Options) -> Result<(Past, Logs), StartError> {
    let Options { directory, seed, past_hours, live_rate, .. } = options.clone();
    let failed = {
        let directory = directory.clone();
        move |source| StartError::Past { directory: directory.clone(), source }
    };
    let rate = if live_rate > 0.0 { live_rate } else { visits::DEFAULT_RATE };
    let now = clock::now_millis();
    let written = tokio::task::spawn_blocking(move || {
        let from = now - i64::from(past_hours) * past::HOUR;
        let mut past = Past::new(seed, from, rate);
        past::write(&directory, &mut past, from, now)?;
        Ok((past, Logs::open(&directory)?))
    });
    match written.await {
        Ok(result) => result.map_err(failed),
        Err(join) => Err(failed(std::io::Error::other(join))),
    }
}

#[cfg(test)]
mod tests;
