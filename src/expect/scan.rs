//! A first look over an expression's characters: the slips that people make most, each said in plain words at its own
//! place, before the language's own parser speaks in terms of tokens and alternatives.

use super::Refused;

/// The longest text of an expression, in bytes.
pub(super) const TEXT_LIMIT: usize = 4_096;

/// The most words, numbers and signs in one expression; with it the parser's stack is bounded.
pub(super) const TOKEN_LIMIT: usize = 800;

/// Looks for what can't be right whatever the measures are. `known` says whether a word is a name of something.
///
/// # Errors
/// The first slip, with what to write instead.
pub(super) fn scan(text: &str, known: &dyn Fn(&str) -> bool) -> Result<(), Refused> {
    if text.len() > TEXT_LIMIT {
        let length = text.chars().count();
        return Err(refuse(0, length, format!("the expression is longer than {TEXT_LIMIT} bytes")));
    }
    if text.trim().is_empty() {
        return Err(refuse(0, 1, "the expression is empty"));
    }
    let chars: Vec<char> = text.chars().collect();
    let mut open: Vec<(char, usize)> = Vec::new();
    let mut tokens = 0;
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let next = chars.get(at + 1).copied();
        tokens += usize::from(!c.is_whitespace());
        if tokens > TOKEN_LIMIT {
            return Err(refuse(at, 1, format!("the expression has more than {TOKEN_LIMIT} parts")));
        }
        at = match c {
            c if c.is_whitespace() => at + 1,
            '/' if next == Some('/') => line_end(&chars, at),
            '"' | '\'' => text_end(&chars, at, false)?,
            'r' | 'R' | 'b' | 'B' if matches!(next, Some('"' | '\'')) => {
                text_end(&chars, at + 1, matches!(c, 'r' | 'R'))?
            }
            c if c.is_alphabetic() || c == '_' => word(&chars, at, known)?,
            c if c.is_ascii_digit() => number(&chars, at)?,
            '(' | '[' | '{' => {
                open.push((c, at));
                at + 1
            }
            ')' | ']' | '}' => {
                close(c, at, open.pop())?;
                at + 1
            }
            _ => sign(&chars, at)?,
        };
    }
    match open.pop() {
        Some((c, at)) => Err(refuse(at, 1, format!("`{c}` is not closed")).hint(format!("a `{}` is missing", pair(c)))),
        None => Ok(()),
    }
}

pub(super) fn refuse(offset: usize, length: usize, message: impl Into<String>) -> Refused {
    Refused { offset, length: length.max(1), message: message.into(), hint: None }
}

impl Refused {
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

fn pair(open: char) -> char {
    match open {
        '(' => ')',
        '[' => ']',
        _ => '}',
    }
}

fn close(c: char, at: usize, opened: Option<(char, usize)>) -> Result<(), Refused> {
    match opened {
        Some((open, _)) if pair(open) == c => Ok(()),
        Some((open, _)) => Err(refuse(at, 1, format!("`{c}` where `{}` is expected, to close `{open}`", pair(open)))),
        None => Err(refuse(at, 1, format!("`{c}` closes nothing"))),
    }
}

fn line_end(chars: &[char], from: usize) -> usize {
    chars.iter().skip(from).position(|&c| c == '\n').map_or(chars.len(), |length| from + length)
}

/// Where text in quotes ends; `from` is its opening quote.
fn text_end(chars: &[char], from: usize, raw: bool) -> Result<usize, Refused> {
    let quote = chars[from];
    let is = |at: usize| chars.get(at) == Some(&quote);
    let triple = is(from + 1) && is(from + 2);
    let mut at = if triple { from + 3 } else { from + 1 };
    while let Some(&c) = chars.get(at) {
        match c {
            '\\' if !raw => at += 1,
            '\n' if !triple => break,
            _ if c == quote && !triple => return Ok(at + 1),
            _ if c == quote && is(at + 1) && is(at + 2) => return Ok(at + 3),
            _ => {}
        }
        at += 1;
    }
    Err(refuse(from, chars.len() - from, "text in quotes is not closed").hint(format!("a `{quote}` is missing")))
}

fn word(chars: &[char], from: usize, known: &dyn Fn(&str) -> bool) -> Result<usize, Refused> {
    let length = chars.iter().skip(from).take_while(|c| c.is_alphanumeric() || **c == '_').count();
    let word: String = chars.iter().skip(from).take(length).collect();
    let member = chars.iter().take(from).rev().find(|c| !c.is_whitespace()) == Some(&'.');
    if member || known(&word) {
        return Ok(from + length);
    }
    if !word.is_ascii() {
        let message = format!("`{}` is not a name", crate::model::encode::terminal(&word));
        return Err(refuse(from, length, message).hint("names have the letters a to z, digits and `_`"));
    }
    let instead = match word.to_ascii_lowercase().as_str() {
        "and" => "&&",
        "or" => "||",
        "not" => "!",
        "is" | "eq" | "equals" => "==",
        "none" | "nil" => "null",
        "true" if word != "true" => "true",
        "false" if word != "false" => "false",
        _ => return Ok(from + length),
    };
    Err(refuse(from, length, format!("`{word}` is not a word of the language")).hint(format!("write `{instead}`")))
}

fn number(chars: &[char], from: usize) -> Result<usize, Refused> {
    let text: String = chars
        .iter()
        .enumerate()
        .skip(from)
        .take_while(|&(at, &c)| {
            let after_exponent =
                at > from && matches!(chars[at - 1], 'e' | 'E') && !matches!(chars.get(from + 1), Some('x' | 'X'));
            c.is_alphanumeric() || c == '.' || (matches!(c, '+' | '-') && after_exponent)
        })
        .map(|(_, c)| *c)
        .collect();
    let length = text.chars().count();
    let digits = text.trim_end_matches(['u', 'U']);
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let is_number = match hexadecimal {
        Some(digits) => digits.chars().all(|c| c.is_ascii_hexdigit()),
        None => digits.parse::<f64>().is_ok(),
    };
    if is_number {
        return Ok(from + length);
    }
    let refused = refuse(from, length, format!("`{text}` is not a number"));
    Err(match crate::model::units::parse_duration(&text) {
        Ok(duration) => refused.hint(format!(
            "write `duration(\"{text}\")`, or {} for seconds",
            crate::model::value::show_number(duration.as_secs_f64())
        )),
        Err(_) => match crate::model::units::parse_size(&text) {
            Ok(bytes) => refused.hint(format!("write {bytes} for bytes")),
            Err(_) => refused,
        },
    })
}

fn sign(chars: &[char], at: usize) -> Result<usize, Refused> {
    let three: String = chars.iter().skip(at).take(3).collect();
    let starts = |sign: &str| three.starts_with(sign);
    let wrong = |sign: &str, instead: &str| {
        Err(refuse(at, sign.len(), format!("`{sign}` is not a sign of the language")).hint(format!("write {instead}")))
    };
    if starts("===") {
        wrong("===", "`==`")
    } else if starts("!==") {
        wrong("!==", "`!=`")
    } else if starts("=~") {
        wrong("=~", "`name.matches(\"pattern\")`")
    } else if starts("<>") {
        wrong("<>", "`!=`")
    } else if starts("=<") {
        wrong("=<", "`<=`")
    } else if starts("=>") {
        wrong("=>", "`>=`")
    } else if ["==", "!=", "<=", ">=", "&&", "||"].iter().any(|sign| starts(sign)) {
        Ok(at + 2)
    } else if starts("=") {
        Err(refuse(at, 1, "a single `=` does not compare").hint("write `==`"))
    } else if starts("&") {
        wrong("&", "`&&`")
    } else if starts("|") {
        wrong("|", "`||`")
    } else if chars[at] == '%'
        && !chars.iter().skip(at + 1).any(|c| !c.is_whitespace() && !matches!(c, ')' | '&' | '|'))
    {
        Err(refuse(at, 1, "`%` is no unit: it gives what is left of a division")
            .hint("write ratios from 0 to 1: 0.05 for 5 %"))
    } else if "<>!+-*/%?:,.".contains(chars[at]) {
        Ok(at + 1)
    } else {
        let shown: String = crate::model::encode::terminal(&chars[at].to_string());
        Err(refuse(at, 1, format!("`{shown}` does not belong in an expression")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_named_at_their_place() {
        for (text, offset, length, message, hint) in [
            ("", 0, 1, "the expression is empty", None),
            ("status = 200", 7, 1, "a single `=` does not compare", Some("write `==`")),
            ("status === 200", 7, 3, "`===` is not a sign of the language", Some("write `==`")),
            ("status <> 200", 7, 2, "`<>` is not a sign of the language", Some("write `!=`")),
            ("status => 200", 7, 2, "`=>` is not a sign of the language", Some("write `>=`")),
            ("a == 1 and b == 2", 7, 3, "`and` is not a word of the language", Some("write `&&`")),
            ("not a", 0, 3, "`not` is not a word of the language", Some("write `!`")),
            ("a OR b", 2, 2, "`OR` is not a word of the language", Some("write `||`")),
            ("a == True", 5, 4, "`True` is not a word of the language", Some("write `true`")),
            ("a & b", 2, 1, "`&` is not a sign of the language", Some("write `&&`")),
            ("(a == 1", 0, 1, "`(` is not closed", Some("a `)` is missing")),
            ("a == 1)", 6, 1, "`)` closes nothing", None),
            ("a in [1, 2)", 10, 1, "`)` where `]` is expected, to close `[`", None),
            ("body.contains(\"x)", 14, 3, "text in quotes is not closed", Some("a `\"` is missing")),
            ("'ö' == \"", 7, 1, "text in quotes is not closed", Some("a `\"` is missing")),
            ("a < 5m", 4, 2, "`5m` is not a number", Some("write `duration(\"5m\")`, or 300 for seconds")),
            ("a < 1KiB", 4, 4, "`1KiB` is not a number", Some("write 1024 for bytes")),
            (
                "a < 5%",
                5,
                1,
                "`%` is no unit: it gives what is left of a division",
                Some("write ratios from 0 to 1: 0.05 for 5 %"),
            ),
            ("body =~ \"x\"", 5, 2, "`=~` is not a sign of the language", Some("write `name.matches(\"pattern\")`")),
            ("a == $x", 5, 1, "`$` does not belong in an expression", None),
        ] {
            let refused = scan(text, &|_| false).unwrap_err();
            assert_eq!(
                (refused.offset, refused.length, refused.message.as_str(), refused.hint.as_deref()),
                (offset, length, message, hint),
                "{text}"
            );
        }
    }

    #[test]
    fn what_only_looks_like_a_slip_passes() {
        for text in [
            "json.not == 1",
            "a == \"x = 1 and ( y\"",
            "a == 'it\\'s ='",
            "r\"\\d+\" == a",
            "a % 2 == 0",
            "a == 1e-3 || a == 0x1F || a == 5u",
            "a > 1 // b = 1 (",
            "a == '''it's'''",
        ] {
            assert_eq!(scan(text, &|_| false), Ok(()), "{text}");
        }
        assert_eq!(scan("and == 1", &|word| word == "and"), Ok(()), "a measure may have that name");
    }

    #[test]
    fn texts_are_bounded() {
        assert!(scan(&"x".repeat(TEXT_LIMIT + 1), &|_| false).unwrap_err().message.contains("4096 bytes"));
        assert!(scan(&"!".repeat(TOKEN_LIMIT + 1), &|_| false).unwrap_err().message.contains("800 parts"));
    }
}
