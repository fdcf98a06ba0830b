//! Assess: observations held against their expectations become findings.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::checks::{Check, Control, Expectation};
use crate::evidence::Kind;
use crate::expect::{Held, Usual};
use crate::model::finding::Finding;
use crate::model::look::{Look, Outcome};
use crate::model::memory::Memory;
use crate::model::observation::{Broken, Fault, Observation, Seen, Unknown, UnknownKind};
use crate::model::value::{Measures, Value};
use crate::model::window::{Moment, Window};
use crate::stats::nature::Nature;
use crate::stats::usual::{Comparison, compare};

use super::plan::{LeftOut, Question};
use super::scope::Scope;
use super::{judge, recall};

/// The most of one measure that a finding keeps, in characters.
const VALUE_LIMIT: usize = 300;
/// A range's expectation is broken for good when it is broken at this share of the points, and at two at least.
const POINTS_SHARE: f64 = 0.1;
/// What has been bad for longer than this before the symptom began is chronic.
const CHRONIC: SignedDuration = SignedDuration::from_hours(24);

/// Everything that was seen for one question.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// Every try, in order, per moment.
    pub tries: Vec<(Moment, Vec<Observation>)>,
    pub control: Option<Observation>,
    pub took: std::time::Duration,
}

/// One observation held against its expectations.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    pub outcome: Outcome,
    pub broken: Vec<Broken>,
    pub held: Vec<String>,
    pub fault: Option<Fault>,
    pub unknown: Option<Unknown>,
}

/// Holds one observation against expectations: bad before odd before unknown before good.
pub fn hold(expectations: &[Expectation], own_expectations: usize, seen: &Observation) -> Assessment {
    let mut result =
        Assessment { outcome: Outcome::Good, broken: Vec::new(), held: Vec::new(), fault: None, unknown: None };
    match &seen.seen {
        Seen::Failed(fault) => {
            result.outcome = Outcome::Bad;
            result.fault = Some(fault.clone());
            return result;
        }
        Seen::Blind(unknown) => {
            result.outcome = Outcome::Unknown;
            result.unknown = Some(unknown.clone());
            return result;
        }
        Seen::Answered => {}
    }
    for broken in &seen.broken {
        result.outcome = result.outcome.worse(if broken.odd { Outcome::Odd } else { Outcome::Bad });
        result.broken.push(broken.clone());
    }
    for expectation in expectations {
        let held = hold_one(expectation, seen);
        match held {
            Held::True => result.held.push(expectation.that.text().to_owned()),
            Held::False { actual } => {
                result.outcome = result.outcome.worse(if expectation.odd { Outcome::Odd } else { Outcome::Bad });
                result.broken.push(Broken {
                    that: expectation.that.text().to_owned(),
                    actual,
                    at: expectation.at.to_string(),
                    note: expectation.note.clone(),
                    odd: expectation.odd,
                });
            }
            Held::Unknown { why } => {
                result.outcome = result.outcome.worse(Outcome::Unknown);
                result.unknown.get_or_insert(Unknown::new(UnknownKind::Incomplete, why));
            }
        }
    }
    if expectations.is_empty() && own_expectations == 0 {
        result.outcome = Outcome::Unknown;
        result.unknown = Some(Unknown::new(UnknownKind::Incomplete, "nothing is expected of it"));
    }
    // What is broken for good goes first; a reason not to know matters only where nothing is broken.
    result.broken.sort_by_key(|broken| broken.odd);
    if matches!(result.outcome, Outcome::Bad | Outcome::Odd) {
        result.unknown = None;
    }
    result
}

/// One expectation over an observation: at every point of a range, where it has points.
fn hold_one(expectation: &Expectation, seen: &Observation) -> Held {
    let usual = |name: &str, value: f64| is_usual(seen, name, value);
    if seen.points.is_empty() {
        return expectation.that.hold(&seen.measures, &usual);
    }
    let mut broken: Vec<String> = Vec::new();
    let mut unknown = None;
    let mut answered = 0_usize;
    for point in &seen.points {
        match expectation.that.hold(point, &usual) {
            Held::True => answered += 1,
            Held::False { actual } => {
                answered += 1;
                broken.push(actual);
            }
            Held::Unknown { why } => unknown = Some(why),
        }
    }
    let enough = ((answered as f64 * POINTS_SHARE).ceil() as usize).max(2).min(answered.max(1));
    if !broken.is_empty() && broken.len() >= enough {
        let worst = broken.swap_remove(broken.len() / 2);
        return Held::False { actual: format!("{worst} (at {} of {} points)", broken.len() + 1, seen.points.len()) };
    }
    match unknown {
        Some(why) if answered * 2 < seen.points.len() => Held::Unknown { why },
        _ => Held::True,
    }
}

/// The measures that say of how many events a ratio of the same observation is one.
const COUNTS: [&str; 2] = ["requests", "lines"];

fn is_usual(seen: &Observation, name: &str, value: f64) -> Usual {
    let past = seen.past.get(name).map_or(&[][..], Vec::as_slice);
    let window = seen.window.map(|window| window.seconds());
    let of = COUNTS.iter().find_map(|count| seen.measures.number(count));
    let comparison = compare(value, past, Nature::of_measure(name, window, of));
    match comparison {
        Comparison::Usual { .. } => Usual::Yes,
        Comparison::Unusual { .. } => Usual::No { usually: comparison.usually() },
        Comparison::Unknown(lack) => {
            Usual::Unknown { why: format!("what is usual for {name} is not known yet: {lack}") }
        }
    }
}

/// The tries of one moment taken together.
struct Moments {
    outcome: Outcome,
    failures: u32,
    tried: u32,
    /// The try that tells most.
    telling: usize,
    assessments: Vec<Assessment>,
}

fn together(question: &Question, tries: &[Observation]) -> Moments {
    let check = &question.check;
    let assessments: Vec<Assessment> =
        tries.iter().map(|seen| hold(&check.expect, check.probe.own_expectations(), seen)).collect();
    let failures = assessments.iter().filter(|a| a.outcome == Outcome::Bad).count() as u32;
    let answered = assessments.iter().filter(|a| a.outcome != Outcome::Unknown).count() as u32;
    let outcome = match (failures, check.bad_if) {
        (0, _) => {
            // Without a failure the last answer counts: the look was repeated because the first did not answer.
            let best = assessments.iter().filter(|a| a.outcome != Outcome::Unknown);
            best.fold(None, |worst: Option<Outcome>, a| Some(worst.map_or(a.outcome, |w| w.worse(a.outcome))))
                .unwrap_or(Outcome::Unknown)
        }
        (failed, Some(limit)) if failed >= limit.failures => Outcome::Bad,
        (_, Some(_)) => Outcome::Odd,
        (failed, None) if failed == answered => Outcome::Bad,
        (_, None) => Outcome::Odd,
    };
    let telling = match outcome {
        Outcome::Bad | Outcome::Odd if failures > 0 => assessments.iter().rposition(|a| a.outcome == Outcome::Bad),
        wanted => assessments.iter().rposition(|a| a.outcome == wanted),
    };
    Moments { outcome, failures, tried: tries.len() as u32, telling: telling.unwrap_or(0), assessments }
}

/// What was seen for a question becomes a finding.
pub fn assess(question: &Question, taken: &Taken, scope: &Scope, memory: &Memory) -> Finding {
    let check = &question.check;
    let mut finding = blank(question);
    finding.took_ms = taken.took.as_millis() as u64;

    let mut worst: Option<(Moment, Moments)> = None;
    let mut rho_factor = 1.0_f64;
    for (moment, tries) in &taken.tries {
        let mut together = together(question, tries);
        if let (Moment::Then, Some(seen)) = (moment, tries.get(together.telling)) {
            let (outcome, factor) = coverage(seen, together.outcome, scope.window, &mut finding);
            together.outcome = outcome;
            rho_factor = factor;
        }
        match moment {
            Moment::Then => finding.then = Some(together.outcome),
            Moment::Now => finding.now = Some(together.outcome),
        }
        finding.repeats = finding.repeats.max(together.failures);
        finding.attempts = finding.attempts.max(together.tried);
        if together.failures > 0 && together.failures < together.tried {
            finding.notes.push(format!("failed {} of {} times", together.failures, together.tried));
        }
        let is_worse = worst.as_ref().is_none_or(|(_, w)| w.outcome.worse(together.outcome) != w.outcome);
        if is_worse {
            worst = Some((*moment, together));
        }
    }
    let Some((moment, together)) = worst else {
        finding.outcome = Outcome::Unknown;
        finding.unknown.get_or_insert(Unknown::new(UnknownKind::TimedOut, "it was not asked before the deadline"));
        return finding;
    };
    // An open window that is no longer than "now" was asked about once.
    if finding.now.is_none() && !scope.is_past {
        finding.now = finding.then;
    }
    finding.rho *= rho_factor;
    finding.outcome = together.outcome;
    let remembered = if finding.then.is_none() { recall::then(question, scope, memory) } else { None };
    let tries = taken.tries.iter().find(|(m, _)| *m == moment).map_or(&[][..], |(_, tries)| tries);
    if let (Some(seen), Some(assessment)) = (tries.get(together.telling), together.assessments.get(together.telling)) {
        fill(&mut finding, check, seen, assessment);
    }
    if question.control.is_some() {
        weigh_control(&mut finding, check, taken.control.as_ref());
    }
    if let Some(remembered) = remembered {
        recall::add(&mut finding, check, remembered);
    } else if scope.is_past && finding.then.is_none() {
        finding.notes.push("it sees only now: what was then is not known".to_owned());
    }
    soften(&mut finding, check, scope, memory);
    finding
}

/// A check that doesn't apply, for the reader: it weighs nothing.
pub fn not_applicable(left_out: &LeftOut) -> Finding {
    let check = &left_out.check;
    let question = Question {
        check: std::sync::Arc::clone(check),
        relation: left_out.relation,
        rho: judge::rho(left_out.relation),
        own: false,
        proof_capable: false,
        params: Default::default(),
        customer: None,
        since: jiff::Timestamp::MIN,
        moments: Vec::new(),
        control: None,
    };
    let mut finding = blank(&question);
    finding.outcome = Outcome::NotApplicable;
    finding.unknown = Some(Unknown::new(UnknownKind::MissingParam, left_out.why.clone()));
    finding
}

/// The finding of a question that was not answered in time.
pub fn unanswered(question: &Question, unknown: Unknown, took: std::time::Duration) -> Finding {
    let mut finding = blank(question);
    finding.unknown = Some(unknown);
    finding.took_ms = took.as_millis() as u64;
    finding
}

fn blank(question: &Question) -> Finding {
    let check = &question.check;
    Finding {
        check: check.name.to_string(),
        look: check.look,
        kind: check.kind.name.to_owned(),
        service: check.service.clone(),
        owner: check.owner.clone(),
        relation: question.relation,
        group: check.group.clone(),
        class: check.class,
        outcome: Outcome::Unknown,
        then: None,
        now: None,
        rho: question.rho,
        own: question.own,
        needed: check.needed,
        proof: question.proof_capable,
        control_ok: false,
        repeats: 0,
        attempts: 0,
        odds: String::new(),
        weight: 0.0,
        observed: Measures::new(),
        failed: Vec::new(),
        fault: None,
        unknown: None,
        held: Vec::new(),
        window: None,
        excerpt: None,
        picture: None,
        reproduce: None,
        notes: Vec::new(),
        at: check.at.to_string(),
        took_ms: 0,
    }
}

/// Whether the data covers the window that was asked about.
fn coverage(seen: &Observation, outcome: Outcome, window: Window, finding: &mut Finding) -> (Outcome, f64) {
    let Some(until) = seen.data_until else { return (outcome, 1.0) };
    if until >= window.from || outcome == Outcome::Unknown {
        return (outcome, 1.0);
    }
    let older = until.duration_until(window.from);
    if older >= window.length() {
        finding.unknown = Some(Unknown::new(UnknownKind::Stale, format!("its data ends at {}", short(until))));
        (Outcome::Unknown, 1.0)
    } else {
        finding.notes.push(format!("its data ends at {}, before the window", short(until)));
        (outcome, 0.5)
    }
}

fn short(at: Timestamp) -> String {
    at.strftime("%H:%M:%S UTC").to_string()
}

fn fill(finding: &mut Finding, check: &Check, seen: &Observation, assessment: &Assessment) {
    finding.failed = assessment.broken.clone();
    finding.held = assessment.held.clone();
    finding.fault = assessment.fault.clone();
    if finding.outcome == Outcome::Unknown {
        finding.unknown = finding.unknown.take().or_else(|| assessment.unknown.clone());
    }
    finding.window = seen.window;
    finding.excerpt = seen.excerpt.clone();
    finding.picture = seen.picture.clone();
    finding.reproduce = seen.reproduce.clone();
    finding.notes.extend(seen.notes.iter().cloned());
    finding.observed = kept(check.kind, &check.expect, &seen.measures);
}

/// The measures that the expectations name, and the kind's headline, each cropped.
fn kept(kind: &Kind, expectations: &[Expectation], measures: &Measures) -> Measures {
    let mut names: Vec<&str> = kind.headline.to_vec();
    for expectation in expectations {
        names.extend(expectation.that.names().iter().map(String::as_str));
    }
    let mut kept = Measures::new();
    for name in names {
        match measures.get(name) {
            Some(Value::Int(value)) => drop(kept.set(name, *value)),
            Some(Value::Float(value)) => drop(kept.set(name, *value)),
            Some(Value::Bool(value)) => drop(kept.set(name, *value)),
            Some(Value::Text(text)) if text.chars().count() <= VALUE_LIMIT => drop(kept.set(name, text.clone())),
            Some(list @ Value::List(_)) if list.show(VALUE_LIMIT + 1).chars().count() <= VALUE_LIMIT => {
                kept.set(name, list.clone());
            }
            Some(other) => drop(kept.set(name, other.show(VALUE_LIMIT))),
            None => {}
        }
    }
    kept
}

/// What the control says of the runner.
fn weigh_control(finding: &mut Finding, check: &Check, control: Option<&Observation>) {
    let Some(seen) = control else { return };
    let (expectations, own) = match &check.control {
        Some(Control::Probe { expect, probe, .. }) => (expect.as_slice(), probe.own_expectations()),
        _ => (check.expect.as_slice(), check.probe.own_expectations()),
    };
    let outcome = hold(expectations, own, seen).outcome;
    finding.control_ok = outcome == Outcome::Good;
    if finding.control_ok || finding.outcome != Outcome::Bad {
        return;
    }
    match &check.control {
        // A control of its own tells whether the runner can see at all.
        Some(Control::Probe { .. }) => {
            finding.outcome = Outcome::Unknown;
            for moment in
                [&mut finding.then, &mut finding.now].into_iter().filter(|moment| **moment == Some(Outcome::Bad))
            {
                *moment = Some(Outcome::Unknown);
            }
            finding.unknown = Some(Unknown::new(
                UnknownKind::Refused,
                "its control fails too: the fault may be on our side of the wire",
            ));
        }
        // The same journey with synthetic parameters asks the same service: failing too, it says that it is not
        // this customer alone.
        _ => finding.notes.push("the synthetic run fails too: not this customer alone".to_owned()),
    }
}

/// Known and chronic troubles are odd at most.
fn soften(finding: &mut Finding, check: &Check, scope: &Scope, memory: &Memory) {
    if finding.outcome != Outcome::Bad {
        return;
    }
    if let Some(known) = &check.known_issue
        && known.until > scope.now
    {
        finding.outcome = Outcome::Odd;
        let ticket = known.ticket.as_ref().map_or(String::new(), |ticket| format!(", {ticket}"));
        finding.notes.push(format!("a known issue until {}{ticket}", known.until));
        return;
    }
    let length = scope.window.length();
    let long = CHRONIC.max(SignedDuration::from_secs(length.as_secs().saturating_mul(6)));
    if let Some(since) = memory.bad_since.get(check.name.as_ref())
        && since.duration_until(scope.window.from) > long
    {
        finding.outcome = Outcome::Odd;
        finding.notes.push(format!("chronic: bad since {since}, long before the symptom"));
    }
}

/// The worst outcome of each look. Silence that nobody waits for colours a look only where nothing else answered.
pub fn by_look(findings: &[Finding]) -> BTreeMap<Look, Outcome> {
    let mut looks = BTreeMap::new();
    let (dispensable, counted): (Vec<&Finding>, Vec<&Finding>) = findings
        .iter()
        .filter(|finding| finding.outcome != Outcome::NotApplicable)
        .partition(|finding| finding.is_dispensable());
    for finding in counted {
        let entry = looks.entry(finding.look).or_insert(Outcome::Good);
        *entry = entry.worse(finding.outcome);
    }
    for finding in dispensable {
        looks.entry(finding.look).or_insert(Outcome::Unknown);
    }
    looks
}
