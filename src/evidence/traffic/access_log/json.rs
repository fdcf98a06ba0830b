//! Access logs in JSON: Caddy, Traefik, Envoy, nginx with `escape=json`, and what people make up themselves.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::files::fields::{self, Raw};

use super::request::{Request, Took, status};

/// `fields:` the names of a JSON line's fields, with dots between names; what isn't named is looked for.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldsConfig {
    pub status: Option<String>,
    /// Path or URL of the request.
    pub path: Option<String>,
    pub bytes: Option<String>,
    pub duration: Option<String>,
    /// Unit of the duration where it is a bare number.
    pub duration_unit: Option<Unit>,
}

/// The unit of a bare number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

impl Unit {
    pub fn seconds(self) -> f64 {
        match self {
            Unit::Seconds => 1.0,
            Unit::Milliseconds => 1e-3,
            Unit::Microseconds => 1e-6,
            Unit::Nanoseconds => 1e-9,
        }
    }
}

/// The names that were declared, split.
#[derive(Debug, Clone, Default)]
pub struct Names {
    status: Option<Vec<String>>,
    path: Option<Vec<String>>,
    bytes: Option<Vec<String>>,
    duration: Option<Vec<String>>,
    unit: Option<Unit>,
}

impl Names {
    pub fn new(config: Option<&FieldsConfig>) -> Self {
        let split = |name: &Option<String>| name.as_ref().map(|name| name.split('.').map(str::to_owned).collect());
        config.map_or_else(Names::default, |config| Names {
            status: split(&config.status),
            path: split(&config.path),
            bytes: split(&config.bytes),
            duration: split(&config.duration),
            unit: config.duration_unit,
        })
    }

    /// The unit of a duration that is a bare number, where it was declared.
    pub fn unit(&self) -> Option<Unit> {
        self.unit
    }
}

/// The request of a line.
pub fn json<'a>(line: &'a [u8], names: &Names) -> Option<Request<'a>> {
    let mut guess = Guess::default();
    fields::json_members(line, |key, value| guess.field(key, value));
    let declared = |path: &Option<Vec<String>>, guessed| match path {
        Some(path) => fields::json_at(line, path),
        None => guessed,
    };
    let code = match declared(&names.status, guess.status)? {
        Raw::Text(text) | Raw::Bare(text) => status(text)?,
        Raw::Nested(_) => return None,
    };
    let target = match declared(&names.path, guess.path) {
        Some(Raw::Text(text)) => without_origin(text),
        _ => b"",
    };
    let bytes = declared(&names.bytes, guess.bytes).and_then(Raw::number).filter(|bytes| (0.0..1e18).contains(bytes));
    let duration = declared(&names.duration, guess.duration);
    let unit = names.unit.or(if names.duration.is_some() { None } else { guess.unit() });
    let seconds = duration.map_or(Took::Absent, |value| took(value, unit)).seconds().ok()?;
    Some(Request { status: code, target, bytes: bytes.map(|bytes| bytes as u64), seconds })
}

/// What the usual names hold.
#[derive(Default)]
struct Guess<'a> {
    status: Option<Raw<'a>>,
    path: Option<Raw<'a>>,
    bytes: Option<Raw<'a>>,
    duration: Option<Raw<'a>>,
    key: &'a [u8],
    envoy: bool,
}

impl<'a> Guess<'a> {
    fn field(&mut self, key: &'a [u8], value: Raw<'a>) -> bool {
        match key {
            b"status" | b"status_code" | b"statusCode" | b"response_code" | b"DownstreamStatus" | b"http_status"
            | b"response_status" | b"code" => {
                self.envoy |= key == b"response_code";
                self.status = self.status.or(Some(value));
            }
            b"uri" | b"request_uri" | b"path" | b"request_path" | b"RequestPath" | b"url" | b"target"
            | b"requestUri" => {
                self.path = self.path.or(Some(value));
            }
            b"request" => match value {
                // Caddy's is an object, nginx's often the whole request line.
                Raw::Nested(inside) => fields::json_members(inside, |key, value| {
                    if matches!(key, b"uri" | b"url" | b"path") {
                        self.path = self.path.or(Some(value));
                    }
                    true
                }),
                Raw::Text(text) => self.path = self.path.or(Some(Raw::Text(super::request::target(text)))),
                Raw::Bare(_) => {}
            },
            b"body_bytes_sent"
            | b"bytes_sent"
            | b"bytes"
            | b"size"
            | b"DownstreamContentSize"
            | b"response_size"
            | b"response_bytes" => self.bytes = self.bytes.or(Some(value)),
            b"request_time" | b"duration" | b"Duration" | b"response_time" | b"latency" | b"elapsed" | b"took"
            | b"duration_seconds" | b"duration_s" | b"duration_ms" | b"latency_ms" | b"request_time_ms"
            | b"response_time_ms" | b"elapsed_ms" | b"took_ms" | b"duration_us" | b"duration_ns"
                if self.duration.is_none() =>
            {
                (self.duration, self.key) = (Some(value), key);
            }
            b"response_flags" | b"upstream_service_time" | b"x_envoy_upstream_service_time" => self.envoy = true,
            _ => {}
        }
        true
    }

    /// The unit that the name tells, or the program that is known by its other fields.
    fn unit(&self) -> Option<Unit> {
        match self.key {
            b"request_time" | b"duration_seconds" | b"duration_s" => Some(Unit::Seconds),
            b"Duration" | b"duration_ns" => Some(Unit::Nanoseconds),
            b"duration_us" => Some(Unit::Microseconds),
            b"duration" if self.envoy => Some(Unit::Milliseconds),
            key if key.ends_with(b"_ms") => Some(Unit::Milliseconds),
            _ => None,
        }
    }
}

/// A duration in a field. Without a unit a number with a point is seconds, a whole one is not guessed at.
fn took(value: Raw<'_>, unit: Option<Unit>) -> Took {
    if let Some(number) = value.number() {
        let (Raw::Bare(text) | Raw::Text(text)) = value else { return Took::Wrong };
        return match unit {
            Some(unit) => Took::of(number * unit.seconds()),
            None if number == 0.0 || text.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) => Took::of(number),
            None if number < 0.0 => Took::Wrong,
            None => Took::Absent,
        };
    }
    match value {
        Raw::Text(b"" | b"-") | Raw::Bare(b"null") => Took::Absent,
        Raw::Text(text) => std::str::from_utf8(text)
            .ok()
            .and_then(|text| crate::model::units::parse_duration(text).ok())
            .map_or(Took::Wrong, |duration| Took::of(duration.as_secs_f64())),
        _ => Took::Wrong,
    }
}

/// The path of `https://host/path`; any other target as it is.
pub fn without_origin(target: &[u8]) -> &[u8] {
    if target.first() == Some(&b'/') {
        return target;
    }
    let Some(scheme) = memchr::memmem::find(target, b"://").filter(|at| *at < 8) else { return target };
    let rest = &target[scheme + 3..];
    memchr::memchr(b'/', rest).map_or(b"/", |at| &rest[at..])
}

/// A value of a query by its name, decoded.
pub fn query_value<'a>(target: &'a [u8], name: &str) -> Option<Cow<'a, [u8]>> {
    value_of(&target[memchr::memchr(b'?', target)? + 1..], name)
}

/// The same of a query alone, without its question mark.
pub fn value_of<'a>(query: &'a [u8], name: &str) -> Option<Cow<'a, [u8]>> {
    query.split(|byte| *byte == b'&').find_map(|pair| {
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(percent_encoding::percent_decode(value).into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<(u16, String, Option<u64>, Option<f64>)> {
        let request = json(line.as_bytes(), &Names::default())?;
        Some((request.status, String::from_utf8_lossy(request.target).into_owned(), request.bytes, request.seconds))
    }

    #[test]
    fn the_json_of_known_servers_is_read() {
        for (line, expected) in [
            // Caddy 2
            (
                r#"{"level":"info","ts":1795341600.1,"logger":"http.log.access","msg":"handled request","request":{"remote_ip":"1.1.1.1","method":"GET","host":"h","uri":"/a?b=c","headers":{"User-Agent":["x"]}},"bytes_read":0,"user_id":"","duration":0.000929675,"size":10900,"status":200}"#,
                (200, "/a?b=c", Some(10_900), Some(0.000_929_675)),
            ),
            // Traefik
            (
                r#"{"ClientAddr":"1.1.1.1:5","DownstreamContentSize":19,"DownstreamStatus":404,"Duration":250000,"RequestPath":"/x","time":"2026-11-22T10:00:00Z"}"#,
                (404, "/x", Some(19), Some(0.000_25)),
            ),
            // Envoy
            (
                r#"{"start_time":"2026-11-22T10:00:00.000Z","path":"/x","response_code":503,"response_flags":"UH","bytes_sent":19,"duration":12}"#,
                (503, "/x", Some(19), Some(0.012)),
            ),
            // nginx
            (
                r#"{"time_iso8601":"2026-11-22T10:00:00+00:00","request":"GET /x HTTP/1.1","status":"200","body_bytes_sent":"12","request_time":"0.004"}"#,
                (200, "/x", Some(12), Some(0.004)),
            ),
            // made up
            (
                r#"{"ts":1,"status":200,"url":"https://h.example/x?y","latency":"12ms"}"#,
                (200, "/x?y", None, Some(0.012)),
            ),
            (r#"{"ts":1,"status":200,"path":"/","duration_ms":7}"#, (200, "/", None, Some(0.007))),
            (r#"{"ts":1,"status":200,"path":"/","latency":12}"#, (200, "/", None, None)),
        ] {
            let (status, target, bytes, seconds) = expected;
            assert_eq!(read(line), Some((status, target.to_owned(), bytes, seconds)), "{line}");
        }
        for line in [
            r#"{"status":"ok"}"#,
            r#"{"path":"/"}"#,
            r#"{"status":200,"request_time":-1}"#,
            r#"{"status":200,"request_time":1e308}"#,
            r#"{"status":200,"request_time":"NaN"}"#,
            r#"{"status":200,"latency":"soon"}"#,
            "{",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    #[test]
    fn declared_fields_come_before_guessed_ones() {
        let config = FieldsConfig {
            status: Some("http.response.status_code".to_owned()),
            path: Some("http.path".to_owned()),
            duration: Some("event.duration".to_owned()),
            duration_unit: Some(Unit::Nanoseconds),
            bytes: None,
        };
        let line =
            br#"{"status":200,"http":{"path":"/p","response":{"status_code":500}},"event":{"duration":1500000}}"#;
        let request = json(line, &Names::new(Some(&config))).unwrap();
        assert_eq!((request.status, request.target, request.seconds), (500, &b"/p"[..], Some(0.0015)));
    }

    #[test]
    fn query_values_are_decoded() {
        assert_eq!(query_value(b"/a?x=1&tenant=a%20b&y", "tenant").unwrap(), &b"a b"[..]);
        assert_eq!(query_value(b"/a?xtenant=1", "tenant"), None);
        assert_eq!(query_value(b"/a", "tenant"), None);
    }
}
