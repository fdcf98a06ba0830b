//! Reads single fields out of a JSON or logfmt line without building a tree of it.
//!
//! A line of a log is hostile: nothing here recurses, and whatever is malformed simply ends the fields.

use std::borrow::Cow;

/// A field's value as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raw<'a> {
    /// The inside of a string, its escapes still in it.
    Text(&'a [u8]),
    /// A number, `true`, `false`, `null`.
    Bare(&'a [u8]),
    /// An object or a list, its brackets included.
    Nested(&'a [u8]),
}

impl<'a> Raw<'a> {
    /// The value as text: a string without its escapes, anything else as written.
    pub fn text(self) -> Cow<'a, [u8]> {
        match self {
            Raw::Text(inside) => unescape(inside),
            Raw::Bare(text) | Raw::Nested(text) => Cow::Borrowed(text),
        }
    }

    /// The value as a finite number, also where it is written as a string.
    pub fn number(self) -> Option<f64> {
        match self {
            Raw::Text(text) | Raw::Bare(text) => {
                std::str::from_utf8(text).ok()?.trim().parse().ok().filter(|value: &f64| value.is_finite())
            }
            Raw::Nested(_) => None,
        }
    }
}

/// Visits the members of the object that `line` begins with, until `visit` returns false or the object ends.
///
/// Keys come with their escapes in them, as do texts.
pub fn json_members<'a>(line: &'a [u8], mut visit: impl FnMut(&'a [u8], Raw<'a>) -> bool) {
    let mut at = 1;
    if line.first() != Some(&b'{') {
        return;
    }
    loop {
        at = skip_blank(line, at);
        if line.get(at) == Some(&b',') {
            at = skip_blank(line, at + 1);
        }
        if line.get(at) != Some(&b'"') {
            return;
        }
        let Some(end) = end_of_string(line, at) else { return };
        let key = &line[at + 1..end];
        at = skip_blank(line, end + 1);
        if line.get(at) != Some(&b':') {
            return;
        }
        at = skip_blank(line, at + 1);
        let Some((value, next)) = value(line, at) else { return };
        if !visit(key, value) {
            return;
        }
        at = next;
    }
}

/// The value at the end of a path of names; a list on the way stands for its first element.
pub fn json_at<'a>(line: &'a [u8], path: &[String]) -> Option<Raw<'a>> {
    let mut here = Raw::Nested(line);
    for name in path {
        let Raw::Nested(inside) = here else { return None };
        let mut found = None;
        json_members(inside, |key, value| {
            if key == name.as_bytes() {
                found = Some(value);
            }
            found.is_none()
        });
        here = found?;
        if let Raw::Nested(list) = here
            && list.first() == Some(&b'[')
        {
            here = value(list, skip_blank(list, 1))?.0;
        }
    }
    Some(here)
}

/// Visits the `key=value` pairs of a line, until `visit` returns false.
pub fn logfmt<'a>(line: &'a [u8], mut visit: impl FnMut(&'a [u8], Raw<'a>) -> bool) {
    let mut at = 0;
    while at < line.len() {
        at += line[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let key_end = line[at..].iter().position(|byte| *byte == b'=' || byte.is_ascii_whitespace());
        let Some(key_end) = key_end.map(|length| at + length) else { return };
        if line[key_end] != b'=' {
            at = key_end;
            continue;
        }
        let key = &line[at..key_end];
        let (value, next) = if line.get(key_end + 1) == Some(&b'"') {
            let Some(end) = end_of_string(line, key_end + 1) else { return };
            (Raw::Text(&line[key_end + 2..end]), end + 1)
        } else {
            let rest = &line[key_end + 1..];
            let length = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
            (Raw::Bare(&rest[..length]), key_end + 1 + length)
        };
        if !key.is_empty() && !visit(key, value) {
            return;
        }
        at = next;
    }
}

/// A string's text without its escapes; a broken escape stays as it is.
pub fn unescape(inside: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(b'\\', inside) else { return Cow::Borrowed(inside) };
    let mut out = inside[..first].to_vec();
    let mut at = first;
    while let Some(&byte) = inside.get(at) {
        at += 1;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match inside.get(at) {
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'r') => out.push(b'\r'),
            Some(b'b') => out.push(8),
            Some(b'f') => out.push(12),
            Some(b'u') => {
                let (code, used) = unicode(inside, at + 1);
                let mut buffer = [0; 4];
                out.extend_from_slice(code.encode_utf8(&mut buffer).as_bytes());
                at += used;
            }
            Some(other) => out.push(*other),
            None => out.push(b'\\'),
        }
        at += 1;
    }
    Cow::Owned(out)
}

/// The character of `\uXXXX` or of a surrogate pair, and the number of bytes behind the `u`.
fn unicode(inside: &[u8], at: usize) -> (char, usize) {
    let unit =
        |at: usize| -> Option<u32> { u32::from_str_radix(std::str::from_utf8(inside.get(at..at + 4)?).ok()?, 16).ok() };
    let Some(high) = unit(at) else { return (char::REPLACEMENT_CHARACTER, 0) };
    if (0xd800..0xdc00).contains(&high)
        && inside.get(at + 4..at + 6) == Some(b"\\u")
        && let Some(low) = unit(at + 6).filter(|low| (0xdc00..0xe000).contains(low))
    {
        let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 10);
    }
    (char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), 4)
}

fn skip_blank(line: &[u8], mut at: usize) -> usize {
    while line.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// Up to here a string is short, in bytes.
const SHORT: usize = 8;

/// The closing quote of the string that opens at `open`.
pub fn end_of_string(line: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    // Most strings are short: for these a search that reads many bytes at once takes longer to begin than to end.
    for _ in 0..SHORT {
        match line.get(at)? {
            b'"' => return Some(at),
            b'\\' => break,
            _ => at += 1,
        }
    }
    loop {
        at += memchr::memchr2(b'"', b'\\', line.get(at..)?)?;
        if line[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// The value at `at`, and where the line goes on behind it.
fn value(line: &[u8], at: usize) -> Option<(Raw<'_>, usize)> {
    match line.get(at)? {
        b'"' => {
            let end = end_of_string(line, at)?;
            Some((Raw::Text(&line[at + 1..end]), end + 1))
        }
        b'{' | b'[' => {
            let mut depth = 0_usize;
            let mut here = at;
            loop {
                match line.get(here)? {
                    b'"' => here = end_of_string(line, here)?,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                here += 1;
                if depth == 0 {
                    return Some((Raw::Nested(&line[at..here]), here));
                }
            }
        }
        _ => {
            let rest = &line[at..];
            let length = rest
                .iter()
                .position(|byte| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace())
                .unwrap_or(rest.len());
            (length > 0).then(|| (Raw::Bare(&rest[..length]), at + length))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(line: &str, path: &str) -> Option<String> {
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        json_at(line.as_bytes(), &path).map(|raw| String::from_utf8_lossy(&raw.text()).into_owned())
    }

    #[test]
    fn fields_are_found_at_their_own_depth() {
        let line = r#"{ "a" : 1, "b":{"c":"x\"}","d":[{"e":true}]}, "h":{"X-Tenant":["acme","b"]}, "t":"\u00fc\ud83d\ude00\n" }"#;
        for (path, value) in [
            ("a", Some("1")),
            ("b.c", Some("x\"}")),
            ("b.d.e", Some("true")),
            ("h.X-Tenant", Some("acme")),
            ("t", Some("ü😀\n")),
            ("c", None),
            ("a.b", None),
        ] {
            assert_eq!(at(line, path).as_deref(), value, "{path}");
        }
    }

    #[test]
    fn what_is_cut_short_ends_the_fields() {
        for line in
            ["{", "{\"a", "{\"a\"", "{\"a\":", "{\"a\":{", "{\"a\":\"x", "{\"a\":\"x\\", "{\"b\":1 \"a\"}", "[1]", ""]
        {
            assert_eq!(at(line, "a"), None, "{line}");
        }
    }

    #[test]
    fn logfmt_pairs_are_read() {
        let mut seen = Vec::new();
        logfmt(br#"free level=error msg="a \"b\" c" empty= n=1 =x tail"#, |key, value| {
            seen.push((String::from_utf8_lossy(key).into_owned(), String::from_utf8_lossy(&value.text()).into_owned()));
            true
        });
        let expected = [("level", "error"), ("msg", "a \"b\" c"), ("empty", ""), ("n", "1")];
        assert_eq!(seen, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    proptest! {
        #[test]
        fn members_are_those_of_a_real_parser(
            map in proptest::collection::btree_map("[a-z]{1,6}", prop_oneof![
                any::<i64>().prop_map(serde_json::Value::from),
                ".{0,20}".prop_map(serde_json::Value::from),
                any::<bool>().prop_map(serde_json::Value::from),
                proptest::collection::vec(".{0,5}", 0..3).prop_map(serde_json::Value::from),
            ], 0..6)
        ) {
            let line = serde_json::to_vec(&map).unwrap();
            let mut seen = std::collections::BTreeMap::new();
            json_members(&line, |key, value| {
                let value = match value {
                    Raw::Text(_) => serde_json::Value::from(String::from_utf8(value.text().into_owned()).unwrap()),
                    Raw::Bare(text) | Raw::Nested(text) => serde_json::from_slice(text).unwrap(),
                };
                seen.insert(String::from_utf8_lossy(key).into_owned(), value);
                true
            });
            prop_assert_eq!(seen, map);
        }

        #[test]
        fn nothing_makes_it_panic(line in "[{}\\[\\]\":,a\\\\u0d ]{0,60}") {
            json_members(line.as_bytes(), |_, value| { value.text(); true });
            logfmt(line.as_bytes(), |_, value| { value.text(); true });
            at(&line, "a.a");
        }
    }
}
