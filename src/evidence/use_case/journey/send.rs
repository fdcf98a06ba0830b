//! Sends one step, hop by hop: the cookies of each hop are kept, and nothing of ours follows to another origin.
//!
//! Redirects are followed here and not by the client, because a session is often set by the very answer that redirects.

use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use http::Method;
use http::header::LOCATION;
use jiff::Timestamp;
use tokio::time::Instant;
use url::Url;

use super::answer::Answer;
use super::cookies::Jar;
use super::step::{Body, Credentials, HeaderValue, Step, is_sensitive};
use crate::evidence::slots::SlotError;
use crate::evidence::{Ask, Tools};
use crate::model::observation::Phase;
use crate::model::params::Params;
use crate::model::secret::{Redactor, Secret};
use crate::net::http::{Caps, Failure, Reason, Request};

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

/// Sends it and follows its redirects, all before `deadline`.
///
/// # Errors
/// The client's [`Failure`]; too many redirects and a redirect without a usable address are failures of the service.
pub async fn send(
    letter: &Letter,
    follow: u8,
    jar: &mut Jar,
    tools: &Tools,
    now: impl Fn() -> Timestamp,
    deadline: Instant,
) -> Result<Answer, Failure> {
    let started = Instant::now();
    let mut method = letter.method.clone();
    let mut url = letter.url.clone();
    let mut body = letter.body.clone();
    // Once a redirect has led elsewhere nothing of ours is sent any more, not even back to where it began.
    let mut home = true;
    let mut redirects = 0_usize;
    loop {
        let mut headers = if home { letter.headers.clone() } else { Vec::new() };
        let mut secret_headers = if home { letter.secret_headers.clone() } else { Vec::new() };
        if body.is_empty() {
            headers.retain(|(name, _)| name != "content-type");
        }
        if home && let Some(cookies) = jar.header(&url, now()) {
            match secret_headers.iter_mut().find(|(name, _)| name == "cookie") {
                Some((_, own)) => *own = Secret::new(format!("{}; {cookies}", own.expose())),
                None => secret_headers.push(("cookie".to_owned(), Secret::new(cookies))),
            }
        }
        let response = tools
            .http
            .send(Request {
                method: method.clone(),
                url: url.clone(),
                headers,
                secret_headers,
                body: body.clone(),
                follow_redirects: 0,
                tls: Arc::default(),
                ip: None,
                caps: Caps::default(),
                deadline,
            })
            .await?;
        jar.take(&url, &response.headers, now());

        let target = match response.status {
            301 | 302 | 303 | 307 | 308 if follow > 0 => response.headers.get(LOCATION),
            _ => None,
        };
        let Some(target) = target else {
            return Ok(Answer { response, redirects, duration: started.elapsed() });
        };
        let failure = |reason, what: String| Failure {
            reason,
            phase: Phase::Processing,
            what,
            timings: response.timings,
            redirects: Vec::new(),
        };
        if redirects >= usize::from(follow) {
            return Err(failure(Reason::Service, format!("redirected more than {follow} times")));
        }
        let next = match target.to_str().ok().and_then(|text| url.join(text).ok()) {
            Some(next) if matches!(next.scheme(), "http" | "https") && next.has_host() => next,
            Some(next) => {
                return Err(failure(Reason::Guard, format!("redirected to {}:, which is not followed", next.scheme())));
            }
            None => return Err(failure(Reason::Service, "redirected to something that is no address".to_owned())),
        };
        if url.scheme() == "https" && next.scheme() == "http" {
            return Err(failure(
                Reason::Guard,
                format!("redirected from https to {}, which is not followed", place(&next)),
            ));
        }
        let keeps_method = matches!(response.status, 307 | 308);
        let elsewhere = !same_site(&url, &next);
        if elsewhere && keeps_method && !body.is_empty() {
            return Err(failure(
                Reason::Guard,
                format!("redirected with what was sent to {}, which is not followed", place(&next)),
            ));
        }
        let becomes_get = match response.status {
            303 => method != Method::HEAD,
            301 | 302 => method == Method::POST,
            _ => false,
        };
        if becomes_get {
            method = Method::GET;
            body = Bytes::new();
        }
        home = home && !elsewhere;
        redirects += 1;
        url = next;
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
}

/// The same origin, or the same host on its way from http to https on the usual ports.
fn same_site(from: &Url, to: &Url) -> bool {
    let upgrade = from.scheme() == "http"
        && to.scheme() == "https"
        && from.port_or_known_default() == Some(80)
        && to.port_or_known_default() == Some(443)
        && from.host() == to.host();
    from.origin() == to.origin() || upgrade
}

/// Host and port, for what is told about a redirect: its path and query are the service's, and may hold anything.
fn place(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}
