//! What one look in the background leaves behind.

use super::*;
use crate::evidence::{Setup, Tools};

fn check(url: &str, more: &str) -> Arc<Check> {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "service: shop\nchecks:\n  - name: page\n    every: 1m\n    timeout: 500ms\n    http: {{ url: '{url}{more}' }}\n    \
         expect: [ 'status == 200' ]\n    params:\n      account: {{ from: ticket.customer, default: house }}\n"
    );
    std::fs::write(directory.path().join("checks.yaml"), text).unwrap();
    let (set, faults) = crate::checks::load(directory.path(), crate::evidence::KINDS, Arc::new(|_| Ok(())));
    assert!(faults.iter().all(|fault| fault.severity != crate::model::source::Severity::Error), "{faults:?}");
    Arc::clone(&set.checks[0])
}

async fn sampled(check: &Arc<Check>) -> Sampled {
    let looks = tokio::runtime::Handle::current();
    let runner = Runner { tools: Arc::new(Tools::new(Setup::default())), memory: Arc::default(), looks };
    let now = "2026-11-22T09:00:00Z".parse().unwrap();
    sample(check, params(check).unwrap(), &runner, now).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_becomes_a_sample() {
    let gone = sampled(&check("http://127.0.0.1:1", "/x/{{ account }}")).await.sample;
    assert!(gone.outcome == Outcome::Bad && gone.why.is_some_and(|why| why.contains("refused")));
}

#[test]
fn numbers_are_remembered_and_texts_are_not() {
    let mut measures = crate::model::value::Measures::new();
    measures.set("status", 503_i64).set("duration_seconds", 0.25).set("body", "no").set("broken", f64::NAN);
    let seen = Observation::answered(measures).took(std::time::Duration::from_millis(250));
    let held = hold(&check("http://127.0.0.1:1", "/").expect, 0, &seen);
    let sample = remembered("2026-11-22T09:00:00Z".parse().unwrap(), &seen, &held);
    assert_eq!((sample.outcome, sample.why.as_deref()), (Outcome::Bad, Some("status is 503")));
    let expected = [("duration_seconds".to_owned(), 0.25), ("status".to_owned(), 503.0)];
    assert_eq!(sample.measures, expected.into());
    assert_eq!(sample.took.as_millis(), 250);
}

#[test]
fn what_needs_a_customer_cannot_be_sampled() {
    let directory = tempfile::tempdir().unwrap();
    let text = "service: shop\nchecks:\n  - name: page\n    every: 1m\n    http: { url: 'http://127.0.0.1:1/x/{{ account }}' }\n    \
                params:\n      account: { from: ticket.customer }\n";
    std::fs::write(directory.path().join("checks.yaml"), text).unwrap();
    let (set, faults) = crate::checks::load(directory.path(), crate::evidence::KINDS, Arc::new(|_| Ok(())));
    assert_eq!(set.checks.len(), 1, "{faults:?}");
    assert_eq!(params(&set.checks[0]).unwrap_err(), "its parameter `account` has no default");
}
