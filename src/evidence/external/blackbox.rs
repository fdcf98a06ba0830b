//! The `blackbox` kind: a look through somebody's blackbox_exporter, a vantage point that is there already.
//!
//! The exporter is a system that we ask; what it probes is the service. Its page is the same whether the target failed
//! or the exporter couldn't look (a socket that it may not open, a CA file that isn't there). So where it says
//! `probe_success 0` it is asked once more, with `debug=true`, for the log of its probe.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::Instant;

use super::failure::measure;
use crate::evidence::endpoint::{Endpoint, HeaderText};
use crate::evidence::slots::without_slots;
use crate::evidence::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::encode;
use crate::model::look::Look;
use crate::model::measure::Type;
use crate::model::observation::{Observation, Unknown, UnknownKind};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::net::budget::Budget;
use crate::net::http::{Request, Response};
use crate::yaml::{Node, Spanned};

mod log;
mod page;
#[cfg(test)]
mod tests;

/// The share of the time that the exporter's first probe may take; the rest is for its log and for the way.
const FIRST_SHARE: f64 = 0.6;
/// Less time than this is not worth another question.
const LOG_AT_LEAST: Duration = Duration::from_millis(700);

/// The kind's entry in the registry.
pub static KIND: Kind = Kind {
    name: "blackbox",
    look: Look::External,
    summary: "a probe taken by a Prometheus blackbox_exporter elsewhere",
    docs: "\
Asks a blackbox_exporter to probe a target with one of its modules (`/probe?module=…&target=…`), and reads its page
strictly: a page that is broken anywhere is not used at all. What is good is the exporter's own word, `probe_success`,
by the rules of its module. It is told how much time there is, so that it gives up before we do.

Bad: the exporter says that its probe failed. The lines of its log that say why are shown; for them it probes once more.
Unknown: the exporter doesn't answer, doesn't know the module, answers no metrics page or one without `probe_success`;
or its log says that it couldn't look: a socket that it may not open, a TLS file that it can't read, a resolver or a
network that is missing on its side.

All checks through one exporter are one witness: what is wrong where it stands is wrong for all of them. Parameters can't
stand here.",
    keys: &[
        Key { name: "url", takes: "URL", default: None, meaning: "the exporter, like http://127.0.0.1:9115" },
        Key { name: "module", takes: "name", default: Some("http_2xx"), meaning: "how it probes: one of its modules" },
        Key { name: "target", takes: "URL, host:port, host", default: None, meaning: "what it probes" },
        Key {
            name: "hostname",
            takes: "host",
            default: Some("the target's own"),
            meaning: "the name to ask an http or tcp target for",
        },
        Key {
            name: "headers",
            takes: "map of text or secret",
            default: Some("none"),
            meaning: "sent to the exporter; secret ones as { env: NAME } or { file: path }",
        },
        Key {
            name: "bearer_token",
            takes: "secret",
            default: Some("none"),
            meaning: "sent to the exporter as `Authorization: Bearer …`",
        },
    ],
    measures: &[
        measure("success", Type::Bool, "true or false", "the exporter's word: `probe_success`"),
        measure("duration_seconds", Type::Number, "seconds", "its probe, from start to end"),
        measure("resolve_seconds", Type::Number, "seconds", "resolving the target's name, where the exporter stands"),
        measure("phases", Type::Map, "seconds by phase", "what the probe's time went into: connect, tls, rtt, …"),
        measure("status", Type::Number, "HTTP status", "the target's answer; absent where there was none"),
        measure(
            "certificate_expiry_days",
            Type::Number,
            "days",
            "until the first certificate of the target's chain expires; absent without TLS",
        ),
        measure(
            "values",
            Type::Map,
            "each metric's own",
            "everything on the page by name and labels: `values[\"probe_ip_protocol{}\"]`; absent beyond 200",
        ),
    ],
    default_expect: &["success"],
    headline: &["success", "duration_seconds"],
    sees: Sees::Now,
    attempts: 2,
    example: "external/blackbox.yaml",
    example_text: include_str!("../../../checks.d/external/blackbox.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The exporter, for example `http://127.0.0.1:9115`.
    url: Spanned<String>,
    #[serde(default)]
    module: Option<Spanned<String>>,
    /// What the exporter probes.
    target: Spanned<String>,
    #[serde(default)]
    hostname: Option<Spanned<String>>,
    #[serde(default)]
    headers: Option<Spanned<BTreeMap<String, HeaderText>>>,
    #[serde(default)]
    bearer_token: Option<SecretRef>,
}

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    let headers = config.headers.unwrap_or_else(|| Spanned { at: node.span.clone(), value: BTreeMap::new() });
    let mut endpoint = Endpoint::new(&config.url, headers, config.bearer_token)?;
    if endpoint.url.query().is_some() || endpoint.url.path().ends_with("/probe") {
        return Err(Diagnostic::error(config.url.at, "the URL is the exporter's own, without `/probe` and a query")
            .hint("what it probes goes under `target`, how under `module`"));
    }
    let module = config.module.as_ref();
    for (name, value) in [("module", module), ("target", Some(&config.target)), ("hostname", config.hostname.as_ref())]
    {
        let Some(value) = value else { continue };
        let wrong = |message: String| Diagnostic::error(value.at.clone(), message);
        without_slots(&value.value).map_err(|error| wrong(error.to_string()))?;
        if value.value.trim().is_empty() || value.value.chars().any(encode::is_unprintable) {
            return Err(wrong(format!("the {name} is empty, or can't be sent")));
        }
        if url::Url::parse(&value.value).is_ok_and(|url| !url.username().is_empty() || url.password().is_some()) {
            return Err(wrong("credentials can't stand in a URL".to_owned())
                .hint("the exporter's module holds them: basic_auth, bearer_token_file"));
        }
    }
    let path = format!("{}/probe", endpoint.url.path().trim_end_matches('/'));
    endpoint.url.set_path(&path);
    {
        let mut query = endpoint.url.query_pairs_mut();
        query.append_pair("module", module.map_or("http_2xx", |module| module.value.as_str()));
        query.append_pair("target", &config.target.value);
        if let Some(hostname) = &config.hostname {
            query.append_pair("hostname", &hostname.value);
        }
    }
    Ok(Arc::new(Blackbox { endpoint, target: config.target.value }))
}

#[derive(Debug)]
struct Blackbox {
    /// With `/probe` and its query.
    endpoint: Endpoint,
    target: String,
}

impl Probe for Blackbox {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(async move {
            let started = Instant::now();
            let observation = match self.look(ask).await {
                Ok(observation) => observation,
                Err(unknown) => Observation::blind(unknown.kind, unknown.why),
            };
            observation.reproduce(self.by_hand()).took(started.elapsed())
        })
    }

    fn system(&self) -> String {
        self.endpoint.system()
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.endpoint.secrets()
    }
}

impl Blackbox {
    async fn look(&self, ask: &Ask) -> Result<Observation, Unknown> {
        let left = ask.deadline.saturating_duration_since(Instant::now());
        // A little before the caller gives up, so that the answer can still say what was waited for.
        let deadline = ask.deadline - (left / 20).min(Duration::from_millis(100));
        // The target is as much a service when somebody else probes it for us.
        let turn = ask.tools.http.dialer().budgets.turn(&self.target, 0, Budget::Service);
        let _turn = tokio::time::timeout_at(deadline, turn).await.map_err(|_| {
            let target = encode::terminal(&self.target);
            Unknown::new(UnknownKind::TimedOut, format!("no turn at {target} in time (its budget)"))
        })?;
        let first = self.request(ask, deadline, FIRST_SHARE, false)?;
        let response = ask.tools.http.send(first).await.map_err(|failure| self.endpoint.silent(&failure))?;
        let page = self.page(&response, ask)?;
        let mut observation = Observation::answered(page.measures);
        if page.success {
            return Ok(observation);
        }
        match self.log(ask, deadline).await {
            Err(why) => Ok(observation.note(format!("why is not known: {why}"))),
            Ok(log) => {
                let shown = ask.tools.redactor.strike(&log.excerpt());
                if let Some((kind, line)) = log.own_failure() {
                    let line = encode::terminal(&ask.tools.redactor.strike(&line));
                    let why = format!("{} could not look by itself: {line}", self.endpoint.system());
                    return Err(Unknown::new(kind, why));
                }
                if log.recovered {
                    observation = observation.note("asked again for its log, the exporter's probe succeeded");
                }
                Ok(observation.excerpt(shown))
            }
        }
    }

    fn request(&self, ask: &Ask, deadline: Instant, share: f64, debug: bool) -> Result<Request, Unknown> {
        let left = deadline.saturating_duration_since(Instant::now()).as_secs_f64();
        let mut request = Request::get(self.endpoint.url.clone(), deadline);
        if debug {
            request.url.query_pairs_mut().append_pair("debug", "true");
        }
        (request.headers, request.secret_headers) = self.endpoint.headers(&ask.tools)?;
        request.headers.push(("x-prometheus-scrape-timeout-seconds".to_owned(), format!("{:.1}", left * share)));
        request.headers.push(("accept".to_owned(), crate::net::exposition::Format::ACCEPT.to_owned()));
        request.follow_redirects = 3;
        request.budget = Budget::System;
        Ok(request)
    }

    fn page(&self, response: &Response, ask: &Ask) -> Result<page::Page, Unknown> {
        if response.status != 200 {
            let text: String = String::from_utf8_lossy(&response.body).chars().take(200).collect();
            return Err(self.endpoint.refusal(response.status, &encode::terminal(text.trim())));
        }
        page::read(response, &self.endpoint.system(), ask.now)
    }

    /// The log of another probe of the same target.
    async fn log(&self, ask: &Ask, deadline: Instant) -> Result<log::Log, String> {
        if deadline.saturating_duration_since(Instant::now()) < LOG_AT_LEAST {
            return Err("no time was left to ask for the exporter's log".to_owned());
        }
        let request = self.request(ask, deadline, 0.9, true).map_err(|unknown| unknown.why)?;
        let response = ask.tools.http.send(request).await.map_err(|failure| self.endpoint.silent(&failure).why)?;
        if response.status != 200 {
            return Err(self.endpoint.refusal(response.status, "").why);
        }
        log::read(&String::from_utf8_lossy(&response.body))
            .ok_or_else(|| "the exporter shows no log of its probe".to_owned())
    }

    fn by_hand(&self) -> String {
        let url = format!("{}&debug=true", self.endpoint.url);
        format!("{} {}", self.endpoint.curl(), encode::shell_word(&url))
    }
}

/// Days from `now` until this moment.
fn days_until(seconds: f64, now: Timestamp) -> f64 {
    (seconds - now.as_millisecond() as f64 / 1_000.0) / 86_400.0
}
