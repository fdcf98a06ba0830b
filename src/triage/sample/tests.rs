//! One look in the background at a server that answers, one that fails, and one that isn't there.

use super::*;
use crate::evidence::{Setup, Tools};
use crate::net::canned::{Canned, Reply};

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
    let server = Canned::start(|asked| match asked.target.as_str() {
        "/well/house" => Reply::of(200, "text/plain", "fine"),
        "/silent/house" => Reply::silent(),
        _ => Reply::of(503, "text/plain", "no"),
    })
    .await;
    let well = sampled(&check(&server.url(), "/well/{{ account }}")).await.sample;
    assert_eq!((well.outcome, &well.why), (Outcome::Good, &None));
    assert_eq!(well.measures["status"], 200.0);
    assert!(well.measures["duration_seconds"] > 0.0 && well.took > std::time::Duration::ZERO);
    assert!(!well.measures.contains_key("body"), "only numbers are remembered");

    let broken = sampled(&check(&server.url(), "/broken")).await.sample;
    assert_eq!((broken.outcome, broken.why.as_deref()), (Outcome::Bad, Some("status is 503")));
    let silent = sampled(&check(&server.url(), "/silent/{{ account }}")).await.sample;
    assert_eq!(silent.outcome, Outcome::Bad, "{silent:?}");
    let asked = server.asked();
    assert_eq!(asked.len(), 3, "one look is one request: {asked:?}");
    drop(server);
    let gone = sampled(&check("http://127.0.0.1:1", "/")).await.sample;
    assert!(gone.outcome == Outcome::Bad && gone.why.is_some_and(|why| why.contains("refused")));
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
