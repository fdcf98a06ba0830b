//! Comment: what writing into tickets has in common, whichever system they live in.

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::model::action::{Action, ActionKind};
use crate::model::delivery::{Message, Outcome};
use crate::model::letter::{Letter, Medium};
use crate::net::http::Response;
use crate::net::outgoing::{Wires, accepted};

/// An action that is younger, and is attempted for the first time, was never sent.
const FRESH: SignedDuration = SignedDuration::from_secs(5);

/// True where an earlier attempt may have arrived without our knowing: it is looked for first. That is so after a failed
/// attempt, and also where the action waited, for we may have ended between its sending and the note of it.
pub(super) fn may_stand_there(message: &Message<'_>) -> bool {
    message.tries > 0 || message.action.created_at.duration_until(message.now) > FRESH
}

/// What an action says in this markup. A reply is its text, without any emphasis.
pub(super) fn words(message: &Message<'_>, medium: Medium) -> String {
    let letter = Letter::of(message.action, message.links);
    match (letter.parts.is_empty(), medium) {
        (false, _) => letter.write(medium),
        (true, Medium::Html) => format!("<p>{}</p>\n", letter.head(medium)),
        // At the begin of a line, GitLab would take it for a command.
        (true, Medium::Markdown) if letter.headline.starts_with('/') => format!("\\{}", letter.head(medium)),
        (true, _) => letter.head(medium),
    }
}

/// By which a comment is recognised by its action, where HTML's comments are not shown.
pub(super) fn key_marker(action: &Action) -> String {
    format!("<!-- houston:{} -->", action.key)
}

/// By which the note on a ticket is recognised, whichever action it was of.
pub(super) fn note_marker(message: &Message<'_>) -> String {
    let letter = Letter::of(message.action, None);
    format!("<!-- {} note -->", letter.thread)
}

/// True for what goes to the customer.
pub(super) fn is_reply(action: &Action) -> bool {
    action.kind == ActionKind::Reply
}

/// True for what everybody may read.
pub(super) fn is_customer_safe(action: &Action) -> bool {
    is_reply(action) || action.facts["customer_safe"] == Value::Bool(true)
}

/// The verdict that an action tells of, as labels and fields name it: `issue`, `no-issue`, `doubtful`.
pub(super) fn verdict(action: &Action) -> Option<&'static str> {
    match action.facts["verdict"].as_str()? {
        "issue" => Some("issue"),
        "no_issue" => Some("no-issue"),
        "doubtful" => Some("doubtful"),
        _ => None,
    }
}

/// The labels of the other verdicts than this one.
pub(super) fn other_labels(verdict: &str) -> impl Iterator<Item = &'static str> {
    ["issue", "no-issue", "doubtful"].into_iter().filter(move |other| *other != verdict)
}

/// The answer to a request about a ticket, where it is a 2xx.
///
/// # Errors
/// What is to be made of anything else; a ticket that is gone and credentials that are not accepted are named.
pub(super) fn of_ticket(response: Response, now: Timestamp, wires: &Wires) -> Result<Response, Outcome> {
    match StatusCode::from_u16(response.status) {
        Ok(StatusCode::UNAUTHORIZED) => Err(Outcome::rejected("it does not accept our credentials (401)")),
        Ok(StatusCode::NOT_FOUND | StatusCode::GONE) => Err(gone(response.status)),
        _ => accepted(response, now, wires),
    }
}

/// Nothing can be written into a ticket that was deleted; it stands in the log.
pub(super) fn gone(status: u16) -> Outcome {
    Outcome::rejected(format!("the ticket is not there any more, or we may not see it ({status})"))
}

/// A refusal of something that is only beside the note: it is told of in the log, and the note counts as delivered. What
/// is to be tried again stays an error, and then what was written is found by its marker.
///
/// # Errors
/// It is to be tried again.
pub(super) fn beside<T>(what: &str, action: &Action, result: Result<T, Outcome>) -> Result<Option<T>, Outcome> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Outcome::Rejected { why }) => {
            tracing::warn!(channel = ?action.channel, key = %action.key, what, why = ?why, "the note arrived, this did not");
            Ok(None)
        }
        Err(again) => Err(again),
    }
}

#[cfg(test)]
pub(super) mod tests;
