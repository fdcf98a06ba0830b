//! What probes share: one HTTP client, one resolver, the credentials, the allow-list of programs.

use std::path::PathBuf;

use crate::model::secret::Redactor;
use crate::net::credentials::Credentials;
use crate::net::dns::Resolver;
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
}
