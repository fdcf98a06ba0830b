//! Strikes out what looks like a secret in a line of a log before it is kept or shown.
//!
//! Secrets that Houston itself knows are struck out by their value elsewhere; these are other people's, known by shape.

use std::borrow::Cow;
use std::sync::LazyLock;

use base64::Engine as _;
use regex::{Captures, Regex};

const STRUCK: &str = "‹secret›";

/// A shape, and what stays of it: group 1 before the secret.
static SHAPES: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        // Private keys, up to their end or the text's.
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
        // JSON Web Tokens.
        r"\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]*",
        // Tokens that say themselves whose they are: AWS, GitHub, GitLab, Slack, Stripe, OpenAI, Google, npm, SendGrid.
        r"\b(?:AKIA|ASIA|AGPA|AROA|AIDA)[0-9A-Z]{16}\b",
        r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|npm_[A-Za-z0-9]{30,})",
        r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
        r"\b(?:[rsp]k_(?:live|test)_[A-Za-z0-9]{10,}|sk-[A-Za-z0-9_-]{20,}|whsec_[A-Za-z0-9+/=]{16,})",
        r"\bAIza[0-9A-Za-z_-]{35}|\bya29\.[0-9A-Za-z_-]{20,}|\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
        r"(hooks\.slack\.com/(?:services|workflows)/)[A-Za-z0-9/]+",
        // Headers.
        r"(?i)(\b(?:proxy-)?authorization\\*[\x22']?\s*[:=]\s*\\*[\x22']?\s*(?:basic|bearer|digest|token|negotiate|apikey)\s+)[^\s\x22',;\\]+",
        r"(?i)(\b(?:bearer|basic)\s+)[A-Za-z0-9+/_.~-]{16,}=*",
        r"(?i)(\b(?:set-)?cookie\\*[\x22']?\s*[:=]\s*)[^\r\n]+",
        r"(?i)(\bx-(?:api-key|auth-token|access-token|amz-security-token|vault-token)\\*[\x22']?\s*[:=]\s*\\*[\x22']?)[^\s\x22',;\\]+",
        // User and password in a URL.
        r"([a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s:@\x22']*:[^/\s@\x22']+@",
        // Named ones: password=…, "api_key":"…", client_secret: '…'.
        r#"(?ix)(\b[a-z0-9_.-]*(?:passwo?r?d|passwd|passphrase|pwd|secret|(?:access|refresh|auth|id|session|csrf|api|bearer)[_-]?token
            |api[_-]?key|access[_-]?key(?:[_-]?id)?|secret[_-]?key|private[_-]?key|client[_-]?secret|encryption[_-]?key|credentials?|session[_-]?id|jsessionid|\btoken)
            \\*[\x22']?\s*(?:=>|[:=])\s*)(?:\\*\x22[^\x22\\]*\\*\x22|'[^']*'|[^\s,;&\x22'{}\[\]]+)"#,
    ]
    .iter()
    .filter_map(|shape| Regex::new(shape).ok())
    .collect()
});

static DIGITS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\b\d(?:[ -]?\d){12,18}\b").ok());

static BASE64: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[A-Za-z0-9+/]{16,}={0,2}").ok());

/// The text without what looks like a secret.
pub fn mask(text: &str) -> String {
    let mut out = Cow::Borrowed(text);
    for shape in SHAPES.iter() {
        let keep = |found: &Captures<'_>| format!("{}{STRUCK}", found.get(1).map_or("", |kept| kept.as_str()));
        if let Cow::Owned(struck) = shape.replace_all(&out, keep) {
            out = Cow::Owned(struck);
        }
    }
    if let Some(digits) = DIGITS.as_ref() {
        let card = |found: &Captures<'_>| if is_card(&found[0]) { STRUCK.to_owned() } else { found[0].to_owned() };
        if let Cow::Owned(struck) = digits.replace_all(&out, card) {
            out = Cow::Owned(struck);
        }
    }
    if let Some(base64) = BASE64.as_ref() {
        let hidden = |found: &Captures<'_>| if hides(&found[0]) { STRUCK.to_owned() } else { found[0].to_owned() };
        if let Cow::Owned(struck) = base64.replace_all(&out, hidden) {
            out = Cow::Owned(struck);
        }
    }
    out.into_owned()
}

/// True for the number of a payment card: its length, its first digit and its check digit (ISO/IEC 7812, Luhn).
fn is_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| match index % 2 {
            0 => *digit,
            _ if *digit > 4 => digit * 2 - 9,
            _ => digit * 2,
        })
        .sum();
    matches!(digits.len(), 13..=19) && matches!(digits[0], 2..=6) && sum.is_multiple_of(10)
}

/// True where base64 holds a secret inside, or is a line of a key's body.
fn hides(text: &str) -> bool {
    let bare = text.trim_end_matches('=');
    if bare.len() == 64 && bare.bytes().any(|b| b.is_ascii_lowercase()) && bare.bytes().any(|b| b.is_ascii_uppercase())
    {
        return true;
    }
    let whole = &bare[..bare.len() - usize::from(bare.len() % 4 == 1)];
    base64::engine::general_purpose::STANDARD_NO_PAD
        .decode(whole)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .is_some_and(|inside| SHAPES.iter().any(|shape| shape.is_match(&inside)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shapes_compile() {
        assert_eq!(SHAPES.len(), 14);
        assert!(DIGITS.is_some() && BASE64.is_some());
    }

    #[test]
    fn secrets_of_every_shape_are_struck_out() {
        // Put together here, so that no scanner takes the tests themselves for a leak.
        let token = |prefix: &str, length: usize| {
            format!("{prefix}{}", "aB3dE5fG7h".repeat(7).chars().take(length).collect::<String>())
        };
        let hidden = base64::engine::general_purpose::STANDARD.encode("password=hunter2hunter2");
        for (text, secret) in [
            (format!("jwt {}", "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl"), "c2lnbmF0dXJl".to_owned()),
            (format!("key {}{}", "AKIA", "IOSFODNN7EXAMPLE"), "IOSFODNN7EXAMPLE".to_owned()),
            (token("x ghp_", 36), token("", 36)),
            (token("glpat-", 20), token("", 20)),
            (token("xoxb-", 30), token("", 30)),
            (token("sk_live_", 24), token("", 24)),
            (token("AIza", 35), token("", 35)),
            (token("https://hooks.slack.com/services/", 24), token("", 24)),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\nxyz\n-----END RSA PRIVATE KEY-----".to_owned(),
                "MIIabc".to_owned(),
            ),
            ("-----BEGIN PRIVATE KEY-----\nMIIabc".to_owned(), "MIIabc".to_owned()),
            ("Authorization: Basic dXNlcjpwYXNz".to_owned(), "dXNlcjpwYXNz".to_owned()),
            ("authorization=Bearer abc.def".to_owned(), "abc.def".to_owned()),
            (r#"{"Authorization":"Bearer s3cr3t-t0ken"}"#.to_owned(), "s3cr3t-t0ken".to_owned()),
            ("Cookie: session=abc; id=7".to_owned(), "abc".to_owned()),
            ("X-Api-Key: 12ab34".to_owned(), "12ab34".to_owned()),
            ("postgres://shop:hunter2@db:5432/shop".to_owned(), "hunter2".to_owned()),
            ("redis://:hunter2@cache/0".to_owned(), "hunter2".to_owned()),
            ("login with password=hunter2 failed".to_owned(), "hunter2".to_owned()),
            (r#"{"user":"a","password":"hun ter2","n":1}"#.to_owned(), "hun ter2".to_owned()),
            (r#"{"body":"{\"api_key\":\"hunter2\"}"}"#.to_owned(), "hunter2".to_owned()),
            ("DB_PASSWORD: 'hunter2'".to_owned(), "hunter2".to_owned()),
            ("aws_secret_access_key = wJalrXUt/K7MDENG".to_owned(), "wJalrXUt".to_owned()),
            ("client_secret=hunter2&grant=x".to_owned(), "hunter2".to_owned()),
            ("GET /cb?access_token=hunter2&x=1".to_owned(), "hunter2".to_owned()),
            ("card 4111 1111 1111 1111 declined".to_owned(), "1111 1111".to_owned()),
            ("card 5500005555555559 declined".to_owned(), "5500005555".to_owned()),
            (format!("header {hidden}"), hidden.clone()),
        ] {
            let masked = mask(&text);
            assert!(!masked.contains(&secret), "{text} -> {masked}");
            assert!(masked.contains(STRUCK), "{text} -> {masked}");
        }
    }

    #[test]
    fn ordinary_lines_stay_as_they_are() {
        for line in [
            "order 8812345678901 paid in 12 ms",
            "prompt used 512 tokens: 300 in, 212 out",
            "user anna changed her password",
            "GET /token/list?sort=name 200",
            "2026-11-22T10:00:00.123Z INFO request 4111111111111112 done",
            "commit 3b18e512dba79e4c8300dd08aeb37f8e728b8dad deployed",
            "at com.shop.CheckoutService.payOrderWithProvider(CheckoutService.java:212)",
            "connecting to postgres://db.internal:5432/shop",
            "basic checks passed, bearer of bad news",
            "time 12:34:56 secretary informed",
        ] {
            assert_eq!(mask(line), line);
        }
    }
}
