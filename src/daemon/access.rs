//! The guard before every route, the exchange of a login link for a session, and the headers on every answer.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::time::Instant;

use super::Shared;
use super::answer::{InQuery, Refusal};
use super::auth::{self, Asked, Now, Peer, Scope};

/// Pages may load nothing from anywhere but their own style sheet, and be framed by nobody.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Lets a request through that may pass; `None` stands for a route that needs no token.
pub async fn guard(
    State((shared, scope)): State<(Arc<Shared>, Option<Scope>)>,
    mut request: Request,
    next: Next,
) -> Response {
    let admitted = {
        let Some(peer) = request.extensions().get::<Peer>() else {
            return Refusal::new(StatusCode::FORBIDDEN, "the other side is not known").into_response();
        };
        let asked = Asked {
            method: request.method(),
            headers: request.headers(),
            authority: request.uri().authority().map(|authority| authority.as_str()),
            peer,
        };
        match scope {
            Some(scope) => {
                let now = Now { wall: (shared.clock)(), steady: Instant::now().into_std() };
                shared.access.admit(&asked, scope, now).map(Some)
            }
            None => shared.access.check_host(&asked).map(|()| None),
        }
    };
    match admitted {
        Ok(identity) => {
            if let Some(identity) = identity {
                if !request.method().is_safe() {
                    tracing::info!(by = %identity.name, method = %request.method(), path = %request.uri().path(), "write");
                }
                request.extensions_mut().insert(identity);
            }
            next.run(request).await
        }
        Err(refusal) => refuse(refusal).into_response(),
    }
}

/// The answer to whoever is not let in.
pub fn refuse(refusal: auth::Refusal) -> Refusal {
    let code = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::FORBIDDEN);
    let answer = Refusal::new(code, refusal.to_string());
    match refusal {
        auth::Refusal::TooMany { retry_after } | auth::Refusal::TooFast { retry_after } => {
            answer.retry_after(u32::try_from(retry_after.as_secs()).unwrap_or(60))
        }
        _ => answer,
    }
}

#[derive(Debug, Deserialize)]
pub struct Once {
    once: String,
}

/// `GET /login?once=…`: the single-use link that the start prints becomes a session.
pub async fn login(
    State(shared): State<Arc<Shared>>,
    axum::Extension(peer): axum::Extension<Peer>,
    InQuery(Once { once }): InQuery<Once>,
) -> Result<Response, Refusal> {
    let cookie = shared.access.log_in(&once, &peer, Instant::now().into_std()).map_err(refuse)?;
    let cookie = HeaderValue::from_str(cookie.expose())
        .map_err(|_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "no session could be made"))?;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, HeaderValue::from_static("/")), (header::SET_COOKIE, cookie)])
        .into_response())
}

/// What every answer carries: no sniffing, no referrer, no cache, and a policy under which a page can load nothing.
pub async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
