//! `tls: { ca, insecure, server_name, client_cert, client_key }`, as the kinds that connect by themselves write it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};

use crate::evidence::Tools;
use crate::model::encode::shell_word;
use crate::model::observation::{Unknown, UnknownKind};
use crate::model::params::is_name;
use crate::model::secret::SecretRef;
use crate::net::http::{IpVersion, TlsOptions};
use crate::net::tls::ClientIdentity;

/// The longest client certificate, its chain included, in bytes.
const CERTIFICATE_LIMIT: u64 = 64 * 1024;

/// What the key `tls` takes, for the documentation.
pub(in crate::evidence) const TAKES: &str =
    "{ ca: file, insecure: true or false, server_name: text, client_cert: file or { env: NAME }, client_key: secret }";
/// The same where TLS is a choice.
pub(in crate::evidence) const OPTIONAL_TAKES: &str = "true, or { ca: file, insecure: true or false, server_name: text, \
                                                      client_cert: file or { env: NAME }, client_key: secret }";

/// How a server's certificate is checked, and what it is shown where it asks for one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "Written")]
pub(in crate::evidence) struct Tls {
    pub(in crate::evidence) ca: Option<PathBuf>,
    pub(in crate::evidence) insecure: bool,
    pub(in crate::evidence) server_name: Option<String>,
    pub(in crate::evidence) client_cert: Option<Certificate>,
    pub(in crate::evidence) client_key: Option<SecretRef>,
}

/// As it is written; one half of a client certificate is of no use.
#[derive(Default, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "TlsKeys")]
struct Written {
    /// PEM file of roots to trust instead of the system's.
    ca: Option<PathBuf>,
    /// Accept any certificate.
    insecure: bool,
    /// Ask for, and verify, this name instead of the host's.
    server_name: Option<String>,
    /// The certificate that a server is shown which asks for one, its chain behind it, as PEM.
    client_cert: Option<Certificate>,
    /// The private key of `client_cert`, as PEM.
    client_key: Option<SecretRef>,
}

impl TryFrom<Written> for Tls {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let Written { ca, insecure, server_name, client_cert, client_key } = written;
        whole(client_cert.as_ref(), client_key.as_ref())?;
        Ok(Tls { ca, insecure, server_name, client_cert, client_key })
    }
}

/// That a certificate and its key are given both or neither.
///
/// # Errors
/// Which of them is missing.
pub(in crate::evidence) fn whole(
    certificate: Option<&Certificate>,
    key: Option<&SecretRef>,
) -> Result<(), &'static str> {
    match (certificate, key) {
        (Some(_), None) => Err("`client_cert` without `client_key` (add client_key: { file: path } or { env: NAME })"),
        (None, Some(_)) => Err("`client_key` without `client_cert` (add client_cert: path of a PEM file)"),
        _ => Ok(()),
    }
}

/// Where a client certificate is to be had; unlike its key it is no secret, so that its path may stand alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::evidence) enum Certificate {
    File(PathBuf),
    Env(String),
}

impl<'de> Deserialize<'de> for Certificate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Certificate;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the path of a PEM file, or { env: NAME }")
            }
            fn visit_str<E: de::Error>(self, path: &str) -> Result<Certificate, E> {
                if path.starts_with("-----") {
                    return Err(E::custom("a certificate is not written here (give the path of its file)"));
                }
                Ok(Certificate::File(PathBuf::from(path)))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Certificate, A::Error> {
                SecretRef::deserialize(MapAccessDeserializer::new(map)).map(|from| match from {
                    SecretRef::File(path) => Certificate::File(path),
                    SecretRef::Env(name) => Certificate::Env(name),
                })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl schemars::JsonSchema for Certificate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ClientCertificate".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let from = generator.subschema_for::<SecretRef>();
        schemars::json_schema!({ "anyOf": [{ "type": "string" }, from] })
    }
}

impl Certificate {
    /// Its text, and the words by which errors name it.
    fn read(&self, tools: &Tools) -> Result<(String, String), String> {
        match self {
            Certificate::Env(name) => {
                let text = tools.credentials.get(&SecretRef::Env(name.clone()))?;
                Ok((text.expose().to_owned(), format!("environment variable {name}")))
            }
            Certificate::File(path) => {
                let shown = path.display();
                let fault = |error: std::io::Error| format!("the client certificate {shown} can't be read: {error}");
                let metadata = std::fs::metadata(path).map_err(fault)?;
                if !metadata.is_file() || metadata.len() > CERTIFICATE_LIMIT {
                    return Err(format!("the client certificate {shown} is no file of at most 64 KiB"));
                }
                Ok((std::fs::read_to_string(path).map_err(fault)?, format!("{shown}")))
            }
        }
    }
}

impl Tls {
    /// The options with the client certificate as it is at this moment.
    ///
    /// # Errors
    /// That the certificate or its key can't be had.
    pub(in crate::evidence) fn options(&self, tools: &Tools) -> Result<TlsOptions, Unknown> {
        let identity = match (&self.client_cert, &self.client_key) {
            (Some(certificate), Some(key)) => {
                let refused = |why| Unknown::new(UnknownKind::Refused, why);
                let certificate = certificate.read(tools).map_err(refused)?;
                let place = match key {
                    SecretRef::Env(name) => format!("environment variable {name}"),
                    SecretRef::File(path) => path.display().to_string(),
                };
                let key = tools.credentials.get(key).map_err(refused)?;
                Some(Arc::new(ClientIdentity::new(certificate, (key, place))))
            }
            _ => None,
        };
        let (ca, server_name) = (self.ca.clone(), self.server_name.clone());
        Ok(TlsOptions { ca, insecure: self.insecure, server_name, identity })
    }

    /// What must be there when the check is loaded.
    pub(in crate::evidence) fn secrets(&self) -> Vec<SecretRef> {
        let certificate = match &self.client_cert {
            Some(Certificate::Env(name)) => Some(SecretRef::Env(name.clone())),
            Some(Certificate::File(_)) | None => None,
        };
        certificate.into_iter().chain(self.client_key.clone()).collect()
    }

    /// The options of a curl that shakes hands in the same way, each with a space before it.
    pub(in crate::evidence) fn curl(&self) -> String {
        let mut line = String::new();
        if let Some(ca) = &self.ca {
            line += &format!(" --cacert {}", shell_word(&ca.to_string_lossy()));
        }
        if self.insecure {
            line += " -k";
        }
        let (certificate, key) = self.client_words();
        if let Some((certificate, key)) = certificate.zip(key) {
            line += &format!(" --cert {certificate} --key {key}");
        }
        line
    }

    /// The client certificate and its key as words of a shell.
    pub(in crate::evidence) fn client_words(&self) -> (Option<String>, Option<String>) {
        let file = |path: &PathBuf| shell_word(&path.to_string_lossy());
        let variable = |name: &str| format!("<(printf %s \"${}\")", if is_name(name) { name } else { "SECRET" });
        let certificate = self.client_cert.as_ref().map(|certificate| match certificate {
            Certificate::File(path) => file(path),
            Certificate::Env(name) => variable(name),
        });
        let key = self.client_key.as_ref().map(|key| match key {
            SecretRef::File(path) => file(path),
            SecretRef::Env(name) => variable(name),
        });
        (certificate, key)
    }

    /// An `openssl s_client` that shakes hands in the same way.
    pub(in crate::evidence) fn openssl(&self, address: &str, host: &str, starttls: Option<&str>) -> String {
        let name = self.server_name.as_deref().unwrap_or(host);
        let mut line = format!("openssl s_client -connect {} -servername {}", shell_word(address), shell_word(name));
        if let Some(ca) = &self.ca {
            line += &format!(" -CAfile {}", shell_word(&ca.to_string_lossy()));
        }
        let (certificate, key) = self.client_words();
        if let Some((certificate, key)) = certificate.zip(key) {
            line += &format!(" -cert {certificate} -key {key}");
        }
        if let Some(protocol) = starttls {
            line += &format!(" -starttls {protocol}");
        }
        line + " -verify_return_error </dev/null"
    }
}

/// `true`, `false`, or the options, which mean `true`.
#[derive(Debug, Default)]
pub(in crate::evidence) struct OptionalTls(pub(in crate::evidence) Option<Tls>);

impl<'de> Deserialize<'de> for OptionalTls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = OptionalTls;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, or a map of ca, insecure, server_name, client_cert, client_key")
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
pub(in crate::evidence) enum Ip {
    V4,
    V6,
}

impl Ip {
    pub(in crate::evidence) fn version(self) -> IpVersion {
        match self {
            Ip::V4 => IpVersion::V4,
            Ip::V6 => IpVersion::V6,
        }
    }
}
