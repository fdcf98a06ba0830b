//! The `dns` kind: one question to a name server, and what it answers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};
use tokio::time::Instant;
use url::Host;

use super::address::Address;
use super::failure::measure;
use crate::evidence::slots::without_slots;
use crate::evidence::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::encode::{self, shell_word};
use crate::model::look::Look;
use crate::model::measure::Type;
use crate::model::observation::{Observation, Phase, UnknownKind};
use crate::model::source::Diagnostic;
use crate::model::units::show_duration;
use crate::model::value::Measures;
use crate::net::budget::Budget;
use crate::net::dns::{Answer, Question, Transport, Unanswered, Unresolved};
use crate::net::guard::Reach;
use crate::yaml::Node;

/// The kind's entry in the registry.
pub static KIND: Kind = Kind {
    name: "dns",
    look: Look::External,
    summary: "a name, as a name server answers for it",
    docs: "\
Puts one question to `server`, or to the name servers of this host (`/etc/resolv.conf`, in their order) where none is
named. Over UDP the question is sent again each second until something comes, and put over TCP where the answer is too
long. The name is taken as it stands, without search domains. `localhost` is answered here, as RFC 6761 asks.

Any answer is an answer: `rcode` says which. `answers` are the data of the records of the asked type, as a zone file
writes them; those of a CNAME on the way are left out. Types that people ask about are A, AAAA, CNAME, MX, NS, TXT, SOA,
CAA and SRV; PTR, SVCB, HTTPS, TLSA and others work as well.

`authoritative` is the server's AA flag: it answers for a zone of its own. Whether each of a zone's name servers does is
asked with `server` and `recursion: false`: one that has lost the zone then refuses, or sends elsewhere with an empty
answer (`authority` says where).

DNSSEC isn't validated here: `authenticated` is what the server says (its AD flag), and worth as much as the way to it. A
validating resolver answers SERVFAIL for a name whose signatures don't hold, which the default forbids already; that a
zone is signed and the resolver validates is `expect: [ authenticated ]`.

Bad: what the expectations forbid, by default every code but NOERROR and an empty answer. A `server` that is named is
the service that is probed: that it refuses, stays silent or answers unreadably is bad as well.
Unknown: this host's own name servers don't answer or refuse to work for us (REFUSED, NOTIMP, FORMERR), a guard of ours
forbids the address, the target's budget left no time.

Parameters can't stand here.",
    keys: &[
        Key { name: "name", takes: "domain name", default: None, meaning: "what is asked about" },
        Key { name: "type", takes: "A, AAAA, MX, TXT, …", default: Some("A"), meaning: "which records" },
        Key {
            name: "server",
            takes: "host or host:port",
            default: Some("this host's name servers"),
            meaning: "who is asked",
        },
        Key {
            name: "recursion",
            takes: "true or false",
            default: Some("true"),
            meaning: "whether the server is to ask others for us (the RD flag)",
        },
        Key { name: "transport", takes: "udp or tcp", default: Some("udp"), meaning: "how the question travels" },
    ],
    measures: &[
        measure("rcode", Type::Text, "text", "NOERROR, NXDOMAIN, SERVFAIL, …"),
        measure("answers", Type::List, "list of texts", "the data of the records of the asked type"),
        measure("ttl_seconds", Type::Number, "seconds", "the smallest TTL of the answer; absent without records"),
        measure("duration_seconds", Type::Number, "seconds", "from the question to the answer"),
        measure("authenticated", Type::Bool, "true or false", "the server says that it has validated the answer (AD)"),
        measure("authoritative", Type::Bool, "true or false", "the server answers for a zone of its own (AA)"),
        measure(
            "authority",
            Type::List,
            "list of texts",
            "name, type and data of the authority section: a zone's SOA beside an empty answer, a referral's name servers",
        ),
    ],
    default_expect: &["rcode == \"NOERROR\" && size(answers) > 0"],
    headline: &["rcode", "answers", "duration_seconds"],
    sees: Sees::Now,
    attempts: 2,
    example: "external/dns.yaml",
    example_text: include_str!("../../../checks.d/external/dns.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    name: String,
    #[serde(rename = "type", default = "a")]
    record_type: String,
    #[serde(default)]
    server: Option<Server>,
    #[serde(default = "yes")]
    recursion: bool,
    #[serde(default)]
    transport: Over,
}

fn yes() -> bool {
    true
}

fn a() -> String {
    "A".to_owned()
}

/// How the question travels.
#[derive(Debug, Clone, Copy, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Over {
    #[default]
    Udp,
    Tcp,
}

/// A name server; its port is 53 unless it says otherwise.
#[derive(Debug, Clone)]
struct Server(Address);

impl<'de> Deserialize<'de> for Server {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Address::parse(&text, Some(53)).map(Server).map_err(de::Error::custom)
    }
}

impl schemars::JsonSchema for Server {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NameServer".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "host or host:port" })
    }
}

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    let at = |key: &str| node.get(key).unwrap_or(node).span.clone();
    without_slots(&config.name).map_err(|error| Diagnostic::error(at("name"), error.to_string()))?;
    let transport = match config.transport {
        Over::Udp => Transport::Udp,
        Over::Tcp => Transport::Tcp,
    };
    Question::new(&config.name, "A", transport).map_err(|what| Diagnostic::error(at("name"), what))?;
    let mut question = Question::new(&config.name, &config.record_type, transport)
        .map_err(|what| Diagnostic::error(at("type"), what).hint("A, AAAA, CNAME, MX, NS, TXT, SOA, CAA, SRV, …"))?;
    question.recursion = config.recursion;
    let record_type = config.record_type.to_ascii_uppercase();
    Ok(Arc::new(Dns { name: config.name, record_type, question, server: config.server.map(|server| server.0) }))
}

#[derive(Debug)]
struct Dns {
    name: String,
    record_type: String,
    question: Question,
    /// The service that is probed; `None`: our own name servers.
    server: Option<Address>,
}

impl Probe for Dns {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(async move {
            let begun = Instant::now();
            let looked = tokio::time::timeout_at(ask.deadline, self.look(ask)).await;
            let observation = looked.unwrap_or_else(|_| {
                let waited = show_duration(begun.elapsed());
                self.silent(format!("no answer in {waited}"))
            });
            observation.reproduce(self.dig())
        })
    }

    fn system(&self) -> String {
        match &self.server {
            Some(server) => server.to_string(),
            None => "resolver:53".to_owned(),
        }
    }
}

impl Dns {
    async fn look(&self, ask: &Ask) -> Observation {
        if self.server.is_none() && is_localhost(&self.name) {
            return self.localhost();
        }
        let servers = match self.servers(ask).await {
            Ok(servers) => servers,
            Err(observation) => return observation,
        };
        let dialer = ask.tools.http.dialer();
        let budget = if self.server.is_some() { Budget::Service } else { Budget::System };
        let mut last = self.silent("no name server to ask".to_owned());
        for (index, server) in servers.iter().enumerate() {
            // What a check names is judged; the host's own configuration is the administrator's word.
            if self.server.is_some()
                && let Err(denied) = dialer.guard.check_address(*server, Reach::Anywhere)
            {
                return Observation::blind(UnknownKind::Refused, denied.to_string());
            }
            let host = server.ip().to_string();
            let turn = dialer.budgets.turn(&host, server.port(), budget);
            let Ok(_turn) = tokio::time::timeout_at(ask.deadline, turn).await else {
                return Observation::blind(UnknownKind::TimedOut, "no turn at this name server (its budget)");
            };
            let begun = Instant::now();
            // The time is shared out, so that a silent server leaves some to those after it.
            let left = ask.deadline.saturating_duration_since(begun);
            let share = left / u32::try_from(servers.len() - index).unwrap_or(1);
            match tokio::time::timeout(share, self.question.ask(*server)).await {
                Ok(Ok(answer)) if self.server.is_none() && refuses_to_work(&answer) => {
                    let rcode = &answer.rcode;
                    last =
                        Observation::blind(UnknownKind::Unreachable, format!("our resolver {server} answered {rcode}"));
                }
                Ok(Ok(answer)) => return self.answered(&answer, begun.elapsed()),
                Ok(Err(unanswered)) => last = self.unanswered(&unanswered),
                Err(_) => last = self.silent(format!("no answer in {}", show_duration(begun.elapsed()))),
            }
        }
        last
    }

    /// Whom to ask, in order.
    async fn servers(&self, ask: &Ask) -> Result<Vec<SocketAddr>, Observation> {
        let resolver = &ask.tools.resolver;
        let Some(server) = &self.server else {
            let servers = resolver.servers();
            return servers.map_err(|what| Observation::blind(UnknownKind::Unreachable, what));
        };
        let addresses = match &server.host {
            Host::Ipv4(ip) => vec![IpAddr::V4(*ip)],
            Host::Ipv6(ip) => vec![IpAddr::V6(*ip)],
            Host::Domain(name) => resolver.addresses(name, None).await.map_err(|unresolved| match unresolved {
                Unresolved::NoAddress(what) => Observation::failed(Phase::Resolve, what),
                Unresolved::Ours(what) => Observation::blind(UnknownKind::Unreachable, what),
            })?,
        };
        Ok(addresses.into_iter().take(3).map(|ip| SocketAddr::new(ip, server.port)).collect())
    }

    fn answered(&self, answer: &Answer, took: Duration) -> Observation {
        let ours: Vec<_> = answer
            .records
            .iter()
            .filter(|record| record.record_type == self.record_type || self.record_type == "ANY")
            .map(|record| encode::terminal(&record.data))
            .collect();
        let authority: Vec<_> = answer
            .authority
            .iter()
            .map(|record| encode::terminal(&format!("{} {} {}", record.name, record.record_type, record.data)))
            .collect();
        let mut measures = Measures::new();
        measures
            .set("rcode", answer.rcode.clone())
            .set("answers", ours)
            .set("duration_seconds", took.as_secs_f64())
            .set("authenticated", answer.authenticated)
            .set("authoritative", answer.authoritative)
            .set("authority", authority);
        if let Some(ttl) = answer.records.iter().map(|record| record.ttl).min() {
            measures.set("ttl_seconds", ttl);
        }
        let lines: Vec<_> = answer
            .records
            .iter()
            .take(20)
            .map(|r| encode::terminal(&format!("{} {} {} {}", r.name, r.ttl, r.record_type, r.data)))
            .collect();
        Observation::answered(measures).took(took).excerpt(lines.join("\n"))
    }

    fn localhost(&self) -> Observation {
        let answers = match self.record_type.as_str() {
            "A" => vec!["127.0.0.1".to_owned()],
            "AAAA" => vec!["::1".to_owned()],
            _ => Vec::new(),
        };
        let mut measures = Measures::new();
        measures
            .set("rcode", "NOERROR")
            .set("answers", answers)
            .set("duration_seconds", 0.0)
            .set("authenticated", false)
            .set("authoritative", false)
            .set("authority", Vec::<String>::new());
        Observation::answered(measures).note("answered here, as RFC 6761 asks for localhost; no name server was asked")
    }

    fn silent(&self, what: String) -> Observation {
        match &self.server {
            Some(_) => Observation::failed(Phase::Processing, what),
            None => Observation::blind(UnknownKind::Unreachable, format!("our resolver: {what}")),
        }
    }

    fn unanswered(&self, unanswered: &Unanswered) -> Observation {
        let what = encode::terminal(&unanswered.to_string());
        match (&self.server, unanswered) {
            (Some(_), Unanswered::Unreachable(_)) => Observation::failed(Phase::Connect, what),
            (Some(_), Unanswered::Unreadable(_)) => Observation::failed(Phase::Processing, what),
            (None, Unanswered::Unreachable(_)) => {
                Observation::blind(UnknownKind::Unreachable, format!("our resolver: {what}"))
            }
            (None, Unanswered::Unreadable(_)) => {
                Observation::blind(UnknownKind::Unintelligible, format!("our resolver: {what}"))
            }
        }
    }

    fn dig(&self) -> String {
        let mut line = String::from("dig");
        if let Some(server) = &self.server {
            let host = server.host.to_string();
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            line += &format!(" {} -p {}", shell_word(&format!("@{bare}")), server.port);
        }
        if self.question.transport == Transport::Tcp {
            line += " +tcp";
        }
        if !self.question.recursion {
            line += " +norecurse";
        }
        format!("{line} {} {}", shell_word(&self.name), shell_word(&self.record_type))
    }
}

/// Codes by which a resolver says that it won't work for us; they say nothing of the name.
fn refuses_to_work(answer: &Answer) -> bool {
    matches!(answer.rcode.as_str(), "REFUSED" | "NOTIMP" | "FORMERR" | "NOTAUTH" | "BADVERS")
}

fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests;
