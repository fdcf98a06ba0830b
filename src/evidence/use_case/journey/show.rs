//! What a reader gets to see of a step: a line to repeat it by hand, a piece of the answer.

use super::send::Letter;
use super::step::{Credentials, HeaderValue, Step, is_sensitive};
use crate::model::encode::shell_word;
use crate::model::params::is_name;
use crate::model::secret::SecretRef;
use crate::net::http::Response;

/// The most of an answer's body that is kept, in bytes.
const BODY_SHOWN: usize = 500;

/// A `curl` line that sends the step again. Secrets are names of variables; so is what a session hangs on.
pub fn curl(step: &Step, letter: &Letter, with_cookies: bool) -> String {
    let mut line = String::from("curl -sS");
    let mut add = |word: &str| {
        line.push(' ');
        line.push_str(word);
    };
    match letter.method.as_str() {
        "GET" => {}
        "HEAD" => add("-I"),
        method => {
            add("-X");
            add(method);
        }
    }
    for (name, value) in letter.shown_headers() {
        add("-H");
        add(&shell_word(&format!("{name}: {value}")));
    }
    for (name, value) in &step.headers {
        match value {
            HeaderValue::Text(text) if is_sensitive(name) => {
                add("-H");
                add(&in_double_quotes(&format!("{name}: "), &with_names(text.text())));
            }
            HeaderValue::Text(_) => {}
            HeaderValue::Secret(secret) => {
                add("-H");
                add(&in_double_quotes(&format!("{name}: "), &variable(secret)));
            }
        }
    }
    match &step.credentials {
        Some(Credentials::Bearer(secret)) => {
            add("-H");
            add(&in_double_quotes("authorization: Bearer ", &variable(secret)));
        }
        Some(Credentials::Basic { user, password }) => {
            add("-u");
            add(&in_double_quotes(&format!("{user}:"), &variable(password)));
        }
        None => {}
    }
    if with_cookies {
        add("-H");
        add("\"cookie: $COOKIE\"");
    }
    if !letter.body.is_empty() {
        add("--data-raw");
        add(&shell_word(&String::from_utf8_lossy(&letter.body)));
    }
    add(&shell_word(letter.url.as_str()));
    line
}

/// Plain text followed by what the shell is to fill in.
fn in_double_quotes(text: &str, filled_in: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    format!("\"{escaped}{filled_in}\"")
}

/// The variable or command that yields a secret in a shell.
fn variable(secret: &SecretRef) -> String {
    match secret {
        SecretRef::Env(name) if is_name(name) => format!("${name}"),
        SecretRef::Env(_) => "$SECRET".to_owned(),
        SecretRef::File(path) => format!("$(cat {})", shell_word(&path.display().to_string())),
    }
}

/// A template with `$name` in each slot, its other characters escaped for double quotes.
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
    let quoted = in_double_quotes(text, "");
    quoted[1..quoted.len() - 1].to_owned()
}

/// The first bytes of an answer's body, where it is text; what it is, where it isn't.
///
/// `strike` takes the secrets out of the whole body before it is cut: half a secret would not be recognised.
pub fn excerpt(response: &Response, strike: impl Fn(&str) -> String) -> String {
    let body = &response.body[..];
    if body.is_empty() {
        return String::new();
    }
    // A body that was cut at the cap may end within a character.
    let is_text = match std::str::from_utf8(body) {
        Ok(text) => !text.contains('\0'),
        Err(error) => response.truncated && error.error_len().is_none(),
    };
    if !is_text {
        let kind = response.headers.get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        return format!("({} bytes of {})", body.len(), kind.unwrap_or("something that is not text"));
    }
    let mut text = strike(&String::from_utf8_lossy(body));
    if text.len() > BODY_SHOWN {
        let mut end = BODY_SHOWN;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}
