//! What a Nagios plugin prints: a text, performance data, and the ranges of its thresholds. Pure.
//!
//! Formats: the Monitoring Plugins Development Guidelines, "Plugin Output for Nagios", "Performance data" and "Threshold
//! and Ranges" <https://www.monitoring-plugins.org/doc/guidelines.html>.

use std::collections::BTreeMap;

use crate::model::value::Value;

/// The most entries of performance data.
const ENTRIES: usize = 1_000;

/// What was printed, taken apart.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Output {
    /// The first line without its performance data.
    pub text: String,
    /// The other lines without theirs.
    pub long: String,
    pub performance: BTreeMap<String, Entry>,
    /// Pieces that could not be read.
    pub unread: Vec<String>,
}

/// One `'label'=value[unit];[warn];[crit];[min];[max]`, in base units: seconds, bytes; a share in percent stays one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// `None` for `U`: the plugin could not tell.
    pub value: Option<f64>,
    /// `s`, `B`, `%`, `c` (a counter), or none.
    pub unit: &'static str,
    pub warn: Option<Range>,
    pub crit: Option<Range>,
    pub min: Option<f64>,
    pub max: Option<f64>,
}

impl Output {
    pub fn read(printed: &str) -> Self {
        let mut out = Output::default();
        let mut lines = printed.lines();
        let first = lines.next().unwrap_or_default();
        let (text, data) = first.split_once('|').unwrap_or((first, ""));
        out.text = text.trim().to_owned();
        let mut data = data.to_owned();
        let mut long = Vec::new();
        let mut in_data = false;
        for line in lines {
            if in_data {
                data.push(' ');
                data.push_str(line);
                continue;
            }
            match line.split_once('|') {
                Some((text, first_data)) => {
                    long.push(text.trim_end());
                    data.push(' ');
                    data.push_str(first_data);
                    in_data = true;
                }
                None => long.push(line.trim_end()),
            }
        }
        out.long = long.join("\n").trim().to_owned();
        out.read_performance(&data);
        out
    }

    fn read_performance(&mut self, data: &str) {
        let mut rest = data.trim_start();
        while !rest.is_empty() {
            let (piece, after) = split_piece(rest);
            match entry(piece) {
                Some((label, entry)) if self.performance.len() < ENTRIES => {
                    self.performance.insert(label, entry);
                }
                _ => self.unread.push(piece.chars().take(60).collect()),
            }
            rest = after.trim_start();
        }
    }

    /// The performance data as a measure.
    pub fn measure(&self) -> Value {
        Value::Map(self.performance.iter().map(|(label, entry)| (label.clone(), entry.measure())).collect())
    }
}

/// The piece up to the next space that isn't inside of single quotes.
fn split_piece(text: &str) -> (&str, &str) {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => return text.split_at(at),
            _ => {}
        }
    }
    (text, "")
}

fn entry(piece: &str) -> Option<(String, Entry)> {
    let (label, fields) = match piece.strip_prefix('\'') {
        Some(quoted) => {
            // A quote inside of quotes is doubled; what follows the label is `'=`.
            let end = quoted.rmatch_indices("'=").map(|(at, _)| at).find(|at| !quoted[at + 2..].contains('\''))?;
            (quoted[..end].replace("''", "'"), &quoted[end + 2..])
        }
        None => {
            let (label, fields) = piece.split_once('=')?;
            (label.to_owned(), fields)
        }
    };
    if label.is_empty() || fields.contains('=') {
        return None;
    }
    let mut fields = fields.split(';');
    let value = fields.next()?;
    let digits = value.find(|c: char| !matches!(c, '0'..='9' | '.' | '-' | '+')).unwrap_or(value.len());
    // `1e3` is written by some; the letter then belongs to the number.
    let digits = match value.get(digits..).map(str::as_bytes) {
        Some([b'e' | b'E', after @ ..]) if after.iter().any(u8::is_ascii_digit) => {
            let tail = &value[digits + 1..];
            digits + 1 + tail.find(|c: char| !matches!(c, '0'..='9' | '-' | '+')).unwrap_or(tail.len())
        }
        _ => digits,
    };
    let (factor, unit, value) = match value {
        "U" => (1.0, "", None),
        _ => {
            let (factor, unit) = unit(&value[digits..])?;
            (factor, unit, Some(number(&value[..digits])? * factor))
        }
    };
    let range = |field: Option<&str>| match field.map(str::trim) {
        None | Some("") => Some(None),
        Some(text) => Range::parse(text).map(|range| Some(range.scaled(factor))),
    };
    let (warn, crit) = (range(fields.next())?, range(fields.next())?);
    let bound = |field: Option<&str>| match field.map(str::trim) {
        None | Some("") => Some(None),
        Some(text) => number(text).map(|value| Some(value * factor)),
    };
    let (min, max) = (bound(fields.next())?, bound(fields.next())?);
    if fields.next().is_some_and(|more| !more.trim().is_empty()) {
        return None;
    }
    Some((label, Entry { value, unit, warn, crit, min, max }))
}

/// A finite number as plugins write it.
fn number(text: &str) -> Option<f64> {
    let first = text.trim_start_matches(['-', '+']).as_bytes().first()?;
    if !first.is_ascii_digit() && *first != b'.' {
        return None; // `inf` and `nan` are numbers to Rust
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// What a unit counts in base units. Multiples of bytes are those of 1,024, as monitoring-plugins mean them.
fn unit(written: &str) -> Option<(f64, &'static str)> {
    const KIB: f64 = 1_024.0;
    Some(match written {
        "" => (1.0, ""),
        "s" => (1.0, "s"),
        "ms" => (1e-3, "s"),
        "us" | "µs" => (1e-6, "s"),
        "ns" => (1e-9, "s"),
        "%" => (1.0, "%"),
        "c" => (1.0, "c"),
        "B" => (1.0, "B"),
        "KB" | "kB" | "KiB" => (KIB, "B"),
        "MB" | "MiB" => (KIB * KIB, "B"),
        "GB" | "GiB" => (KIB * KIB * KIB, "B"),
        "TB" | "TiB" => (KIB * KIB * KIB * KIB, "B"),
        "PB" | "PiB" => (KIB * KIB * KIB * KIB * KIB, "B"),
        _ => return None,
    })
}

impl Entry {
    fn measure(&self) -> Value {
        let mut map = BTreeMap::new();
        let mut set = |name: &str, value: Value| map.insert(name.to_owned(), value);
        set("unit", self.unit.into());
        if let Some(value) = self.value {
            set("value", value.into());
        }
        for (name, breached, range) in [("warn", "warn_breached", &self.warn), ("crit", "crit_breached", &self.crit)] {
            let Some(range) = range else { continue };
            if range.high.is_finite() {
                set(name, range.high.into());
            }
            if let Some(value) = self.value {
                set(breached, range.alerts(value).into());
            }
        }
        if let Some(min) = self.min {
            set("min", min.into());
        }
        if let Some(max) = self.max {
            set("max", max.into());
        }
        Value::Map(map)
    }
}

/// When a threshold alerts: `[@]start:end`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    pub low: f64,
    pub high: f64,
    /// `@`: alerts inside of it and not outside.
    pub inside: bool,
}

impl Range {
    /// Reads `6`, `:5.75`, `10:`, `~:0`, `-7:23`, `@1:1`; `2:1` is none, since a range doesn't run backwards.
    pub fn parse(text: &str) -> Option<Self> {
        let (inside, text) = text.strip_prefix('@').map_or((false, text), |text| (true, text));
        let (low, high) = match text.split_once(':') {
            None => (0.0, number(text)?),
            Some((low, high)) => {
                let low = match low {
                    "" => 0.0,
                    "~" => f64::NEG_INFINITY,
                    low => number(low)?,
                };
                let high = if high.is_empty() { f64::INFINITY } else { number(high)? };
                (low, high)
            }
        };
        (low <= high).then_some(Range { low, high, inside })
    }

    /// True where this value is one to alert on. Both ends belong to the range.
    pub fn alerts(&self, value: f64) -> bool {
        let within = self.low <= value && value <= self.high;
        within == self.inside
    }

    fn scaled(self, factor: f64) -> Self {
        Range { low: self.low * factor, high: self.high * factor, ..self }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_those_of_the_guidelines() {
        const INF: f64 = f64::INFINITY;
        for (text, expected) in [
            ("6", Some((0.0, 6.0, false))),
            ("0", Some((0.0, 0.0, false))),
            (":5.75", Some((0.0, 5.75, false))),
            ("10:", Some((10.0, INF, false))),
            ("~:0", Some((-INF, 0.0, false))),
            ("~:", Some((-INF, INF, false))),
            ("-7:23", Some((-7.0, 23.0, false))),
            ("@1:1", Some((1.0, 1.0, true))),
            ("@0:657.8210567", Some((0.0, 657.821_056_7, true))),
            ("@32", Some((0.0, 32.0, true))),
            ("1:1", Some((1.0, 1.0, false))),
            ("-1:1", Some((-1.0, 1.0, false))),
            ("1e3", Some((0.0, 1_000.0, false))),
            ("123456789012345:", Some((123_456_789_012_345.0, INF, false))),
            ("2:1", None),
            ("-1", None),
            ("1:~", None),
            ("@@1", None),
            ("a", None),
            ("", None),
            ("nan", None),
            ("inf:", None),
            ("1:2:3", None),
            ("1e999", None),
        ] {
            let found = Range::parse(text).map(|range| (range.low, range.high, range.inside));
            assert_eq!(found, expected, "{text}");
        }
        for (range, value, alerts) in [
            ("10", 10.0, false),
            ("10", 10.1, true),
            ("10", -0.1, true),
            ("10:", 9.9, true),
            ("10:", 1e9, false),
            ("~:10", -1e9, false),
            ("10:20", 20.0, false),
            ("10:20", 20.1, true),
            ("@10:20", 20.0, true),
            ("@10:20", 9.0, false),
            ("@1:1", 1.0, true),
            ("~:", 5.0, false),
        ] {
            assert_eq!(Range::parse(range).unwrap().alerts(value), alerts, "{range} {value}");
        }
    }

    fn values(printed: &str) -> Vec<(String, Option<f64>)> {
        Output::read(printed).performance.into_iter().map(|(label, entry)| (label, entry.value)).collect()
    }

    #[test]
    fn performance_data_is_read_in_base_units() {
        let number = |label: &str, value: f64| (label.to_owned(), Some(value));
        for (data, expected) in [
            ("time=0.004s;;;0.000 size=612B;;;0", vec![number("size", 612.0), number("time", 0.004)]),
            ("/=2643MB;5948;5958;0;5968", vec![number("/", 2_643.0 * 1_048_576.0)]),
            ("rta=0.06ms;100;500;0 pl=0%;20;60;0", vec![number("pl", 0.0), number("rta", 0.000_06)]),
            ("'a b'=1 'it''s'=2 'a=b'=3", vec![number("a b", 1.0), number("a=b", 3.0), number("it's", 2.0)]),
            ("load1=0.5;~:5;@10:20", vec![number("load1", 0.5)]),
            ("users=3c", vec![number("users", 3.0)]),
            ("x=-1.5e3s", vec![number("x", -1_500.0)]),
            ("x=U;1;2", vec![("x".to_owned(), None)]),
            ("x=1;;;;", vec![number("x", 1.0)]),
            ("", vec![]),
        ] {
            assert_eq!(values(&format!("OK | {data}")), expected, "{data}");
            assert!(Output::read(&format!("OK | {data}")).unread.is_empty(), "{data}");
        }
        let output = Output::read("OK | rta=60ms;100;@200:500;0;5000");
        let entry = &output.performance["rta"];
        assert_eq!((entry.unit, entry.min, entry.max), ("s", Some(0.0), Some(5.0)));
        assert_eq!(entry.warn, Some(Range { low: 0.0, high: 0.1, inside: false }));
        assert_eq!(
            output.measure().show(200),
            r#"{"rta":{"crit":0.5,"crit_breached":false,"max":5.0,"min":0.0,"unit":"s","value":0.06,"warn":0.1,"warn_breached":false}}"#
        );
    }

    #[test]
    fn what_is_no_performance_data_is_told() {
        for piece in [
            "x=NaN",
            "x=nan",
            "x=inf",
            "x=1e999",
            "x=1,5",
            "x=",
            "x",
            "=1",
            "'x=1",
            "x=1=2",
            "x=1;2:1",
            "x=1;a",
            "x=1;;;b",
            "x=1;;;;;6",
            "x=1furlong",
            "x=--1",
            "x=0x10",
        ] {
            let output = Output::read(&format!("OK | {piece} good=1"));
            // An open quote swallows what follows.
            let good = if piece.starts_with('\'') { 0 } else { 1 };
            assert_eq!((output.performance.len(), output.unread.len()), (good, 1), "{piece}: {output:?}");
        }
        let many: Vec<String> = (0..1_010).map(|n| format!("a{n}=1")).collect();
        let output = Output::read(&format!("OK | {}", many.join(" ")));
        assert_eq!((output.performance.len(), output.unread.len()), (1_000, 10));
    }

    #[test]
    fn several_lines_are_text_until_the_second_bar() {
        let output = Output::read("DISK OK - free | /=1MB;2;3\nlong 1\nlong 2 | /boot=2MB\n/home=3MB\n/var=4MB");
        assert_eq!((output.text.as_str(), output.long.as_str()), ("DISK OK - free", "long 1\nlong 2"));
        assert_eq!(output.performance.keys().collect::<Vec<_>>(), ["/", "/boot", "/home", "/var"]);
        assert_eq!(Output::read(""), Output::default());
        assert_eq!(Output::read("\n\n").text, "");
    }

    proptest! {
        #[test]
        fn any_output_ends(printed in "(?s)([a-z'=;|: \n0-9.@~%é-]|NaN|1e999){0,80}") {
            let _ = Output::read(&printed).measure();
        }

        #[test]
        fn what_is_written_is_read_back(label in "[^\\s=|'][^=|\n\r]{0,10}[^\\s=|']", value in -1e12_f64..1e12) {
            let quoted = label.replace('\'', "''");
            let found = values(&format!("OK | '{quoted}'={value}"));
            prop_assert_eq!(found, vec![(label, Some(value))]);
        }
    }
}
