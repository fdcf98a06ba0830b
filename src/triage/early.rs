//! Early: an issue is told before the last answer, where no answer that is still to come can take it back.
//!
//! What has not answered is counted as good, and the ledger's sum is carried on from answer to answer, group by group.
//! Judging everything anew after each of 1,000 answers would take longer than the looks themselves.

use std::collections::HashMap;

use super::judge::{self, Thresholds, Witness};
use crate::model::settings::Costs;
use crate::model::verdict::Decision;

/// How far the sum that is carried on may be from the ledger's own by rounding.
const SLACK: f64 = 1e-6;

/// What the ledger would say if everything that is pending came back good.
#[derive(Debug)]
pub struct Early {
    costs: Costs,
    /// Of each question its answer, or a good one while there is none.
    witnesses: Vec<Witness>,
    /// The questions of each group.
    groups: HashMap<String, Vec<usize>>,
    /// The summed weight, and that of the ticket's own checks.
    total: f64,
    own: f64,
    /// An answer proves an issue by itself.
    proved: bool,
    /// It is an issue, and stays one: every answer says at least as much for an issue as the good one assumed for it.
    decided: bool,
}

impl Early {
    /// `pending` are the witnesses of all questions, in their order; what they say is not looked at.
    pub fn new(pending: impl Iterator<Item = Witness>, costs: Costs) -> Self {
        let witnesses: Vec<Witness> = pending.map(judge::assumed_good).collect();
        let mut groups: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, witness) in witnesses.iter().enumerate() {
            groups.entry(witness.group.clone()).or_default().push(index);
        }
        let mut early = Early { costs, witnesses, groups, total: 0.0, own: 0.0, proved: false, decided: false };
        let weights: Vec<(f64, f64)> = early.groups.keys().map(|group| early.weight(group)).collect();
        for (total, own) in weights {
            early.total += total;
            early.own += own;
        }
        early
    }

    /// Takes the answer to a question; true where it is an issue, whatever the others say.
    pub fn hear(&mut self, index: usize, answer: Witness) -> bool {
        let Some(assumed) = self.witnesses.get(index) else { return false };
        if self.decided || *assumed == answer {
            return self.decided;
        }
        // The group is the question's and not the answer's, so it is the same one.
        let group = assumed.group.clone();
        let before = self.weight(&group);
        self.proved |= answer.proves();
        if let Some(witness) = self.witnesses.get_mut(index) {
            *witness = Witness { group: group.clone(), ..answer };
        }
        let after = self.weight(&group);
        self.total += after.0 - before.0;
        self.own += after.1 - before.1;

        let thresholds = Thresholds::new(&self.costs);
        let near = judge::probability(thresholds.prior, self.total, self.own) >= thresholds.high - SLACK;
        self.decided = (near || self.proved) && judge::judge(&self.witnesses, &self.costs).decision == Decision::Issue;
        self.decided
    }

    /// What a group weighs: all of it, and the ticket's own checks in it.
    fn weight(&self, group: &str) -> (f64, f64) {
        let members = || {
            let indices = self.groups.get(group).map_or(&[][..], Vec::as_slice);
            indices.iter().filter_map(|index| self.witnesses.get(*index))
        };
        (judge::weight_of_group(members()), judge::weight_of_group(members().filter(|witness| witness.own)))
    }
}
