//! The HTTP API: every route with its scope in one table, and nothing reachable besides it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Router};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::access;
use super::answer::{InPath, InQuery, Refusal, json_body};
use super::auth::{Identity, Scope};
use super::{Shared, acknowledge, callbacks, intake, pages};
use crate::model::case::{self, Case, number_text};
use crate::model::params::Params;
use crate::model::text::Untrusted;
use crate::model::ticket::{Report, each_once};
use crate::model::verdict::Verdict;
use crate::model::window::Window;
use crate::store::{Delivery, StoreError};
use crate::triage;

/// The longest that a request may wait for its verdict.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// Cases in one page of a list.
const PAGE: usize = 50;

/// One route: what is not in the table doesn't exist.
pub struct Route {
    pub method: &'static str,
    pub path: &'static str,
    /// `None`: no token is needed, and no details are given.
    pub scope: Option<Scope>,
    handler: MethodRouter<Arc<Shared>>,
}

/// Every route of the daemon.
pub fn routes() -> Vec<Route> {
    let route = |method, path, scope, handler| Route { method, path, scope, handler };
    vec![
        route("POST", "/api/v1/tickets", Some(Scope::Report), post(accept)),
        route("GET", "/api/v1/tickets", Some(Scope::Read), get(list)),
        // Of its own tickets a reporter sees the verdict; `show` sees to that.
        route("GET", "/api/v1/tickets/{ticket}", Some(Scope::Report), get(show)),
        route("GET", "/api/v1/tickets/{ticket}/events", Some(Scope::Read), get(events)),
        route("POST", "/api/v1/tickets/{ticket}/retriage", Some(Scope::Operate), post(retriage)),
        route("POST", "/api/v1/tickets/{ticket}/callback", Some(Scope::Operate), post(callbacks::answer)),
        route("POST", "/api/v1/tickets/{ticket}/acknowledge", Some(Scope::Operate), post(acknowledge::ticket)),
        route("GET", "/api/v1/checks", Some(Scope::Read), get(checks)),
        route("GET", "/api/v1/checks/{name}/baseline", Some(Scope::Read), get(account)),
        route("POST", "/api/v1/checks/{name}/run", Some(Scope::Operate), post(run_check)),
        route("GET", "/api/v1/status", Some(Scope::Read), get(status)),
        // Each system proves itself in its own way: see `intake::hook`.
        route("POST", "/hooks/{system}", None, post(intake::hook)),
        // The link in a page proves itself: see `acknowledge::Links`.
        route("GET", "/a/{token}", None, get(acknowledge::ask)),
        route("POST", "/a/{token}", None, post(acknowledge::confirm)),
        route("GET", "/metrics", Some(Scope::Read), get(metrics)),
        route("GET", "/healthz", None, get(healthz)),
        route("GET", "/readyz", None, get(readyz)),
        route("GET", "/login", None, get(access::login)),
        route("GET", "/", Some(Scope::Read), get(pages::queue)),
        route("GET", "/t/{ticket}", Some(Scope::Read), get(pages::ticket)),
        route("GET", "/evidence/{name}", Some(Scope::Read), get(pages::evidence)),
    ]
}

/// The application: each route behind the guard of its scope.
pub fn app(shared: Arc<Shared>) -> Router {
    let mut router = Router::new();
    for route in routes() {
        let guard = axum::middleware::from_fn_with_state((Arc::clone(&shared), route.scope), access::guard);
        router = router.route(route.path, route.handler.route_layer(guard));
    }
    router
        .fallback(|| async { Refusal::new(StatusCode::NOT_FOUND, "there is nothing here") })
        .layer(axum::middleware::map_response(access::harden))
        .with_state(shared)
}

#[derive(Debug, Deserialize)]
struct Wait {
    wait: Option<String>,
}

/// `POST /api/v1/tickets`: 202 once the ticket is on disk, 200 with the verdict where `?wait=` was long enough.
async fn accept(
    State(shared): State<Arc<Shared>>,
    Extension(identity): Extension<Identity>,
    InQuery(Wait { wait }): InQuery<Wait>,
    request: Request,
) -> Result<Response, Refusal> {
    let wait = match wait {
        Some(text) => {
            let wait = crate::model::units::parse_duration(&text).map_err(|why| Refusal::field("wait", why))?;
            Some(wait.min(LONGEST_WAIT))
        }
        None => None,
    };
    let idempotency_key = idempotency_key(request.headers())?;
    shared.access.may_file(&identity, Instant::now().into_std()).map_err(access::refuse)?;
    let report: Report = json_body(request).await?;
    if shared.is_draining() {
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "shutting down").retry_after(5));
    }
    let now = (shared.clock)();
    let id = fresh_id();
    let ticket = report.accept(now, &id).map_err(|error| Refusal::field(error.field, error.what.clone()))?;
    let deadline = now.checked_add(shared.settings.deadline).unwrap_or(now);
    let delivery = Delivery { idempotency_key, by: Some(identity.name.clone()), id: None };
    let accepted = shared.store.accept(ticket, delivery, now, deadline).await.map_err(|error| {
        tracing::error!(error = %error, "a ticket could not be accepted");
        Refusal::from(error)
    })?;
    if accepted.new {
        shared.metrics.tickets.inc();
        tracing::info!(ticket = %number_text(accepted.number), "accepted");
        shared.accepted(accepted.number);
    }
    let location = format!("/api/v1/tickets/{}", number_text(accepted.number));
    if let Some(wait) = wait
        && let Some(case) = shared.decided(accepted.number, wait).await?
        && let Some(mut verdict) = case.verdict
    {
        if identity.scope < Scope::Read {
            withhold_evidence(&mut verdict);
        }
        return Ok((StatusCode::OK, [(header::LOCATION, location)], axum::Json(verdict)).into_response());
    }
    // The same delivery gets the same answer, however often it comes.
    let body = json!({ "ticket": number_text(accepted.number), "href": location });
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], axum::Json(body)).into_response())
}

/// Whoever may only report learns what was found out, not the evidence: it names our inner places.
fn withhold_evidence(verdict: &mut Verdict) {
    verdict.findings.clear();
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(text) if (1..=200).contains(&text.len()) => Ok(Some(text.to_owned())),
        _ => Err(Refusal::field("Idempotency-Key", "1 to 200 visible ASCII characters are allowed".to_owned())),
    }
}

/// An id for a ticket that came without one: 128 random bits.
fn fresh_id() -> String {
    let mut bytes = [0_u8; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // Without randomness the address of the buffer and a counter would repeat: an empty id is refused instead.
        return String::new();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Debug, Deserialize)]
struct Page {
    before: Option<String>,
    limit: Option<usize>,
}

/// A case without its findings, for lists.
pub fn summary(case: &Case) -> serde_json::Value {
    let verdict = case.verdict.as_ref();
    json!({
        "ticket": number_text(case.number),
        "source": case.ticket.source,
        "id": case.ticket.id,
        "title": case.ticket.title,
        "customer": case.ticket.customer,
        "services": verdict.map_or(&case.ticket.services, |verdict| &verdict.ticket.services),
        "accepted_at": case.accepted_at,
        "deadline_at": case.deadline_at,
        "round": case.round,
        "state": case.state,
        "verdict": verdict.map(|verdict| verdict.decision),
        "probability": verdict.map(|verdict| verdict.probability),
        "scope": verdict.map(|verdict| verdict.scope),
        "took_ms": verdict.map(|verdict| verdict.took_ms),
    })
}

async fn list(State(shared): State<Arc<Shared>>, InQuery(page): InQuery<Page>) -> Result<Response, Refusal> {
    let before = match &page.before {
        Some(text) => Some(case::parse_number(text).ok_or_else(|| Refusal::field("before", "a ticket like T-7"))?),
        None => None,
    };
    let cases = shared.store.cases(before, page.limit.unwrap_or(PAGE).clamp(1, 500)).await?;
    let next = cases.last().filter(|case| case.number > 1).map(|case| number_text(case.number));
    let tickets: Vec<_> = cases.iter().map(summary).collect();
    Ok(axum::Json(json!({ "tickets": tickets, "before": next })).into_response())
}

/// The case with this name, or 404.
pub async fn find(shared: &Shared, name: &str) -> Result<Case, Refusal> {
    let none = || Refusal::new(StatusCode::NOT_FOUND, "no such ticket");
    let number = case::parse_number(name).ok_or_else(none)?;
    shared.store.case(number).await?.ok_or_else(none)
}

async fn show(
    State(shared): State<Arc<Shared>>,
    Extension(identity): Extension<Identity>,
    InPath(name): InPath,
) -> Result<Response, Refusal> {
    let mut case = find(&shared, &name).await?;
    if identity.scope < Scope::Read {
        // Another's ticket is not there for a reporter: it doesn't even learn that there is one.
        if case.filed_by.as_ref() != Some(&identity.name) {
            return Err(Refusal::new(StatusCode::NOT_FOUND, "no such ticket"));
        }
        if let Some(verdict) = &mut case.verdict {
            withhold_evidence(verdict);
        }
    }
    let mut body = summary(&case);
    let call_back = shared.store.call_back(case.number).await?.filter(|_| identity.scope >= Scope::Read);
    body["callback"] = serde_json::to_value(call_back).unwrap_or_default();
    body["report"] = serde_json::to_value(&case.ticket).unwrap_or_default();
    body["document"] = serde_json::to_value(&case.verdict).unwrap_or_default();
    Ok(axum::Json(body).into_response())
}

/// Where a stream of events stands.
struct Following {
    shared: Arc<Shared>,
    number: u64,
    after: u64,
}

/// `GET …/events`: the case's history as it is written, then what comes, until the newest round is decided.
async fn events(
    State(shared): State<Arc<Shared>>,
    InPath(name): InPath,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let case = find(&shared, &name).await?;
    let after = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok()).unwrap_or(0);
    let following = Following { shared, number: case.number, after };
    Ok(Sse::new(follow(following)).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response())
}

fn follow(following: Following) -> impl Stream<Item = Result<axum::response::sse::Event, Infallible>> {
    let batches = stream::unfold(following, |mut following| async move {
        loop {
            let heard = following.shared.listen();
            // Asked before the history: what a round's end writes is then part of it.
            let under_way = match following.shared.store.case(following.number).await {
                Ok(case) => case.is_some_and(|case| case.verdict.is_none()),
                Err(_) => return None,
            };
            let Ok(news) = following.shared.store.events(following.number, following.after).await else { return None };
            if let Some(last) = news.last() {
                following.after = last.sequence;
                let events: Vec<_> = news
                    .iter()
                    .map(|recorded| {
                        let mut data = serde_json::to_value(&recorded.event).unwrap_or_default();
                        // Whoever may read the history may not therefore take tickets on.
                        if let Some(facts) = data.pointer_mut("/action/facts").and_then(|facts| facts.as_object_mut()) {
                            facts.remove("acknowledge");
                        }
                        let data = data.to_string();
                        let id = recorded.sequence.to_string();
                        Ok(axum::response::sse::Event::default().id(id).event(recorded.event.name()).data(data))
                    })
                    .collect();
                return Some((stream::iter(events), following));
            }
            // Everything was told: a decided case has no more to say until somebody starts another round.
            if !under_way {
                return None;
            }
            heard.wait(Duration::from_secs(1)).await;
        }
    });
    futures_util::StreamExt::flatten(batches)
}

async fn retriage(State(shared): State<Arc<Shared>>, InPath(name): InPath) -> Result<Response, Refusal> {
    let case = find(&shared, &name).await?;
    if case.verdict.is_none() {
        return Err(Refusal::new(StatusCode::CONFLICT, "its newest round is still under way"));
    }
    let now = (shared.clock)();
    let deadline = now.checked_add(shared.settings.deadline).unwrap_or(now);
    let round = shared.store.new_round(case.number, deadline).await?;
    shared.accepted(case.number);
    let href = format!("/api/v1/tickets/{}", number_text(case.number));
    let body = json!({ "ticket": number_text(case.number), "round": round, "href": href });
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, href)], axum::Json(body)).into_response())
}

async fn checks(State(shared): State<Arc<Shared>>) -> Response {
    let set = shared.checks.borrow().clone();
    let checks: Vec<_> = set
        .checks
        .iter()
        .map(|check| {
            json!({
                "name": *check.name, "look": check.look, "kind": check.kind.name, "service": check.service,
                "owner": check.owner, "class": check.class, "group": check.group, "at": check.at,
                "summary": check.summary, "params": check.params.iter().map(|p| &p.name).collect::<Vec<_>>(),
            })
        })
        .collect();
    axum::Json(json!({ "checks": checks, "stale_files": set.stale_files, "generation": set.generation }))
        .into_response()
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunCheck {
    #[serde(default, deserialize_with = "each_once")]
    params: std::collections::BTreeMap<String, Untrusted>,
}

async fn run_check(
    State(shared): State<Arc<Shared>>,
    InPath(name): InPath,
    request: Request,
) -> Result<Response, Refusal> {
    let wanted: RunCheck = json_body(request).await?;
    let set = shared.checks.borrow().clone();
    let check = set.checks.iter().find(|check| *check.name == *name);
    let check = check.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "no such check"))?;
    let given = wanted.params.into_iter().map(|(name, value)| (name, value.raw().to_owned())).collect();
    let params = Params::given(&check.params, &given).map_err(|why| Refusal::field("params", why))?;
    let now = (shared.clock)();
    let memory = Arc::new(shared.store.memory(now).await?);
    let runner = triage::Runner { tools: Arc::clone(&shared.tools), memory, looks: shared.looks.clone() };
    let length = jiff::SignedDuration::try_from(shared.settings.default_window).unwrap_or_default();
    let finding = triage::once::once(check, params, Window::ending_at(now, length), false, &runner, now).await;
    Ok(axum::Json(finding).into_response())
}

/// `GET …/baseline`: what was sampled of a check hour by hour, and what is usual now.
async fn account(State(shared): State<Arc<Shared>>, InPath(name): InPath) -> Result<Response, Refusal> {
    let set = shared.checks.borrow().clone();
    let check = set.checks.iter().find(|check| *check.name == *name);
    let check = check.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "no such check"))?;
    let Some(history) = &shared.history else {
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "nothing is sampled: the history can't be used"));
    };
    let now = (shared.clock)();
    let troubles = super::sampler::troubles(&shared.store, now).await;
    let account = super::sampler::account(history, &troubles, check, now).await;
    let account = account.map_err(|error| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    Ok(axum::Json(account).into_response())
}

async fn status(State(shared): State<Arc<Shared>>) -> Result<Response, Refusal> {
    Ok(axum::Json(super::status::status(&shared).await).into_response())
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    shared.measure().await;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], shared.metrics.page()).into_response()
}

/// Progress, not an open port: 200 only while the loop turns.
async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    let healthy = shared.makes_progress();
    let code = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, if healthy { "ok\n" } else { "no progress\n" }).into_response()
}

/// Whether tickets can be taken with all that was declared. No details: those are in `houston status`.
async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let troubles = shared.troubles().await;
    let taking = !shared.is_draining() && !troubles.iter().any(|trouble| trouble.blocks);
    let code = if taking { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut text = if taking { "ready\n".to_owned() } else { "not ready\n".to_owned() };
    for trouble in &troubles {
        text.push_str(trouble.in_public);
        text.push('\n');
    }
    (code, Body::from(text)).into_response()
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSuchTicket(_) => Refusal::new(StatusCode::NOT_FOUND, "no such ticket"),
            StoreError::AlreadyDecided { .. } => Refusal::new(StatusCode::CONFLICT, "the round has its verdict"),
            StoreError::Damaged(_) => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the stored ticket is damaged"),
            StoreError::NoSuchRound { .. } | StoreError::NotDecided { .. } => {
                Refusal::new(StatusCode::CONFLICT, "its newest round is still under way")
            }
            StoreError::Conflict { ticket } => Refusal::new(
                StatusCode::CONFLICT,
                format!("this Idempotency-Key was used for another ticket, {}", number_text(ticket)),
            ),
            StoreError::Unreadable(_) => {
                Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the store can't be read").retry_after(5)
            }
            StoreError::NoSuchAction(_) => Refusal::new(StatusCode::NOT_FOUND, "no such action"),
            StoreError::Unwritable(_) => {
                Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the store can't be written: nothing was accepted")
                    .retry_after(5)
            }
        }
    }
}
