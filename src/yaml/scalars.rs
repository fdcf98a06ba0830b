//! What a plain scalar may be besides text: numbers in one way of writing, and what could be read in two.

/// `0`, `-12`, `200`; not `010`, `+5`, `1_000`, `0x50`.
pub(super) fn is_decimal_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'))
}

/// `0.5`, `-1.0`, `1e3`; not `.5`, `010`, `.inf`, `1_0.0`.
pub(super) fn float(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let shaped = digits.bytes().next().is_some_and(|b| b.is_ascii_digit())
        && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
        && !(digits.starts_with('0') && digits.as_bytes().get(1).is_some_and(u8::is_ascii_digit));
    if !shaped {
        return None;
    }
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// Plain text that YAML 1.1 or 1.2 reads as a number or a boolean, and that we don't.
pub(super) fn is_ambiguous(text: &str) -> bool {
    let number = text.strip_prefix(['+', '-']).unwrap_or(text);
    let based = ["0x", "0o", "0b"].iter().any(|base| number.starts_with(base));
    let digits = number.bytes().next().is_some_and(|b| b.is_ascii_digit() || b == b'.')
        && number.bytes().any(|b| b.is_ascii_digit())
        && number.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'_'))
        && number.bytes().filter(|b| *b == b'.').count() <= 1;
    let word = matches!(text, "True" | "TRUE" | "False" | "FALSE");
    let special = matches!(number.to_ascii_lowercase().as_str(), ".inf" | ".nan");
    (based && number.bytes().skip(2).all(|b| b.is_ascii_hexdigit())) || digits || word || special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_scalar_is_a_number_only_in_one_way_of_writing() {
        for (text, integer, number, ambiguous) in [
            ("0", true, Some(0.0), false),
            ("-12", true, Some(-12.0), false),
            ("010", false, None, true),
            ("1e3", false, Some(1000.0), false),
            ("1e999", false, None, false),
            ("0x50", false, None, true),
            ("1_000", false, None, true),
            (".5", false, None, true),
            ("1.2.3", false, None, false),
            ("TRUE", false, None, true),
            ("-.Inf", false, None, true),
            ("no", false, None, false),
            ("", false, None, false),
        ] {
            assert_eq!(is_decimal_integer(text), integer, "{text}");
            assert_eq!(float(text), number, "{text}");
            // Only asked of what is no number already.
            assert!(integer || number.is_some() || is_ambiguous(text) == ambiguous, "{text}");
        }
    }
}
