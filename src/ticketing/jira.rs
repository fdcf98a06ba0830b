//! Jira and Jira Service Management: webhooks in, one internal comment and one label out.
//!
//! "Webhooks" and version 2 of the REST API of Jira's documentation, Cloud and Data Center: a comment's text is wiki
//! markup there.

use std::sync::Arc;

use http::Method;
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::comment;
use super::{
    Hook, Incoming, Received, Refused, SystemKind, TicketSystem, What, check_keys, http_url, keys, parse_time, text_at,
};
use crate::model::delivery::{Message, Outcome};
use crate::model::letter::{Letter, Medium};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::model::text::Untrusted;
use crate::model::ticket::Report;
use crate::net::http::TlsOptions;
use crate::net::outgoing::{self, Call, Sending, Wires};
use crate::net::signature::{Writing, equals, verifies};
use crate::yaml::{self, Spanned};

pub static JIRA: SystemKind = SystemKind {
    name: "jira",
    summary: "Jira and Jira Service Management, Cloud and Data Center",
    docs: "Keys: `url` (https://COMPANY.atlassian.net, or where a Data Center's pages are), `secrets` (1 to 3 of the \
           webhook's secrets, of at least 16 bytes, as `{ env: NAME }` or `{ file: path }`), `header` (a header in which \
           the secret itself comes, over TLS, from an automation rule or a Data Center that doesn't sign; without it, \
           deliveries are signed), `user` (Houston's own account: its account id, on a Data Center its name; what it does \
           is ignored), `token` (an API token with `email`, else a personal access token), `email` (of that account, on \
           Cloud), `public` (true where everybody can read the comments; false by default), `ca` (PEM file of roots to \
           trust for it). \
           Deliveries are signed by `X-Hub-Signature: sha256=HEX` over the body, and known by \
           `X-Atlassian-Webhook-Identifier`. `jira:issue_created` is a ticket, by its key; `jira:issue_updated` closes it \
           where a resolution is set, opens it where that is cleared, and else changes it; `comment_created` is a \
           comment. Everything else is ignored. `fields` see the payload. \
           A note is one comment, internal in Jira Service Management (`sd.public.comment`), which each new verdict edits; \
           where Jira says that customers see it all the same, it is deleted again and refused. In other projects \
           everybody who reads the issue reads it. Beside it there is one of the labels `houston-issue`, \
           `houston-no-issue` and `houston-doubtful`. A reply is a public comment. Before one is repeated it is looked for \
           among the comments, by its words. Not verified against a real Jira: it is made from Atlassian's documentation \
           and what clients of it send.",
    example: "{ url: \"https://acme.atlassian.net\", secrets: [{ env: JIRA_WEBHOOK_SECRET }], user: \
              \"557058:f58131cb\", email: houston@acme.example, token: { env: JIRA_TOKEN } }",
    payload: r#"{"timestamp":1795000000000,"webhookEvent":"jira:issue_created","issue_event_type_name":"issue_created","user":{"accountId":"5b10a2844c20165700ede21g","displayName":"Kim"},"issue":{"id":"10019","key":"WA-20","self":"https://acme.atlassian.net/rest/api/2/10019","fields":{"summary":"checkout 502","description":"since nine","issuetype":{"name":"Bug"},"project":{"key":"WA"},"priority":{"name":"High"},"reporter":{"accountId":"5b10a2844c20165700ede21g","displayName":"Kim"},"created":"2026-11-18T10:00:08.623+0100"}}}"#,
    headers: &[("x-atlassian-webhook-identifier", "8d8a4b2e-7d2b-4a5d")],
    read: |node| Ok(Arc::new(read(node)?)),
};

/// The newest comments among which an earlier attempt is looked for.
const COMMENTS: usize = 100;
/// Their clock may be behind ours by this much.
const CLOCKS: SignedDuration = SignedDuration::from_mins(10);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    url: Spanned<String>,
    secrets: Vec<SecretRef>,
    #[serde(default)]
    header: Option<Spanned<String>>,
    user: String,
    token: SecretRef,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    public: bool,
    #[serde(default)]
    ca: Option<std::path::PathBuf>,
}

#[derive(Debug)]
struct Jira {
    url: String,
    secrets: Vec<SecretRef>,
    header: Option<String>,
    user: String,
    token: SecretRef,
    email: Option<String>,
    public: bool,
    tls: Arc<TlsOptions>,
}

fn read(node: &yaml::Node) -> Result<Jira, Diagnostic> {
    let declared: Declared = node.read()?;
    check_keys(node.get("secrets").unwrap_or(node), &declared.secrets)?;
    let url = http_url(&declared.url)?.as_str().trim_end_matches('/').to_owned();
    if let Some(header) = &declared.header
        && http::HeaderName::from_bytes(header.value.as_bytes()).is_err()
    {
        return Err(Diagnostic::error(header.at.clone(), "this can't be a header's name"));
    }
    let header = declared.header.map(|header| header.value.to_ascii_lowercase());
    let tls = Arc::new(TlsOptions { ca: declared.ca, ..TlsOptions::default() });
    let Declared { secrets, user, token, email, public, .. } = declared;
    Ok(Jira { url, secrets, header, user, token, email, public, tls })
}

impl TicketSystem for Jira {
    fn verify(&self, hook: &Hook<'_>, wires: &Wires) -> Result<(), Refused> {
        let keys = keys(&self.secrets, wires)?;
        let is_good = match &self.header {
            Some(header) => hook.header(header).is_some_and(|secret| equals(&keys, secret)),
            None => hook
                .header("x-hub-signature")
                .and_then(|header| header.strip_prefix("sha256="))
                .is_some_and(|signature| verifies(&keys, &[hook.body], signature, Writing::Hex)),
        };
        if is_good { Ok(()) } else { Err(Refused::NotSigned) }
    }

    fn read(&self, hook: &Hook<'_>) -> Result<Received, Refused> {
        let payload = hook.json()?;
        let delivery = hook.header("x-atlassian-webhook-identifier").map(str::to_owned);
        let ignored = |why: &str| Ok(Received { delivery: delivery.clone(), ..Received::ignored(why) });
        let text = |path: &str| text_at(&payload, path).map(Untrusted::new);
        // A comment's author is named in the comment, everybody else as the user.
        if self.is_own(&payload["user"]) || self.is_own(&payload["comment"]["author"]) {
            return ignored("our own");
        }
        let what = match payload["webhookEvent"].as_str().unwrap_or("") {
            "jira:issue_created" => What::Opened,
            // It comes as a `comment_created` of its own.
            "jira:issue_updated" if payload["issue_event_type_name"] == "issue_commented" => {
                return ignored("a comment, told of elsewhere");
            }
            "jira:issue_updated" => changed(&payload["changelog"]["items"]),
            "comment_created" => {
                let by = text("comment.author.displayName");
                What::Commented { by, text: text("comment.body").unwrap_or_default() }
            }
            _ => return ignored("an event that tells nothing of a ticket"),
        };
        let id = text_at(&payload, "issue.key").filter(|key| is_key(key));
        let id = id.ok_or_else(|| Refused::Unreadable("`issue.key` is missing, or is none".to_owned()))?;
        let short = |path: &str| text_at(&payload, path).map(|text| Untrusted::bounded(text, 256));
        let report = Report {
            title: text("issue.fields.summary"),
            text: text("issue.fields.description"),
            reporter: short("issue.fields.reporter.displayName"),
            contact: short("issue.fields.reporter.emailAddress"),
            url: Some(Untrusted::new(format!("{}/browse/{id}", self.url))),
            reported_at: text_at(&payload, "issue.fields.created").and_then(|at| parse_time(&at)),
            ..Report::default()
        };
        Ok(Received { delivery, incoming: vec![Incoming { id, what, report, payload }], ignored: None })
    }

    fn annotate<'a>(&'a self, message: Message<'a>, wires: &'a Wires) -> Sending<'a> {
        Box::pin(async move { self.write(message, wires).await.unwrap_or_else(|failed| failed) })
    }

    fn is_public(&self) -> bool {
        self.public
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.secrets.iter().chain([&self.token]).cloned().collect()
    }
}

/// What a change of fields is: a resolution closes, no resolution opens.
fn changed(items: &Value) -> What {
    let resolution = items.as_array().into_iter().flatten().find(|item| item["field"] == "resolution");
    let is_set = |value: &Value| value.as_str().is_some_and(|value| !value.is_empty());
    match resolution.map(|item| (is_set(&item["from"]), is_set(&item["to"]))) {
        Some((false, true)) => What::Closed,
        Some((true, false)) => What::Reopened,
        _ => What::Updated,
    }
}

/// `WA-20`
fn is_key(key: &str) -> bool {
    key.len() <= 64
        && key.split_once('-').is_some_and(|(project, number)| {
            !project.is_empty()
                && project.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                && !number.is_empty()
                && number.bytes().all(|b| b.is_ascii_digit())
        })
}

/// The letters and digits of a text: Jira may write markup anew, but keeps these.
fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

impl Jira {
    fn is_own(&self, user: &Value) -> bool {
        ["accountId", "name", "key"].iter().any(|name| user[*name].as_str().is_some_and(|of| of == self.user))
    }

    fn call(&self, path: &str, wires: &Wires) -> Result<Call, Outcome> {
        let url = Url::parse(&format!("{}/rest/api/2/{path}", self.url));
        let url = url.map_err(|error| Outcome::rejected(format!("not a URL: {error}")))?;
        let call = Call::get(url).tls(&self.tls).header("Accept", "application/json");
        match &self.email {
            Some(email) => call.basic(email, &self.token, wires),
            None => call.secret("Authorization", "Bearer ", &self.token, wires),
        }
    }

    async fn ask(&self, call: Call, message: &Message<'_>, wires: &Wires) -> Result<Value, Outcome> {
        outgoing::json(&comment::of_ticket(call.ask(wires).await?, message.now, wires)?)
    }

    async fn write(&self, message: Message<'_>, wires: &Wires) -> Result<Outcome, Outcome> {
        let action = message.action;
        if !is_key(&action.recipient) {
            return Err(Outcome::rejected("its id is no issue's key"));
        }
        if self.public && !comment::is_customer_safe(action) {
            return Err(Outcome::rejected("it isn't for customers, and everybody can read the issue"));
        }
        let issue = format!("issue/{}", action.recipient);
        let words = comment::words(&message, Medium::Jira);
        if comment::is_reply(action) {
            let stands = comment::may_stand_there(&message)
                && self.find(&issue, &message, &|body| letters(body) == letters(&words), wires).await?.is_some();
            // No receipt: the next note must not be written over it.
            if !stands {
                self.post(&issue, json!({ "body": words }), false, &message, wires).await?;
            }
            return Ok(Outcome::DELIVERED);
        }
        let mark = format!("{} note", Letter::of(action, None).thread);
        let marked = letters(&mark);
        let mut body = json!({ "body": format!("{words}\n{}", Medium::Jira.text(&mark)) });
        if !self.public {
            body["properties"] = json!([{ "key": "sd.public.comment", "value": { "internal": true } }]);
        }
        let previous = message.previous.filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()));
        let stands = match previous {
            Some(id) => Some(id.to_owned()),
            None if comment::may_stand_there(&message) => {
                self.find(&issue, &message, &|body| letters(body).ends_with(&marked), wires).await?
            }
            None => None,
        };
        let internal = !self.public;
        let id = match stands {
            Some(id) => {
                let call = self.call(&format!("{issue}/comment/{id}"), wires)?;
                let answer = call.with_json(Method::PUT, body.clone(), wires).ask(wires).await?;
                if answer.status == 404 {
                    // Somebody deleted it.
                    self.post(&issue, body, internal, &message, wires).await?
                } else {
                    comment::of_ticket(answer, message.now, wires)?;
                    id
                }
            }
            None => self.post(&issue, body, internal, &message, wires).await?,
        };
        if let Some(verdict) = comment::verdict(action) {
            let mut labels = vec![json!({ "add": format!("houston-{verdict}") })];
            labels.extend(comment::other_labels(verdict).map(|other| json!({ "remove": format!("houston-{other}") })));
            let body = json!({ "update": { "labels": labels } });
            let call = self.call(&issue, wires)?.with_json(Method::PUT, body, wires);
            let answered = comment::of_ticket(call.ask(wires).await?, message.now, wires);
            comment::beside("its label", action, answered)?;
        }
        Ok(Outcome::delivered_as(id))
    }

    async fn post(
        &self,
        issue: &str,
        body: Value,
        internal: bool,
        message: &Message<'_>,
        wires: &Wires,
    ) -> Result<String, Outcome> {
        let call = self.call(&format!("{issue}/comment"), wires)?.with_json(Method::POST, body, wires);
        let comment = self.ask(call, message, wires).await?;
        let id = text_at(&comment, "id").ok_or_else(|| Outcome::retry("its answer has no id"))?;
        let is_number = !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit());
        if !is_number {
            return Err(Outcome::retry("its answer's id is no number"));
        }
        // Outside of Jira Service Management this is always true, and means nothing.
        if internal && comment["jsdPublic"] == true && self.is_service_desk(issue, message, wires).await? {
            let mut call = self.call(&format!("{issue}/comment/{id}"), wires)?;
            call.method = Method::DELETE;
            let deleted = call.ask(wires).await.is_ok_and(|answer| (200..300).contains(&answer.status));
            let then = if deleted { "it was deleted again" } else { "and it could not be deleted again" };
            return Err(Outcome::rejected(format!("Jira made the internal note a public one: {then}")));
        }
        Ok(id)
    }

    async fn is_service_desk(&self, issue: &str, message: &Message<'_>, wires: &Wires) -> Result<bool, Outcome> {
        let call = self.call(&format!("{issue}?fields=project"), wires)?;
        let answer = self.ask(call, message, wires).await?;
        Ok(answer["fields"]["project"]["projectTypeKey"] == "service_desk")
    }

    /// Our newest comment since the action that is this one.
    async fn find(
        &self,
        issue: &str,
        message: &Message<'_>,
        is_it: &(dyn Fn(&str) -> bool + Sync),
        wires: &Wires,
    ) -> Result<Option<String>, Outcome> {
        let path = format!("{issue}/comment?orderBy=-created&maxResults={COMMENTS}");
        let answer = self.ask(self.call(&path, wires)?, message, wires).await?;
        let Some(comments) = answer["comments"].as_array() else {
            return Err(Outcome::retry("its answer has no `comments`"));
        };
        let created = message.action.created_at;
        let since = created.checked_sub(CLOCKS).unwrap_or(created);
        let is_new =
            |comment: &Value| comment["created"].as_str().and_then(parse_time).is_none_or(|created| created >= since);
        let found = comments.iter().find(|comment| {
            self.is_own(&comment["author"])
                && comment["body"].as_str().is_some_and(is_it)
                // An answer of today may be word for word that of last week; a note is one for ever.
                && (!comment::is_reply(message.action) || is_new(comment))
        });
        Ok(found.and_then(|comment| text_at(comment, "id")).filter(|id| id.bytes().all(|b| b.is_ascii_digit())))
    }
}

#[cfg(test)]
mod tests;
