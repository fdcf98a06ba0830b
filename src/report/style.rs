//! How text looks: colour or not, Unicode or ASCII, how wide.

use crate::model::look::Outcome;
use crate::model::verdict::Decision;

/// The look of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    pub colour: bool,
    pub ascii: bool,
    /// Columns; lines are cropped to it.
    pub width: usize,
}

impl Default for Style {
    fn default() -> Self {
        Style { colour: false, ascii: false, width: 100 }
    }
}

/// A role that a piece of text plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    Good,
    Odd,
    Bad,
    Faint,
    Strong,
}

impl Style {
    /// The text in its role's colour, or as it is.
    pub fn paint(&self, paint: Paint, text: &str) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        let colour = |c: anstyle::AnsiColor| anstyle::Style::new().fg_color(Some(c.into()));
        let style = match paint {
            Paint::Good => colour(anstyle::AnsiColor::Green),
            Paint::Odd => colour(anstyle::AnsiColor::Yellow),
            Paint::Bad => colour(anstyle::AnsiColor::Red).bold(),
            Paint::Faint => anstyle::Style::new().dimmed(),
            Paint::Strong => anstyle::Style::new().bold(),
        };
        format!("{style}{text}{style:#}")
    }

    /// One character for an outcome: meaningful without colour.
    pub fn symbol(&self, outcome: Outcome) -> &'static str {
        match (outcome, self.ascii) {
            (Outcome::Good, false) => "✓",
            (Outcome::Good, true) => "+",
            (Outcome::Bad, false) => "✗",
            (Outcome::Bad, true) => "x",
            (Outcome::Odd, _) => "?",
            (Outcome::Unknown, false) => "·",
            (Outcome::Unknown, true) => ".",
            (Outcome::NotApplicable, _) => "-",
        }
    }

    pub fn paint_of(outcome: Outcome) -> Paint {
        match outcome {
            Outcome::Good => Paint::Good,
            Outcome::Odd => Paint::Odd,
            Outcome::Bad => Paint::Bad,
            Outcome::Unknown | Outcome::NotApplicable => Paint::Faint,
        }
    }

    pub fn paint_of_decision(decision: Decision) -> Paint {
        match decision {
            Decision::Issue => Paint::Bad,
            Decision::NoIssue => Paint::Good,
            Decision::Doubtful => Paint::Odd,
        }
    }

    /// What separates two facts on a line.
    pub fn dot(&self) -> &'static str {
        if self.ascii { " - " } else { " · " }
    }

    /// The text without what this style can't show, in at most `width` columns.
    pub fn crop(&self, text: &str, width: usize) -> String {
        let text = self.plain(text);
        if text.chars().count() <= width {
            return text;
        }
        let end = if self.ascii { "..." } else { "…" };
        let keep = width.saturating_sub(end.chars().count());
        text.chars().take(keep).chain(end.chars()).collect()
    }

    /// The text with typographic characters replaced where only ASCII is wanted.
    pub fn plain(&self, text: &str) -> String {
        if !self.ascii {
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '·' => out.push('-'),
                '–' | '—' => out.push('-'),
                '…' => out.push_str("..."),
                '×' => out.push('x'),
                '≤' => out.push_str("<="),
                '≥' => out.push_str(">="),
                '‹' => out.push('<'),
                '›' => out.push('>'),
                '→' => out.push_str("->"),
                'µ' => out.push('u'),
                c if c.is_ascii() => out.push(c),
                c => out.extend(c.escape_unicode()),
            }
        }
        out
    }
}
