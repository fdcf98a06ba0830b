//! YAML with places: documents are read within budgets, and every value knows its line and column.

use serde::de::DeserializeOwned;

use crate::model::source::{Diagnostic, Span};

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

/// A value of a derived type, with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Spanned<T> {
    pub at: Span,
    pub value: T,
}

impl Node {
    /// Reads the value into a type; errors stand at the wrong token itself.
    ///
    /// # Errors
    /// The first thing that doesn't fit, with a hint where a name is nearly right.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Diagnostic> {
        Err(Diagnostic::error(self.span.clone(), "not built"))
    }
}
