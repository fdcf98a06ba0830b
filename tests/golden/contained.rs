//! What no kind of probe does on purpose: a probe that panics, or spins on its thread, costs only its own finding.

use std::sync::Arc;
use std::time::Duration;

use houston::checks::{AppliesTo, Check, CheckSet, Expectation};
use houston::config::Config;
use houston::evidence::{self, Ask, Kind, Looking, Probe};
use houston::model::look::{Class, Look, Outcome};
use houston::model::observation::{Observation, UnknownKind};
use houston::model::source::Span;
use houston::model::ticket::Report;
use houston::model::value::Measures;
use houston::model::verdict::Decision;
use houston::triage::{Runner, Setting};

use super::{SMALL, runtimes, tools, triage};

/// How a probe behaves.
#[derive(Debug, Clone, Copy)]
enum Manner {
    Answers,
    PanicsAtOnce,
    PanicsLater,
    Sleeps,
    BlocksItsThread,
}

#[derive(Debug)]
struct Odd(Manner);

impl Probe for Odd {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        assert!(!matches!(self.0, Manner::PanicsAtOnce), "before the first await");
        Box::pin(async move {
            match self.0 {
                Manner::PanicsLater => {
                    tokio::task::yield_now().await;
                    panic!("after an await");
                }
                Manner::Sleeps => std::future::pending::<()>().await,
                // Far beyond the deadline, and it can't be cancelled.
                Manner::BlocksItsThread => std::thread::sleep(
                    ask.deadline.saturating_duration_since(tokio::time::Instant::now()) + Duration::from_secs(8),
                ),
                Manner::Answers | Manner::PanicsAtOnce => {}
            }
            let mut measures = Measures::new();
            measures.set("series", 1_i64);
            Observation::answered(measures)
        })
    }

    fn system(&self) -> String {
        format!("{:?}", self.0)
    }
}

fn check(name: &str, look: Look, manner: Manner) -> Arc<Check> {
    let kind: &'static Kind = evidence::kind("prometheus").expect("a kind that has a measure `series`");
    let that = houston::expect::Expression::condition("series == 1", kind.measures, &[]).expect("an expectation");
    let at = Span::file("odd.yaml");
    Arc::new(Check {
        name: name.into(),
        service: Some("checkout".to_owned()),
        owner: None,
        look,
        kind,
        probe: Arc::new(Odd(manner)),
        expect: vec![Expectation { that, odd: false, note: None, at: at.clone() }],
        timeout: Duration::from_secs(60),
        every: None,
        attempts: 1,
        bad_if: None,
        class: Class::Strong,
        group: name.to_owned(),
        needed: true,
        control: None,
        params: Vec::new(),
        applies_to: AppliesTo::default(),
        depends_on: Vec::new(),
        known_issue: None,
        labels: Default::default(),
        summary: None,
        runbook_url: None,
        at,
    })
}

fn setting(checks: Vec<Arc<Check>>, deadline: Duration, looks: tokio::runtime::Handle) -> Setting {
    let config = Config::default();
    let mut settings = config.triage;
    settings.deadline = deadline;
    Setting {
        checks: Arc::new(CheckSet { checks, ..CheckSet::default() }),
        catalog: Arc::default(),
        settings,
        runner: Runner { tools: tools(&config), memory: Arc::default(), looks },
    }
}

#[test]
fn a_probe_that_fails_costs_its_own_finding_and_blocks_health_by_name() {
    let healthy: Vec<Arc<Check>> = Look::ALL.iter().map(|look| check(look.name(), *look, Manner::Answers)).collect();
    let (runtime, looks) = runtimes();
    let now = super::now();
    let ticket = Report { title: Some("checkout is down".into()), ..Report::default() }.accept(now, "1").unwrap();
    for (manner, kind) in [
        (None, None),
        (Some(Manner::PanicsAtOnce), Some(UnknownKind::Panicked)),
        (Some(Manner::PanicsLater), Some(UnknownKind::Panicked)),
        (Some(Manner::Sleeps), Some(UnknownKind::TimedOut)),
        (Some(Manner::BlocksItsThread), Some(UnknownKind::TimedOut)),
    ] {
        let mut checks = healthy.clone();
        checks.extend(manner.map(|manner| check("ill", Look::Internal, manner)));
        let deadline = Duration::from_secs(3);
        let run = runtime.block_on(triage(&ticket, &setting(checks, deadline, looks.handle().clone()), now));
        let verdict = &run.round.verdict;
        assert!(run.took <= deadline + SMALL, "{manner:?} took {:?}", run.took);
        let of = |name: &str| verdict.findings.iter().find(|f| f.check == name).map(|f| f.outcome);
        for look in Look::ALL {
            assert_eq!(of(look.name()), Some(Outcome::Good), "{manner:?} {:?}", verdict.findings);
        }
        let unknown = verdict.findings.iter().find(|f| f.check == "ill").and_then(|f| f.unknown.as_ref());
        assert_eq!(unknown.map(|unknown| unknown.kind), kind, "{manner:?}");
        match manner {
            None => assert_eq!(verdict.decision, Decision::NoIssue, "{:?}", verdict.reasons),
            Some(_) => {
                assert_eq!(verdict.decision, Decision::Doubtful, "{manner:?}");
                assert!(verdict.reasons.iter().any(|reason| reason.contains("ill")), "{:?}", verdict.reasons);
            }
        }
    }
    looks.shutdown_background();
}

#[test]
fn when_every_probe_hangs_there_is_a_verdict_at_the_deadline() {
    let (runtime, looks) = runtimes();
    let now = super::now();
    let ticket = Report { title: Some("checkout is down".into()), ..Report::default() }.accept(now, "1").unwrap();
    for manner in [Manner::Sleeps, Manner::BlocksItsThread] {
        let checks = (0..20).map(|n| check(&format!("hangs-{n:02}"), Look::ALL[n % 5], manner)).collect();
        let deadline = Duration::from_secs(2);
        let run = runtime.block_on(triage(&ticket, &setting(checks, deadline, looks.handle().clone()), now));
        let verdict = &run.round.verdict;
        assert!(run.took <= deadline + SMALL, "{manner:?} took {:?}", run.took);
        assert_eq!(verdict.decision, Decision::Doubtful);
        assert_eq!((verdict.coverage.checks_planned, verdict.coverage.checks_answered), (20, 0));
        assert!(verdict.reasons.iter().any(|reason| reason == "nothing answered"), "{:?}", verdict.reasons);
        assert!(verdict.findings.iter().all(|f| f.unknown.as_ref().unwrap().kind == UnknownKind::TimedOut));
    }
    looks.shutdown_background();
}
