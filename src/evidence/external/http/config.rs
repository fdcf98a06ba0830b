//! What an `http` check may say.

use std::collections::BTreeMap;
use std::fmt;

use http::{HeaderName, Method};
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};

use crate::evidence::external::tls_options::{Ip, Tls};
use crate::evidence::slots::{BodyTemplate, FormTemplate, JsonTemplate, TextTemplate, UrlTemplate};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::yaml::Node;

/// The most redirects that can be asked for.
const REDIRECTS: u8 = 20;
/// Headers that the client writes itself.
const OURS: &[&str] = &["content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"];

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// What is asked.
    pub(super) url: UrlTemplate,
    #[serde(default)]
    pub(super) method: Option<String>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, HeaderText>,
    #[serde(default)]
    pub(super) body: Option<BodyTemplate>,
    #[serde(default)]
    pub(super) json: Option<JsonTemplate>,
    #[serde(default)]
    pub(super) form: Option<FormTemplate>,
    /// Sent as `Authorization: Bearer …`.
    #[serde(default)]
    pub(super) bearer_token: Option<SecretRef>,
    #[serde(default)]
    pub(super) basic: Option<Basic>,
    /// 0: the redirect itself is the answer.
    #[serde(default = "ten")]
    pub(super) follow_redirects: u8,
    #[serde(default)]
    pub(super) tls: Tls,
    #[serde(default)]
    pub(super) ip: Option<Ip>,
}

fn ten() -> u8 {
    10
}

/// Sent as `Authorization: Basic …`.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Basic {
    pub(super) user: String,
    pub(super) password: SecretRef,
}

/// A header's value: text, or a secret by its name.
#[derive(Debug)]
pub(super) enum HeaderText {
    Text(TextTemplate),
    Secret(SecretRef),
}

impl<'de> Deserialize<'de> for HeaderText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = HeaderText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a secret ({ env: NAME } or { file: path })")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<HeaderText, E> {
                TextTemplate::parse(text).map(HeaderText::Text).map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<HeaderText, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<HeaderText, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HeaderText, A::Error> {
                SecretRef::deserialize(MapAccessDeserializer::new(map)).map(HeaderText::Secret)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl schemars::JsonSchema for HeaderText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HeaderText".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let (text, secret) = (generator.subschema_for::<TextTemplate>(), generator.subschema_for::<SecretRef>());
        schemars::json_schema!({ "anyOf": [text, secret] })
    }
}

impl Config {
    /// What a type alone can't say; errors stand at the key that is wrong.
    pub(super) fn check(&self, node: &Node) -> Result<(), Diagnostic> {
        let wrong = |key: &str, message: String| {
            let at = node.get(key).map_or_else(|| node.span.clone(), |value| value.span.clone());
            Diagnostic::error(at, message)
        };
        let bodies = [("json", self.json.is_some()), ("form", self.form.is_some()), ("body", self.body.is_some())];
        let mut given = bodies.iter().filter(|(_, given)| *given).map(|(name, _)| *name);
        if let (Some(first), Some(second)) = (given.next(), given.next()) {
            return Err(wrong(second, format!("`{second}` beside `{first}`: a request has one body")));
        }
        if self.bearer_token.is_some() && self.basic.is_some() {
            let message = "`basic` beside `bearer_token`: a request has one Authorization".to_owned();
            return Err(wrong("basic", message));
        }
        if self.follow_redirects > REDIRECTS {
            return Err(wrong("follow_redirects", format!("at most {REDIRECTS} redirects are followed")));
        }
        match self.method() {
            Err(()) => return Err(wrong("method", "not an HTTP method".to_owned()).hint("GET, POST, PUT, …")),
            Ok(Method::CONNECT | Method::TRACE) => {
                return Err(wrong("method", "CONNECT and TRACE are not sent".to_owned()));
            }
            Ok(_) => {}
        }
        if self.basic.as_ref().is_some_and(|basic| basic.user.contains(':')) {
            return Err(wrong("basic", "a user of basic authentication has no colon in it".to_owned()));
        }
        self.check_headers(node)
    }

    fn check_headers(&self, node: &Node) -> Result<(), Diagnostic> {
        let headers = node.get("headers");
        for (name, value) in &self.headers {
            let at = headers.and_then(|headers| headers.get(name)).or(headers).unwrap_or(node).span.clone();
            let lower = name.to_ascii_lowercase();
            if HeaderName::from_bytes(name.as_bytes()).is_err() {
                return Err(Diagnostic::error(at, format!("`{name}` can't be the name of a header")));
            }
            if OURS.contains(&lower.as_str()) {
                return Err(Diagnostic::error(at, format!("`{name}` is written by the client itself")));
            }
            let authorization = matches!(lower.as_str(), "authorization" | "proxy-authorization");
            if authorization && matches!(value, HeaderText::Text(_)) {
                return Err(Diagnostic::error(at, format!("`{name}` is a secret, and a literal stands here"))
                    .hint("write bearer_token: or basic: with { env: NAME } or { file: path }"));
            }
            if lower == "authorization" && (self.bearer_token.is_some() || self.basic.is_some()) {
                return Err(Diagnostic::error(at, "`authorization` beside `bearer_token` or `basic`"));
            }
            let twice = self.headers.keys().any(|other| other != name && other.eq_ignore_ascii_case(name));
            if twice {
                return Err(Diagnostic::error(at, format!("`{name}` is given twice")));
            }
        }
        Ok(())
    }

    /// As written, or what goes with the body.
    pub(super) fn method(&self) -> Result<Method, ()> {
        let Some(name) = &self.method else {
            let sends = self.json.is_some() || self.form.is_some() || self.body.is_some();
            return Ok(if sends { Method::POST } else { Method::GET });
        };
        Method::from_bytes(name.to_ascii_uppercase().as_bytes()).map_err(|_| ())
    }

    pub(super) fn params(&self) -> Vec<String> {
        let mut names = self.url.params();
        for value in self.headers.values() {
            if let HeaderText::Text(text) = value {
                names.extend(text.params());
            }
        }
        names.extend(self.json.iter().flat_map(JsonTemplate::params));
        names.extend(self.form.iter().flat_map(FormTemplate::params));
        names.extend(self.body.iter().flat_map(BodyTemplate::params));
        names.sort();
        names.dedup();
        names
    }

    pub(super) fn secrets(&self) -> Vec<SecretRef> {
        let headers = self.headers.values().filter_map(|value| match value {
            HeaderText::Secret(secret) => Some(secret.clone()),
            HeaderText::Text(_) => None,
        });
        let basic = self.basic.as_ref().map(|basic| basic.password.clone());
        headers.chain(self.bearer_token.clone()).chain(basic).collect()
    }
}
