//! How far an exchange has come, so that a deadline that runs out can say what it ran out on, and whose fault it was.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use super::http::meter::Meter;
use super::http::{Failure, Reason, Timings};
use crate::model::observation::{Phase, UnknownKind};
use crate::model::units::show_duration;

/// A timer that fires this much late says that our own process could not keep up.
const LAG: Duration = Duration::from_millis(500);

/// What is being waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// A turn at the target, given by our own budgets.
    Turn,
    Resolve,
    Connect,
    Tls,
    /// The answer's first byte, and the rest of its head.
    FirstByte,
    /// The rest of its body.
    Body,
}

impl Stage {
    pub(super) fn phase(self) -> Phase {
        match self {
            Stage::Turn | Stage::Connect => Phase::Connect,
            Stage::Resolve => Phase::Resolve,
            Stage::Tls => Phase::Tls,
            Stage::FirstByte => Phase::Processing,
            Stage::Body => Phase::Transfer,
        }
    }
}

/// Kept beside an exchange while it runs.
#[derive(Debug)]
pub(super) struct Progress {
    start: Instant,
    stage: Stage,
    since: Instant,
    /// Time that went by on our own side of the wire: waiting for a turn.
    waited: Duration,
    /// Time that our resolver took.
    resolving: Duration,
    pub(super) timings: Timings,
    pub(super) redirects: Vec<Url>,
    /// Bytes of the body so far.
    pub(super) received: usize,
    pub(super) certificate_expiry: Option<jiff::Timestamp>,
    /// Counts the connection of the present hop.
    pub(super) meter: Option<Arc<Meter>>,
}

impl Progress {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Progress {
            start: now,
            stage: Stage::Turn,
            since: now,
            waited: Duration::ZERO,
            resolving: Duration::ZERO,
            timings: Timings::default(),
            redirects: Vec::new(),
            received: 0,
            certificate_expiry: None,
            meter: None,
        }
    }

    /// Begins a stage; says how long the one before it took.
    pub(super) fn enter(&mut self, stage: Stage) -> Duration {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.since);
        match self.stage {
            Stage::Turn => self.waited += took,
            Stage::Resolve => self.resolving += took,
            _ => {}
        }
        self.stage = stage;
        self.since = now;
        took
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    /// When the present stage began.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// The time since the start without what we spent waiting for our own turn.
    pub(super) fn total(&self) -> Duration {
        let waiting = if self.stage == Stage::Turn { self.since.elapsed() } else { Duration::ZERO };
        self.start.elapsed().saturating_sub(self.waited + waiting)
    }

    pub(super) fn fail(&mut self, reason: Reason, what: impl Into<String>) -> Failure {
        self.timings.total = self.total();
        Failure {
            reason,
            phase: self.stage.phase(),
            what: what.into(),
            timings: self.timings,
            redirects: self.redirects.clone(),
            certificate_expiry: self.certificate_expiry,
            unknown: self.unknown(reason),
        }
    }

    fn unknown(&self, reason: Reason) -> UnknownKind {
        match (reason, self.stage) {
            (Reason::Guard, _) => UnknownKind::Refused,
            (Reason::Timeout, _) | (Reason::Ours, Stage::Turn) => UnknownKind::TimedOut,
            (Reason::Service, _) | (Reason::Ours, Stage::Resolve | Stage::Connect) => UnknownKind::Unreachable,
            // Our own configuration is in the way: a CA file, a server's name.
            (Reason::Ours, Stage::Tls) => UnknownKind::Refused,
            // An answer was there, and one of our caps ended it.
            (Reason::Ours, Stage::FirstByte | Stage::Body) => UnknownKind::Incomplete,
        }
    }

    /// The deadline ran out in the present stage.
    pub(super) fn timed_out(&mut self, deadline: Instant) -> Failure {
        let failure = self.ran_out(deadline);
        let unknown = if self.stage == Stage::Resolve { UnknownKind::Unreachable } else { UnknownKind::TimedOut };
        Failure { unknown, ..failure }
    }

    fn ran_out(&mut self, deadline: Instant) -> Failure {
        let now = Instant::now();
        let stage = show_duration(now.saturating_duration_since(self.since));
        if now.saturating_duration_since(deadline) > LAG {
            return self
                .fail(Reason::Ours, format!("our own side was too busy: a timer was late by more than {LAG:?}"));
        }
        let what = match self.stage {
            Stage::Turn => return self.fail(Reason::Ours, format!("no turn at this target in {stage} (its budget)")),
            Stage::Resolve => return self.fail(Reason::Ours, format!("the resolver did not answer in {stage}")),
            Stage::Connect => format!("no connection in {stage}"),
            Stage::Tls => format!("no TLS handshake in {stage}"),
            Stage::FirstByte if self.meter.as_ref().is_some_and(|meter| meter.first().is_some()) => {
                format!("the answer's head did not end in {stage}")
            }
            Stage::FirstByte => format!("no byte in {stage}"),
            Stage::Body => format!("the answer did not end in {stage} ({} bytes came)", self.received),
        };
        // What we used up ourselves may not be blamed on the other side.
        let ours = self.waited + self.resolving;
        if ours > deadline.saturating_duration_since(self.start) / 2 {
            let what = format!("{what}; {} went by on our own side before", show_duration(ours));
            return self.fail(Reason::Ours, what);
        }
        self.fail(Reason::Timeout, what)
    }
}
