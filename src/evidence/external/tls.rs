//! The `tls` kind: a handshake, and what the server's certificate says.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use super::address::Address;
use super::failure::{self, measure};
use super::tls_options::{Certificate, Ip, Tls, whole};
use crate::evidence::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::encode;
use crate::model::look::Look;
use crate::model::measure::Type;
use crate::model::observation::Observation;
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::model::value::Measures;
use crate::net::budget::Budget;
use crate::net::tls::{Handshake, Report, Staple, StapledStatus};
use crate::yaml::Node;

/// The kind's entry in the registry.
pub static KIND: Kind = Kind {
    name: "tls",
    look: Look::External,
    summary: "a TLS handshake, and how long the certificate lasts",
    docs: "\
Shakes hands once and reads the chain as the server shows it. A certificate that can't be verified doesn't end the
handshake: `verified` is then false, `failure` says why, and expiry and names are known all the same.

Bad: `verified` is false (expired, for another name, self-signed, of an issuer that isn't trusted, not valid yet), or
there is no handshake at all: the name doesn't resolve, the service refuses, resets, stays silent, speaks no TLS 1.2 or
1.3. In TLS 1.3 a server refuses a client certificate only after the handshake, so that `verified` says nothing of it.
That a certificate will expire is odd rather than bad: `{ that: expiry_days > 14, else: odd }`.
Unknown: our resolver doesn't answer, a guard of ours forbids the address, the target's budget left no time, the CA file
or the client certificate can't be read.

`chain` are the certificates as the server shows them, its own first: a chain of one, of an issuer that isn't a root,
verifies in browsers that know the issuer from elsewhere and fails in everything else. `expiry_days` counts to the
earliest expiry among them, and `expires_first` says whose that is.

Revocation isn't asked for. Where the server staples its issuer's answer (OCSP), `ocsp_status` is what that says: `good`,
`revoked`, `unknown` (the issuer doesn't know the certificate), `expired` (its time of validity has passed), `invalid`
(unreadable, a refusal, or about another certificate); `none` where nothing is stapled. The answer's signature isn't
verified. For a server that is to staple, expect `ocsp_stapled` and that the status is good.

Parameters can't stand here.",
    keys: &[
        Key { name: "address", takes: "host:port", default: None, meaning: "where to shake hands" },
        Key {
            name: "server_name",
            takes: "host name",
            default: Some("the host of the address"),
            meaning: "the name that is asked for and verified",
        },
        Key {
            name: "ca",
            takes: "path of a PEM file",
            default: Some("the system's roots"),
            meaning: "the roots to trust instead",
        },
        Key {
            name: "client_cert",
            takes: "path of a PEM file, or { env: NAME }",
            default: Some("none"),
            meaning: "what a server is shown that asks for a certificate, its chain behind it",
        },
        Key { name: "client_key", takes: "secret", default: Some("none"), meaning: "the private key of client_cert, as PEM" },
        Key { name: "ip", takes: "v4 or v6", default: Some("either"), meaning: "which addresses of the host to use" },
    ],
    measures: &[
        measure("verified", Type::Bool, "true or false", "the chain is trusted, in date, and for the name"),
        measure("failure", Type::Text, "text", "what is wrong with the certificate; empty where it is verified"),
        measure(
            "expiry_days",
            Type::Number,
            "days",
            "until the first certificate of the chain expires; negative after it",
        ),
        measure("not_after", Type::Text, "RFC 3339", "when the server's own certificate expires"),
        measure("names", Type::List, "list of texts", "the names and addresses that the certificate is for"),
        measure("version", Type::Text, "text", "`TLSv1.3`, `TLSv1.2`"),
        measure("cipher", Type::Text, "text", "the cipher suite that was agreed on: `TLS13_AES_256_GCM_SHA384`"),
        measure("issuer", Type::Text, "text", "who vouches for the server's own certificate"),
        measure("chain", Type::List, "list of texts", "the certificates' subjects as shown, at most 16"),
        measure("chain_length", Type::Number, "count", "how many certificates the server shows"),
        measure("expires_first", Type::Text, "text", "the subject of the chain's certificate that expires first"),
        measure("ocsp_stapled", Type::Bool, "true or false", "an OCSP answer was stapled to the certificate"),
        measure("ocsp_status", Type::Text, "text", "good, revoked, unknown, expired, invalid, or none"),
    ],
    default_expect: &["verified"],
    headline: &["verified", "expiry_days"],
    sees: Sees::Now,
    attempts: 2,
    example: "external/tls.yaml",
    example_text: include_str!("../../../checks.d/external/tls.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    address: Address,
    #[serde(default)]
    server_name: Option<String>,
    #[serde(default)]
    ca: Option<PathBuf>,
    #[serde(default)]
    client_cert: Option<Certificate>,
    #[serde(default)]
    client_key: Option<SecretRef>,
    #[serde(default)]
    ip: Option<Ip>,
}

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    let Config { ca, server_name, client_cert, client_key, .. } = config;
    if let Err(missing) = whole(client_cert.as_ref(), client_key.as_ref()) {
        let written = if client_cert.is_some() { "client_cert" } else { "client_key" };
        let (missing, hint) = missing.split_once(" (").unwrap_or((missing, ""));
        let at = node.get(written).unwrap_or(node).span.clone();
        return Err(Diagnostic::error(at, missing).hint(hint.trim_end_matches(')')));
    }
    let tls = Tls { ca, insecure: false, server_name, client_cert, client_key };
    Ok(Arc::new(TlsProbe { address: config.address, tls, ip: config.ip }))
}

#[derive(Debug)]
struct TlsProbe {
    address: Address,
    tls: Tls,
    ip: Option<Ip>,
}

impl Probe for TlsProbe {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(async move {
            let tls = match self.tls.options(&ask.tools) {
                Ok(tls) => tls,
                Err(unknown) => return Observation::blind(unknown.kind, unknown.why),
            };
            let handshake = Handshake {
                host: self.address.host.clone(),
                port: self.address.port,
                ip: self.ip.map(Ip::version),
                tls,
                budget: Budget::Service,
                deadline: ask.deadline,
            };
            let observation = match handshake.report(&ask.tools.http).await {
                Ok(report) => answered(&report, ask),
                Err(failure) => failure::observation(&failure, Measures::new()),
            };
            let host = self.address.host.to_string();
            observation.reproduce(self.tls.openssl(&self.address.to_string(), &host, None))
        })
    }

    fn system(&self) -> String {
        self.address.to_string()
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.tls.secrets()
    }
}

fn answered(report: &Report, ask: &Ask) -> Observation {
    let mut measures = Measures::new();
    let failure = report.shown.failure.clone();
    measures.set("verified", failure.is_none()).set("failure", failure.unwrap_or_default());
    if let Some(version) = report.shown.version {
        measures.set("version", version.replace('_', "."));
    }
    if let Some(cipher) = report.shown.cipher {
        measures.set("cipher", cipher);
    }
    if let Some(shown) = &report.shown.certificates {
        if let Some(expiry) = shown.expiry {
            measures.set("expiry_days", ask.now.duration_until(expiry).as_secs_f64() / 86_400.0);
        }
        if let Some(not_after) = shown.not_after {
            measures.set("not_after", not_after.to_string());
        }
        let names: Vec<_> = shown.names.iter().map(|name| encode::terminal(name)).collect();
        measures.set("names", names).set("issuer", encode::terminal(&shown.issuer));
        let subjects: Vec<_> = shown.chain.iter().map(|link| encode::terminal(&link.subject)).collect();
        measures.set("chain", subjects).set("chain_length", shown.chain_length as u64);
        if let Some(first) =
            shown.chain.iter().filter(|link| link.not_after.is_some()).min_by_key(|link| link.not_after)
        {
            measures.set("expires_first", encode::terminal(&first.subject));
        }
        measures.set("ocsp_stapled", report.shown.staple.is_some());
        measures.set("ocsp_status", ocsp_status(report.shown.staple.as_ref(), ask));
    }
    Observation::answered(measures).took(report.timings.total)
}

fn ocsp_status(staple: Option<&Staple>, ask: &Ask) -> &'static str {
    let Some(staple) = staple else { return "none" };
    let outdated = staple.next_update.is_some_and(|next| next < ask.now);
    match staple.status {
        StapledStatus::Invalid => "invalid",
        // Revoked stays revoked.
        StapledStatus::Revoked => "revoked",
        StapledStatus::Good | StapledStatus::Unknown if outdated => "expired",
        StapledStatus::Good => "good",
        StapledStatus::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests;
