//! What the YAML parser complains of, in words that say what to do; the classic mistakes by name.

use std::sync::Arc;

use serde_saphyr::granit_parser::{ErrorKind, ScanError};

use super::parse::DEPTH_LIMIT;
use crate::model::source::{Diagnostic, Span};

/// Points at the mistake rather than at where the parser gave up.
pub(super) fn explain(file: &Arc<str>, text: &str, error: &ScanError) -> Diagnostic {
    let marker = error.marker();
    // At the end of the text the marker may stand below the last line.
    let lines = text.lines().count().max(1);
    let line = marker.line().clamp(1, lines) as u32;
    let column = if marker.line() > lines { 1 } else { marker.col() as u32 + 1 };
    let at = |column: u32, length: usize| Span { file: Arc::clone(file), line, column, length: length.max(1) as u32 };
    let shown = text.lines().nth(line as usize - 1).unwrap_or("");

    // Some complaints about a tab stand at the start of the value before it.
    let about_tabs = matches!(
        error.kind(),
        ErrorKind::TabInPlainScalar
            | ErrorKind::TabInIndentation
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabNotAllowed
            | ErrorKind::TabAtBlockScalarStart
    );
    let mut suspects = text.lines().enumerate().skip(line as usize - 1).take(if about_tabs { usize::MAX } else { 1 });
    if let Some((index, tab)) = suspects.find_map(|(index, line)| Some((index, tab_in_indentation(line)?))) {
        let place = Span { file: Arc::clone(file), line: index as u32 + 1, column: tab as u32 + 1, length: 1 };
        return Diagnostic::error(place, "a tab indents this line")
            .hint("indent with spaces: YAML doesn't allow tabs there");
    }
    for nearby in [line, line.saturating_sub(1)] {
        let candidate = text.lines().nth((nearby.max(1) - 1) as usize).unwrap_or("");
        if let Some(found) = unquoted_braces(candidate) {
            return braces(file, text, nearby.max(1), found as u32 + 1);
        }
    }
    let here = at(column, 1);
    let say = |message: &str, hint: &str| Diagnostic::error(here.clone(), message).hint(hint);
    match error.kind() {
        ErrorKind::RecursionLimitExceeded => too_deep(here),
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement => {
            let until: Vec<char> = shown.chars().take(column as usize).collect();
            let colon = until.iter().rposition(|c| *c == ':').unwrap_or(0);
            let first = until.iter().take(colon).collect::<String>();
            if colon > 0
                && !first.contains(": ")
                && let Some(diagnostic) = line_above(file, text, line, shown)
            {
                return diagnostic;
            }
            Diagnostic::error(at(colon as u32 + 1, 1), "a second `:` in the same value")
                .hint("quote the value if the colon belongs to it: \"a: b\"; or put the inner key on a line of its own")
        }
        ErrorKind::UnclosedQuotedScalar | ErrorKind::DocumentIndicatorInQuotedScalar => {
            say("a quote is not closed", "close it on the same line, or use `|` for text of several lines")
        }
        ErrorKind::InvalidTrailingSingleQuotedScalar | ErrorKind::InvalidTrailingDoubleQuotedScalar => {
            say("text goes on after the closing quote", "quote the whole value; a quote inside '…' is written twice")
        }
        ErrorKind::UnknownQuotedScalarEscape => {
            say("no such escape inside of double quotes", "write a backslash twice, or use single quotes: '^\\d+$'")
        }
        ErrorKind::UnclosedFlowCollection { open } => {
            let close = if *open == '[' { ']' } else { '}' };
            Diagnostic::error(here.clone(), format!("`{open}` is not closed")).hint(format!("a `{close}` is missing"))
        }
        ErrorKind::UnexpectedEofFlowSequence => say("a list is not closed", "a `]` is missing"),
        ErrorKind::UnexpectedEofFlowMapping | ErrorKind::UnexpectedEofImplicitFlowMapping => {
            say("a map is not closed", "a `}` is missing")
        }
        ErrorKind::MisplacedFlowCollectionEnd | ErrorKind::MismatchedFlowCollectionEnd { .. } => {
            say("this bracket closes nothing", "quote the value if the bracket belongs to it")
        }
        ErrorKind::ExpectedFlowSequenceSeparator | ErrorKind::ExpectedFlowMappingSeparator => say(
            "a `,` or a closing bracket is expected here",
            "quote values with brackets, braces, commas or colons: \"status in [200, 201]\"",
        ),
        ErrorKind::UnexpectedCharacter { character: '`' } => say("a value can't start with a backtick", "quote it"),
        ErrorKind::UnexpectedCharacter { character } => {
            let message = format!("a value can't start with `{}`", character.escape_default());
            say(&message, "quote the value")
        }
        ErrorKind::InvalidBlockScalarHeader | ErrorKind::ZeroBlockScalarIndent => say(
            "`|` and `>` at the start of a value announce a text of several lines",
            "quote the value if the sign belongs to it",
        ),
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            let whole = shown.chars().skip(column as usize - 1).collect::<String>().trim_end().chars().count();
            Diagnostic::error(at(column, whole), "a `:` is missing after this key")
                .hint("write `key: value`; text of several lines is indented below its key")
        }
        ErrorKind::InvalidIndentation
        | ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::ExpectedDocumentStart
        | ErrorKind::MappingKeyNotAllowed => {
            let first = shown.chars().position(|c| !c.is_whitespace()).unwrap_or(0);
            let whole = shown.trim().chars().count();
            let here = if column as usize <= first + 1 { at(first as u32 + 1, whole) } else { here.clone() };
            Diagnostic::error(here, "this doesn't fit what stands above it")
                .hint("keys of one map and items of one list start in the same column; quote values that begin with a special character")
        }
        ErrorKind::BlockSequenceEntryNotAllowed | ErrorKind::BlockEntryInFlowCollection => {
            say("a list item (`- `) can't stand here", "start the list on a line of its own, or write it as `[ … ]`")
        }
        ErrorKind::DirectiveDisallowed => say("directives (`%…`) are not read", "remove the line"),
        ErrorKind::UndeclaredTagHandle => say("tags (`!…`) are not read", "quote the value if the `!` belongs to it"),
        ErrorKind::PlainScalarStartsWithDashFlowIndicator => say("a value can't start like this", "quote the value"),
        ErrorKind::CommentNotSeparated => say("`#` starts a comment here", "put a space before it, or quote the value"),
        ErrorKind::MissingAnchorOrAliasName => {
            say("`*` and `&` start aliases and anchors, which are not read", "quote the value: \"*.log\"")
        }
        other => Diagnostic::error(here.clone(), format!("this is not YAML: {other}"))
            .hint("quote values that contain special characters"),
    }
}

/// A line whose only `:` is one too many: the mistake is mostly in the line above it.
fn line_above(file: &Arc<str>, text: &str, line: u32, shown: &str) -> Option<Diagnostic> {
    let (index, above) = text
        .lines()
        .enumerate()
        .take(line as usize - 1)
        .filter(|(_, above)| !above.trim().is_empty() && !above.trim_start().starts_with('#'))
        .last()?;
    let indent = |line: &str| line.chars().take_while(|c| *c == ' ').count();
    let above_text = above.trim_start().trim_start_matches("- ").trim();
    let column = above.chars().count() - above.trim_start().trim_start_matches("- ").chars().count();
    let at = |column: usize, length: usize| Span {
        file: Arc::clone(file),
        line: index as u32 + 1,
        column: column as u32 + 1,
        length: length.max(1) as u32,
    };
    for (open, close) in [('[', ']'), ('{', '}')] {
        if above.matches(open).count() > above.matches(close).count() {
            let column = above.chars().position(|c| c == open).unwrap_or(0);
            return Some(
                Diagnostic::error(at(column, 1), format!("`{open}` is not closed"))
                    .hint(format!("a `{close}` is missing")),
            );
        }
    }
    if above_text.contains(": ") || above_text.ends_with(':') {
        let deeper = indent(shown) > indent(above);
        return deeper.then(|| {
            let here = Span {
                file: Arc::clone(file),
                line,
                column: indent(shown) as u32 + 1,
                length: shown.trim().chars().count().max(1) as u32,
            };
            Diagnostic::error(here, "this line is indented deeper than the line above, which has its value already")
                .hint("start it in the same column as the key above")
        });
    }
    if let Some(colon) = above_text.find(':') {
        let colon = column + above_text.get(..colon).unwrap_or("").chars().count();
        return Some(Diagnostic::error(at(colon, 1), "a space is missing after this `:`").hint("write `key: value`"));
    }
    Some(
        Diagnostic::error(at(column, above_text.chars().count()), "a `:` is missing after this key")
            .hint("write `key: value`"),
    )
}

/// `{{ name }}` without quotes, which YAML reads as a map within a map.
pub(super) fn braces(file: &Arc<str>, text: &str, line: u32, column: u32) -> Diagnostic {
    let shown = text.lines().nth(line as usize - 1).unwrap_or("");
    let rest: String = shown.chars().skip(column as usize - 1).collect();
    let slot = rest.find("}}").and_then(|end| rest.get(..end + 2)).unwrap_or("{{");
    let short: String = slot.chars().take(60).collect();
    let at = Span { file: Arc::clone(file), line, column, length: short.chars().count() as u32 };
    let whole = if short.ends_with("}}") { short } else { "{{ … }}".to_owned() };
    Diagnostic::error(at, format!("`{whole}` must be quoted: YAML reads `{{{{` as a map"))
        .hint(format!("put the whole value in double quotes: \"{whole}\""))
}

pub(super) fn too_deep(at: Span) -> Diagnostic {
    Diagnostic::error(at, format!("more than {DEPTH_LIMIT} levels of lists and maps"))
        .hint("a check needs fewer than ten; look for brackets that are not closed")
}

/// The column, from 0, of the first tab before a line's text.
fn tab_in_indentation(line: &str) -> Option<usize> {
    line.chars().take_while(|c| c.is_whitespace()).position(|c| c == '\t')
}

/// The column, from 0, of the first `{{` outside of quotes and comments that can't be part of plain text: at the start
/// of a value, or inside of brackets.
fn unquoted_braces(line: &str) -> Option<usize> {
    let mut quote: Option<char> = None;
    let mut bracket = false;
    let mut previous = ' ';
    let mut before_spaces = ':';
    let characters: Vec<char> = line.chars().collect();
    for (index, &c) in characters.iter().enumerate() {
        match quote {
            Some(open) if c == open && previous != '\\' => quote = None,
            Some(_) => {}
            None if c == '#' && previous.is_whitespace() => return None,
            None if matches!(c, '"' | '\'') && !previous.is_alphanumeric() => quote = Some(c),
            None if c == '{'
                && characters.get(index + 1) == Some(&'{')
                && (bracket || matches!(before_spaces, ':' | '[' | ',' | '-')) =>
            {
                return Some(index);
            }
            None if matches!(c, '{' | '[') && matches!(before_spaces, ':' | '[' | ',' | '-' | '{') => bracket = true,
            None => {}
        }
        previous = c;
        if !c.is_whitespace() {
            before_spaces = c;
        }
    }
    None
}
