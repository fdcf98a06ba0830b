//! Fills in one step and sends it, with the cookies of the run.

use base64::Engine as _;
use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use tokio::time::Instant;
use url::Url;

use super::cookies::Jar;
use super::step::{Body, Credentials, HeaderValue, Step, is_sensitive};
use crate::evidence::slots::SlotError;
use crate::evidence::{Ask, Tools};
use crate::model::params::Params;
use crate::model::secret::{Redactor, Secret};
use crate::net::http::{Failure, Request, Response};

/// A step with its values filled in, ready to be sent.
#[derive(Debug)]
pub struct Letter {
    pub method: Method,
    pub url: Url,
    headers: Vec<(String, String)>,
    secret_headers: Vec<(String, Secret)>,
    pub body: Bytes,
}

/// Why a step could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    #[error(transparent)]
    Slot(#[from] SlotError),
    #[error("{0}")]
    Secret(String),
    #[error("the JSON can't be written: {0}")]
    Json(#[from] serde_json::Error),
}

impl Letter {
    /// Fills in a step. What lets somebody in is made known to `hidden`.
    ///
    /// # Errors
    /// A value that is missing or doesn't fit its slot; a secret that can't be had.
    pub fn write(step: &Step, values: &Params, ask: &Ask, hidden: &Redactor) -> Result<Self, Unready> {
        let credentials = &ask.tools.credentials;
        let mut headers = Vec::new();
        let mut secret_headers = Vec::new();
        for (name, value) in &step.headers {
            match value {
                HeaderValue::Secret(secret) => {
                    secret_headers.push((name.clone(), credentials.get(secret).map_err(Unready::Secret)?));
                }
                HeaderValue::Text(text) if is_sensitive(name) => {
                    // A captured token is as good as a password; the check's own parameters are no secrets.
                    for param in text.params() {
                        if ask.params.get(&param).is_none()
                            && let Some(captured) = values.get(&param)
                        {
                            hidden.learn(&Secret::new(captured.to_owned()));
                        }
                    }
                    secret_headers.push((name.clone(), Secret::new(text.render(values)?)));
                }
                HeaderValue::Text(text) => headers.push((name.clone(), text.render(values)?)),
            }
        }
        match &step.credentials {
            Some(Credentials::Bearer(secret)) => {
                let token = credentials.get(secret).map_err(Unready::Secret)?;
                secret_headers.push(("authorization".to_owned(), Secret::new(format!("Bearer {}", token.expose()))));
            }
            Some(Credentials::Basic { user, password }) => {
                let password = credentials.get(password).map_err(Unready::Secret)?;
                let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{}", password.expose()));
                hidden.learn(&Secret::new(pair.clone()));
                secret_headers.push(("authorization".to_owned(), Secret::new(format!("Basic {pair}"))));
            }
            None => {}
        }
        let (content_type, body) = match &step.body {
            Body::None => (None, Bytes::new()),
            Body::Json(json) => (Some("application/json"), Bytes::from(serde_json::to_vec(&json.render(values)?)?)),
            Body::Form(form) => (Some("application/x-www-form-urlencoded"), Bytes::from(form.render(values)?)),
            Body::Text(text) => (Some("text/plain; charset=utf-8"), Bytes::from(text.render(values)?)),
        };
        if let Some(content_type) = content_type
            && !step.headers.iter().any(|(name, _)| name == "content-type")
        {
            headers.push(("content-type".to_owned(), content_type.to_owned()));
        }
        Ok(Letter { method: step.method.clone(), url: step.url.render(values)?, headers, secret_headers, body })
    }

    /// The headers that may be shown.
    pub fn shown_headers(&self) -> &[(String, String)] {
        &self.headers
    }
}

/// Sends it, follows its redirects, and keeps the cookies that were set on the way.
///
/// # Errors
/// The client's own.
pub async fn send(
    letter: &Letter,
    follow_redirects: u8,
    jar: &mut Jar,
    tools: &Tools,
    now: Timestamp,
    deadline: Instant,
) -> Result<Response, Failure> {
    let mut secret_headers = letter.secret_headers.clone();
    if let Some(cookies) = jar.header(&letter.url, now) {
        match secret_headers.iter_mut().find(|(name, _)| name == "cookie") {
            Some((_, own)) => *own = Secret::new(format!("{}; {cookies}", own.expose())),
            None => secret_headers.push(("cookie".to_owned(), Secret::new(cookies))),
        }
    }
    let request = Request {
        method: letter.method.clone(),
        headers: letter.headers.clone(),
        secret_headers,
        body: letter.body.clone(),
        follow_redirects,
        ..Request::get(letter.url.clone(), deadline)
    };
    let response = tools.http.send(request).await?;
    jar.take(&response.set_cookies, now);
    Ok(response)
}
