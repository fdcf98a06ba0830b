//! A log format as the server's own configuration writes it: nginx's `log_format`, Apache's `LogFormat`.

use crate::files::fields::end_of_string;

use super::json::{Unit, without_origin};
use super::request::{Request, Took, decimal, status, target, whole};

/// A format string, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Custom {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    /// nginx's name of the variable; Apache's are translated.
    Variable(String, Role),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Status,
    /// The whole request line.
    Request,
    Target,
    Bytes,
    Duration(Unit),
    Other,
}

impl Custom {
    /// # Errors
    /// Says what in the format can't be used.
    pub fn parse(format: &str) -> Result<Self, String> {
        let pieces = if format.contains('$') { nginx(format)? } else { apache(format)? };
        for pair in pieces.windows(2) {
            if let [Piece::Variable(first, _), Piece::Variable(second, _)] = pair {
                return Err(format!("`{first}` and `{second}` have nothing between them"));
            }
        }
        if !pieces.iter().any(|piece| matches!(piece, Piece::Variable(_, Role::Status))) {
            return Err("`format` has no status ($status, %>s)".to_owned());
        }
        Ok(Custom { pieces })
    }

    /// The request of a line; `None` where the line is not of this format.
    pub fn read<'a>(&self, line: &'a [u8]) -> Option<Request<'a>> {
        let mut request = Request { status: 0, target: b"", bytes: None, seconds: None };
        self.walk(line, |_, role, value| {
            match role {
                Role::Status => request.status = status(value)?,
                Role::Request => request.target = target(value),
                Role::Target => request.target = without_origin(value),
                Role::Bytes if value != b"-" => request.bytes = Some(whole(value)?),
                Role::Duration(unit) if value != b"-" => {
                    request.seconds = Took::of(decimal(value)? * unit.seconds()).seconds().ok()?;
                }
                Role::Bytes | Role::Duration(_) | Role::Other => {}
            }
            Some(())
        })?;
        Some(request)
    }

    /// The value of a variable in a line.
    pub fn field<'a>(&self, line: &'a [u8], name: &str) -> Option<&'a [u8]> {
        let mut found = None;
        self.walk(line, |variable, _, value| {
            if variable == name {
                found = Some(value);
            }
            Some(())
        })?;
        found
    }

    fn walk<'a>(&self, line: &'a [u8], mut visit: impl FnMut(&str, Role, &'a [u8]) -> Option<()>) -> Option<()> {
        let mut at = 0;
        for (index, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::Literal(text) => {
                    at += text.len();
                    if line.get(at - text.len()..at)? != text.as_slice() {
                        return None;
                    }
                }
                Piece::Variable(name, role) => {
                    let end = match self.pieces.get(index + 1) {
                        Some(Piece::Literal(next)) => ends_before(line, at, next)?,
                        _ => line.len(),
                    };
                    visit(name, *role, &line[at..end])?;
                    at = end;
                }
            }
        }
        // What a newer version of the format adds at its end does no harm.
        Some(())
    }
}

/// Where a value that begins at `at` ends, before the text that follows it; inside of quotes an escaped one is no end.
fn ends_before(line: &[u8], at: usize, next: &[u8]) -> Option<usize> {
    if next.first() == Some(&b'"') && at > 0 && line[at - 1] == b'"' {
        let mut end = end_of_string(line, at - 1)?;
        while !line[end..].starts_with(next) {
            end = end_of_string(line, end)?;
        }
        return Some(end);
    }
    memchr::memmem::find(line.get(at..)?, next).map(|length| at + length)
}

fn push_literal(pieces: &mut Vec<Piece>, text: &str) {
    if text.is_empty() {
        return;
    }
    if let Some(Piece::Literal(last)) = pieces.last_mut() {
        last.extend_from_slice(text.as_bytes());
    } else {
        pieces.push(Piece::Literal(text.as_bytes().to_vec()));
    }
}

fn nginx(format: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = format;
    while let Some(at) = rest.find('$') {
        push_literal(&mut pieces, &rest[..at]);
        rest = &rest[at + 1..];
        let braced = rest.starts_with('{');
        rest = rest.strip_prefix('{').unwrap_or(rest);
        let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let name = &rest[..length];
        rest = &rest[length..];
        if braced {
            rest = rest.strip_prefix('}').ok_or_else(|| format!("`${{{name}` has no closing brace"))?;
        }
        if name.is_empty() {
            return Err("a `$` has no name behind it".to_owned());
        }
        let role = match name {
            "status" => Role::Status,
            "request" => Role::Request,
            "request_uri" | "uri" => Role::Target,
            "body_bytes_sent" | "bytes_sent" => Role::Bytes,
            "request_time" => Role::Duration(Unit::Seconds),
            _ => Role::Other,
        };
        pieces.push(Piece::Variable(name.to_owned(), role));
    }
    push_literal(&mut pieces, rest);
    Ok(pieces)
}

/// Apache's directives (mod_log_config), under nginx's names.
fn apache(format: &str) -> Result<Vec<Piece>, String> {
    let format = format.replace("\\\"", "\"");
    let mut pieces = Vec::new();
    let mut rest = format.as_str();
    while let Some(at) = rest.find('%') {
        push_literal(&mut pieces, &rest[..at]);
        rest = rest[at + 1..].trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '<' | '>' | '!' | ','));
        let mut argument = "";
        if let Some(inside) = rest.strip_prefix('{') {
            let end = inside.find('}').ok_or("a `%{` has no closing brace")?;
            (argument, rest) = (&inside[..end], &inside[end + 1..]);
        }
        let directive = rest.chars().next().ok_or("a `%` has no directive behind it")?;
        rest = &rest[directive.len_utf8()..];
        let header = || argument.to_ascii_lowercase().replace('-', "_");
        let (name, role) = match directive {
            '%' => {
                push_literal(&mut pieces, "%");
                continue;
            }
            's' => ("status".to_owned(), Role::Status),
            'r' => ("request".to_owned(), Role::Request),
            'U' => ("uri".to_owned(), Role::Target),
            'b' | 'B' | 'O' => ("body_bytes_sent".to_owned(), Role::Bytes),
            'D' => ("request_time".to_owned(), Role::Duration(Unit::Microseconds)),
            'T' => {
                let unit = match argument {
                    "" | "s" => Unit::Seconds,
                    "ms" => Unit::Milliseconds,
                    "us" => Unit::Microseconds,
                    other => return Err(format!("`%{{{other}}}T` has no known unit")),
                };
                ("request_time".to_owned(), Role::Duration(unit))
            }
            't' => ("time_local".to_owned(), Role::Other),
            'h' | 'a' => ("remote_addr".to_owned(), Role::Other),
            'u' => ("remote_user".to_owned(), Role::Other),
            'v' | 'V' => ("host".to_owned(), Role::Other),
            'q' => ("args".to_owned(), Role::Other),
            'i' => (format!("http_{}", header()), Role::Other),
            'o' => (format!("sent_http_{}", header()), Role::Other),
            other if other.is_ascii_alphabetic() => (format!("%{other}"), Role::Other),
            other => return Err(format!("`%{other}` is no directive")),
        };
        pieces.push(Piece::Variable(name, role));
    }
    push_literal(&mut pieces, rest);
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read_as_servers_write_them() {
        let nginx = r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" "$http_x_tenant" ${request_time}s"#;
        let apache = r#"%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-Agent}i\" \"%{X-Tenant}i\" %D"#;
        let t = "[22/Nov/2026:10:00:00 +0000]";
        for (format, line, expected) in [
            (
                nginx,
                format!(r#"1.1.1.1 - bob {t} "GET /x HTTP/1.1" 200 12 "-" "u\"a" "acme" 0.25s"#),
                Some((200, "/x", Some(12), Some(0.25))),
            ),
            (
                nginx,
                format!(r#"1.1.1.1 - bob {t} "GET /x HTTP/1.1" 200 12 "-" "ua" "acme" -s"#),
                Some((200, "/x", Some(12), None)),
            ),
            (nginx, format!(r#"1.1.1.1 - bob {t} "GET /x HTTP/1.1" 200 12 "-" "ua" "acme" infs"#), None),
            (nginx, format!(r#"1.1.1.1 - bob {t} "GET /x HTTP/1.1" 200"#), None),
            (
                apache,
                format!(r#"1.1.1.1 - bob {t} "GET /x HTTP/1.1" 502 - "-" "ua" "acme" 250000"#),
                Some((502, "/x", None, Some(0.25))),
            ),
            ("%>s %{ms}T %U%%", "200 12 /x%".to_owned(), Some((200, "/x", None, Some(0.012)))),
        ] {
            let custom = Custom::parse(format).unwrap();
            let read = custom.read(line.as_bytes()).map(|request| {
                (request.status, std::str::from_utf8(request.target).unwrap(), request.bytes, request.seconds)
            });
            assert_eq!(read, expected, "{line}");
            if expected.is_some() && line.contains("acme") {
                assert_eq!(custom.field(line.as_bytes(), "http_x_tenant"), Some(&b"acme"[..]));
            }
        }
    }

    #[test]
    fn formats_that_cannot_be_used_are_refused() {
        for (format, part) in [
            ("$remote_addr $request", "no status"),
            ("$status$request", "nothing between"),
            ("$status ${request", "closing brace"),
            ("$status $", "no name"),
            ("%>s %{Foo", "closing brace"),
            ("%>s %", "no directive"),
            ("%>s %{min}T", "no known unit"),
            ("%>s %&", "is no directive"),
        ] {
            let error = Custom::parse(format).unwrap_err();
            assert!(error.contains(part), "{format}: {error}");
        }
    }
}
