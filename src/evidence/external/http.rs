//! The `http` kind: one request, and everything that can be said of its answer.

use std::sync::Arc;

use super::failure::{self, measure};
use crate::evidence::message::{self, Message};
use crate::evidence::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::encode;
use crate::model::look::Look;
use crate::model::measure::Type;
use crate::model::observation::Observation;
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::model::value::Measures;
use crate::net::http::{Failure, Response};
use crate::yaml::Node;

mod answer;
mod config;

#[cfg(test)]
mod tests;

use config::Config;

/// The kind's entry in the registry.
pub static KIND: Kind = Kind {
    name: "http",
    look: Look::External,
    summary: "a page or an API, asked once over HTTP",
    docs: "\
Sends one request over a connection of its own and measures each phase: resolve, connect, TLS, first byte. Redirects are
followed (10), each hop judged by the guard; credentials and headers stay with the origin that they were written for,
also on the way back, and nothing is followed from https to http. HTTP/2 is spoken where the server offers it, gzip and
deflate are undone. A client certificate and the answer to a challenge of HTTP Digest go to the first origin only, too. Every request carries `X-Houston-Probe: 1`, so that logs and traffic can leave it out.

Bad: the name doesn't resolve (NXDOMAIN, SERVFAIL), the service refuses, resets, fails TLS, stays silent until the
deadline, redirects without end, or answers something that is not HTTP; and whatever the expectations forbid. The phase
is named.
Unknown: our resolver doesn't answer, a guard of ours forbids the address, the target's budget left no time. Of a body
beyond 1 MiB `body`, `body_bytes` and `json` are not measured, so expectations on them are unknown; others hold.

`json` is the body read as JSON, and null where it isn't any: `json.state == \"ok\"` is then broken, not unknown.

`{{ name }}` stands for a parameter: as a part of the URL's path behind its first character, as a query's value, in the
values of headers, in json, form and body. A parameter never chooses scheme, host or port.",
    keys: &[
        key("url", "URL", None, "what is asked; no user or password in it"),
        key("method", "HTTP method", Some("GET; POST with a body"), "how"),
        message::keys::HEADERS,
        message::keys::BODY,
        message::keys::BEARER,
        message::keys::BASIC,
        message::keys::DIGEST,
        message::keys::REDIRECTS,
        message::keys::TLS,
        key("ip", "v4 or v6", Some("either"), "which addresses of the host to use"),
    ],
    measures: &[
        measure("status", Type::Number, "HTTP status", "the answer's status"),
        measure("duration_seconds", Type::Number, "seconds", "the whole exchange, redirects included"),
        measure("resolve_seconds", Type::Number, "seconds", "resolving the name, at the last hop"),
        measure("connect_seconds", Type::Number, "seconds", "connecting, at the last hop"),
        measure("tls_seconds", Type::Number, "seconds", "the TLS handshake, at the last hop; absent for http:"),
        measure(
            "first_byte_seconds",
            Type::Number,
            "seconds",
            "from sending to the answer's first byte, at the last hop",
        ),
        measure("body", Type::Text, "text", "the body, decoded; absent beyond 1 MiB"),
        measure("body_bytes", Type::Number, "bytes", "the length of the decoded body; absent beyond 1 MiB"),
        measure("headers", Type::Map, "text by name", "the answer's headers by their names in lower case"),
        measure("json", Type::Any, "any", "the body read as JSON; null where it isn't any; absent beyond 1 MiB"),
        measure("redirects", Type::Number, "count", "redirects that were followed"),
        measure("http_version", Type::Text, "text", "`HTTP/1.1`, `HTTP/2`"),
        measure("certificate_expiry_days", Type::Number, "days", "until the first certificate of the chain expires"),
    ],
    default_expect: &["status >= 200 && status < 300"],
    headline: &["status", "duration_seconds"],
    sees: Sees::Now,
    attempts: 2,
    example: "external/http.yaml",
    example_text: include_str!("../../../checks.d/external/http.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

const fn key(name: &'static str, takes: &'static str, default: Option<&'static str>, meaning: &'static str) -> Key {
    Key { name, takes, default, meaning }
}

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    Ok(Arc::new(Http { message: Config::read(node)? }))
}

#[derive(Debug)]
struct Http {
    message: Message,
}

impl Probe for Http {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(self.look(ask))
    }

    fn system(&self) -> String {
        self.message.url.host_and_port()
    }

    fn params(&self) -> Vec<String> {
        let mut names = self.message.params();
        names.sort();
        names
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.message.secrets()
    }
}

impl Http {
    async fn look(&self, ask: &Ask) -> Observation {
        let mut request = match self.message.write(&ask.params, ask, &ask.tools.redactor) {
            Ok(request) => request,
            Err(unready) => return Observation::blind(unready.kind(), unready.to_string()),
        };
        request.asker = (ask.attempt <= 1).then(|| format!("{}@{}", ask.check, ask.now));
        let reproduce = self.message.curl(&request, &ask.params, false);
        let observation = match ask.tools.http.send(request).await {
            Ok(response) => answered(&response, ask),
            Err(failure) => failed(&failure, ask),
        };
        observation.reproduce(reproduce)
    }
}

fn answered(response: &Response, ask: &Ask) -> Observation {
    let mut observation = Observation::answered(answer::measures(response, ask)).took(response.timings.total);
    if let Some(last) = response.redirects.last() {
        observation = observation.note(format!("redirected to {}", place(last)));
    }
    if let Some(coding) = &response.unread_coding {
        let coding = encode::terminal(coding);
        observation =
            observation.note(format!("the body was not read: it is packed with {coding}, which was not asked for"));
    } else if response.truncated {
        observation = observation.note("the body was not measured: it is longer than 1 MiB");
    }
    match answer::excerpt(response, &ask.tools.redactor) {
        Some(excerpt) => observation.excerpt(excerpt),
        None => observation,
    }
}

fn failed(failure: &Failure, ask: &Ask) -> Observation {
    let mut measures = Measures::new();
    failure::phases(&failure.timings, &mut measures);
    if let Some(expiry) = failure.certificate_expiry {
        measures.set("certificate_expiry_days", message::answer::days(ask.now, expiry));
    }
    let observation = failure::observation(failure, measures);
    match failure.redirects.last() {
        Some(last) => observation.note(format!("redirected to {}", place(last))),
        None => observation,
    }
}

/// Scheme, host and port: the path and the query of a redirect are the service's, and may hold anything.
fn place(url: &url::Url) -> String {
    url.origin().ascii_serialization()
}
