//! Sends one step, with the cookies and over the connections of the run.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::cookies::Jar;
use crate::evidence::Tools;
use crate::model::secret::Secret;
use crate::net::http::{Failure, Kept, Request, Response};

/// Sends it, follows its redirects, and keeps the cookies that were set on the way.
///
/// # Errors
/// The client's own.
pub async fn send(
    mut request: Request,
    jar: &mut Jar,
    kept: &Arc<Kept>,
    tools: &Tools,
    now: Timestamp,
    deadline: Instant,
) -> Result<Response, Failure> {
    if let Some(cookies) = jar.header(&request.url, now) {
        match request.secret_headers.iter_mut().find(|(name, _)| name == "cookie") {
            Some((_, own)) => *own = Secret::new(format!("{}; {cookies}", own.expose())),
            None => request.secret_headers.push(("cookie".to_owned(), Secret::new(cookies))),
        }
    }
    let response = tools.http.send(Request { deadline, kept: Some(Arc::clone(kept)), ..request }).await?;
    jar.take(&response.set_cookies, now);
    Ok(response)
}
