//! Under which names the server may be addressed: a defence against pages that rebind a name of theirs to us.

use http::HeaderMap;
use http::header::HOST;

use super::only;

/// The names of this server, without ports, in lower case.
#[derive(Debug, Clone)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// These, and localhost, 127.0.0.1 and [::1].
    pub fn new(configured: &[String]) -> Self {
        let always = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned);
        Hosts(always.into_iter().chain(configured.iter().map(|name| name.to_ascii_lowercase())).collect())
    }

    /// True where the request names us: once, in `Host` as well as in its target, where that has an authority.
    pub fn allow(&self, headers: &HeaderMap, authority: Option<&str>) -> bool {
        let host = matches!(only(headers, &HOST), Ok(Some(host)) if self.is_ours(host));
        host && authority.is_none_or(|authority| self.is_ours(authority))
    }

    fn is_ours(&self, authority: &str) -> bool {
        name(authority).is_some_and(|name| self.0.contains(&name.to_ascii_lowercase()))
    }
}

/// The name in `name:port`; `None` where it has a user, or a port that is none.
fn name(authority: &str) -> Option<&str> {
    let (name, rest) = match authority.strip_prefix('[') {
        Some(inner) => {
            let (inner, rest) = inner.split_once(']')?;
            (authority.get(..inner.len() + 2)?, rest)
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()),
        None => rest.is_empty(),
    };
    (port && !name.contains('@')).then_some(name)
}

/// True where an `Origin` is the one that the request is addressed to, name and port.
pub(super) fn is_own_origin(origin: &str, headers: &HeaderMap) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let Ok(Some(host)) = only(headers, &HOST) else { return false };
    matches!(scheme, "http" | "https") && authority.eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_hosts_are_ours() {
        let hosts = Hosts::new(&["Houston.Example.com".to_owned()]);
        for (host, ours) in [
            ("localhost", true),
            ("LOCALHOST:8080", true),
            ("127.0.0.1:1", true),
            ("[::1]", true),
            ("[::1]:8080", true),
            ("houston.example.com", true),
            ("houston.example.com:443", true),
            ("evil.example", false),
            ("localhost.", false),
            ("localhost.evil.example", false),
            ("evil.example:80@localhost", false),
            ("localhost@evil.example", false),
            ("localhost:", false),
            ("localhost:80x", false),
            ("localhost:123456", false),
            ("127.1", false),
            ("2130706433", false),
            ("::1", false),
            ("[::1", false),
            ("[::1]x", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            assert_eq!(hosts.allow(&headers, None), ours, "{host}");
            assert!(!hosts.allow(&headers, Some("evil.example")), "{host}");
            headers.append(HOST, "localhost".parse().unwrap());
            assert!(!hosts.allow(&headers, None), "two of them: {host}");
        }
        assert!(!hosts.allow(&HeaderMap::new(), None), "none");
        assert!(!hosts.allow(&HeaderMap::new(), Some("localhost")), "none but in the target");
    }
}
