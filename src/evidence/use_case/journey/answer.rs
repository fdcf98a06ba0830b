//! What the service answered to one step, as the measures that its expectations and captures see.

use jiff::Timestamp;

use crate::evidence::message::answer;
use crate::model::measure::Measure;
use crate::model::value::Measures;
use crate::net::http::Response;

/// The names in a step's expectations and captures: those of the `http` kind.
pub fn step_measures() -> &'static [Measure] {
    crate::evidence::external::http::KIND.measures
}

/// The names that say what was answered, not only that something was.
pub const CONTENT: [&str; 3] = ["body", "json", "headers"];

/// The measures of an answer. `body` and `json` are absent where the body was not read to its end.
///
/// Where the body isn't JSON `json` is absent, and not null as in the `http` kind: `!has(json.error)` must not hold of a
/// page of HTML. Nothing is struck out either, since a token that comes back is captured; [`super::run`] strikes what
/// it shows.
pub fn measures(response: &Response, now: Timestamp) -> Measures {
    answer::measures(response, now, str::to_owned)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::value::Value;
    use crate::net::http::Timings;

    #[test]
    fn a_step_has_the_measures_of_http() {
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let second = Some(std::time::Duration::from_secs(1));
        let response = Response {
            status: 200,
            version: http::Version::HTTP_2,
            headers: [(http::header::ETAG, http::HeaderValue::from_static("x"))].into_iter().collect(),
            body: Bytes::from_static(b"{}"),
            truncated: false,
            redirects: Vec::new(),
            url: url::Url::parse("http://h/").unwrap(),
            timings: Timings {
                resolve: second,
                connect: second,
                tls: second,
                first_byte: second,
                ..Timings::default()
            },
            certificate_expiry: Some("2026-11-23T10:00:00Z".parse().unwrap()),
            unread_coding: None,
            set_cookies: Vec::new(),
            reach: crate::net::guard::Reach::Anywhere,
        };
        let seen = measures(&response, now);
        let mut named: Vec<&str> = step_measures().iter().map(|measure| measure.name).collect();
        named.sort_unstable();
        assert_eq!(seen.iter().map(|(name, _)| name).collect::<Vec<_>>(), named);
        assert_eq!(seen.number("certificate_expiry_days"), Some(1.0));
        assert_eq!(seen.get("http_version"), Some(&Value::from("HTTP/2")));
    }
}
