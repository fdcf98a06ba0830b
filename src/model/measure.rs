//! What a measure is, for the documentation and for checking expectations when they are loaded.

/// The type of a measure, as expectations see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Whole or not: both compare with both.
    Number,
    Bool,
    Text,
    List,
    Map,
    /// Whatever the answer holds (a JSON body).
    Any,
}

impl Type {
    pub fn name(self) -> &'static str {
        match self {
            Type::Number => "number",
            Type::Bool => "true or false",
            Type::Text => "text",
            Type::List => "list",
            Type::Map => "map",
            Type::Any => "any",
        }
    }
}

/// One measure of a kind.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    pub name: &'static str,
    pub kind: Type,
    /// The base unit, or what sort of thing it is: "seconds", "ratio 0–1", "count", "text".
    pub unit: &'static str,
    pub meaning: &'static str,
}
