//! Is it well? What `houston status` and `/api/v1/status` say.

use serde::{Deserialize, Serialize};

use super::Shared;
use crate::model::case::number_text;

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// No details, for answers that need no token.
    pub in_public: &'static str,
    pub in_full: String,
    /// True where it can't be relied on: no ticket can be taken, or nobody can be told.
    pub blocks: bool,
}

/// The daemon's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub up_seconds: u64,
    pub checks: usize,
    pub generation: u64,
    pub stale_files: Vec<String>,
    /// Each fault of `checks.d/`, with its place.
    pub faults: Vec<String>,
    pub open_cases: usize,
    pub overdue: Vec<String>,
    pub queue: usize,
    pub troubles: Vec<String>,
    /// True where no ticket can be taken, or nobody can be told.
    #[serde(default)]
    pub broken: bool,
}

impl Status {
    /// True where nothing wants attention.
    pub fn is_well(&self) -> bool {
        self.troubles.is_empty()
    }
}

pub async fn status(shared: &Shared) -> Status {
    let now = (shared.clock)();
    let checks = shared.checks.borrow().clone();
    let faults = shared.faults.borrow().iter().map(ToString::to_string).collect();
    let troubles = shared.troubles().await;
    let open = shared.store.unfinished().await.unwrap_or_default();
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        up_seconds: shared.started.elapsed().as_secs(),
        checks: checks.checks.len(),
        generation: checks.generation,
        stale_files: checks.stale_files.clone(),
        faults,
        open_cases: open.len(),
        overdue: open.iter().filter(|case| case.deadline_at < now).map(|case| number_text(case.number)).collect(),
        queue: shared.store.queue_length().await.unwrap_or(0),
        broken: troubles.iter().any(|trouble| trouble.blocks),
        troubles: troubles.into_iter().map(|trouble| trouble.in_full).collect(),
    }
}
