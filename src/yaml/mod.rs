//! YAML with places: documents are read within budgets, and every value knows its line and column.
//!
//! The reader stands on the event parser underneath serde-saphyr (`serde_saphyr::granit_parser`), not on
//! serde-saphyr's own deserialiser, because a [`Node`] needs what only the events still have: how a scalar was written
//! (`"200"` or `200`, `1.10` or `1.1`), each key's own place, and aliases, anchors and tags as events, so that they
//! are refused where they stand instead of being expanded. Built through `Spanned` and `deserialize_any` the first
//! two are lost before our code sees them. Everything downstream is read from the tree of nodes: by serde
//! ([`Node::read`]), or key by key ([`Keys`]) where one reader shall report all errors of a document at once.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::model::source::{Diagnostic, Span};

mod deserialize;
mod explain;
mod keys;
mod parse;
mod scalars;
mod spanned;
mod urls;

pub use keys::{Keys, unknown_key};
pub use parse::{DEPTH_LIMIT, FILE_LIMIT, NODE_LIMIT, parse, parse_bytes};
pub use spanned::Spanned;
pub use urls::http_url;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub span: Span,
    pub shape: Shape,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    Null,
    /// `quoted` for '…', "…" and block scalars: such text is never a number or a boolean.
    Scalar {
        text: String,
        quoted: bool,
    },
    List(Vec<Node>),
    /// In the order written; keys are scalars, unique.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// Reads the value into a type; errors stand at the wrong token itself.
    ///
    /// A key that a struct doesn't know is an error whether or not the struct says `deny_unknown_fields`.
    ///
    /// # Errors
    /// The first thing that doesn't fit, with a hint where a name is nearly right.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Diagnostic> {
        T::deserialize(deserialize::NodeReader(self)).map_err(|error| error.diagnostic(&self.span))
    }

    /// The text of a scalar, as written.
    pub fn text(&self) -> Option<&str> {
        match &self.shape {
            Shape::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The value under this key of a map.
    pub fn get(&self, name: &str) -> Option<&Node> {
        match &self.shape {
            Shape::Map(entries) => entries.iter().find(|(key, _)| key.text() == Some(name)).map(|(_, value)| value),
            _ => None,
        }
    }

    /// What stands here, for "expected …, found …".
    pub fn describe(&self) -> String {
        match &self.shape {
            Shape::Null => "nothing".to_owned(),
            Shape::Scalar { text, quoted } => {
                let short: String = text.chars().take(40).collect();
                let more = if short.len() < text.len() { "…" } else { "" };
                if *quoted { format!("`\"{short}{more}\"`") } else { format!("`{short}{more}`") }
            }
            Shape::List(_) => "a list".to_owned(),
            Shape::Map(_) => "a map".to_owned(),
        }
    }
}

/// The place of a part of a scalar: `length` characters from `offset`, counted in characters of its text.
///
/// Exact for plain scalars and for quoted ones without escapes, on one line each; the whole scalar elsewhere.
pub fn inside(scalar: &Span, text: &str, offset: usize, length: usize) -> Span {
    let characters = text.chars().count();
    let quote = match (scalar.length as usize).checked_sub(characters) {
        Some(0) => 0,
        Some(2) => 1,
        _ => return scalar.clone(),
    };
    let offset = offset.min(characters.saturating_sub(1));
    let length = length.clamp(1, (characters - offset).max(1));
    Span {
        file: Arc::clone(&scalar.file),
        line: scalar.line,
        column: scalar.column + (quote + offset) as u32,
        length: length as u32,
    }
}

/// What stands in a source line instead of a secret that somebody wrote there.
const MASK: &str = "••••••••";

/// Fills in the line that a diagnostic points at; where a literal secret stands there, the line is shown without it.
pub fn with_source(diagnostic: Diagnostic, text: &str) -> Diagnostic {
    if diagnostic.source_line.is_empty() {
        return diagnostic.with_source(text);
    }
    if diagnostic.source_line != MASK {
        return diagnostic;
    }
    let before = diagnostic.at.column.saturating_sub(1) as usize;
    let secret = diagnostic.at.length as usize;
    let mut masked = Diagnostic { source_line: String::new(), ..diagnostic }.with_source(text);
    let line: Vec<char> = masked.source_line.chars().collect();
    let head: String = line.iter().take(before).collect();
    let tail: String = line.iter().skip(before + secret).collect();
    masked.source_line = format!("{head}{MASK}{tail}");
    masked.at.length = MASK.chars().count() as u32;
    masked
}

#[cfg(test)]
mod tests;
