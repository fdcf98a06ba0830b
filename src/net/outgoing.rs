//! Outgoing: how a message is posted to a service over HTTP, and what its answer means.
//!
//! Any 2xx is an arrival. 408, 425, 429 and 5xx are tried again, `Retry-After` respected (RFC 9110, section 10.2.3), as
//! is everything that is no answer. Any other status, redirects among them, is a refusal: sent again it would be refused
//! again. No secret that is known leaves in a body.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use http::{HeaderMap, Method};
use jiff::Timestamp;
use serde_json::Value;
use url::Url;

use super::budget::Budget;
use super::credentials::Credentials;
use super::http::{Caps, Client, Reason, Request, Response, TlsOptions};
use crate::model::delivery::Outcome;
use crate::model::encode;
use crate::model::secret::{Redactor, Secret, SecretRef};

/// How long one attempt may take, with all the requests that it is made of.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// As much of an answer is read.
const ANSWER_LIMIT: usize = 1024 * 1024;

/// As much of a refusal's body is shown, in characters.
const SHOWN: usize = 200;

/// What everybody who sends shares.
#[derive(Debug)]
pub struct Wires {
    pub http: Client,
    pub credentials: Credentials,
    pub redactor: Redactor,
}

/// A delivery under way.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// One request of a delivery.
#[derive(Debug)]
pub struct Call {
    pub method: Method,
    pub url: Url,
    pub headers: Vec<(String, String)>,
    pub secret_headers: Vec<(String, Secret)>,
    pub body: Bytes,
    pub tls: Arc<TlsOptions>,
}

impl Call {
    pub fn get(url: Url) -> Self {
        Call {
            method: Method::GET,
            url,
            headers: Vec::new(),
            secret_headers: Vec::new(),
            body: Bytes::new(),
            tls: Arc::default(),
        }
    }

    /// With a body of JSON, each text in it without any secret that is known by now: secrets that the call itself
    /// carries are given to it first.
    pub fn with_json(mut self, method: Method, body: Value, wires: &Wires) -> Self {
        self.method = method;
        self.body = Bytes::from(struck(body, &wires.redactor).to_string());
        self.header("Content-Type", "application/json")
    }

    /// With a form to be posted, each value without any secret that is known by now.
    pub fn with_form<'a>(mut self, fields: impl IntoIterator<Item = (&'a str, String)>, wires: &Wires) -> Self {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in fields {
            form.append_pair(name, &wires.redactor.strike(&value));
        }
        self.method = Method::POST;
        self.body = Bytes::from(form.finish());
        self.header("Content-Type", "application/x-www-form-urlencoded")
    }

    /// `value` must hold nothing from outside that could break a header.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// A header that is made of a secret: `Bearer` and the like before it.
    ///
    /// # Errors
    /// The secret is not to be had now; it may be later, for it is read anew for each attempt.
    pub fn secret(mut self, name: &str, before: &str, secret: &SecretRef, wires: &Wires) -> Result<Self, Outcome> {
        let secret = wires.credentials.get(secret).map_err(Outcome::retry)?;
        self.secret_headers.push((name.to_owned(), Secret::new(format!("{before}{}", secret.expose()))));
        Ok(self)
    }

    /// Basic authentication (RFC 7617).
    ///
    /// # Errors
    /// As [`Call::secret`].
    pub fn basic(mut self, user: &str, password: &SecretRef, wires: &Wires) -> Result<Self, Outcome> {
        let password = wires.credentials.get(password).map_err(Outcome::retry)?;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{}", password.expose()));
        let value = Secret::new(format!("Basic {pair}"));
        wires.redactor.learn(&Secret::new(pair));
        self.secret_headers.push(("Authorization".to_owned(), value));
        Ok(self)
    }

    pub fn tls(mut self, tls: &Arc<TlsOptions>) -> Self {
        self.tls = Arc::clone(tls);
        self
    }

    /// Sends it; whatever is answered is an answer.
    ///
    /// # Errors
    /// There was no answer: to be tried again, or, where the address may not be asked, refused.
    pub async fn ask(self, wires: &Wires) -> Result<Response, Outcome> {
        let request = Request {
            method: self.method,
            headers: self.headers,
            secret_headers: self.secret_headers,
            body: self.body,
            tls: self.tls,
            caps: Caps { body: ANSWER_LIMIT, ..Caps::default() },
            budget: Budget::System,
            ..Request::get(self.url, tokio::time::Instant::now() + TIMEOUT)
        };
        wires.http.send(request).await.map_err(|failure| match failure.reason {
            Reason::Guard => Outcome::rejected(failure.what),
            _ => Outcome::retry(format!("{} ({})", failure.what, failure.phase.name())),
        })
    }

    /// Sends it, and takes a 2xx for an answer.
    ///
    /// # Errors
    /// What is to be made of anything else.
    pub async fn send(self, now: Timestamp, wires: &Wires) -> Result<Response, Outcome> {
        accepted(self.ask(wires).await?, now, wires)
    }
}

/// The answer, where it is a 2xx.
///
/// # Errors
/// What is to be made of anything else.
pub fn accepted(response: Response, now: Timestamp, wires: &Wires) -> Result<Response, Outcome> {
    match judge(response.status, &response.headers, now) {
        Outcome::Delivered { .. } => Ok(response),
        Outcome::Retry { after, why } => Err(Outcome::Retry { after, why: said(&why, &response, wires) }),
        Outcome::Rejected { why } => Err(Outcome::Rejected { why: said(&why, &response, wires) }),
    }
}

fn said(why: &str, response: &Response, wires: &Wires) -> String {
    let text = String::from_utf8_lossy(&response.body);
    let text: String = wires.redactor.strike(text.trim()).chars().take(SHOWN).collect();
    if text.is_empty() { why.to_owned() } else { format!("{why}: {}", encode::terminal(&text)) }
}

/// The body of an answer as JSON.
///
/// # Errors
/// It is none: what answers isn't the service that it should be, at least not now.
pub fn json(response: &Response) -> Result<Value, Outcome> {
    serde_json::from_slice(&response.body).map_err(|error| Outcome::retry(format!("its answer is no JSON: {error}")))
}

/// An address that is itself a secret, as those of incoming webhooks are: whoever knows it may post there.
///
/// # Errors
/// It is not to be had now, or is no address over HTTP; it may be later, for it is read anew for each attempt. What it
/// is isn't said.
pub fn secret_url(from: &SecretRef, wires: &Wires) -> Result<Url, Outcome> {
    let secret = wires.credentials.get(from).map_err(Outcome::retry)?;
    let unfit = || Outcome::retry("the secret that is to be its URL is none that begins with http:// or https://");
    let url = Url::parse(secret.expose().trim()).map_err(|_| unfit())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(unfit());
    }
    // Not only whole may it not come back, but in part as well: the path, and the query, hold what is secret in it.
    for part in [url.path(), url.query().unwrap_or("")] {
        if part.len() >= 16 {
            wires.redactor.learn(&Secret::new(part.to_owned()));
        }
    }
    Ok(url)
}

/// An address below that of a service: `https://a/api` and `chat.update` make `https://a/api/chat.update`. Whatever in
/// `path` isn't ours must be encoded already, by [`encode::url_segment`].
///
/// # Errors
/// Both together are no address.
pub fn below(service: &Url, path: &str) -> Result<Url, Outcome> {
    let mut base = service.clone();
    base.set_query(None);
    base.set_fragment(None);
    let text = format!("{}/{path}", base.as_str().trim_end_matches('/'));
    Url::parse(&text).map_err(|error| Outcome::rejected(format!("no URL can be made: {error}")))
}

/// What an answer means by its status.
pub fn judge(status: u16, headers: &HeaderMap, now: Timestamp) -> Outcome {
    let why = format!("it answered {status}");
    match status {
        200..300 => Outcome::DELIVERED,
        408 | 425 | 429 | 500.. => Outcome::Retry { after: retry_after(headers, now), why },
        300..400 => Outcome::rejected(format!("{why}: redirects are not followed")),
        _ => Outcome::rejected(why),
    }
}

/// `Retry-After`, as seconds or as a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(now.duration_until(at)).unwrap_or_default())
}

/// Every text in it without the secrets that are known; the JSON around them stays whole.
pub fn struck(value: Value, redactor: &Redactor) -> Value {
    match value {
        Value::String(text) => Value::String(redactor.strike(&text)),
        Value::Array(values) => values.into_iter().map(|value| struck(value, redactor)).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (redactor.strike(&name), struck(value, redactor))).collect()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_means() {
        let now: Timestamp = "1994-11-06T08:49:07Z".parse().unwrap();
        let after = |seconds| Some(Duration::from_secs(seconds));
        for (status, header, expected) in [
            (200, None, Some(None)),
            (202, None, Some(None)),
            (299, None, Some(None)),
            (429, Some("120"), Some(after(120))),
            (503, Some("Sun, 06 Nov 1994 08:49:37 GMT"), Some(after(30))),
            (503, Some("Sun, 06 Nov 1994 08:00:00 GMT"), Some(after(0))),
            (503, Some("soon"), Some(None)),
            (500, None, Some(None)),
            (301, None, None),
            (400, None, None),
            (401, None, None),
            (410, Some("5"), None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = header {
                headers.insert(http::header::RETRY_AFTER, value.parse().unwrap());
            }
            match judge(status, &headers, now) {
                Outcome::Delivered { .. } => assert!((200..300).contains(&status)),
                Outcome::Retry { after, .. } => assert_eq!(Some(after), expected, "{status}"),
                Outcome::Rejected { .. } => assert_eq!(expected, None, "{status}"),
            }
        }
    }
}
