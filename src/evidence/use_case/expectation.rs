//! What the steps of a use case have in common, however they are taken: their names, and what must hold of each.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};

use crate::evidence::slots::{names_in, without_slots};
use crate::expect::{Expression, Refused};
use crate::model::encode::is_unprintable;
use crate::model::measure::Measure;
use crate::model::observation::Broken;
use crate::model::source::{Diagnostic, Span};
use crate::yaml::{Node, Shape, Spanned, inside};

/// What must hold of the step's answer.
#[derive(Debug)]
pub struct Expect {
    pub that: Expression,
    /// A broken one is odd: it is told, and the journey goes on.
    pub odd: bool,
    pub note: Option<String>,
    pub at: Span,
}

impl Expect {
    /// That it doesn't hold, with what was seen instead.
    pub fn broken(&self, actual: String) -> Broken {
        Broken {
            that: self.that.text().to_owned(),
            actual,
            at: self.at.to_string(),
            note: self.note.clone(),
            odd: self.odd,
        }
    }
}

/// An expectation: the expression alone, or with what a broken one is and a note.
#[derive(Debug)]
pub struct Said {
    pub that: Spanned<String>,
    pub odd: bool,
    pub note: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SaidKeys {
    that: Spanned<String>,
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
                Ok(Said { that: Spanned { at, value: text.to_owned() }, odd: false, note: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Said, A::Error> {
                let keys = SaidKeys::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Said { that: keys.that, odd: matches!(keys.otherwise, Some(Otherwise::Odd)), note: keys.note })
            }
        }
        deserializer.deserialize_any(SaidVisitor)
    }
}

impl JsonSchema for Said {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "BrowserExpectation".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let keys = generator.subschema_for::<SaidKeys>();
        schemars::json_schema!({ "anyOf": [{ "type": "string" }, keys] })
    }
}

/// Reads a step's expectation over these measures; `extra` are further names that it may use.
///
/// # Errors
/// What is wrong with the expression, at its place.
pub fn expectation(said: Spanned<Said>, measures: &[Measure], extra: &[&str]) -> Result<Expect, Diagnostic> {
    let Spanned { at, value: Said { that, odd, note } } = said;
    let at = if that.at.file.is_empty() { at } else { that.at };
    let that = compile(&that.value, &at, |text| Expression::condition(text, measures, extra))?;
    if !that.usual().is_empty() {
        return Err(Diagnostic::error(at, "usual(…) can't be used in a step")
            .hint("expect it of the whole journey: usual(duration_seconds)"));
    }
    Ok(Expect { that, odd, note, at })
}

/// The name of a step.
///
/// # Errors
/// It isn't plain text.
pub fn step_name(name: Spanned<String>) -> Result<String, Diagnostic> {
    let plain = !name.value.trim().is_empty() && name.value.len() <= 80 && !name.value.chars().any(is_unprintable);
    if !plain || name.value.contains("{{") {
        return Err(Diagnostic::error(name.at, "a step's name is 1 to 80 bytes of plain text"));
    }
    Ok(name.value)
}

/// Compiles an expression of a step, which holds no slots.
///
/// # Errors
/// What is wrong with it, at its place.
pub fn compile(
    text: &str,
    at: &Span,
    read: impl Fn(&str) -> Result<Expression, Refused>,
) -> Result<Expression, Diagnostic> {
    if without_slots(text).is_err() {
        return Err(Diagnostic::error(at.clone(), "an expression holds no {{ slots }}")
            .hint("write the name of the parameter or capture alone"));
    }
    read(text).map_err(|refused| {
        let diagnostic = Diagnostic::error(inside(at, text, refused.offset, refused.length), refused.message);
        match refused.hint {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic,
        }
    })
}

/// Every slot below a node with its place.
pub fn find_slots(node: &Node, found: &mut Vec<(String, Span)>) {
    match &node.shape {
        Shape::Null => {}
        Shape::Scalar { text, .. } => {
            for name in names_in(text) {
                let start = text.match_indices("{{").find(|(at, _)| text[at + 2..].trim_start().starts_with(&name));
                let offset = start.map_or(0, |(at, _)| text[..at].chars().count());
                let length = name.chars().count() + 6;
                found.push((name, inside(&node.span, text, offset, length)));
            }
        }
        Shape::List(items) => items.iter().for_each(|item| find_slots(item, found)),
        Shape::Map(entries) => entries.iter().for_each(|(_, value)| find_slots(value, found)),
    }
}
