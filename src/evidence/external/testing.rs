//! What the tests of these kinds share: a check's value read as from a file, looked once, held against expectations.

use std::sync::Arc;
use std::time::Duration;

use crate::evidence::{Ask, Kind, ODD, Probe, Setup, Tools};
use crate::expect::{Expression, Held, Usual};
use crate::model::memory::Memory;
use crate::model::observation::{Observation, Phase, Seen, UnknownKind};
use crate::model::params::Params;
use crate::model::secret::Environment;
use crate::model::source::Diagnostic;
use crate::model::window::{Moment, Window};
use crate::net::budget::{Limit, Limits};
use crate::yaml;

/// Reads the value of a kind.
pub(super) fn read(kind: &Kind, text: &str) -> Result<Arc<dyn Probe>, Diagnostic> {
    (kind.read)(&yaml::parse("test.yaml", text).unwrap())
}

/// Tools that may ask as often as a test likes, with some secrets.
pub(super) fn setup() -> Setup {
    let free = Limit { at_once: 64, per_second: None };
    let secrets = [("TOKEN", "t0ken-s3cret"), ("PASSWORD", "p4ss-s3cret")];
    let environment = Environment::new(secrets.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let limits = Limits { service: free, system: free, ..Limits::default() };
    Setup { environment, limits, ..Setup::default() }
}

pub(super) fn ask_with(setup: Setup, patience: Duration) -> Ask {
    let now = jiff::Timestamp::from_second(1_795_000_000).unwrap();
    Ask {
        now,
        window: Window::new(now, now),
        moment: Moment::Now,
        since: now,
        params: Params::default(),
        customer: None,
        attempt: 1,
        usual: Vec::new(),
        deadline: tokio::time::Instant::now() + patience,
        memory: Arc::new(Memory::default()),
        check: "test".into(),
        tools: Arc::new(Tools::new(setup)),
    }
}

/// An ask whose deadline only a hang reaches.
pub(super) fn ask() -> Ask {
    ask_with(setup(), Duration::from_secs(20))
}

/// An ask whose deadline is meant to be reached.
pub(super) fn hurried() -> Ask {
    ask_with(setup(), Duration::from_millis(300))
}

/// Reads and looks once.
pub(super) async fn look(kind: &Kind, text: &str, ask: &Ask) -> Observation {
    read(kind, text).unwrap().observe(ask).await
}

/// What an expectation over the kind's measures comes to.
pub(super) fn hold(kind: &Kind, expectation: &str, observation: &Observation) -> Held {
    let unusual = |_: &str, _: f64| Usual::Unknown { why: "no history in a test".to_owned() };
    Expression::condition(expectation, kind.measures, &[]).unwrap().hold(&observation.measures, &unusual)
}

/// True where every default expectation of the kind holds of an answer.
pub(super) fn is_good(kind: &Kind, observation: &Observation) -> bool {
    observation.seen == Seen::Answered
        && kind.default_expect.iter().all(|that| hold(kind, that.trim_start_matches(ODD), observation) == Held::True)
}

pub(super) fn fault(observation: &Observation) -> (Phase, &str) {
    match &observation.seen {
        Seen::Failed(fault) => (fault.phase, &fault.what),
        other => panic!("no fault: {other:?}"),
    }
}

pub(super) fn blindness(observation: &Observation) -> (UnknownKind, &str) {
    match &observation.seen {
        Seen::Blind(unknown) => (unknown.kind, &unknown.why),
        other => panic!("not blind: {other:?}"),
    }
}

/// Every measure that was seen is one that the kind declares.
pub(super) fn declared(kind: &Kind, observation: &Observation) {
    for (name, _) in observation.measures.iter() {
        assert!(kind.measures.iter().any(|measure| measure.name == name), "{name} is not declared");
    }
}

/// The value under the kind's key in each check of its example.
pub(super) fn examples(kind: &Kind) -> Vec<yaml::Node> {
    let path = format!("{}/checks.d/{}", env!("CARGO_MANIFEST_DIR"), kind.example);
    let text = std::fs::read_to_string(&path).unwrap();
    let document = yaml::parse(kind.example, &text).unwrap();
    let yaml::Shape::List(checks) = document.get("checks").unwrap().shape.clone() else { panic!("no list") };
    checks.iter().filter_map(|check| check.get(kind.name).cloned()).collect()
}

/// The example reads, and so does each default expectation.
pub(super) fn example_reads(kind: &Kind) {
    let values = examples(kind);
    assert!(!values.is_empty());
    for value in values {
        (kind.read)(&value).unwrap();
    }
    for that in kind.default_expect {
        Expression::condition(that.trim_start_matches(ODD), kind.measures, &[]).unwrap();
    }
}
