//! Slots in a PromQL or LogQL expression: a value is a label's value inside double quotes, and nothing else.

use serde::{Deserialize, Deserializer};

use super::{FromText, Piece, Pieces, SlotError, value};
use crate::model::encode;
use crate::model::params::Params;

/// A PromQL expression whose slots stand in double-quoted label values of a selector.
///
/// In a regular expression matcher (`=~`, `!~`) the value is escaped as a literal first, so that it matches itself only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromqlTemplate {
    text: String,
    pieces: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Slot {
        name: String,
        /// It stands in the value of `=~` or `!~`.
        regex: bool,
    },
}

/// The two languages that share their strings, selectors and matchers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Promql,
    /// Filters of a pipeline compare with texts outside of braces, too: `|= "…"`, `| customer="…"`.
    Logql,
}

/// Where in an expression a character stands, as the PromQL lexer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Code,
    Comment,
    /// Inside of quotes; `value`: the last thing before them was a matcher inside of braces.
    Quoted {
        quote: char,
        escaped: bool,
        value: bool,
        regex: bool,
    },
}

struct Lexer {
    language: Language,
    state: State,
    /// Braces open a selector in PromQL, and nothing else.
    braces: usize,
    /// The last two characters of code that are not space.
    last: [char; 2],
}

impl Lexer {
    fn step(&mut self, c: char) {
        match &mut self.state {
            State::Comment => {
                if c == '\n' {
                    self.state = State::Code;
                }
            }
            State::Quoted { quote, escaped, .. } => {
                if *escaped {
                    *escaped = false;
                } else if c == '\\' && *quote != '`' {
                    *escaped = true;
                } else if c == *quote {
                    self.state = State::Code;
                    self.last = ['\0', '"'];
                }
            }
            State::Code => match c {
                '#' => self.state = State::Comment,
                '"' | '\'' | '`' => {
                    let logql = self.language == Language::Logql;
                    let matcher = matches!(self.last, [_, '='] | ['=' | '!', '~']) || logql && self.last == ['|', '~'];
                    self.state = State::Quoted {
                        quote: c,
                        escaped: false,
                        value: (self.braces > 0 || logql) && matcher,
                        regex: self.last[1] == '~',
                    };
                }
                c if c.is_whitespace() => {}
                c => {
                    match c {
                        '{' => self.braces += 1,
                        '}' => self.braces = self.braces.saturating_sub(1),
                        _ => {}
                    }
                    self.last = [self.last[1], c];
                }
            },
        }
    }
}

impl PromqlTemplate {
    /// Reads and checks a template; whether it is PromQL is for the server to say.
    ///
    /// # Errors
    /// A slot outside of a double-quoted label value; quotes that are not closed.
    pub fn parse(text: &str) -> Result<Self, SlotError> {
        PromqlTemplate::parse_as(Language::Promql, text)
    }

    fn parse_as(language: Language, text: &str) -> Result<Self, SlotError> {
        let place = match language {
            Language::Promql => "a query but in a label's value in double quotes, like {customer=\"{{ name }}\"}",
            Language::Logql => "a query but in what a filter compares with, in double quotes, like |= \"{{ name }}\"",
        };
        let mut lexer = Lexer { language, state: State::Code, braces: 0, last: ['\0', '\0'] };
        let mut parts = Vec::new();
        for piece in Pieces::parse(text)?.iter() {
            match piece {
                Piece::Literal(text) => {
                    text.chars().for_each(|c| lexer.step(c));
                    parts.push(Part::Literal(text.clone()));
                }
                Piece::Slot(name) => match lexer.state {
                    State::Quoted { quote: '"', escaped: false, value: true, regex } => {
                        parts.push(Part::Slot { name: name.clone(), regex });
                    }
                    _ => {
                        return Err(SlotError::Place { name: name.clone(), place });
                    }
                },
            }
        }
        if matches!(lexer.state, State::Quoted { .. }) {
            return Err(SlotError::Unfit("a quoted text is not closed".to_owned()));
        }
        Ok(PromqlTemplate { text: text.to_owned(), pieces: parts })
    }

    /// As it is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn params(&self) -> Vec<String> {
        let mut names = Vec::new();
        for part in &self.pieces {
            if let Part::Slot { name, .. } = part
                && !names.contains(name)
            {
                names.push(name.clone());
            }
        }
        names
    }

    /// The expression with its values.
    ///
    /// # Errors
    /// A value that is missing.
    pub fn render(&self, values: &Params) -> Result<String, SlotError> {
        let mut out = String::new();
        for part in &self.pieces {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Slot { name, regex: false } => out.push_str(&encode::promql_string(value(values, name)?)),
                Part::Slot { name, regex: true } => {
                    out.push_str(&encode::promql_string(&regex::escape(value(values, name)?)));
                }
            }
        }
        Ok(out)
    }
}

impl<'de> Deserialize<'de> for PromqlTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        FromText::read(deserializer, PromqlTemplate::parse, "a query")
    }
}

impl schemars::JsonSchema for PromqlTemplate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PromqlTemplate".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "PromQL; {{ parameters }} may stand in a label's value in double quotes"
        })
    }
}

/// A LogQL log query whose slots stand in double quotes behind a matcher: a label's value in the selector, or what a
/// filter of the pipeline compares with.
///
/// The texts of `line_format` and `label_format` are templates of their own, which a value could be read as: a query
/// with slots can't have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogqlTemplate(PromqlTemplate);

impl LogqlTemplate {
    /// Reads and checks a template; whether it is LogQL is for the server to say.
    ///
    /// # Errors
    /// A slot elsewhere than behind a matcher; quotes that are not closed.
    pub fn parse(text: &str) -> Result<Self, SlotError> {
        let template = PromqlTemplate::parse_as(Language::Logql, text)?;
        if !template.params().is_empty() && ["line_format", "label_format"].iter().any(|word| text.contains(word)) {
            return Err(SlotError::Unfit("a query with parameters can't have line_format or label_format".to_owned()));
        }
        Ok(LogqlTemplate(template))
    }

    /// As it is written.
    pub fn text(&self) -> &str {
        self.0.text()
    }

    pub fn params(&self) -> Vec<String> {
        self.0.params()
    }

    /// The query with its values.
    ///
    /// # Errors
    /// A value that is missing.
    pub fn render(&self, values: &Params) -> Result<String, SlotError> {
        self.0.render(values)
    }
}

impl<'de> Deserialize<'de> for LogqlTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        FromText::read(deserializer, LogqlTemplate::parse, "a query")
    }
}

impl schemars::JsonSchema for LogqlTemplate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LogqlTemplate".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "LogQL; {{ parameters }} may stand in double quotes behind a matcher or a filter"
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::params;
    use super::*;

    #[test]
    fn slots_stand_in_double_quoted_label_values_only() {
        for good in [
            r#"up{job="shop"}"#,
            r#"sum(rate(x{customer="{{ c }}",code=~"5.."}[5m]))"#,
            r#"x{customer = "a-{{ c }}-b"}"#,
            r#"x{customer=~"{{ c }}|other", y!~ "z{{ c }}"}"#,
            r#"x{a!="{{ c }}"} # it's a comment with " and {{"#.trim_end_matches(" and {{"),
            r#"x{a='"', b="{{ c }}"}"#,
            r#"x{a="\"", b="{{ c }}"}"#,
            r#"{"quoted.name", "quoted.label"="{{ c }}"}"#,
        ] {
            assert!(PromqlTemplate::parse(good).is_ok(), "{good}: {:?}", PromqlTemplate::parse(good));
        }
        for bad in [
            "{{ metric }}",
            "x{ {{ label }}=\"a\"}",
            "x{a={{ c }}}",
            "x{a='{{ c }}'}",
            "x{a=`{{ c }}`}",
            "x[{{ range }}]",
            r#"label_replace(x, "a", "{{ c }}", "b", "")"#,
            r#"x{"{{ c }}"="v"}"#,
            r#"x{"{{ c }}"}"#,
            r#"x{a="v","{{ c }}"}"#,
            r#"x{a="b"} == "{{ c }}""#,
            r#"x{a="b\{{ c }}"}"#,
            "x # {{ c }}",
            r#"x{a="{{ c }}"#,
        ] {
            assert!(PromqlTemplate::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn in_logql_a_filter_compares_with_a_slot() {
        for good in [
            r#"{app="{{ c }}"} |= "{{ c }}" != "x{{ c }}" |~ "a {{ c }}" !~ "{{ c }}" | logfmt | customer="{{ c }}""#,
            r#"{app="shop"} | json | order=~"{{ c }}|x" or order == "{{ c }}""#,
        ] {
            assert!(LogqlTemplate::parse(good).is_ok(), "{good}: {:?}", LogqlTemplate::parse(good));
        }
        for bad in [
            "{app=\"x\"} |= `{{ c }}`",
            "{app=\"x\"} |= {{ c }}",
            "{app=\"x\"} | pattern \"{{ c }}\"",
            "{app=\"x\"} | line_format \"{{ c }}\"",
            "{app=\"x\"} | label_format a=\"{{ c }}\"",
            "{app=\"x\"} | json | a > \"{{ c }}\"",
            "{app=\"x\"} # {{ c }}",
        ] {
            assert!(LogqlTemplate::parse(bad).is_err(), "{bad}");
        }
        let query = LogqlTemplate::parse(r#"{app="shop"} |= "{{ c }}" |~ "{{ c }}""#).unwrap();
        let rendered = query.render(&params(&[("c", "a.\"} |= \"")])).unwrap();
        assert_eq!(rendered, r#"{app="shop"} |= "a.\"} |= \"" |~ "a\\.\"\\} \\|= \"""#);
        assert_eq!(strings(&rendered), ["shop", "a.\"} |= \"", "a\\.\"\\} \\|= \""]);
    }

    #[test]
    fn a_value_in_a_regex_matches_itself_only() {
        let query = PromqlTemplate::parse(r#"x{a="{{ c }}",b=~"{{ c }}|d"}"#).unwrap();
        assert_eq!(
            query.render(&params(&[("c", r#"a.*"} or vector(1) # "#)])).unwrap(),
            r#"x{a="a.*\"} or vector(1) # ",b=~"a\\.\\*\"\\} or vector\\(1\\) \\# |d"}"#
        );
    }

    /// The contents of the double-quoted strings of an expression, unescaped as Go does.
    fn strings(query: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut chars = query.chars();
        while let Some(c) = chars.next() {
            if c != '"' {
                continue;
            }
            let mut text = String::new();
            loop {
                match chars.next().expect("a closed string") {
                    '"' => break,
                    '\\' => match chars.next().expect("an escape") {
                        'n' => text.push('\n'),
                        'r' => text.push('\r'),
                        't' => text.push('\t'),
                        'u' => {
                            let hex: String = chars.by_ref().take(4).collect();
                            text.push(char::from_u32(u32::from_str_radix(&hex, 16).unwrap()).unwrap());
                        }
                        other => text.push(other),
                    },
                    '\n' => panic!("a raw line break inside of a string"),
                    other => text.push(other),
                }
            }
            found.push(text);
        }
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn a_value_is_exactly_one_literal(value in any::<String>()) {
            let query = PromqlTemplate::parse(r#"sum(x{a="{{ c }}",b="y"}) / sum(x{a=~"{{ c }}"})"#).unwrap();
            let rendered = query.render(&params(&[("c", &value)])).unwrap();
            let found = strings(&rendered);
            prop_assert_eq!(&found[..2], &[value.clone(), "y".to_owned()]);
            prop_assert_eq!(found.len(), 3);
            let pattern = regex::Regex::new(&format!("^(?s:{})$", found[2])).unwrap();
            prop_assert!(pattern.is_match(&value));
        }
    }
}
