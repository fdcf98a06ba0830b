//! Slots: the only places where a ticket's parameters enter what a probe sends.
//!
//! A template is read and checked when its file is loaded; a value is bound afterwards, by the encoder of the slot
//! that it stands in. Text is never interpolated before it is parsed, so a value can't become anything but a value.
//! `{{ name }}` is the whole syntax: no filters, no expressions, and no way to write a literal `{{`.
//!
//! What a journey captures from an answer goes through the same slots: it is no more trusted than a ticket.

use std::fmt;

use serde::Deserializer;
use serde::de::{self, Visitor};

use crate::model::params::{Params, is_name};

mod body;
mod promql;
mod text;
mod url;

pub use body::{BodyTemplate, FormTemplate, JsonTemplate};
pub use promql::{LogqlTemplate, PromqlTemplate};
pub use text::TextTemplate;
pub use url::UrlTemplate;

/// The most slots of one template.
const SLOTS_LIMIT: usize = 64;

/// Why a template can't be used, or can't be filled with these values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    #[error("`{{{{` is not closed; a parameter is written {{{{ name }}}}")]
    Unclosed,
    #[error("`{0}` is not the name of a parameter (a letter or underscore, then letters, digits, underscores)")]
    Name(String),
    #[error("more than {SLOTS_LIMIT} parameters in one value")]
    Many,
    /// Where a parameter stands that must not stand there.
    #[error("parameter `{name}` can't stand in {place}")]
    Place { name: String, place: &'static str },
    #[error("no parameters can stand here (`{{{{` has no other meaning)")]
    Nowhere,
    /// The template itself is unfit, whatever its values.
    #[error("{0}")]
    Unfit(String),
    #[error("there is no value for `{0}`")]
    Missing(String),
    /// The value itself is not repeated here: it comes from outside.
    #[error("the value of `{name}` {why}")]
    Value { name: String, why: &'static str },
}

/// One piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Slot(String),
}

/// A text cut at its slots; two literals never stand side by side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Pieces(Vec<Piece>);

impl Pieces {
    fn parse(text: &str) -> Result<Self, SlotError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        let mut slots = 0;
        while let Some(open) = rest.find("{{") {
            let after = &rest[open + 2..];
            let close = after.find("}}").ok_or(SlotError::Unclosed)?;
            let name = after[..close].trim_matches(' ');
            if !is_name(name) {
                return Err(SlotError::Name(name.chars().take(40).collect()));
            }
            slots += 1;
            if slots > SLOTS_LIMIT {
                return Err(SlotError::Many);
            }
            if open > 0 {
                pieces.push(Piece::Literal(rest[..open].to_owned()));
            }
            pieces.push(Piece::Slot(name.to_owned()));
            rest = &after[close + 2..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.to_owned()));
        }
        Ok(Pieces(pieces))
    }

    fn iter(&self) -> impl Iterator<Item = &Piece> {
        self.0.iter()
    }

    /// The names in the slots, in the order of their first use.
    fn params(&self) -> Vec<String> {
        let mut names = Vec::new();
        for piece in &self.0 {
            if let Piece::Slot(name) = piece
                && !names.contains(name)
            {
                names.push(name.clone());
            }
        }
        names
    }

    /// The text with every slot filled by what `encode` makes of its name.
    fn fill(&self, mut encode: impl FnMut(&str) -> Result<String, SlotError>) -> Result<String, SlotError> {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Slot(name) => out.push_str(&encode(name)?),
            }
        }
        Ok(out)
    }
}

/// The value for a slot.
fn value<'v>(values: &'v Params, name: &str) -> Result<&'v str, SlotError> {
    values.get(name).ok_or_else(|| SlotError::Missing(name.to_owned()))
}

/// Refuses a text with slots, for places where none can be.
///
/// # Errors
/// [`SlotError::Nowhere`].
pub fn without_slots(text: &str) -> Result<(), SlotError> {
    if text.contains("{{") { Err(SlotError::Nowhere) } else { Ok(()) }
}

/// The names in a text's slots; none where it isn't a template.
pub fn names_in(text: &str) -> Vec<String> {
    Pieces::parse(text).map(|pieces| pieces.params()).unwrap_or_default()
}

/// Reads a template from a scalar.
struct FromText<T> {
    parse: fn(&str) -> Result<T, SlotError>,
    expecting: &'static str,
}

impl<T> FromText<T> {
    fn read<'de, D: Deserializer<'de>>(
        deserializer: D,
        parse: fn(&str) -> Result<T, SlotError>,
        expecting: &'static str,
    ) -> Result<T, D::Error> {
        deserializer.deserialize_str(FromText { parse, expecting })
    }
}

impl<T> Visitor<'_> for FromText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parameters for tests.
    pub(super) fn params(values: &[(&str, &str)]) -> Params {
        let mut params = Params::default();
        for (name, value) in values {
            params.set(name, *value, true);
        }
        params
    }

    #[test]
    fn the_syntax_is_two_braces_and_a_name() {
        for (text, names) in [
            ("", vec![]),
            ("plain { braces } and }}", vec![]),
            ("{{a}}", vec!["a"]),
            ("x{{ a }}y{{  b_2 }}{{a}}", vec!["a", "b_2"]),
        ] {
            assert_eq!(Pieces::parse(text).unwrap().params(), names, "{text}");
        }
        for (text, error) in [
            ("{{", "not closed"),
            ("a {{ b", "not closed"),
            ("{{ }}", "not the name"),
            ("{{ 7*7 }}", "not the name"),
            ("{{ a.b }}", "not the name"),
            ("{{ a | upper }}", "not the name"),
            ("{{{ a }}}", "not the name"),
            ("{{\na }}", "not the name"),
        ] {
            assert!(Pieces::parse(text).unwrap_err().to_string().contains(error), "{text}");
        }
        assert_eq!(Pieces::parse(&"{{ a }}".repeat(65)), Err(SlotError::Many));
    }

    #[test]
    fn a_value_is_not_read_again() {
        let template = BodyTemplate::parse("a {{ x }} b").unwrap();
        assert_eq!(template.render(&params(&[("x", "{{ y }}"), ("y", "secret")])).unwrap(), "a {{ y }} b");
    }

    #[test]
    fn a_place_without_slots_says_so() {
        assert_eq!(without_slots("x{{ a }}"), Err(SlotError::Nowhere));
        assert_eq!(without_slots("{ a: { b: 1 } }"), Ok(()));
    }
}
