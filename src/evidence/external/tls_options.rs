//! `tls: { ca, insecure, server_name }`, as the kinds of this look write it.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};

use crate::model::encode::shell_word;
use crate::net::http::{IpVersion, TlsOptions};

/// How a server's certificate is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tls {
    /// PEM file of roots to trust instead of the system's.
    pub(super) ca: Option<PathBuf>,
    /// Accept any certificate.
    pub(super) insecure: bool,
    /// Ask for, and verify, this name instead of the host's.
    pub(super) server_name: Option<String>,
}

impl Tls {
    pub(super) fn options(&self) -> TlsOptions {
        TlsOptions { ca: self.ca.clone(), insecure: self.insecure, server_name: self.server_name.clone() }
    }

    /// An `openssl s_client` that shakes hands in the same way.
    pub(super) fn openssl(&self, address: &str, host: &str, starttls: Option<&str>) -> String {
        let name = self.server_name.as_deref().unwrap_or(host);
        let mut line = format!("openssl s_client -connect {} -servername {}", shell_word(address), shell_word(name));
        if let Some(ca) = &self.ca {
            line += &format!(" -CAfile {}", shell_word(&ca.to_string_lossy()));
        }
        if let Some(protocol) = starttls {
            line += &format!(" -starttls {protocol}");
        }
        line + " -verify_return_error </dev/null"
    }
}

/// `true`, `false`, or the options, which mean `true`.
#[derive(Debug, Default)]
pub(super) struct OptionalTls(pub(super) Option<Tls>);

impl<'de> Deserialize<'de> for OptionalTls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = OptionalTls;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, or a map of ca, insecure, server_name")
            }
            fn visit_bool<E: de::Error>(self, on: bool) -> Result<OptionalTls, E> {
                Ok(OptionalTls(on.then(Tls::default)))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OptionalTls, A::Error> {
                Tls::deserialize(MapAccessDeserializer::new(map)).map(|tls| OptionalTls(Some(tls)))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl schemars::JsonSchema for OptionalTls {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OptionalTls".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let options = generator.subschema_for::<Tls>();
        schemars::json_schema!({ "anyOf": [{ "type": "boolean" }, options] })
    }
}

/// Which version of IP to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ip {
    V4,
    V6,
}

impl Ip {
    pub(super) fn version(self) -> IpVersion {
        match self {
            Ip::V4 => IpVersion::V4,
            Ip::V6 => IpVersion::V6,
        }
    }
}
