//! Text from outside. It can't be displayed or formatted by accident, only through an encoder.

use serde::{Deserialize, Serialize};

/// Text that somebody outside wrote: a ticket, a log line, a header.
///
/// It has no `Display`: it reaches a sink only through that sink's encoder in [`crate::model::encode`]
/// (or as JSON, whose encoder is serde's).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Untrusted(String);

impl Untrusted {
    pub fn new(text: impl Into<String>) -> Self {
        Untrusted(text.into())
    }

    /// At most `limit` bytes of the text, cut at a character's boundary.
    pub fn bounded(text: impl Into<String>, limit: usize) -> Self {
        let mut text = text.into();
        if text.len() > limit {
            let mut end = limit;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
        }
        Untrusted(text)
    }

    /// The text as it came, for matching and encoding; never for output.
    pub fn raw(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Untrusted {
    fn from(text: &str) -> Self {
        Untrusted(text.to_owned())
    }
}

impl From<String> for Untrusted {
    fn from(text: String) -> Self {
        Untrusted(text)
    }
}
