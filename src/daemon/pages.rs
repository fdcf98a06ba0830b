//! Two plain pages for a browser: the queue, and one ticket. No script, nothing from elsewhere, every text encoded.

use std::sync::Arc;

use axum::extract::State;
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

pub async fn ticket(State(shared): State<Arc<Shared>>, InPath(name): InPath) -> Result<Response, Refusal> {
    let case = find(&shared, &name).await?;
    Ok(Html(html::case(&case)).into_response())
}
