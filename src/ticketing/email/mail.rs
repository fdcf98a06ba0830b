//! One mail: whether it is for us, and what it says.

use std::collections::BTreeSet;

use mail_parser::{Addr, MessageParser};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::{Incoming, Received, Reference, What};
use super::reply::{own_words, says_still_broken};
use crate::model::case::parse_number;
use crate::model::text::Untrusted;
use crate::model::ticket::{Report, TEXT_LIMIT};

/// Mails of a thread that are looked for.
const REFERENCES: usize = 20;
/// Parts whose text is read.
const PARTS: usize = 8;
/// Addresses of recipients that are kept.
const RECIPIENTS: usize = 16;
/// The longest id that is kept as it is, in bytes.
const ID_LIMIT: usize = 200;

/// What is not taken in.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// Our own addresses, in lower case.
    pub own: BTreeSet<String>,
    pub lists: bool,
}

/// What a mail becomes. Nothing is unreadable: what can't be understood is a ticket with its bytes as its text.
pub(super) fn read(bytes: &[u8], rules: &Rules) -> Received {
    let parser = MessageParser::default();
    let Some(mail) = parser.parse(bytes) else { return unknown(bytes) };
    let headers: Vec<(String, &str)> =
        mail.headers_raw().map(|(name, value)| (name.to_lowercase(), value.trim())).collect();
    let header = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
    if headers.iter().any(|(name, _)| name.starts_with("x-houston-")) {
        return Received::ignored("our own mail");
    }
    let from = mail.from().and_then(|from| from.first());
    let address = |addr: Option<&Addr<'_>>| {
        addr.and_then(|addr| addr.address.as_deref()).map(|address| address.trim().to_owned()).unwrap_or_default()
    };
    let sender = address(from);
    if let Some(why) = automatic(&header, &sender, rules) {
        return Received::ignored(why);
    }
    let mut text = String::new();
    for part in 0..mail.text_body_count().min(PARTS) {
        if let Some(part) = mail.body_text(part).filter(|_| text.len() < TEXT_LIMIT) {
            text.push_str(&part);
            text.push('\n');
        }
    }
    let text = text.replace('\r', "").trim().to_owned();
    let subject = mail.subject().unwrap_or("").trim().to_owned();
    let name = from.and_then(|from| from.name.as_deref()).unwrap_or("").trim();
    let id = match mail.message_id() {
        Some(id) if !id.trim().is_empty() => known(id),
        _ => digest(bytes),
    };
    let references = references(&header);
    let tag = tag(&subject);
    let reply_to = address(mail.reply_to().and_then(|reply| reply.first()));
    let to: Vec<&str> =
        mail.all_to().flat_map(|to| to.iter()).filter_map(|to| to.address.as_deref()).take(RECIPIENTS).collect();
    let payload = json!({
        "from": { "address": sender, "name": name, "domain": sender.rsplit_once('@').map(|(_, domain)| domain) },
        "to": to, "subject": subject, "text": text, "message_id": id, "references": references, "tag": tag,
    });
    let by = if name.is_empty() { sender.clone() } else { format!("{name} <{sender}>") };
    let title = if subject.is_empty() && text.is_empty() { "a mail without a text".to_owned() } else { subject };
    let own = own_words(&text);
    let report = Report {
        title: Some(Untrusted::new(title)),
        text: Some(Untrusted::new(text)),
        reporter: Some(Untrusted::bounded(by.as_str(), 256)),
        contact: Some(Untrusted::bounded(if reply_to.is_empty() { sender } else { reply_to }, 256)),
        reported_at: header("date").and_then(|date| jiff::fmt::rfc2822::parse(date).ok()).map(|at| at.timestamp()),
        ..Report::default()
    };
    let is_reply = tag.is_some() || !references.is_empty();
    let mut whats = match is_reply {
        true => vec![What::Commented { by: Some(Untrusted::new(by)), text: Untrusted::new(own.as_str()) }],
        false => vec![What::Opened],
    };
    if is_reply && says_still_broken(&own) {
        whats.push(What::Reopened);
    }
    let incoming = whats.into_iter().map(|what| Incoming {
        id: id.clone(),
        what,
        report: report.clone(),
        payload: payload.clone(),
    });
    Received { delivery: Some(id.clone()), incoming: incoming.collect(), ignored: None }
}

/// Why this is no human's mail, where it isn't: RFC 3834, section 2, and what came before it.
fn automatic<'h>(header: &impl Fn(&str) -> Option<&'h str>, sender: &str, rules: &Rules) -> Option<&'static str> {
    let first_word = |text: &str| {
        text.split(|c: char| c == ';' || c == '(' || c.is_whitespace()).next().unwrap_or("").to_lowercase()
    };
    if header("auto-submitted").is_some_and(|value| first_word(value) != "no") {
        return Some("an automatic mail");
    }
    match header("precedence").map(first_word).as_deref() {
        Some("bulk" | "junk") => return Some("bulk mail"),
        Some("list") if !rules.lists => return Some("mail of a list"),
        _ => {}
    }
    if header("return-path").is_some_and(|path| path.split_whitespace().collect::<String>() == "<>") {
        return Some("a bounce");
    }
    if header("content-type").is_some_and(|value| first_word(value) == "multipart/report") {
        return Some("a report on delivery");
    }
    let sender = sender.to_lowercase();
    if sender.split('@').next() == Some("mailer-daemon") {
        return Some("a bounce");
    }
    rules.own.contains(&sender).then_some("our own mail")
}

/// The mails that this one answers, the nearest first, as ids of tickets.
fn references<'h>(header: &impl Fn(&str) -> Option<&'h str>) -> Vec<String> {
    let ids = |name: &str| {
        let value = header(name).unwrap_or("");
        let ids = value.split('<').skip(1).filter_map(|rest| rest.split_once('>'));
        ids.map(|(id, _)| id.trim().to_owned()).filter(|id| !id.is_empty()).collect::<Vec<_>>()
    };
    let mut found: Vec<String> = ids("in-reply-to");
    found.truncate(REFERENCES);
    for id in ids("references").into_iter().rev() {
        if found.len() < REFERENCES && !found.contains(&id) {
            found.push(id);
        }
    }
    found.iter().map(|id| known(id)).collect()
}

/// The number in `[houston T-7]`.
fn tag(subject: &str) -> Option<u64> {
    let lower = subject.to_ascii_lowercase();
    let (_, rest) = lower.split_once("[houston ")?;
    let (number, _) = rest.split_once(']')?;
    parse_number(&number.trim().to_ascii_uppercase())
}

/// The tickets that this mail's payload says that it belongs to.
pub(super) fn belongs_to(payload: &Value) -> Vec<Reference> {
    let number = payload["tag"].as_u64().map(Reference::Number);
    let ids = payload["references"].as_array().into_iter().flatten();
    number.into_iter().chain(ids.filter_map(|id| Some(Reference::Id(id.as_str()?.to_owned())))).collect()
}

/// A `Message-ID` as a ticket's id.
fn known(id: &str) -> String {
    let id = id.trim();
    let can_be = id.len() <= ID_LIMIT && !id.chars().any(crate::model::encode::is_unprintable);
    if can_be { id.to_owned() } else { digest(id.as_bytes()) }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unknown(bytes: &[u8]) -> Received {
    if bytes.trim_ascii().is_empty() {
        return Received::ignored("an empty mail");
    }
    let id = digest(bytes);
    let text = Untrusted::new(String::from_utf8_lossy(bytes));
    let report = Report { title: Some("a mail that can't be read".into()), text: Some(text), ..Report::default() };
    let incoming = Incoming { id: id.clone(), what: What::Opened, report, payload: Value::Null };
    Received { delivery: Some(id), incoming: vec![incoming], ignored: None }
}
