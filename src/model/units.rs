//! Durations and sizes as people write them: `500ms`, `5m`, `1 MiB`. A bare number is an error.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration that is written with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

/// A number of bytes that is written with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

/// The longest duration that can be declared: 400 days.
pub const LONGEST: Duration = Duration::from_secs(400 * 86_400);

/// Reads `500ms`, `1.5s`, `5m`, `1h30m`, `2d`, `1w`.
///
/// # Errors
/// Says what is wrong in a few words: no unit, unknown unit, negative, zero-length text, too long.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("a duration is missing (write it like `5s`)".to_owned());
    }
    if text.starts_with('-') {
        return Err(format!("a duration can't be negative: `{text}` (write it like `5s`)"));
    }
    let mut total = 0.0_f64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let number: f64 =
            number.parse().map_err(|_| format!("not a duration: `{text}` (write it like `500ms`, `5s`, `1h30m`)"))?;
        let tail = tail.trim_start();
        let letters = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at(letters);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
            "h" | "hour" | "hours" => 3_600.0,
            "d" | "day" | "days" => 86_400.0,
            "w" | "week" | "weeks" => 604_800.0,
            "" => return Err(format!("`{text}` has no unit (write `{text}s` for seconds)")),
            other => return Err(format!("unknown unit `{other}` in `{text}` (ms, s, m, h, d, w)")),
        };
        total += number * seconds;
        rest = next.trim_start();
    }
    if total > LONGEST.as_secs_f64() {
        return Err(format!("`{text}` is longer than 400 days (write `400d` at most)"));
    }
    Ok(Duration::from_secs_f64(total))
}

/// Reads `512 B`, `64 KiB`, `1 MiB`, `2GB`.
///
/// # Errors
/// Says what is wrong in a few words: no unit, unknown unit, negative, too large.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| format!("not a size: `{text}` (write it like `64 KiB`, `1 MiB`)"))?;
    let factor: f64 = match unit.trim() {
        "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        "" => return Err(format!("`{text}` has no unit (write `{text} B` for bytes)")),
        other => return Err(format!("unknown unit `{other}` in `{text}` (B, KiB, MiB, GiB)")),
    };
    let bytes = number * factor;
    if bytes > 1e15 {
        return Err(format!("`{text}` is too large (1 PB at most)"));
    }
    Ok(bytes as u64)
}

/// A duration as a person reads it: `310 ms`, `1.2 s`, `12 m`, `3 h 58 m`, `2 d 4 h`.
pub fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 0.001 {
        return format!("{} µs", duration.as_micros());
    }
    if seconds < 1.0 {
        return format!("{} ms", duration.as_millis());
    }
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = duration.as_secs();
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| {
        if small == 0 { format!("{large} {large_unit}") } else { format!("{large} {large_unit} {small} {small_unit}") }
    };
    if whole < 3_600 {
        two(whole / 60, "m", whole % 60, "s")
    } else if whole < 86_400 {
        two(whole / 3_600, "h", whole % 3_600 / 60, "m")
    } else {
        two(whole / 86_400, "d", whole % 86_400 / 3_600, "h")
    }
}

/// A number of bytes as a person reads it.
pub fn show_size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

struct TextOf<T>(fn(&str) -> Result<T, String>, &'static str);

impl<T> serde::de::Visitor<'_> for TextOf<T> {
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.1)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextOf(parse_duration, "a duration with its unit, like `5s`")).map(Span)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextOf(parse_size, "a size with its unit, like `1 MiB`")).map(Size)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&show_duration(self.0))
    }
}

impl schemars::JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": r"^([0-9.]+\s*(ns|us|µs|ms|s|m|h|d|w)\s*)+$" })
    }
}

impl schemars::JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": r"^[0-9.]+\s*(B|kB|KB|MB|GB|KiB|MiB|GiB)$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit() {
        for (text, millis) in
            [("500ms", 500), ("5s", 5_000), ("1.5s", 1_500), ("5m", 300_000), ("1h30m", 5_400_000), ("1 d", 86_400_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for (text, part) in [
            ("10", "no unit"),
            ("", "missing"),
            ("-5s", "negative"),
            ("5x", "unknown unit"),
            ("abc", "not a duration"),
            ("999999d", "400 days"),
            ("1..5s", "not a duration"),
        ] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_are_read_with_their_unit() {
        assert_eq!(parse_size("1 MiB"), Ok(1_048_576));
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("12 B"), Ok(12));
        assert!(parse_size("12").unwrap_err().contains("no unit"));
        assert!(parse_size("x").unwrap_err().contains("not a size"));
    }

    #[test]
    fn durations_are_shown_in_two_units_at_most() {
        for (millis, shown) in
            [(310, "310 ms"), (1_240, "1.2 s"), (720_000, "12 m"), (14_280_000, "3 h 58 m"), (187_200_000, "2 d 4 h")]
        {
            assert_eq!(show_duration(Duration::from_millis(millis)), shown);
        }
    }
}
