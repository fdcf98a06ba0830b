//! Plain pages for a browser: the queue, and one ticket with its screenshots. No script, nothing from elsewhere, every text encoded.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use super::Shared;
use super::answer::{InPath, Refusal};
use super::api::find;
use crate::report::html;

/// How many cases the queue shows.
const SHOWN: usize = 50;

pub async fn queue(State(shared): State<Arc<Shared>>) -> Result<Response, Refusal> {
    let cases = shared.store.cases(None, SHOWN).await?;
    let troubles: Vec<String> = shared.troubles().await.into_iter().map(|trouble| trouble.in_full).collect();
    Ok(Html(html::queue(&cases, &troubles)).into_response())
}

/// A screenshot that a look kept, for as long as it is there.
pub async fn evidence(State(shared): State<Arc<Shared>>, InPath(name): InPath) -> Result<Response, Refusal> {
    let gone = || Refusal::new(StatusCode::NOT_FOUND, "there is no such evidence (any more)");
    let kept = shared.tools.kept.clone().ok_or_else(gone)?;
    let read = tokio::task::spawn_blocking(move || kept.read(&name)).await;
    let bytes = read.ok().and_then(Result::ok).ok_or_else(gone)?;
    Ok(([(header::CONTENT_TYPE, "image/png")], bytes).into_response())
}

pub async fn ticket(State(shared): State<Arc<Shared>>, InPath(name): InPath) -> Result<Response, Refusal> {
    let case = find(&shared, &name).await?;
    Ok(Html(html::case(&case)).into_response())
}
