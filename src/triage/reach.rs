//! Reach: the best verdict that a service's checks could give, so that nobody is surprised at 3 am.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::checks::Check;
use crate::model::catalog::Catalog;
use crate::model::look::{Class, Look, Outcome, Relation};
use crate::model::memory::Memory;
use crate::model::params::Source;
use crate::model::settings::TriageSettings;
use crate::model::ticket::Report;
use crate::model::verdict::Decision;

use super::assess;
use super::judge::{Judgement, Witness, judge};
use super::{plan, scope};

/// What a service's checks can come to.
#[derive(Debug, Clone)]
pub struct Reachable {
    pub service: String,
    /// If every check were good, for a ticket that names no customer.
    pub best: Judgement,
    /// If every check were good, for a ticket of a known customer.
    pub best_with_customer: Judgement,
    pub checks: usize,
    pub looks: BTreeSet<Look>,
    /// The one check that would change it, where *no issue* is out of reach.
    pub advice: Option<String>,
}

/// Works it out for every service that has checks or stands in the catalog.
pub fn reachable(checks: &[Arc<Check>], catalog: &Catalog, settings: &TriageSettings) -> Vec<Reachable> {
    let mut services: BTreeSet<String> = checks.iter().filter_map(|check| check.service.clone()).collect();
    services.extend(catalog.services.keys().cloned());
    services.iter().map(|service| of_service(service, checks, catalog, settings)).collect()
}

fn of_service(service: &str, checks: &[Arc<Check>], catalog: &Catalog, settings: &TriageSettings) -> Reachable {
    let anybody = all_good(service, false, checks, catalog, settings);
    let customer = all_good(service, true, checks, catalog, settings);
    let best = judge(&anybody, &settings.costs);
    let best_with_customer = judge(&customer, &settings.costs);
    let of_service: Vec<&Arc<Check>> = checks.iter().filter(|c| c.service.as_deref() == Some(service)).collect();
    let looks: BTreeSet<Look> = of_service.iter().map(|check| check.look).collect();
    let advice = if best.decision != Decision::NoIssue {
        Some(advise(&anybody, &looks, settings))
    } else if best_with_customer.decision != Decision::NoIssue {
        Some("nothing looks at a customer's own case: give a journey a parameter `from: ticket.customer`".to_owned())
    } else {
        None
    };
    Reachable { service: service.to_owned(), best, best_with_customer, checks: of_service.len(), looks, advice }
}

/// Every check that would be asked, answering good.
fn all_good(
    service: &str,
    with_customer: bool,
    checks: &[Arc<Check>],
    catalog: &Catalog,
    settings: &TriageSettings,
) -> Vec<Witness> {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let mut report = Report {
        title: Some(service.into()),
        services: vec![service.to_owned()],
        customer: with_customer.then_some("a-customer".into()),
        ..Report::default()
    };
    // Whatever form the parameters want, this ticket has them.
    let checks: Vec<Arc<Check>> = checks
        .iter()
        .map(|check| {
            let mut check = Check::clone(check);
            for spec in &mut check.params {
                spec.pattern = None;
                if let (Some(Source::Param(name)), true) = (&spec.from, with_customer) {
                    report.params.insert(name.clone(), "value".into());
                }
            }
            Arc::new(check)
        })
        .collect();
    let Ok(ticket) = report.accept(now, "reach") else { return Vec::new() };
    let scope = scope::scope(&ticket, catalog, &BTreeSet::from([service.to_owned()]), settings, now);
    let plan = plan::plan(&scope, &ticket, &checks, &Memory::default(), settings.now_window);
    let unknown =
        || crate::model::observation::Unknown::new(crate::model::observation::UnknownKind::TimedOut, "not asked");
    plan.questions
        .iter()
        .map(|question| {
            let finding = assess::unanswered(question, unknown(), std::time::Duration::ZERO);
            Witness { outcome: Outcome::Good, ..Witness::from(&finding) }
        })
        .collect()
}

/// The first single check that brings *no issue* within reach.
fn advise(witnesses: &[Witness], looks: &BTreeSet<Look>, settings: &TriageSettings) -> String {
    let candidates = [
        (Look::UseCase, "nothing looks at the customer's use case: add a journey"),
        (Look::External, "nothing looks from outside: add an http check of the front page"),
        (Look::Internal, "nothing asks the monitoring: add a prometheus check"),
        (Look::Traffic, "nothing looks at the traffic: add an access_log check"),
        (Look::Logs, "nothing reads the logs: add a log_file check"),
    ];
    let with = |look: Look| {
        let mut more = witnesses.to_vec();
        more.push(Witness {
            id: "added".to_owned(),
            look,
            group: "added".to_owned(),
            outcome: Outcome::Good,
            class: look.default_class(),
            relation: Relation::Service,
            own: look == Look::UseCase,
            needed: true,
            proof: false,
            control_ok: false,
            repeats: 0,
            rho: None,
        });
        judge(&more, &settings.costs).decision == Decision::NoIssue
    };
    let missing = || candidates.iter().filter(|(look, _)| !looks.contains(look));
    if let Some((_, advice)) = missing().find(|(look, _)| with(*look)) {
        return (*advice).to_owned();
    }
    match missing().next() {
        Some((_, advice)) => format!("{advice} (and more: one check alone doesn't change it)"),
        None if witnesses.iter().all(|w| matches!(w.class, Class::Weak | Class::Hint)) => {
            "all its checks are weak: declare a class that fits, or add stronger ones".to_owned()
        }
        None => "its checks share too few systems: look from more than one place".to_owned(),
    }
}
