//! Slots in a URL: a value is a path segment, a part of one, or a query's value. Where the request goes is fixed.

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer};
use url::Url;

use super::{FromText, Piece, Pieces, SlotError, value};
use crate::model::encode;
use crate::model::params::Params;

/// The longest URL that is sent, in bytes.
const URL_LIMIT: usize = 8 * 1024;

/// An absolute `http` or `https` URL with slots behind the first literal character of its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlTemplate {
    text: String,
    pieces: Pieces,
    /// The URL with `x` in each slot: scheme, host, port and the number of segments of every rendering.
    base: Url,
}

/// Which part of a URL is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Scheme, userinfo, host, port.
    Authority,
    /// The `/` that ends the authority was the last character.
    PathStart,
    Path,
    QueryName,
    QueryValue,
}

impl UrlTemplate {
    /// Reads and checks a template.
    ///
    /// # Errors
    /// Not an absolute http(s) URL; credentials or a fragment in it; a slot outside of the path and the query's values.
    pub fn parse(text: &str) -> Result<Self, SlotError> {
        let unfit = |what: &str| Err(SlotError::Unfit(what.to_owned()));
        let pieces = Pieces::parse(text)?;
        check_places(&pieces)?;
        let placeholder = pieces.fill(|_| Ok("x".to_owned()))?;
        if placeholder.chars().any(|c| c.is_whitespace() || encode::is_unprintable(c)) {
            return unfit("a URL holds no spaces or control characters (write %20 for a space)");
        }
        if placeholder.contains('\\') {
            return unfit("a URL holds no backslash");
        }
        // Parsers forgive `http:/h` and `http:///h`; what is checked here must be what they read.
        let (scheme, rest) = placeholder.split_once("://").unwrap_or_default();
        let web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
        if !web || rest.is_empty() || rest.starts_with(['/', '?', '#']) {
            return unfit("not an http or https URL (write it like https://shop.example.com/path)");
        }
        let base = Url::parse(&placeholder).map_err(|error| SlotError::Unfit(format!("not a URL: {error}")))?;
        if !base.username().is_empty() || base.password().is_some() {
            return unfit("no user or password in a URL (use basic: or bearer_token: with a secret)");
        }
        if base.fragment().is_some() {
            return unfit("a fragment (#…) is never sent; leave it out");
        }
        let path = rest.split('?').next().unwrap_or_default();
        if path.split('/').skip(1).any(is_dot_segment) {
            return unfit("no `.` or `..` in a path; write the path that is meant");
        }
        Ok(UrlTemplate { text: text.to_owned(), pieces, base })
    }

    /// As it is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The URL with `x` in each slot: its scheme, host and port are those of every rendering.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// `host:port`, the system that is asked.
    pub fn host_and_port(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        format!("{host}:{}", self.base.port_or_known_default().unwrap_or_default())
    }

    pub fn params(&self) -> Vec<String> {
        self.pieces.params()
    }

    /// The URL with its values.
    ///
    /// # Errors
    /// A value that is missing, empty or a dot segment in the path, or holds control characters; a URL that gets too long.
    pub fn render(&self, values: &Params) -> Result<Url, SlotError> {
        let mut offender = "";
        for piece in self.pieces.iter() {
            let Piece::Slot(name) = piece else { continue };
            offender = name;
            if value(values, name)?.chars().any(char::is_control) {
                return Err(SlotError::Value { name: name.clone(), why: "holds a control character" });
            }
        }
        let refuse = |why| Err(SlotError::Value { name: offender.to_owned(), why });
        let filled = self.pieces.fill(|name| Ok(encode::url_segment(value(values, name)?)))?;
        if filled.len() > URL_LIMIT {
            return refuse("makes the URL longer than 8 KiB");
        }
        // URL parsers resolve dot segments even where they are escaped; the encoder alone can't prevent that.
        let path = filled.split('?').next().unwrap_or_default();
        for (filled, placeholder) in path.split('/').skip(3).zip(self.segments()) {
            if is_dot_segment(filled) {
                return refuse("is a dot segment (`.` or `..`)");
            }
            if filled.is_empty() && !placeholder.is_empty() {
                return refuse("is empty");
            }
        }
        let Ok(url) = Url::parse(&filled) else { return refuse("doesn't fit into the URL") };
        // What the encoder guarantees is checked once more on what will be sent.
        let same_origin = url.scheme() == self.base.scheme()
            && url.host() == self.base.host()
            && url.port() == self.base.port()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none();
        let same_shape = url.path().split('/').count() == self.base.path().split('/').count()
            && url.query().map(|query| query.split('&').count())
                == self.base.query().map(|query| query.split('&').count());
        if !same_origin || !same_shape {
            return refuse("would change where the request goes");
        }
        Ok(url)
    }

    fn segments(&self) -> impl Iterator<Item = &str> {
        self.base.path().split('/').skip(1)
    }
}

/// Refuses slots in every part of the URL but the path behind its first character, and the query's values.
fn check_places(pieces: &Pieces) -> Result<(), SlotError> {
    let mut part = Part::Authority;
    let mut seen = String::new();
    for piece in pieces.iter() {
        match piece {
            Piece::Literal(text) => {
                for c in text.chars() {
                    seen.push(c);
                    part = match (part, c) {
                        (Part::Authority, '/') if seen.matches('/').count() >= 3 => Part::PathStart,
                        (Part::Authority | Part::PathStart | Part::Path, '?') if seen.contains("://") => {
                            Part::QueryName
                        }
                        (Part::Authority, _) => Part::Authority,
                        (Part::PathStart, '/') => Part::PathStart,
                        (Part::PathStart | Part::Path, _) => Part::Path,
                        (Part::QueryName, '=') => Part::QueryValue,
                        (Part::QueryName, _) => Part::QueryName,
                        (Part::QueryValue, '&') => Part::QueryName,
                        (Part::QueryValue, _) => Part::QueryValue,
                    };
                }
            }
            Piece::Slot(name) => {
                let place = match part {
                    Part::Path | Part::QueryValue => continue,
                    Part::Authority => "a URL's scheme, host or port",
                    Part::PathStart => "the first place of a URL's path (it would choose what is asked for)",
                    Part::QueryName => "the name of a query's value",
                };
                return Err(SlotError::Place { name: name.clone(), place });
            }
        }
    }
    Ok(())
}

/// `.`, `..` and their escaped forms.
fn is_dot_segment(segment: &str) -> bool {
    let decoded: Vec<u8> = percent_decode_str(segment).collect();
    decoded == b"." || decoded == b".."
}

impl<'de> Deserialize<'de> for UrlTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        FromText::read(deserializer, UrlTemplate::parse, "a URL, like https://shop.example.com/path")
    }
}

impl schemars::JsonSchema for UrlTemplate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "UrlTemplate".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^https?://",
            "description": "an http or https URL; {{ parameters }} may stand in its path and in its query's values"
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::params;
    use super::*;

    #[test]
    fn slots_stand_in_the_path_and_in_the_query_values_only() {
        for good in [
            "https://shop.example.com/",
            "http://127.0.0.1:8470/api/cart/{{ cart }}/pay",
            "http://h/user-{{ a }}",
            "http://h/a/{{ a }}-{{ b }}.json?x={{ c }}&y=1{{ d }}",
            "http://h?x={{ a }}",
            "http://[::1]:80/x/{{ a }}",
        ] {
            assert!(UrlTemplate::parse(good).is_ok(), "{good}");
        }
        for (bad, part) in [
            ("{{ scheme }}://h/", "scheme, host or port"),
            ("http://{{ host }}/", "scheme, host or port"),
            ("http://h{{ x }}/", "scheme, host or port"),
            ("http://h:{{ port }}/", "scheme, host or port"),
            ("http://{{ u }}@h/", "scheme, host or port"),
            ("http:/{{ a }}/x", "scheme, host or port"),
            ("http://h/{{ a }}", "first place"),
            ("http://h/{{ a }}/b", "first place"),
            ("http://h//{{ a }}/b", "first place"),
            ("http://h/a?{{ k }}=1", "name of a query"),
            ("http://h/a?x=1&{{ k }}", "name of a query"),
            ("http://h/a#{{ f }}", "fragment"),
            ("http://h/a?b=1#x", "fragment"),
            ("http://user:pw@h/", "no user or password"),
            ("http://h/a/../{{ b }}", "no `.` or `..`"),
            ("http://h/a/%2E%2e/b", "no `.` or `..`"),
            ("http://h/a b", "no spaces"),
            ("http://h\\@evil/", "backslash"),
            ("ftp://h/", "http or https"),
            ("/relative", "not an http or https URL"),
            ("http://", "not an http or https URL"),
            ("http:///h/x", "not an http or https URL"),
            ("http:/h/x", "not an http or https URL"),
            ("http://h:99999/", "not a URL"),
        ] {
            let error = UrlTemplate::parse(bad).unwrap_err().to_string();
            assert!(error.contains(part), "{bad}: {error}");
        }
    }

    #[test]
    fn hostile_values_stay_one_segment_or_are_refused() {
        let template = UrlTemplate::parse("http://h:81/api/{{ a }}/pay?next={{ a }}").unwrap();
        for hostile in
            ["../", "%2e%2e%2f", "..;/", "//evil", "?x=1", "#", "\\", "%00", "@evil", "a&b=c", "http://evil/", "ü", " "]
        {
            let url = template.render(&params(&[("a", hostile)])).unwrap();
            assert_eq!((url.host_str(), url.port()), (Some("h"), Some(81)), "{hostile}");
            let segments: Vec<_> = url.path_segments().unwrap().collect();
            assert_eq!(segments.len(), 3, "{hostile}");
            assert_eq!(percent_decode_str(segments[1]).decode_utf8().unwrap(), hostile);
            let pairs: Vec<_> = url.query_pairs().collect();
            assert_eq!(pairs, [("next".into(), hostile.into())], "{hostile}");
        }
        for refused in ["", ".", "..", "\0", "a\r\nb", "\u{1b}[2J", &"x".repeat(9_000)] {
            assert!(template.render(&params(&[("a", refused)])).is_err(), "{refused:?}");
        }
        // Literal and value together must not make a dot segment either.
        let half = UrlTemplate::parse("http://h/a/.{{ x }}/b").unwrap();
        assert!(half.render(&params(&[("x", ".")])).is_err());
        assert!(half.render(&params(&[("x", "well-known")])).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn no_value_changes_where_the_request_goes(a in any::<String>(), b in any::<String>()) {
            let template = UrlTemplate::parse("https://h.example:8443/p/{{ a }}/q-{{ b }}?k={{ b }}&z={{ a }}").unwrap();
            let Ok(url) = template.render(&params(&[("a", &a), ("b", &b)])) else {
                let dots = |text: &str| text == "." || text == "..";
                let control = |text: &str| text.chars().any(char::is_control);
                prop_assert!(a.is_empty() || dots(&a) || control(&a) || control(&b));
                return Ok(());
            };
            prop_assert_eq!(url.origin(), template.base().origin());
            let segments: Vec<_> = url.path_segments().unwrap().collect();
            prop_assert_eq!(segments.len(), 3);
            prop_assert_eq!(segments[0], "p");
            prop_assert_eq!(percent_decode_str(segments[1]).decode_utf8().unwrap(), a.as_str());
            prop_assert_eq!(percent_decode_str(segments[2]).decode_utf8().unwrap(), format!("q-{b}"));
            let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
            prop_assert_eq!(pairs, vec![("k".to_owned(), b), ("z".to_owned(), a)]);
            prop_assert!(url.fragment().is_none() && url.username().is_empty());
        }

        #[test]
        fn no_template_reads_a_slot_before_the_path(head in "(http|https|\\{\\{ a \\}\\}|[a-z]{1,4})?:?/{0,3}([a-z.:@?#]|\\{\\{ a \\}\\}){0,8}") {
            if let Ok(template) = UrlTemplate::parse(&head)
                && let Ok(url) = template.render(&params(&[("a", "evil.example")]))
            {
                prop_assert_eq!(url.origin(), template.base().origin());
                prop_assert!(!url.host_str().unwrap_or_default().contains("evil"));
            }
        }
    }
}
