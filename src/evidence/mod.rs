//! The five looks: the table of contents of the probe kinds, and the registry that names them all.
//!
//! A probe reports facts and judges nothing. It is dropped at its deadline, so it must be safe to cancel at each
//! `await`; what it can't see it says with a reason. To add a kind: one file, its `mod` line, its line in [`KINDS`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::model::look::Look;
use crate::model::measure::Measure;
use crate::model::memory::Memory;
use crate::model::observation::Observation;
use crate::model::params::Params;
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::model::window::{Moment, Window};
use crate::yaml;

pub mod external;
pub mod internal;
pub mod logs;
pub mod traffic;
pub mod use_case;

mod command;
mod companion;
mod endpoint;
pub mod log_source;
mod message;
mod series;
pub mod slots;
mod tools;

pub use tools::{Setup, Tools};

/// Every kind of probe, in the order in which they are listed to people.
#[rustfmt::skip] // a line a kind
pub static KINDS: &[&Kind] = &[
    &internal::prometheus::KIND,
    &internal::metrics::KIND,
    &internal::alertmanager::KIND,
    &internal::postgres::KIND,
    &internal::host::KIND,
    &internal::systemd::KIND,
    &internal::plugin::KIND,
    &external::http::KIND,
    &external::tcp::KIND,
    &external::tls::KIND,
    &external::dns::KIND,
    &external::grpc::KIND,
    &external::websocket::KIND,
    &external::icmp::KIND,
    &external::blackbox::KIND,
    &external::status_page::KIND,
    &logs::log_file::KIND,
    &logs::journald::KIND,
    &logs::loki::KIND,
    &logs::elasticsearch::KIND,
    &traffic::access_log::KIND,
    &traffic::traffic::KIND,
    &traffic::interface::KIND,
    &traffic::capture::KIND,
    &use_case::journey::KIND,
    &use_case::hurl::KIND,
    &use_case::browser::KIND,
    &use_case::script::KIND,
];

/// The kind with this name.
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|kind| kind.name == name)
}

/// What a probe is asked.
#[derive(Clone)]
pub struct Ask {
    /// The time at which the round began; a probe reads no clock of its own but for durations.
    pub now: jiff::Timestamp,
    /// The span to look at, for kinds that answer over a span.
    pub window: Window,
    pub moment: Moment,
    /// When the trouble is said to have begun: what lies after it is no measure of what is usual.
    pub since: jiff::Timestamp,
    /// The declared parameters with their values, for the slots of the probe.
    pub params: Params,
    /// Look at this customer's share only (kinds that declare a `customer` field).
    pub customer: Option<String>,
    /// Counts from 1; a repeated look must be a fresh one, never a shared answer.
    pub attempt: u32,
    /// Measures of which `usual(…)` wants the source's own past.
    pub usual: Vec<String>,
    /// When the caller drops the probe; use it to stop blocking work by itself.
    pub deadline: tokio::time::Instant,
    pub memory: Arc<Memory>,
    /// The check's name (for what is remembered under it).
    pub check: Arc<str>,
    pub tools: Arc<Tools>,
}

/// A look under way.
pub type Looking<'a> = Pin<Box<dyn Future<Output = Observation> + Send + 'a>>;

/// The code that can look, set up from one check's YAML.
pub trait Probe: Send + Sync + std::fmt::Debug {
    /// Looks once. Failing to look is an observation, too.
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a>;

    /// The system that is asked: `host:port`, a set of files, a command. Checks that ask the same one are one witness.
    fn system(&self) -> String;

    /// Names of the parameters that the probe's slots use.
    fn params(&self) -> Vec<String> {
        Vec::new()
    }

    /// Secrets that the probe will need, so that a missing one is an error when the file is loaded.
    fn secrets(&self) -> Vec<SecretRef> {
        Vec::new()
    }

    /// True where the probe can look at one customer's share alone (its YAML declares a `customer` field).
    fn splits_by_customer(&self) -> bool {
        false
    }

    /// The number of expectations that the probe holds itself (a journey's steps).
    fn own_expectations(&self) -> usize {
        0
    }
}

/// A key of a kind's YAML, for the documentation.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    /// "URL", "duration", "list of paths" …
    pub takes: &'static str,
    /// `None` where the key is required.
    pub default: Option<&'static str>,
    pub meaning: &'static str,
}

/// Which moments a kind can speak for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sees {
    /// Only the moment at which it looks.
    Now,
    /// Any window of the past, from timestamps of its own.
    Past,
}

/// What a default expectation begins with whose breach is odd and not bad: `odd: exit != 1`.
pub const ODD: &str = "odd: ";

/// One kind of probe: behaviour, documentation and defaults in one place.
pub struct Kind {
    /// The key in YAML.
    pub name: &'static str,
    /// The home look.
    pub look: Look,
    /// One line, lower case, no full stop.
    pub summary: &'static str,
    /// A few paragraphs: what it does, what is bad, what is unknown.
    pub docs: &'static str,
    pub keys: &'static [Key],
    pub measures: &'static [Measure],
    /// Expectations of a check that declares none. One that begins with [`ODD`] is `else: odd`.
    pub default_expect: &'static [&'static str],
    /// The measure that is shown when all is well.
    pub headline: &'static [&'static str],
    pub sees: Sees,
    /// How often a cheap probe looks before it accuses.
    pub attempts: u32,
    /// The working example in `checks.d/`, as a path below it.
    pub example: &'static str,
    /// The example itself.
    pub example_text: &'static str,
    /// Reads the kind's own value from YAML.
    pub read: fn(&yaml::Node) -> Result<Arc<dyn Probe>, Diagnostic>,
    /// The JSON Schema of the kind's value.
    pub schema: fn(&mut schemars::SchemaGenerator) -> schemars::Schema,
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kind({})", self.name)
    }
}
