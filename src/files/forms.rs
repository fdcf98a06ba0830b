//! The forms in which a time is written: each is told by its first bytes, and read without a pattern.

use jiff::tz::TimeZone;

use super::timestamp::{Micros, SECOND, timestamp};

/// A time as it is written, before its zone is applied.
pub struct Written {
    /// Seconds since 1970 as the local clock shows them.
    pub local: i64,
    pub micros: i64,
    /// Seconds east of UTC, where it is written.
    pub offset: Option<i64>,
    pub end: usize,
}

/// The date and time that was read last, to the second: lines that stand together mostly share it.
#[derive(Debug, Clone, Default)]
pub struct Second {
    written: [u8; 20],
    length: usize,
    local: i64,
}

impl Second {
    /// The seconds that the first `LENGTH` bytes of `text` stand for, which `read` knows.
    fn of<const LENGTH: usize>(&mut self, text: &[u8], read: impl FnOnce() -> Option<i64>) -> Option<i64> {
        let written: &[u8; LENGTH] = text.first_chunk()?;
        if self.length != LENGTH || self.written.first_chunk() != Some(written) {
            let local = read()?;
            self.written[..LENGTH].copy_from_slice(written);
            (self.length, self.local) = (LENGTH, local);
        }
        Some(self.local)
    }

    /// Where `text` begins with this second: how many bytes it takes there, and what it is.
    pub fn begins(&self, text: &[u8]) -> Option<(usize, i64)> {
        (self.length > 0 && text.starts_with(&self.written[..self.length])).then_some((self.length, self.local))
    }
}

/// A time of which the second is known; its fraction and zone stand from `end` on.
pub fn within_second(text: &[u8], end: usize, local: i64) -> Written {
    let (micros, end) = fraction(text, end);
    let (offset, end) = zone(text, end);
    Written { local, micros, offset, end }
}

/// A date and time of any of the calendar's forms at the start of `text`.
pub fn calendar(text: &[u8], now: Micros, last: &mut Second) -> Option<Written> {
    match text.first()? {
        b'0'..=b'9' if text.get(2) == Some(&b'/') => apache(text, last),
        b'0'..=b'9' => iso(text, last),
        b'A'..=b'Z' => syslog(text, now).or_else(|| klog(text, now)).or_else(|| ctime(text)),
        _ => None,
    }
}

fn digits(text: &[u8], from: usize, count: usize) -> Option<i64> {
    let mut value = 0;
    for byte in text.get(from..from + count)? {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(byte - b'0');
    }
    Some(value)
}

/// `10:00:00`, `10:00:00.123`, `10:00:00,123456`: seconds of the day, microseconds, length.
fn clock_time(text: &[u8], from: usize) -> Option<(i64, i64, usize)> {
    if text.get(from + 2) != Some(&b':') || text.get(from + 5) != Some(&b':') {
        return None;
    }
    let (hour, minute, second) = (digits(text, from, 2)?, digits(text, from + 3, 2)?, digits(text, from + 6, 2)?);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // A leap second is the last one of its minute.
    let seconds = hour * 3_600 + minute * 60 + second.min(59);
    let (micros, end) = fraction(text, from + 8);
    Some((seconds, micros, end))
}

/// `.123`, `,123456` or nothing: microseconds, and where it ends.
fn fraction(text: &[u8], mut end: usize) -> (i64, usize) {
    let mut micros = 0;
    if matches!(text.get(end), Some(b'.' | b',')) && text.get(end + 1).is_some_and(u8::is_ascii_digit) {
        end += 1;
        let mut worth = 100_000;
        while let Some(byte) = text.get(end).filter(|byte| byte.is_ascii_digit()) {
            micros += i64::from(byte - b'0') * worth;
            worth /= 10;
            end += 1;
        }
    }
    (micros, end)
}

/// `Z`, `+01:00`, `+0100`, `+01`, ` UTC`, ` +0000`: seconds east of UTC, and where it ends.
fn zone(text: &[u8], from: usize) -> (Option<i64>, usize) {
    let (mut at, spaced) = (from, text.get(from) == Some(&b' '));
    at += usize::from(spaced);
    match text.get(at) {
        Some(b'Z' | b'z') if !text.get(at + 1).is_some_and(u8::is_ascii_alphanumeric) => (Some(0), at + 1),
        Some(b'U' | b'G') if text[at..].starts_with(b"UTC") || text[at..].starts_with(b"GMT") => (Some(0), at + 3),
        Some(sign @ (b'+' | b'-')) => {
            let Some(hours) = digits(text, at + 1, 2) else { return (None, from) };
            let colon = usize::from(text.get(at + 3) == Some(&b':'));
            let (minutes, end) = match digits(text, at + 3 + colon, 2) {
                Some(minutes) => (minutes, at + 5 + colon),
                None if spaced => return (None, from),
                None => (0, at + 3),
            };
            if hours > 18 || minutes > 59 {
                return (None, from);
            }
            let east = hours * 3_600 + minutes * 60;
            (Some(if *sign == b'-' { -east } else { east }), end)
        }
        _ => (None, from),
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar, `None` where there is no such day.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    if day < 1 || day > longest {
        return None;
    }
    // "days_from_civil" of Howard Hinnant's chrono-compatible date algorithms: years begin in March.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
}

fn month(text: &[u8]) -> Option<i64> {
    let name =
        [text.first()?.to_ascii_uppercase(), text.get(1)?.to_ascii_lowercase(), text.get(2)?.to_ascii_lowercase()];
    const NAMES: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    NAMES.chunks_exact(3).position(|known| known == name).map(|index| index as i64 + 1)
}

/// `2026-11-22T10:00:00.123Z` and its relatives.
fn iso(text: &[u8], last: &mut Second) -> Option<Written> {
    let separator = *text.get(4)?;
    if !matches!(separator, b'-' | b'/') || text.get(7) != Some(&separator) {
        return None;
    }
    if !matches!(text.get(10), Some(b'T' | b't' | b' ' | b'_')) {
        return None;
    }
    let local = last.of::<19>(text, || {
        let date = days(digits(text, 0, 4)?, digits(text, 5, 2)?, digits(text, 8, 2)?)?;
        Some(date * 86_400 + clock_time(text, 11)?.0)
    })?;
    Some(within_second(text, 19, local))
}

/// `22/Nov/2026:10:00:00 +0000`, and HAProxy's without a zone.
pub fn apache(text: &[u8], last: &mut Second) -> Option<Written> {
    if text.get(2) != Some(&b'/') || text.get(6) != Some(&b'/') || text.get(11) != Some(&b':') {
        return None;
    }
    let local = last.of::<20>(text, || {
        let date = days(digits(text, 7, 4)?, month(&text[3..])?, digits(text, 0, 2)?)?;
        Some(date * 86_400 + clock_time(text, 12)?.0)
    })?;
    Some(within_second(text, 20, local))
}

/// `Nov 22 10:00:00`, `Nov  2 10:00:00` (RFC 3164): the year is the latest in which that isn't in the future.
fn syslog(text: &[u8], now: Micros) -> Option<Written> {
    let month = month(text)?;
    if text.get(3) != Some(&b' ') {
        return None;
    }
    let day = if text.get(4) == Some(&b' ') { digits(text, 5, 1)? } else { digits(text, 4, 2)? };
    if text.get(6) != Some(&b' ') {
        return None;
    }
    let (seconds, micros, end) = clock_time(text, 7)?;
    Some(Written { local: latest(month, day, seconds, now)?, micros, offset: None, end })
}

/// `E1122 10:00:00.123456` (klog).
fn klog(text: &[u8], now: Micros) -> Option<Written> {
    if !matches!(text.first(), Some(b'I' | b'W' | b'E' | b'F')) || text.get(5) != Some(&b' ') {
        return None;
    }
    let (seconds, micros, end) = clock_time(text, 6)?;
    let local = latest(digits(text, 1, 2)?, digits(text, 3, 2)?, seconds, now)?;
    Some(Written { local, micros, offset: None, end })
}

/// `Sun Nov 22 10:00:00.123456 2026` (ctime, Apache's error log).
fn ctime(text: &[u8]) -> Option<Written> {
    if text.get(3) != Some(&b' ') || text.get(7) != Some(&b' ') || text.get(10) != Some(&b' ') {
        return None;
    }
    let month = month(text.get(4..)?)?;
    let day = if text[8] == b' ' { digits(text, 9, 1)? } else { digits(text, 8, 2)? };
    let (seconds, micros, end) = clock_time(text, 11)?;
    let year = digits(text, end + 1, 4).filter(|_| text.get(end) == Some(&b' '))?;
    Some(Written { local: days(year, month, day)? * 86_400 + seconds, micros, offset: None, end: end + 5 })
}

/// The latest such day and time that is at most a day in the future.
fn latest(month: i64, day: i64, seconds: i64, now: Micros) -> Option<i64> {
    let this_year = i64::from(timestamp(now).to_zoned(TimeZone::UTC).year());
    // Nine years reach over a century's missing leap day.
    (0..9)
        .filter_map(|back| Some(days(this_year + 1 - back, month, day)? * 86_400 + seconds))
        .find(|local| *local <= now / SECOND + 86_400)
}

/// Seconds (with a fraction), milli-, micro- or nanoseconds since 1970, told apart by their size.
pub fn epoch(text: &[u8], bare_seconds: bool) -> Option<Written> {
    let whole = text.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
    if whole == 0 {
        return None;
    }
    let end_of = |from: usize| from + text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = whole;
    if text.get(end) == Some(&b'.') {
        end = end_of(end + 1);
    }
    let exponent = matches!(text.get(end), Some(b'e' | b'E'));
    if exponent {
        end += 1;
        end += usize::from(matches!(text.get(end), Some(b'+' | b'-')));
        end = end_of(end);
    }
    if text
        .get(end)
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'/' | b':' | b'_'))
    {
        return None;
    }
    let micros = if exponent {
        let seconds: f64 = std::str::from_utf8(&text[..end]).ok()?.parse().ok()?;
        if !(1e8..1e11).contains(&seconds) {
            return None;
        }
        (seconds * 1e6) as i64
    } else {
        let fraction = text.get(whole + 1..end).unwrap_or_default();
        let (per_unit, plausible) = match whole {
            9..=10 => (SECOND, bare_seconds || fraction.len() >= 3),
            12..=13 => (1_000, true),
            15..=16 => (1, true),
            18..=19 => (0, true),
            _ => return None,
        };
        if !plausible {
            return None;
        }
        let value = digits(text, 0, whole)?;
        let mut rest = 0;
        let mut worth = per_unit;
        for byte in fraction {
            worth /= 10;
            rest += i64::from(byte - b'0') * worth;
        }
        if per_unit == 0 { value / 1_000 } else { value.checked_mul(per_unit)? + rest }
    };
    Some(Written { local: micros.div_euclid(SECOND), micros: micros.rem_euclid(SECOND), offset: Some(0), end })
}
