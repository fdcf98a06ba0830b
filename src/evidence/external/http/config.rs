//! What an `http` check may say.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use serde::Deserialize;

use crate::evidence::external::tls_options::{Ip, Tls};
use crate::evidence::message::{HeaderText, Login, Message, MultipartTemplate, Written, WrittenBody};
use crate::evidence::slots::{BodyTemplate, FormTemplate, JsonTemplate, UrlTemplate};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::yaml::{Node, Spanned};

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// What is asked.
    url: UrlTemplate,
    #[serde(default)]
    method: Option<Spanned<String>>,
    #[serde(default)]
    headers: BTreeMap<String, Spanned<HeaderText>>,
    #[serde(default)]
    body: Option<Spanned<BodyTemplate>>,
    #[serde(default)]
    json: Option<Spanned<JsonTemplate>>,
    #[serde(default)]
    form: Option<Spanned<FormTemplate>>,
    #[serde(default)]
    multipart: Option<Spanned<MultipartTemplate>>,
    /// Sent as `Authorization: Bearer …`.
    #[serde(default)]
    bearer_token: Option<Spanned<SecretRef>>,
    /// Sent as `Authorization: Basic …`.
    #[serde(default)]
    basic: Option<Spanned<Login>>,
    /// Answers a challenge of HTTP Digest.
    #[serde(default)]
    digest: Option<Spanned<Login>>,
    /// 0: the redirect itself is the answer.
    #[serde(default)]
    follow_redirects: Option<Spanned<u8>>,
    #[serde(default)]
    tls: Tls,
    #[serde(default)]
    ip: Option<Ip>,
}

impl Config {
    /// The request that is described.
    ///
    /// # Errors
    /// What a type alone can't say, at the key that is wrong.
    pub(super) fn read(node: &Node) -> Result<Message, Diagnostic> {
        let config: Config = node.read()?;
        let body = WrittenBody { json: config.json, form: config.form, multipart: config.multipart, body: config.body };
        let method = method(config.method, body.is_some())?;
        let written = Written {
            headers: config.headers,
            body,
            bearer_token: config.bearer_token,
            basic: config.basic,
            digest: config.digest,
            follow_redirects: config.follow_redirects,
        };
        let message = Message::read(method, config.url, written, false)?;
        Ok(Message { tls: Arc::new(config.tls), ip: config.ip, ..message })
    }
}

/// As written, or what goes with the body.
fn method(written: Option<Spanned<String>>, sends: bool) -> Result<Method, Diagnostic> {
    let Some(name) = written else { return Ok(if sends { Method::POST } else { Method::GET }) };
    match Method::from_bytes(name.value.to_ascii_uppercase().as_bytes()) {
        Err(_) => Err(Diagnostic::error(name.at, "not an HTTP method").hint("GET, POST, PUT, …")),
        Ok(Method::CONNECT | Method::TRACE) => Err(Diagnostic::error(name.at, "CONNECT and TRACE are not sent")),
        Ok(method) => Ok(method),
    }
}
