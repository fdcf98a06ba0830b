//! The curl command that asks the same by hand. Secrets stand in it by the name of where they are.

use http::Method;

use super::headers::is_sensitive;
use super::{Body, Credentials, HeaderText, Message};
use crate::model::encode::shell_word;
use crate::model::params::{Params, is_name};
use crate::model::secret::SecretRef;
use crate::net::http::{IpVersion, Request};

pub(super) fn command(message: &Message, request: &Request, values: &Params, with_cookies: bool) -> String {
    let mut line = String::from("curl -sS -i");
    let mut add = |words: String| {
        line.push(' ');
        line.push_str(&words);
    };
    let usual = if request.body.is_empty() { Method::GET } else { Method::POST };
    if request.method == Method::HEAD {
        add("--head".to_owned());
    } else if request.method != usual {
        add(format!("-X {}", shell_word(request.method.as_str())));
    }
    let parts = matches!(message.body, Body::Multipart(_));
    for (name, value) in &request.headers {
        // Its boundary is curl's own to choose.
        if !(parts && name == "content-type") {
            add(format!("-H {}", shell_word(&format!("{name}: {value}"))));
        }
    }
    for (name, value) in &message.headers {
        match value {
            HeaderText::Text(text) if is_sensitive(name) => {
                add(format!("-H {}", in_double_quotes(&format!("{name}: "), &with_names(text.text()))));
            }
            HeaderText::Text(_) => {}
            HeaderText::Secret(secret) => {
                add(format!("-H {}", in_double_quotes(&format!("{name}: "), &variable(secret))));
            }
        }
    }
    match &message.credentials {
        Some(Credentials::Bearer(secret)) => {
            add(format!("-H {}", in_double_quotes("authorization: Bearer ", &variable(secret))));
        }
        Some(Credentials::Basic(login)) => {
            add(format!("-u {}", in_double_quotes(&format!("{}:", login.user), &variable(&login.password))));
        }
        Some(Credentials::Digest(login)) => {
            let user = in_double_quotes(&format!("{}:", login.user), &variable(&login.password));
            add(format!("--digest -u {user}"));
        }
        None => {}
    }
    if with_cookies {
        add("-H \"cookie: $COOKIE\"".to_owned());
    }
    if let Body::Multipart(parts) = &message.body {
        parts.curl(values).into_iter().for_each(&mut add);
    } else if !request.body.is_empty() {
        add(format!("--data-raw {}", shell_word(&String::from_utf8_lossy(&request.body))));
    }
    if request.follow_redirects > 0 {
        add(format!("-L --max-redirs {}", request.follow_redirects));
    }
    match request.ip {
        Some(IpVersion::V4) => add("-4".to_owned()),
        Some(IpVersion::V6) => add("-6".to_owned()),
        None => {}
    }
    line + &message.tls.curl() + " " + &shell_word(request.url.as_str())
}

/// Plain text followed by what the shell is to fill in.
fn in_double_quotes(text: &str, filled_in: &str) -> String {
    format!("\"{}{filled_in}\"", escaped(text))
}

/// The variable or command that yields a secret in a shell.
fn variable(secret: &SecretRef) -> String {
    match secret {
        SecretRef::Env(name) if is_name(name) => format!("${name}"),
        SecretRef::Env(_) => "$SECRET".to_owned(),
        SecretRef::File(path) => format!("$(cat {})", shell_word(&path.display().to_string())),
    }
}

/// A template with `${name}` in each slot, its other characters escaped for double quotes.
fn with_names(template: &str) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(open) = rest.find("{{") {
        let Some(close) = rest[open..].find("}}") else { break };
        out.push_str(&escaped(&rest[..open]));
        out.push_str("${");
        out.push_str(rest[open + 2..open + close].trim());
        out.push('}');
        rest = &rest[open + close + 2..];
    }
    out.push_str(&escaped(rest));
    out
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
