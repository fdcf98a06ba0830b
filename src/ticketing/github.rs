//! GitHub issues: webhooks in, one comment and one label out.
//!
//! "Webhook events and payloads", "Validating webhook deliveries" and the REST API's "Issues" of GitHub's documentation,
//! API version 2022-11-28.

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
use crate::model::encode::url_segment;
use crate::model::letter::Medium;
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::model::text::Untrusted;
use crate::model::ticket::Report;
use crate::net::http::{Response, TlsOptions};
use crate::net::outgoing::{self, Call, Sending, Wires};
use crate::net::signature::{Writing, verifies};
use crate::yaml::{self, Spanned};

pub static GITHUB: SystemKind = SystemKind {
    name: "github",
    summary: "GitHub issues",
    docs: "Keys: `secrets` (1 to 3 of the webhook's secrets, of at least 16 bytes, as `{ env: NAME }` or `{ file: path \
           }`), `token` (of Houston's own account: a fine-grained token that may read and write issues), `user` (that \
           account's login: what it writes is ignored), `private` (true where only your own people can read the issues; \
           false by default), `url` (https://api.github.com by default; https://HOST/api/v3 for an Enterprise Server), \
           `ca` (PEM file of roots to trust for it). \
           The webhook sends `issues` and `issue_comment` as application/json. An issue that is opened is a ticket, by \
           `OWNER/REPO#NUMBER`; edited, closed and reopened ones, and comments, become its events. Pull requests, pings, \
           other events and comments of bots are ignored. `fields` see the payload. \
           Unless `private` is true, notes are made of customer-safe words alone; where it is true, and the repository \
           turns out to be public, nothing is written that isn't for customers. A note is one comment, which each new \
           verdict edits, and a label: `houston:issue`, `houston:no-issue` or `houston:doubtful`, of which there is one \
           at a time. A reply is a comment of its own. Before one is repeated it is looked for among the comments.",
    example: "{ secrets: [{ env: GITHUB_WEBHOOK_SECRET }], token: { env: GITHUB_TOKEN }, user: houston-bot }",
    payload: r#"{"action":"opened","issue":{"number":2,"title":"checkout 502","body":"since nine","html_url":"https://github.com/acme/shop/issues/2","user":{"login":"octocat","type":"User"},"labels":[],"state":"open","created_at":"2026-11-18T09:00:00Z"},"repository":{"full_name":"acme/shop","private":false},"sender":{"login":"octocat","type":"User"}}"#,
    headers: &[("x-github-event", "issues"), ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958")],
    read: |node| Ok(Arc::new(read(node)?)),
};

/// Comments of one question, and the most questions.
const COMMENTS: usize = 100;
const QUESTIONS: usize = 5;
/// Their clock may be behind ours by this much.
const CLOCKS: SignedDuration = SignedDuration::from_mins(10);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    secrets: Vec<SecretRef>,
    token: SecretRef,
    user: String,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    url: Option<Spanned<String>>,
    #[serde(default)]
    ca: Option<std::path::PathBuf>,
}

#[derive(Debug)]
struct Github {
    secrets: Vec<SecretRef>,
    token: SecretRef,
    user: String,
    private: bool,
    url: String,
    tls: Arc<TlsOptions>,
}

fn read(node: &yaml::Node) -> Result<Github, Diagnostic> {
    let declared: Declared = node.read()?;
    check_keys(node.get("secrets").unwrap_or(node), &declared.secrets)?;
    let url = declared.url.as_ref().map(http_url).transpose()?;
    let url = url.map_or("https://api.github.com".to_owned(), |url| url.as_str().trim_end_matches('/').to_owned());
    let Declared { secrets, token, user, private, .. } = declared;
    let tls = Arc::new(TlsOptions { ca: declared.ca, ..TlsOptions::default() });
    Ok(Github { secrets, token, user, private, url, tls })
}

impl TicketSystem for Github {
    fn verify(&self, hook: &Hook<'_>, wires: &Wires) -> Result<(), Refused> {
        let keys = keys(&self.secrets, wires)?;
        let signature = hook.header("x-hub-signature-256").and_then(|header| header.strip_prefix("sha256="));
        match signature {
            Some(signature) if verifies(&keys, &[hook.body], signature, Writing::Hex) => Ok(()),
            _ => Err(Refused::NotSigned),
        }
    }

    fn read(&self, hook: &Hook<'_>) -> Result<Received, Refused> {
        let payload = hook.json()?;
        let delivery = hook.header("x-github-delivery").map(str::to_owned);
        let ignored = |why: &str| Ok(Received { delivery: delivery.clone(), ..Received::ignored(why) });
        let text = |path: &str| text_at(&payload, path).map(Untrusted::new);
        if text_at(&payload, "sender.login").is_some_and(|login| login.eq_ignore_ascii_case(&self.user)) {
            return ignored("our own");
        }
        if payload["issue"].get("pull_request").is_some() {
            return ignored("a pull request");
        }
        let what = match (hook.header("x-github-event").unwrap_or(""), payload["action"].as_str().unwrap_or("")) {
            ("issues", "opened") => What::Opened,
            ("issues", "edited") => What::Updated,
            ("issues", "closed") => What::Closed,
            ("issues", "reopened") => What::Reopened,
            ("issue_comment", "created") if payload["sender"]["type"] == "Bot" => return ignored("a bot's comment"),
            ("issue_comment", "created") => {
                What::Commented { by: text("comment.user.login"), text: text("comment.body").unwrap_or_default() }
            }
            ("ping", _) => return ignored("a ping"),
            _ => return ignored("an event that tells nothing of a ticket"),
        };
        let missing = |what: &str| Refused::Unreadable(format!("`{what}` is missing"));
        let repository = text_at(&payload, "repository.full_name").ok_or_else(|| missing("repository.full_name"))?;
        let number = payload["issue"]["number"].as_u64().ok_or_else(|| missing("issue.number"))?;
        let id = format!("{repository}#{number}");
        place(&id).ok_or_else(|| Refused::Unreadable("`repository.full_name` is no repository's name".to_owned()))?;
        let report = Report {
            title: text("issue.title"),
            text: text("issue.body"),
            reporter: text_at(&payload, "issue.user.login").map(|login| Untrusted::bounded(login, 256)),
            url: text("issue.html_url"),
            reported_at: text_at(&payload, "issue.created_at").and_then(|at| parse_time(&at)),
            ..Report::default()
        };
        Ok(Received { delivery, incoming: vec![Incoming { id, what, report, payload }], ignored: None })
    }

    fn annotate<'a>(&'a self, message: Message<'a>, wires: &'a Wires) -> Sending<'a> {
        Box::pin(async move { self.write(message, wires).await.unwrap_or_else(|failed| failed) })
    }

    fn is_public(&self) -> bool {
        !self.private
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.secrets.iter().chain([&self.token]).cloned().collect()
    }
}

/// The repository's and the issue's paths in the API, of an id as `OWNER/REPO#NUMBER`.
fn place(id: &str) -> Option<(String, String)> {
    let (repository, number) = id.rsplit_once('#')?;
    let (owner, name) = repository.split_once('/')?;
    let is_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
            && !name.bytes().all(|b| b == b'.')
    };
    let number: u64 = number.parse().ok()?;
    (is_name(owner) && is_name(name))
        .then(|| (format!("repos/{owner}/{name}"), format!("repos/{owner}/{name}/issues/{number}")))
}

/// The answer, where it is a 2xx. Limits are answered with 403 as well, and say when they end.
///
/// # Errors
/// What is to be made of anything else.
fn judged(answer: Response, message: &Message<'_>, wires: &Wires) -> Result<Response, Outcome> {
    let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
    let spent = header("x-ratelimit-remaining") == Some("0");
    if answer.status == 403 && (spent || header("retry-after").is_some()) {
        let reset = header("x-ratelimit-reset").and_then(|at| at.parse::<i64>().ok());
        let reset = reset.map(|at| at.saturating_sub(message.now.as_second()));
        let after = header("retry-after").and_then(|seconds| seconds.parse().ok()).or(reset);
        let after = after.and_then(|seconds| u64::try_from(seconds).ok()).map(std::time::Duration::from_secs);
        return Err(Outcome::Retry { after, why: "its limit of requests is reached (403)".to_owned() });
    }
    comment::of_ticket(answer, message.now, wires)
}

impl Github {
    fn call(&self, path: &str, wires: &Wires) -> Result<Call, Outcome> {
        let url = Url::parse(&format!("{}/{path}", self.url));
        let url = url.map_err(|error| Outcome::rejected(format!("not a URL: {error}")))?;
        let call = Call::get(url).tls(&self.tls).secret("Authorization", "Bearer ", &self.token, wires)?;
        // GitHub refuses whoever doesn't name itself.
        Ok(call
            .header("Accept", "application/vnd.github+json")
            .header("X-GitHub-Api-Version", "2022-11-28")
            .header("User-Agent", "houston"))
    }

    async fn ask(&self, call: Call, message: &Message<'_>, wires: &Wires) -> Result<Response, Outcome> {
        judged(call.ask(wires).await?, message, wires)
    }

    async fn write(&self, message: Message<'_>, wires: &Wires) -> Result<Outcome, Outcome> {
        let action = message.action;
        let (repository, issue) =
            place(&action.recipient).ok_or_else(|| Outcome::rejected("its id is not OWNER/REPO#NUMBER"))?;
        if !comment::is_customer_safe(action) {
            let public = "it isn't for customers, and everybody can read the issue";
            if self.is_public() {
                return Err(Outcome::rejected(public));
            }
            let answer = self.ask(self.call(&repository, wires)?, &message, wires).await?;
            if outgoing::json(&answer)?["private"] != true {
                return Err(Outcome::rejected(public));
            }
        }
        let (markers, previous) = match comment::is_reply(action) {
            true => (comment::key_marker(action), None),
            false => (
                format!("{}\n{}", comment::key_marker(action), comment::note_marker(&message)),
                message.previous.filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit())),
            ),
        };
        let body = json!({ "body": format!("{}\n\n{markers}", comment::words(&message, Medium::Markdown)) });
        let stands = match previous {
            Some(id) => Some(id.to_owned()),
            None if comment::may_stand_there(&message) => self.find(&issue, &message, wires).await?,
            None => None,
        };
        if comment::is_reply(action) {
            // No receipt: the next note must not be written over it.
            if stands.is_none() {
                self.post(&issue, body, &message, wires).await?;
            }
            return Ok(Outcome::DELIVERED);
        }
        let id = match stands {
            Some(id) => {
                let path = format!("{repository}/issues/comments/{id}");
                let call = self.call(&path, wires)?.with_json(Method::PATCH, body.clone(), wires);
                let answer = call.ask(wires).await?;
                if matches!(answer.status, 404 | 410) {
                    // Somebody deleted it.
                    self.post(&issue, body, &message, wires).await?
                } else {
                    judged(answer, &message, wires)?;
                    id
                }
            }
            None => self.post(&issue, body, &message, wires).await?,
        };
        if let Some(verdict) = comment::verdict(action) {
            comment::beside("its label", action, self.label(&issue, verdict, &message, wires).await)?;
        }
        Ok(Outcome::delivered_as(id))
    }

    async fn post(&self, issue: &str, body: Value, message: &Message<'_>, wires: &Wires) -> Result<String, Outcome> {
        let call = self.call(&format!("{issue}/comments"), wires)?.with_json(Method::POST, body, wires);
        let answer = self.ask(call, message, wires).await?;
        text_at(&outgoing::json(&answer)?, "id").ok_or_else(|| Outcome::retry("its answer has no id"))
    }

    /// The comment of an earlier attempt: for a reply the one with its key, for a note that of the ticket.
    async fn find(&self, issue: &str, message: &Message<'_>, wires: &Wires) -> Result<Option<String>, Outcome> {
        let marker = match comment::is_reply(message.action) {
            true => comment::key_marker(message.action),
            false => comment::note_marker(message),
        };
        let created = message.action.created_at;
        let since = created.checked_sub(CLOCKS).unwrap_or(created).to_string();
        for page in 1..=QUESTIONS {
            let path = format!("{issue}/comments?per_page={COMMENTS}&page={page}&since={}", url_segment(&since));
            let answer = self.ask(self.call(&path, wires)?, message, wires).await?;
            let comments = outgoing::json(&answer)?;
            let Some(comments) = comments.as_array() else { return Err(Outcome::retry("its answer is no list")) };
            let found = comments.iter().find(|comment| {
                let by = comment["user"]["login"].as_str().unwrap_or("");
                by.eq_ignore_ascii_case(&self.user)
                    && comment["body"].as_str().is_some_and(|text| text.contains(&marker))
            });
            if let Some(id) = found.and_then(|comment| text_at(comment, "id")) {
                return Ok(Some(id));
            }
            if comments.len() < COMMENTS {
                break;
            }
        }
        Ok(None)
    }

    /// Puts the verdict's label on the issue, and takes the others off.
    async fn label(&self, issue: &str, verdict: &str, message: &Message<'_>, wires: &Wires) -> Result<(), Outcome> {
        let wanted = format!("houston:{verdict}");
        let labels = format!("{issue}/labels");
        let call = self.call(&labels, wires)?.with_json(Method::POST, json!({ "labels": [wanted] }), wires);
        // It answers with all the labels that the issue has now.
        let standing = outgoing::json(&self.ask(call, message, wires).await?)?;
        let has = |name: &str| standing.as_array().into_iter().flatten().any(|label| label["name"] == name);
        for other in comment::other_labels(verdict).map(|other| format!("houston:{other}")).filter(|name| has(name)) {
            let mut call = self.call(&format!("{labels}/{}", url_segment(&other)), wires)?;
            call.method = Method::DELETE;
            let answer = call.ask(wires).await?;
            // Gone already is gone.
            if answer.status != 404 {
                judged(answer, message, wires)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
