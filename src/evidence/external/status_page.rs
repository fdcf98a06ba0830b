//! The `status_page` kind: what a provider says of itself, on a page by Atlassian or Instatus or in a feed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::Instant;

use super::failure::measure;
use crate::evidence::endpoint::{self, Endpoint, HeaderText};
use crate::evidence::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::encode;
use crate::model::look::Look;
use crate::model::measure::Type;
use crate::model::observation::{Observation, Unknown, UnknownKind};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::model::units::{Span, show_duration};
use crate::model::value::{Measures, Value};
use crate::net::budget::Budget;
use crate::net::http::{Caps, Request, Response};
use crate::yaml::{Node, Spanned};

mod feed;
mod json;
mod said;
#[cfg(test)]
mod tests;

use said::{Components, Incident, Said};

/// The largest page that is read, in bytes: a feed may hold years.
const PAGE: usize = 4 * 1024 * 1024;
/// A copy that is older than this says nothing of now.
const COPY_AGE: Duration = Duration::from_secs(15 * 60);
/// The most incidents that are told in notes.
const TOLD: usize = 3;
/// The most incidents whose names are kept.
const NAMED: usize = 50;
/// The longest name of an incident that is shown, in characters.
const NAME: usize = 160;

/// The kind's entry in the registry.
pub static KIND: Kind = Kind {
    name: "status_page",
    look: Look::External,
    summary: "what a provider's status page says: Atlassian Statuspage, Instatus, RSS or Atom",
    docs: "\
Reads a provider's own word: a page by Atlassian (`https://…/api/v2/summary.json`) or Instatus (`https://…/summary.json`),
or a feed of incidents (RSS or Atom). Which one it is shows in the answer. With `component` only that part of the provider
counts: its own state, and the incidents that name it or name none. Open incidents stand in the notes, with their links.

In a feed an incident is open or over by the word of its newest entry (\"Investigating\", \"Resolved\"); what an entry of
the last day leaves open in that sense makes the look unknown. Entries that are older than a week count as over.

Bad: the page says partial or major outage. Odd: it says degraded, or an incident is open. Where a check has other
expectations, these count.
Unknown: the page can't be had or read, isn't one of these, has words that aren't known, doesn't list the component, or is
a copy that is older than 15 minutes. With `max_age`: also where the provider hasn't touched the page for so long.

A page that says that all is well is no proof: providers are late. Give it a low `class`. Parameters can't stand here.",
    keys: &[
        Key { name: "url", takes: "URL", default: None, meaning: "the summary as JSON, or the feed" },
        Key {
            name: "component",
            takes: "name, or list of names",
            default: Some("all of the page"),
            meaning: "the parts of the provider that matter, as the page names them; upper and lower case are one",
        },
        Key {
            name: "max_age",
            takes: "duration",
            default: Some("any"),
            meaning: "how long ago the provider may have touched the page",
        },
        endpoint::HEADERS,
    ],
    measures: &[
        measure(
            "state",
            Type::Text,
            "text",
            "the worst that is said: operational, under_maintenance, degraded_performance, partial_outage, major_outage",
        ),
        measure("incidents", Type::Number, "count", "open incidents"),
        measure("open", Type::List, "texts", "their names, at most 50"),
        measure("maintenances", Type::Number, "count", "maintenances in progress"),
        measure("components", Type::Map, "text by name", "the state of each component that counts; absent in a feed"),
        measure("age_seconds", Type::Number, "seconds", "since the provider touched the page, where it says so"),
    ],
    default_expect: &[
        "state != \"partial_outage\" && state != \"major_outage\"",
        "odd: state != \"degraded_performance\"",
        "odd: incidents == 0",
    ],
    headline: &["state", "incidents"],
    sees: Sees::Now,
    attempts: 2,
    example: "external/status-page.yaml",
    example_text: include_str!("../../../checks.d/external/status-page.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The summary as JSON, or the feed.
    url: Spanned<String>,
    #[serde(default)]
    component: Components,
    #[serde(default)]
    max_age: Option<Span>,
    #[serde(default)]
    headers: Option<Spanned<BTreeMap<String, HeaderText>>>,
}

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    let headers = config.headers.unwrap_or_else(|| Spanned { at: node.span.clone(), value: BTreeMap::new() });
    let endpoint = Endpoint::new(&config.url, headers, None)?;
    if endpoint.url.path() == "/" && endpoint.url.query().is_none() {
        return Err(Diagnostic::error(config.url.at, "a page for people can't be read").hint(
            "ask for its summary: `…/api/v2/summary.json` (Atlassian), `…/summary.json` (Instatus), or its feed",
        ));
    }
    Ok(Arc::new(StatusPage { endpoint, wanted: config.component, max_age: config.max_age.map(|span| span.0) }))
}

#[derive(Debug)]
struct StatusPage {
    endpoint: Endpoint,
    wanted: Components,
    max_age: Option<Duration>,
}

impl Probe for StatusPage {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(async move {
            let started = Instant::now();
            let observation = match self.look(ask).await {
                Ok(observation) => observation,
                Err(unknown) => Observation::blind(unknown.kind, unknown.why),
            };
            let by_hand = format!("{} {}", self.endpoint.curl(), encode::shell_word(self.endpoint.url.as_str()));
            observation.reproduce(by_hand).took(started.elapsed())
        })
    }

    fn system(&self) -> String {
        self.endpoint.system()
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.endpoint.secrets()
    }
}

impl StatusPage {
    async fn look(&self, ask: &Ask) -> Result<Observation, Unknown> {
        let left = ask.deadline.saturating_duration_since(Instant::now());
        // A little before the caller gives up, so that the answer can still say what was waited for.
        let deadline = ask.deadline - (left / 20).min(Duration::from_millis(100));
        let mut request = Request::get(self.endpoint.url.clone(), deadline);
        (request.headers, request.secret_headers) = self.endpoint.headers(&ask.tools)?;
        request.follow_redirects = 5;
        request.budget = Budget::System;
        request.caps = Caps { body: PAGE, ..Caps::default() };
        // Other checks may look at other components of the same page.
        request.asker = Some(ask.check.to_string());
        let response = ask.tools.http.send(request).await.map_err(|failure| self.endpoint.silent(&failure))?;
        if response.status != 200 {
            return Err(self.endpoint.refusal(response.status, ""));
        }
        self.fresh(&response, ask.now)?;
        let (wanted, now) = (self.wanted.clone(), ask.now);
        // A feed of many megabytes takes a while; it must not hold up the others.
        let said = tokio::task::spawn_blocking(move || said_by(&response, &wanted, now)).await;
        let said = said
            .map_err(|_| Unknown::new(UnknownKind::Panicked, "reading the status page failed"))?
            .map_err(|(kind, why)| self.unfit(kind, why))?;
        self.tell(said, ask)
    }

    fn unfit(&self, kind: UnknownKind, why: impl std::fmt::Display) -> Unknown {
        Unknown::new(kind, format!("{}: {why}", self.endpoint.system()))
    }

    /// Refuses a copy that was made too long ago, by HTTP's own account (RFC 9111 §4.2.3).
    fn fresh(&self, response: &Response, now: Timestamp) -> Result<(), Unknown> {
        let header = |name: &str| response.headers.get(name).and_then(|value| value.to_str().ok());
        let age = header("age").and_then(|age| age.trim().parse::<f64>().ok()).unwrap_or(0.0);
        let date = header("date").and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
        let since = date.map_or(0.0, |date| date.timestamp().duration_until(now).as_secs_f64());
        let old = age.max(since);
        if old > COPY_AGE.as_secs_f64() {
            let old = show_duration(Duration::try_from_secs_f64(old).unwrap_or(Duration::MAX));
            return Err(self.unfit(UnknownKind::Stale, format!("what came is a copy that is {old} old")));
        }
        Ok(())
    }

    fn tell(&self, said: Said, ask: &Ask) -> Result<Observation, Unknown> {
        let mut measures = Measures::new();
        let mut observation = Observation::answered(Measures::new());
        if let Some(touched) = said.touched {
            let age = touched.duration_until(ask.now).as_secs_f64().max(0.0);
            if self.max_age.is_some_and(|most| age > most.as_secs_f64()) {
                let age = show_duration(Duration::try_from_secs_f64(age).unwrap_or(Duration::MAX));
                return Err(self.unfit(UnknownKind::Stale, format!("nobody has touched the page for {age}")));
            }
            measures.set("age_seconds", age);
            observation.data_until = Some(touched);
        } else if self.max_age.is_some() {
            return Err(self.unfit(UnknownKind::Incomplete, "the page doesn't say when it was touched"));
        }
        measures.set("state", said.state.name()).set("maintenances", said.maintenances);
        if let Some(incidents) = &said.incidents {
            let names = incidents.iter().take(NAMED).map(|incident| cut(&incident.name)).collect::<Vec<_>>();
            measures.set("incidents", incidents.len()).set("open", names);
            for incident in incidents.iter().take(TOLD) {
                observation = observation.note(told(incident));
            }
        }
        for note in said.notes {
            observation = observation.note(note);
        }
        if let Some(components) = said.components {
            let states = components.into_iter().map(|(name, state)| (name, Value::from(state.name()))).collect();
            measures.set("components", Value::Map(states));
        }
        Ok(observation.measures(measures))
    }
}

/// An open incident for a reader.
fn told(incident: &Incident) -> String {
    let mut text = format!("open: {}", encode::terminal(&cut(&incident.name)));
    if let Some(word) = &incident.word {
        text.push_str(&format!(" ({})", encode::terminal(&cut(word))));
    }
    // A link from outside is shown, never followed; anything but a web page is not even shown.
    let web = |link: &&String| url::Url::parse(link).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if let Some(link) = incident.link.as_ref().filter(web) {
        text.push_str(&format!(", {}", encode::terminal(&cut(link))));
    }
    text
}

fn cut(text: &str) -> String {
    text.trim().chars().take(NAME).collect()
}

/// What a page says, whichever of the forms it has.
fn said_by(response: &Response, wanted: &Components, now: Timestamp) -> Result<Said, (UnknownKind, String)> {
    let unreadable = |why: &str| (UnknownKind::Unintelligible, why.to_owned());
    if let Some(coding) = &response.unread_coding {
        return Err((UnknownKind::Unintelligible, format!("it has the coding `{}`", encode::terminal(coding))));
    }
    if response.truncated {
        return Err((UnknownKind::Incomplete, "it is larger than we read".to_owned()));
    }
    let text = std::str::from_utf8(&response.body).map_err(|_| unreadable("it is not UTF-8"))?;
    let text = text.trim_start_matches('\u{feff}').trim_start();
    match text.as_bytes().first() {
        Some(b'{') => json::read(text, wanted),
        Some(b'<') => feed::read(text, wanted, now),
        _ => Err(unreadable("it is neither JSON nor a feed")),
    }
}
