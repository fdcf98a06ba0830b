//! One request to a service, as the kinds `http` and `journey` write it: read, filled in, and shown as a curl command.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use http::Method;
use serde::Deserialize;

use super::external::tls_options::{Ip, Tls};
use super::slots::{SlotError, UrlTemplate};
use super::{Ask, Key};
use crate::model::encode::is_unprintable;
use crate::model::observation::{Unknown, UnknownKind};
use crate::model::params::Params;
use crate::model::secret::{Redactor, Secret, SecretRef};
use crate::model::source::{Diagnostic, Span};
use crate::net::http::{DigestLogin, Request};
use crate::yaml::Spanned;

pub mod answer;
mod body;
mod curl;
mod headers;
mod multipart;

pub use body::{Body, WrittenBody};
pub use headers::HeaderText;
pub use multipart::MultipartTemplate;

/// The most redirects that can be asked for.
const REDIRECTS_LIMIT: u8 = 20;
/// How many are followed by default.
const REDIRECTS: u8 = 10;

/// A request with its slots.
#[derive(Debug)]
pub struct Message {
    pub method: Method,
    pub url: UrlTemplate,
    /// Names are valid, in lower case, and each is there once.
    pub headers: Vec<(String, HeaderText)>,
    pub body: Body,
    pub credentials: Option<Credentials>,
    /// 0: the redirect itself is the answer.
    pub follow_redirects: u8,
    pub tls: Arc<Tls>,
    pub ip: Option<Ip>,
}

/// How the request logs in.
#[derive(Debug)]
pub enum Credentials {
    Bearer(SecretRef),
    Basic(Login),
    Digest(Login),
}

/// A user and where his password is.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    pub user: String,
    pub password: SecretRef,
}

/// What both kinds write alike, as it stands in their YAML.
#[derive(Debug)]
pub struct Written {
    pub headers: BTreeMap<String, Spanned<HeaderText>>,
    pub body: WrittenBody,
    pub bearer_token: Option<Spanned<SecretRef>>,
    pub basic: Option<Spanned<Login>>,
    pub digest: Option<Spanned<Login>>,
    pub follow_redirects: Option<Spanned<u8>>,
}

/// Why a request could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    #[error(transparent)]
    Slot(#[from] SlotError),
    #[error("{0}")]
    Secret(String),
    #[error("{0}")]
    File(String),
    #[error("{}", .0.why)]
    Tls(Unknown),
}

impl Unready {
    /// What sort of blindness it is.
    pub fn kind(&self) -> UnknownKind {
        match self {
            Unready::Slot(SlotError::Missing(_)) => UnknownKind::MissingParam,
            Unready::Tls(unknown) => unknown.kind,
            Unready::Slot(_) | Unready::Secret(_) | Unready::File(_) => UnknownKind::Refused,
        }
    }
}

impl Message {
    /// Reads what both kinds write alike. `captures`: values may come from earlier answers, so that `authorization` may
    /// hold slots.
    ///
    /// # Errors
    /// The first thing that is wrong, at its own place.
    pub fn read(method: Method, url: UrlTemplate, written: Written, captures: bool) -> Result<Self, Diagnostic> {
        let Written { headers, body, bearer_token, basic, digest, follow_redirects } = written;
        let body = body.read()?;
        let credentials = credentials(bearer_token, basic, digest)?;
        let headers = headers::read(headers, credentials.is_some(), captures)?;
        if let Some(follow) = &follow_redirects
            && follow.value > REDIRECTS_LIMIT
        {
            let message = format!("at most {REDIRECTS_LIMIT} redirects are followed");
            return Err(Diagnostic::error(follow.at.clone(), message));
        }
        let follow_redirects = follow_redirects.map_or(REDIRECTS, |follow| follow.value);
        Ok(Message { method, url, headers, body, credentials, follow_redirects, tls: Arc::default(), ip: None })
    }

    /// The names in its slots, in the order of their first use.
    pub fn params(&self) -> Vec<String> {
        let mut names = self.url.params();
        for (_, value) in &self.headers {
            if let HeaderText::Text(text) = value {
                names.extend(text.params());
            }
        }
        names.extend(self.body.params());
        let mut unique: Vec<String> = Vec::new();
        for name in names {
            if !unique.contains(&name) {
                unique.push(name);
            }
        }
        unique
    }

    /// The secrets that it is sent with.
    pub fn secrets(&self) -> Vec<SecretRef> {
        let in_headers = self.headers.iter().filter_map(|(_, value)| match value {
            HeaderText::Secret(secret) => Some(secret),
            HeaderText::Text(_) => None,
        });
        let login = self.credentials.iter().map(|credentials| match credentials {
            Credentials::Bearer(secret) => secret,
            Credentials::Basic(login) | Credentials::Digest(login) => &login.password,
        });
        in_headers.chain(login).cloned().chain(self.tls.secrets()).collect()
    }

    /// The request with these values, to be sent until the ask's deadline. What lets somebody in is made known to
    /// `hidden`.
    ///
    /// # Errors
    /// A value that is missing or doesn't fit its slot; a secret or a file that can't be had.
    pub fn write(&self, values: &Params, ask: &Ask, hidden: &Redactor) -> Result<Request, Unready> {
        let secret = |reference: &SecretRef| ask.tools.credentials.get(reference).map_err(Unready::Secret);
        let (mut headers, mut secret_headers) = (Vec::new(), Vec::new());
        for (name, value) in &self.headers {
            match value {
                HeaderText::Secret(reference) => secret_headers.push((name.clone(), secret(reference)?)),
                HeaderText::Text(text) if headers::is_sensitive(name) => {
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
                HeaderText::Text(text) => headers.push((name.clone(), text.render(values)?)),
            }
        }
        let authorization = |value: String| ("authorization".to_owned(), Secret::new(value));
        let mut digest = None;
        match &self.credentials {
            None => {}
            Some(Credentials::Bearer(token)) => {
                secret_headers.push(authorization(format!("Bearer {}", secret(token)?.expose())));
            }
            Some(Credentials::Basic(login)) => {
                let password = secret(&login.password)?;
                let pair = format!("{}:{}", login.user, password.expose());
                let pair = base64::engine::general_purpose::STANDARD.encode(pair);
                hidden.learn(&Secret::new(pair.clone()));
                secret_headers.push(authorization(format!("Basic {pair}")));
            }
            Some(Credentials::Digest(login)) => {
                digest = Some(DigestLogin { user: login.user.clone(), password: secret(&login.password)? });
            }
        }
        let (content_type, body) = self.body.write(values)?;
        if let Some(content_type) = content_type
            && !self.headers.iter().any(|(name, _)| name == "content-type")
        {
            headers.push(("content-type".to_owned(), content_type));
        }
        Ok(Request {
            method: self.method.clone(),
            headers,
            secret_headers,
            body: Bytes::from(body),
            digest,
            follow_redirects: self.follow_redirects,
            tls: Arc::new(self.tls.options(&ask.tools).map_err(Unready::Tls)?),
            ip: self.ip.map(Ip::version),
            ..Request::get(self.url.render(values)?, ask.deadline)
        })
    }

    /// The curl command that asks the same by hand: secrets are the names of where they are, and so is a session.
    pub fn curl(&self, request: &Request, values: &Params, with_cookies: bool) -> String {
        curl::command(self, request, values, with_cookies)
    }
}

fn credentials(
    bearer_token: Option<Spanned<SecretRef>>,
    basic: Option<Spanned<Login>>,
    digest: Option<Spanned<Login>>,
) -> Result<Option<Credentials>, Diagnostic> {
    one_of(
        "a request has one Authorization",
        [
            ("bearer_token", bearer_token.as_ref().map(|token| &token.at)),
            ("basic", basic.as_ref().map(|login| &login.at)),
            ("digest", digest.as_ref().map(|login| &login.at)),
        ],
    )?;
    for login in [&basic, &digest].into_iter().flatten() {
        let user = &login.value.user;
        if user.is_empty() || user.contains(':') || user.chars().any(is_unprintable) || user.contains("{{") {
            return Err(Diagnostic::error(login.at.clone(), "the user is plain text without a colon"));
        }
    }
    Ok(match (bearer_token, basic, digest) {
        (Some(token), _, _) => Some(Credentials::Bearer(token.value)),
        (_, Some(login), _) => Some(Credentials::Basic(login.value)),
        (_, _, Some(login)) => Some(Credentials::Digest(login.value)),
        _ => None,
    })
}

/// That at most one of these keys is given; an error stands at the second one.
fn one_of<const N: usize>(why: &str, keys: [(&str, Option<&Span>); N]) -> Result<(), Diagnostic> {
    let mut given = keys.into_iter().filter_map(|(name, at)| at.map(|at| (name, at)));
    match (given.next(), given.next()) {
        (Some((first, _)), Some((second, at))) => {
            Err(Diagnostic::error(at.clone(), format!("`{second}` beside `{first}`: {why}")))
        }
        _ => Ok(()),
    }
}

/// The keys that both kinds have, for the documentation.
pub mod keys {
    use super::Key;
    use crate::evidence::external::tls_options;

    const fn key(name: &'static str, takes: &'static str, default: Option<&'static str>, meaning: &'static str) -> Key {
        Key { name, takes, default, meaning }
    }

    pub const HEADERS: Key =
        key("headers", "map of texts or secrets", Some("none"), "sent with the request, to the first origin only");
    pub const BODY: Key = key(
        "json / form / multipart / body",
        "value / map / map / text",
        Some("none"),
        "one of them: what is sent, with its content type; a part of multipart is a text, or { file: path beside the \
         check, filename, content_type }",
    );
    pub const BEARER: Key = key("bearer_token", "secret", Some("none"), "sent as `Authorization: Bearer …`");
    pub const BASIC: Key = key("basic", "{ user, password: secret }", Some("none"), "sent as `Authorization: Basic …`");
    pub const DIGEST: Key = key(
        "digest",
        "{ user, password: secret }",
        Some("none"),
        "answers a challenge of HTTP Digest (MD5 or SHA-256), for which the request is sent twice",
    );
    pub const REDIRECTS: Key = key("follow_redirects", "0 to 20", Some("10"), "0: the redirect itself is the answer");
    pub const TLS: Key = key(
        "tls",
        tls_options::TAKES,
        Some("the system's roots, verified"),
        "whom to trust, and what a server is shown that asks for a certificate",
    );
}
