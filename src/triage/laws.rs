//! The laws of the ledger, as properties over arbitrary evidence.

use proptest::prelude::*;

use super::early::Early;
use super::judge::{Judgement, Thresholds, Witness, judge, percent};
use crate::model::look::{Class, Look, Outcome, Relation};
use crate::model::settings::Costs;
use crate::model::verdict::Decision;

fn witness(id: &str, look: Look, outcome: Outcome) -> Witness {
    Witness {
        id: id.to_owned(),
        look,
        group: id.to_owned(),
        outcome,
        class: look.default_class(),
        relation: Relation::Service,
        own: look == Look::UseCase,
        needed: true,
        proof: false,
        control_ok: false,
        repeats: 0,
        rho: None,
    }
}

fn decide(witnesses: &[Witness]) -> Judgement {
    judge(witnesses, &Costs::default())
}

fn five_clean_looks() -> Vec<Witness> {
    Look::ALL.iter().map(|look| witness(look.name(), *look, Outcome::Good)).collect()
}

fn proof() -> Witness {
    Witness {
        outcome: Outcome::Bad,
        relation: Relation::OwnCase,
        proof: true,
        control_ok: true,
        repeats: 3,
        ..witness("buy", Look::UseCase, Outcome::Bad)
    }
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![Just(Outcome::Good), Just(Outcome::Odd), Just(Outcome::Bad), Just(Outcome::Unknown)]
}

fn any_witness() -> impl Strategy<Value = Witness> {
    (
        (0..5_usize, any_outcome(), 0..4_usize, 0..6_usize),
        (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), 0..4_u32, 0..12_u32),
    )
        .prop_map(|((look, outcome, class, relation), (own, needed, proof, control_ok, repeats, group))| Witness {
            id: String::new(),
            look: Look::ALL[look],
            group: format!("group-{group}"),
            outcome,
            class: [Class::Strong, Class::Fair, Class::Weak, Class::Hint][class],
            relation: [
                Relation::OwnCase,
                Relation::Customer,
                Relation::Service,
                Relation::Dependency,
                Relation::Global,
                Relation::Other,
            ][relation],
            own,
            needed,
            proof,
            control_ok,
            repeats,
            rho: None,
        })
}

fn any_case() -> impl Strategy<Value = Vec<Witness>> {
    prop::collection::vec(any_witness(), 0..25).prop_map(|mut witnesses| {
        for (number, witness) in witnesses.iter_mut().enumerate() {
            witness.id = format!("check-{number:02}");
        }
        witnesses
    })
}

/// How far a verdict is from health.
fn severity(decision: Decision) -> u8 {
    match decision {
        Decision::NoIssue => 0,
        Decision::Doubtful => 1,
        Decision::Issue => 2,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn after_each_answer_it_is_an_issue_early_just_where_the_ledger_says_so_with_all_others_good(
        case in any_case(),
        prior in 0.0..1.0_f64,
    ) {
        let costs = Costs { prior, ..Costs::default() };
        let mut early = Early::new(case.iter().cloned(), costs);
        let good = |witness: &Witness| Witness { outcome: Outcome::Good, ..witness.clone() };
        let mut known: Vec<Witness> = case.iter().map(good).collect();
        for (index, answer) in case.iter().enumerate() {
            known[index] = answer.clone();
            let expected = judge(&known, &costs).decision == Decision::Issue;
            prop_assert_eq!(early.hear(index, answer.clone()), expected, "after {}", answer.id);
        }
    }

    #[test]
    fn without_any_answer_it_is_doubtful_for_every_prior(prior in 0.0..1.0_f64, mut case in any_case()) {
        for witness in &mut case {
            witness.outcome = Outcome::Unknown;
        }
        let costs = Costs { prior, ..Costs::default() };
        prop_assert_eq!(judge(&[], &costs).decision, Decision::Doubtful);
        prop_assert_eq!(judge(&case, &costs).decision, Decision::Doubtful);
    }

    #[test]
    fn what_concerns_other_services_alone_decides_nothing(mut case in any_case(), prior in 0.0..1.0_f64) {
        for witness in &mut case {
            witness.relation = Relation::Other;
            witness.own = false;
            witness.proof = false;
            witness.outcome = Outcome::Good;
        }
        prop_assert_eq!(judge(&case, &Costs { prior, ..Costs::default() }).decision, Decision::Doubtful);
    }

    #[test]
    fn a_worse_answer_never_moves_towards_health(case in any_case(), index in 0..25_usize, from_odd in any::<bool>()) {
        prop_assume!(index < case.len());
        let mut before = case.clone();
        before[index].outcome = if from_odd { Outcome::Odd } else { Outcome::Good };
        let mut after = case;
        after[index].outcome = Outcome::Bad;
        let (before, after) = (decide(&before), decide(&after));
        prop_assert!(after.probability >= before.probability);
        prop_assert!(severity(after.decision) >= severity(before.decision));
    }

    #[test]
    fn silence_never_raises_confidence_in_health(case in any_case(), index in 0..25_usize) {
        prop_assume!(index < case.len());
        let mut before = case.clone();
        before[index].outcome = Outcome::Good;
        let mut after = case;
        after[index].outcome = Outcome::Unknown;
        let (before, after) = (decide(&before), decide(&after));
        prop_assert!(after.power <= before.power);
        prop_assert!(after.probability >= before.probability);
        prop_assert!(!(after.decision == Decision::NoIssue && before.decision != Decision::NoIssue));
    }

    #[test]
    fn the_order_of_arrival_changes_nothing(case in any_case(), seed in any::<u64>()) {
        let mut shuffled = case.clone();
        let mut state = seed | 1;
        for index in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            shuffled.swap(index, (state >> 33) as usize % (index + 1));
        }
        let (one, other) = (decide(&case), decide(&shuffled));
        prop_assert_eq!(one.probability.to_bits(), other.probability.to_bits());
        prop_assert_eq!(one, other);
    }

    #[test]
    fn copies_of_a_witness_count_at_most_twice(witness in any_witness(), copies in 1..60_usize) {
        let log_odds = |j: &Judgement| (j.probability / (1.0 - j.probability)).ln();
        let witness = Witness { own: false, proof: false, group: "one".into(), ..witness };
        let prior = Thresholds::new(&Costs::default()).prior;
        let many: Vec<Witness> = (0..copies).map(|n| Witness { id: format!("{n:02}"), ..witness.clone() }).collect();
        let two: Vec<Witness> =
            (0..2).map(|n| Witness { id: format!("{n}"), group: format!("g{n}"), ..witness.clone() }).collect();
        let (many, two, none) = (log_odds(&decide(&many)), log_odds(&decide(&two)), (prior / (1.0 - prior)).ln());
        prop_assert!((many - none).abs() <= (two - none).abs() + 1e-12);
    }

    #[test]
    fn nearer_witnesses_weigh_more_both_ways(outcome in prop_oneof![Just(Outcome::Good), Just(Outcome::Bad)], class in 0..4_usize) {
        let class = [Class::Strong, Class::Fair, Class::Weak, Class::Hint][class];
        let order = [Relation::OwnCase, Relation::Service, Relation::Dependency, Relation::Global, Relation::Other];
        let weights: Vec<f64> = order
            .iter()
            .map(|relation| Witness { class, relation: *relation, ..witness("x", Look::Internal, outcome) }.weight().abs())
            .collect();
        prop_assert!(weights.windows(2).all(|pair| pair[0] > pair[1]), "{:?}", weights);
    }

    #[test]
    fn the_probability_is_never_zero_nor_one(case in any_case(), prior in 0.0..1.0_f64) {
        let judgement = judge(&case, &Costs { prior, ..Costs::default() });
        prop_assert!(judgement.probability > 0.0 && judgement.probability < 1.0);
        prop_assert!((0.0..=1.0).contains(&judgement.power));
    }

    #[test]
    fn proof_is_never_outvoted(case in any_case()) {
        let mut case: Vec<Witness> = case.into_iter().map(|w| Witness { outcome: Outcome::Good, ..w }).collect();
        case.push(proof());
        let judgement = decide(&case);
        prop_assert_eq!(judgement.decision, Decision::Issue);
        prop_assert!(judgement.probability >= 0.97);
    }

    #[test]
    fn a_dearer_miss_never_makes_health_easier_to_say(case in any_case(), c_miss in 5.0..200.0_f64) {
        let cheap = judge(&case, &Costs { c_miss, ..Costs::default() });
        let dear = judge(&case, &Costs { c_miss: c_miss * 2.0, ..Costs::default() });
        prop_assert!(severity(dear.decision) >= severity(cheap.decision));
    }

    #[test]
    fn every_doubt_has_its_reasons(case in any_case()) {
        prop_assert!(!decide(&case).reasons.is_empty());
    }
}

#[test]
fn one_good_check_is_no_evidence_of_health() {
    for look in Look::ALL {
        assert_eq!(decide(&[witness("x", look, Outcome::Good)]).decision, Decision::Doubtful);
    }
}

#[test]
fn sixty_green_service_checks_without_the_own_case_are_not_enough() {
    let case: Vec<Witness> = (0..60)
        .map(|n| Witness { own: false, ..witness(&format!("{n:02}"), Look::ALL[n % 5], Outcome::Good) })
        .collect();
    let judgement = decide(&case);
    assert_eq!(judgement.decision, Decision::Doubtful, "{judgement:?}");
}

#[test]
fn proof_needs_its_control_and_its_repeat() {
    for broken in [Witness { control_ok: false, ..proof() }, Witness { repeats: 1, ..proof() }] {
        let mut case: Vec<Witness> =
            (0..40).map(|n| witness(&format!("g{n:02}"), Look::ALL[n % 5], Outcome::Good)).collect();
        case.push(broken);
        let judgement = decide(&case);
        assert!(!judgement.proved);
        assert_eq!(judgement.decision, Decision::Doubtful, "{judgement:?}");
    }
}

#[test]
fn a_dead_prometheus_beside_five_clean_looks_is_doubtful_and_named() {
    let mut case = five_clean_looks();
    case.extend((0..40).map(|n| Witness {
        group: "internal:prometheus:9090".into(),
        ..witness(&format!("p{n:02}"), Look::Internal, Outcome::Unknown)
    }));
    let judgement = decide(&case);
    assert_eq!(judgement.decision, Decision::Doubtful);
    assert!(judgement.reasons.iter().any(|reason| reason.contains("prometheus:9090")), "{judgement:?}");
}

#[test]
fn a_page_that_fails_three_times_while_its_control_passes_is_an_issue_though_all_else_is_green() {
    let mut case = five_clean_looks();
    case.push(Witness { proof: true, control_ok: true, repeats: 3, ..witness("page", Look::External, Outcome::Bad) });
    assert_eq!(decide(&case).decision, Decision::Issue);
}

#[test]
fn a_small_shop_with_journey_page_and_one_query_all_good_has_no_issue() {
    let case = [
        Witness { relation: Relation::OwnCase, ..witness("journey", Look::UseCase, Outcome::Good) },
        witness("page", Look::External, Outcome::Good),
        witness("query", Look::Internal, Outcome::Good),
    ];
    let judgement = decide(&case);
    assert_eq!(judgement.decision, Decision::NoIssue, "{judgement:?}");
}

#[test]
fn five_clean_looks_with_the_own_case_have_no_issue() {
    assert_eq!(decide(&five_clean_looks()).decision, Decision::NoIssue);
}

#[test]
fn three_fair_greens_without_a_use_case_stay_out_of_reach() {
    let case: Vec<Witness> = [Look::Internal, Look::Traffic, Look::Logs]
        .iter()
        .map(|look| Witness { class: Class::Fair, ..witness(look.name(), *look, Outcome::Good) })
        .collect();
    let judgement = decide(&case);
    assert_eq!(judgement.decision, Decision::Doubtful);
    assert_eq!((percent(judgement.probability).as_str(), percent(judgement.power).as_str()), ("15 %", "66 %"));
}

#[test]
fn thresholds_follow_the_costs() {
    let thresholds = Thresholds::new(&Costs { c_miss: 100.0, c_page: 10.0, c_human: 2.0, prior: 0.9 });
    assert_eq!((thresholds.low, thresholds.high, thresholds.prior), (0.02, 0.8, 0.5));
}
