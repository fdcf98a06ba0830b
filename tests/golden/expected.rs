//! What must come of a case, and what must be so of every verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use houston::model::finding::Finding;
use houston::model::look::{Look, Outcome, Relation};
use houston::model::observation::UnknownKind;
use houston::model::verdict::{Decision, Phase, Scope, Verdict};
use houston::triage::Setting;
use houston::triage::judge::{self, Witness};
use serde::{Deserialize, Deserializer};

use super::case::{self, Case};
use super::{Run, SMALL};

/// `expect.json`. Where a list names parts of texts, each must stand in one of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    verdict: Decision,
    scope: Scope,
    current_state: String,
    reasons: Vec<String>,
    /// Parts that stand in no reason.
    #[serde(default)]
    no_reasons: Vec<String>,
    /// Every finding, as `check` or `check@relation`; a star at the end stands for the rest of the name.
    findings: BTreeMap<String, Found>,
    #[serde(default)]
    looks: Option<BTreeMap<Look, Outcome>>,
    #[serde(default)]
    clean_looks: Option<usize>,
    #[serde(default)]
    questions: Vec<String>,
    #[serde(default)]
    not_looked_at: Vec<String>,
    #[serde(default)]
    services: Option<Vec<String>>,
    /// Whether a verdict came before the last finding.
    #[serde(default)]
    early: Option<bool>,
    /// How long it may take.
    #[serde(default)]
    within: Option<String>,
    /// How many files of checks can't be used.
    #[serde(default)]
    pub stale_files: usize,
}

/// What one finding must be: its outcome alone, or more.
#[derive(Debug, Default)]
struct Found(FoundFields);

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FoundFields {
    outcome: Option<Outcome>,
    then: Option<Outcome>,
    now: Option<Outcome>,
    relation: Option<Relation>,
    own: Option<bool>,
    proof: Option<bool>,
    control_ok: Option<bool>,
    repeats: Option<u32>,
    attempts: Option<u32>,
    unknown: Option<UnknownKind>,
    /// Parts of what it says: headline, notes, reason for not knowing.
    says: Vec<String>,
}

impl<'de> Deserialize<'de> for Found {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let value = serde_json::Value::deserialize(deserializer)?;
        let fields = match value {
            serde_json::Value::String(_) => {
                let outcome = serde_json::from_value(value).map_err(D::Error::custom)?;
                FoundFields { outcome: Some(outcome), ..FoundFields::default() }
            }
            value => serde_json::from_value(value).map_err(D::Error::custom)?,
        };
        Ok(Found(fields))
    }
}

impl Expected {
    /// Everything that is not as it must be.
    pub fn hold(&self, case: &Case, run: &Run, setting: &Setting) -> Vec<String> {
        let verdict = &run.round.verdict;
        let mut wrong = laws(run, setting);
        let mut same = |what: &str, found: String, wanted: String| {
            if found != wanted {
                wrong.push(format!("{what} is {found}, not {wanted}"));
            }
        };
        same("the verdict", verdict.decision.name().to_owned(), self.verdict.name().to_owned());
        same("the folder", case.promised().to_owned(), self.verdict.name().to_owned());
        same("the scope", verdict.scope.name().to_owned(), self.scope.name().to_owned());
        same("the current state", verdict.current_state.to_string(), self.current_state.clone());
        if let Some(looks) = &self.looks {
            same("looks", format!("{:?}", verdict.coverage.looks), format!("{looks:?}"));
        }
        if let Some(clean) = self.clean_looks {
            same("the number of clean looks", judged(verdict, setting).clean_looks.to_string(), clean.to_string());
        }
        if let Some(services) = &self.services {
            same("services", format!("{:?}", verdict.ticket.services), format!("{services:?}"));
        }
        if let Some(early) = self.early {
            same("early", run.early_after.is_some().to_string(), early.to_string());
        }
        for (what, parts, texts) in [
            ("reason", &self.reasons, &verdict.reasons),
            ("question", &self.questions, &verdict.questions),
            ("word of what was not looked at", &self.not_looked_at, &verdict.coverage.not_looked_at),
        ] {
            for part in parts.iter().filter(|part| !texts.iter().any(|text| text.contains(*part))) {
                wrong.push(format!("no {what} says \"{part}\""));
            }
        }
        for part in self.no_reasons.iter().filter(|part| verdict.reasons.iter().any(|text| text.contains(*part))) {
            wrong.push(format!("a reason says \"{part}\""));
        }
        if let Some(within) = &self.within {
            let within = Duration::try_from(case::duration(within)).unwrap();
            if run.took > within {
                wrong.push(format!("it took {:?}, more than {within:?}", run.took));
            }
        }
        self.hold_findings(verdict, &mut wrong);
        wrong
    }

    fn hold_findings(&self, verdict: &Verdict, wrong: &mut Vec<String>) {
        let mut used = BTreeSet::new();
        for finding in &verdict.findings {
            let full = format!("{}@{}", finding.check, finding.relation.name());
            let fits = |name: &&String| match name.strip_suffix('*') {
                Some(start) => full.starts_with(start),
                None => **name == full || **name == finding.check,
            };
            // The name that says most.
            match self.findings.keys().filter(fits).max_by_key(|name| (name.contains('@'), name.len())) {
                Some(name) => {
                    used.insert(name);
                    self.findings[name].hold(&full, finding, wrong);
                }
                None => wrong.push(format!("{full} is not expected: {}", finding.outcome.name())),
            }
        }
        for name in self.findings.keys().filter(|name| !used.contains(name)) {
            wrong.push(format!("there is no finding {name}"));
        }
    }
}

impl Found {
    fn hold(&self, name: &str, finding: &Finding, wrong: &mut Vec<String>) {
        let Found(wanted) = self;
        let mut same = |what: &str, found: String, wanted: Option<String>| {
            if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
                wrong.push(format!("{name}: {what} is {found}, not {wanted}"));
            }
        };
        let shown = |outcome: Option<Outcome>| outcome.map_or("-", Outcome::name).to_owned();
        let some = |outcome: Option<Outcome>| outcome.map(|outcome| outcome.name().to_owned());
        same("outcome", finding.outcome.name().to_owned(), some(wanted.outcome));
        same("then", shown(finding.then), some(wanted.then));
        same("now", shown(finding.now), some(wanted.now));
        same("relation", finding.relation.name().to_owned(), wanted.relation.map(|r| r.name().to_owned()));
        same("own", finding.own.to_string(), wanted.own.map(|b| b.to_string()));
        same("proof", finding.proof.to_string(), wanted.proof.map(|b| b.to_string()));
        same("control_ok", finding.control_ok.to_string(), wanted.control_ok.map(|b| b.to_string()));
        same("repeats", finding.repeats.to_string(), wanted.repeats.map(|n| n.to_string()));
        same("attempts", finding.attempts.to_string(), wanted.attempts.map(|n| n.to_string()));
        let kind = finding.unknown.as_ref().map_or("-", |unknown| unknown.kind.name()).to_owned();
        same("unknown", kind, wanted.unknown.map(|kind| kind.name().to_owned()));
        let said = said(finding);
        for part in wanted.says.iter().filter(|part| !said.contains(*part)) {
            wrong.push(format!("{name} doesn't say \"{part}\" but: {said}"));
        }
    }
}

fn said(finding: &Finding) -> String {
    let why = finding.unknown.as_ref().map_or("", |unknown| unknown.why.as_str());
    let notes = finding.notes.join(" | ");
    [finding.headline(), why.to_owned(), notes, finding.excerpt.clone().unwrap_or_default()].join(" | ")
}

/// What the ledger says of the findings as they stand in the verdict's document.
fn judged(verdict: &Verdict, setting: &Setting) -> judge::Judgement {
    let text = serde_json::to_string(verdict).expect("a verdict is a document");
    let again: Verdict = serde_json::from_str(&text).expect("a verdict's document is one");
    let witnesses: Vec<Witness> = again.findings.iter().map(Witness::from).collect();
    judge::judge(&witnesses, &setting.settings.costs)
}

/// What is so of every verdict, whatever the case.
fn laws(run: &Run, setting: &Setting) -> Vec<String> {
    let verdict = &run.round.verdict;
    let again = judged(verdict, setting);
    let answered =
        verdict.findings.iter().filter(|finding| !matches!(finding.outcome, Outcome::Unknown | Outcome::NotApplicable));
    let unexplained = verdict.findings.iter().any(|finding| {
        finding.outcome == Outcome::Unknown && finding.unknown.as_ref().is_none_or(|unknown| unknown.why.is_empty())
    });
    let no_issue = verdict.decision == Decision::NoIssue;
    let proven = verdict.findings.iter().any(|f| f.outcome == Outcome::Bad && (f.proof || f.own));
    let mut wrong = Vec::new();
    for (law, holds) in [
        ("the verdict is final", verdict.phase == Phase::Final),
        ("the findings, judged again, come to the same verdict", again.decision == verdict.decision),
        (
            "and to the same probability and power",
            (again.probability, again.power) == (verdict.probability, verdict.power),
        ),
        ("an answer is counted as one", answered.count() == verdict.coverage.checks_answered),
        (
            "no verdict is without its reasons",
            !verdict.reasons.is_empty() && verdict.reasons.iter().all(|r| !r.is_empty()),
        ),
        ("what is unknown says why", !unexplained),
        ("the deadline holds", run.took <= setting.settings.deadline + SMALL),
        ("nothing that could prove an issue is bad where there is none", !(no_issue && proven)),
    ] {
        if !holds {
            wrong.push(format!("broken law: {law}"));
        }
    }
    wrong
}

/// A verdict in a few lines, for whoever reads a failure.
pub fn show(verdict: &Verdict) -> String {
    let mut lines = vec![format!(
        "  --- {} P {:.4} power {:.3} scope {} state {} questions {:?} not looked at {:?} took {} ms",
        verdict.decision.name(),
        verdict.probability,
        verdict.power,
        verdict.scope.name(),
        verdict.current_state,
        verdict.questions,
        verdict.coverage.not_looked_at,
        verdict.took_ms
    )];
    lines.extend(verdict.reasons.iter().map(|reason| format!("  reason: {reason}")));
    for finding in &verdict.findings {
        lines.push(format!(
            "  {}@{} {} then {:?} now {:?} own {} proof {} control {} {}/{} rho {:.2} weight {:.2} [{}] {} ms: {}",
            finding.check,
            finding.relation.name(),
            finding.outcome.name(),
            finding.then,
            finding.now,
            finding.own,
            finding.proof,
            finding.control_ok,
            finding.repeats,
            finding.attempts,
            finding.rho,
            finding.weight,
            finding.group,
            finding.took_ms,
            said(finding)
        ));
    }
    lines.join("\n")
}
