//! Plan: which checks answer for this ticket, asked what, and how far their word goes.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::checks::{Check, Control};
use crate::evidence::Sees;
use crate::model::look::{Look, Relation};
use crate::model::memory::Memory;
use crate::model::params::{Params, Source};
use crate::model::ticket::Ticket;
use crate::model::window::{Moment, Window};

use super::scope::Scope;
use super::{judge, recall};

/// Everything that will be asked.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub questions: Vec<Question>,
    /// Checks that could have spoken for the ticket but don't apply, and why.
    pub left_out: Vec<LeftOut>,
    /// Questions that go back to the reporter.
    pub ask_back: Vec<String>,
}

/// One check, asked about one subject.
#[derive(Debug, Clone)]
pub struct Question {
    pub check: Arc<Check>,
    pub relation: Relation,
    /// How likely the check would see the ticket's issue.
    pub rho: f64,
    pub own: bool,
    /// Its use of the control can prove an issue: the parameters are verified.
    pub proof_capable: bool,
    pub params: Params,
    /// Look at this customer's share only.
    pub customer: Option<String>,
    /// When the trouble is said to have begun.
    pub since: jiff::Timestamp,
    /// The spans to ask about; a kind that sees only now has one.
    pub moments: Vec<(Moment, Window)>,
    /// The control's parameters, where a control is to run.
    pub control: Option<Params>,
}

/// A check that doesn't apply.
#[derive(Debug, Clone)]
pub struct LeftOut {
    pub check: Arc<Check>,
    pub relation: Relation,
    pub why: String,
}

/// Chooses the checks: those of the ticket's services, of what these depend on, and the global ones.
pub fn plan(
    scope: &Scope,
    ticket: &Ticket,
    checks: &[Arc<Check>],
    memory: &Memory,
    now_window: std::time::Duration,
) -> Plan {
    let mut plan = Plan::default();
    let mut ticket = ticket.clone();
    if let Some(customer) = &scope.customer {
        ticket.customer = Some(customer.name.as_str().into());
    }
    for check in checks {
        let Some(relation) = relation(check, scope) else { continue };
        if !applies(check, scope, &ticket) {
            continue;
        }
        let params = match Params::bind(&check.params, &ticket) {
            Ok(params) => params,
            Err(missing) => {
                if !plan.ask_back.contains(&missing.question) {
                    plan.ask_back.push(missing.question.clone());
                }
                plan.left_out.push(LeftOut { check: Arc::clone(check), relation, why: missing.question });
                continue;
            }
        };
        plan.questions.push(question(check, relation, params, None, scope, &ticket, memory, now_window));
        if let Some(customer) = &scope.customer
            && check.probe.splits_by_customer()
        {
            let params = plan.questions.last().map(|q| q.params.clone()).unwrap_or_default();
            let subject = Some(customer.name.clone());
            let relation = if relation == Relation::Service { Relation::Customer } else { relation };
            plan.questions.push(question(check, relation, params, subject, scope, &ticket, memory, now_window));
        }
    }
    only_own_where_all_services_have_it(&mut plan, scope);
    plan
}

/// How the check stands to the ticket; `None` where it speaks for another service.
fn relation(check: &Check, scope: &Scope) -> Option<Relation> {
    match &check.service {
        None => Some(Relation::Global),
        Some(name) if scope.names_service(name) => Some(Relation::Service),
        Some(name) if scope.dependencies.contains(name) => Some(Relation::Dependency),
        Some(_) => None,
    }
}

fn applies(check: &Check, scope: &Scope, ticket: &Ticket) -> bool {
    let wanted = &check.applies_to;
    let services = wanted.services.is_empty() || wanted.services.iter().any(|name| scope.names_service(name));
    let customers = wanted.customers.is_empty()
        || scope.customer.as_ref().is_some_and(|customer| wanted.customers.contains(&customer.name));
    let text = wanted
        .ticket_matches
        .as_ref()
        .is_none_or(|pattern| pattern.is_match(ticket.title.raw()) || pattern.is_match(ticket.text.raw()));
    services && customers && text
}

#[allow(clippy::too_many_arguments)] // one place, and each of them is a part of the question
fn question(
    check: &Arc<Check>,
    base: Relation,
    params: Params,
    subject: Option<String>,
    scope: &Scope,
    ticket: &Ticket,
    memory: &Memory,
    now_window: std::time::Duration,
) -> Question {
    let by_param = params.from_ticket();
    let bound_to_customer = subject.is_some()
        || check.params.iter().any(|spec| {
            spec.from == Some(Source::Customer)
                && params.iter().any(|(name, bound)| name == spec.name && bound.from_ticket)
        });
    let relation = match base {
        // Where no customer is named, the use case as anybody tries it is all that the ticket names.
        Relation::Service if check.look == Look::UseCase && (by_param || scope.customer.is_none()) => Relation::OwnCase,
        Relation::Service if by_param => Relation::Customer,
        other => other,
    };
    let of_service = matches!(relation, Relation::OwnCase | Relation::Customer | Relation::Service);
    let own = of_service
        && match &scope.customer {
            Some(_) => bound_to_customer,
            None => ticket.alert || by_param || check.look == Look::UseCase,
        };

    let sees_window = check.kind.sees == Sees::Past;
    let now = Window::ending_at(scope.now, jiff::SignedDuration::try_from(now_window).unwrap_or_default());
    let moments = if !sees_window {
        vec![(Moment::Now, now)]
    } else if !scope.is_past && scope.window.length() <= now.length() {
        vec![(Moment::Then, scope.window)]
    } else {
        vec![(Moment::Then, scope.window), (Moment::Now, now)]
    };
    let remembered = !by_param
        && subject.is_none()
        && memory.samples.get(check.name.as_ref()).is_some_and(|samples| recall::covers(check, samples, scope.window));
    let blind_to_window = scope.is_past && !sees_window && !remembered;

    let verified = !by_param
        || scope.customer.as_ref().is_some_and(|customer| customer.known && bound_to_customer)
        || memory.passed_with.contains(&(check.name.to_string(), values(&params)));
    let control = match &check.control {
        Some(Control::Synthetic) if by_param => Params::synthetic(&check.params).ok(),
        Some(Control::Synthetic) | None => None,
        Some(Control::Probe { .. }) => Some(Params::default()),
    };
    Question {
        rho: judge::rho(relation) * if blind_to_window { 0.5 } else { 1.0 },
        own: own && !blind_to_window,
        proof_capable: control.is_some() && verified && matches!(check.look, Look::UseCase | Look::External),
        check: Arc::clone(check),
        relation,
        params,
        customer: subject,
        since: scope.window.from,
        moments,
        control,
    }
}

/// Where a ticket names several services, checks are its own only if each of the services has some:
/// what nobody tried for one of them is not covered by what was tried for another.
fn only_own_where_all_services_have_it(plan: &mut Plan, scope: &Scope) {
    let covered: BTreeSet<&str> =
        plan.questions.iter().filter(|q| q.own).filter_map(|q| q.check.service.as_deref()).collect();
    if scope.services.iter().any(|service| !covered.contains(service.name.as_str())) {
        for question in &mut plan.questions {
            question.own = false;
        }
    }
}

/// The values that a probe is run with, as one text to remember them by.
pub fn values(params: &Params) -> String {
    let pairs: Vec<(&str, &str)> = params.iter().map(|(name, bound)| (name, bound.value.as_str())).collect();
    serde_json::to_string(&pairs).unwrap_or_default()
}
