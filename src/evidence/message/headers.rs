//! The headers of a request: text with slots or a secret, and which of them may stand there.

use std::collections::BTreeMap;
use std::fmt;

use http::HeaderName;
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};

use crate::evidence::slots::TextTemplate;
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::yaml::Spanned;

/// Headers that the client writes itself.
const OURS: &[&str] = &["content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"];

/// A header's value: text, or a secret by its name.
#[derive(Debug)]
pub enum HeaderText {
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
        schemars::json_schema!({ "anyOf": [text, { "type": "integer" }, secret] })
    }
}

/// The headers, checked, their names in lower case.
///
/// # Errors
/// A header that can't be sent, is sent by the client itself, is given twice, or is a secret in plain text.
pub(super) fn read(
    written: BTreeMap<String, Spanned<HeaderText>>,
    has_credentials: bool,
    captures: bool,
) -> Result<Vec<(String, HeaderText)>, Diagnostic> {
    let mut headers: Vec<(String, HeaderText)> = Vec::new();
    for (name, value) in written {
        let refuse = |message: String| Err(Diagnostic::error(value.at.clone(), message));
        let short: String = name.chars().take(40).collect();
        let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
            return refuse(format!("`{short}` can't be the name of a header"));
        };
        let header = header.as_str().to_owned();
        if OURS.contains(&header.as_str()) {
            return refuse(format!("`{short}` is written by the client itself"));
        }
        if header == "authorization" && has_credentials {
            return refuse("`authorization` beside `bearer_token`, `basic` or `digest`".to_owned());
        }
        if matches!(header.as_str(), "authorization" | "proxy-authorization")
            && let HeaderText::Text(text) = &value.value
            && (!captures || text.params().is_empty())
        {
            return Err(Diagnostic::error(value.at, format!("`{short}` is a secret, and a literal stands here"))
                .hint("write bearer_token: or basic: with { env: NAME } or { file: path }"));
        }
        if headers.iter().any(|(other, _)| *other == header) {
            return refuse(format!("`{short}` is given twice"));
        }
        headers.push((header, value.value));
    }
    Ok(headers)
}

/// True for a header whose value lets somebody in: its value is never shown.
pub(super) fn is_sensitive(header: &str) -> bool {
    ["auth", "cookie", "token", "secret", "session", "api-key", "apikey", "password"]
        .iter()
        .any(|part| header.contains(part))
}
