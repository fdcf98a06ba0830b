//! Call-backs: whose time has come is reminded of, and what customers answer is taken down.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::answer::{InPath, Refusal, json_body};
use super::api::find;
use super::auth::Identity;
use crate::model::callback::{Answer, CallBackState};
use crate::model::case::{Event, number_text};
use crate::model::text::Untrusted;
use crate::response::callback::{answered, overdue};
use crate::store::StoreError;

/// How often it is looked whether one is due; a call-back is a matter of minutes.
const TICK: Duration = Duration::from_secs(2);

/// Reminds and escalates, until `stop` is cancelled. What a restart interrupts is due after it.
pub async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        let now = (shared.clock)();
        match shared.store.next_call_back().await {
            Ok(Some(due)) if due <= now => {}
            Ok(_) => continue,
            Err(error) => {
                tracing::warn!(error = %error, "call-backs can't be read");
                continue;
            }
        }
        let Ok(due) = shared.store.call_backs_due(now).await else { continue };
        for ticket in due {
            if let Err(error) = remind(&shared, ticket, now).await {
                tracing::warn!(ticket = %number_text(ticket), error = %error, "a call-back could not be followed up");
            }
        }
    }
}

async fn remind(shared: &Shared, ticket: u64, now: Timestamp) -> Result<(), StoreError> {
    let Some(call_back) = shared.store.call_back(ticket).await? else { return Ok(()) };
    if call_back.state != CallBackState::Open || call_back.by > now {
        return Ok(());
    }
    let title = title(shared, ticket).await;
    let (next, actions) = overdue(&call_back, &title, &shared.policy, now);
    if shared.store.change_call_back(call_back, next, now, actions, None).await? {
        shared.outbox.notify_one();
        shared.told(ticket);
    }
    Ok(())
}

/// The title of a ticket; nothing where it can't be read, for a call-back is due all the same.
async fn title(shared: &Shared, ticket: u64) -> String {
    match shared.store.case(ticket).await {
        Ok(Some(case)) => case.ticket.title.raw().to_owned(),
        _ => String::new(),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    answer: Answer,
    #[serde(default)]
    note: Option<Untrusted>,
}

/// `POST …/callback`: what the customer said.
pub async fn answer(
    State(shared): State<Arc<Shared>>,
    Extension(identity): Extension<Identity>,
    InPath(name): InPath,
    request: Request,
) -> Result<Response, Refusal> {
    let said: Said = json_body(request).await?;
    let case = find(&shared, &name).await?;
    let now = (shared.clock)();
    let none = || Refusal::new(StatusCode::CONFLICT, "nobody is to be called back about it");
    let call_back = shared.store.call_back(case.number).await?.ok_or_else(none)?;
    if call_back.state != CallBackState::Open {
        return Err(Refusal::new(StatusCode::CONFLICT, "its call-back is over"));
    }
    let (next, actions) = answered(&call_back, said.answer, case.ticket.title.raw(), &shared.policy, now);
    let event = Event::CalledBack {
        answer: said.answer,
        by: identity.name.clone(),
        note: said.note.map(|note| Untrusted::bounded(note.raw(), 2_000)),
    };
    let state = next.state;
    if !shared.store.change_call_back(call_back, next, now, actions, Some(event)).await? {
        return Err(Refusal::new(StatusCode::CONFLICT, "somebody else answered at the same time"));
    }
    shared.outbox.notify_one();
    if said.answer == Answer::StillBroken {
        // We said that there was none: that is what must be learned from.
        shared.metrics.missed_issues.inc();
        tracing::warn!(ticket = %number_text(case.number), by = %identity.name, "still broken: an issue was missed");
        super::intake::look_again(&shared, case.number, now).await?;
    }
    shared.told(case.number);
    Ok(axum::Json(json!({ "ticket": number_text(case.number), "callback": state })).into_response())
}
