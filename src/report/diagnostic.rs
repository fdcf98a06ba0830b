//! What is wrong with a file, as people read it: place, message, the line, a caret, a hint.
//!
//! Drawn by hand: the drawing crates put the place below the message, and editors, CI and `grep` look for
//! `file:line:column:` at the start of a line.

use std::fmt::Write;

use crate::model::encode;
use crate::model::source::{Diagnostic, Severity};

const BOLD: &str = "\u{1b}[1m";
const RED: &str = "\u{1b}[1;31m";
const YELLOW: &str = "\u{1b}[1;33m";
const DIM: &str = "\u{1b}[2m";
const RESET: &str = "\u{1b}[0m";

/// A diagnostic without colour, with a line break at its end:
///
/// ```text
/// checks.d/shop.yaml:9:5: unknown key `patern`
///   9 |     patern: x
///     |     ^^^^^^
/// hint: did you mean `pattern`?
/// ```
///
/// Nothing from the file can move a cursor, change a colour or forge a line.
pub fn plain(diagnostic: &Diagnostic) -> String {
    draw(diagnostic, false)
}

/// The same with colours, for a terminal.
pub fn coloured(diagnostic: &Diagnostic) -> String {
    draw(diagnostic, true)
}

/// The form in which GitHub's actions mark the line: `::error file=…,line=…,col=…::…`.
pub fn github(diagnostic: &Diagnostic) -> String {
    let escape = |text: &str| encode::terminal(text).replace('%', "%25");
    let property = |text: &str| escape(text).replace(':', "%3A").replace(',', "%2C");
    let level = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let at = &diagnostic.at;
    let mut message = escape(&diagnostic.message);
    if let Some(hint) = &diagnostic.hint {
        let _ = write!(message, "%0Ahint: {}", escape(hint));
    }
    format!("::{level} file={},line={},col={}::{message}\n", property(&at.file), at.line, at.column)
}

fn draw(diagnostic: &Diagnostic, colour: bool) -> String {
    let paint =
        |style: &'static str, text: &str| if colour { format!("{style}{text}{RESET}") } else { text.to_owned() };
    let at = &diagnostic.at;
    let (style, severity) = match diagnostic.severity {
        Severity::Error => (RED, ""),
        Severity::Warning => (YELLOW, "warning: "),
    };
    let place = encode::terminal(&format!("{at}:"));
    let message = encode::terminal(&diagnostic.message);
    let mut out = String::new();
    let _ = writeln!(out, "{} {}{message}", paint(BOLD, &place), paint(style, severity));
    if !diagnostic.source_line.is_empty() {
        let characters: Vec<char> = diagnostic.source_line.chars().collect();
        let number = at.line.to_string();
        let gutter = " ".repeat(number.len());
        let line = encode::terminal(&diagnostic.source_line);
        let _ = writeln!(out, "  {} {}", paint(DIM, &format!("{number} |")), line.trim_end());
        // An escape takes more room than the character that it stands for.
        let width = |part: &[char]| encode::terminal(&part.iter().collect::<String>()).chars().count();
        let start = at.column.saturating_sub(1) as usize;
        // What lies behind the part of a long line that is kept has no caret.
        if start <= characters.len() {
            let (before, rest) = characters.split_at(start);
            let marked = rest.split_at((at.length as usize).min(rest.len())).0;
            let carets = "^".repeat(width(marked).max(1));
            let bar = paint(DIM, &format!("{gutter} |"));
            let _ = writeln!(out, "  {bar} {}{}", " ".repeat(width(before)), paint(style, &carets));
        }
    }
    if let Some(hint) = &diagnostic.hint {
        let _ = writeln!(out, "{} {}", paint(BOLD, "hint:"), encode::terminal(hint));
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::source::Span;

    fn diagnostic(line: &str, column: u32, length: u32) -> Diagnostic {
        let at = Span { file: "checks.d/a.yaml".into(), line: 12, column, length };
        Diagnostic {
            source_line: line.to_owned(),
            ..Diagnostic::error(at, "unknown key `patsh`").hint("did you mean `paths`?")
        }
    }

    #[test]
    fn the_caret_stands_under_the_wrong_token() {
        assert_eq!(
            plain(&diagnostic("  log_file: { patsh: [x] }", 15, 5)),
            "checks.d/a.yaml:12:15: unknown key `patsh`\n  \
               12 |   log_file: { patsh: [x] }\n     \
                  |               ^^^^^\n\
             hint: did you mean `paths`?\n"
        );
    }

    #[test]
    fn what_could_play_tricks_is_shown_escaped_and_the_caret_keeps_its_place() {
        let shown = plain(&diagnostic("a\u{1b}[2J: \u{202e}x", 8, 1));
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[1], "  12 | a\\u{1b}[2J: \\u{202e}x");
        assert_eq!(lines[2].find('^'), lines[1].find("\\u{202e}"));
    }

    #[test]
    fn a_place_behind_the_part_that_is_kept_has_no_caret() {
        assert!(!plain(&diagnostic("short", 300, 4)).contains('^'));
        assert!(plain(&diagnostic("short", 6, 4)).contains("|      ^\n"));
    }

    #[test]
    fn warnings_say_so_without_colour_and_github_gets_its_own_form() {
        let mut warning = diagnostic("x", 1, 1);
        warning.severity = Severity::Warning;
        assert!(plain(&warning).starts_with("checks.d/a.yaml:12:1: warning: unknown"));
        assert_eq!(
            github(&warning),
            "::warning file=checks.d/a.yaml,line=12,col=1::unknown key `patsh`%0Ahint: did you mean `paths`?\n"
        );
    }

    proptest! {
        #[test]
        fn colours_are_all_that_is_added_and_nothing_outside_adds_any(
            line in "\\PC{0,40}|.{0,40}", message in ".{0,30}", column in 1u32..60, length in 1u32..60,
        ) {
            let mut diagnostic = diagnostic(&line, column, length);
            diagnostic.message = message;
            let (plain, mut coloured) = (plain(&diagnostic), coloured(&diagnostic));
            prop_assert!(plain.chars().all(|c| c == '\n' || !encode::is_unprintable(c)));
            prop_assert!(plain.lines().count() <= 4);
            for style in [BOLD, RED, YELLOW, DIM, RESET] {
                coloured = coloured.replace(style, "");
            }
            prop_assert_eq!(plain, coloured);
        }
    }
}
