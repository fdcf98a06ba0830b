//! The YAML of one step, key by key; what it means is [`super::read`]'s business.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};

use super::super::expectation::Said;
use super::step::HeaderValue;
use crate::evidence::slots::{BodyTemplate, FormTemplate, JsonTemplate, TextTemplate, UrlTemplate};
use crate::model::secret::SecretRef;
use crate::model::units;
use crate::yaml::Spanned;

/// One step as it is written. Exactly one of the methods names its URL.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "JourneyStep")]
pub struct Keys {
    pub name: Option<Spanned<String>>,
    pub get: Option<Spanned<UrlTemplate>>,
    pub head: Option<Spanned<UrlTemplate>>,
    pub post: Option<Spanned<UrlTemplate>>,
    pub put: Option<Spanned<UrlTemplate>>,
    pub patch: Option<Spanned<UrlTemplate>>,
    pub delete: Option<Spanned<UrlTemplate>>,
    #[serde(default)]
    pub headers: BTreeMap<String, Spanned<HeaderKey>>,
    pub json: Option<Spanned<JsonTemplate>>,
    pub form: Option<Spanned<FormTemplate>>,
    pub body: Option<Spanned<BodyTemplate>>,
    pub bearer_token: Option<Spanned<SecretRef>>,
    pub basic: Option<Spanned<Basic>>,
    #[serde(default)]
    pub expect: Vec<Spanned<Said>>,
    #[serde(default)]
    pub capture: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    pub always: bool,
    pub retry: Option<Retry>,
    pub timeout: Option<Spanned<units::Span>>,
    pub follow_redirects: Option<Spanned<u8>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    pub user: String,
    pub password: SecretRef,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    pub attempts: Spanned<u32>,
    pub delay: Option<Spanned<units::Span>>,
}

/// A header's value: text with slots, or a secret.
#[derive(Debug)]
pub struct HeaderKey(pub HeaderValue);

impl<'de> Deserialize<'de> for HeaderKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;
        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = HeaderValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a header's value, or a secret as { env: NAME }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<HeaderValue, E> {
                TextTemplate::parse(text).map(HeaderValue::Text).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<HeaderValue, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<HeaderValue, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HeaderValue, A::Error> {
                SecretRef::deserialize(MapAccessDeserializer::new(map)).map(HeaderValue::Secret)
            }
        }
        deserializer.deserialize_any(HeaderVisitor).map(HeaderKey)
    }
}

impl JsonSchema for HeaderKey {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HeaderValue".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let secret = generator.subschema_for::<SecretRef>();
        schemars::json_schema!({ "anyOf": [{ "type": "string" }, { "type": "integer" }, secret] })
    }
}
