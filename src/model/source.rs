//! Where something is written, and what is wrong with it there.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A place in a file: line and column count from 1, the column in characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    pub file: Arc<str>,
    pub line: u32,
    pub column: u32,
    /// How many characters on that line it covers, at least 1.
    pub length: u32,
}

impl Span {
    /// The start of a file, for what concerns the file as a whole.
    pub fn file(file: &str) -> Self {
        Span { file: file.into(), line: 1, column: 1, length: 1 }
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How grave a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// What it points at is not used.
    Error,
    /// It is used, but probably not what was meant.
    Warning,
}

/// One thing that is wrong with an input, at its own place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub severity: Severity,
    pub at: Span,
    /// Lower case, no full stop, fits after "error:".
    pub message: String,
    /// What would mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The line that `at` points into, cropped; empty where there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source_line: String,
}

impl Diagnostic {
    pub fn error(at: Span, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Error, at, message: message.into(), hint: None, source_line: String::new() }
    }

    pub fn warning(at: Span, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(at, message) }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Fills in the line that is pointed at, from the whole text of its file.
    pub fn with_source(mut self, text: &str) -> Self {
        if let Some(line) = text.lines().nth(self.at.line.saturating_sub(1) as usize) {
            self.source_line = line.chars().take(200).collect();
        }
        self
    }
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.at, self.message)
    }
}

/// The known name nearest to a misspelt one, for "did you mean".
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().max(name.len()) / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        let known = ["paths", "match", "exclude", "timeout"];
        assert_eq!(nearest("patsh", known), Some("paths"));
        assert_eq!(nearest("timout", known), Some("timeout"));
        assert_eq!(nearest("colour", known), None);
    }
}
