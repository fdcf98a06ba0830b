//! One encoder per sink. What comes from outside reaches a sink only through the sink's own encoder.

use std::fmt::Write;

/// Text that is safe on a terminal and in a line of a log: one line, no controls, no direction tricks.
///
/// `\n` and `\t` become spaces; every other control, C1 code, bidirectional control, zero-width or
/// line-separator character becomes a visible escape such as `\u{1b}`.
pub fn terminal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(' '),
            c if is_unprintable(c) => {
                let _ = write!(out, "\\u{{{:x}}}", c as u32);
            }
            c => out.push(c),
        }
    }
    out
}

/// Like [`terminal`], but keeps line breaks, for an excerpt of several lines.
pub fn terminal_lines(text: &str) -> String {
    text.lines().map(terminal).collect::<Vec<_>>().join("\n")
}

/// True for what can move a cursor, forge a line or reorder what is read.
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{061c}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// One segment of a URL's path, or one value of its query: everything but unreserved characters is escaped,
/// so that it can't end the segment. `.` and `..` are escaped whole.
pub fn url_segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let only_dots = !text.is_empty() && text.bytes().all(|b| b == b'.');
    for byte in text.bytes() {
        let unreserved =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') || (byte == b'.' && !only_dots);
        if unreserved {
            out.push(byte as char);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The inside of a double-quoted string of PromQL (label values, and LogQL alike).
pub fn promql_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out
}

/// Text as one word of a POSIX shell, for the line that reproduces a look by hand.
pub fn shell_word(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    if text.chars().any(is_unprintable) {
        // $'…' is the only quoting in which control characters stay visible.
        let mut out = String::from("$'");
        for c in text.chars() {
            match c {
                '\'' => out.push_str("\\'"),
                '\\' => out.push_str("\\\\"),
                c if is_unprintable(c) => {
                    let _ = if (c as u32) < 0x100 {
                        write!(out, "\\x{:02x}", c as u32)
                    } else {
                        write!(out, "\\U{:08x}", c as u32)
                    };
                }
                c => out.push(c),
            }
        }
        out.push('\'');
        return out;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Text between the tags of HTML, or within a quoted attribute.
pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in terminal(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Text in a message of Slack's own markup (`mrkdwn`): no link, no mention, no channel can be made of it. Formatting
/// characters stay what they are: at worst a word is bold.
pub fn slack(text: &str) -> String {
    terminal(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Text in Markdown (CommonMark, GitHub, GitLab, Mattermost): no markup, no image, no HTML can be made of it. After `@`
/// and `#` stands a character of no width, for `@all` rings everybody and `#1` is written into issue 1, and no backslash
/// keeps them from it.
pub fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in terminal(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '@' | '#' => {
                out.push(c);
                out.push('\u{200b}');
            }
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '!' | '|' | '~' | '+' | '-' | '=' | '$'
            | '^' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// Text in the wiki markup of Jira: no macro, no link, no image, no mention can be made of it.
pub fn jira(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in terminal(text).chars() {
        if matches!(
            c,
            '{' | '}' | '[' | ']' | '!' | '|' | '*' | '_' | '-' | '+' | '^' | '~' | '?' | '#' | '\\' | '(' | ')'
        ) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The value of a header of a mail: one line of printable characters. What is beyond ASCII is left to the encoder of the
/// header (RFC 2047); words that pretend to be encoded already are taken apart, so that nobody decodes them.
pub fn mail_header(text: &str) -> String {
    terminal(text).replace("=?", "= ?")
}

/// True where a value can't be a header's value: line breaks, NUL and other controls.
pub fn breaks_header(text: &str) -> bool {
    text.bytes().any(|b| (b < 0x20 && b != b'\t') || b == 0x7f)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_become_visible() {
        assert_eq!(terminal("\u{1b}[2Jhi\r\nthere\u{202e}"), "\\u{1b}[2Jhi\\u{d} there\\u{202e}");
    }

    #[test]
    fn a_segment_stays_a_segment() {
        for (text, encoded) in
            [("../a", "..%2Fa"), ("..", "%2E%2E"), ("a b?x#y", "a%20b%3Fx%23y"), ("ü", "%C3%BC"), ("%2e", "%252e")]
        {
            assert_eq!(url_segment(text), encoded);
        }
    }

    #[test]
    fn shell_words_are_quoted_only_where_needed() {
        assert_eq!(shell_word("http://a/b?x=1"), "'http://a/b?x=1'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word("/var/log/x.log"), "/var/log/x.log");
        assert_eq!(shell_word("a\u{1b}b"), "$'a\\x1bb'");
    }

    proptest! {
        #[test]
        fn nothing_unprintable_is_left(text in "\\PC*|.*") {
            prop_assert!(!terminal(&text).chars().any(is_unprintable));
        }

        #[test]
        fn a_url_segment_reads_back(text in ".{1,40}") {
            let encoded = url_segment(&text);
            let url = url::Url::parse(&format!("http://h/a/{encoded}/b")).unwrap();
            let segments: Vec<_> = url.path_segments().unwrap().collect();
            // Dot segments are resolved by URL parsers even when escaped: such a value never gets this far (params refuse it).
            if !text.bytes().all(|b| b == b'.') {
                prop_assert_eq!(segments.len(), 3);
                prop_assert_eq!(percent_encoding::percent_decode_str(segments[1]).decode_utf8().unwrap(), text.as_str());
            }
        }

        #[test]
        fn a_promql_string_has_no_way_out(text in ".*") {
            let encoded = promql_string(&text);
            let mut escaped = false;
            for c in encoded.chars() {
                if escaped { escaped = false; continue; }
                prop_assert!(c != '"' && c != '\n');
                escaped = c == '\\';
            }
            prop_assert!(!escaped);
        }
    }
}
