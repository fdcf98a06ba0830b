//! How the shop writes its two logs: an access log as nginx writes it, and an application log in JSON lines.

use std::borrow::Cow;
use std::io::Write as _;

use super::past::HOUR;

/// A request that was answered.
#[derive(Debug, Clone)]
pub struct Served {
    pub customer: Option<&'static str>,
    pub method: Cow<'static, str>,
    /// Path and query, as they were sent.
    pub target: Cow<'static, str>,
    pub status: u16,
    /// Of the body.
    pub bytes: u64,
    pub agent: Cow<'static, str>,
    pub seconds: f64,
}

/// How much a line of the application log matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Info,
    Warn,
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// Something that the shop's software says about its work.
#[derive(Debug, Clone)]
pub struct Said {
    pub level: Level,
    pub message: Cow<'static, str>,
    pub customer: Option<&'static str>,
    pub order: Option<String>,
}

/// Both logs' formats, with the date of the day at hand: it changes once in 80,000 lines.
#[derive(Debug, Default)]
pub struct Writer {
    day: Option<i64>,
    access_date: String,
    app_date: String,
}

/// What one text of a log line may hold at most; a longer one is cut.
const MAX_TEXT: usize = 1024;

impl Writer {
    /// `127.0.0.1 - acme [22/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 123 "-" "agent" 0.012`: nginx's *combined*
    /// format with the customer as `$remote_user` and `$request_time` at the end.
    pub fn access(&mut self, at_millis: i64, served: &Served, out: &mut Vec<u8>) {
        self.turn_to(at_millis);
        out.extend_from_slice(b"127.0.0.1 - ");
        out.extend_from_slice(served.customer.unwrap_or("-").as_bytes());
        out.extend_from_slice(b" [");
        out.extend_from_slice(self.access_date.as_bytes());
        out.push(b':');
        clock(at_millis, out);
        out.extend_from_slice(b" +0000] \"");
        escape(&served.method, out);
        out.push(b' ');
        escape(&served.target, out);
        out.extend_from_slice(b" HTTP/1.1\" ");
        number(u64::from(served.status), 3, out);
        out.push(b' ');
        number(served.bytes, 1, out);
        out.extend_from_slice(b" \"-\" \"");
        escape(&served.agent, out);
        out.extend_from_slice(b"\" ");
        let millis = (served.seconds * 1000.0).round().clamp(0.0, 1e12) as u64;
        number(millis / 1000, 1, out);
        out.push(b'.');
        number(millis % 1000, 3, out);
        out.push(b'\n');
    }

    /// `{"ts":"2026-11-22T10:00:00.123Z","level":"info","msg":"…","customer":"acme","order":"o-1"}`
    pub fn app(&mut self, at_millis: i64, said: &Said, out: &mut Vec<u8>) {
        self.turn_to(at_millis);
        out.extend_from_slice(b"{\"ts\":\"");
        out.extend_from_slice(self.app_date.as_bytes());
        out.push(b'T');
        clock(at_millis, out);
        out.push(b'.');
        number(at_millis.rem_euclid(1000) as u64, 3, out);
        out.extend_from_slice(b"Z\",\"level\":\"");
        out.extend_from_slice(said.level.name().as_bytes());
        out.extend_from_slice(b"\",\"msg\":");
        json(&said.message, out);
        if let Some(customer) = said.customer {
            out.extend_from_slice(b",\"customer\":");
            json(customer, out);
        }
        if let Some(order) = &said.order {
            out.extend_from_slice(b",\"order\":");
            json(order, out);
        }
        out.extend_from_slice(b"}\n");
    }

    fn turn_to(&mut self, at_millis: i64) {
        let day = at_millis.div_euclid(24 * HOUR);
        if self.day == Some(day) {
            return;
        }
        self.day = Some(day);
        let date = jiff::Timestamp::from_millisecond(at_millis).unwrap_or_default().to_zoned(jiff::tz::TimeZone::UTC);
        self.access_date = date.strftime("%d/%b/%Y").to_string();
        self.app_date = date.strftime("%Y-%m-%d").to_string();
    }
}

/// `10:00:00`
fn clock(at_millis: i64, out: &mut Vec<u8>) {
    let second = at_millis.rem_euclid(24 * HOUR) as u64 / 1000;
    number(second / 3600, 2, out);
    out.push(b':');
    number(second / 60 % 60, 2, out);
    out.push(b':');
    number(second % 60, 2, out);
}

/// In decimal, with leading zeros up to this width.
fn number(mut value: u64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut first = digits.len();
    while value > 0 || digits.len() - first < width.min(20) {
        first -= 1;
        digits[first] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&digits[first..]);
}

/// As nginx does it: a quote, a backslash and everything that isn't printable ASCII become `\xHH`, so that no text of a
/// client ends a field or a line.
fn escape(text: &str, out: &mut Vec<u8>) {
    let bytes = &text.as_bytes()[..text.len().min(MAX_TEXT)];
    if bytes.iter().all(|byte| matches!(byte, 0x20..=0x7e) && !matches!(byte, b'"' | b'\\')) {
        out.extend_from_slice(if bytes.is_empty() { b"-" } else { bytes });
        return;
    }
    for byte in bytes {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => {
                // Writing to a vector can't fail.
                let _ = write!(out, "\\x{byte:02X}");
            }
            _ => out.push(*byte),
        }
    }
}

fn json(text: &str, out: &mut Vec<u8>) {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    // A string always has a JSON form, and writing to a vector can't fail.
    let _ = serde_json::to_writer(out, &text[..end]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(target: &'static str, agent: &'static str) -> Served {
        Served {
            customer: Some("acme"),
            method: "GET".into(),
            target: target.into(),
            status: 200,
            bytes: 123,
            agent: agent.into(),
            seconds: 0.0123,
        }
    }

    /// 2026-11-22 10:00:00.123 UTC.
    const AT: i64 = 1_795_341_600_123;

    #[test]
    fn an_access_line_is_nginx_s() {
        let mut out = Vec::new();
        let mut writer = Writer::default();
        writer.access(AT, &served("/api/search?q=x", "browser/1"), &mut out);
        writer.access(AT + 14 * HOUR, &Served { customer: None, seconds: 61.0, ..served("/", "") }, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "127.0.0.1 - acme [22/Nov/2026:10:00:00 +0000] \"GET /api/search?q=x HTTP/1.1\" 200 123 \"-\" \"browser/1\" 0.012\n\
             127.0.0.1 - - [23/Nov/2026:00:00:00 +0000] \"GET / HTTP/1.1\" 200 123 \"-\" \"-\" 61.000\n"
        );
    }

    #[test]
    fn no_text_of_a_client_can_forge_a_line_or_a_field() {
        let mut out = Vec::new();
        Writer::default().access(AT, &served("/\" 500 0 \"\n", "a\\\u{1b}[2Jü"), &mut out);
        let line = String::from_utf8(out).unwrap();
        assert!(line.contains("\"GET /\\x22 500 0 \\x22\\x0A HTTP/1.1\" 200"), "{line}");
        assert!(line.contains("\"a\\x5C\\x1B[2J\\xC3\\xBC\""), "{line}");
        assert_eq!(line.matches('\n').count(), 1);

        let said = Said { level: Level::Warn, message: "a\nb\"\u{1b}".into(), customer: None, order: None };
        let mut out = Vec::new();
        Writer::default().app(AT, &said, &mut out);
        let line = String::from_utf8(out).unwrap();
        assert_eq!(line, "{\"ts\":\"2026-11-22T10:00:00.123Z\",\"level\":\"warn\",\"msg\":\"a\\nb\\\"\\u001b\"}\n");
    }

    #[test]
    fn an_app_line_is_json_with_every_field() {
        let said = Said {
            level: Level::Error,
            message: "it broke".into(),
            customer: Some("acme"),
            order: Some("o-17".into()),
        };
        let mut out = Vec::new();
        Writer::default().app(AT, &said, &mut out);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let expected = serde_json::json!({
            "ts": "2026-11-22T10:00:00.123Z", "level": "error", "msg": "it broke", "customer": "acme", "order": "o-17"
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn long_texts_are_cut_and_numbers_padded() {
        let mut out = Vec::new();
        escape(&"x".repeat(5000), &mut out);
        assert_eq!(out.len(), MAX_TEXT);
        let mut out = Vec::new();
        json(&"ü".repeat(MAX_TEXT), &mut out);
        assert!(serde_json::from_slice::<String>(&out).is_ok());
        for (value, width, expected) in
            [(0, 1, "0"), (0, 2, "00"), (7, 3, "007"), (1234, 2, "1234"), (u64::MAX, 1, "18446744073709551615")]
        {
            let mut out = Vec::new();
            number(value, width, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
