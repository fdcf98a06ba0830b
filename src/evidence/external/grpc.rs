//! The `grpc` kind: what a gRPC server says of its health.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::address::Address;
use super::failure::{self, measure};
use super::tls_options::{self, Ip, OptionalTls, Tls};
use crate::evidence::endpoint::{Endpoint, HeaderText};
use crate::evidence::slots::without_slots;
use crate::evidence::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::encode;
use crate::model::look::Look;
use crate::model::measure::Type;
use crate::model::observation::Observation;
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::model::value::Measures;
use crate::net::grpc::{Check, Checked, code_name, health_name};
use crate::yaml::{Node, Spanned};

#[cfg(test)]
mod tests;

/// The longest name of a service, in bytes.
const SERVICE: usize = 1_024;

/// The kind's entry in the registry.
pub static KIND: Kind = Kind {
    name: "grpc",
    look: Look::External,
    summary: "what a gRPC server says of its health",
    docs: "\
Asks the health service that gRPC servers have by convention (`grpc.health.v1.Health/Check`) for one of their services, or
for the server as a whole. The time that is left goes along as `grpc-timeout`, and is kept on our side as well.

Bad: the name doesn't resolve, the server refuses, resets, fails TLS, speaks no HTTP/2 or no gRPC, stays silent until the
deadline; and, unless expected otherwise, any health but SERVING and any status of the call but OK: a service that the
server doesn't know (NOT_FOUND), a server without a health service (UNIMPLEMENTED).
Unknown: our resolver doesn't answer, a guard of ours forbids the address, the target's budget left no time, the answer is
longer than 64 KiB.

Parameters can't stand here.",
    keys: &[
        Key { name: "address", takes: "host:port", default: None, meaning: "where to connect to" },
        Key {
            name: "service",
            takes: "name",
            default: Some("the server as a whole"),
            meaning: "whose health, such as shop.v1.Cart",
        },
        Key {
            name: "tls",
            takes: tls_options::OPTIONAL_TAKES,
            default: Some("no TLS"),
            meaning: "speak TLS",
        },
        Key {
            name: "metadata",
            takes: "map of text or secret",
            default: Some("none"),
            meaning: "sent along; secret ones as { env: NAME } or { file: path }",
        },
        Key { name: "bearer_token", takes: "secret", default: Some("none"), meaning: "sent as `authorization: Bearer …`" },
        Key { name: "ip", takes: "v4 or v6", default: Some("either"), meaning: "which addresses of the host to use" },
    ],
    measures: &[
        measure(
            "status",
            Type::Text,
            "text",
            "the health: SERVING, NOT_SERVING, UNKNOWN; absent where the call didn't go well",
        ),
        measure("code", Type::Text, "text", "the status of the call: OK, NOT_FOUND, UNIMPLEMENTED, UNAVAILABLE, …"),
        measure("message", Type::Text, "text", "what the server adds to it"),
        measure("duration_seconds", Type::Number, "seconds", "the whole exchange"),
        measure("resolve_seconds", Type::Number, "seconds", "resolving the name"),
        measure("connect_seconds", Type::Number, "seconds", "connecting alone"),
        measure("tls_seconds", Type::Number, "seconds", "the TLS handshake; absent without TLS"),
        measure("first_byte_seconds", Type::Number, "seconds", "from asking to the answer's head"),
    ],
    default_expect: &["code == \"OK\" && status == \"SERVING\""],
    headline: &["status", "duration_seconds"],
    sees: Sees::Now,
    attempts: 2,
    example: "external/grpc.yaml",
    example_text: include_str!("../../../checks.d/external/grpc.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    address: Spanned<Address>,
    #[serde(default)]
    service: Option<Spanned<String>>,
    #[serde(default)]
    tls: OptionalTls,
    #[serde(default)]
    metadata: Option<Spanned<BTreeMap<String, HeaderText>>>,
    /// Sent as `authorization: Bearer …`.
    #[serde(default)]
    bearer_token: Option<SecretRef>,
    #[serde(default)]
    ip: Option<Ip>,
}

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    if let Some(service) = &config.service {
        let wrong = |message: String| Diagnostic::error(service.at.clone(), message);
        without_slots(&service.value).map_err(|error| wrong(error.to_string()))?;
        if service.value.len() > SERVICE || service.value.chars().any(encode::is_unprintable) {
            return Err(wrong("this can't be the name of a service".to_owned()));
        }
    }
    let metadata = config.metadata.unwrap_or_else(|| Spanned { at: node.span.clone(), value: BTreeMap::new() });
    let ours = |name: &&String| {
        let name = name.to_ascii_lowercase();
        name.starts_with("grpc-") || matches!(name.as_str(), "te" | "content-type" | "host" | "connection")
    };
    if let Some(name) = metadata.value.keys().find(ours) {
        let message = format!("`{}` is written by gRPC itself", encode::terminal(name));
        return Err(Diagnostic::error(metadata.at, message));
    }
    // What holds for the headers of a system over HTTP holds here.
    let url = Spanned { at: config.address.at, value: format!("http://{}/", config.address.value) };
    let endpoint = Endpoint::new(&url, metadata, config.bearer_token)?;
    let service = config.service.map_or_else(String::new, |service| service.value);
    Ok(Arc::new(Grpc { address: config.address.value, service, tls: config.tls, endpoint, ip: config.ip }))
}

#[derive(Debug)]
struct Grpc {
    address: Address,
    service: String,
    tls: OptionalTls,
    /// Holds the metadata.
    endpoint: Endpoint,
    ip: Option<Ip>,
}

impl Probe for Grpc {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(async move {
            let (metadata, secret_metadata) = match self.endpoint.headers(&ask.tools) {
                Ok(metadata) => metadata,
                Err(unknown) => return Observation::blind(unknown.kind, unknown.why),
            };
            let tls = match self.tls.0.as_ref().map(|tls| tls.options(&ask.tools)).transpose() {
                Ok(tls) => tls,
                Err(unknown) => return Observation::blind(unknown.kind, unknown.why),
            };
            let left = ask.deadline.saturating_duration_since(Instant::now());
            let check = Check {
                host: self.address.host.clone(),
                port: self.address.port,
                ip: self.ip.map(Ip::version),
                tls,
                service: self.service.clone(),
                metadata,
                secret_metadata,
                // A little before the caller gives up, so that the answer can still say what was waited for.
                deadline: ask.deadline - (left / 20).min(Duration::from_millis(100)),
            };
            let observation = match check.ask(&ask.tools.http).await {
                Ok(checked) => answered(&checked, ask),
                Err(failure) => {
                    let mut measures = Measures::new();
                    failure::phases(&failure.timings, &mut measures);
                    failure::observation(&failure, measures)
                }
            };
            observation.reproduce(self.by_hand())
        })
    }

    fn system(&self) -> String {
        self.address.to_string()
    }

    fn secrets(&self) -> Vec<SecretRef> {
        let tls = self.tls.0.iter().flat_map(Tls::secrets);
        self.endpoint.secrets().into_iter().chain(tls).collect()
    }
}

impl Grpc {
    /// <https://github.com/grpc-ecosystem/grpc-health-probe>
    fn by_hand(&self) -> String {
        let mut line = format!("grpc_health_probe -addr {}", encode::shell_word(&self.address.to_string()));
        if !self.service.is_empty() {
            line += &format!(" -service {}", encode::shell_word(&self.service));
        }
        let Some(tls) = &self.tls.0 else { return line };
        line += " -tls";
        if let Some(ca) = &tls.ca {
            line += &format!(" -tls-ca-cert {}", encode::shell_word(&ca.to_string_lossy()));
        }
        if tls.insecure {
            line += " -tls-no-verify";
        }
        if let Some(name) = &tls.server_name {
            line += &format!(" -tls-server-name {}", encode::shell_word(name));
        }
        let (certificate, key) = tls.client_words();
        if let Some((certificate, key)) = certificate.zip(key) {
            line += &format!(" -tls-client-cert {certificate} -tls-client-key {key}");
        }
        line
    }
}

fn answered(checked: &Checked, ask: &Ask) -> Observation {
    let mut measures = Measures::new();
    let message = ask.tools.redactor.strike(&checked.message);
    measures.set("code", code_name(checked.code)).set("message", message.clone());
    if let Some(health) = checked.health {
        measures.set("status", health_name(health));
    }
    failure::phases(&checked.timings, &mut measures);
    measures.set("duration_seconds", checked.timings.total.as_secs_f64());
    Observation::answered(measures).excerpt(message).took(checked.timings.total)
}
