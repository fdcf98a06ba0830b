//! Serve: one loop over one closed event enum; around it the API, the outbox and the watch over `checks.d/`.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::checks::CheckSet;
use crate::evidence::Tools;
use crate::model::case::{Case, number_text};
use crate::model::catalog::Catalog;
use crate::model::settings::TriageSettings;
use crate::model::source::{Diagnostic, Severity};
use crate::response::channels::LOG;
use crate::response::deliver::Deliverer;
use crate::response::playbook::Policy;
use crate::store::history::History;
use crate::store::{Store, StoreError, Undeliverable};

mod access;
pub mod acknowledge;
mod answer;
pub mod api;
pub mod auth;
mod callbacks;
pub mod heartbeat;
pub mod intake;
mod ladders;
pub mod log;
pub mod metrics;
pub mod outbox;
mod pages;
pub mod sampler;
pub mod server;
pub mod status;
mod work;

use metrics::Metrics;
use status::Trouble;

/// Rounds that run at the same time; further tickets wait for their turn, the most urgent first.
const ROUNDS: usize = 32;
/// A verdict is late from here on.
const LATE: SignedDuration = SignedDuration::from_secs(5);
/// How often the loop looks around by itself.
const TICK: Duration = Duration::from_secs(1);
/// The loop is stuck when it has not turned for this long.
const STUCK: Duration = Duration::from_secs(10);
/// How often the store is tried, whoever asks meanwhile.
const CHECKUP: Duration = Duration::from_secs(1);
/// The most undelivered actions that are told one by one.
const TOLD: usize = 10;
/// How long nobody can have been told of something before that is a trouble.
const UNTOLD: SignedDuration = SignedDuration::from_mins(5);
/// How long what was given up, and reached nobody, stays a trouble.
const GIVEN_UP: SignedDuration = SignedDuration::from_hours(1);
/// How long rounds may go on after a stop was asked for.
const DRAIN: Duration = Duration::from_secs(30);

/// Everything that the daemon works with.
pub struct Parts {
    pub store: Store,
    /// What is sampled in the background; `None` where it can't be kept.
    pub history: Option<History>,
    pub checks: watch::Receiver<Arc<CheckSet>>,
    pub faults: watch::Receiver<Vec<Diagnostic>>,
    pub catalog: Arc<Catalog>,
    pub settings: TriageSettings,
    pub tools: Arc<Tools>,
    /// The runtime that probes run on.
    pub looks: Handle,
    pub policy: Policy,
    pub desks: intake::Desks,
    pub deliverer: Deliverer,
    pub access: auth::Access,
    pub acknowledge: acknowledge::Links,
    pub log: Option<log::LineLog>,
    /// Who is told that all is well, as long as it is.
    pub heartbeat: Option<heartbeat::Watcher>,
    pub clock: fn() -> Timestamp,
}

/// What the tasks of the daemon share.
pub struct Shared {
    pub store: Store,
    /// What is sampled in the background; `None` where it can't be kept.
    pub history: Option<History>,
    pub checks: watch::Receiver<Arc<CheckSet>>,
    pub faults: watch::Receiver<Vec<Diagnostic>>,
    pub catalog: Arc<Catalog>,
    pub settings: TriageSettings,
    pub tools: Arc<Tools>,
    pub looks: Handle,
    pub policy: Policy,
    /// The systems in which tickets live.
    pub desks: intake::Desks,
    pub metrics: Arc<Metrics>,
    pub access: auth::Access,
    /// The links by which a page is acknowledged.
    pub acknowledge: acknowledge::Links,
    pub log: Option<log::LineLog>,
    pub clock: fn() -> Timestamp,
    pub started: Instant,
    /// Wakes the outbox.
    pub outbox: Notify,
    /// Wakes the ladders.
    pub pages: Notify,
    events: mpsc::UnboundedSender<Event>,
    heard: watch::Sender<u64>,
    checkup: tokio::sync::Mutex<Option<(Instant, Checkup)>>,
    draining: AtomicBool,
    turned: AtomicU64,
}

/// Everything that can happen to the daemon.
#[derive(Debug)]
enum Event {
    /// A round is on disk and waits to be worked on.
    Accepted(u64),
    /// A round ended, or failed to be written down.
    Ended(u64),
    /// Time passed.
    Tick,
    /// The checks, or what is wrong with them, changed.
    ChecksChanged,
    /// Somebody asked it to stop.
    Stop,
}

/// What it costs a write and a read to find out.
#[derive(Debug, Clone, Default)]
struct Checkup {
    /// Why the store can't be written.
    unwritable: Option<String>,
    /// Cases past their deadline without a verdict.
    overdue: Vec<u64>,
    /// What nobody could be told.
    undeliverable: Vec<Undeliverable>,
}

/// Waits for news of any case.
pub struct Heard(watch::Receiver<u64>);

impl Heard {
    /// Returns at the next piece of news, or after `at_most`.
    pub async fn wait(mut self, at_most: Duration) {
        // An error here means that the daemon is going away, which ends the wait as well.
        let _ = tokio::time::timeout(at_most, self.0.changed()).await;
    }
}

impl Shared {
    /// A case has news: whoever follows it looks again.
    pub fn told(&self, _number: u64) {
        self.heard.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// To be taken before looking, so that no news between looking and waiting is missed.
    pub fn listen(&self) -> Heard {
        Heard(self.heard.subscribe())
    }

    /// A round waits.
    pub fn accepted(&self, number: u64) {
        // The loop ends only after the API: until then somebody listens. After that the next start takes it up.
        let _ = self.events.send(Event::Accepted(number));
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// True while the loop turns.
    pub fn makes_progress(&self) -> bool {
        let turned = Duration::from_millis(self.turned.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(turned) < STUCK
    }

    /// The case, once its newest round is decided or the wait is over.
    pub async fn decided(&self, number: u64, wait: Duration) -> Result<Option<Case>, StoreError> {
        let until = Instant::now() + wait;
        loop {
            let heard = self.listen();
            let case = self.store.case(number).await?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || case.as_ref().is_none_or(|case| case.verdict.is_some()) {
                return Ok(case);
            }
            heard.wait(left.min(Duration::from_secs(1))).await;
        }
    }

    /// Tries the store, at most once a second however many ask: some of them need no token.
    async fn checkup(&self) -> Checkup {
        let mut known = self.checkup.lock().await;
        if let Some((at, checkup)) = known.as_ref()
            && at.elapsed() < CHECKUP
        {
            return checkup.clone();
        }
        let mut unwritable = self.store.probe().await.err().map(|error| error.to_string());
        let now = (self.clock)();
        // What can't be read isn't taken for well.
        let mut unread = |error: StoreError| {
            unwritable.get_or_insert(error.to_string());
        };
        let open = self.store.unfinished().await.map_err(&mut unread).unwrap_or_default();
        let undeliverable = self.store.undeliverable(now, LOG, GIVEN_UP, UNTOLD).await;
        let undeliverable = undeliverable.map_err(&mut unread).unwrap_or_default();
        let late = open.iter().filter(|case| case.deadline_at.duration_until(now) > LATE);
        let overdue = late.map(|case| case.number).collect();
        let checkup = Checkup { unwritable, overdue, undeliverable };
        *known = Some((Instant::now(), checkup.clone()));
        checkup
    }

    /// What is not as it should be.
    pub async fn troubles(&self) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        let Checkup { unwritable, overdue, undeliverable } = self.checkup().await;
        if let Some(in_full) = unwritable {
            troubles.push(Trouble { in_public: "store", in_full, blocks: true });
        }
        for Undeliverable { ticket, channel, why } in undeliverable.into_iter().take(TOLD) {
            let in_full = format!("nobody could be told of {}: {channel}: {why}", number_text(ticket));
            let in_full = crate::model::encode::terminal(&in_full);
            troubles.push(Trouble { in_public: "undeliverable", in_full, blocks: true });
        }
        if let Some(what) = self.store.recovered() {
            troubles.push(Trouble { in_public: "store recovered", in_full: what, blocks: false });
        }
        let checks = self.checks.borrow().clone();
        for file in &checks.stale_files {
            let in_full = format!("stale: {file} can't be used as it stands (houston check validate)");
            troubles.push(Trouble { in_public: "stale checks", in_full, blocks: false });
        }
        if checks.checks.is_empty() {
            let in_full = "there are no checks: every ticket will be doubtful".to_owned();
            troubles.push(Trouble { in_public: "no checks", in_full, blocks: false });
        }
        for number in overdue {
            let in_full = format!("{} is past its deadline without a verdict", number_text(number));
            troubles.push(Trouble { in_public: "overdue", in_full, blocks: false });
        }
        troubles
    }

    /// Brings the gauges up to date.
    pub async fn measure(&self) {
        let now = (self.clock)();
        if let Ok(open) = self.store.unfinished().await {
            let late = open.iter().filter(|case| case.deadline_at.duration_until(now) > LATE).count();
            self.metrics.overdue.set(late as i64);
            self.metrics.open_cases.set(open.len() as i64);
        }
        if let Ok(length) = self.store.queue_length().await {
            self.metrics.queue.set(length as i64);
        }
        if let Some(log) = &self.log {
            self.metrics.log_lines_dropped.set(i64::try_from(log.dropped()).unwrap_or(i64::MAX));
        }
    }
}

/// The daemon, set up and not yet running.
pub struct Daemon {
    pub shared: Arc<Shared>,
    events: mpsc::UnboundedReceiver<Event>,
    deliverer: Deliverer,
    heartbeat: Option<heartbeat::Watcher>,
}

impl Daemon {
    pub fn new(parts: Parts) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let shared = Shared {
            store: parts.store,
            history: parts.history,
            checks: parts.checks,
            faults: parts.faults,
            catalog: parts.catalog,
            settings: parts.settings,
            tools: parts.tools,
            looks: parts.looks,
            policy: parts.policy,
            desks: parts.desks,
            metrics: Arc::new(Metrics::default()),
            access: parts.access,
            acknowledge: parts.acknowledge,
            log: parts.log,
            clock: parts.clock,
            started: Instant::now(),
            outbox: Notify::new(),
            pages: Notify::new(),
            events: sender,
            heard: watch::channel(0).0,
            checkup: tokio::sync::Mutex::default(),
            draining: AtomicBool::new(false),
            turned: AtomicU64::new(0),
        };
        Daemon { shared: Arc::new(shared), events, deliverer: parts.deliverer, heartbeat: parts.heartbeat }
    }

    /// Runs until `stop` is cancelled, then lets the rounds under way end.
    ///
    /// # Errors
    /// The store can't be trusted any more: the process must end, and start again over what is on disk.
    pub async fn run(self, listeners: Listeners, stop: CancellationToken) -> Result<(), StoreError> {
        let Daemon { shared, mut events, deliverer, heartbeat } = self;
        let tracker = TaskTracker::new();
        let ending = CancellationToken::new();
        let app = api::app(Arc::clone(&shared));
        if let Some(listener) = listeners.tcp {
            tracker.spawn(server::serve_tcp(listener, app.clone(), ending.clone(), tracker.clone()));
        }
        if let Some(listener) = listeners.unix {
            tracker.spawn(server::serve_unix(listener, app, ending.clone(), tracker.clone()));
        }
        let delivering = tokio::spawn(outbox::run(Arc::clone(&shared), deliverer, ending.clone()));
        let around =
            tokio::spawn(look_around(shared.events.clone(), shared.checks.clone(), shared.faults.clone(), stop));
        let trying = tokio::spawn(try_the_store(Arc::clone(&shared)));
        let calling = tokio::spawn(callbacks::run(Arc::clone(&shared), ending.clone()));
        if let Some(watcher) = heartbeat {
            tracker.spawn(heartbeat::run(Arc::clone(&shared), watcher, ending.clone()));
        }
        let polling = tokio::spawn(intake::poll(Arc::clone(&shared), ending.clone()));
        let climbing = tokio::spawn(ladders::climb(Arc::clone(&shared), ending.clone()));
        let sampling = tokio::spawn(sampler::run(Arc::clone(&shared), ending.clone()));

        let mut turn = Turn { shared: Arc::clone(&shared), waiting: VecDeque::new(), running: BTreeSet::new() };
        // What an earlier life accepted comes first, the most overdue before the others.
        for case in shared.store.unfinished().await? {
            turn.waiting.push_back(case.number);
        }
        turn.start_next();
        let mut result = Ok(());
        let mut in_force: Option<(u64, Vec<Diagnostic>)> = None;
        while let Some(event) = events.recv().await {
            shared
                .turned
                .store(u64::try_from(shared.started.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
            match event {
                Event::Accepted(number) => turn.waiting.push_back(number),
                Event::Ended(number) => {
                    turn.running.remove(&number);
                }
                Event::Tick => {
                    turn.take_up_forgotten().await;
                    if let Some(why) = shared.store.broken() {
                        result = Err(StoreError::Unwritable(why));
                        break;
                    }
                }
                Event::ChecksChanged => {
                    let checks = shared.checks.borrow().clone();
                    shared.metrics.checks.set(checks.checks.len() as i64);
                    shared.metrics.stale_files.set(checks.stale_files.len() as i64);
                    shared.metrics.reload_seconds.set((shared.clock)().as_second());
                    let new = (checks.generation, shared.faults.borrow().clone());
                    if in_force.as_ref() != Some(&new) {
                        tell_checks(&checks, &new.1);
                        in_force = Some(new);
                    }
                }
                Event::Stop => break,
            }
            turn.start_next();
        }

        shared.draining.store(true, Ordering::Relaxed);
        tracing::info!(rounds = turn.running.len(), waiting = turn.waiting.len(), "stopping");
        // What ends now could not be written down, where the store is broken.
        if result.is_ok() {
            turn.drain(&mut events).await;
        }
        ending.cancel();
        around.abort();
        polling.abort();
        calling.abort();
        climbing.abort();
        trying.abort();
        tracker.close();
        let closing = Duration::from_secs(2);
        if tokio::time::timeout(closing, tracker.wait()).await.is_err() {
            tracing::info!("connections were cut off at the end");
        }
        if tokio::time::timeout(closing, sampling).await.is_err() {
            tracing::info!("the last samples were not written");
        }
        if tokio::time::timeout(closing, delivering).await.is_err() {
            tracing::info!("deliveries go on at the next start");
        }
        result
    }
}

/// Where requests come in.
#[derive(Debug, Default)]
pub struct Listeners {
    pub tcp: Option<tokio::net::TcpListener>,
    pub unix: Option<tokio::net::UnixListener>,
}

/// Which rounds run, and which wait.
struct Turn {
    shared: Arc<Shared>,
    waiting: VecDeque<u64>,
    running: BTreeSet<u64>,
}

impl Turn {
    fn start_next(&mut self) {
        while self.running.len() < ROUNDS {
            let Some(number) = self.waiting.pop_front() else { return };
            if !self.running.insert(number) {
                continue;
            }
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move {
                let round = tokio::spawn(work::work(Arc::clone(&shared), number));
                if let Err(error) = round.await {
                    tracing::error!(ticket = %number_text(number), error = %error, "a round failed");
                }
                // As above: without a listener the next start takes it up.
                let _ = shared.events.send(Event::Ended(number));
            });
        }
    }

    /// Whatever is on disk without a verdict and not in hand is taken up: nothing accepted is ever lost.
    async fn take_up_forgotten(&mut self) {
        let in_hand = self.running.len() + self.waiting.len();
        if self.shared.store.unfinished_count().await.is_ok_and(|count| count <= in_hand) {
            return;
        }
        let Ok(open) = self.shared.store.unfinished().await else { return };
        let in_hand: BTreeSet<u64> = self.running.iter().chain(&self.waiting).copied().collect();
        self.waiting.extend(open.iter().map(|case| case.number).filter(|number| !in_hand.contains(number)));
    }

    async fn drain(&mut self, events: &mut mpsc::UnboundedReceiver<Event>) {
        let until = Instant::now() + DRAIN;
        while !self.running.is_empty() {
            match tokio::time::timeout_at(until, events.recv()).await {
                Ok(Some(Event::Ended(number))) => {
                    self.running.remove(&number);
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => {
                    tracing::warn!(rounds = self.running.len(), "rounds are handed to the next start");
                    return;
                }
            }
        }
    }
}

fn tell_checks(checks: &CheckSet, faults: &[Diagnostic]) {
    tracing::info!(checks = checks.checks.len(), stale = checks.stale_files.len(), "checks in force");
    for fault in faults {
        match fault.severity {
            Severity::Error => {
                tracing::warn!(at = %fault.at, fault = %fault.message, "a check's file is not used as it stands");
            }
            Severity::Warning => tracing::warn!(at = %fault.at, fault = %fault.message, "a warning about checks"),
        }
    }
}

/// Tries the store when nobody asks, so that one that is gone ends the process soon: see [`Store::broken`].
async fn try_the_store(shared: Arc<Shared>) {
    let mut was_well = true;
    loop {
        let checkup = shared.checkup().await;
        match (&checkup.unwritable, was_well) {
            (Some(why), true) => tracing::error!(%why, "no ticket can be taken"),
            (None, false) => tracing::info!("tickets can be taken again"),
            _ => {}
        }
        was_well = checkup.unwritable.is_none();
        tokio::time::sleep(CHECKUP * 2).await;
    }
}

/// Turns the clock, the watch over `checks.d/` and the wish to stop into events.
async fn look_around(
    events: mpsc::UnboundedSender<Event>,
    mut checks: watch::Receiver<Arc<CheckSet>>,
    mut faults: watch::Receiver<Vec<Diagnostic>>,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    checks.mark_changed();
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => Event::Stop,
            _ = ticks.tick() => Event::Tick,
            Ok(()) = checks.changed() => Event::ChecksChanged,
            Ok(()) = faults.changed() => Event::ChecksChanged,
        };
        let ends = matches!(event, Event::Stop);
        if events.send(event).is_err() || ends {
            return;
        }
    }
}
