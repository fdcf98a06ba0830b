//! One line of a metrics page: a sample, metadata, or nothing.

use super::{Exemplar, Format, Label, Limits, What, Written};

/// What a line says.
pub(super) enum Line<'a> {
    Sample(Parsed<'a>),
    Metadata {
        keyword: Keyword,
        name: Written<'a>,
        rest: &'a str,
    },
    /// `# EOF`
    End,
    /// Blank, or a comment.
    Nothing,
}

/// A sample without its labels, which go to the page's list.
pub(super) struct Parsed<'a> {
    pub name: Written<'a>,
    pub value: f64,
    pub timestamp_ms: Option<i64>,
    pub exemplar: Option<Exemplar<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Help,
    Type,
    Unit,
}

/// What is wrong, and at which byte of the line.
pub(super) type Wrong = (usize, What);

pub(super) struct Reader<'a, 'l> {
    line: &'a str,
    at: usize,
    format: Format,
    limits: &'l Limits,
}

const NAME_START: u8 = 1;
const NAME: u8 = 2;
const LABEL_START: u8 = 4;
const LABEL: u8 = 8;

/// Which bytes may stand where in a name that isn't quoted.
static CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        if b.is_ascii_alphabetic() || b == b'_' {
            table[byte] = NAME_START | NAME | LABEL_START | LABEL;
        } else if b.is_ascii_digit() {
            table[byte] = NAME | LABEL;
        } else if b == b':' {
            table[byte] = NAME_START | NAME;
        }
        byte += 1;
    }
    table
};

impl<'a, 'l> Reader<'a, 'l> {
    pub fn new(line: &'a str, format: Format, limits: &'l Limits) -> Self {
        Reader { line, at: 0, format, limits }
    }

    /// How far it has read, in bytes of the line.
    pub fn offset(&self) -> usize {
        self.at
    }

    pub fn read(&mut self, labels: &mut Vec<Label<'a>>) -> Result<Line<'a>, Wrong> {
        let text = self.format == Format::Text;
        if text {
            self.skip_spaces();
        }
        match self.peek() {
            None if text => Ok(Line::Nothing),
            None => Err(self.wrong("a blank line, which OpenMetrics doesn't allow")),
            Some(b'#') if text => self.text_comment(),
            Some(b'#') => self.open_metrics_comment(),
            Some(b'<') => Err(self.wrong("not a metrics page: it begins like HTML")),
            Some(_) => self.sample(labels).map(Line::Sample),
        }
    }

    // ---- small steps

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.line.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn skip_spaces(&mut self) {
        while let Some(b' ' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Spaces between tokens where the format is free about them.
    #[inline]
    fn skip_free_spaces(&mut self) {
        if self.format == Format::Text {
            self.skip_spaces();
        }
    }

    fn wrong(&self, what: &'static str) -> Wrong {
        (self.at, What::Wrong(what))
    }

    #[inline]
    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Wrong> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.wrong(what))
        }
    }

    #[inline]
    fn rest(&self) -> &'a str {
        self.line.get(self.at..).unwrap_or_default()
    }

    // ---- comments and metadata

    fn text_comment(&mut self) -> Result<Line<'a>, Wrong> {
        self.at += 1;
        self.skip_spaces();
        let keyword = match self.word() {
            "HELP" => Keyword::Help,
            "TYPE" => Keyword::Type,
            _ => return Ok(Line::Nothing),
        };
        self.skip_spaces();
        let name = self.metric_name()?;
        if !matches!(self.peek(), None | Some(b' ' | b'\t')) {
            return Err(self.wrong("a metric's name can't hold this character"));
        }
        self.skip_spaces();
        let rest = match keyword {
            Keyword::Type => self.rest().trim_end_matches([' ', '\t']),
            _ => self.rest(),
        };
        Ok(Line::Metadata { keyword, name, rest })
    }

    fn open_metrics_comment(&mut self) -> Result<Line<'a>, Wrong> {
        if self.line == "# EOF" {
            return Ok(Line::End);
        }
        self.at += 1;
        self.expect(b' ', "expected one space after `#`")?;
        let keyword = match self.word() {
            "HELP" => Keyword::Help,
            "TYPE" => Keyword::Type,
            "UNIT" => Keyword::Unit,
            _ => return Err(self.wrong("expected HELP, TYPE, UNIT or EOF; OpenMetrics has no other comments")),
        };
        self.expect(b' ', "expected one space and a metric's name")?;
        let name = self.metric_name()?;
        self.expect(b' ', "expected one space after the metric's name")?;
        Ok(Line::Metadata { keyword, name, rest: self.rest() })
    }

    fn word(&mut self) -> &'a str {
        let start = self.at;
        while !matches!(self.peek(), None | Some(b' ' | b'\t')) {
            self.at += 1;
        }
        self.line.get(start..self.at).unwrap_or_default()
    }

    fn metric_name(&mut self) -> Result<Written<'a>, Wrong> {
        if self.peek() == Some(b'"') {
            return self.quoted_name();
        }
        self.plain_name(NAME_START, NAME, "a metric's name can't begin with this", "expected a metric's name")
    }

    // ---- samples

    fn sample(&mut self, labels: &mut Vec<Label<'a>>) -> Result<Parsed<'a>, Wrong> {
        let mut name = None;
        if self.peek() != Some(b'{') {
            name = Some(self.plain_name(
                NAME_START,
                NAME,
                "a metric's name can't begin with this",
                "expected a metric's name",
            )?);
            let after_name = self.at;
            self.skip_free_spaces();
            if self.peek() != Some(b'{') && self.at == after_name && !matches!(self.peek(), None | Some(b' ')) {
                return Err(self.wrong("a metric's name can't hold this character"));
            }
        }
        if self.peek() == Some(b'{') {
            self.label_set(labels, &mut name)?;
        }
        let Some(name) = name else {
            return Err(self.wrong("a sample without a metric's name"));
        };
        self.space_before("expected one space before the value")?;
        let value = self.number("expected a value")?;
        let timestamp_ms = self.timestamp()?;
        let exemplar = match self.rest() {
            "" => None,
            rest if self.format == Format::OpenMetrics && rest.starts_with(" #") => Some(self.exemplar()?),
            rest if rest.trim_start_matches([' ', '\t']).starts_with('#') && self.format == Format::Text => {
                return Err(self.wrong("only OpenMetrics has exemplars"));
            }
            _ => return Err(self.wrong("unexpected text after the sample")),
        };
        Ok(Parsed { name, value, timestamp_ms, exemplar })
    }

    #[inline]
    fn space_before(&mut self, what: &'static str) -> Result<(), Wrong> {
        match self.format {
            Format::Text => {
                self.skip_spaces();
                Ok(())
            }
            Format::OpenMetrics => self.expect(b' ', what),
        }
    }

    #[inline]
    fn plain_name(
        &mut self,
        start_class: u8,
        class: u8,
        wrong_start: &'static str,
        missing: &'static str,
    ) -> Result<Written<'a>, Wrong> {
        let bytes = self.line.as_bytes();
        let start = self.at;
        match bytes.get(start) {
            Some(&byte) if CLASS[byte as usize] & start_class != 0 => {}
            Some(_) => return Err(self.wrong(wrong_start)),
            None => return Err(self.wrong(missing)),
        }
        let length = bytes[start..].iter().position(|&byte| CLASS[byte as usize] & class == 0);
        self.at = length.map_or(bytes.len(), |length| start + length);
        if self.at - start > self.limits.name {
            return Err((start, What::TooMuch { limit: self.limits.name, what: "bytes in a name" }));
        }
        Ok(Written(self.line.get(start..self.at).unwrap_or_default()))
    }

    fn quoted_name(&mut self) -> Result<Written<'a>, Wrong> {
        let start = self.at;
        let name = self.quoted(self.limits.name, "bytes in a name")?;
        if name.0.is_empty() {
            return Err((start, What::Wrong("a name is empty")));
        }
        Ok(name)
    }

    /// A string in double quotes, from its opening quote on.
    #[inline]
    fn quoted(&mut self, limit: usize, of: &'static str) -> Result<Written<'a>, Wrong> {
        self.expect(b'"', "expected a value in double quotes")?;
        let start = self.at;
        let bytes = self.line.as_bytes();
        loop {
            match bytes[self.at..].iter().position(|&byte| byte == b'"' || byte == b'\\') {
                None => {
                    self.at = bytes.len();
                    return Err(self.wrong("the closing `\"` is missing"));
                }
                Some(length) => self.at += length,
            }
            if self.at - start > limit {
                return Err((start, What::TooMuch { limit, what: of }));
            }
            if bytes[self.at] == b'"' {
                let written = Written(self.line.get(start..self.at).unwrap_or_default());
                self.at += 1;
                return Ok(written);
            }
            match bytes.get(self.at + 1) {
                None => {
                    self.at = bytes.len();
                    return Err(self.wrong("the closing `\"` is missing"));
                }
                Some(b'\\' | b'"' | b'n') => self.at += 2,
                Some(_) if self.format == Format::OpenMetrics => self.at += 1,
                Some(_) => return Err(self.wrong(r#"only `\\`, `\"` and `\n` are escapes"#)),
            }
        }
    }

    /// `{…}` from its opening brace on. A quoted string that no `=` follows is the metric's name.
    fn label_set(&mut self, labels: &mut Vec<Label<'a>>, name: &mut Option<Written<'a>>) -> Result<(), Wrong> {
        let first = labels.len();
        self.at += 1;
        self.skip_free_spaces();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let start = self.at;
            let quoted = self.peek() == Some(b'"');
            let label = if quoted {
                self.quoted_name()?
            } else {
                self.plain_name(
                    LABEL_START,
                    LABEL,
                    "a label's name can't begin with this",
                    "the closing `}` is missing",
                )?
            };
            self.skip_free_spaces();
            if quoted && matches!(self.peek(), Some(b',' | b'}')) {
                if name.is_some() || labels.len() > first {
                    return Err((start, What::Wrong("a second name for the metric")));
                }
                *name = Some(label);
            } else {
                self.expect(b'=', "expected `=` after the label's name")?;
                self.skip_free_spaces();
                let value = self.quoted(self.limits.value, "bytes in a label's value")?;
                let others = labels.get(first..).unwrap_or_default();
                if others.len() >= self.limits.labels {
                    return Err((start, What::TooMuch { limit: self.limits.labels, what: "labels of one sample" }));
                }
                if label.0 == "__name__" {
                    return Err((start, What::Wrong("the label `__name__` is reserved")));
                }
                if others.iter().any(|other| other.name.0 == label.0) {
                    return Err((start, What::Wrong("the same label twice")));
                }
                labels.push(Label { name: label, value });
            }
            self.skip_free_spaces();
            match self.peek() {
                Some(b'}') => break,
                Some(b',') => {
                    self.at += 1;
                    self.skip_free_spaces();
                    // The text format allows a comma behind the last label.
                    if self.format == Format::Text && self.peek() == Some(b'}') {
                        break;
                    }
                }
                None => return Err(self.wrong("the closing `}` is missing")),
                Some(_) => return Err(self.wrong("expected `,` or `}` after the label's value")),
            }
        }
        self.at += 1;
        Ok(())
    }

    fn number(&mut self, missing: &'static str) -> Result<f64, Wrong> {
        let start = self.at;
        let word = self.word();
        if word.is_empty() {
            return Err((start, What::Wrong(missing)));
        }
        let value = number(word).map_err(|what| (start, What::Wrong(what)))?;
        Ok(value)
    }

    fn timestamp(&mut self) -> Result<Option<i64>, Wrong> {
        match self.format {
            Format::Text => {
                self.skip_spaces();
                if matches!(self.peek(), None | Some(b'#')) {
                    return Ok(None);
                }
                let start = self.at;
                let word = self.word();
                self.skip_spaces();
                let wrong = |what| (start, What::Wrong(what));
                let ms: i64 = word.parse().map_err(|error: std::num::ParseIntError| match error.kind() {
                    std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => wrong(OUT_OF_RANGE),
                    _ => wrong("a timestamp must be a whole number of milliseconds"),
                })?;
                in_range(ms).map(Some).ok_or_else(|| wrong(OUT_OF_RANGE))
            }
            Format::OpenMetrics => {
                if self.peek() != Some(b' ') || self.rest().starts_with(" #") {
                    return Ok(None);
                }
                self.at += 1;
                let start = self.at;
                let seconds = self.number("expected a timestamp after the space")?;
                if !seconds.is_finite() {
                    return Err((start, What::Wrong("a timestamp must be a finite number of seconds")));
                }
                let ms = (seconds * 1e3).round();
                // Beyond 2^63 the cast stops at the last integer, which is out of range as well.
                in_range(ms as i64).map(Some).ok_or((start, What::Wrong(OUT_OF_RANGE)))
            }
        }
    }

    /// ` # {labels} value [timestamp]`
    fn exemplar(&mut self) -> Result<Exemplar<'a>, Wrong> {
        self.at += 2;
        self.expect(b' ', "expected one space after `#`")?;
        let start = self.at;
        if self.peek() != Some(b'{') {
            return Err(self.wrong("expected the exemplar's labels in braces"));
        }
        let mut labels = Vec::new();
        let mut no_name = None;
        self.label_set(&mut labels, &mut no_name)?;
        if no_name.is_some() {
            return Err((start, What::Wrong("an exemplar has no metric name")));
        }
        let length: usize =
            labels.iter().map(|label| label.name.text().chars().count() + label.value.text().chars().count()).sum();
        if length > 128 {
            return Err((start, What::Wrong("an exemplar's labels may have 128 characters at the most")));
        }
        self.expect(b' ', "expected one space before the exemplar's value")?;
        let value = self.number("expected the exemplar's value")?;
        let timestamp_ms = self.timestamp()?;
        if !self.rest().is_empty() {
            return Err(self.wrong("unexpected text after the exemplar"));
        }
        Ok(Exemplar { labels, value, timestamp_ms })
    }
}

const OUT_OF_RANGE: &str = "the timestamp is out of range";

/// Milliseconds that a timestamp can hold: years −9999 to 9999.
fn in_range(ms: i64) -> Option<i64> {
    jiff::Timestamp::from_millisecond(ms).is_ok().then_some(ms)
}

/// A float as both formats write it: decimal, `inf`, `infinity`, `nan` in any case; no hexadecimal, no `_`.
pub(in crate::net) fn number(word: &str) -> Result<f64, &'static str> {
    let value: f64 = word.parse().map_err(|_| "not a number")?;
    if value.is_finite() {
        return Ok(value);
    }
    let named = word.trim_start_matches(['+', '-']);
    match named.as_bytes().first() {
        Some(b'n' | b'N') if named.len() < word.len() => Err("NaN has no sign"),
        Some(b'n' | b'N' | b'i' | b'I') => Ok(value),
        _ => Err("the number is out of range"),
    }
}
