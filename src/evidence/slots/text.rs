//! Slots in one line of text: the value of a header.

use serde::{Deserialize, Deserializer};

use super::{FromText, Pieces, SlotError, value};
use crate::model::encode;
use crate::model::params::Params;

/// One line of text with slots. Neither the text nor a value can hold a line break or another control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextTemplate {
    text: String,
    pieces: Pieces,
}

impl TextTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// A slot that isn't one, a control character.
    pub fn parse(text: &str) -> Result<Self, SlotError> {
        let pieces = Pieces::parse(text)?;
        if encode::breaks_header(text) {
            return Err(SlotError::Unfit("a line break or another control character can't stand here".to_owned()));
        }
        Ok(TextTemplate { text: text.to_owned(), pieces })
    }

    /// As it is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn params(&self) -> Vec<String> {
        self.pieces.params()
    }

    /// The line with its values.
    ///
    /// # Errors
    /// A value that is missing, or would break the line.
    pub fn render(&self, values: &Params) -> Result<String, SlotError> {
        self.pieces.fill(|name| {
            let value = value(values, name)?;
            if encode::breaks_header(value) {
                return Err(SlotError::Value {
                    name: name.to_owned(),
                    why: "holds a line break or a control character",
                });
            }
            Ok(value.to_owned())
        })
    }
}

impl<'de> Deserialize<'de> for TextTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        FromText::read(deserializer, TextTemplate::parse, "a line of text")
    }
}

impl schemars::JsonSchema for TextTemplate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TextTemplate".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "may hold {{ parameters }}" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::params;
    use super::*;

    #[test]
    fn a_header_cannot_be_split() {
        let header = TextTemplate::parse("customer={{ who }}; v=1").unwrap();
        assert_eq!(header.render(&params(&[("who", "acme")])).unwrap(), "customer=acme; v=1");
        for hostile in ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b", "\u{1b}[2J", "\u{7f}"] {
            assert!(matches!(header.render(&params(&[("who", hostile)])), Err(SlotError::Value { .. })), "{hostile:?}");
        }
        assert!(matches!(TextTemplate::parse("a\r\nb"), Err(SlotError::Unfit(_))));
        assert_eq!(header.render(&params(&[])), Err(SlotError::Missing("who".to_owned())));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn a_rendered_line_is_one_line_with_the_value_in_it(value in any::<String>()) {
            let header = TextTemplate::parse("a {{ x }} b").unwrap();
            match header.render(&params(&[("x", &value)])) {
                Ok(line) => {
                    prop_assert!(!line.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0)));
                    prop_assert_eq!(line, format!("a {value} b"));
                }
                Err(_) => prop_assert!(value.chars().any(char::is_control)),
            }
        }
    }
}
