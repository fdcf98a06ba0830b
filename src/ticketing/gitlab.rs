//! GitLab issues: webhooks in, one internal note and one label out.
//!
//! "Webhook events", "Notes API" and "Issues API" of GitLab's documentation.

use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::comment;
use super::{
    Hook, Incoming, Received, Refused, SystemKind, TicketSystem, What, check_keys, http_url, keys, parse_time, text_at,
};
use crate::model::delivery::{Message, Outcome};
use crate::model::letter::Medium;
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::model::text::Untrusted;
use crate::model::ticket::Report;
use crate::net::http::TlsOptions;
use crate::net::outgoing::{self, Call, Sending, Wires};
use crate::net::signature::equals;
use crate::yaml::{self, Spanned};

pub static GITLAB: SystemKind = SystemKind {
    name: "gitlab",
    summary: "GitLab issues and incidents",
    docs: "Keys: `secrets` (1 to 3 of the webhook's secret tokens, of at least 16 bytes, as `{ env: NAME }` or `{ file: \
           path }`), `token` (an access token of Houston's own account with the scope `api`), `user` (that account's user \
           name: what it does is ignored), `url` (https://gitlab.com by default), `ca` (PEM file of roots to trust for \
           it). \
           The webhook sends issues events and comments, confidential ones too. GitLab sends the secret token itself, so \
           only over TLS. An issue that is opened is a ticket, by `PROJECT_ID#IID`; updated, closed and reopened ones, and \
           comments, become its events; system notes and comments on anything else are ignored. A delivery is known by \
           its `Idempotency-Key` (GitLab 17.4 and later), else by its `X-Gitlab-Event-UUID`. `fields` see the payload. \
           A note is one internal note, which members from Planner or Reporter on can read, and which each new verdict \
           edits; where a GitLab makes it one that everybody reads, it is deleted again and refused. Beside it there is \
           one of the labels `houston:issue`, `houston:no-issue` and `houston:doubtful`. A reply is a note that everybody \
           reads who reads the issue. Before one is repeated it is looked for among the issue's notes.",
    example: "{ secrets: [{ env: GITLAB_WEBHOOK_SECRET }], token: { env: GITLAB_TOKEN }, user: houston }",
    payload: r#"{"object_kind":"issue","event_type":"issue","user":{"id":1,"name":"Kim","username":"kim"},"project":{"id":38,"path_with_namespace":"acme/shop","web_url":"https://gitlab.com/acme/shop"},"object_attributes":{"id":301,"iid":23,"title":"checkout 502","description":"since nine","action":"open","state":"opened","url":"https://gitlab.com/acme/shop/-/issues/23","created_at":"2026-11-18 09:00:00 UTC","confidential":false,"type":"Issue"},"labels":[]}"#,
    headers: &[("x-gitlab-event", "Issue Hook"), ("idempotency-key", "f5e5f430-f57b-4e6e-9fac-d9128cd7232f")],
    read: |node| Ok(Arc::new(read(node)?)),
};

/// Notes of one question, and the most questions.
const NOTES: usize = 100;
const QUESTIONS: usize = 5;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    secrets: Vec<SecretRef>,
    token: SecretRef,
    user: String,
    #[serde(default)]
    url: Option<Spanned<String>>,
    #[serde(default)]
    ca: Option<std::path::PathBuf>,
}

#[derive(Debug)]
struct Gitlab {
    secrets: Vec<SecretRef>,
    token: SecretRef,
    user: String,
    url: String,
    tls: Arc<TlsOptions>,
}

fn read(node: &yaml::Node) -> Result<Gitlab, Diagnostic> {
    let declared: Declared = node.read()?;
    check_keys(node.get("secrets").unwrap_or(node), &declared.secrets)?;
    let url = declared.url.as_ref().map(http_url).transpose()?;
    let url = url.map_or("https://gitlab.com".to_owned(), |url| url.as_str().trim_end_matches('/').to_owned());
    let tls = Arc::new(TlsOptions { ca: declared.ca, ..TlsOptions::default() });
    Ok(Gitlab { secrets: declared.secrets, token: declared.token, user: declared.user, url, tls })
}

/// A time of a webhook: as in the API, or as `2026-11-18 09:00:00 UTC`.
fn time(text: &str) -> Option<jiff::Timestamp> {
    parse_time(text.strip_suffix(" UTC").unwrap_or(text))
}

impl TicketSystem for Gitlab {
    fn verify(&self, hook: &Hook<'_>, wires: &Wires) -> Result<(), Refused> {
        let keys = keys(&self.secrets, wires)?;
        match hook.header("x-gitlab-token") {
            Some(token) if equals(&keys, token) => Ok(()),
            _ => Err(Refused::NotSigned),
        }
    }

    fn read(&self, hook: &Hook<'_>) -> Result<Received, Refused> {
        let payload = hook.json()?;
        let delivery = hook.header("idempotency-key").or_else(|| hook.header("x-gitlab-event-uuid")).map(str::to_owned);
        let ignored = |why: &str| Ok(Received { delivery: delivery.clone(), ..Received::ignored(why) });
        let text = |path: &str| text_at(&payload, path).map(Untrusted::new);
        if text_at(&payload, "user.username").is_some_and(|name| name.eq_ignore_ascii_case(&self.user)) {
            return ignored("our own");
        }
        let of = &payload["object_attributes"];
        let (kind, action) = (payload["object_kind"].as_str().unwrap_or(""), of["action"].as_str());
        // Where the issue itself stands, and what happened to it.
        let (issue, what) = match (kind, action) {
            // A test delivery has no action.
            ("issue" | "work_item", Some("open")) => ("object_attributes", What::Opened),
            ("issue" | "work_item", None) if of["state"] == "opened" => ("object_attributes", What::Opened),
            ("issue" | "work_item", Some("update")) => ("object_attributes", What::Updated),
            ("issue" | "work_item", Some("close")) => ("object_attributes", What::Closed),
            ("issue" | "work_item", Some("reopen")) => ("object_attributes", What::Reopened),
            ("note", Some("create") | None) if of["system"] == true => return ignored("a system note"),
            ("note", Some("create") | None) if of["noteable_type"] == "Issue" => {
                let by = text("user.username");
                ("issue", What::Commented { by, text: text("object_attributes.note").unwrap_or_default() })
            }
            _ => return ignored("an event that tells nothing of a ticket"),
        };
        let number = |path: &str| {
            let number = super::at(&payload, path).and_then(Value::as_u64);
            number.ok_or_else(|| Refused::Unreadable(format!("`{path}` is missing")))
        };
        let id = format!("{}#{}", number("project.id")?, number(&format!("{issue}.iid"))?);
        let field = |name: &str| text_at(&payload, &format!("{issue}.{name}"));
        let opened = what == What::Opened;
        let report = Report {
            title: field("title").map(Untrusted::new),
            text: field("description").map(Untrusted::new),
            // Who acts is who reports only where it is opened.
            reporter: text_at(&payload, "user.username").filter(|_| opened).map(|name| Untrusted::bounded(name, 256)),
            url: field("url").map(Untrusted::new),
            reported_at: field("created_at").and_then(|at| time(&at)),
            ..Report::default()
        };
        Ok(Received { delivery, incoming: vec![Incoming { id, what, report, payload }], ignored: None })
    }

    fn annotate<'a>(&'a self, message: Message<'a>, wires: &'a Wires) -> Sending<'a> {
        Box::pin(async move { self.write(message, wires).await.unwrap_or_else(|failed| failed) })
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.secrets.iter().chain([&self.token]).cloned().collect()
    }
}

/// The issue's path in the API, of an id as `PROJECT_ID#IID`.
fn place(id: &str) -> Option<String> {
    let (project, issue) = id.split_once('#')?;
    let (project, issue): (u64, u64) = (project.parse().ok()?, issue.parse().ok()?);
    Some(format!("projects/{project}/issues/{issue}"))
}

impl Gitlab {
    fn call(&self, path: &str, wires: &Wires) -> Result<Call, Outcome> {
        let url = Url::parse(&format!("{}/api/v4/{path}", self.url));
        let url = url.map_err(|error| Outcome::rejected(format!("not a URL: {error}")))?;
        Call::get(url).tls(&self.tls).secret("PRIVATE-TOKEN", "", &self.token, wires)
    }

    async fn ask(&self, call: Call, message: &Message<'_>, wires: &Wires) -> Result<Value, Outcome> {
        outgoing::json(&comment::of_ticket(call.ask(wires).await?, message.now, wires)?)
    }

    async fn write(&self, message: Message<'_>, wires: &Wires) -> Result<Outcome, Outcome> {
        let action = message.action;
        let issue = place(&action.recipient).ok_or_else(|| Outcome::rejected("its id is not PROJECT_ID#IID"))?;
        let is_reply = comment::is_reply(action);
        let mut markers = comment::key_marker(action);
        if !is_reply {
            markers = format!("{markers}\n{}", comment::note_marker(&message));
        }
        let text = format!("{}\n\n{markers}", comment::words(&message, Medium::Markdown));
        let previous = message.previous.filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()));
        let stands = match previous.filter(|_| !is_reply) {
            Some(id) => Some(id.to_owned()),
            None if comment::may_stand_there(&message) => self.find(&issue, &message, wires).await?,
            None => None,
        };
        if is_reply {
            // No receipt: the next note must not be written over it.
            if stands.is_none() {
                self.post(&issue, &text, false, &message, wires).await?;
            }
            return Ok(Outcome::DELIVERED);
        }
        let id = match stands {
            Some(id) => {
                let call = self.call(&format!("{issue}/notes/{id}"), wires)?;
                let answer = call.with_json(Method::PUT, json!({ "body": text }), wires).ask(wires).await?;
                if answer.status == 404 {
                    // Somebody deleted it.
                    self.post(&issue, &text, true, &message, wires).await?
                } else {
                    comment::of_ticket(answer, message.now, wires)?;
                    id
                }
            }
            None => self.post(&issue, &text, true, &message, wires).await?,
        };
        if let Some(verdict) = comment::verdict(action) {
            let others: Vec<String> = comment::other_labels(verdict).map(|other| format!("houston:{other}")).collect();
            let body = json!({ "add_labels": format!("houston:{verdict}"), "remove_labels": others.join(",") });
            let call = self.call(&issue, wires)?.with_json(Method::PUT, body, wires);
            comment::beside("its label", action, self.ask(call, &message, wires).await)?;
        }
        Ok(Outcome::delivered_as(id))
    }

    async fn post(
        &self,
        issue: &str,
        text: &str,
        internal: bool,
        message: &Message<'_>,
        wires: &Wires,
    ) -> Result<String, Outcome> {
        let body = json!({ "body": text, "internal": internal });
        let call = self.call(&format!("{issue}/notes"), wires)?.with_json(Method::POST, body, wires);
        let note = self.ask(call, message, wires).await?;
        let id = note["id"].as_u64().ok_or_else(|| Outcome::retry("its answer has no id"))?.to_string();
        if internal && note["internal"] != true && note["confidential"] != true {
            let mut call = self.call(&format!("{issue}/notes/{id}"), wires)?;
            call.method = Method::DELETE;
            let deleted = call.ask(wires).await.is_ok_and(|answer| (200..300).contains(&answer.status));
            let then = if deleted { "it was deleted again" } else { "and it could not be deleted again" };
            return Err(Outcome::rejected(format!("this GitLab made the internal note a public one: {then}")));
        }
        Ok(id)
    }

    /// The note of an earlier attempt: for a reply the one with its key, for a note that of the ticket.
    async fn find(&self, issue: &str, message: &Message<'_>, wires: &Wires) -> Result<Option<String>, Outcome> {
        let is_reply = comment::is_reply(message.action);
        let marker = if is_reply { comment::key_marker(message.action) } else { comment::note_marker(message) };
        for page in 1..=QUESTIONS {
            let path = format!("{issue}/notes?sort=desc&order_by=created_at&per_page={NOTES}&page={page}");
            let notes = self.ask(self.call(&path, wires)?, message, wires).await?;
            let Some(notes) = notes.as_array() else { return Err(Outcome::retry("its answer is no list")) };
            let found = notes.iter().find(|note| {
                let by = note["author"]["username"].as_str().unwrap_or("");
                // What everybody can read is no note of ours, whatever it says.
                let is_internal = note["internal"] == true || note["confidential"] == true;
                by.eq_ignore_ascii_case(&self.user)
                    && (is_reply || is_internal)
                    && note["body"].as_str().is_some_and(|text| text.contains(&marker))
            });
            if let Some(id) = found.and_then(|note| text_at(note, "id")) {
                return Ok(Some(id));
            }
            if notes.len() < NOTES {
                break;
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
