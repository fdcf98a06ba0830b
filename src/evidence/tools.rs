//! What probes share: one HTTP client, one resolver, the credentials, the allow-list of programs.

use std::path::PathBuf;

use crate::files::kept::Kept;
use crate::model::secret::{Environment, Redactor};
use crate::net::budget::{Budgets, Limits};
use crate::net::credentials::Credentials;
use crate::net::dial::Dialer;
use crate::net::dns::Resolver;
use crate::net::guard::Guard;
use crate::net::http::Client;

/// Made once per process and shared by every probe.
#[derive(Debug)]
pub struct Tools {
    pub http: Client,
    pub resolver: Resolver,
    pub credentials: Credentials,
    pub redactor: Redactor,
    /// Absolute paths of programs that checks may run.
    pub programs: Vec<PathBuf>,
    /// Where what is too large for a verdict is kept; nowhere, where there is none.
    pub kept: Option<Kept>,
}

/// What the tools are made from; the defaults suit a command that is run once.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Where secrets named by `{ env: NAME }` come from.
    pub environment: Environment,
    /// Shared with whoever writes logs and evidence.
    pub redactor: Redactor,
    pub programs: Vec<PathBuf>,
    pub kept: Option<Kept>,
    /// The host's own, unless told otherwise.
    pub resolver: Resolver,
    /// The deny list, and this process's own listeners.
    pub guard: Guard,
    /// How much each target may be asked.
    pub limits: Limits,
}

impl Tools {
    pub fn new(setup: Setup) -> Self {
        let Setup { environment, redactor, programs, kept, resolver, guard, limits } = setup;
        let dialer = Dialer { resolver: resolver.clone(), guard, budgets: Budgets::new(limits) };
        Tools {
            http: Client::new(dialer),
            resolver,
            credentials: Credentials::new(environment, redactor.clone()),
            redactor,
            programs,
            kept,
        }
    }
}

impl Default for Tools {
    fn default() -> Self {
        Tools::new(Setup::default())
    }
}
