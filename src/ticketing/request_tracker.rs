//! Request Tracker 5 and 6 by REST2: tickets are asked for by TicketSQL, verdicts are comments and a custom field.
//!
//! `docs/REST2.pod` of Request Tracker. Dates in TicketSQL are given as `2026-11-22T10:00:00Z`: without the `T` and the
//! `Z` they are read in the time zone of the account.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::comment;
use super::{
    Hook, Incoming, Polling, Received, Refused, SystemKind, TicketSystem, What, http_url, parse_time, text_at,
};
use crate::model::delivery::{Message, Outcome};
use crate::model::encode::{self, url_segment};
use crate::model::letter::Medium;
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::model::text::Untrusted;
use crate::model::ticket::{Report, TEXT_LIMIT};
use crate::net::http::{Response, TlsOptions};
use crate::net::outgoing::{self, Call, Sending, Wires};
use crate::yaml::{self, Spanned};

mod poll;

pub static REQUEST_TRACKER: SystemKind = SystemKind {
    name: "request_tracker",
    summary: "Request Tracker, asked by its REST2 API",
    docs: "Keys: `url` (of its web pages), `token` (an authentication token of Houston's own account, as `{ env: NAME }` \
           or `{ file: path }`), `user` (that account's name: what it does itself is ignored), `query` (TicketSQL of the \
           tickets that are looked into: `Queue = 'Support'`), `every` (seconds between two questions, 5 to 3600, 30 by \
           default), `verdict_field` (a custom field of tickets that holds the current verdict: `issue`, `no-issue` or \
           `doubtful`; without it none does), `closed` (the statuses that close a ticket; resolved, rejected and deleted \
           by default), `ca` (PEM file of roots to trust for it). \
           Nothing is taken in at its address below /hooks, for Request Tracker signs nothing: it is asked. The first \
           time it is asked for nothing that was before. A ticket that was created, or moved into the query's queue, \
           is opened; correspondence and comments, statuses that close or open it and changed fields become its events. \
           `fields` see `ticket` (as REST2 has it, with `CustomFields` by their names), `transaction` and `text`. \
           A note is a comment in HTML, which the requestor doesn't see; comments can't be edited, so a new verdict is a \
           new comment. A reply is correspondence. Before either is repeated, it is looked for in the ticket's history. \
           The account needs the rights SeeQueue, ShowTicket, ShowTicketComments, CommentOnTicket, ReplyToTicket, \
           ModifyTicket, SeeCustomField and ModifyCustomField. Verified with 5.0.3.",
    example: "{ url: \"https://rt.example.com\", token: { env: RT_TOKEN }, user: houston, query: \"Queue = 'Support'\", \
              verdict_field: Houston verdict }",
    payload: r#"{"ticket":{"id":"4","Subject":"checkout 502","Status":"new","Created":"2026-11-22T09:46:10Z","Queue":{"Name":"Support"},"Requestors":[{"id":"bob@acme.test"}],"CustomFields":[{"name":"Customer","values":["acme"]}]},"transaction":{"id":"71","Type":"Create","Created":"2026-11-22T09:46:10Z","Creator":{"id":"bob@acme.test"}},"text":"since nine, all of our shops"}"#,
    headers: &[],
    read: |node| Ok(Arc::new(read(node)?)),
};

/// How often a field is written that somebody else changes at the same time.
const CONFLICTS: usize = 3;
/// Attempts to write a comment are looked for among so many of a ticket's newest transactions.
const LOOKED_THROUGH: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    url: Spanned<String>,
    token: SecretRef,
    user: Spanned<String>,
    query: Spanned<String>,
    #[serde(default)]
    every: Option<Spanned<u64>>,
    #[serde(default)]
    verdict_field: Option<String>,
    #[serde(default)]
    closed: Option<Vec<String>>,
    #[serde(default)]
    ca: Option<std::path::PathBuf>,
}

#[derive(Debug)]
struct RequestTracker {
    url: Url,
    token: SecretRef,
    user: String,
    query: String,
    every: Duration,
    verdict_field: Option<String>,
    closed: Vec<String>,
    tls: Arc<TlsOptions>,
}

fn read(node: &yaml::Node) -> Result<RequestTracker, Diagnostic> {
    let declared: Declared = node.read()?;
    let url = http_url(&declared.url)?;
    for (name, text) in [("user", &declared.user), ("query", &declared.query)] {
        if text.value.trim().is_empty() {
            return Err(Diagnostic::error(text.at.clone(), format!("`{name}` is empty")));
        }
    }
    let every = declared.every.as_ref().map_or(30, |every| every.value);
    if let Some(wrong) = declared.every.filter(|every| !(5..=3_600).contains(&every.value)) {
        return Err(Diagnostic::error(wrong.at, "`every` is 5 to 3600 seconds"));
    }
    let closed = declared.closed.unwrap_or_else(|| ["resolved", "rejected", "deleted"].map(str::to_owned).into());
    Ok(RequestTracker {
        url,
        token: declared.token,
        user: declared.user.value,
        query: declared.query.value,
        every: Duration::from_secs(every),
        verdict_field: declared.verdict_field,
        closed,
        tls: Arc::new(TlsOptions { ca: declared.ca, ..TlsOptions::default() }),
    })
}

impl TicketSystem for RequestTracker {
    fn verify(&self, _hook: &Hook<'_>, _wires: &Wires) -> Result<(), Refused> {
        Err(Refused::NotSigned)
    }

    fn read(&self, hook: &Hook<'_>) -> Result<Received, Refused> {
        self.received(hook.json()?)
    }

    fn annotate<'a>(&'a self, message: Message<'a>, wires: &'a Wires) -> Sending<'a> {
        Box::pin(async move { self.write(message, wires).await.unwrap_or_else(|failed| failed) })
    }

    fn poll_every(&self) -> Option<Duration> {
        Some(self.every)
    }

    fn poll<'a>(&'a self, cursor: Option<&'a str>, now: Timestamp, wires: &'a Wires) -> Polling<'a> {
        Box::pin(async move { self.ask_for_news(cursor, now, wires).await })
    }

    fn secrets(&self) -> Vec<SecretRef> {
        vec![self.token.clone()]
    }
}

impl RequestTracker {
    /// What a ticket, one of its transactions and that one's text become.
    fn received(&self, mut payload: Value) -> Result<Received, Refused> {
        if let Some(ticket) = payload.get_mut("ticket") {
            by_name(ticket);
        }
        let missing = |what: &str| Refused::Unreadable(format!("`{what}` is missing"));
        let id = text_at(&payload, "ticket.id").ok_or_else(|| missing("ticket.id"))?;
        let transaction = text_at(&payload, "transaction.id").ok_or_else(|| missing("transaction.id"))?;
        let by = text_at(&payload, "transaction.Creator.id");
        let delivery = Some(format!("transaction {transaction}"));
        if by.as_deref() == Some(self.user.as_str()) {
            return Ok(Received { delivery, ..Received::ignored("our own") });
        }
        let by = by.map(Untrusted::new);
        let text = Untrusted::bounded(text_at(&payload, "text").unwrap_or_default(), TEXT_LIMIT);
        let of = |name: &str| payload["transaction"][name].as_str().unwrap_or("");
        let is_closed = |status: &str| self.closed.iter().any(|closed| closed.eq_ignore_ascii_case(status));
        let what = match (of("Type"), of("Field")) {
            ("Create", _) | ("Set", "Queue") => What::Opened,
            ("Correspond" | "Comment", _) => What::Commented { by, text: text.clone() },
            ("Status", _) | ("Set", "Status") => match (is_closed(of("OldValue")), is_closed(of("NewValue"))) {
                (false, true) => What::Closed,
                (true, false) => What::Reopened,
                _ => What::Updated,
            },
            ("Set" | "CustomField", _) => What::Updated,
            _ => return Ok(Received { delivery, ..Received::ignored("nothing of the ticket itself") }),
        };
        let text = if matches!(what, What::Commented { .. }) { Untrusted::default() } else { text };
        let report = self.report(&id, text, &payload);
        let incoming = vec![Incoming { id, what, report, payload }];
        Ok(Received { delivery, incoming, ignored: None })
    }

    fn report(&self, id: &str, text: Untrusted, payload: &Value) -> Report {
        let requestor = text_at(payload, "ticket.Requestors.0.id").map(|name| Untrusted::bounded(name, 256));
        let contact = requestor.clone().filter(|name| name.raw().contains('@'));
        Report {
            title: text_at(payload, "ticket.Subject").map(Untrusted::new),
            text: Some(text),
            reporter: requestor,
            contact,
            url: Some(Untrusted::new(format!("{}/Ticket/Display.html?id={}", self.base(), url_segment(id)))),
            reported_at: text_at(payload, "ticket.Created").and_then(|text| parse_time(&text)),
            ..Report::default()
        }
    }

    fn base(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// A request, with its own query parameters.
    fn call(&self, path: &str, query: &[(&str, &str)], wires: &Wires) -> Result<Call, Outcome> {
        let url = Url::parse(&format!("{}/REST/2.0/{path}", self.base()));
        let mut url = url.map_err(|error| Outcome::rejected(format!("not a URL: {error}")))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Call::get(url).tls(&self.tls).secret("Authorization", "token ", &self.token, wires)
    }

    async fn ask(
        &self,
        path: &str,
        query: &[(&str, &str)],
        now: Timestamp,
        wires: &Wires,
    ) -> Result<Response, Outcome> {
        comment::of_ticket(self.call(path, query, wires)?.ask(wires).await?, now, wires)
    }

    async fn write(&self, message: Message<'_>, wires: &Wires) -> Result<Outcome, Outcome> {
        let action = message.action;
        let ticket = format!("ticket/{}", url_segment(&action.recipient));
        // Comments on what isn't there are answered with 400 by some versions: it is asked for first.
        let answer = self.ask(&ticket, &[], message.now, wires).await?;
        if outgoing::json(&answer)?["Status"] == "deleted" {
            return Err(comment::gone(answer.status));
        }
        if let (Some(field), Some(verdict)) = (&self.verdict_field, comment::verdict(action))
            && !comment::is_reply(action)
        {
            let set = self.set(&ticket, field, verdict, answer, message.now, wires).await;
            comment::beside("its field", action, set)?;
        }
        if comment::may_stand_there(&message) && self.stands_there(&ticket, &message, wires).await? {
            return Ok(Outcome::DELIVERED);
        }
        let way = if comment::is_reply(action) { "correspond" } else { "comment" };
        let content = format!("{}{}\n", comment::words(&message, Medium::Html), comment::key_marker(action));
        let body = json!({ "Content": content, "ContentType": "text/html" });
        let call = self.call(&format!("{ticket}/{way}"), &[], wires)?.with_json(Method::POST, body, wires);
        let answer = comment::of_ticket(call.ask(wires).await?, message.now, wires)?;
        // It answers with what it did, as a list of sentences.
        match outgoing::json(&answer)? {
            Value::Array(said) if answer.status == 201 && !said.is_empty() => Ok(Outcome::DELIVERED),
            other => Err(Outcome::retry(format!("it answered: {}", encode::terminal(&other.to_string())))),
        }
    }

    /// Sets a custom field, unless somebody changed the ticket since it was read; then it is read again.
    async fn set(
        &self,
        ticket: &str,
        field: &str,
        value: &str,
        mut read: Response,
        now: Timestamp,
        wires: &Wires,
    ) -> Result<(), Outcome> {
        for _ in 0..CONFLICTS {
            let mut known = outgoing::json(&read)?;
            by_name(&mut known);
            match known["CustomFields"].get(field) {
                None => {
                    return Err(Outcome::rejected(format!("there is no custom field `{}`", encode::terminal(field))));
                }
                Some(Value::String(stands)) if stands == value => return Ok(()),
                Some(_) => {}
            }
            let body = json!({ "CustomFields": { field: value } });
            let mut call = self.call(ticket, &[], wires)?.with_json(Method::PUT, body, wires);
            if let Some(tag) = read.headers.get(http::header::ETAG).and_then(|tag| tag.to_str().ok()) {
                call = call.header("If-Match", tag);
            }
            let answer = call.ask(wires).await?;
            if answer.status != 412 {
                let answer = comment::of_ticket(answer, now, wires)?;
                // Refused values are answered with 200, and with a sentence; a value that took is told by its name.
                let said = outgoing::json(&answer)?.to_string();
                return match said.contains(value) {
                    true => Ok(()),
                    false => Err(Outcome::rejected(format!("its field was not set: {}", encode::terminal(&said)))),
                };
            }
            read = self.ask(ticket, &[], now, wires).await?;
        }
        Err(Outcome::retry("the ticket is changed by somebody else all the time"))
    }

    /// True where an earlier attempt at this action arrived.
    async fn stands_there(&self, ticket: &str, message: &Message<'_>, wires: &Wires) -> Result<bool, Outcome> {
        let count = LOOKED_THROUGH.to_string();
        let query =
            [("fields", "Type,Creator,Created"), ("orderby", "id"), ("order", "DESC"), ("per_page", count.as_str())];
        let answer = self.ask(&format!("{ticket}/history"), &query, message.now, wires).await?;
        let history = outgoing::json(&answer)?;
        let kind = if comment::is_reply(message.action) { "Correspond" } else { "Comment" };
        let marker = comment::key_marker(message.action);
        for transaction in history["items"].as_array().into_iter().flatten() {
            let own = text_at(transaction, "Creator.id").is_some_and(|by| by == self.user);
            if !own || transaction["Type"] != kind {
                continue;
            }
            let Some(id) = text_at(transaction, "id") else { continue };
            if self.text(&format!("transaction/{}", url_segment(&id)), message.now, wires).await?.0.contains(&marker) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The first text of a ticket or a transaction as it is kept, and whether it is HTML. What is too long to be read is
    /// no text.
    async fn text(&self, of: &str, now: Timestamp, wires: &Wires) -> Result<(String, bool), Outcome> {
        let query = [("fields", "ContentType,Filename"), ("orderby", "id"), ("order", "ASC"), ("per_page", "20")];
        let list = outgoing::json(&self.ask(&format!("{of}/attachments"), &query, now, wires).await?)?;
        let parts = || list["items"].as_array().into_iter().flatten().filter(|part| is_empty(&part["Filename"]));
        let first = |kind: &'static str| parts().find(move |part| part["ContentType"] == kind);
        let (part, html) = match (first("text/plain"), first("text/html")) {
            (Some(plain), _) => (plain, false),
            (None, Some(html)) => (html, true),
            (None, None) => return Ok((String::new(), false)),
        };
        let Some(id) = text_at(part, "id") else { return Ok((String::new(), false)) };
        let answer = self.ask(&format!("attachment/{}", url_segment(&id)), &[], now, wires).await?;
        if answer.truncated {
            return Ok(("(its text is too long to be read)".to_owned(), false));
        }
        let content = outgoing::json(&answer)?["Content"].as_str().unwrap_or("").replace(['\n', '\r'], "");
        let bytes = base64::engine::general_purpose::STANDARD.decode(content).unwrap_or_default();
        Ok((String::from_utf8_lossy(&bytes).into_owned(), html))
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_str().is_none_or(str::is_empty)
}

/// Custom fields by their names: a list of `{ name, values }` becomes a map; one value stands there alone.
fn by_name(ticket: &mut Value) {
    let Some(Value::Array(list)) = ticket.get("CustomFields") else { return };
    let mut fields = Map::new();
    for field in list {
        let Some(name) = field["name"].as_str() else { continue };
        let values = field["values"].as_array().map_or(&[][..], Vec::as_slice);
        let value = match values {
            [] => Value::Null,
            [one] => one.clone(),
            several => Value::Array(several.to_vec()),
        };
        fields.insert(name.to_owned(), value);
    }
    ticket["CustomFields"] = Value::Object(fields);
}

#[cfg(test)]
mod tests;
