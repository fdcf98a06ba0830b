//! One request as a line of an access log tells it, in the forms that servers write by themselves.

use std::borrow::Cow;

use crate::files::fields::{self, Raw, end_of_string};
use crate::files::scan::Entry;

use super::columns::Columns;
use super::custom::Custom;
use super::json::{Names, json};
use super::proxies;

/// A request took at most this long, in seconds (115 days); more is a broken field.
const LONGEST: f64 = 1e7;

/// How lines are written.
#[derive(Debug, Clone)]
pub enum Form {
    /// JSON where a line begins with a brace, otherwise common or combined with whatever follows.
    Auto(Names),
    Combined,
    Json(Names),
    Haproxy,
    Alb,
    Envoy,
    /// W3C extended, its columns as a `#Fields:` line names them; none where no such line was found yet.
    W3c(Option<Columns>, Names),
    Custom(Custom),
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Request<'a> {
    pub status: u16,
    /// Path and query as they were asked for; empty where the line has none that makes sense.
    pub target: &'a [u8],
    pub bytes: Option<u64>,
    pub seconds: Option<f64>,
}

/// A duration as a line has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Took {
    Absent,
    Seconds(f64),
    /// There is one, and it can't be: negative, infinite, no number.
    Wrong,
}

impl Took {
    pub fn of(seconds: f64) -> Took {
        if (0.0..=LONGEST).contains(&seconds) { Took::Seconds(seconds) } else { Took::Wrong }
    }

    /// # Errors
    /// The line has a duration that can't be.
    pub fn seconds(self) -> Result<Option<f64>, ()> {
        match self {
            Took::Absent => Ok(None),
            Took::Seconds(seconds) => Ok(Some(seconds)),
            Took::Wrong => Err(()),
        }
    }
}

impl Form {
    /// The request of a line; `None` where the line can't be read.
    pub fn read<'a>(&self, entry: &Entry<'a>) -> Option<Request<'a>> {
        match self {
            Form::Auto(names) | Form::Json(names) if entry.line.first() == Some(&b'{') => json(entry.line, names),
            Form::Auto(_) => combined(entry)
                .or_else(|| proxies::envoy(entry))
                .or_else(|| proxies::alb(entry))
                .or_else(|| proxies::haproxy(entry.line)),
            Form::Combined => combined(entry),
            Form::Json(_) | Form::W3c(None, _) => None,
            Form::Haproxy => proxies::haproxy(entry.line),
            Form::Alb => proxies::alb(entry),
            Form::Envoy => proxies::envoy(entry),
            Form::W3c(Some(columns), names) => columns.read(entry.line, names.unit()),
            Form::Custom(custom) => custom.read(entry.line),
        }
    }

    /// A field of the line by its name: nginx's variable, or a JSON field.
    pub fn field<'a>(&self, entry: &Entry<'a>, path: &[String]) -> Option<Cow<'a, [u8]>> {
        if entry.line.first() == Some(&b'{') {
            return fields::json_at(entry.line, path).map(Raw::text);
        }
        let name = path.first()?;
        match self {
            Form::Custom(custom) => custom.field(entry.line, name),
            Form::Haproxy => proxies::haproxy_field(entry.line, name),
            Form::Alb => proxies::alb_field(entry, name),
            Form::Envoy => None,
            Form::W3c(columns, _) => columns.as_ref()?.field(entry.line, name),
            Form::Auto(_) if combined(entry).is_none() => {
                proxies::alb_field(entry, name).or_else(|| proxies::haproxy_field(entry.line, name))
            }
            _ => combined_field(entry, name),
        }
        .map(Cow::Borrowed)
    }

    /// The query of a line that has it apart from the path, without its question mark.
    pub fn query<'a>(&self, entry: &Entry<'a>) -> Option<&'a [u8]> {
        match self {
            Form::W3c(Some(columns), _) => columns.field(entry.line, "cs-uri-query"),
            _ => None,
        }
    }

    /// This form with the columns that the heads of the log's files name, where they decide; the last one counts.
    pub fn with_heads<'h>(&self, heads: impl Iterator<Item = &'h [u8]>) -> Form {
        let (Form::Auto(names) | Form::W3c(None, names)) = self else { return self.clone() };
        let found = heads.flat_map(|head| head.split(|byte| *byte == b'\n')).filter_map(Columns::parse).last();
        match found {
            Some(columns) => Form::W3c(Some(columns), names.clone()),
            None => self.clone(),
        }
    }
}

/// Status codes are 100 to 599 (RFC 9110, 15); anything else is no status.
pub fn status(text: &[u8]) -> Option<u16> {
    let [hundreds @ b'1'..=b'5', tens @ b'0'..=b'9', ones @ b'0'..=b'9'] = text else { return None };
    Some(u16::from(hundreds - b'0') * 100 + u16::from(tens - b'0') * 10 + u16::from(ones - b'0'))
}

/// A plain decimal number; no sign, no exponent, no `inf`.
pub fn decimal(text: &[u8]) -> Option<f64> {
    let mut value = 0_u64;
    let mut scale = 1_u64;
    let mut point = false;
    if text.is_empty() || text.len() > 18 || !text[0].is_ascii_digit() {
        return None;
    }
    for byte in text {
        match byte {
            b'0'..=b'9' => {
                value = value * 10 + u64::from(byte - b'0');
                if point {
                    scale *= 10;
                }
            }
            b'.' if !point => point = true,
            _ => return None,
        }
    }
    Some(value as f64 / scale as f64)
}

pub fn whole(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0')))
}

/// The target of `GET /path HTTP/1.1`; empty where that is no request line.
pub fn target(request: &[u8]) -> &[u8] {
    let Some(space) = memchr::memchr(b' ', request) else { return b"" };
    let rest = &request[space + 1..];
    let end = memchr::memrchr(b' ', rest).filter(|end| rest[end + 1..].starts_with(b"HTTP/")).unwrap_or(rest.len());
    &rest[..end]
}

/// `addr ident user [time] "request" status bytes "referer" "agent" …`, a virtual host before it or not.
fn combined<'a>(entry: &Entry<'a>) -> Option<Request<'a>> {
    let line = entry.line;
    let stamp = entry.stamp?;
    let words = line[..stamp.start].trim_ascii_end();
    if memchr::memchr_iter(b' ', words).take(2).count() < 2 {
        return None;
    }
    let rest = line.get(stamp.end..)?.strip_prefix(b" ")?;
    if rest.first() != Some(&b'"') {
        return None;
    }
    let close = end_of_string(rest, 0)?;
    let request = &rest[1..close];
    let rest = rest.get(close + 1..)?.strip_prefix(b" ")?;
    let status = status(rest.get(..3)?)?;
    let rest = match rest.get(3) {
        None => &[][..],
        Some(b' ') => &rest[4..],
        Some(_) => return None,
    };
    let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
    let bytes = match &rest[..end] {
        b"-" | b"" => None,
        digits => Some(whole(digits)?),
    };
    let seconds = tail_seconds(&rest[end..]).seconds().ok()?;
    Some(Request { status, target: target(request), bytes, seconds })
}

/// The request time among what stands behind status and size: the first number with a point that isn't quoted, or
/// `rt=`. A whole number says neither its unit nor that it is a time, and is not guessed at.
fn tail_seconds(mut rest: &[u8]) -> Took {
    loop {
        rest = rest.trim_ascii_start();
        match rest.first() {
            None => return Took::Absent,
            Some(b'"') => match end_of_string(rest, 0) {
                Some(close) => rest = &rest[close + 1..],
                None => return Took::Wrong, // a half-written line
            },
            Some(_) => {
                let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
                let word = &rest[..end];
                rest = &rest[end..];
                // Traefik's last word.
                if let Some(milliseconds) = word.strip_suffix(b"ms").and_then(whole) {
                    return Took::of(milliseconds as f64 / 1e3);
                }
                let keyed = [&b"rt="[..], b"request_time="].iter().find_map(|key| word.strip_prefix(*key));
                let value = keyed.unwrap_or(word);
                let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
                if keyed.is_some() || memchr::memchr(b'.', value).is_some() {
                    if let Some(seconds) = decimal(value) {
                        return Took::of(seconds);
                    }
                    if keyed.is_some() && value != b"-" {
                        return Took::Wrong;
                    }
                }
                let number = std::str::from_utf8(value).ok().and_then(|value| value.parse::<f64>().ok());
                if number.is_some_and(|number| !(0.0..=1e18).contains(&number)) {
                    return Took::Wrong;
                }
            }
        }
    }
}

fn combined_field<'a>(entry: &Entry<'a>, name: &str) -> Option<&'a [u8]> {
    let stamp = entry.stamp?;
    let before = entry.line[..stamp.start].trim_ascii_end();
    let mut words = before.split(|byte| *byte == b' ').peekable();
    let first = words.next()?;
    // The word behind the address is nearly always a hyphen; a virtual host moves it by one.
    let vhost = words.peek().is_some_and(|second| **second != *b"-");
    let (host, addr) = if vhost { (Some(first), words.next()?) } else { (None, first) };
    match name {
        "remote_addr" => Some(addr),
        "host" | "server_name" | "vhost" => host,
        "remote_user" => {
            let _ident = words.next()?;
            // A user's name may have blanks in it.
            let first = words.next()?;
            let from = first.as_ptr() as usize - before.as_ptr() as usize;
            Some(&before[from..])
        }
        "http_referer" | "http_user_agent" | "http_x_forwarded_for" => {
            let index = match name {
                "http_referer" => 1,
                "http_user_agent" => 2,
                _ => 3,
            };
            quoted(entry.line.get(stamp.end..)?, index)
        }
        _ => None,
    }
}

/// The quoted text with this number.
pub fn quoted(mut rest: &[u8], index: usize) -> Option<&[u8]> {
    for number in 0.. {
        let open = memchr::memchr(b'"', rest)?;
        let close = end_of_string(rest, open)?;
        if number == index {
            return Some(&rest[open + 1..close]);
        }
        rest = &rest[close + 1..];
    }
    None
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::files::timestamp::Clock;

    fn read(form: &Form, line: &str) -> Option<(u16, String, Option<u64>, Option<f64>)> {
        let clock = Clock::new(TimeZone::UTC, None, "2026-11-22T12:00:00Z".parse().unwrap());
        let stamp = clock.recogniser(line.as_bytes()).stamp(line.as_bytes());
        let entry = Entry { line: line.as_bytes(), at: 0, stamp, cut: false, ended: true };
        let request = form.read(&entry)?;
        Some((request.status, String::from_utf8_lossy(request.target).into_owned(), request.bytes, request.seconds))
    }

    const T: &str = "[22/Nov/2026:10:00:00 +0000]";

    #[test]
    fn the_forms_that_servers_write_by_themselves_are_read() {
        for (line, expected) in [
            (format!(r#"1.1.1.1 - - {T} "GET /x HTTP/1.1" 200 123"#), (200, "/x", Some(123), None)),
            (format!(r#"1.1.1.1 - - {T} "GET /x HTTP/1.1" 304 -"#), (304, "/x", None, None)),
            (
                format!(r#"1.1.1.1 - acme {T} "POST /a?b=c HTTP/2.0" 502 1 "-" "ua" 0.012"#),
                (502, "/a?b=c", Some(1), Some(0.012)),
            ),
            (
                format!(r#"shop.example.com:443 1.1.1.1 - - {T} "GET / HTTP/1.1" 200 5 "-" "ua""#),
                (200, "/", Some(5), None),
            ),
            (
                format!(r#"1.1.1.1 - - {T} "GET / HTTP/1.1" 200 5 "-" "ua" "10.0.0.1" 0.250 0.240 ."#),
                (200, "/", Some(5), Some(0.25)),
            ),
            (
                format!(r#"1.1.1.1 - - {T} "GET / HTTP/1.1" 200 5 "-" "ua" rt=0.5 urt="0.4""#),
                (200, "/", Some(5), Some(0.5)),
            ),
            (format!(r#"1.1.1.1 - - {T} "GET / HTTP/1.1" 200 5 "-" "ua" 12345"#), (200, "/", Some(5), None)),
            (
                format!(
                    r#"1.1.1.1 - - {T} "GET / HTTP/1.1" 200 5 "-" "ua" 480 0.003 [up] [] 10.0.0.2:80 5 0.003 200 id"#
                ),
                (200, "/", Some(5), Some(0.003)),
            ),
            (
                format!(r#"::1 - - {T} "GET /a\"b HTTP/1.1" 200 5 "-" "u\"a" 0.001"#),
                (200, "/a\\\"b", Some(5), Some(0.001)),
            ),
            (
                // Traefik's common format.
                format!(
                    r#"10.0.0.1 - - {T} "GET /x HTTP/1.1" 200 13 "-" "-" 17 "shop@docker" "http://172.18.0.2:80" 25ms"#
                ),
                (200, "/x", Some(13), Some(0.025)),
            ),
            (format!(r#"1.1.1.1 - - {T} "\x16\x03\x01" 400 5"#), (400, "", Some(5), None)),
            (format!(r#"1.1.1.1 - - {T} "-" 408 0 "-" "-" -"#), (408, "", Some(0), None)),
            (format!(r#"1.1.1.1 - - {T} "{} / HTTP/1.1" 405 0"#, "M".repeat(1_000)), (405, "/", Some(0), None)),
        ] {
            let (status, target, bytes, seconds) = expected;
            assert_eq!(read(&Form::Combined, &line), Some((status, target.to_owned(), bytes, seconds)), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_is_not_read() {
        for tail in ["inf", "NaN", "-1", "-0.5", "1e308", "18446744073709551615", "99999999999.5", "rt=x"] {
            let line = format!(r#"1.1.1.1 - - {T} "GET / HTTP/1.1" 200 5 "-" "ua" {tail}"#);
            assert_eq!(read(&Form::Combined, &line), None, "{line}");
        }
        for line in [
            format!(r#"1.1.1.1 - - {T} "GET / HTTP/1.1" 999 5"#),
            format!(r#"1.1.1.1 - - {T} "GET / HTTP/1.1" 2000 5"#),
            format!(r#"1.1.1.1 - - {T} "GET / HTTP/1.1" 200 -5"#),
            format!(r#"1.1.1.1 - - {T} "GET / HTTP/1.1"#),
            format!(r#"1.1.1.1 - - {T} "GET / HTTP/1.1" 20"#),
            format!(r#"1.1.1.1 - - {T} "GET / HTTP/1.1" 200 5 "-" "half"#),
            format!("1.1.1.1 {T}"),
            "1.1.1.1 - - GET / 200 5".to_owned(),
            String::new(),
        ] {
            assert_eq!(read(&Form::Combined, &line), None, "{line}");
        }
    }

    #[test]
    fn fields_have_their_names() {
        let clock = Clock::new(TimeZone::UTC, None, "2026-11-22T12:00:00Z".parse().unwrap());
        let line = format!(r#"shop:80 1.1.1.1 - ac me {T} "GET / HTTP/1.1" 200 5 "ref" "ua" "9.9.9.9""#);
        let short = format!(r#"1.1.1.1 - acme {T} "GET / HTTP/1.1" 200 5"#);
        for (line, name, value) in [
            (&short, "remote_addr", Some("1.1.1.1")),
            (&short, "remote_user", Some("acme")),
            (&short, "http_referer", None),
            (&line, "host", Some("shop:80")),
            (&line, "remote_addr", Some("1.1.1.1")),
            (&line, "remote_user", Some("ac me")),
            (&line, "http_referer", Some("ref")),
            (&line, "http_user_agent", Some("ua")),
            (&line, "http_x_forwarded_for", Some("9.9.9.9")),
            (&line, "nothing", None),
        ] {
            let stamp = clock.recogniser(line.as_bytes()).stamp(line.as_bytes());
            let entry = Entry { line: line.as_bytes(), at: 0, stamp, cut: false, ended: true };
            let field = Form::Combined.field(&entry, &[name.to_owned()]);
            assert_eq!(field.map(|field| String::from_utf8(field.into_owned()).unwrap()).as_deref(), value, "{name}");
        }
    }
}
