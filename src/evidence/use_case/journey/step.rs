//! One step of a journey, as it was read: what is sent, what must hold, what is kept.

use std::time::Duration;

use http::Method;

use super::super::expectation::Expect;
use crate::evidence::slots::{BodyTemplate, FormTemplate, JsonTemplate, TextTemplate, UrlTemplate};
use crate::expect::Expression;
use crate::model::secret::SecretRef;
use crate::model::source::Span;

#[derive(Debug)]
pub struct Step {
    pub name: Option<String>,
    /// The name, or method and path as written.
    pub label: String,
    pub method: Method,
    pub url: UrlTemplate,
    /// Names are valid and in lower case.
    pub headers: Vec<(String, HeaderValue)>,
    pub body: Body,
    pub credentials: Option<Credentials>,
    pub expect: Vec<Expect>,
    pub capture: Vec<Capture>,
    /// Taken whatever happened before; its own failure is noted and not bad.
    pub always: bool,
    /// At least 1.
    pub attempts: u32,
    /// Between two attempts.
    pub delay: Duration,
    pub timeout: Option<Duration>,
    pub follow_redirects: u8,
    /// Where its URL is written.
    pub at: Span,
}

#[derive(Debug)]
pub enum HeaderValue {
    Text(TextTemplate),
    Secret(SecretRef),
}

#[derive(Debug)]
pub enum Body {
    None,
    Json(JsonTemplate),
    Form(FormTemplate),
    Text(BodyTemplate),
}

#[derive(Debug)]
pub enum Credentials {
    Bearer(SecretRef),
    Basic { user: String, password: SecretRef },
}

/// What is kept of the step's answer for the steps after it.
#[derive(Debug)]
pub struct Capture {
    pub name: String,
    pub value: Expression,
    /// A later slot wants it, so it must be one word of text, a number, true or false.
    pub fills_slot: bool,
    pub at: Span,
}

impl Step {
    /// The names in the step's slots, in the order of their first use.
    pub fn slots(&self) -> Vec<String> {
        let mut names = self.url.params();
        for (_, value) in &self.headers {
            if let HeaderValue::Text(text) = value {
                names.extend(text.params());
            }
        }
        match &self.body {
            Body::None => {}
            Body::Json(json) => names.extend(json.params()),
            Body::Form(form) => names.extend(form.params()),
            Body::Text(text) => names.extend(text.params()),
        }
        let mut unique: Vec<String> = Vec::new();
        for name in names {
            if !unique.contains(&name) {
                unique.push(name);
            }
        }
        unique
    }

    pub fn secrets(&self) -> Vec<SecretRef> {
        let mut secrets: Vec<SecretRef> = match &self.credentials {
            Some(Credentials::Bearer(secret) | Credentials::Basic { password: secret, .. }) => vec![secret.clone()],
            None => Vec::new(),
        };
        secrets.extend(self.headers.iter().filter_map(|(_, value)| match value {
            HeaderValue::Secret(secret) => Some(secret.clone()),
            HeaderValue::Text(_) => None,
        }));
        secrets
    }
}

/// True for a header whose value lets somebody in: its value is never shown.
pub fn is_sensitive(header: &str) -> bool {
    ["auth", "cookie", "token", "secret", "session", "api-key", "apikey", "password"]
        .iter()
        .any(|part| header.contains(part))
}
