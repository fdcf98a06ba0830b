//! A regular expression, as dialogues of this look have them.

use std::borrow::Cow;

use regex::Regex;
use serde::{Deserialize, Deserializer, de};

use crate::evidence::slots::without_slots;

/// A regular expression over a line or a message.
#[derive(Debug, Clone)]
pub(super) struct Pattern(pub(super) Regex);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        without_slots(&text).map_err(de::Error::custom)?;
        let regex = regex::RegexBuilder::new(&text).size_limit(1024 * 1024).build();
        regex.map(Pattern).map_err(|error| {
            // The crate draws the pattern with a caret over several lines; the last one says what is wrong.
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            de::Error::custom(format!("not a regular expression: {last}"))
        })
    }
}

impl schemars::JsonSchema for Pattern {
    fn schema_name() -> Cow<'static, str> {
        "Pattern".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "regex" })
    }
}
