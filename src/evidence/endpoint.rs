//! A system that is asked over HTTP (never a service that is probed): its URL, its headers, and what its silence means.

use std::collections::BTreeMap;
use std::fmt;

use http::{HeaderName, HeaderValue};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use url::Url;

use super::{Key, Tools, slots};
use crate::model::encode;
use crate::model::observation::{Unknown, UnknownKind};
use crate::model::secret::{Secret, SecretRef};
use crate::model::source::Diagnostic;
use crate::net::http::{Failure, Reason};
use crate::net::prometheus;
use crate::net::system::{NoAnswer, System};
use crate::yaml::Spanned;

/// Where a system is, and what is sent along.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    pub url: Url,
    /// Names in lower case.
    headers: Vec<(String, HeaderText)>,
    bearer_token: Option<SecretRef>,
}

/// A header's value as YAML has it: text, or where its secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderText {
    Plain(String),
    Secret(SecretRef),
}

/// That a system has nothing to tell, and what that means.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AbsentMeans {
    healthy: bool,
    because: String,
}

impl AbsentMeans {
    /// The reason why nothing is a good sign; `None` where it isn't.
    ///
    /// # Errors
    /// There is no reason.
    pub fn because(declared: Spanned<Self>) -> Result<Option<String>, Diagnostic> {
        if declared.value.because.trim().is_empty() {
            return Err(Diagnostic::error(declared.at, "`absent_means` needs the reason why no data is no problem")
                .hint("because: the counter does not exist before the first error"));
        }
        Ok(declared.value.healthy.then_some(declared.value.because))
    }
}

/// The keys of a system's headers, for the documentation.
pub const HEADERS: Key = Key {
    name: "headers",
    takes: "map of text or secret",
    default: Some("none"),
    meaning: "sent along; secret ones as { env: NAME } or { file: path }",
};
pub const BEARER_TOKEN: Key = Key {
    name: "bearer_token",
    takes: "secret",
    default: Some("none"),
    meaning: "sent as Authorization, as { env: NAME } or { file: path }",
};

/// Headers that are sent, and headers that are sent but never shown.
pub type Headers = (Vec<(String, String)>, Vec<(String, Secret)>);

impl Endpoint {
    /// Checks what a kind's YAML says of its system.
    ///
    /// # Errors
    /// A URL that isn't http(s), has no host, holds credentials or parameters; a header that can't be sent, or a literal
    /// where a secret belongs.
    pub fn new(
        url: &Spanned<String>,
        headers: Spanned<BTreeMap<String, HeaderText>>,
        bearer_token: Option<SecretRef>,
    ) -> Result<Self, Diagnostic> {
        let wrong = |message: String| Diagnostic::error(url.at.clone(), message);
        slots::without_slots(&url.value)
            .map_err(|_| wrong("the URL of a system that we ask can't hold parameters".to_owned()))?;
        let parsed = Url::parse(&url.value).map_err(|error| {
            wrong(format!("not a URL: {error}")).hint("write it whole, like `http://prometheus:9090`")
        })?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none_or(str::is_empty) {
            return Err(wrong("the URL must begin with http:// or https:// and name a host".to_owned()));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(wrong("credentials can't stand in a URL".to_owned())
                .hint("use `bearer_token: { env: NAME }`, or a header with `{ env: NAME }`"));
        }
        if parsed.fragment().is_some() {
            return Err(wrong("a URL's fragment is never sent; remove what stands behind `#`".to_owned()));
        }
        let mut checked = Vec::new();
        for (name, value) in headers.value {
            let wrong = |message: String| Diagnostic::error(headers.at.clone(), message);
            let shown = encode::terminal(&name);
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| wrong(format!("`{shown}` can't be the name of a header")))?;
            if let HeaderText::Plain(text) = &value {
                if HeaderValue::from_str(text).is_err() {
                    return Err(wrong(format!("the value of the header `{shown}` can't be sent")));
                }
                if slots::without_slots(text).is_err() {
                    return Err(wrong(format!("no parameters can stand in the header `{shown}`")));
                }
                if lets_in(name.as_str()) {
                    return Err(wrong(format!("the header `{shown}` holds a secret, which can't be written here"))
                        .hint(format!("write `{shown}: {{ env: NAME }}` or `{{ file: path }}`")));
                }
            }
            if bearer_token.is_some() && name == http::header::AUTHORIZATION {
                return Err(wrong("`bearer_token` and the header `authorization` are the same thing".to_owned()));
            }
            checked.push((name.as_str().to_owned(), value));
        }
        Ok(Endpoint { url: parsed, headers: checked, bearer_token })
    }

    pub fn secrets(&self) -> Vec<SecretRef> {
        let in_headers = self.headers.iter().filter_map(|(_, value)| match value {
            HeaderText::Secret(secret) => Some(secret),
            HeaderText::Plain(_) => None,
        });
        in_headers.chain(&self.bearer_token).cloned().collect()
    }

    /// `host:port`, as people name it.
    pub fn system(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        format!("{host}:{}", self.url.port_or_known_default().unwrap_or_default())
    }

    /// The headers with their secrets.
    ///
    /// # Errors
    /// Which secret can't be had.
    pub fn headers(&self, tools: &Tools) -> Result<Headers, Unknown> {
        let get =
            |secret: &SecretRef| tools.credentials.get(secret).map_err(|why| Unknown::new(UnknownKind::Refused, why));
        let (mut plain, mut secret) = (Vec::new(), Vec::new());
        for (name, value) in &self.headers {
            match value {
                HeaderText::Plain(text) => plain.push((name.clone(), text.clone())),
                HeaderText::Secret(reference) => secret.push((name.clone(), get(reference)?)),
            }
        }
        if let Some(token) = &self.bearer_token {
            secret.push(("authorization".to_owned(), Secret::new(format!("Bearer {}", get(token)?.expose()))));
        }
        Ok((plain, secret))
    }

    /// The system, ready to be asked.
    ///
    /// # Errors
    /// Which secret can't be had.
    pub fn open(&self, tools: &Tools) -> Result<System, Unknown> {
        let (headers, secret_headers) = self.headers(tools)?;
        Ok(System { client: tools.http.clone(), url: self.url.clone(), headers, secret_headers })
    }

    /// The start of a command that asks the same by hand: curl, its headers, secrets left out.
    pub fn curl(&self) -> String {
        let mut line = "curl -sS".to_owned();
        for (name, value) in &self.headers {
            let shown = match value {
                HeaderText::Plain(text) => format!("{name}: {text}"),
                HeaderText::Secret(_) => format!("{name}: …"),
            };
            line.push_str(&format!(" -H {}", encode::shell_word(&shown)));
        }
        if self.bearer_token.is_some() {
            line.push_str(" -H 'authorization: Bearer …'");
        }
        line
    }

    /// What it means that the exchange failed: we could not look.
    pub fn silent(&self, failure: &Failure) -> Unknown {
        let kind = match failure.reason {
            Reason::Timeout => UnknownKind::TimedOut,
            Reason::Guard => UnknownKind::Refused,
            Reason::Service | Reason::Ours => UnknownKind::Unreachable,
        };
        Unknown::new(kind, format!("{}: {} ({})", self.system(), failure.what, failure.phase.name()))
    }

    /// What it means that a question got no answer.
    pub fn unanswered(&self, no_answer: &NoAnswer) -> Unknown {
        let unknown = |kind, why: String| Unknown::new(kind, format!("{}: {why}", self.system()));
        match no_answer {
            NoAnswer::Wire(failure) => self.silent(failure),
            NoAnswer::Refused { status, reason } => self.refusal(*status, reason),
            NoAnswer::Partial(why) => unknown(UnknownKind::Incomplete, why.clone()),
            NoAnswer::Unintelligible(why) => unknown(UnknownKind::Unintelligible, why.clone()),
            NoAnswer::TooMuch { .. } => unknown(UnknownKind::Incomplete, format!("the answer has {no_answer}")),
        }
    }

    /// What it means that Prometheus, or Alertmanager, gave no answer.
    pub fn unanswered_query(&self, no_answer: &prometheus::NoAnswer) -> Unknown {
        let unknown = |kind, why: String| Unknown::new(kind, format!("{}: {why}", self.system()));
        match no_answer {
            prometheus::NoAnswer::Wire(failure) => self.silent(failure),
            prometheus::NoAnswer::Refused { reason, .. } if no_answer.is_timeout() => {
                unknown(UnknownKind::TimedOut, reason.clone())
            }
            prometheus::NoAnswer::Refused { status, reason, .. } => self.refusal(*status, reason),
            prometheus::NoAnswer::Unintelligible(why) => unknown(UnknownKind::Unintelligible, why.clone()),
            prometheus::NoAnswer::TooMuch { .. } => {
                unknown(UnknownKind::Incomplete, format!("the answer has {no_answer}"))
            }
        }
    }

    /// What it means that it answered with this status instead of an answer.
    pub fn refusal(&self, status: u16, reason: &str) -> Unknown {
        let kind = match status {
            401 | 403 | 407 | 451 => UnknownKind::Refused,
            408 | 504 => UnknownKind::TimedOut,
            429 | 500.. => UnknownKind::Unreachable,
            _ => UnknownKind::Unintelligible,
        };
        let colon = if reason.is_empty() { "" } else { ": " };
        Unknown::new(kind, format!("{} answered {status}{colon}{reason}", self.system()))
    }
}

/// True for a header whose value lets somebody in.
fn lets_in(name: &str) -> bool {
    ["auth", "cookie", "token", "secret", "session", "api-key", "apikey", "password"]
        .iter()
        .any(|part| name.contains(part))
}

impl<'de> Deserialize<'de> for HeaderText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = HeaderText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or `{ env: NAME }`, `{ file: path }` for a secret")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<HeaderText, E> {
                Ok(HeaderText::Plain(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HeaderText, A::Error> {
                // An enum's variant and its value are a map of one entry.
                SecretRef::deserialize(MapAccessDeserializer::new(map)).map(HeaderText::Secret)
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl schemars::JsonSchema for HeaderText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HeaderText".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let secret = generator.subschema_for::<SecretRef>();
        schemars::json_schema!({ "anyOf": [{ "type": "string" }, secret] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    #[derive(Debug, serde::Deserialize)]
    struct Config {
        url: Spanned<String>,
        headers: Spanned<BTreeMap<String, HeaderText>>,
        bearer_token: Option<SecretRef>,
    }

    fn read(text: &str) -> Result<Endpoint, String> {
        let config: Config =
            yaml::parse("a.yaml", text).and_then(|node| node.read()).map_err(|error| error.to_string())?;
        Endpoint::new(&config.url, config.headers, config.bearer_token).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_is_checked_when_it_is_read() {
        let endpoint = read(
            "url: HTTP://Prom.Example/x/\nheaders: { X-Scope-OrgID: t1, X-Token: { env: T } }\nbearer_token: { env: B }",
        )
        .unwrap();
        assert_eq!(endpoint.system(), "prom.example:80");
        assert_eq!(endpoint.secrets(), [SecretRef::Env("T".to_owned()), SecretRef::Env("B".to_owned())]);
        assert_eq!(endpoint.curl(), "curl -sS -H 'x-scope-orgid: t1' -H 'x-token: …' -H 'authorization: Bearer …'");
        for (text, part) in [
            ("url: prometheus:9090\nheaders: {}", "a.yaml:1:6: the URL must begin with http"),
            ("url: 9090\nheaders: {}", "not a URL"),
            ("url: http://a:b@c/\nheaders: {}", "credentials"),
            ("url: http://c/#x\nheaders: {}", "fragment"),
            ("url: \"http://{{ host }}/\"\nheaders: {}", "can't hold parameters"),
            ("url: file:///etc/passwd\nheaders: {}", "must begin with http"),
            (
                "url: http://c/\nheaders: { Authorization: Bearer abc }",
                "a.yaml:2:10: the header `Authorization` holds a secret",
            ),
            ("url: http://c/\nheaders: { X-Api-Key: abc }", "holds a secret"),
            ("url: http://c/\nheaders: { \"a b\": x }", "can't be the name"),
            ("url: http://c/\nheaders: { a: \"x\\ny\" }", "can't be sent"),
            ("url: http://c/\nheaders: { a: \"{{ x }}\" }", "no parameters"),
            ("url: http://c/\nheaders: { authorization: { env: A } }\nbearer_token: { env: B }", "the same thing"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
