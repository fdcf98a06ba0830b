//! The sampler: checks with `every` are looked at in the background, for what is usual and for what was.
//!
//! Turns are spread evenly: each check has a phase of its own, derived from its name, so that a restart changes nothing
//! and a thousand checks of one minute start seventeen a second. A turn that comes while the one before is still under
//! way, or that is late, is left out and counted: what queued up would ask the targets faster than they may be asked.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::checks::{Check, CheckSet};
use crate::model::history::{Account, Baseline, Hour, MeasureAccount, Sample, Trouble};
use crate::model::look::Outcome;
use crate::model::memory::Memory;
use crate::model::observation::UnknownKind;
use crate::model::params::Params;
use crate::model::window::Window;
use crate::stats::baseline::{REACH, baseline};
use crate::stats::nature::Nature;
use crate::stats::usual::{Comparison, compare};
use crate::store::history::{History, HistoryError};
use crate::store::{Learned, Store};
use crate::triage::Runner;
use crate::triage::sample::{Sampled, params, sample};

/// The most looks under way at a time.
const AT_ONCE: usize = 512;
/// Samples are written this often.
const FLUSH: Duration = Duration::from_secs(5);
/// The most samples that wait to be written; beyond, the oldest are lost.
const WAITING: usize = 50_000;
/// Hours that are over are looked for this often.
const COMPACT: Duration = Duration::from_secs(300);
/// What is usual is read again this often.
const LEARN: Duration = Duration::from_secs(900);
/// A turn may start so much later than its time, or half its period where that is less.
const LATE: Duration = Duration::from_secs(10);
/// The most templates of one log that are kept in mind as told already.
const TOLD: usize = 20_000;

/// When which check has its next turn.
#[derive(Debug, Default)]
struct Schedule {
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    turns: Vec<Turn>,
}

#[derive(Debug)]
struct Turn {
    check: Arc<Check>,
    every: Duration,
    params: Params,
}

impl Schedule {
    /// All checks of the set that can be sampled. `wall` and `now` are the same moment.
    fn of(set: &CheckSet, wall: Timestamp, now: Instant) -> Self {
        let mut schedule = Schedule::default();
        for check in &set.checks {
            let Some(every) = check.every.filter(|every| !every.is_zero()) else { continue };
            match params(check) {
                Ok(params) => {
                    let index = schedule.turns.len();
                    schedule.due.push(Reverse((now + first(&check.name, every, wall), index)));
                    schedule.turns.push(Turn { check: Arc::clone(check), every, params });
                }
                Err(why) => tracing::warn!(check = %check.name, why, "this check can't be sampled"),
            }
        }
        schedule
    }

    fn next(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// The turns that are due, each once, with how late they are. Those that were missed altogether are no turns any
    /// more, and are counted.
    fn take(&mut self, now: Instant) -> (Vec<(usize, Duration)>, u64) {
        let (mut taken, mut missed) = (Vec::new(), 0);
        while let Some(Reverse((at, index))) = self.due.peek().copied() {
            if at > now {
                break;
            }
            self.due.pop();
            let Some(turn) = self.turns.get(index) else { continue };
            let late = now.duration_since(at);
            let skipped = late.as_nanos() / turn.every.as_nanos().max(1);
            let skipped = u32::try_from(skipped).unwrap_or(u32::MAX);
            missed += u64::from(skipped);
            let this = at + turn.every.saturating_mul(skipped);
            taken.push((index, now.duration_since(this)));
            self.due.push(Reverse((this + turn.every, index)));
        }
        (taken, missed)
    }
}

/// How long until the first turn: the phase is a matter of the name and of the clock on the wall.
fn first(name: &str, every: Duration, wall: Timestamp) -> Duration {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let period = u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1);
    let phase = hasher.finish() % period;
    let passed = u64::try_from(wall.as_millisecond()).unwrap_or(0) % period;
    Duration::from_millis((phase + period - passed) % period)
}

/// What is usual for these checks at the hour of `at`, from what was sampled before `since`.
///
/// # Errors
/// The history can't be read.
pub async fn baselines(
    history: &History,
    troubles: &[Trouble],
    checks: Vec<Arc<Check>>,
    at: Timestamp,
    since: Timestamp,
) -> Result<BTreeMap<String, BTreeMap<String, Baseline>>, HistoryError> {
    let past = Window::ending_at(at, REACH + SignedDuration::from_hours(1));
    let hour = at.to_zoned(jiff::tz::TimeZone::UTC).hour();
    let mut all = BTreeMap::new();
    for check in checks {
        let earlier = concerning(&check, troubles);
        let hours = history.hours(&check.name, past, Some(hour)).await?;
        let measures = hours.into_iter().map(|(measure, hours)| (measure, baseline(&hours, at, since, &earlier)));
        all.insert(check.name.to_string(), measures.collect());
    }
    Ok(all)
}

/// When something was wrong with what this check looks at.
fn concerning(check: &Check, troubles: &[Trouble]) -> Vec<Window> {
    let concerns = |trouble: &&Trouble| trouble.concerns(check.service.as_deref());
    troubles.iter().filter(concerns).map(|trouble| trouble.window).collect()
}

/// Troubles of the time from which anything is comparable. Where they can't be read, none: what is usual is then a
/// little wider.
pub async fn troubles(store: &Store, at: Timestamp) -> Vec<Trouble> {
    let since = at.checked_sub(REACH + SignedDuration::from_hours(1)).unwrap_or(Timestamp::MIN);
    store.troubles(since).await.unwrap_or_else(|error| {
        tracing::warn!(error = %error, "earlier troubles can't be read");
        Vec::new()
    })
}

/// What was sampled of a check, and what is usual now.
///
/// # Errors
/// The history can't be read.
pub async fn account(
    history: &History,
    troubles: &[Trouble],
    check: &Check,
    now: Timestamp,
) -> Result<Account, HistoryError> {
    let earlier = concerning(check, troubles);
    let hours = history.hours(&check.name, Window::ending_at(now, REACH), None).await?;
    let measure = |(measure, hours): (String, Vec<Hour>)| {
        let known = baseline(&hours, now, now, &earlier);
        let middle = crate::stats::quantile::median(&known.values);
        let comparison = middle.map(|middle| compare(middle, &known.values, Nature::of_measure(&measure, None, None)));
        let (low, high) = match comparison {
            Some(Comparison::Usual { low, high } | Comparison::Unusual { low, high }) => (Some(low), Some(high)),
            _ => (None, None),
        };
        let account = MeasureAccount {
            comparable: known.hours,
            low: low.filter(|low| low.is_finite()),
            high: high.filter(|high| high.is_finite()),
            enough_at: known.enough_at,
            hours,
        };
        (measure, account)
    };
    Ok(Account {
        check: check.name.to_string(),
        every_seconds: check.every.map(|every| every.as_secs_f64()),
        at: now,
        measures: hours.into_iter().map(measure).collect(),
    })
}

/// What the sampler holds while it runs.
struct Sampler {
    shared: Arc<Shared>,
    history: History,
    schedule: Schedule,
    generation: Option<u64>,
    running: JoinSet<(Arc<str>, Sampled)>,
    under_way: HashSet<Arc<str>>,
    waiting: Vec<(Arc<str>, Sample)>,
    /// What is being written: a history that is being compacted doesn't hold the turns up.
    writing: Option<JoinHandle<()>>,
    /// Hashes of templates that the store was told of.
    told: HashMap<Arc<str>, HashSet<u64>>,
    memory: Arc<Memory>,
}

/// Samples until it is told to end; what was sampled by then is written.
pub async fn run(shared: Arc<Shared>, ending: CancellationToken) {
    let Some(history) = shared.history.clone() else { return };
    let mut checks = shared.checks.clone();
    let mut sampler = Sampler {
        history,
        schedule: Schedule::default(),
        generation: None,
        running: JoinSet::new(),
        under_way: HashSet::new(),
        waiting: Vec::new(),
        writing: None,
        told: HashMap::new(),
        memory: Arc::default(),
        shared,
    };
    sampler.reschedule(&checks.borrow_and_update().clone());
    sampler.learn().await;
    let every = |period| {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks
    };
    let (mut flushes, mut compactions) = (every(FLUSH), every(COMPACT));
    let mut lessons = tokio::time::interval_at(Instant::now() + LEARN, LEARN);
    loop {
        let next = sampler.schedule.next();
        let due = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = ending.cancelled() => break,
            () = due => sampler.start(),
            Some(ended) = sampler.running.join_next() => sampler.ended(ended),
            Ok(()) = checks.changed() => {
                let set = checks.borrow_and_update().clone();
                sampler.reschedule(&set);
            }
            _ = flushes.tick() => sampler.flush(),
            _ = compactions.tick() => sampler.compact(),
            _ = lessons.tick() => sampler.learn().await,
        }
    }
    sampler.running.abort_all();
    sampler.written().await;
    sampler.flush();
    sampler.written().await;
}

impl Sampler {
    fn reschedule(&mut self, set: &CheckSet) {
        if self.generation == Some(set.generation) {
            return;
        }
        self.generation = Some(set.generation);
        self.schedule = Schedule::of(set, (self.shared.clock)(), Instant::now());
        let names: HashSet<&str> = set.checks.iter().map(|check| check.name.as_ref()).collect();
        self.told.retain(|check, _| names.contains(check.as_ref()));
    }

    /// Starts what is due and may be started.
    fn start(&mut self) {
        let (turns, mut skipped) = self.schedule.take(Instant::now());
        let now = (self.shared.clock)();
        for (index, late) in turns {
            let Some(turn) = self.schedule.turns.get(index) else { continue };
            let name = &turn.check.name;
            let too_late = late > LATE.min(turn.every / 2);
            if too_late || self.running.len() >= AT_ONCE || !self.under_way.insert(Arc::clone(name)) {
                skipped += 1;
                continue;
            }
            let runner = Runner {
                tools: Arc::clone(&self.shared.tools),
                memory: Arc::clone(&self.memory),
                looks: self.shared.looks.clone(),
            };
            let (check, params) = (Arc::clone(&turn.check), turn.params.clone());
            let task = async move {
                let name = Arc::clone(&check.name);
                // A probe that panics costs its own sample.
                let looks = runner.looks.clone();
                let looked = looks.spawn(async move { sample(&check, params, &runner, now).await }).await;
                let sampled = looked.unwrap_or_else(|_| Sampled {
                    sample: Sample::new(now, Outcome::Unknown, Duration::ZERO).because(UnknownKind::Panicked.name()),
                    templates: Vec::new(),
                });
                (name, sampled)
            };
            self.running.spawn(task);
        }
        self.shared.metrics.samples_skipped.inc_by(skipped);
    }

    fn ended(&mut self, ended: Result<(Arc<str>, Sampled), tokio::task::JoinError>) {
        // The task itself does nothing that could panic, and is cancelled at the end only.
        let Ok((check, sampled)) = ended else { return };
        self.under_way.remove(&check);
        self.shared.metrics.sample(sampled.sample.outcome);
        if self.waiting.len() >= WAITING {
            self.waiting.drain(..WAITING / 10);
        }
        self.waiting.push((Arc::clone(&check), sampled.sample));
        self.remember(&check, sampled.templates);
    }

    /// Hands new templates to the store; those that it was told of before are left out.
    fn remember(&mut self, check: &Arc<str>, mut templates: Vec<String>) {
        let told = self.told.entry(Arc::clone(check)).or_default();
        if told.len() > TOLD {
            told.clear();
        }
        templates.retain(|template| {
            let mut hasher = DefaultHasher::new();
            template.hash(&mut hasher);
            told.insert(hasher.finish())
        });
        if templates.is_empty() {
            return;
        }
        let (store, at) = (self.shared.store.clone(), (self.shared.clock)());
        let learned = Learned { templates: vec![(check.to_string(), templates)], ..Learned::default() };
        tokio::spawn(async move {
            if let Err(error) = store.learn(learned, at).await {
                tracing::warn!(error = %error, "new messages of a log were not remembered");
            }
        });
    }

    /// Begins to write what waits, unless the last batch is still on its way.
    fn flush(&mut self) {
        if self.waiting.is_empty() || self.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            return;
        }
        let (history, batch) = (self.history.clone(), std::mem::take(&mut self.waiting));
        self.writing = Some(tokio::spawn(async move {
            if let Err(error) = history.record(batch).await {
                tracing::warn!(error = %error, "samples were not written");
            }
        }));
    }

    /// Waits for the batch that is on its way.
    async fn written(&mut self) {
        if let Some(writing) = self.writing.take() {
            // It says itself what went wrong.
            let _ = writing.await;
        }
    }

    /// Beside the sampling: it takes a while where there is much.
    fn compact(&self) {
        let (history, now) = (self.history.clone(), (self.shared.clock)());
        tokio::spawn(async move {
            if let Err(error) = history.compact(now).await {
                tracing::warn!(error = %error, "the history was not compacted");
            }
        });
    }

    /// Reads again what is usual, for the checks that compare with it.
    async fn learn(&mut self) {
        let compare = |turn: &&Turn| turn.check.expect.iter().any(|expected| !expected.that.usual().is_empty());
        let checks = self.schedule.turns.iter().filter(compare).map(|turn| Arc::clone(&turn.check)).collect();
        let now = (self.shared.clock)();
        let templates = match self.shared.store.memory(now).await {
            Ok(memory) => memory.templates,
            Err(_) => BTreeMap::new(),
        };
        let troubles = troubles(&self.shared.store, now).await;
        match baselines(&self.history, &troubles, checks, now, now).await {
            Ok(baselines) => self.memory = Arc::new(Memory { baselines, templates, ..Memory::default() }),
            Err(error) => tracing::warn!(error = %error, "what is usual can't be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_spread_evenly_and_a_restart_changes_nothing() {
        let minute = Duration::from_secs(60);
        let wall = |seconds: i64| Timestamp::from_second(1_795_000_000 + seconds).unwrap();
        let mut per_second = [0_usize; 60];
        for n in 0..6_000 {
            let name = format!("check-{n}");
            let until = first(&name, minute, wall(0));
            assert!(until < minute);
            per_second[until.as_secs() as usize] += 1;
            // Seen from 25 s later, it is the same moment, or one period later.
            let later = first(&name, minute, wall(25)) + Duration::from_secs(25);
            assert!(later == until || later == until + minute, "{until:?} {later:?}");
        }
        assert!(per_second.iter().all(|&count| (50..=160).contains(&count)), "{per_second:?}");
    }

    fn schedule(every: &[u64]) -> (Schedule, Instant) {
        let mut text = "service: shop\nchecks:\n".to_owned();
        for (n, every) in every.iter().enumerate() {
            text += &format!("  - {{ name: c{n}, every: {every}s, tcp: {{ address: '127.0.0.1:1' }} }}\n");
        }
        text += "  - { name: by-hand, tcp: { address: '127.0.0.1:1' } }\n";
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("checks.yaml"), text).unwrap();
        let (set, _) = crate::checks::load(directory.path(), crate::evidence::KINDS, Arc::new(|_| Ok(())));
        assert_eq!(set.checks.len(), every.len() + 1);
        let now = Instant::now();
        (Schedule::of(&set, Timestamp::UNIX_EPOCH, now), now)
    }

    #[tokio::test]
    async fn each_check_has_its_turn_once_a_period_and_none_twice() {
        let (mut schedule, start) = schedule(&[10, 20, 60]);
        assert_eq!(schedule.turns.len(), 3, "what isn't sampled has no turn");
        let mut counts = [0; 3];
        for second in 1..=600 {
            let (turns, missed) = schedule.take(start + Duration::from_secs(second));
            assert_eq!(missed, 0);
            for (index, late) in turns {
                counts[index] += 1;
                assert!(late <= Duration::from_secs(1), "{late:?}");
            }
        }
        for (index, (count, expected)) in counts.iter().zip([60, 30, 10]).enumerate() {
            assert!((expected - 1..=expected + 1).contains(count), "{index}: {count}");
        }
    }

    #[tokio::test]
    async fn turns_that_were_slept_through_are_left_out_and_counted() {
        let (mut schedule, start) = schedule(&[10]);
        let first = schedule.next().unwrap();
        let (turns, missed) = schedule.take(first + Duration::from_secs(57));
        assert_eq!(turns, [(0, Duration::from_secs(7))], "the newest of them is seven seconds late");
        assert_eq!(missed, 5);
        assert_eq!(schedule.next(), Some(first + Duration::from_secs(60)));
        assert!(first >= start);
    }
}
