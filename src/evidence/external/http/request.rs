//! From a check and its parameters to the request that is sent.

use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;

use super::config::{Config, HeaderText};
use crate::evidence::Ask;
use crate::evidence::slots::SlotError;
use crate::model::observation::UnknownKind;
use crate::model::secret::Secret;
use crate::net::http::Request;

/// Fills in the slots and fetches the secrets.
///
/// # Errors
/// Why we can't ask: a value that is missing or unfit, a secret that can't be had.
pub(super) fn write(config: &Config, ask: &Ask) -> Result<Request, (UnknownKind, String)> {
    let slot = |error: SlotError| (UnknownKind::MissingParam, error.to_string());
    let refused = |why: String| (UnknownKind::Refused, why);
    let credentials = &ask.tools.credentials;

    let mut headers = Vec::new();
    let mut secret_headers = Vec::new();
    for (name, value) in &config.headers {
        match value {
            HeaderText::Text(text) => headers.push((name.clone(), text.render(&ask.params).map_err(slot)?)),
            HeaderText::Secret(secret) => {
                secret_headers.push((name.clone(), credentials.get(secret).map_err(refused)?));
            }
        }
    }
    if let Some(token) = &config.bearer_token {
        let token = credentials.get(token).map_err(refused)?;
        secret_headers.push(("authorization".to_owned(), Secret::new(format!("Bearer {}", token.expose()))));
    }
    if let Some(basic) = &config.basic {
        let password = credentials.get(&basic.password).map_err(refused)?;
        let pair = format!("{}:{}", basic.user, password.expose());
        let pair = base64::engine::general_purpose::STANDARD.encode(pair);
        ask.tools.redactor.learn(&Secret::new(pair.clone()));
        secret_headers.push(("authorization".to_owned(), Secret::new(format!("Basic {pair}"))));
    }
    let (content_type, body) = if let Some(json) = &config.json {
        let json = json.render(&ask.params).map_err(slot)?;
        (Some("application/json"), Bytes::from(json.to_string()))
    } else if let Some(form) = &config.form {
        (Some("application/x-www-form-urlencoded"), Bytes::from(form.render(&ask.params).map_err(slot)?))
    } else if let Some(body) = &config.body {
        (Some("text/plain; charset=utf-8"), Bytes::from(body.render(&ask.params).map_err(slot)?))
    } else {
        (None, Bytes::new())
    };
    if let Some(content_type) = content_type
        && !config.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type"))
    {
        headers.push(("content-type".to_owned(), content_type.to_owned()));
    }
    let method = config.method().map_err(|()| refused("not an HTTP method".to_owned()))?;
    let url = config.url.render(&ask.params).map_err(slot)?;
    Ok(Request {
        method,
        headers,
        secret_headers,
        body,
        follow_redirects: config.follow_redirects,
        tls: Arc::new(config.tls.options()),
        ip: config.ip.map(super::super::tls_options::Ip::version),
        asker: (ask.attempt <= 1).then(|| format!("{}@{}", ask.check, ask.now)),
        ..Request::get(url, ask.deadline)
    })
}
