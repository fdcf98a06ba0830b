//! The series that a PromQL expression reads, found by its words; enough to ask whether they are still being written.

/// One selector without range, offset and `@`: `http_requests_total{job="shop"}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    pub text: String,
    /// The value of `job="…"`, as written between the quotes.
    pub job: Option<String>,
}

/// What an expression reads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reads {
    /// Each once, in the order written.
    pub selectors: Vec<Selector>,
    /// It asks with `absent` or `absent_over_time` whether series are missing.
    pub asks_for_absence: bool,
}

/// Words that are followed by labels in parentheses.
const GROUPING: &[&str] = &["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Words of the language that are no series.
const WORDS: &[&str] =
    &["and", "or", "unless", "atan2", "bool", "offset", "inf", "nan", "start", "end", "anchored", "smoothed"];

/// Finds the selectors of an expression. What isn't PromQL yields something or nothing, but never fails: the server
/// says what is wrong with it.
pub fn reads(query: &str) -> Reads {
    let mut scan = Scan { text: query, at: 0 };
    let mut out = Reads::default();
    let mut add = |selector: Selector| {
        if !out.selectors.contains(&selector) {
            out.selectors.push(selector);
        }
    };
    let mut absence = false;
    while let Some(c) = scan.peek() {
        match c {
            '#' => scan.skip_to('\n'),
            '"' | '\'' | '`' => drop(scan.quoted()),
            '[' => scan.skip_brackets(),
            '{' => {
                if let Some(selector) = scan.selector("") {
                    add(selector);
                }
            }
            c if c.is_ascii_digit() || c == '.' => {
                // A number or a duration: `5m`, `1e3`, `0x1F`.
                scan.word(|c| c.is_ascii_alphanumeric() || c == '.');
            }
            c if c.is_alphabetic() || c == '_' || c == ':' => {
                let word = scan.word(|c| c.is_alphanumeric() || c == '_' || c == ':');
                let next = scan.next_visible();
                let lower = word.to_ascii_lowercase();
                if next == Some('(') || GROUPING.contains(&lower.as_str()) {
                    absence |= lower == "absent" || lower == "absent_over_time";
                    if GROUPING.contains(&lower.as_str()) && next == Some('(') {
                        scan.skip_to(')');
                    }
                } else if next == Some('{') {
                    scan.skip_spaces();
                    if let Some(selector) = scan.selector(word) {
                        add(selector);
                    }
                } else if !WORDS.contains(&lower.as_str()) && !scan.next_word_groups() {
                    add(Selector { text: word.to_owned(), job: None });
                }
            }
            _ => scan.at += c.len_utf8(),
        }
    }
    out.asks_for_absence = absence;
    out
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn word(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn skip_spaces(&mut self) {
        self.word(char::is_whitespace);
    }

    fn next_visible(&self) -> Option<char> {
        self.rest().trim_start().chars().next()
    }

    /// True where `by (` or `without (` follows: then the word before it is an aggregation.
    fn next_word_groups(&self) -> bool {
        let rest = self.rest().trim_start();
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        matches!(rest.get(..length), Some("by" | "without"))
    }

    fn skip_to(&mut self, end: char) {
        let rest = self.rest();
        self.at += rest.find(end).map_or(rest.len(), |at| at + end.len_utf8());
    }

    /// `[5m]`, `[1h:5m]`: no series in there.
    fn skip_brackets(&mut self) {
        self.skip_to(']');
    }

    /// The inside of a quoted text, from its opening quote on; `None` where it isn't closed.
    fn quoted(&mut self) -> Option<&'a str> {
        let quote = self.peek()?;
        self.at += 1;
        let start = self.at;
        while let Some(c) = self.peek() {
            if c == quote {
                let inside = self.text.get(start..self.at);
                self.at += 1;
                return inside;
            }
            self.at += c.len_utf8();
            if c == '\\' && quote != '`' {
                self.at += self.peek().map_or(0, char::len_utf8);
            }
        }
        None
    }

    /// From the opening brace to the closing one; `None` where there is none.
    fn selector(&mut self, name: &str) -> Option<Selector> {
        let start = self.at;
        let mut job = None;
        let mut label = "";
        let mut equals = false;
        self.at += 1;
        loop {
            match self.peek()? {
                '}' => {
                    self.at += 1;
                    let braces = self.text.get(start..self.at)?;
                    return Some(Selector { text: format!("{name}{braces}"), job });
                }
                '"' | '\'' | '`' => {
                    let quote = self.peek();
                    let value = self.quoted()?;
                    if label == "job" && equals && quote == Some('"') {
                        job = Some(value.to_owned());
                    }
                    (label, equals) = ("", false);
                }
                c if c.is_alphanumeric() || c == '_' => {
                    label = self.word(|c| c.is_alphanumeric() || c == '_' || c == ':');
                }
                c => {
                    // `=` alone; `!=`, `=~` and `!~` are no equality.
                    equals = c == '=' && !self.rest().starts_with("=~");
                    self.at += c.len_utf8();
                    if matches!(c, '!' | '=') && matches!(self.peek(), Some('=' | '~')) {
                        self.at += 1;
                    }
                    self.skip_spaces();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn selectors_are_found_and_nothing_else() {
        for (query, expected) in [
            ("up", vec!["up"]),
            ("up{job=\"a\"}", vec!["up{job=\"a\"}"]),
            ("sum(rate(x{code=~\"5..\"}[5m])) / sum(rate(x[5m]))", vec!["x{code=~\"5..\"}", "x"]),
            ("sum by (job, code) (rate(x_total[5m] offset 1d))", vec!["x_total"]),
            ("sum(x) by (job) > bool 5e3", vec!["x"]),
            ("topk(5, x) without(instance)", vec!["x"]),
            ("a * on(job) group_left(team) b", vec!["a", "b"]),
            ("a and b or c unless d", vec!["a", "b", "c", "d"]),
            ("vector(1) + time() + Inf", vec![]),
            ("histogram_quantile(0.9, sum by (le) (rate(h_bucket[5m])))", vec!["h_bucket"]),
            ("max_over_time(deriv(rate(x[5m])[30m:1m])[1h:])", vec!["x"]),
            ("x @ 1609746000", vec!["x"]),
            ("x @ end()", vec!["x"]),
            ("job:rate:5m{a=\"}\"}", vec!["job:rate:5m{a=\"}\"}"]),
            ("{__name__=~\"a.*\"}", vec!["{__name__=~\"a.*\"}"]),
            ("{\"my.metric\", a=\"1\"}", vec!["{\"my.metric\", a=\"1\"}"]),
            ("x {a='\\'}'} # y{z=\"\"}\n + w", vec!["x{a='\\'}'}", "w"]),
            ("label_replace(x, \"a\", \"y{z}\", \"b\", `(.*)`)", vec!["x"]),
            ("up == 0 # not ok", vec!["up"]),
            ("x + x + X", vec!["x", "X"]),
            ("0x1F + 1.5e3 + .5 + 5m", vec![]),
            ("x offset -5m", vec!["x"]),
            ("x{", vec![]),
            ("x{a=\"", vec![]),
            ("", vec![]),
        ] {
            let found: Vec<String> = reads(query).selectors.into_iter().map(|selector| selector.text).collect();
            assert_eq!(found, expected, "{query}");
        }
    }

    #[test]
    fn the_job_is_read_from_its_equality_only() {
        for (query, expected) in [
            ("x{job=\"shop\"}", Some("shop")),
            ("x{a=\"1\", job = \"sh\\\"op\" ,b!=\"2\"}", Some("sh\\\"op")),
            ("x{job=~\"shop\"}", None),
            ("x{job!=\"shop\"}", None),
            ("x{job!~\"shop\"}", None),
            ("x{notjob=\"shop\"}", None),
            ("x{a=\"job=\", b=\"shop\"}", None),
            ("x", None),
        ] {
            let found = reads(query).selectors.into_iter().next().and_then(|selector| selector.job);
            assert_eq!(found.as_deref(), expected, "{query}");
        }
    }

    #[test]
    fn questions_for_absence_are_known() {
        assert!(reads("absent(up{job=\"a\"})").asks_for_absence);
        assert!(reads("sum(absent_over_time(x[5m]))").asks_for_absence);
        assert!(!reads("absent_things + 1").asks_for_absence);
    }

    proptest! {
        #[test]
        fn any_text_ends(query in "([a-z]{0,3}|[{}()\\[\\]\"'`\\\\=~!#,\n ]|by|on|job=|ü){0,40}") {
            for selector in reads(&query).selectors {
                prop_assert!(!selector.text.is_empty());
            }
        }
    }
}
