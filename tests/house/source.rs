//! Rust source as the laws read it: without comments and texts, with the module that each part belongs to.

/// The same text with every comment, string and character literal blanked out; line breaks stay.
pub fn without_comments_and_texts(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => at + line_length(&bytes[at..]),
            b'/' if bytes[at..].starts_with(b"/*") => at + block_comment_length(&bytes[at..]),
            b'r' | b'b' | b'c' if !continues_a_word(bytes, at) => at + raw_or_byte_text_length(&bytes[at..]),
            b'"' => at + text_length(&bytes[at..]),
            b'\'' => at + character_length(&source[at..]),
            _ => at,
        };
        if end > at {
            for byte in &mut out[at..end] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
            at = end;
        } else {
            at += 1;
        }
    }
    String::from_utf8(out).expect("whole texts were blanked")
}

fn continues_a_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

fn line_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len())
}

fn block_comment_length(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// `r"…"`, `r#"…"#`, `b"…"`, `br#"…"#`, `c"…"`; 0 where it is something else.
fn raw_or_byte_text_length(bytes: &[u8]) -> usize {
    let prefix = bytes.iter().take_while(|byte| matches!(byte, b'r' | b'b' | b'c')).count().min(2);
    let raw = bytes[..prefix].contains(&b'r');
    let hashes = bytes[prefix..].iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(prefix + hashes) != Some(&b'"') {
        return 0;
    }
    if !raw {
        return if hashes == 0 { prefix + text_length(&bytes[prefix..]) } else { 0 };
    }
    let end: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let start = prefix + hashes + 1;
    let inside = bytes[start..].windows(end.len()).position(|window| window == end);
    inside.map_or(bytes.len(), |inside| start + inside + end.len())
}

fn text_length(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `'x'`, `'\n'`; 0 for a lifetime.
fn character_length(source: &str) -> usize {
    let mut characters = source.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => {
            characters.next();
            characters.find(|(_, character)| *character == '\'').map_or(0, |(at, _)| at + 1)
        }
        Some(_) => match characters.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

/// A path that leads out of its module, to a module right below the crate's root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reach {
    pub line: usize,
    /// The first name after the root: a module of ours, an item, `self` or `*`.
    pub name: String,
}

/// Every path in a file that starts at the crate's root, by `crate::` or by enough `super::`. `depth` is how many modules
/// the file's own is below the root: 1 for `a/mod.rs`, 2 for `a/b.rs`.
pub fn reaches(source: &str, depth: usize) -> Vec<Reach> {
    let tokens = tokens(&without_comments_and_texts(source));
    let mut found = Vec::new();
    // For each open brace, whether it is an inline module's.
    let mut braces: Vec<bool> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let text = tokens[at].text.as_str();
        let next = |ahead: usize| tokens.get(at + ahead).map(|token| token.text.as_str());
        match text {
            "{" => {
                let is_module = at >= 2 && tokens[at - 2].text == "mod";
                braces.push(is_module);
                at += 1;
            }
            "}" => {
                braces.pop();
                at += 1;
            }
            "crate" if next(1) == Some("::") => {
                names_at(&tokens, at + 2, &mut found);
                at += 2;
            }
            "crate" if next(1) == Some("as") => {
                found.push(Reach { line: tokens[at].line, name: "self".into() });
                at += 1;
            }
            "super" => {
                let mut chain = 1;
                while tokens.get(at + 2 * chain - 1).is_some_and(|token| token.text == "::")
                    && tokens.get(at + 2 * chain).is_some_and(|token| token.text == "super")
                {
                    chain += 1;
                }
                let here = depth + braces.iter().filter(|is_module| **is_module).count();
                let after = at + 2 * chain - 1;
                if chain >= here && tokens.get(after).is_some_and(|token| token.text == "::") {
                    names_at(&tokens, after + 1, &mut found);
                }
                at = after;
            }
            _ => at += 1,
        }
    }
    found
}

/// The name at this place, or, where a group `{a, b::c}` stands there, the first name of each of its paths.
fn names_at(tokens: &[Token], at: usize, found: &mut Vec<Reach>) {
    let Some(first) = tokens.get(at) else { return };
    if first.text != "{" {
        found.push(Reach { line: first.line, name: first.text.clone() });
        return;
    }
    let (mut depth, mut is_start) = (0, true);
    for token in &tokens[at..] {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 1 => is_start = true,
            name if depth == 1 && is_start => {
                found.push(Reach { line: token.line, name: name.to_owned() });
                is_start = false;
            }
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

struct Token {
    line: usize,
    text: String,
}

/// Words, `::`, and every other character by itself.
fn tokens(source: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut line = 1;
    let mut in_word = false;
    let mut characters = source.chars().peekable();
    while let Some(character) = characters.next() {
        let is_word = character.is_alphanumeric() || character == '_';
        match character {
            '\n' => line += 1,
            ':' if characters.peek() == Some(&':') => {
                characters.next();
                tokens.push(Token { line, text: "::".into() });
            }
            character if character.is_whitespace() => {}
            character if is_word && in_word => {
                if let Some(last) = tokens.last_mut() {
                    last.text.push(character);
                }
            }
            character => tokens.push(Token { line, text: character.into() }),
        }
        in_word = is_word;
    }
    tokens
}

#[test]
fn comments_and_texts_are_blanked_and_nothing_else() {
    for (source, expected) in [
        ("a // crate::x\nb", "a            \nb"),
        ("a /* x /* y */ z */ b", "a                     b"),
        ("a \"crate::x \\\" y\" b", "a                   b"),
        ("r#\"x \" y\"# b", "           b"),
        ("br\"x\\\" b", "       b"),
        ("b\"x\" c\"y\" 'z' '\\'' b'q' d", "                    b    d"),
        ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
        ("for x in y { bar(r) }", "for x in y { bar(r) }"),
        ("'ü' x", "     x"),
    ] {
        let found = without_comments_and_texts(source);
        let squeezed = |text: &str| text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(&found), squeezed(expected), "{source}");
        assert_eq!(found.len(), source.len(), "{source}");
    }
}

#[test]
fn every_way_to_the_root_is_found() {
    for (depth, source, expected) in [
        (2, "use crate::net::http;", vec!["net"]),
        (2, "use crate::{net::{dns, http}, yaml, self as root};", vec!["net", "yaml", "self"]),
        (2, "let x = crate :: store\n::open();", vec!["store"]),
        (2, "pub(in crate::evidence) fn x() {}", vec!["evidence"]),
        (2, "pub(crate) fn x() {}", vec![]),
        (2, "use crate as root;", vec!["self"]),
        (2, "// crate::net\nlet x = \"crate::net\";", vec![]),
        (1, "use super::net;", vec!["net"]),
        (2, "use super::net;", vec![]),
        (2, "use super::super::net;", vec!["net"]),
        (2, "use super::super::{net, yaml::Node};", vec!["net", "yaml"]),
        (2, "mod tests { use super::super::net; }", vec![]),
        (2, "mod tests { use super::super::super::net; } use super::super::yaml;", vec!["net", "yaml"]),
        (1, "fn f() { super::net::x() }", vec!["net"]),
        (1, "mod tests { use super::*; }", vec![]),
        (1, "use super::*;", vec!["*"]),
        (1, "use self::super::net;", vec!["net"]),
    ] {
        let names: Vec<String> = reaches(source, depth).into_iter().map(|reach| reach.name).collect();
        assert_eq!(names, expected, "{source}");
    }
}
