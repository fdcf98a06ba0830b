//! The ledger: noisy answers become *issue*, *no issue* or *doubtful*.
//!
//! Evidence adds as log-likelihood ratios (weight of evidence, I. J. Good, 1950); a decision is taken only where its
//! expected cost is below that of asking a human (the reject rule, C. K. Chow, 1970); correlated witnesses are
//! discounted by group. No randomness, no clock, no I/O: the same answers give the same verdict, bit for bit.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::finding::Finding;
use crate::model::look::{Class, Look, Outcome, Relation};
use crate::model::settings::Costs;
use crate::model::verdict::Decision;

/// How much a further witness of the same group adds.
const GAMMA: f64 = 0.5;
/// How much of the summed weight is believed, since groups are not wholly independent either.
const KAPPA: f64 = 0.85;
/// The most that one answer weighs, in nats: ln 50.
const CAP: f64 = 3.912_023_005_428_146;
/// The share of issues that only the reporter's own data shows.
const BETA: f64 = 0.25;
/// The share of issues that no check can show.
const EPSILON: f64 = 0.02;
/// The least power of a *no issue*.
pub const POWER_MIN: f64 = 0.80;
/// The least number of clean looks of a *no issue*.
pub const MIN_LOOKS: usize = 3;
/// The least probability of an issue that is proved.
const PROOF_PROBABILITY: f64 = 0.97;
/// From here on a check is near enough to the ticket for its silence to matter.
const NEAR: f64 = 0.5;
/// Exponents are capped here, so that odds stay finite.
const EXPONENT_CAP: f64 = 60.0;

/// Rates of bad, odd and good answers.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rates {
    bad: f64,
    odd: f64,
    good: f64,
}

impl Rates {
    fn of(self, outcome: Outcome) -> f64 {
        match outcome {
            Outcome::Bad => self.bad,
            Outcome::Odd => self.odd,
            Outcome::Good => self.good,
            Outcome::Unknown | Outcome::NotApplicable => 1.0,
        }
    }
}

/// P(answer | an issue within the check's scope).
fn with_issue(class: Class) -> Rates {
    match class {
        Class::Strong => Rates { bad: 0.80, odd: 0.08, good: 0.12 },
        Class::Fair => Rates { bad: 0.60, odd: 0.12, good: 0.28 },
        Class::Weak => Rates { bad: 0.40, odd: 0.15, good: 0.45 },
        Class::Hint => Rates { bad: 0.20, odd: 0.15, good: 0.65 },
    }
}

/// P(answer | none).
fn without_issue(class: Class) -> Rates {
    match class {
        Class::Strong => Rates { bad: 0.02, odd: 0.04, good: 0.94 },
        Class::Fair => Rates { bad: 0.05, odd: 0.07, good: 0.88 },
        Class::Weak | Class::Hint => Rates { bad: 0.10, odd: 0.10, good: 0.80 },
    }
}

/// The chance that a check would see the ticket's issue if it is real.
pub fn rho(relation: Relation) -> f64 {
    match relation {
        Relation::OwnCase | Relation::Customer => 1.0,
        Relation::Service => 0.9,
        Relation::Dependency => 0.5,
        Relation::Global => 0.3,
        Relation::Other => 0.1,
    }
}

/// One answer, as the ledger counts it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    pub id: String,
    pub look: Look,
    pub group: String,
    pub outcome: Outcome,
    pub class: Class,
    pub relation: Relation,
    /// Covers everything that the ticket names.
    #[serde(default)]
    pub own: bool,
    /// Its silence blocks *no issue*.
    #[serde(default = "yes")]
    pub needed: bool,
    /// Proof-capable: it has a control that ran beside it, and its parameters are verified.
    #[serde(default)]
    pub proof: bool,
    #[serde(default)]
    pub control_ok: bool,
    /// Failures seen.
    #[serde(default)]
    pub repeats: u32,
    /// Overrides the relation's rho (halved for what can only see another time than the ticket's).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rho: Option<f64>,
}

fn yes() -> bool {
    true
}

impl Witness {
    fn rho(&self) -> f64 {
        self.rho.unwrap_or_else(|| rho(self.relation))
    }

    /// The weight of its answer in nats: positive for an issue, negative against one.
    pub fn weight(&self) -> f64 {
        if matches!(self.outcome, Outcome::Unknown | Outcome::NotApplicable) {
            return 0.0;
        }
        let rho = self.rho();
        let none = without_issue(self.class).of(self.outcome);
        let ratio = (rho * with_issue(self.class).of(self.outcome) + (1.0 - rho) * none) / none;
        let weight = ratio.ln().clamp(-CAP, CAP);
        match self.outcome {
            Outcome::Good => weight.min(0.0),
            Outcome::Bad => weight.max(0.0),
            _ => weight,
        }
    }

    /// True where it is an issue by this answer alone.
    pub(super) fn proves(&self) -> bool {
        self.proof && self.control_ok && self.repeats >= 2 && self.outcome == Outcome::Bad && self.rho() >= 0.9
    }
}

impl From<&Finding> for Witness {
    fn from(finding: &Finding) -> Self {
        Witness {
            // Two findings of one check (everyone, this customer) are two witnesses of one group.
            id: format!("{}/{}", finding.check, finding.relation.name()),
            look: finding.look,
            group: finding.group.clone(),
            outcome: finding.outcome,
            class: finding.class,
            relation: finding.relation,
            own: finding.own,
            needed: finding.needed,
            proof: finding.proof,
            control_ok: finding.control_ok,
            repeats: finding.repeats,
            rho: Some(finding.rho),
        }
    }
}

/// What the ledger says.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    pub decision: Decision,
    pub probability: f64,
    pub power: f64,
    /// Looks with a good answer from a check that is near enough.
    pub clean_looks: usize,
    /// True where it is an issue by proof.
    pub proved: bool,
    /// Why it is so, or every reason why it is not more.
    pub reasons: Vec<String>,
}

/// The probabilities between which a human is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    pub low: f64,
    pub high: f64,
    pub prior: f64,
}

impl Thresholds {
    pub fn new(costs: &Costs) -> Self {
        Thresholds {
            low: costs.c_human / costs.c_miss,
            high: 1.0 - costs.c_human / costs.c_page,
            prior: costs.prior.clamp(0.10, 0.50),
        }
    }
}

/// Weighs the answers.
pub fn judge(witnesses: &[Witness], costs: &Costs) -> Judgement {
    let mut sorted: Vec<&Witness> = witnesses.iter().filter(|w| w.outcome != Outcome::NotApplicable).collect();
    sorted.sort_by(|a, b| a.id.cmp(&b.id).then_with(|| a.group.cmp(&b.group)));
    let thresholds = Thresholds::new(costs);

    let all = sums(sorted.iter().copied());
    let own = sums(sorted.iter().copied().filter(|w| w.own));
    let total: f64 = all.values().map(|(positive, negative)| positive - negative).sum();
    let total_own: f64 = own.values().map(|(positive, negative)| positive - negative).sum();
    let mut probability = self::probability(thresholds.prior, total, total_own);

    let miss = miss(sorted.iter().copied());
    let miss_own = self::miss(sorted.iter().copied().filter(|w| w.own));
    let power = (1.0 - BETA - EPSILON) * (1.0 - miss) + BETA * (1.0 - miss_own);

    let clean: BTreeSet<Look> =
        sorted.iter().filter(|w| w.outcome == Outcome::Good && w.rho() >= NEAR).map(|w| w.look).collect();
    let clean_looks = clean.len();

    if let Some(proof) = sorted.iter().find(|w| w.proves()) {
        probability = probability.max(PROOF_PROBABILITY);
        let name = proof.id.split('/').next().unwrap_or(&proof.id);
        return Judgement {
            decision: Decision::Issue,
            probability,
            power,
            clean_looks,
            proved: true,
            reasons: vec![format!("proof: {name} failed {} times while its control passed", proof.repeats)],
        };
    }
    if probability >= thresholds.high {
        return Judgement {
            decision: Decision::Issue,
            probability,
            power,
            clean_looks,
            proved: false,
            reasons: vec![format!(
                "the evidence for an issue reaches {} (limit {})",
                percent(probability),
                percent(thresholds.high)
            )],
        };
    }

    let mut against = Vec::new();
    if sorted.is_empty() {
        against.push("no check applies: nothing was looked at".to_owned());
    } else if sorted.iter().all(|w| w.outcome == Outcome::Unknown) {
        against.push("nothing answered".to_owned());
    }
    if probability > thresholds.low {
        against.push(format!(
            "the evidence leaves {} for an issue: more than {} to say there is none, less than {} to say there is one",
            percent(probability),
            percent(thresholds.low),
            percent(thresholds.high)
        ));
    }
    if power < POWER_MIN {
        against.push(format!(
            "had there been an issue, we would have seen it with {} only (wanted {})",
            percent(power),
            percent(POWER_MIN)
        ));
    }
    if clean_looks < MIN_LOOKS {
        against.push(format!("{clean_looks} of 5 looks came back clean (wanted {MIN_LOOKS})"));
    }
    let convicts = (thresholds.high / (1.0 - thresholds.high) * (1.0 - thresholds.prior) / thresholds.prior).ln();
    for (group, (positive, _)) in &all {
        if *positive >= convicts {
            against.push(format!("{group} alone would convict, and can't be outvoted"));
        }
    }
    for group in silent_groups(&sorted) {
        against.push(format!("no answer from {group}"));
    }
    let decision = if against.is_empty() { Decision::NoIssue } else { Decision::Doubtful };
    let reasons = if against.is_empty() {
        vec![format!(
            "{clean_looks} of 5 looks came back clean; had there been an issue, we would have seen it with {}",
            percent(power)
        )]
    } else {
        against
    };
    Judgement { decision, probability, power, clean_looks, proved: false, reasons }
}

/// A witness that has not answered yet, counted as good.
pub(super) fn assumed_good(pending: Witness) -> Witness {
    Witness { outcome: Outcome::Good, ..pending }
}

/// The probability of an issue by the summed weight of all witnesses and by that of the ticket's own.
pub(super) fn probability(prior: f64, total: f64, total_own: f64) -> f64 {
    let exp = |weight: f64| (KAPPA * weight).clamp(-EXPONENT_CAP, EXPONENT_CAP).exp();
    let prior_odds = prior / (1.0 - prior);
    let odds = prior_odds * ((1.0 - BETA - EPSILON) * exp(total) + BETA * exp(total_own) + EPSILON);
    odds / (1.0 + odds)
}

/// What these witnesses, all of one group, weigh together.
pub(super) fn weight_of_group<'a>(witnesses: impl Iterator<Item = &'a Witness>) -> f64 {
    sums(witnesses).values().map(|(positive, negative)| positive - negative).sum()
}

/// Per group: the positive and the negative weights, each discounted by rank.
fn sums<'a>(witnesses: impl Iterator<Item = &'a Witness>) -> BTreeMap<&'a str, (f64, f64)> {
    let mut weights: BTreeMap<&str, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
    for witness in witnesses {
        let weight = witness.weight();
        let (positive, negative) = weights.entry(&witness.group).or_default();
        if weight > 0.0 {
            positive.push(weight);
        } else if weight < 0.0 {
            negative.push(-weight);
        }
    }
    weights
        .into_iter()
        .map(|(group, (positive, negative))| (group, (discounted(positive), discounted(negative))))
        .collect()
}

fn discounted(mut weights: Vec<f64>) -> f64 {
    weights.sort_by(|a, b| b.total_cmp(a));
    let mut factor = 1.0;
    let mut sum = 0.0;
    for weight in weights {
        sum += weight * factor;
        factor *= GAMMA;
    }
    sum
}

/// The chance that an issue would have got past every good answer.
fn miss<'a>(witnesses: impl Iterator<Item = &'a Witness>) -> f64 {
    let mut best: BTreeMap<&str, f64> = BTreeMap::new();
    for witness in witnesses.filter(|w| w.outcome == Outcome::Good) {
        let seen = witness.rho() * with_issue(witness.class).bad;
        let entry = best.entry(&witness.group).or_default();
        *entry = entry.max(seen);
    }
    best.values().map(|seen| 1.0 - seen).product()
}

/// Groups that were needed and of which nothing answered.
fn silent_groups<'a>(witnesses: &[&'a Witness]) -> Vec<&'a str> {
    let needed: BTreeSet<&str> =
        witnesses.iter().filter(|w| w.needed && w.rho() >= NEAR).map(|w| w.group.as_str()).collect();
    let answered: BTreeSet<&str> =
        witnesses.iter().filter(|w| w.outcome != Outcome::Unknown).map(|w| w.group.as_str()).collect();
    needed.difference(&answered).copied().collect()
}

/// A probability as a person reads it.
pub fn percent(share: f64) -> String {
    let value = share * 100.0;
    if value > 0.0 && value < 1.0 { format!("{value:.1} %") } else { format!("{value:.0} %") }
}

/// "20 : 1 for an issue", "4 : 1 against".
pub fn odds_text(weight: f64) -> String {
    if weight.abs() < 0.01 {
        return "1 : 1".to_owned();
    }
    let ratio = weight.abs().exp();
    let ratio = if ratio < 10.0 { format!("{ratio:.1}") } else { format!("{ratio:.0}") };
    if weight > 0.0 { format!("{ratio} : 1 for an issue") } else { format!("{ratio} : 1 against") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Case {
        config: Costs,
        checks: Vec<Witness>,
        expect: Expected,
    }

    #[derive(Deserialize)]
    struct Expected {
        verdict: Decision,
        probability: f64,
        power: f64,
        clean_looks: usize,
    }

    #[test]
    fn every_vector_is_reproduced() {
        let text = include_str!("../../tests/fixtures/verdict-vectors.json");
        let cases: Vec<Case> = serde_json::from_str(text).unwrap();
        assert_eq!(cases.len(), 400);
        for (number, case) in cases.iter().enumerate() {
            let judgement = judge(&case.checks, &case.config);
            assert_eq!(judgement.decision, case.expect.verdict, "case {number}: {judgement:?}");
            assert!((judgement.probability - case.expect.probability).abs() <= 1e-9, "case {number}: {judgement:?}");
            assert!((judgement.power - case.expect.power).abs() <= 1e-9, "case {number}: {judgement:?}");
            assert_eq!(judgement.clean_looks, case.expect.clean_looks, "case {number}");
        }
    }
}
