//! The cookies of one run of a journey: kept for the host that set them, and for nobody else.
//!
//! After RFC 6265, but stricter: every cookie is host-only (a `Domain` is checked, then ignored), and of one port
//! (80 and 443 count as one, so that a redirect from http to https keeps its session).

use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use url::{Host, Url};

/// The most cookies of one run; what comes on top is dropped, so that a flood can't push out a session.
const COOKIES_LIMIT: usize = 50;
/// The longest cookie, name and value together, in bytes.
const COOKIE_LIMIT: usize = 4 * 1024;
/// The longest `Cookie` header that is sent, in bytes.
const HEADER_LIMIT: usize = 16 * 1024;
/// The most cookies of one exchange that are read.
const SET_COOKIE_LIMIT: usize = 200;

/// What a service asked to be told again.
#[derive(Debug, Default)]
pub struct Jar {
    cookies: Vec<Cookie>,
    dropped: usize,
}

#[derive(Debug)]
struct Cookie {
    place: Place,
    path: String,
    name: String,
    value: String,
    secure: bool,
    /// In terms of the round's `now` plus what has passed since.
    expires: Option<Timestamp>,
}

/// Whose cookie it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    host: String,
    /// 0 for both 80 and 443.
    port: u16,
}

impl Place {
    fn of(url: &Url) -> Self {
        let port = match url.port_or_known_default() {
            Some(80 | 443) | None => 0,
            Some(port) => port,
        };
        Place { host: url.host_str().unwrap_or_default().to_ascii_lowercase(), port }
    }
}

impl Jar {
    /// Takes what answers set, each with the URL that it came from, at `now`.
    pub fn take(&mut self, cookies: &[(Url, HeaderValue)], now: Timestamp) {
        for (index, (url, cookie)) in cookies.iter().enumerate() {
            match cookie.to_str() {
                Ok(text) if index < SET_COOKIE_LIMIT => self.set(url, text, now),
                _ => self.dropped += 1,
            }
        }
    }

    fn set(&mut self, url: &Url, text: &str, now: Timestamp) {
        let mut parts = text.split(';');
        let Some((name, value)) = parts.next().unwrap_or_default().split_once('=') else { return };
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || name.len() + value.len() > COOKIE_LIMIT {
            self.dropped += 1;
            return;
        }
        let mut cookie = Cookie {
            place: Place::of(url),
            path: default_path(url.path()),
            name: name.to_owned(),
            value: value.to_owned(),
            secure: false,
            expires: None,
        };
        let mut max_age = None;
        for attribute in parts {
            let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
            match key.as_str() {
                "secure" => cookie.secure = true,
                "path" if value.starts_with('/') => cookie.path = value.to_owned(),
                "domain" if !value.is_empty() && !covers(value, url) => {
                    self.dropped += 1;
                    return;
                }
                "max-age" => max_age = expiry_after(value, now).or(max_age),
                "expires" => cookie.expires = expiry_at(value).or(cookie.expires),
                _ => {}
            }
        }
        // Max-Age has precedence over Expires (RFC 6265, 5.3).
        cookie.expires = max_age.or(cookie.expires);
        self.cookies.retain(|old| {
            !(old.place == cookie.place && old.path == cookie.path && old.name == cookie.name)
                && old.expires.is_none_or(|at| at > now)
        });
        if cookie.expires.is_some_and(|at| at <= now) {
            return; // this is how a cookie is deleted
        }
        if self.cookies.len() >= COOKIES_LIMIT {
            self.dropped += 1;
            return;
        }
        self.cookies.push(cookie);
    }

    /// The value of the `Cookie` header for a request to `url`; `None` where nothing is to be sent.
    pub fn header(&self, url: &Url, now: Timestamp) -> Option<String> {
        let place = Place::of(url);
        let safe = url.scheme() == "https" || is_loopback(url);
        let mut fitting: Vec<&Cookie> = self
            .cookies
            .iter()
            .filter(|cookie| {
                cookie.place == place
                    && covers_path(&cookie.path, url.path())
                    && (safe || !cookie.secure)
                    && cookie.expires.is_none_or(|at| at > now)
            })
            .collect();
        // Longer paths first, among equals the older one (RFC 6265, 5.4); the sort is stable.
        fitting.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let mut header = String::new();
        for cookie in fitting {
            if header.len() + cookie.name.len() + cookie.value.len() + 3 > HEADER_LIMIT {
                break;
            }
            if !header.is_empty() {
                header.push_str("; ");
            }
            header.push_str(&cookie.name);
            header.push('=');
            header.push_str(&cookie.value);
        }
        (!header.is_empty()).then_some(header)
    }

    /// The values in the jar, so that they can be struck out of what is shown.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.cookies.iter().map(|cookie| cookie.value.as_str())
    }

    /// How many cookies were not kept: too many, too long, for another host, not readable.
    pub fn dropped(&self) -> usize {
        self.dropped
    }
}

/// True where a `Domain` attribute names the host itself or a domain above it.
fn covers(domain: &str, url: &Url) -> bool {
    let domain = domain.trim_start_matches('.').to_ascii_lowercase();
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    if host == domain {
        return true;
    }
    let is_name = matches!(url.host(), Some(Host::Domain(_)));
    is_name && domain.contains('.') && host.strip_suffix(&domain).is_some_and(|rest| rest.ends_with('.'))
}

/// The directory of the path that set the cookie (RFC 6265, 5.1.4).
fn default_path(path: &str) -> String {
    match path.rfind('/') {
        Some(0) | None => "/".to_owned(),
        Some(at) => path[..at].to_owned(),
    }
}

fn covers_path(cookie: &str, path: &str) -> bool {
    path.strip_prefix(cookie).is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}

fn expiry_after(seconds: &str, now: Timestamp) -> Option<Timestamp> {
    let digits = seconds.strip_prefix('-').unwrap_or(seconds);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Numbers beyond all bounds mean "for ever"; a run is over long before.
    let seconds = seconds.parse::<i64>().unwrap_or(if seconds.starts_with('-') { -1 } else { i64::MAX });
    let seconds = seconds.clamp(-1, 366 * 86_400) as u64 as i64;
    if seconds <= 0 {
        return Some(Timestamp::MIN);
    }
    Some(now.checked_add(Duration::from_secs(seconds.unsigned_abs())).unwrap_or(Timestamp::MAX))
}

fn expiry_at(date: &str) -> Option<Timestamp> {
    // `Thu, 01-Jan-1970 00:00:00 GMT` is written as often as the form of RFC 1123.
    DateTimeParser::new().parse_timestamp(date.replace('-', " ")).ok()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T10:00:00Z".parse().unwrap()
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn jar(from: &str, cookies: &[&str]) -> Jar {
        let cookies: Vec<(Url, HeaderValue)> =
            cookies.iter().map(|cookie| (url(from), cookie.parse().unwrap())).collect();
        let mut jar = Jar::default();
        jar.take(&cookies, now());
        jar
    }

    #[test]
    fn a_cookie_goes_back_to_where_it_came_from_and_nowhere_else() {
        for (set, cookie, asked, sent) in [
            ("https://h.example/a/b", "s=1", "https://h.example/a/c", Some("s=1")),
            ("https://h.example/a/b", "s=1", "https://h.example/b", None),
            ("https://h.example/a/b", "s=1; Path=/", "https://h.example/b", Some("s=1")),
            ("https://h.example/a", "s=1; Path=/a", "https://h.example/ab", None),
            ("https://h.example/", "s=1", "https://other.example/", None),
            ("https://h.example/", "s=1; Domain=other.example", "https://h.example/", None),
            ("https://h.example/", "s=1; Domain=example", "https://h.example/", None),
            ("https://a.h.example/", "s=1; Domain=.h.example", "https://a.h.example/", Some("s=1")),
            ("https://a.h.example/", "s=1; Domain=h.example", "https://b.h.example/", None),
            ("http://h.example/", "s=1", "https://h.example/", Some("s=1")),
            ("http://h.example:8080/", "s=1", "http://h.example:8081/", None),
            ("http://h.example/", "s=1; Secure", "http://h.example/", None),
            ("http://h.example/", "s=1; Secure", "https://h.example/", Some("s=1")),
            ("http://127.0.0.1:1/", "s=1; secure; HttpOnly; SameSite=Lax", "http://127.0.0.1:1/", Some("s=1")),
            ("http://127.0.0.1:1/", "s=1; Domain=0.0.1", "http://127.0.0.1:1/", None),
            ("https://h.example/", "s=1; Max-Age=1e20", "https://h.example/", Some("s=1")),
            ("https://h.example/", "s=1; Max-Age=99999999999999999999999", "https://h.example/", Some("s=1")),
            ("https://h.example/", "s=1; Max-Age=0", "https://h.example/", None),
            ("https://h.example/", "s=1; Max-Age=-99999999999999999999999", "https://h.example/", None),
            ("https://h.example/", "s=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "https://h.example/", None),
            ("https://h.example/", "s=1; Expires=Thu, 01-Jan-1970 00:00:00 GMT", "https://h.example/", None),
            (
                "https://h.example/",
                "s=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=9",
                "https://h.example/",
                Some("s=1"),
            ),
            ("https://h.example/", "s=1; Expires=nonsense", "https://h.example/", Some("s=1")),
            ("https://h.example/", "=1", "https://h.example/", None),
            ("https://h.example/", "no-value", "https://h.example/", None),
        ] {
            assert_eq!(
                jar(set, &[cookie]).header(&url(asked), now()).as_deref(),
                sent,
                "{cookie} from {set} to {asked}"
            );
        }
    }

    #[test]
    fn the_newest_value_counts_and_an_expired_one_deletes() {
        let both = jar("https://h/a/b", &["s=1; Path=/", "s=2; Path=/", "t=3; Path=/a", "t=4; Path=/"]);
        assert_eq!(both.header(&url("https://h/a/b"), now()).as_deref(), Some("t=3; s=2; t=4"));
        let gone = jar("https://h/", &["s=1", "s=; Max-Age=0"]);
        assert_eq!(gone.header(&url("https://h/"), now()), None);
    }

    #[test]
    fn a_flood_is_bounded_and_cannot_push_out_a_session() {
        let flood: Vec<String> = std::iter::once("session=1".to_owned())
            .chain((0..5_000).map(|n| format!("c{n}={}", "x".repeat(3_000))))
            .chain(["big=".to_owned() + &"x".repeat(10_000)])
            .collect();
        let flood: Vec<&str> = flood.iter().map(String::as_str).collect();
        let jar = jar("https://h/", &flood);
        assert_eq!(jar.cookies.len(), COOKIES_LIMIT);
        assert!(jar.dropped() > 4_900);
        let header = jar.header(&url("https://h/"), now()).unwrap();
        assert!(header.starts_with("session=1; ") && header.len() <= HEADER_LIMIT);
    }
}
