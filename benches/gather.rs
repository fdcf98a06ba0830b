//! Gathering many slow answers: how much longer the whole takes than its slowest check.
//!
//! Each check is of a kind of this bench's own that sleeps 50 ms and times itself, so that what a busy machine adds to
//! the sleep is on both sides of the ratio. Measured by turns: `triage::gather` alone, and a whole round by
//! `triage::run`, which also plans, assesses, judges and asks after each answer whether it is an issue already. Goals:
//! 1.05 x the slowest check with 100 checks, 1.2 x with 1,000.
//!
//! `cargo bench --bench gather`; `HOUSTON_BENCH_FULL=1` takes more rounds.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a bench tells people what it measured")]
#![allow(clippy::disallowed_methods, reason = "how much is measured is chosen by the environment")]

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use houston::checks::{CheckSet, Library};
use houston::evidence::{Ask, Key, Kind, Looking, Probe, Sees, Tools};
use houston::model::case::Event;
use houston::model::catalog::Catalog;
use houston::model::look::Look;
use houston::model::measure::{Measure, Type};
use houston::model::memory::Memory;
use houston::model::observation::{Observation, UnknownKind};
use houston::model::settings::TriageSettings;
use houston::model::source::Diagnostic;
use houston::model::ticket::{Report, Ticket};
use houston::model::value::Measures;
use houston::model::verdict::Phase;
use houston::triage::{Runner, Setting, gather, plan, run, scope};
use houston::yaml::Node;
use jiff::Timestamp;
use tokio::runtime::{Builder, Runtime};

const SLEEP: Duration = Duration::from_millis(50);
/// The slowest sleep since it was last set to zero, in nanoseconds.
static SLOWEST: AtomicU64 = AtomicU64::new(0);

static KINDS: &[&Kind] = &[&NAP];

static NAP: Kind = Kind {
    name: "nap",
    look: Look::Internal,
    summary: "sleeps 50 ms",
    docs: "",
    keys: &[Key { name: "nap", takes: "text", default: None, meaning: "what is asked; `blind` sees nothing" }],
    measures: &[Measure { name: "value", kind: Type::Number, unit: "number", meaning: "always 1" }],
    default_expect: &["value == 1"],
    headline: &["value"],
    sees: Sees::Now,
    attempts: 1,
    example: "",
    example_text: "",
    read,
    schema: |generator| generator.subschema_for::<String>(),
};

#[derive(Debug)]
struct Nap {
    system: String,
}

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    Ok(Arc::new(Nap { system: node.read()? }))
}

impl Probe for Nap {
    fn observe<'a>(&'a self, _: &'a Ask) -> Looking<'a> {
        Box::pin(async {
            let started = Instant::now();
            tokio::time::sleep(SLEEP).await;
            let took = started.elapsed();
            SLOWEST.fetch_max(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
            if self.system.starts_with("blind") {
                return Observation::blind(UnknownKind::Incomplete, "asleep").took(took);
            }
            let mut measures = Measures::new();
            measures.set("value", if self.system.starts_with("bad") { 0.0 } else { 1.0 });
            Observation::answered(measures).took(took)
        })
    }

    fn system(&self) -> String {
        self.system.clone()
    }
}

/// What the checks of a round say.
#[derive(Clone, Copy)]
enum Mood {
    Good,
    /// One that accuses, half of the rest blind: outvoted, and open until the last answer.
    Mixed,
}

fn checks(count: usize, mood: Mood) -> Arc<CheckSet> {
    let folder = tempfile::tempdir().unwrap();
    let mut text = "service: shop\nchecks:\n".to_owned();
    for number in 0..count {
        let (answer, class) = match mood {
            Mood::Mixed if number == 0 => ("bad", "strong"),
            Mood::Mixed if number % 2 == 1 => ("blind", "fair"),
            _ => ("good", "fair"),
        };
        let look = Look::ALL[number % Look::ALL.len()].name();
        writeln!(text, "- {{ name: c-{number}, nap: {answer}-{number}, look: {look}, class: {class} }}").unwrap();
        // A file may have so many bytes and no more.
        if number % 500 == 499 || number + 1 == count {
            std::fs::write(folder.path().join(format!("{number}.yaml")), &text).unwrap();
            "service: shop\nchecks:\n".clone_into(&mut text);
        }
    }
    let (set, faults) = Library::new(folder.path(), KINDS, Arc::new(|_| Ok(()))).reload();
    assert_eq!(set.checks.len(), count, "{:?}", faults.first());
    Arc::new(set)
}

/// The two runtimes that commands have: one keeps the deadline, probes run on the other.
struct Bench {
    keeper: Runtime,
    looks: Runtime,
    ticket: Ticket,
    now: Timestamp,
}

impl Bench {
    fn new() -> Self {
        let now = Timestamp::from_second(1_795_000_000).unwrap();
        let report =
            Report { title: Some("it is slow".into()), services: vec!["shop".to_owned()], ..Report::default() };
        let runtime = |threads| Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
        Bench { keeper: runtime(2), looks: runtime(4), ticket: report.accept(now, "bench").unwrap(), now }
    }

    fn runner(&self) -> Runner {
        let (tools, memory) = (Arc::new(Tools::default()), Arc::new(Memory::default()));
        Runner { tools, memory, looks: self.looks.handle().clone() }
    }

    /// Gathers only: the ratio of the whole to the slowest check.
    fn gather(&self, checks: &CheckSet) -> f64 {
        let settings = TriageSettings::default();
        let checked = checks.checks.iter().filter_map(|check| check.service.clone()).collect();
        let scope = scope::scope(&self.ticket, &Catalog::default(), &checked, &settings, self.now);
        let runner = self.runner();
        let plan = plan::plan(&scope, &self.ticket, &checks.checks, &runner.memory, settings.now_window);
        assert_eq!(plan.questions.len(), checks.checks.len());
        let mut answers = 0;
        let ratio = ratio(|| {
            self.keeper.block_on(async {
                let deadline = tokio::time::Instant::now() + settings.deadline;
                gather::gather(&plan, &runner, self.now, deadline, |_, _| answers += 1).await;
            });
        });
        assert_eq!(answers, checks.checks.len());
        ratio
    }

    /// A whole round: the ratio to the slowest check.
    fn round(&self, checks: &Arc<CheckSet>) -> f64 {
        let setting = Setting {
            checks: Arc::clone(checks),
            catalog: Arc::default(),
            settings: TriageSettings::default(),
            runner: self.runner(),
        };
        let mut findings = 0;
        let tell = |event: Event| {
            findings += usize::from(matches!(event, Event::Finding { .. }));
            if let Event::Verdict { verdict } = event {
                assert_eq!(verdict.phase, Phase::Final, "the round is meant to be open until its last answer");
            }
        };
        let ratio = ratio(|| drop(self.keeper.block_on(run(&self.ticket, None, 1, &setting, self.now, tell))));
        assert_eq!(findings, checks.checks.len());
        ratio
    }
}

fn ratio(work: impl FnOnce()) -> f64 {
    SLOWEST.store(0, Ordering::Relaxed);
    let started = Instant::now();
    work();
    let whole = started.elapsed();
    whole.as_secs_f64() / Duration::from_nanos(SLOWEST.load(Ordering::Relaxed)).as_secs_f64()
}

fn main() {
    let rounds = if std::env::var_os("HOUSTON_BENCH_FULL").is_some() { 51 } else { 15 };
    let bench = Bench::new();
    let sizes = [(100, 1.05), (1_000, 1.20)];
    let sets = sizes.map(|(count, _)| (checks(count, Mood::Good), checks(count, Mood::Mixed)));
    let mut seen: [[Vec<f64>; 3]; 2] = Default::default();
    // The first turn warms up.
    for turn in 0..=rounds {
        for ((good, mixed), seen) in sets.iter().zip(&mut seen) {
            let ratios = [bench.gather(good), bench.round(good), bench.round(mixed)];
            if turn > 0 {
                seen.iter_mut().zip(ratios).for_each(|(list, ratio)| list.push(ratio));
            }
        }
    }
    println!("checks of {} ms, median (least to most) of {rounds} rounds, by turns", SLEEP.as_millis());
    for ((count, goal), seen) in sizes.iter().zip(&mut seen) {
        for (what, list) in ["gather", "a whole round", "a whole round, half blind"].iter().zip(seen) {
            list.sort_by(f64::total_cmp);
            println!(
                "{count:>5} checks  {what:26} {:.3} x the slowest check ({:.3} to {:.3})   goal {goal:.2} x",
                list[list.len() / 2],
                list[0],
                list[list.len() - 1],
            );
        }
    }
}
