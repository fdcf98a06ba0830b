//! The Prometheus text format (0.0.4) and OpenMetrics (1.0), read strictly: the whole page is right, or it is refused.
//!
//! A triage can't use a page of which a part was dropped silently: the missing series may be the one that would have
//! told. So a page either comes back whole, or as a [`Fault`] with the line and column of the first thing that is
//! wrong. An error page in HTML, a page cut short and a page without a single sample are faults as well.
//!
//! Nothing is copied: names, label values and help texts point into the page; escapes are undone when they are asked
//! for. Formats: <https://prometheus.io/docs/instrumenting/exposition_formats/> and the OpenMetrics 1.0.0 specification,
//! with the quoted UTF-8 names of Prometheus 3. Wherever the two text formats differ, [`Format`] decides.

use std::borrow::Cow;
use std::ops::Range;

mod families;
mod line;
#[cfg(test)]
mod tests;

use families::Families;
pub(in crate::net) use line::number;
use line::{Line, Reader};

/// Which of the two formats a page is written in, as its content type says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4: lenient about spacing, ends with a line feed.
    Text,
    /// OpenMetrics 1.0: one way to write everything, ends with `# EOF`.
    OpenMetrics,
}

impl Format {
    /// What to send as `Accept`.
    pub const ACCEPT: &str = "text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0.5";

    /// The format that a `Content-Type` header announces.
    ///
    /// # Errors
    /// Says what the server sent instead: HTML, JSON, protobuf, a later version, nothing at all.
    pub fn of_content_type(header: Option<&str>) -> Result<Self, String> {
        let Some(header) = header else {
            return Err(
                "the answer has no content type; text/plain or application/openmetrics-text is needed".to_owned()
            );
        };
        let mut parts = header.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let version = parts
            .filter_map(|part| part.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("version"))
            .map(|(_, value)| value.trim().trim_matches('"'));
        let format = match (media.as_str(), version) {
            // 1.0.0 is 0.0.4 with quoted UTF-8 names, which are read in either.
            ("text/plain", None | Some("0.0.4" | "1.0.0")) => Format::Text,
            ("application/openmetrics-text", None | Some("0.0.1" | "1.0.0")) => Format::OpenMetrics,
            _ => {
                let shown: String = header.chars().take(80).collect();
                return Err(format!("the content type is `{shown}`, not a metrics page in a text format"));
            }
        };
        Ok(format)
    }
}

/// Bounds of one page. More than that is a fault of the sort [`What::TooMuch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole page.
    pub page: usize,
    pub samples: usize,
    /// Labels of one sample.
    pub labels: usize,
    /// Bytes of a metric's or a label's name.
    pub name: usize,
    /// Bytes of a label's value, as written.
    pub value: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { page: 16 * 1024 * 1024, samples: 100_000, labels: 64, name: 1_024, value: 16 * 1024 }
    }
}

/// The first thing that is wrong with a page, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}{}", shown(.source_line))]
pub struct Fault {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    pub what: What,
    /// The line as written, at most 120 characters of it. From outside: goes through an encoder before it is shown.
    pub source_line: String,
}

fn shown(line: &str) -> String {
    if line.is_empty() { String::new() } else { format!(": `{line}`") }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum What {
    /// It isn't in the format.
    #[error("{0}")]
    Wrong(&'static str),
    /// It breaks off before its end.
    #[error("the page is cut off: {0}")]
    Cut(&'static str),
    /// Not one sample in it.
    #[error("the page has no samples")]
    Empty,
    /// A bound was reached; what follows was not looked at.
    #[error("more than {limit} {what}")]
    TooMuch { limit: usize, what: &'static str },
}

/// The type that a metric declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Type {
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    StateSet,
    /// `untyped`, `unknown`, or no TYPE line at all.
    #[default]
    Unknown,
}

/// A name or a value as it stands on the page, possibly with escapes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Written<'a>(&'a str);

impl<'a> Written<'a> {
    /// The text that is meant, escapes undone (`\\`, `\"`, `\n`; a backslash before anything else stands for itself).
    pub fn text(self) -> Cow<'a, str> {
        if !self.0.contains('\\') {
            return Cow::Borrowed(self.0);
        }
        let mut out = String::with_capacity(self.0.len());
        let mut chars = self.0.chars();
        while let Some(c) = chars.next() {
            if c != '\\' {
                out.push(c);
                continue;
            }
            match chars.next() {
                Some('n') => out.push('\n'),
                Some(c @ ('\\' | '"')) => out.push(c),
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            }
        }
        Cow::Owned(out)
    }

    /// True where this is the text that is meant.
    pub fn is(self, text: &str) -> bool {
        if self.0.contains('\\') { self.text() == text } else { self.0 == text }
    }
}

impl std::fmt::Debug for Written<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.text())
    }
}

/// One `name="value"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label<'a> {
    pub name: Written<'a>,
    pub value: Written<'a>,
}

/// One line with a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    pub name: Written<'a>,
    labels: Range<u32>,
    /// May be NaN or infinite.
    pub value: f64,
    /// Milliseconds since 1970, where the line gives a time; always within what a timestamp can hold.
    pub timestamp_ms: Option<i64>,
    exemplar: Option<u32>,
    /// Which line, from 1.
    pub line: u32,
}

/// An example of what a counter or a bucket has counted (OpenMetrics).
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar<'a> {
    pub labels: Vec<Label<'a>>,
    pub value: f64,
    pub timestamp_ms: Option<i64>,
}

/// What HELP, TYPE and UNIT say of a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Family<'a> {
    pub name: Written<'a>,
    pub kind: Type,
    pub help: Option<Written<'a>>,
    pub unit: Option<&'a str>,
}

/// A whole page.
#[derive(Debug, Clone, PartialEq)]
pub struct Exposition<'a> {
    pub format: Format,
    /// In the order of the page. Buckets, sums, counts and quantiles are samples of their own, as on the page.
    pub samples: Vec<Sample<'a>>,
    /// Every metric with a HELP, TYPE or UNIT line.
    pub families: Vec<Family<'a>>,
    labels: Vec<Label<'a>>,
    exemplars: Vec<Exemplar<'a>>,
}

impl<'a> Exposition<'a> {
    /// The sample's labels, in the order written; their names are unique.
    pub fn labels(&self, sample: &Sample<'a>) -> &[Label<'a>] {
        self.labels.get(sample.labels.start as usize..sample.labels.end as usize).unwrap_or_default()
    }

    /// The value of one label.
    pub fn label(&self, sample: &Sample<'a>, name: &str) -> Option<Cow<'a, str>> {
        self.labels(sample).iter().find(|label| label.name.is(name)).map(|label| label.value.text())
    }

    pub fn exemplar(&self, sample: &Sample<'a>) -> Option<&Exemplar<'a>> {
        self.exemplars.get(sample.exemplar? as usize)
    }

    /// The metadata of the metric that a sample of this name belongs to, suffixes (`_total`, `_bucket`, …) considered.
    pub fn family(&self, sample_name: &str) -> Option<&Family<'a>> {
        self.families.iter().find(|family| {
            let name = family.name.text();
            sample_name.strip_prefix(&*name).is_some_and(|suffix| families::suffixes(family.kind).contains(&suffix))
                || sample_name == name
        })
    }
}

/// Reads a whole page.
///
/// # Errors
/// The first [`Fault`], or that a limit was reached.
pub fn read(page: &[u8], format: Format, limits: Limits) -> Result<Exposition<'_>, Fault> {
    let too_much = |limit, what| What::TooMuch { limit, what };
    if page.len() > limits.page {
        return Err(Fault {
            line: 1,
            column: 1,
            what: too_much(limits.page, "bytes on the page"),
            source_line: String::new(),
        });
    }
    let text = std::str::from_utf8(page).map_err(|error| {
        let (good, _) = page.split_at(error.valid_up_to());
        let line_start = memchr::memrchr(b'\n', good).map_or(0, |at| at + 1);
        let line = String::from_utf8_lossy(good.get(line_start..).unwrap_or_default()).into_owned();
        let number = memchr::memchr_iter(b'\n', good).count() + 1;
        fault(number, &line, line.len(), What::Wrong("not UTF-8"))
    })?;

    let mut out =
        Exposition { format, samples: Vec::new(), families: Vec::new(), labels: Vec::new(), exemplars: Vec::new() };
    let mut families = Families::new(format);
    let mut number = 0;
    let mut start = 0;
    let mut ended = false;
    while start < text.len() {
        number += 1;
        let end = memchr::memchr(b'\n', &text.as_bytes()[start..]).map(|length| start + length);
        let line = &text[start..end.unwrap_or(text.len())];
        let at = |(offset, what)| fault(number, line, offset, what);
        if ended {
            return Err(at((0, What::Wrong("text after `# EOF`"))));
        }
        let first_label = out.labels.len();
        let mut reader = Reader::new(line, format, &limits);
        match reader.read(&mut out.labels) {
            Ok(Line::Sample(parsed)) => {
                let labels = first_label as u32..out.labels.len() as u32;
                if out.samples.len() >= limits.samples {
                    return Err(at((0, too_much(limits.samples, "samples"))));
                }
                let own = out.labels.get(first_label..).unwrap_or_default();
                families.sample(&parsed, own).map_err(|what| at((0, What::Wrong(what))))?;
                let exemplar = parsed.exemplar.map(|exemplar| {
                    out.exemplars.push(exemplar);
                    (out.exemplars.len() - 1) as u32
                });
                let (name, value, timestamp_ms) = (parsed.name, parsed.value, parsed.timestamp_ms);
                out.samples.push(Sample { name, labels, value, timestamp_ms, exemplar, line: number as u32 });
            }
            Ok(Line::Metadata { keyword, name, rest }) => {
                families.metadata(keyword, name, rest).map_err(|what| at((0, What::Wrong(what))))?;
            }
            Ok(Line::Nothing) => {}
            Ok(Line::End) => {
                families.finish().map_err(|what| at((0, What::Wrong(what))))?;
                ended = true;
            }
            // A broken last line without its line feed is most likely only half of a line.
            Err((offset, What::Wrong(_))) if end.is_none() && looks_cut(reader.offset(), line) => {
                return Err(at((offset, What::Cut("the last line has no end"))));
            }
            Err(wrong) => return Err(at(wrong)),
        }
        match end {
            Some(end) => start = end + 1,
            None => {
                if format == Format::Text {
                    return Err(at((line.len(), What::Cut("no line feed at its end"))));
                }
                start = text.len();
            }
        }
    }
    if format == Format::OpenMetrics && !ended {
        return Err(fault(number.max(1), "", 0, What::Cut("no `# EOF` at its end")));
    }
    if out.samples.is_empty() {
        return Err(fault(number.max(1), "", 0, What::Empty));
    }
    out.families = families.into_declared();
    Ok(out)
}

fn looks_cut(offset: usize, line: &str) -> bool {
    offset >= line.len()
}

fn fault(line: usize, text: &str, offset: usize, what: What) -> Fault {
    let column = text.get(..offset).map_or(offset, |before| before.chars().count()) + 1;
    Fault { line, column, what, source_line: text.chars().take(120).collect() }
}
