//! What commands start from: the checks, the configuration, the tools, the runtimes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::runtime::{Builder, Runtime};

use super::args::Common;
use super::{Mistyped, Terminal};
use crate::checks::{CheckSet, Library, SecretTest};
use crate::config::{self, Config};
use crate::evidence::{KINDS, Setup, Tools};
use crate::files::kept::Kept;
use crate::model::secret::{Environment, Redactor, SecretRef};
use crate::model::source::{Diagnostic, Severity};
use crate::net::budget::{Limit, Limits};
use crate::net::credentials::Credentials;
use crate::net::daemon::{Address, Daemon};
use crate::net::guard::{Entry, Guard};
use crate::report::diagnostic;

/// Where checks are looked for, in order.
const CHECKS: [&str; 2] = ["checks.d", "/etc/houston/checks.d"];
/// Where the configuration is looked for, in order.
const CONFIG: [&str; 2] = ["houston.yaml", "/etc/houston/houston.yaml"];
/// Threads that probes run on.
const LOOK_THREADS: usize = 4;
/// Threads for blocking file reads.
const BLOCKING_THREADS: usize = 64;

/// The checks and the configuration that a command works with.
pub struct Context {
    pub config: Config,
    pub library: Library,
    pub checks: CheckSet,
    pub faults: Vec<Diagnostic>,
    pub environment: Environment,
    pub redactor: Redactor,
}

impl Context {
    /// Reads both. Faults of checks are shown and cost only their own files; faults of the configuration end the command.
    pub fn load(terminal: &Terminal, common: &Common) -> anyhow::Result<Self> {
        let context = Context::read(common)?;
        for fault in context.faults.iter().filter(|fault| fault.severity == Severity::Error) {
            terminal.note(&shown(terminal, fault));
        }
        if context.checks.checks.is_empty() {
            bail!("{} has no usable check (houston check validate)", context.library.folder().display());
        }
        Ok(context)
    }

    /// Reads both, and shows nothing.
    pub fn read(common: &Common) -> anyhow::Result<Self> {
        let folder = checks_folder(common)?;
        let environment = environment();
        let redactor = Redactor::default();
        let config = config(common)?;
        let credentials = Credentials::new(environment.clone(), redactor.clone());
        let test: SecretTest = Arc::new(move |from: &SecretRef| credentials.get(from).map(drop));
        let mut library = Library::new(folder, KINDS, test);
        let (checks, faults) = library.reload();
        Ok(Context { config, library, checks, faults, environment, redactor })
    }

    /// What probes share.
    pub fn tools(&self) -> anyhow::Result<Tools> {
        // A command that is run once has no state of its own; it may run beside a daemon of another user.
        let kept = format!("houston-evidence-{}", rustix::process::geteuid().as_raw());
        let kept = std::env::temp_dir().join(kept);
        tools(&self.config, self.environment.clone(), self.redactor.clone(), Vec::new(), kept)
    }
}

/// What probes share; `own` are the listeners of this process, which no check may ask, `kept` is where they leave
/// screenshots.
pub fn tools(
    config: &Config,
    environment: Environment,
    redactor: Redactor,
    own: Vec<SocketAddr>,
    kept: PathBuf,
) -> anyhow::Result<Tools> {
    let mut denied = Vec::new();
    for entry in &config.deny {
        let parsed = Entry::parse(&entry.value);
        denied.push(parsed.map_err(|why| anyhow::anyhow!("{}: {why}", entry.at))?);
    }
    let limit = |budget: &crate::config::Budget| Limit { at_once: budget.concurrent, per_second: budget.per_second };
    let budgets = &config.budgets;
    let limits = Limits {
        service: limit(&budgets.service),
        system: limit(&budgets.system),
        targets: budgets.hosts.iter().map(|(host, budget)| (host.clone(), limit(budget))).collect(),
    };
    let (programs, guard) = (config.programs.clone(), Guard::new(denied, own));
    Ok(Tools::new(Setup {
        environment,
        redactor,
        programs,
        kept: Some(Kept::new(kept)),
        guard,
        limits,
        ..Setup::default()
    }))
}

/// A fault as it is drawn for this terminal.
pub fn shown(terminal: &Terminal, fault: &Diagnostic) -> String {
    if terminal.progress_style.colour { diagnostic::coloured(fault) } else { diagnostic::plain(fault) }
}

fn checks_folder(common: &Common) -> anyhow::Result<PathBuf> {
    if let Some(folder) = &common.checks {
        if !folder.is_dir() {
            bail!("{} is not a directory that can be read", folder.display());
        }
        return Ok(folder.clone());
    }
    match CHECKS.iter().find(|folder| Path::new(folder).is_dir()) {
        Some(folder) => Ok(PathBuf::from(folder)),
        None => {
            bail!("there are no checks: neither ./checks.d nor /etc/houston/checks.d is a directory (--checks DIR)")
        }
    }
}

/// The configuration; all its defaults where there is none.
pub fn config(common: &Common) -> anyhow::Result<Config> {
    let path = match &common.config {
        Some(path) => path.clone(),
        None => match CONFIG.iter().find(|path| Path::new(path).is_file()) {
            Some(path) => PathBuf::from(path),
            None => return Ok(Config::default()),
        },
    };
    config::load(&path).map_err(|faults| {
        let shown: Vec<String> = faults.iter().map(diagnostic::plain).collect();
        anyhow::anyhow!("{} can't be used\n{}", path.display(), shown.join("\n"))
    })
}

#[allow(clippy::disallowed_methods)] // the command line reads the environment
pub fn environment() -> Environment {
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Environment::new(variables)
}

/// The runtime that keeps deadlines, answers requests and writes things down. Probes never run on it.
pub fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).thread_name("houston").enable_all().build().context("no runtime")
}

/// The runtime that probes run on: what blocks or spins there delays no deadline.
pub fn looks_runtime() -> anyhow::Result<Looks> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(LOOK_THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("houston-look")
        .enable_all()
        .build()
        .context("no runtime for the looks")?;
    Ok(Looks(Some(runtime)))
}

/// The runtime of the looks. A probe that blocks its thread doesn't keep it from ending.
#[derive(Debug)]
pub struct Looks(Option<Runtime>);

impl Looks {
    pub fn handle(&self) -> anyhow::Result<tokio::runtime::Handle> {
        self.0.as_ref().map(|runtime| runtime.handle().clone()).context("the looks have ended")
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The daemon at this address.
pub fn daemon(common: &Common, server: &str) -> anyhow::Result<Daemon> {
    let address = Address::parse(server).map_err(Mistyped)?;
    let environment = environment();
    let file = common.token_file.clone().or_else(|| environment.get("HOUSTON_TOKEN_FILE").map(PathBuf::from));
    let token = match (&address, file) {
        (Address::Url(_), Some(path)) => {
            let credentials = Credentials::new(environment, Redactor::default());
            Some(credentials.get(&SecretRef::File(path)).map_err(anyhow::Error::msg)?)
        }
        _ => None,
    };
    Daemon::new(address, token).map_err(anyhow::Error::msg)
}

/// The daemon that was named, or the local one.
pub fn named_or_local_daemon(common: &Common) -> anyhow::Result<Daemon> {
    if let Some(server) = &common.server {
        return daemon(common, server);
    }
    let config = self::config(common)?;
    let socket = super::serve::socket(&config, &super::serve::state_directory(None, &config));
    daemon(common, &format!("unix:{}", socket.display()))
}
