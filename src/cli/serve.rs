//! `houston serve`: everything that the daemon works with, put together and started.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt;

use super::args::{Cli, Serve};
use super::context::{self, Context};
use super::{Exit, Mistyped, Terminal, clock};
use crate::checks;
use crate::config::{self, Config};
use crate::daemon::auth::{Access, Declared, Scope, Settings};
use crate::daemon::heartbeat::Watcher;
use crate::daemon::intake::{Desks, IntoTickets};
use crate::daemon::log::LineLog;
use crate::daemon::{Daemon, Listeners, Parts};
use crate::model::letter::Links;
use crate::model::settings::TriageSettings;
use crate::net::outgoing::Wires;
use crate::response::deliver::{Backoff, Deliverer};
use crate::store::history::{History, Keep};
use crate::store::{OpenError, Store, StoreError};

/// How long the end waits for the log to be written.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(1);

/// How a daemon is started.
#[derive(Debug, Clone)]
pub struct Start {
    pub state: PathBuf,
    pub tcp: Option<std::net::SocketAddr>,
    pub socket: Option<PathBuf>,
    pub settings: TriageSettings,
    pub log: Option<LineLog>,
}

/// A daemon that takes tickets.
pub struct Service {
    /// Where its pages and its API are, over TCP.
    pub url: Option<String>,
    pub socket: Option<PathBuf>,
    /// A link that logs a browser in, once.
    pub login: Option<String>,
    pub token_file: PathBuf,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<Result<(), StoreError>>,
    /// Ends with the service, without waiting for a probe that blocks its thread.
    _looks: context::Looks,
}

impl Service {
    /// Waits until the daemon ends by itself, which it does only when its store can't be trusted any more.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        (&mut self.ended).await.context("the daemon failed")??;
        Ok(())
    }

    /// Lets the rounds under way end, and ends.
    ///
    /// # Errors
    /// The store could not be trusted any more.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        let ended = self.ended.await;
        ended.context("the daemon failed")??;
        Ok(())
    }
}

/// Puts the daemon together; it takes tickets when this returns.
///
/// # Errors
/// The store is in use or unusable, an address is taken, a secret is missing.
pub async fn start(context: Context, start: Start) -> anyhow::Result<Service> {
    let Context { config, library, checks: set, faults, environment, redactor } = context;
    if let Some(address) = start.tcp {
        refuse_open_doors(address, &config)?;
    }
    let credentials = crate::net::credentials::Credentials::new(environment.clone(), redactor.clone());
    for (name, secret) in config.channels.secrets() {
        credentials.get(&secret).map_err(|why| anyhow::anyhow!("channel {name}: {why}"))?;
    }
    for desk in config.desks.values() {
        for secret in desk.system.secrets() {
            credentials.get(&secret).map_err(|why| anyhow::anyhow!("ticket system {}: {why}", desk.name))?;
        }
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&start.state)
        .with_context(|| format!("{} can't be made", start.state.display()))?;
    // The lock of the store stands before everything that a second daemon must not touch.
    let store = Store::open(&start.state).map_err(|error| match error {
        OpenError::Locked(_) => anyhow::anyhow!("{error}; ask it: houston status"),
        other => other.into(),
    })?;
    let access = access(&start, &config, &credentials)?;
    let acknowledge = crate::daemon::acknowledge::Links::open(&start.state).context("the key of the links")?;
    let tcp = match start.tcp {
        Some(address) => {
            Some(TcpListener::bind(address).await.with_context(|| format!("{address} can't be listened on"))?)
        }
        None => None,
    };

    let own = tcp.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let tools = Arc::new(context::tools(&config, environment, redactor.clone(), own, start.state.join("evidence"))?);
    let wires = Wires { http: tools.http.clone(), credentials, redactor };
    let wires = Arc::new(wires);
    let heartbeat = config.heartbeat.clone().map(|heartbeat| Watcher {
        url: heartbeat.url,
        every: heartbeat.every,
        http: tools.http.clone(),
    });
    let mut channels = config.channels.clone();
    for desk in config.desks.values() {
        channels.attach(&desk.channel(), Arc::new(IntoTickets(desk.clone())));
    }
    let desks =
        Desks::new(config.desks.clone(), Arc::clone(&wires)).with_public_url(config.listen.public_url.as_deref());
    let deliverer = Deliverer::new(channels, wires, Backoff::default())
        .with_links(config.listen.public_url.as_deref().map(Links::new));
    let looks = context::looks_runtime()?;

    let (checks_sender, checks) = watch::channel(Arc::new(set));
    let (faults_sender, faults) = watch::channel(faults);
    let (changes, mut changed) = mpsc::channel::<checks::Reloaded>(4);
    tokio::spawn(checks::watch(library, changes));
    tokio::spawn(async move {
        while let Some(reloaded) = changed.recv().await {
            faults_sender.send_replace(reloaded.diagnostics);
            checks_sender.send_replace(Arc::new(reloaded.set));
        }
    });

    let unix = match &start.socket {
        Some(path) => Some(local_socket(path)?),
        None => None,
    };
    let url = tcp.as_ref().and_then(|listener| listener.local_addr().ok()).map(|address| format!("http://{address}"));
    let login = match &url {
        Some(url) => {
            let now = std::time::Instant::now();
            Some(access.login_link(url, "start", Scope::Operate, now)?.expose().to_owned())
        }
        None => None,
    };
    // Without a history there are verdicts all the same, only with less to compare with.
    let history = match History::open(&start.state, keep(&config)) {
        Ok(history) => Some(history),
        Err(error) => {
            tracing::error!(error = %error, "nothing is sampled");
            None
        }
    };
    let daemon = Daemon::new(Parts {
        store,
        history,
        checks,
        faults,
        catalog: Arc::new(config.catalog),
        settings: start.settings,
        tools,
        looks: looks.handle()?,
        policy: config.policy,
        desks,
        deliverer,
        access,
        acknowledge,
        log: start.log,
        heartbeat,
        clock,
    });
    let stop = CancellationToken::new();
    let ended = tokio::spawn(daemon.run(Listeners { tcp, unix }, stop.clone()));
    Ok(Service {
        url,
        socket: start.socket,
        login,
        token_file: crate::daemon::auth::admin_token_path(&start.state),
        stop,
        ended,
        _looks: looks,
    })
}

/// Beyond this machine tokens alone are not enough: they would cross the network in the clear.
fn refuse_open_doors(address: std::net::SocketAddr, config: &Config) -> Result<(), Mistyped> {
    if address.ip().is_loopback() || config.listen.behind_proxy {
        return Ok(());
    }
    Err(Mistyped(format!(
        "{address} is reachable from other machines: put a proxy with TLS in front and say `listen: {{ behind_proxy: true }}`, \
         or listen on 127.0.0.1"
    )))
}

/// What of the samples is kept; where the configuration is silent, the store knows best.
fn keep(config: &Config) -> Keep {
    let (written, kept) = (&config.history, Keep::default());
    Keep {
        samples: written.samples.unwrap_or(kept.samples),
        hours: written.hours.unwrap_or(kept.hours),
        size: written.size.unwrap_or(kept.size),
    }
}

fn access(
    start: &Start,
    config: &Config,
    credentials: &crate::net::credentials::Credentials,
) -> anyhow::Result<Access> {
    let settings = Settings {
        state_directory: start.state.clone(),
        hosts: config.listen.allowed_hosts.clone(),
        uid: rustix::process::geteuid().as_raw(),
        // Members of the daemon's own group may use its socket (its file says 0660); root's group is nobody's.
        group: Some(rustix::process::getegid().as_raw()).filter(|&group| group != 0),
        tickets_per_minute: config.listen.tickets_per_minute,
        tls: config.listen.behind_proxy,
    };
    let (access, _first) = Access::open(settings, clock())?;
    for token in &config.listen.tokens {
        let secret = credentials.get(&token.secret).map_err(|why| anyhow::anyhow!("token {}: {why}", token.name))?;
        let scope = match token.scope {
            config::Scope::Report => Scope::Report,
            config::Scope::Read => Scope::Read,
            config::Scope::Operate => Scope::Operate,
            config::Scope::Admin => Scope::Admin,
        };
        let from = token.from.iter().map(|net| crate::net::guard::Entry::parse(net));
        let from = from.collect::<Result<_, _>>().map_err(|why| anyhow::anyhow!("token {}: {why}", token.name))?;
        access.declare(Declared { name: token.name.clone(), scope, from, expires: token.expires }, &secret)?;
    }
    Ok(access)
}

/// The socket for local users. One that an earlier life left behind is replaced: the store's lock says that nobody listens.
fn local_socket(path: &Path) -> anyhow::Result<UnixListener> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).with_context(|| format!("{} can't be made", parent.display()))?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => std::fs::remove_file(path)?,
        Ok(_) => bail!("{} is there, and is no socket", path.display()),
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).with_context(|| format!("{} can't be listened on", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Where tickets and tokens are kept.
pub fn state_directory(given: Option<&Path>, config: &Config) -> PathBuf {
    let environment = context::environment();
    match (given, environment.get("STATE_DIRECTORY")) {
        (Some(path), _) => path.to_owned(),
        (None, Some(path)) if !path.is_empty() => PathBuf::from(path),
        _ => config.store.path.clone(),
    }
}

/// Where local users connect: beside the store, unless told otherwise.
pub fn socket(config: &Config, state: &Path) -> PathBuf {
    config.listen.unix.clone().unwrap_or_else(|| state.join("houston.sock"))
}

pub fn run(terminal: &Terminal, cli: &Cli, args: &Serve) -> anyhow::Result<Exit> {
    let context = Context::read(&cli.common)?;
    for fault in &context.faults {
        terminal.note(&context::shown(terminal, fault));
    }
    let log = LineLog::new(std::io::stderr(), context.redactor.clone(), clock);
    // Libraries at debug level print whole URLs: only our own words are logged, and warnings of others.
    let filter = tracing_subscriber::filter::Targets::new()
        .with_default(tracing::Level::WARN)
        .with_target("houston", tracing::Level::INFO);
    let subscriber = tracing_subscriber::registry().with(filter).with(log.clone());
    tracing::subscriber::set_global_default(subscriber).context("the log can't be started")?;

    let state = state_directory(args.state.as_deref(), &context.config);
    let tcp = match &args.listen {
        Some(text) => Some(text.parse().map_err(|_| Mistyped(format!("not an address: `{text}` (127.0.0.1:8460)")))?),
        None => context.config.listen.tcp,
    };
    let options = Start {
        socket: Some(socket(&context.config, &state)),
        settings: context.config.triage,
        state,
        tcp,
        log: Some(log.clone()),
    };
    let runtime = context::runtime()?;
    let ended = runtime.block_on(async {
        // The handlers stand before the first ticket can come in: a signal in between must not end the process.
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let mut service = start(context, options).await?;
        announce(terminal, &service);
        tokio::select! {
            ended = service.ended() => {
                ended?;
                return Ok(Exit::Fine);
            }
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tokio::select! {
            stopped = service.stop() => stopped?,
            // Who asks again doesn't want to wait: what is under way is on disk, and the next start takes it up.
            _ = terminate.recv() => tracing::warn!("stopped at once, on a second signal"),
            _ = tokio::signal::ctrl_c() => tracing::warn!("stopped at once, on a second signal"),
        }
        Ok(Exit::Fine)
    });
    runtime.shutdown_background();
    match &ended {
        Ok(_) => tracing::info!("stopped"),
        Err(error) => tracing::error!(why = %format!("{error:#}"), "stopped"),
    }
    log.settle(LAST_WORDS);
    ended
}

fn announce(terminal: &Terminal, service: &Service) {
    if let Some(url) = &service.url {
        terminal.line(&format!("houston listens on {url}   (token: {})", service.token_file.display()));
    }
    if let Some(socket) = &service.socket {
        terminal.line(&format!("for local users on unix:{}", socket.display()));
    }
    if let Some(login) = &service.login {
        terminal.line(&format!("the pages, once: {login}"));
    }
}
