//! The YAML of one step, key by key; what it means is [`super::read`]'s business.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};

use crate::evidence::external::tls_options::Tls;
use crate::evidence::message::{HeaderText, Login, MultipartTemplate};
use crate::evidence::slots::{BodyTemplate, FormTemplate, JsonTemplate, UrlTemplate};
use crate::model::secret::SecretRef;
use crate::model::source::Span;
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
    pub headers: BTreeMap<String, Spanned<HeaderText>>,
    pub json: Option<Spanned<JsonTemplate>>,
    pub form: Option<Spanned<FormTemplate>>,
    pub multipart: Option<Spanned<MultipartTemplate>>,
    pub body: Option<Spanned<BodyTemplate>>,
    pub bearer_token: Option<Spanned<SecretRef>>,
    pub basic: Option<Spanned<Login>>,
    pub digest: Option<Spanned<Login>>,
    pub tls: Option<Tls>,
    #[serde(default)]
    pub expect: Vec<Spanned<Said>>,
    #[serde(default)]
    pub capture: BTreeMap<String, Spanned<CaptureKey>>,
    #[serde(default)]
    pub always: bool,
    pub retry: Option<Retry>,
    pub poll: Option<Spanned<PollKeys>>,
    pub timeout: Option<Spanned<units::Span>>,
    pub follow_redirects: Option<Spanned<u8>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    pub attempts: Spanned<u32>,
    pub delay: Option<Spanned<units::Span>>,
}

/// Asking again until something has come about.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PollKeys {
    pub until: Spanned<String>,
    pub every: Option<Spanned<units::Span>>,
    pub within: Spanned<units::Span>,
}

/// Where in an answer something is looked for: a JSONPath, a header, or the body; a regular expression takes a part.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FinderKeys {
    pub jsonpath: Option<Spanned<String>>,
    pub header: Option<Spanned<String>>,
    pub regex: Option<Spanned<String>>,
}

/// What is captured: an expression, or what is found.
#[derive(Debug)]
pub enum CaptureKey {
    Expression(String),
    Found(FinderKeys),
}

impl<'de> Deserialize<'de> for CaptureKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = CaptureKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an expression, like `json.id`, or one of { jsonpath }, { header }, { regex }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<CaptureKey, E> {
                Ok(CaptureKey::Expression(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CaptureKey, A::Error> {
                FinderKeys::deserialize(MapAccessDeserializer::new(map)).map(CaptureKey::Found)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for CaptureKey {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StepCapture".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let keys = generator.subschema_for::<FinderKeys>();
        schemars::json_schema!({ "anyOf": [{ "type": "string" }, keys] })
    }
}

/// An expectation: the expression alone, or with what a broken one is and a note.
#[derive(Debug)]
pub struct Said {
    /// Without it, what is looked for must be there.
    pub that: Option<Spanned<String>>,
    pub of: FinderKeys,
    pub odd: bool,
    pub note: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SaidKeys {
    that: Option<Spanned<String>>,
    jsonpath: Option<Spanned<String>>,
    header: Option<Spanned<String>>,
    regex: Option<Spanned<String>>,
    #[serde(rename = "else")]
    otherwise: Option<Otherwise>,
    note: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Otherwise {
    Odd,
    Bad,
}

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SaidVisitor;
        impl<'de> Visitor<'de> for SaidVisitor {
            type Value = Said;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an expectation, like `status == 200`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Said, E> {
                // The place of the whole is the place of the expression; the reader of the step puts it in.
                let at = Span::file("");
                let that = Some(Spanned { at, value: text.to_owned() });
                Ok(Said { that, of: FinderKeys::default(), odd: false, note: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Said, A::Error> {
                let SaidKeys { that, jsonpath, header, regex, otherwise, note } =
                    SaidKeys::deserialize(MapAccessDeserializer::new(map))?;
                let of = FinderKeys { jsonpath, header, regex };
                Ok(Said { that, of, odd: matches!(otherwise, Some(Otherwise::Odd)), note })
            }
        }
        deserializer.deserialize_any(SaidVisitor)
    }
}

impl JsonSchema for Said {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StepExpectation".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let keys = generator.subschema_for::<SaidKeys>();
        schemars::json_schema!({ "anyOf": [{ "type": "string" }, keys] })
    }
}
