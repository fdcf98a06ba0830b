//! How much a single target is asked at once and per second, whatever tickets come in.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// The most targets that are remembered; beyond that, idle ones are forgotten.
const TARGETS: usize = 1_024;

/// Which default a target falls under.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Budget {
    /// What customers use, and we only probe: asked sparingly.
    #[default]
    Service,
    /// What is there to be asked: Prometheus, Loki, a tracker.
    System,
}

/// The bounds of one target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// At once.
    pub at_once: usize,
    /// Started per second, with a burst of the same number; `None`: not bounded.
    pub per_second: Option<f64>,
}

/// The bounds of all targets.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    pub service: Limit,
    pub system: Limit,
    /// By `host` or `host:port`; the latter wins.
    pub targets: BTreeMap<String, Limit>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            service: Limit { at_once: 2, per_second: Some(5.0) },
            system: Limit { at_once: 8, per_second: None },
            targets: BTreeMap::new(),
        }
    }
}

/// Hands out turns; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Budgets(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    limits: Limits,
    targets: Mutex<HashMap<(String, Budget), Arc<Target>>>,
}

#[derive(Debug)]
struct Target {
    slots: Arc<Semaphore>,
    /// How far apart starts are on average, and how many may come in a burst.
    pace: Option<(Duration, u32)>,
    /// When the next start would be due if starts were evenly spaced (the generic cell rate algorithm).
    due: Mutex<Option<Instant>>,
}

/// Leave to ask a target once; given back when it is dropped.
#[derive(Debug)]
pub struct Turn(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Budgets {
    pub fn new(limits: Limits) -> Self {
        Budgets(Arc::new(Shared { limits, targets: Mutex::default() }))
    }

    /// Waits for a turn at `host:port`. Turns are given in the order in which they were asked for; who stops waiting
    /// uses none up, but may leave its place in the pace unused.
    pub async fn turn(&self, host: &str, port: u16, budget: Budget) -> Turn {
        let target = self.target(host, port, budget);
        let permit = match Arc::clone(&target.slots).acquire_owned().await {
            Ok(permit) => permit,
            // The semaphore is never closed; were it, waiting for ever is the caller's deadline's business.
            Err(_) => std::future::pending().await,
        };
        if let Some(at) = target.start(Instant::now()) {
            tokio::time::sleep_until(at).await;
        }
        Turn(permit)
    }

    /// The bounds of a target, as it is told to people.
    pub fn limit(&self, host: &str, port: u16, budget: Budget) -> Limit {
        let limits = &self.0.limits;
        let named = limits.targets.get(&format!("{host}:{port}")).or_else(|| limits.targets.get(host));
        match (named, budget) {
            (Some(limit), _) => *limit,
            (None, Budget::Service) => limits.service,
            (None, Budget::System) => limits.system,
        }
    }

    fn target(&self, host: &str, port: u16, budget: Budget) -> Arc<Target> {
        let key = (format!("{host}:{port}"), budget);
        let mut targets = self.0.targets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = targets.get(&key) {
            return Arc::clone(target);
        }
        if targets.len() >= TARGETS {
            // A target that nobody holds and whose pace has run down is as good as new.
            let now = Instant::now();
            targets.retain(|_, target| Arc::strong_count(target) > 1 || target.is_paced(now));
        }
        let target = Arc::new(Target::new(self.limit(host, port, budget)));
        targets.insert(key, Arc::clone(&target));
        target
    }
}

impl Target {
    fn new(limit: Limit) -> Self {
        let pace = limit.per_second.filter(|per_second| *per_second > 0.0).map(|per_second| {
            let apart = Duration::from_secs_f64((1.0 / per_second).min(3_600.0));
            (apart, (per_second.floor() as u32).max(1))
        });
        Target {
            slots: Arc::new(Semaphore::new(limit.at_once.clamp(1, Semaphore::MAX_PERMITS))),
            pace,
            due: Mutex::new(None),
        }
    }

    /// Books the next start and says when it is, where it isn't at once.
    fn start(&self, now: Instant) -> Option<Instant> {
        let (apart, burst) = self.pace?;
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let this = due.unwrap_or(now).max(now);
        *due = Some(this + apart);
        let at = this.checked_sub(apart * (burst - 1))?;
        (at > now).then_some(at)
    }

    fn is_paced(&self, now: Instant) -> bool {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|due| due > now)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_service_is_asked_two_at_once() {
        let budgets = Budgets::default();
        let first = budgets.turn("shop", 80, Budget::Service).await;
        let _second = budgets.turn("shop", 80, Budget::Service).await;
        assert!(budgets.turn("shop", 80, Budget::Service).now_or_never().is_none());
        assert!(budgets.turn("shop", 81, Budget::Service).now_or_never().is_some());
        assert!(budgets.turn("shop", 80, Budget::System).now_or_never().is_some());
        drop(first);
        assert!(budgets.turn("shop", 80, Budget::Service).now_or_never().is_some());
    }

    #[test]
    fn a_service_is_asked_five_times_a_second() {
        let target = Target::new(Limits::default().service);
        let begin = Instant::now();
        let after = |target: &Target, now: Instant| target.start(now).map_or(Duration::ZERO, |at| at - begin);
        for (number, millis) in [0, 0, 0, 0, 0, 200, 400, 600, 800, 1_000].into_iter().enumerate() {
            assert_eq!(after(&target, begin), Duration::from_millis(millis), "start {number}");
        }
        // After a rest there is a burst again, and no more than one.
        let later = begin + Duration::from_secs(60);
        let waits: Vec<_> = (0..7).map(|_| target.start(later).map(|at| (at - later).as_millis())).collect();
        assert_eq!(waits, [None, None, None, None, None, Some(200), Some(400)]);
        assert_eq!(Target::new(Limits::default().system).start(begin), None);
    }

    #[tokio::test]
    async fn a_target_can_have_bounds_of_its_own() {
        let limit = |at_once| Limit { at_once, per_second: None };
        let targets = BTreeMap::from([("shop".to_owned(), limit(1)), ("shop:81".to_owned(), limit(3))]);
        let budgets = Budgets::new(Limits { targets, ..Limits::default() });
        for (port, at_once) in [(80, 1), (81, 3)] {
            let held: Vec<_> =
                (0..10).filter_map(|_| budgets.turn("shop", port, Budget::Service).now_or_never()).collect();
            assert_eq!(held.len(), at_once);
        }
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded() {
        let budgets = Budgets::default();
        for index in 0..10_000 {
            drop(budgets.turn(&format!("host-{index}"), 80, Budget::System).await);
        }
        assert!(budgets.0.targets.lock().unwrap().len() <= TARGETS);
    }
}
