//! The ledger with 1,000 answers: microseconds for one judgement.
//!
//! The answers are seeded, over all looks, classes, relations and outcomes; three shapes of groups, since what is
//! discounted is discounted per group. Beside it the question that is asked after each answer: is it an issue already?
//! Goal: 1,000 answers judged in 1 ms.
//!
//! `cargo bench --bench ledger`; `HOUSTON_BENCH_FULL=1` takes more rounds.
#![allow(clippy::print_stdout, reason = "a bench tells people what it measured")]
#![allow(clippy::disallowed_methods, reason = "how much is measured is chosen by the environment")]

use std::hint::black_box;
use std::time::Instant;

use houston::model::look::{Class, Look, Outcome, Relation};
use houston::model::settings::Costs;
use houston::triage::early::Early;
use houston::triage::judge::{Witness, judge};

const GOAL_MICROSECONDS: f64 = 1_000.0;

/// A small seeded generator of numbers (Knuth's MMIX constants): every run judges the same answers.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

fn witnesses(count: usize, groups: usize) -> Vec<Witness> {
    let classes = [Class::Strong, Class::Fair, Class::Weak, Class::Hint];
    let relations = [
        Relation::Service,
        Relation::Service,
        Relation::Customer,
        Relation::OwnCase,
        Relation::Dependency,
        Relation::Global,
    ];
    let outcomes = [Outcome::Good, Outcome::Good, Outcome::Good, Outcome::Good, Outcome::Odd, Outcome::Unknown];
    let mut random = Seeded(42);
    (0..count)
        .map(|number| Witness {
            id: format!("check-{}/service", random.below(1_000_000) * count + number),
            look: Look::ALL[random.below(Look::ALL.len())],
            group: format!("shop-{}.example.com:443 from here", random.below(groups)),
            outcome: outcomes[random.below(outcomes.len())],
            class: classes[random.below(classes.len())],
            relation: relations[random.below(relations.len())],
            own: random.below(5) == 0,
            needed: true,
            proof: false,
            control_ok: false,
            repeats: 0,
            rho: None,
        })
        .collect()
}

/// The median of so many rounds of `work`, in microseconds, with the least.
fn microseconds(rounds: usize, mut work: impl FnMut()) -> (f64, f64) {
    work();
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let started = Instant::now();
            work();
            started.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[rounds / 2], times[0])
}

fn main() {
    let rounds = if std::env::var_os("HOUSTON_BENCH_FULL").is_some() { 5_001 } else { 501 };
    let costs = Costs::default();
    println!("median and least of {rounds} rounds");
    for (count, groups) in [(100, 100), (1_000, 1), (1_000, 50), (1_000, 1_000), (10_000, 1_000)] {
        let all = witnesses(count, groups);
        let (median, least) = microseconds(rounds, || {
            black_box(judge(black_box(&all), &costs));
        });
        let goal = if count == 1_000 {
            format!("   {:.2} of the goal of {GOAL_MICROSECONDS} µs", median / GOAL_MICROSECONDS)
        } else {
            String::new()
        };
        println!("judge, {count:>6} answers in {groups:>5} groups   {median:>8.1} µs ({least:.1}){goal}");
    }
    let all = witnesses(1_000, 1_000);
    let (median, least) = microseconds(rounds.min(101), || {
        let mut early = Early::new(all.iter().cloned(), costs);
        for (index, answer) in all.iter().enumerate() {
            black_box(early.hear(index, answer.clone()));
        }
    });
    println!("an issue already? after each of 1,000 answers {median:>6.1} µs ({least:.1}) in all");
}
