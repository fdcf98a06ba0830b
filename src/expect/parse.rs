//! From text to a tree: the grammar is the `cel` crate's; its complaints are turned into plain words.
//!
//! The crate has two parsers. The one that it hands out by default recurses without a bound (twenty brackets overflow
//! a thread's stack of 2 MiB in a debug build, and no panic can be caught there) and takes 12 to 75 µs; the other one,
//! behind its feature `parser_pratt`, is bounded and takes 0.3 to 4 µs, which counts with 10,000 checks. It is used
//! here, its version pinned, and the tests hold the two against one another.

use std::sync::Arc;

use cel::IdedExpr;
use cel::common::ast::SourceInfo;
use cel::parser::PrattParser;

use super::Refused;
use super::compile::DEPTH_LIMIT;
use super::scan::refuse;
use crate::model::encode;

/// Reads a text that was looked over before.
///
/// # Errors
/// The first thing that is no expression.
pub(super) fn parse(text: &str) -> Result<IdedExpr, Refused> {
    // The parser unwraps what it believes in; a text that proves it wrong is one that can't be read.
    match std::panic::catch_unwind(|| parser().parse(text)) {
        Ok(read) => read.map_err(|errors| plain(text, &errors)),
        Err(_) => Err(refuse(0, text.chars().count(), "this can't be read as an expression")),
    }
}

fn parser() -> PrattParser {
    PrattParser::new().max_recursion_depth(DEPTH_LIMIT as u16 + 20)
}

/// Where each part of a text stands, in bytes; `None` where nobody can tell.
///
/// The parser tells places only along with an error, and nobody needs them otherwise; so a text that has none is
/// given one, behind its end, where it changes nothing before.
pub(super) fn places(text: &str) -> Option<Arc<SourceInfo>> {
    let errors = std::panic::catch_unwind(|| parser().parse(&format!("{text}\n)"))).ok()?.err()?;
    errors.errors.into_iter().find_map(|error| error.source_info)
}

/// The parser's first complaint in plain words.
fn plain(text: &str, errors: &cel::ParseErrors) -> Refused {
    let end = text.trim_end().chars().count();
    let Some(error) = errors.errors.first() else {
        return refuse(0, end, "this can't be read as an expression");
    };
    let message = error.msg.as_str();
    if message.contains("recursion limit") {
        return refuse(0, end, format!("the expression is nested deeper than {DEPTH_LIMIT}"));
    }
    let line = usize::try_from(error.pos.0).unwrap_or(0).saturating_sub(1);
    let column = usize::try_from(error.pos.1).unwrap_or(0).saturating_sub(1);
    let bytes = text.split_inclusive('\n').take(line).map(str::len).sum::<usize>() + column;
    let offset = text.char_indices().take_while(|(at, _)| *at < bytes).count();
    if offset >= end {
        return refuse(end, 1, "the expression ends where something is expected");
    }
    let rest = || text.chars().skip(offset);
    let word = rest().take_while(|c| c.is_alphanumeric() || *c == '_').count();
    let length = if word > 0 { word } else { 1 };
    if message.contains("reserved identifier") {
        let found: String = rest().take(length).collect();
        return refuse(offset, length, format!("`{found}` is a reserved word")).hint("write [\"…\"] for a key");
    }
    if message.contains("literal") {
        return refuse(offset, length, "this number is too large");
    }
    if message.contains("unescape") || message.contains("code point") {
        return refuse(offset, 1, "a `\\` in quotes begins something unknown")
            .hint("write `\\\\` for one, or put an `r` before the quotes");
    }
    if message.contains("has() macro") {
        return refuse(offset, length, "has() asks for a key, like has(json.state)")
            .hint("for another key: `\"content-type\" in headers`");
    }
    if message.contains("simple name") {
        return refuse(offset, length, "a loop takes a name for the element and what to do with it")
            .hint("write `list.all(x, x > 0)`");
    }
    let sign = ["==", "!=", "<=", ">=", "&&", "||"].into_iter().find(|sign| rest().take(2).eq(sign.chars()));
    let length = sign.map_or(length, str::len);
    let found: String = rest().take(length).collect();
    refuse(offset, length, format!("`{}` is not expected here", encode::terminal(&found)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::scan::scan;
    use super::*;

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,60}") {
            let _ = scan(&text, &|_| false).and_then(|()| parse(&text));
        }

        #[test]
        fn no_row_of_words_makes_it_panic(words in proptest::collection::vec(proptest::sample::select(vec![
            "a", "b.c", "(", ")", "[", "]", "{", "}", "==", "<", "&&", "||", "!", "-", "+", "?", ":", ",", ".", "1",
            "2.5", "'x'", "\"y\"", "in", "all", "exists", "has", "(x,", "if", "null", "r'\\'", "//", "\n", "5u", "%",
        ]), 0..30)) {
            let text = words.join(" ");
            if let Err(refused) = scan(&text, &|_| false).and_then(|()| parse(&text).map(|_| ())) {
                prop_assert!(refused.offset + refused.length <= text.chars().count() + 1, "{refused:?}");
            }
        }
    }
}
