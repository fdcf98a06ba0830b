//! The times of one run: until when its steps are taken, and what is kept for its clean-up.

use std::time::Duration;

use tokio::time::Instant;

/// The most that is kept of the deadline for steps that are taken whatever happened.
const CLEAN_UP: Duration = Duration::from_secs(2);
/// Kept back so that the run ends by itself and isn't cut off.
pub const MARGIN: Duration = Duration::from_millis(100);

/// Until when what is done.
pub struct Deadlines {
    pub started: Instant,
    /// The steps themselves.
    pub steps: Instant,
    /// Everything.
    pub all: Instant,
}

impl Deadlines {
    pub fn new(started: Instant, deadline: Instant, cleans_up: bool) -> Self {
        let total = deadline.saturating_duration_since(started);
        let all = deadline - MARGIN.min(total / 20);
        let reserve = if cleans_up { CLEAN_UP.min(total / 5) } else { Duration::ZERO };
        Deadlines { started, steps: all - reserve, all }
    }
}
