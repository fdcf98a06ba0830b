//! W3C extended log files, as IIS and CloudFront write them: a `#Fields:` line names the columns of the lines below it
//! (W3C working draft WD-logfile-960323).

use super::json::Unit;
use super::request::{Request, Took, decimal, status, whole};

/// The most columns of a log.
const COLUMNS: usize = 128;

/// The names of the columns, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    names: Vec<String>,
    status: usize,
    path: Option<usize>,
    bytes: Option<usize>,
    duration: Option<usize>,
}

impl Columns {
    /// From a `#Fields:` line; `None` where it is none, or names no status.
    pub fn parse(line: &[u8]) -> Option<Columns> {
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        let text = std::str::from_utf8(line.strip_prefix(b"#Fields:")?).ok()?;
        let names: Vec<String> = text.split_ascii_whitespace().take(COLUMNS).map(str::to_ascii_lowercase).collect();
        let find = |name: &str| names.iter().position(|column| column == name);
        Some(Columns {
            status: find("sc-status")?,
            path: find("cs-uri-stem").or_else(|| find("cs-uri")),
            bytes: find("sc-bytes"),
            duration: find("time-taken"),
            names,
        })
    }

    /// The request of a line; `None` where the line has another number of columns, or values that can't be. Without a
    /// `unit` a `time-taken` that is a whole number is milliseconds (IIS), one with a point seconds (W3C, CloudFront).
    pub fn read<'a>(&self, line: &'a [u8], unit: Option<Unit>) -> Option<Request<'a>> {
        let (mut request, mut count) = (Request { status: 0, target: b"", bytes: None, seconds: None }, 0);
        for (index, value) in words(line).enumerate() {
            count += 1;
            if index == self.status {
                request.status = status(value)?;
            } else if Some(index) == self.path {
                request.target = if value == b"-" { b"" } else { value };
            } else if Some(index) == self.bytes && value != b"-" {
                request.bytes = Some(whole(value)?);
            } else if Some(index) == self.duration && value != b"-" {
                let guessed = if memchr::memchr(b'.', value).is_some() { Unit::Seconds } else { Unit::Milliseconds };
                request.seconds = Took::of(decimal(value)? * unit.unwrap_or(guessed).seconds()).seconds().ok()?;
            }
        }
        (count == self.names.len() && request.status > 0).then_some(request)
    }

    /// A column by its own name, or by nginx's where that has one.
    pub fn field<'a>(&self, line: &'a [u8], name: &str) -> Option<&'a [u8]> {
        let name = match name {
            "remote_addr" => "c-ip",
            "remote_user" => "cs-username",
            "host" => "cs-host",
            "http_user_agent" => "cs(user-agent)",
            "http_referer" => "cs(referer)",
            "http_host" => "cs(host)",
            other => other,
        };
        let index = self.names.iter().position(|column| column.eq_ignore_ascii_case(name))?;
        words(line).nth(index).filter(|value| *value != b"-")
    }
}

/// IIS writes blanks between columns, CloudFront tabs; neither within one.
fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const IIS: &[u8] = b"#Fields: date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) cs(Referer) sc-status sc-substatus sc-win32-status time-taken\r";
    const CLOUDFRONT: &[u8] = b"#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) cs(User-Agent) cs-uri-query time-taken";

    #[test]
    fn columns_are_read_by_their_names() {
        let line = b"2026-11-22 10:00:00 10.0.0.5 GET /shop/item id=7&tenant=acme 443 acme 203.0.113.9 Mozilla/5.0+(X11) - 503 0 64 1250";
        let iis = Columns::parse(IIS).unwrap();
        let request = iis.read(line, None).unwrap();
        assert_eq!((request.status, request.target, request.bytes), (503, &b"/shop/item"[..], None));
        assert_eq!(request.seconds, Some(1.25));
        for (name, value) in [
            ("remote_user", Some(&b"acme"[..])),
            ("c-ip", Some(b"203.0.113.9")),
            ("cs(User-Agent)", Some(b"Mozilla/5.0+(X11)")),
            ("http_referer", None),
            ("cs-uri-query", Some(b"id=7&tenant=acme")),
            ("nothing", None),
        ] {
            assert_eq!(iis.field(line, name), value, "{name}");
        }
        let line = b"2019-12-04\t21:02:31\tLAX1\t392\t192.0.2.100\tGET\td111.cloudfront.net\t/index.html\t200\t-\tMozilla/5.0%20(W)\t-\t0.002";
        let request = Columns::parse(CLOUDFRONT).unwrap().read(line, None).unwrap();
        assert_eq!((request.status, request.target), (200, &b"/index.html"[..]));
        assert_eq!((request.bytes, request.seconds), (Some(392), Some(0.002)));
    }

    #[test]
    fn what_has_other_columns_or_impossible_values_is_not_read() {
        let columns = Columns::parse(b"#Fields: date time cs-uri-stem sc-status sc-bytes time-taken").unwrap();
        assert!(columns.read(b"2026-11-22 10:00:00 / 200 1 5", None).is_some());
        for line in [
            "2026-11-22 10:00:00 / 200 1",
            "2026-11-22 10:00:00 / 200 1 5 6",
            "2026-11-22 10:00:00 / 999 1 5",
            "2026-11-22 10:00:00 / 200 -1 5",
            "2026-11-22 10:00:00 / 200 1 NaN",
            "2026-11-22 10:00:00 / 200 1 -5",
            "#Date: 2026-11-22 10:00:00",
            "",
        ] {
            assert!(columns.read(line.as_bytes(), None).is_none(), "{line}");
        }
        for line in ["#Fields: date time cs-uri-stem", "Fields: sc-status", "#Fields", ""] {
            assert!(Columns::parse(line.as_bytes()).is_none(), "{line}");
        }
    }
}
