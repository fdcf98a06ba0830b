//! `host:port`, as checks name what they connect to. Parameters can't stand in it.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, de};
use url::Host;

use crate::evidence::slots::without_slots;

/// A host and a port, spelt out in a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::evidence) struct Address {
    pub(in crate::evidence) host: Host<String>,
    pub(in crate::evidence) port: u16,
}

impl Address {
    /// Reads `shop.example.com:443`, `127.0.0.1:25`, `[::1]:53`; `port` is for kinds with a usual one.
    ///
    /// # Errors
    /// Says what is missing.
    pub(in crate::evidence) fn parse(text: &str, port: Option<u16>) -> Result<Self, String> {
        without_slots(text).map_err(|error| error.to_string())?;
        let bare_v6 = text.parse::<std::net::Ipv6Addr>().is_ok();
        let (host, given) = match text.rsplit_once(':') {
            _ if bare_v6 => return Err(format!("`{text}`: write an IPv6 address in brackets, like [::1]:443")),
            Some((host, given)) if !given.ends_with(']') => (host, Some(given)),
            _ => (text, None),
        };
        let port = match given {
            Some(given) => given.parse().ok().filter(|port| *port > 0),
            None => port,
        };
        let port = port.ok_or_else(|| format!("`{text}` has no port between 1 and 65535 (write host:port)"))?;
        let host = Host::parse(host).map_err(|_| format!("`{host}` is no host"))?;
        Ok(Address { host, port })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Address::parse(&text, None).map_err(de::Error::custom)
    }
}

impl schemars::JsonSchema for Address {
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^.+:[0-9]+$", "description": "host:port" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_read() {
        for (text, shown) in [
            ("shop.example.com:443", "shop.example.com:443"),
            ("127.0.0.1:25", "127.0.0.1:25"),
            ("[::1]:53", "[::1]:53"),
            ("0x7f000001:80", "127.0.0.1:80"),
        ] {
            assert_eq!(Address::parse(text, None).unwrap().to_string(), shown);
        }
        assert_eq!(Address::parse("ns.example", Some(53)).unwrap().port, 53);
        assert_eq!(Address::parse("[::1]", Some(53)).unwrap().to_string(), "[::1]:53");
        for text in ["shop", "shop:", "shop:0", "shop:70000", "::1", ":80", "a b:80", "{{ host }}:80", "h:{{ port }}"] {
            assert!(Address::parse(text, None).is_err(), "{text}");
        }
    }
}
