//! What one line of a log says: its level, its message, whose it is.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::files::fields::{self, Raw};
use crate::files::scan::Entry;

/// How lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Told line by line.
    #[default]
    Auto,
    Json,
    Logfmt,
    Plain,
    Syslog,
}

/// A line's meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said<'a> {
    /// Error, fatal, critical, panic and the like.
    pub error: bool,
    pub message: Cow<'a, [u8]>,
}

/// Reads a line that carries its own time.
pub fn read<'a>(entry: &Entry<'a>, format: Format) -> Said<'a> {
    let line = entry.line;
    let end = entry.stamp.map_or(0, |stamp| stamp.end);
    match format {
        Format::Json => json(line),
        Format::Auto if line.first() == Some(&b'{') => json(line),
        Format::Logfmt => logfmt(line),
        Format::Auto if looks_like_logfmt(line) => logfmt(line),
        Format::Auto | Format::Plain | Format::Syslog => plain(line, end),
    }
}

/// Reads a line that belongs to the one above: an error only where it names one.
pub fn continuation(line: &[u8]) -> Option<Said<'_>> {
    if line.first().is_none_or(u8::is_ascii_whitespace) {
        return None;
    }
    let first = line.split(|byte| matches!(byte, b' ' | b':' | b'(')).next().unwrap_or_default();
    let named =
        [&b"Exception"[..], b"Error", b"Panic"].iter().any(|name| first.ends_with(name) && first.len() > name.len())
            || [&b"panic:"[..], b"fatal error:", b"Caused by:", b"Exception in thread"]
                .iter()
                .any(|start| line.starts_with(start))
            || tells_crash(line);
    named.then_some(Said { error: true, message: Cow::Borrowed(line) })
}

/// The value of a named field of a JSON or logfmt line; `path` is for JSON.
pub fn field<'a>(line: &'a [u8], path: &[String]) -> Option<Cow<'a, [u8]>> {
    if line.first() == Some(&b'{') {
        return fields::json_at(line, path).map(Raw::text);
    }
    let name = path.join(".");
    let mut found = None;
    fields::logfmt(line, |key, value| {
        if key == name.as_bytes() {
            found = Some(value.text());
        }
        found.is_none()
    });
    found
}

/// True for the name or number of a level that is an error, as a field beside the line says it.
pub fn is_error_level(text: &str) -> bool {
    level_value(Raw::Text(text.as_bytes())).unwrap_or(false)
}

fn looks_like_logfmt(line: &[u8]) -> bool {
    static LEVEL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("level="));
    static MESSAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("msg="));
    let reach = &line[..line.len().min(256)];
    let at_word = |at: usize| at == 0 || reach[at - 1] == b' ';
    LEVEL.find(reach).is_some_and(at_word) && MESSAGE.find(reach).is_some_and(at_word)
}

/// Collects level, message and error out of a line's fields.
#[derive(Default)]
struct Collected<'a> {
    level: Option<bool>,
    message: Option<Raw<'a>>,
    error: Option<Raw<'a>>,
}

impl<'a> Collected<'a> {
    /// False where the fields to come can't change what the line says: the first of each sort counts, and a cause only
    /// beside an error.
    fn field(&mut self, key: &'a [u8], value: Raw<'a>) -> bool {
        match key {
            b"level" | b"severity" | b"lvl" | b"levelname" | b"log.level" | b"@l" | b"loglevel" | b"log_level"
            | b"s" | b"LEVEL" => self.level = self.level.or_else(|| level_value(value)),
            b"msg" | b"message" | b"@m" | b"@mt" | b"event" | b"log" | b"MESSAGE" | b"text" => {
                self.message = self.message.or(Some(value));
            }
            b"error" | b"err" | b"exception" | b"exc_info" | b"error.message" | b"reason"
                if !matches!(value, Raw::Bare(_)) =>
            {
                self.error = self.error.or(Some(value));
            }
            _ => return true,
        }
        self.message.is_none() || self.level.is_none_or(|error| error && self.error.is_none())
    }

    fn said(self, line: &'a [u8]) -> Said<'a> {
        let error = self.level.unwrap_or(false);
        let message = match (self.message, self.error) {
            (Some(message), Some(cause)) if error => {
                let mut joined = message.text().into_owned();
                joined.extend_from_slice(b": ");
                joined.extend_from_slice(&cause.text());
                Cow::Owned(joined)
            }
            (Some(message), _) => message.text(),
            (None, Some(cause)) => cause.text(),
            (None, None) => Cow::Borrowed(line),
        };
        Said { error, message }
    }
}

fn json(line: &[u8]) -> Said<'_> {
    let mut collected = Collected::default();
    fields::json_members(line, |key, value| collected.field(key, value));
    collected.said(line)
}

fn logfmt(line: &[u8]) -> Said<'_> {
    let mut collected = Collected::default();
    fields::logfmt(line, |key, value| {
        // Without quotes `err=timeout` is a text, too.
        let value = if let Raw::Bare(text) = value { Raw::Text(text) } else { value };
        collected.field(key, value)
    });
    collected.said(line)
}

/// A level as a field says it: a name, a number of pino or bunyan (50 is an error), or of syslog (3 and below).
fn level_value(value: Raw<'_>) -> Option<bool> {
    match value {
        Raw::Text(text) => {
            let letter = || (text.len() == 1).then(|| matches!(text[0], b'E' | b'F' | b'C' | b'e' | b'f' | b'c'));
            level_word(text).or_else(|| value.number().map(level_number)).or_else(letter)
        }
        Raw::Bare(_) => value.number().map(level_number),
        Raw::Nested(_) => None,
    }
}

fn level_number(number: f64) -> bool {
    number >= 50.0 || (0.0..=3.0).contains(&number)
}

/// True for a level that is an error, false for a lesser one, `None` for any other word.
fn level_word(word: &[u8]) -> Option<bool> {
    const ERRORS: [&[u8]; 14] = [
        b"error",
        b"err",
        b"eror",
        b"fatal",
        b"critical",
        b"crit",
        b"panic",
        b"severe",
        b"emerg",
        b"emergency",
        b"alert",
        b"dpanic",
        b"failure",
        b"exception",
    ];
    const OTHERS: [&[u8]; 12] = [
        b"info",
        b"warn",
        b"warning",
        b"debug",
        b"trace",
        b"notice",
        b"informational",
        b"information",
        b"verbose",
        b"fine",
        b"dbg",
        b"inf",
    ];
    match word {
        // Nearly every line has one of these.
        b"info" | b"INFO" | b"debug" | b"DEBUG" | b"warn" | b"WARN" => return Some(false),
        b"error" | b"ERROR" => return Some(true),
        _ if !(3..=13).contains(&word.len()) => return None,
        _ => {}
    }
    let is = |known: &&&[u8]| word.eq_ignore_ascii_case(known);
    if ERRORS.iter().any(|known| is(&known)) {
        return Some(true);
    }
    OTHERS.iter().any(|known| is(&known)).then_some(false)
}

fn tells_crash(text: &[u8]) -> bool {
    static SIGNS: LazyLock<[Finder<'static>; 3]> = LazyLock::new(|| {
        [
            Finder::new("panicked at"),
            Finder::new("Traceback (most recent call last)"),
            Finder::new("Segmentation fault"),
        ]
    });
    SIGNS.iter().any(|sign| sign.find(text).is_some())
}

fn plain(line: &[u8], end: usize) -> Said<'_> {
    let message = line.get(end..).unwrap_or_default().trim_ascii();
    let error = priority(line).or_else(|| klog(line)).or_else(|| level_in(message)).unwrap_or(false)
        || tells_crash(&message[..message.len().min(1_024)]);
    Said { error, message: Cow::Borrowed(message) }
}

/// The severity of a syslog line: the priority's lowest three bits, 3 and below are errors (RFC 5424, 6.2.1).
fn priority(line: &[u8]) -> Option<bool> {
    let rest = line.strip_prefix(b"<")?;
    let length = rest.iter().take(4).position(|byte| *byte == b'>')?;
    let number: u16 = std::str::from_utf8(&rest[..length]).ok()?.parse().ok()?;
    Some(number % 8 <= 3)
}

fn klog(line: &[u8]) -> Option<bool> {
    let fits = line.len() > 10 && line[1..5].iter().all(u8::is_ascii_digit) && line[5] == b' ' && line[8] == b':';
    match line.first()? {
        b'E' | b'F' if fits => Some(true),
        b'I' | b'W' if fits => Some(false),
        _ => None,
    }
}

/// The level among the first words of a message: in capitals anywhere, otherwise only in brackets, before a colon or
/// behind `level=`. The first level counts: "INFO 0 ERRORS" is none.
fn level_in(message: &[u8]) -> Option<bool> {
    let reach = &message[..message.len().min(160)];
    let mut at = 0;
    for _ in 0..16 {
        at += reach[at..].iter().position(u8::is_ascii_alphabetic)?;
        let length = reach[at..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let word = &reach[at..at + length];
        if let Some(error) = level_word(word) {
            let before = at.checked_sub(1).map_or(b' ', |before| reach[before]);
            let after = reach.get(at + length).copied().unwrap_or(b' ');
            let capitals = word.iter().all(u8::is_ascii_uppercase) && !matches!(before, b'_' | b'-' | b'/' | b'.');
            let enclosed =
                matches!((before, after), (b'[', b']' | b':' | b' ') | (b'<', b'>') | (b'(', b')') | (_, b':'))
                    || matches!((before, after), (b':', b']'));
            let keyed = before == b'=' && reach[..at].ends_with(b"level=");
            if capitals && !matches!(after, b'_' | b'-' | b'/' | b'=') || enclosed || keyed {
                return Some(error);
            }
        }
        at += length;
        if at >= reach.len() {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::files::timestamp::Clock;

    fn said(line: &str) -> (bool, String) {
        let clock = Clock::new(TimeZone::UTC, None, "2026-11-22T12:00:00Z".parse().unwrap());
        let stamp = clock.recogniser(line.as_bytes()).stamp(line.as_bytes());
        let entry = Entry { line: line.as_bytes(), at: 0, stamp, cut: false, ended: true };
        let said = read(&entry, Format::Auto);
        (said.error, String::from_utf8_lossy(&said.message).into_owned())
    }

    #[test]
    fn level_and_message_are_read_in_every_form() {
        for (line, error, message) in [
            (r#"{"ts":"2026-11-22T10:00:00Z","level":"error","msg":"pay failed","customer":"a"}"#, true, "pay failed"),
            (
                r#"{"ts":1795341600,"level":"ERROR","msg":"pay failed","error":"refused \"x\""}"#,
                true,
                "pay failed: refused \"x\"",
            ),
            (r#"{"level":30,"time":1795341600000,"msg":"fine","error":"ignored"}"#, false, "fine"),
            (r#"{"level":50,"time":1795341600000,"msg":"bad"}"#, true, "bad"),
            (r#"{"level":"info","msg":"fine","level":"error","msg":"bad"}"#, false, "fine"),
            (r#"{"msg":"bad","level":"error","customer":"a","err":"late"}"#, true, "bad: late"),
            (r#"{"severity":"CRITICAL","message":"bad","timestamp":"2026-11-22T10:00:00Z"}"#, true, "bad"),
            (r#"{"t":{"$date":"2026-11-22T10:00:00Z"},"s":"E","msg":"bad"}"#, true, "bad"),
            (r#"time="2026-11-22T10:00:00Z" level=error msg="pay failed" err=timeout"#, true, "pay failed: timeout"),
            (r#"time="2026-11-22T10:00:00Z" level=info msg="0 ERRORS""#, false, "0 ERRORS"),
            ("2026-11-22 10:00:00,123 ERROR [main] pay failed", true, "ERROR [main] pay failed"),
            ("2026-11-22 10:00:00,123 INFO done with 0 ERROR", false, "INFO done with 0 ERROR"),
            ("2026-11-22 10:00:00 [error] 12#0: upstream", true, "[error] 12#0: upstream"),
            ("2026-11-22 10:00:00 error: no such thing", true, "error: no such thing"),
            ("2026-11-22 10:00:00 no error here, all fine", false, "no error here, all fine"),
            ("2026-11-22 10:00:00 ERROR_CODE=7 ok", false, "ERROR_CODE=7 ok"),
            (
                "2026-11-22T10:00:00Z thread 'main' panicked at src/main.rs:1",
                true,
                "thread 'main' panicked at src/main.rs:1",
            ),
            ("[Sun Nov 22 10:00:00.1 2026] [core:error] [pid 1] x", true, "[core:error] [pid 1] x"),
            ("<11>Nov 22 10:00:00 host app: x", true, "host app: x"),
            ("<14>Nov 22 10:00:00 host app: x", false, "host app: x"),
            ("E1122 10:00:00.123456 12 file.go:3] x", true, "12 file.go:3] x"),
            ("W1122 10:00:00.123456 12 file.go:3] x", false, "12 file.go:3] x"),
        ] {
            assert_eq!(said(line), (error, message.to_owned()), "{line}");
        }
    }

    #[test]
    fn a_line_that_belongs_to_another_is_an_error_only_where_it_names_one() {
        for (line, error) in [
            ("java.lang.NullPointerException: oops", true),
            ("ConnectionError: refused", true),
            ("panic: runtime error: index out of range", true),
            ("Caused by: java.sql.SQLException: x", true),
            ("thread 'main' panicked at src/main.rs:3:5:", true),
            ("\tat com.shop.Foo(Foo.java:3)", false),
            ("    raise ConnectionError()", false),
            ("Error", false),
            ("plain text", false),
            ("", false),
        ] {
            assert_eq!(continuation(line.as_bytes()).is_some(), error, "{line}");
        }
    }
}
