//! The times that lines of a log carry, recognised in the forms that are written in practice.
//!
//! RFC 3339 and its relatives (`2026-11-22 10:00:00,123`, `2026/11/22 10:00:00`), syslog (RFC 3164 without a year,
//! RFC 5424), Apache and nginx (`[22/Nov/2026:10:00:00 +0000]`), klog, ctime, seconds or milliseconds since 1970, and
//! the time fields of JSON and logfmt lines. A time without a zone is taken in the zone that the check declares.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::fields::{self, Raw};
use super::forms::{Second, Written, apache, calendar, epoch, within_second};

/// Microseconds since 1970-01-01T00:00:00Z.
pub type Micros = i64;

/// A second, in [`Micros`].
pub const SECOND: Micros = 1_000_000;

/// How far into a line a time is looked for that doesn't stand at its start.
const REACH: usize = 256;

/// True for a field of a JSON line that holds its time; the first readable one in the line counts.
fn is_time_field(key: &[u8]) -> bool {
    matches!(
        key,
        b"ts"
            | b"time"
            | b"timestamp"
            | b"@timestamp"
            | b"t"
            | b"@t"
            | b"datetime"
            | b"date"
            | b"start_time"
            | b"startTime"
            | b"time_local"
            | b"time_iso8601"
            | b"msec"
            | b"StartUTC"
            | b"eventTime"
            | b"asctime"
    )
}

pub fn micros(at: Timestamp) -> Micros {
    at.as_microsecond()
}

/// The instant; what lies outside of the calendar is its nearest end.
pub fn timestamp(at: Micros) -> Timestamp {
    Timestamp::from_microsecond(at).unwrap_or(if at < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// A time in a line, and the bytes that it takes there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub at: Micros,
    /// Where the time begins, its bracket included.
    pub start: usize,
    /// Behind its last byte, its bracket included.
    pub end: usize,
    /// It says its zone itself.
    pub zoned: bool,
}

/// How the times of a log are to be read.
#[derive(Debug, Clone)]
pub struct Clock {
    zone: TimeZone,
    /// Names on the way to the field of a JSON line that holds the time; empty: the usual names.
    field: Vec<String>,
    now: Micros,
}

impl Clock {
    /// `zone` is for times that don't say theirs, `now` tells the year of those that have none.
    pub fn new(zone: TimeZone, field: Option<&str>, now: Timestamp) -> Self {
        let field = field.map(|path| path.split('.').map(str::to_owned).collect()).unwrap_or_default();
        Clock { zone, field, now: micros(now) }
    }

    pub fn now(&self) -> Micros {
        self.now
    }

    /// True where the zone's clock is changed within a day of this span: local times are then ambiguous.
    pub fn changes_between(&self, from: Timestamp, to: Timestamp) -> bool {
        self.zone.to_fixed_offset().is_err()
            && self.zone.following(from).next().is_some_and(|next| next.timestamp() <= to)
    }

    /// A recogniser for one file, which learns from the file's first lines where their time stands.
    pub fn recogniser(&self, head: &[u8]) -> Recogniser {
        let mut recogniser = Recogniser {
            clock: self.clone(),
            fixed: self.zone.to_fixed_offset().ok().map(|offset| i64::from(offset.seconds())),
            elsewhere: Elsewhere::Within,
            cached: (i64::MIN, 0),
            last: Second::default(),
            opening: None,
        };
        let (mut front, mut bracket, mut within) = (0, 0, 0);
        for line in head.split(|byte| *byte == b'\n').take(200).filter(|line| !line.is_empty()) {
            front += usize::from(recogniser.front(line).is_some() || recogniser.json(line).is_some());
            bracket += usize::from(recogniser.bracket(line).is_some());
            within += usize::from(recogniser.within(line).is_some());
        }
        recogniser.elsewhere = if front > 0 && front * 2 >= bracket.max(within) {
            Elsewhere::Nowhere
        } else if bracket > 0 && bracket * 2 >= within {
            Elsewhere::Bracket
        } else {
            Elsewhere::Within
        };
        recogniser
    }
}

/// Where a line that doesn't begin with its time may have it. Learned, so that a date in a stack trace or in the
/// middle of a message doesn't pass for the time of a line where other lines begin with theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Elsewhere {
    Nowhere,
    Bracket,
    Within,
}

/// Finds the time of a line.
#[derive(Debug, Clone)]
pub struct Recogniser {
    clock: Clock,
    /// The zone's offset in seconds, where it has a single one.
    fixed: Option<i64>,
    elsewhere: Elsewhere,
    /// A quarter of an hour of local time, and its offset.
    cached: (i64, i64),
    last: Second,
    opening: Option<Opening>,
}

/// How the last JSON line began, up to the second of its time: a line that begins with the same bytes has its time at
/// the same place and of the same second.
#[derive(Debug, Clone)]
struct Opening {
    bytes: [u8; 64],
    /// Where the time begins.
    start: usize,
    /// Behind its second.
    end: usize,
    /// That second, as the local clock shows it.
    local: i64,
}

impl Opening {
    /// Of a line whose time has a second as `last` had it, not too far into the line.
    fn of(line: &[u8], start: usize, last: &Second) -> Option<Opening> {
        let (length, local) = last.begins(line.get(start..)?)?;
        let end = start + length;
        let mut bytes = [0; 64];
        bytes.get_mut(..end)?.copy_from_slice(line.get(..end)?);
        Some(Opening { bytes, start, end, local })
    }
}

impl Recogniser {
    /// The time of a line; `None` for a line that belongs to the one above.
    pub fn stamp(&mut self, line: &[u8]) -> Option<Stamp> {
        match line.first()? {
            b'{' => return self.json(line),
            b' ' | b'\t' => return None,
            _ => {}
        }
        if self.elsewhere == Elsewhere::Bracket
            && let Some(stamp) = self.bracket(line)
        {
            return Some(stamp);
        }
        self.front(line).or_else(|| if self.elsewhere == Elsewhere::Within { self.within(line) } else { None })
    }

    /// The time that a whole text stands for (a field's value).
    pub fn text(&mut self, text: &[u8]) -> Option<Micros> {
        let text = text.trim_ascii();
        let text = text.strip_prefix(b"[").unwrap_or(text);
        let written = calendar(text, self.clock.now, &mut self.last).or_else(|| epoch(text, true))?;
        Some(self.instant(&written))
    }

    fn front(&mut self, line: &[u8]) -> Option<Stamp> {
        let mut start = 0;
        if line.first() == Some(&b'<') {
            let close = line.iter().take(6).position(|byte| *byte == b'>')?;
            start = close + 1;
            if line.get(start) == Some(&b'1') && line.get(start + 1) == Some(&b' ') {
                start += 2;
            }
        }
        self.at(line, start, true)
    }

    /// A time at this very place, in brackets or not.
    fn at(&mut self, line: &[u8], start: usize, bare_seconds: bool) -> Option<Stamp> {
        let bracket = line.get(start) == Some(&b'[');
        let from = start + usize::from(bracket);
        let rest = line.get(from..)?;
        let written = calendar(rest, self.clock.now, &mut self.last).or_else(|| epoch(rest, bare_seconds))?;
        let mut end = from + written.end;
        if bracket && line.get(end) == Some(&b']') {
            end += 1;
        }
        Some(Stamp { at: self.instant(&written), start, end, zoned: written.offset.is_some() })
    }

    fn bracket(&mut self, line: &[u8]) -> Option<Stamp> {
        let reach = &line[..line.len().min(1_024)];
        for start in memchr::memchr_iter(b'[', reach) {
            if line.get(start + 1).is_some_and(u8::is_ascii_digit)
                && let Some(written) = apache(&line[start + 1..], &mut self.last)
            {
                let mut end = start + 1 + written.end;
                end += usize::from(line.get(end) == Some(&b']'));
                return Some(Stamp { at: self.instant(&written), start, end, zoned: written.offset.is_some() });
            }
        }
        None
    }

    fn within(&mut self, line: &[u8]) -> Option<Stamp> {
        if line.first().is_some_and(u8::is_ascii_whitespace) {
            return None;
        }
        for start in 1..line.len().min(REACH) {
            let byte = line[start];
            if b" \t[\"=|,(:;".contains(&line[start - 1])
                && (byte.is_ascii_digit() || byte.is_ascii_uppercase())
                && let Some(stamp) = self.at(line, start, false)
            {
                return Some(stamp);
            }
        }
        None
    }

    fn json(&mut self, line: &[u8]) -> Option<Stamp> {
        if line.first() != Some(&b'{') {
            return None;
        }
        if !self.clock.field.is_empty() {
            let path = std::mem::take(&mut self.clock.field);
            let value = fields::json_at(line, &path);
            self.clock.field = path;
            return self.json_value(line, value?);
        }
        if let Some(stamp) = self.opened_as_before(line) {
            return Some(stamp);
        }
        let mut found = None;
        fields::json_members(line, |key, value| {
            if is_time_field(key) {
                found = self.json_value(line, value);
            }
            found.is_none()
        });
        self.opening = found.and_then(|stamp| Opening::of(line, stamp.start, &self.last));
        found
    }

    /// The time of a line that begins as the line before did.
    fn opened_as_before(&mut self, line: &[u8]) -> Option<Stamp> {
        let opening = self.opening.as_ref()?;
        if line.get(..opening.end)? != &opening.bytes[..opening.end] {
            return None;
        }
        let start = opening.start;
        let written = within_second(&line[start..], opening.end - start, opening.local);
        let end = start + written.end;
        // Whatever else stands in this text is for the whole way to judge.
        (line.get(end) == Some(&b'"')).then(|| Stamp {
            at: self.instant(&written),
            start,
            end,
            zoned: written.offset.is_some(),
        })
    }

    fn json_value(&mut self, line: &[u8], value: Raw<'_>) -> Option<Stamp> {
        let (bytes, written) = match value {
            Raw::Text(text) => (text, calendar(text, self.clock.now, &mut self.last).or_else(|| epoch(text, true))?),
            Raw::Bare(text) => (text, epoch(text, true)?),
            Raw::Nested(inside) => {
                // MongoDB writes {"t":{"$date":"…"}}.
                let mut found = None;
                fields::json_members(inside, |_, value| {
                    if !matches!(value, Raw::Nested(_)) {
                        found = Some(value);
                    }
                    false
                });
                return self.json_value(line, found?);
            }
        };
        let start = bytes.as_ptr() as usize - line.as_ptr() as usize;
        Some(Stamp { at: self.instant(&written), start, end: start + written.end, zoned: written.offset.is_some() })
    }

    fn instant(&mut self, written: &Written) -> Micros {
        let offset = match (written.offset, self.fixed) {
            (Some(offset), _) | (None, Some(offset)) => offset,
            (None, None) => {
                let quarter = written.local.div_euclid(900);
                if self.cached.0 != quarter {
                    self.cached = (quarter, local_offset(&self.clock.zone, written.local));
                }
                self.cached.1
            }
        };
        (written.local - offset) * SECOND + written.micros
    }
}

/// Seconds east of UTC that a zone's clock has at this local time; of two, the earlier instant's.
fn local_offset(zone: &TimeZone, local: i64) -> i64 {
    let shown = timestamp(local.saturating_mul(SECOND)).to_zoned(TimeZone::UTC).datetime();
    let instant = |civil: DateTime| zone.to_ambiguous_timestamp(civil).compatible();
    instant(shown).map_or(0, |at| local - at.as_second())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    fn read(line: &str, zone: &str) -> Option<(String, String)> {
        let clock = Clock::new(TimeZone::get(zone).unwrap(), None, now());
        let stamp = clock.recogniser(line.as_bytes()).stamp(line.as_bytes())?;
        Some((timestamp(stamp.at).to_string(), line[stamp.end..].to_owned()))
    }

    #[test]
    fn times_are_recognised_as_they_are_written_in_practice() {
        for (line, time, rest) in [
            ("2026-11-22T10:00:00Z ok", "2026-11-22T10:00:00Z", " ok"),
            ("2026-11-22T10:00:00.123456789+01:00 ok", "2026-11-22T09:00:00.123456Z", " ok"),
            ("2026-11-22T10:00:00-0530 ok", "2026-11-22T15:30:00Z", " ok"),
            ("2026-11-22 10:00:00,123 INFO ok", "2026-11-22T10:00:00.123Z", " INFO ok"),
            ("2026-11-22 10:00:00 -12 items", "2026-11-22T10:00:00Z", " -12 items"),
            ("2026-11-22 10:00:00.5 UTC [12] LOG", "2026-11-22T10:00:00.5Z", " [12] LOG"),
            ("2026-11-22 10:00:00 +0200 x", "2026-11-22T08:00:00Z", " x"),
            ("[2026-11-22 10:00:00] x", "2026-11-22T10:00:00Z", " x"),
            ("2026/11/22 10:00:00.000123 main.go:1: x", "2026-11-22T10:00:00.000123Z", " main.go:1: x"),
            ("2026/11/22 10:00:00 [error] 12#0: x", "2026-11-22T10:00:00Z", " [error] 12#0: x"),
            ("Nov 22 10:00:00 host app[1]: x", "2026-11-22T10:00:00Z", " host app[1]: x"),
            ("Nov  2 10:00:00 host app: x", "2026-11-02T10:00:00Z", " host app: x"),
            ("Dec 31 23:59:59 host app: x", "2025-12-31T23:59:59Z", " host app: x"),
            ("Feb 29 01:00:00 host app: x", "2024-02-29T01:00:00Z", " host app: x"),
            ("<34>Nov 22 10:00:00 host su: x", "2026-11-22T10:00:00Z", " host su: x"),
            ("<165>1 2026-11-22T10:00:00.003Z h app - ID47 - x", "2026-11-22T10:00:00.003Z", " h app - ID47 - x"),
            ("E1122 10:00:00.123456    12 file.go:3] x", "2026-11-22T10:00:00.123456Z", "    12 file.go:3] x"),
            ("[Sun Nov 22 10:00:00.123456 2026] [core:error] x", "2026-11-22T10:00:00.123456Z", " [core:error] x"),
            ("1795341600.250 12 10.0.0.1 TCP_MISS", "2026-11-22T10:00:00.25Z", " 12 10.0.0.1 TCP_MISS"),
            ("1795341600250 x", "2026-11-22T10:00:00.25Z", " x"),
            (
                r#"1.1.1.1 - - [22/Nov/2026:10:00:00 +0100] "GET / HTTP/1.1" 200"#,
                "2026-11-22T09:00:00Z",
                r#" "GET / HTTP/1.1" 200"#,
            ),
            (r#"[::1] - - [22/Nov/2026:10:00:00 +0000] "GET /""#, "2026-11-22T10:00:00Z", r#" "GET /""#),
            ("host haproxy[1]: 1.1.1.1:5 [22/Nov/2026:10:00:00.123] fe be/s", "2026-11-22T10:00:00.123Z", " fe be/s"),
            (r#"time="2026-11-22T10:00:00Z" level=error"#, "2026-11-22T10:00:00Z", r#"" level=error"#),
            ("INFO 2026-11-22 10:00:00,001 app x", "2026-11-22T10:00:00.001Z", " app x"),
            ("2026-11-22T23:59:60Z leap", "2026-11-22T23:59:59Z", " leap"),
        ] {
            let read = read(line, "UTC");
            assert_eq!(read, Some((time.to_owned(), rest.to_owned())), "{line}");
        }
    }

    #[test]
    fn json_lines_carry_their_time_in_a_field() {
        for (line, time) in [
            (r#"{"ts":"2026-11-22T10:00:00.123Z","msg":"x"}"#, "2026-11-22T10:00:00.123Z"),
            (r#"{"level":"info","time":0.35,"ts":1795341600.5}"#, "2026-11-22T10:00:00.5Z"),
            (r#"{"ts":1795341600}"#, "2026-11-22T10:00:00Z"),
            (r#"{"ts":1.7953416005E9}"#, "2026-11-22T10:00:00.5Z"),
            (r#"{"time":1795341600250}"#, "2026-11-22T10:00:00.25Z"),
            (r#"{"time":1795341600250001}"#, "2026-11-22T10:00:00.250001Z"),
            (r#"{"time":1795341600250001999}"#, "2026-11-22T10:00:00.250001Z"),
            (r#"{"timestamp":"1795341600"}"#, "2026-11-22T10:00:00Z"),
            (r#"{"a":{"ts":"2020-01-01T00:00:00Z"},"@timestamp":"2026-11-22T10:00:00Z"}"#, "2026-11-22T10:00:00Z"),
            (r#"{"t":{"$date":"2026-11-22T10:00:00.000+00:00"},"s":"I"}"#, "2026-11-22T10:00:00Z"),
            (r#"{"msg":"a \" {\"ts\":\"2020-01-01T00:00:00Z\"}","ts":"2026-11-22T10:00:00Z"}"#, "2026-11-22T10:00:00Z"),
        ] {
            assert_eq!(read(line, "UTC").map(|(time, _)| time).as_deref(), Some(time), "{line}");
        }
        let clock = Clock::new(TimeZone::UTC, Some("meta.at"), now());
        let line = br#"{"ts":"2020-01-01T00:00:00Z","meta":{"at":"2026-11-22T10:00:00Z"}}"#;
        assert_eq!(clock.recogniser(line).stamp(line).unwrap().at, micros("2026-11-22T10:00:00Z".parse().unwrap()));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for line in [
            "",
            "x",
            "    at Foo.bar(Foo.java:12)",
            "2026-13-01 10:00:00 x",
            "2026-02-30 10:00:00 x",
            "2026-11-22 24:00:00",
            "2026-11-22",
            "12345 x",
            "10.0.0.1:8080 up",
            "{}",
            "{",
            r#"{"ts":"#,
            r#"{"ts":"never"}"#,
            "<34>",
            "<",
            "[",
            "\u{0}",
            "Nov 2",
            "E11",
            "Sun Nov",
            "99999999999999999999999 x",
        ] {
            assert_eq!(read(line, "UTC"), None, "{line}");
        }
    }

    #[test]
    fn a_time_without_a_zone_is_in_the_declared_one() {
        for (line, time) in [
            ("2026-11-22 10:00:00 x", "2026-11-22T09:00:00Z"),
            ("2026-07-22 10:00:00 x", "2026-07-22T08:00:00Z"),
            // The hour that the spring skips, and the one that the autumn repeats.
            ("2026-03-29 02:30:00 x", "2026-03-29T01:30:00Z"),
            ("2026-10-25 02:30:00 x", "2026-10-25T00:30:00Z"),
            ("2026-11-22T10:00:00Z x", "2026-11-22T10:00:00Z"),
        ] {
            assert_eq!(read(line, "Europe/Berlin").map(|(time, _)| time).as_deref(), Some(time), "{line}");
        }
    }

    #[test]
    fn a_date_inside_a_message_is_no_time_where_lines_begin_with_theirs() {
        let head = b"2026-11-22 10:00:00 INFO x\nCaused by: late since 2026-11-20 09:00:00\n";
        let mut recogniser = Clock::new(TimeZone::UTC, None, now()).recogniser(head);
        assert_eq!(recogniser.stamp(b"Caused by: late since 2026-11-20 09:00:00"), None);
        assert!(recogniser.stamp(b"2026-11-22 10:00:00 INFO x").is_some());
    }

    proptest! {
        #[test]
        fn the_calendar_is_jiffs(seconds in -2_000_000_000_i64..20_000_000_000) {
            let at = Timestamp::from_second(seconds).unwrap();
            let text = at.to_string();
            prop_assume!(seconds >= 0);
            prop_assert_eq!(super::super::forms::calendar(text.as_bytes(), micros(now()), &mut Second::default()).map(|written| written.local), Some(seconds));
        }

        #[test]
        fn a_line_is_read_the_same_whatever_stood_above_it(
            parts in proptest::collection::vec((0..7_usize, 0..6_usize, 0..7_usize), 1..12),
        ) {
            let openings = [r#"{"ts":""#, r#"{"a":1,"time":""#, r#"{"t":{"$date":""#, r#"{"ts":"#, "x - [", "[", ""];
            let seconds = ["2026-11-22T10:00:00", "2026-11-22T10:00:01", "2026-11-22 10:00:00", "22/Nov/2026:10:00:00",
                "1795341600", "2026-11-22T10:61:00"];
            let rests = [".123Z\"}", "Z\",\"level\":\"info\"}", "+01:00\"}", " +0100] x", ".5", "garbage\"}", " x"];
            let clock = Clock::new(TimeZone::get("Europe/Berlin").unwrap(), None, now());
            let mut one = clock.recogniser(b"");
            for (opening, second, rest) in parts {
                let line = format!("{}{}{}", openings[opening], seconds[second], rests[rest]);
                prop_assert_eq!(one.stamp(line.as_bytes()), clock.recogniser(b"").stamp(line.as_bytes()), "{}", line);
            }
        }

        #[test]
        fn nothing_makes_it_panic(line in proptest::collection::vec(any::<u8>(), 0..80), digits in "[0-9/:.\\[{\"tsTZ +-]{0,40}") {
            let clock = Clock::new(TimeZone::UTC, None, now());
            let mut recogniser = clock.recogniser(&line);
            recogniser.stamp(&line);
            recogniser.stamp(digits.as_bytes());
            recogniser.text(digits.as_bytes());
        }
    }
}
