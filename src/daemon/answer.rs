//! What goes out when a request can't be served, and what a request's body may be.

use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::json;

/// The largest body.
pub const BODY_LIMIT: usize = 256 * 1024;
/// A body must be whole after this long.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// An error answer: `{"error": {"what": …, "field": …}}`.
#[derive(Debug, Clone)]
pub struct Refusal {
    code: StatusCode,
    what: String,
    field: Option<&'static str>,
    retry_after: Option<u32>,
    closes: bool,
}

impl Refusal {
    pub fn new(code: StatusCode, what: impl Into<String>) -> Self {
        Refusal { code, what: what.into(), field: None, retry_after: None, closes: false }
    }

    /// 400 with the field that is wrong.
    pub fn field(field: &'static str, what: impl Into<String>) -> Self {
        Refusal { field: Some(field), ..Refusal::new(StatusCode::BAD_REQUEST, what) }
    }

    /// Seconds after which it is worth trying again.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The connection ends with this answer: the rest of the request is not read.
    pub fn closing(mut self) -> Self {
        self.closes = true;
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut error = json!({ "what": self.what });
        if let Some(field) = self.field {
            error["field"] = field.into();
        }
        let mut response = (self.code, axum::Json(json!({ "error": error }))).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.closes {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The query of a request; one that can't be read is refused like everything else.
pub struct InQuery<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for InQuery<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(InQuery(query)),
            Err(rejection) => Err(Refusal::new(StatusCode::BAD_REQUEST, rejection.body_text())),
        }
    }
}

/// The name in a request's path; one that is no text is refused like everything else.
pub struct InPath(pub String);

impl<S: Send + Sync> FromRequestParts<S> for InPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(InPath(name)),
            Err(rejection) => Err(Refusal::new(StatusCode::BAD_REQUEST, rejection.body_text())),
        }
    }
}

/// Reads a body as it is, with its headers: not encoded, bounded in bytes and in time.
///
/// # Errors
/// 415, 413, 408 or 400, each saying what is wrong.
pub async fn raw_body(request: Request) -> Result<(HeaderMap, Bytes), Refusal> {
    let (parts, body) = request.into_parts();
    if parts.headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoded bodies are not read").closing());
    }
    let too_large = || Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "a body has at most 256 KiB").closing();
    let announced =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > BODY_LIMIT as u64) {
        return Err(too_large());
    }
    let body = Limited::new(body, BODY_LIMIT).collect();
    match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in 10 s").closing()),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
        Ok(Err(_)) => Err(Refusal::new(StatusCode::BAD_REQUEST, "the body broke off").closing()),
        Ok(Ok(body)) => Ok((parts.headers, body.to_bytes())),
    }
}

/// Reads a JSON body: one object, of the right type, no key twice; otherwise as [`raw_body`].
///
/// # Errors
/// 415, 413, 408 or 400, each saying what is wrong.
pub async fn json_body<T: DeserializeOwned>(request: Request) -> Result<T, Refusal> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let is_json = kind.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("application/json");
    if !is_json && !request.headers().contains_key(header::CONTENT_ENCODING) {
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be application/json").closing());
    }
    let (_, bytes) = raw_body(request).await?;
    let bytes = match bytes.trim_ascii_start().first() {
        None => "{}".into(),
        // A list of values would be taken for the fields in their order.
        Some(b'{') => bytes,
        Some(_) => return Err(Refusal::new(StatusCode::BAD_REQUEST, "not readable: a JSON object is expected")),
    };
    serde_json::from_slice(&bytes)
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, format!("not readable: {error}")))
}
