//! HTTP Digest authentication: what answers a server's challenge.
//!
//! Source: RFC 7616, with MD5 and SHA-256, plain and `-sess`, for `qop=auth`, and without `qop` as RFC 2069 had it.
//! `auth-int` and SHA-512/256, which no browser speaks, are left out, and so is `userhash`.

use std::fmt::Write as _;

use http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use md5::Md5;
use sha2::{Digest, Sha256};

use crate::model::secret::Secret;

/// The longest challenge that is read, in bytes.
const CHALLENGE_LIMIT: usize = 8 * 1024;

/// Who logs in, and with what.
#[derive(Debug, Clone)]
pub struct DigestLogin {
    /// Without a colon.
    pub user: String,
    pub password: Secret,
}

/// How the parts are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Algorithm {
    Md5,
    Sha256,
}

/// What a server wants to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Challenge {
    algorithm: Algorithm,
    /// The session variant of the algorithm.
    session: bool,
    /// As the server wrote the algorithm, to be repeated; `None` where it wrote none.
    named: Option<String>,
    realm: String,
    nonce: String,
    opaque: Option<String>,
    /// False for a server of RFC 2069, which knows no `qop`.
    qop: bool,
}

impl DigestLogin {
    /// The `Authorization` that answers the strongest challenge; `None` where there is none that we can answer.
    pub(super) fn answer(&self, headers: &HeaderMap, method: &str, path: &str) -> Option<HeaderValue> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).ok()?;
        let challenge = strongest(headers)?;
        let mut value = HeaderValue::from_str(&self.written(&challenge, method, path, &hex(&random))).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    fn written(&self, challenge: &Challenge, method: &str, path: &str, own_nonce: &str) -> String {
        let Challenge { algorithm, session, named, realm, nonce, opaque, qop } = challenge;
        let hash = |text: &str| algorithm.hash(text);
        let mut secret = hash(&format!("{}:{realm}:{}", self.user, self.password.expose()));
        if *session {
            secret = hash(&format!("{secret}:{nonce}:{own_nonce}"));
        }
        let asked = hash(&format!("{method}:{path}"));
        let response = if *qop {
            hash(&format!("{secret}:{nonce}:00000001:{own_nonce}:auth:{asked}"))
        } else {
            hash(&format!("{secret}:{nonce}:{asked}"))
        };
        let (user, realm, nonce) = (quoted(&self.user), quoted(realm), quoted(nonce));
        let mut out = format!("Digest username={user}, realm={realm}, nonce={nonce}, uri={}", quoted(path));
        out += &format!(", response=\"{response}\"");
        if let Some(named) = named {
            out += &format!(", algorithm={named}");
        }
        if *qop {
            out += ", qop=auth, nc=00000001";
        }
        if *qop || *session {
            out += &format!(", cnonce=\"{own_nonce}\"");
        }
        if let Some(opaque) = opaque {
            out += &format!(", opaque={}", quoted(opaque));
        }
        out
    }
}

impl Algorithm {
    fn hash(self, text: &str) -> String {
        match self {
            Algorithm::Md5 => hex(&Md5::digest(text.as_bytes())),
            Algorithm::Sha256 => hex(&Sha256::digest(text.as_bytes())),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// A quoted-string (RFC 9110 §5.6.4).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn strongest(headers: &HeaderMap) -> Option<Challenge> {
    let lines = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let challenges = lines.filter(|line| line.len() <= CHALLENGE_LIMIT).flat_map(challenges);
    // Among equals the first: servers list what they like best first.
    challenges.reduce(|best, next| if next.algorithm > best.algorithm { next } else { best })
}

/// The challenges of one header that we can answer.
fn challenges(line: &str) -> Vec<Challenge> {
    let mut schemes: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for item in items(line) {
        // A challenge begins with its scheme, set off by a space: `Digest realm="x"`; further parameters follow commas.
        let name_end = item.find('=').unwrap_or(item.len());
        let (head, parameter) = match item.get(..name_end).and_then(|head| head.trim().split_once(' ')) {
            Some((scheme, _)) => (Some(scheme), item.get(scheme.len()..).unwrap_or_default().trim()),
            None if name_end == item.len() => (Some(item), ""),
            None => (None, item),
        };
        if let Some(scheme) = head {
            schemes.push((scheme.to_ascii_lowercase(), Vec::new()));
        }
        if let (Some((_, parameters)), Some((name, value))) = (schemes.last_mut(), parameter.split_once('=')) {
            parameters.push((name.trim().to_ascii_lowercase(), unquoted(value.trim())));
        }
    }
    let digests = schemes.into_iter().filter(|(scheme, _)| scheme == "digest");
    digests.filter_map(|(_, parameters)| Challenge::read(&parameters)).collect()
}

/// What stands between commas, where the comma isn't quoted.
fn items(line: &str) -> Vec<&str> {
    let (mut items, mut start, mut in_quotes, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_quotes => escaped = true,
            '"' => in_quotes = !in_quotes,
            ',' if !in_quotes => {
                items.push(line.get(start..at).unwrap_or_default().trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(line.get(start..).unwrap_or_default().trim());
    items.retain(|item| !item.is_empty());
    items
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return value.to_owned() };
    let (mut out, mut escaped) = (String::new(), false);
    for c in inner.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            out.push(c);
            escaped = false;
        }
    }
    out
}

impl Challenge {
    fn read(parameters: &[(String, String)]) -> Option<Challenge> {
        let get = |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let named = get("algorithm");
        let (algorithm, session) = match named.as_deref().unwrap_or("MD5").to_ascii_uppercase().as_str() {
            "MD5" => (Algorithm::Md5, false),
            "MD5-SESS" => (Algorithm::Md5, true),
            "SHA-256" => (Algorithm::Sha256, false),
            "SHA-256-SESS" => (Algorithm::Sha256, true),
            _ => return None,
        };
        let qop = match get("qop") {
            Some(offered) => offered.split(',').any(|one| one.trim().eq_ignore_ascii_case("auth")).then_some(true)?,
            None => false,
        };
        Some(Challenge {
            algorithm,
            session,
            named,
            realm: get("realm")?,
            nonce: get("nonce")?,
            opaque: get("opaque"),
            qop,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (WWW_AUTHENTICATE, HeaderValue::from_str(line).unwrap())).collect()
    }

    fn login(user: &str, password: &str) -> DigestLogin {
        DigestLogin { user: user.to_owned(), password: Secret::new(password.to_owned()) }
    }

    /// RFC 7616 §3.9.1.
    #[test]
    fn the_examples_of_rfc_7616_come_out() {
        let common = r#"realm="http-auth@example.org", qop="auth, auth-int""#;
        let nonce = r#"nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#;
        let own = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        for (algorithm, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let line = format!("Digest {common}, algorithm={algorithm}, {nonce}");
            let challenge = strongest(&headers(&[&line])).unwrap();
            let written = login("Mufasa", "Circle of Life").written(&challenge, "GET", "/dir/index.html", own);
            assert_eq!(
                written,
                format!(
                    "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", \
                     nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", uri=\"/dir/index.html\", \
                     response=\"{response}\", algorithm={algorithm}, qop=auth, nc=00000001, cnonce=\"{own}\", \
                     opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
                )
            );
        }
    }

    /// RFC 2617 §3.5, and the same without `qop`, as RFC 2069 reckons.
    #[test]
    fn the_example_of_rfc_2617_comes_out() {
        let nonce = "nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\"";
        for (qop, response) in
            [(", qop=\"auth,auth-int\"", "6629fae49393a05397450978507c4ef1"), ("", "670fd8c2df070c60b045671b8b24ff02")]
        {
            let line = format!("Digest realm=\"testrealm@host.com\"{qop}, {nonce}");
            let challenge = strongest(&headers(&[&line])).unwrap();
            let written = login("Mufasa", "Circle Of Life").written(&challenge, "GET", "/dir/index.html", "0a4f113b");
            assert!(written.contains(&format!("response=\"{response}\"")), "{written}");
            assert_eq!(written.contains("cnonce"), !qop.is_empty(), "{written}");
        }
    }

    #[test]
    fn the_strongest_challenge_that_can_be_answered_is_taken() {
        let digest = |algorithm: &str| format!("Digest realm=\"r, \\\"q\\\"\", nonce=\"n=,\", algorithm={algorithm}");
        for (lines, expected) in [
            (vec![digest("MD5"), digest("SHA-256")], Some((Algorithm::Sha256, false))),
            (
                vec![format!("{}, Basic realm=\"x\", {}", digest("SHA-256"), digest("MD5"))],
                Some((Algorithm::Sha256, false)),
            ),
            (vec![format!("Negotiate, {}", digest("md5-sess"))], Some((Algorithm::Md5, true))),
            (vec![format!("Negotiate abc==, {}", digest("SHA-256-sess"))], Some((Algorithm::Sha256, true))),
            (vec![digest("SHA-512-256")], None),
            (vec!["Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"".to_owned()], None),
            (vec!["Digest realm=\"r\"".to_owned()], None),
            (vec!["Basic realm=\"Digest nonce=1\"".to_owned()], None),
            (vec!["Digest".to_owned(), ",,=\"".to_owned(), "\"".to_owned()], None),
            (vec![format!("{}{}", digest("MD5"), " ".repeat(CHALLENGE_LIMIT))], None),
        ] {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let found = strongest(&headers(&lines));
            assert_eq!(found.as_ref().map(|found| (found.algorithm, found.session)), expected, "{lines:?}");
            if let Some(found) = found {
                assert_eq!((found.realm.as_str(), found.nonce.as_str()), ("r, \"q\"", "n=,"), "{lines:?}");
            }
        }
    }
}
