//! Where tickets live: one file per ticket system (receive, annotate), and the registry that names them all.
//!
//! To add a system: one file, its `mod` line, its line in [`SYSTEMS`].
//!
//! A delivery is verified over its raw body, read into [`Incoming`]s, and each of these becomes a ticket, or an event of
//! one. What Houston wrote itself, and what machines answered automatically, is ignored, or two of them would talk to
//! each other for ever.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use serde_json::Value;

use crate::model::delivery::Message;
use crate::model::letter::Letter;
use crate::model::secret::{Secret, SecretRef};
use crate::model::source::{Diagnostic, nearest};
use crate::model::text::Untrusted;
use crate::model::ticket::{Report, Ticket, Unacceptable};
use crate::net::outgoing::{Sending, Wires};
use crate::yaml::{self, Keys};

pub mod alertmanager;
mod comment;
pub mod email;
mod fields;
pub mod github;
pub mod gitlab;
pub mod jira;
pub mod mattermost;
pub mod pagerduty;
pub mod phone;
pub mod request_tracker;
pub mod servicenow;
pub mod slack;
pub mod webhook;
pub mod zendesk;

pub use fields::Fields;

/// Every kind of ticket system, in the order in which they are listed to people.
pub static SYSTEMS: &[&SystemKind] = &[
    &webhook::WEBHOOK,
    &email::EMAIL,
    &request_tracker::REQUEST_TRACKER,
    &github::GITHUB,
    &gitlab::GITLAB,
    &jira::JIRA,
    &phone::PHONE,
    &slack::SLACK,
    &mattermost::MATTERMOST,
    &pagerduty::PAGERDUTY,
    &zendesk::ZENDESK,
    &servicenow::SERVICENOW,
    &alertmanager::ALERTMANAGER,
];

/// A delivery's time may differ from ours by this much, where it is signed with its time.
pub const CLOCK_SKEW: jiff::SignedDuration = jiff::SignedDuration::from_secs(300);

/// The most keys that are active at a time: one, and its successor, and one to spare.
const KEYS: usize = 3;

/// The kind with this name.
pub fn kind(name: &str) -> Option<&'static SystemKind> {
    SYSTEMS.iter().copied().find(|kind| kind.name == name)
}

/// A delivery as it came in.
#[derive(Debug, Clone, Copy)]
pub struct Hook<'a> {
    pub headers: &'a HeaderMap,
    /// As it came: signatures are over these bytes.
    pub body: &'a [u8],
    /// The address that it was sent to, as the sender sees it, where that is known; some sign it.
    pub url: Option<&'a str>,
    /// True where the kernel says that a local user sent it who may file tickets: over our own socket.
    pub local: bool,
    pub now: Timestamp,
}

impl Hook<'_> {
    /// The value of a header, where it stands there once and is readable.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> Result<Value, Refused> {
        serde_json::from_slice(self.body).map_err(|error| Refused::Unreadable(format!("no JSON: {error}")))
    }

    /// The body as a form; of a field that stands there twice, the first.
    pub fn form(&self) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(self.body) {
            fields.entry(name.into_owned()).or_insert_with(|| value.into_owned());
        }
        fields
    }

    /// Refuses a time (in seconds since 1970) that is too far from ours.
    ///
    /// # Errors
    /// It is, or it is no time.
    pub fn is_recent(&self, seconds: &str) -> Result<(), Refused> {
        let at = seconds.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        let at = at.ok_or(Refused::NotSigned)?;
        if at.duration_until(self.now).abs() > CLOCK_SKEW { Err(Refused::Stale) } else { Ok(()) }
    }
}

/// Why a delivery is not taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Its signature, or its secret, is missing or wrong. Nothing more is said to whoever tries.
    NotSigned,
    /// It is signed, but too old, or from the future.
    Stale,
    /// Nothing to verify it with could be read: nothing is accepted.
    NoSecret(String),
    Unreadable(String),
}

/// What happened to a ticket where it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Opened,
    /// Its fields changed.
    Updated,
    /// Somebody wrote, who is not Houston.
    Commented {
        by: Option<Untrusted>,
        text: Untrusted,
    },
    Closed,
    /// The reporter says that it is still broken.
    Reopened,
    /// Somebody took it on.
    Acknowledged {
        by: Untrusted,
    },
}

/// One thing that happened to one ticket.
#[derive(Debug, Clone, PartialEq)]
pub struct Incoming {
    /// The ticket's id there.
    pub id: String,
    pub what: What,
    /// What the system's own fields say.
    pub report: Report,
    /// The whole of it, for the declared [`Fields`].
    pub payload: Value,
}

/// A name under which the ticket may be known that something belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// Our own number.
    Number(u64),
    /// Its id in its system.
    Id(String),
}

/// What a delivery holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Received {
    /// By which it is recognised when it comes again; without, the ticket's own id has to do.
    pub delivery: Option<String>,
    pub incoming: Vec<Incoming>,
    /// Why nothing is made of it, where that is so: a ping, our own comment, an automatic reply.
    pub ignored: Option<String>,
}

impl Received {
    pub fn ignored(why: &str) -> Self {
        Received { ignored: Some(why.to_owned()), ..Received::default() }
    }
}

/// An answer as its system wants it; with 200, for those take nothing else for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub content_type: &'static str,
    pub body: String,
}

/// What a system had to tell when it was asked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Polled {
    pub received: Vec<Received>,
    /// Where to go on the next time; kept once everything is on disk.
    pub cursor: Option<String>,
}

/// A poll under way; what went wrong is a sentence.
pub type Polling<'a> = Pin<Box<dyn Future<Output = Result<Polled, String>> + Send + 'a>>;

/// A system in which tickets live, set up from its entry in `houston.yaml`.
pub trait TicketSystem: Send + Sync + std::fmt::Debug {
    /// Refuses what its system did not send.
    ///
    /// # Errors
    /// [`Refused`]
    fn verify(&self, hook: &Hook<'_>, wires: &Wires) -> Result<(), Refused>;

    /// Reads a delivery. It must not rely on [`TicketSystem::verify`] having been asked: `houston ticketing test` reads
    /// files.
    ///
    /// # Errors
    /// [`Refused::Unreadable`]
    fn read(&self, hook: &Hook<'_>) -> Result<Received, Refused>;

    /// Writes a note or a reply into the ticket whose id there is the action's recipient. As a channel's `send`.
    fn annotate<'a>(&'a self, message: Message<'a>, wires: &'a Wires) -> Sending<'a>;

    /// How often it is asked for news; `None` where it sends them by itself.
    fn poll_every(&self) -> Option<Duration> {
        None
    }

    /// Asks for what is new since the cursor; without one, since now.
    fn poll<'a>(&'a self, _cursor: Option<&'a str>, _now: Timestamp, _wires: &'a Wires) -> Polling<'a> {
        Box::pin(std::future::ready(Ok(Polled::default())))
    }

    /// True where everybody can read what is written into a ticket there: only customer-safe words are.
    fn is_public(&self) -> bool {
        false
    }

    /// False where there is no way to write into its tickets.
    fn takes_notes(&self) -> bool {
        true
    }

    /// The tickets that something may belong to, the likeliest first, where its system names more than one. Where none of
    /// them is known, it is a ticket of its own: nothing is lost because what it answers is not ours.
    fn belongs_to(&self, _incoming: &Incoming) -> Vec<Reference> {
        Vec::new()
    }

    /// Why a human must know of a new ticket before anything was looked at, where that is so. One sentence.
    fn urgent(&self, _incoming: &Incoming) -> Option<&'static str> {
        None
    }

    /// What is answered to a delivery that is on disk, where its system shows that to somebody: the numbers are those of
    /// the tickets that it was about.
    fn answer(&self, _hook: &Hook<'_>, _received: &Received, _numbers: &[u64]) -> Option<Answer> {
        None
    }

    /// Secrets that it will need, so that a missing one is an error at the start.
    fn secrets(&self) -> Vec<SecretRef> {
        Vec::new()
    }
}

/// One kind of ticket system.
pub struct SystemKind {
    /// The key in YAML.
    pub name: &'static str,
    /// One line, lower case, no full stop.
    pub summary: &'static str,
    /// Keys, what is understood of what it sends, and what is written into its tickets.
    pub docs: &'static str,
    /// A value that works, as it is written below the kind's name.
    pub example: &'static str,
    /// A delivery of it: the body.
    pub payload: &'static str,
    /// The headers of that delivery that [`TicketSystem::read`] looks at.
    pub headers: &'static [(&'static str, &'static str)],
    /// Reads the kind's own value from YAML.
    pub read: fn(&yaml::Node) -> Result<Arc<dyn TicketSystem>, Diagnostic>,
}

impl std::fmt::Debug for SystemKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SystemKind({})", self.name)
    }
}

/// A ticket system as it is declared: what it is, and what is made of its tickets.
#[derive(Debug, Clone)]
pub struct Desk {
    pub name: String,
    pub kind: &'static SystemKind,
    pub system: Arc<dyn TicketSystem>,
    pub fields: Fields,
    /// Whether verdicts are noted in its tickets.
    pub note: bool,
    /// Whether the customer gets a first reply there.
    pub first_reply: bool,
}

impl Desk {
    /// The channel over which its tickets are written to.
    pub fn channel(&self) -> String {
        channel(&self.name)
    }

    /// What is reported, with the declared fields filled in, as a ticket of this desk.
    ///
    /// # Errors
    /// It can't be a ticket.
    pub fn ticket(&self, incoming: &Incoming, now: Timestamp) -> Result<Ticket, Unacceptable> {
        let mut report = incoming.report.clone();
        self.fields.fill(&incoming.payload, &mut report);
        report.source = Some(self.name.clone());
        report.id = Some(incoming.id.clone());
        report.accept(now, &incoming.id)
    }
}

/// The channel over which the tickets of the desk with this name are written to.
pub fn channel(desk: &str) -> String {
    format!("ticketing:{desk}")
}

/// Reads an entry of `ticketing`: its name and `{ KIND: { … }, fields: { … }, note: true, first_reply: false }`.
pub fn declare(name: &str, declared: &yaml::Node, errors: &mut Vec<Diagnostic>) -> Option<Desk> {
    let before = errors.len();
    let mut keys = match Keys::of(declared, "a ticket system") {
        Ok(keys) => keys,
        Err(error) => {
            errors.push(error.hint("write it like `{ webhook: { secrets: [{ env: NAME }] } }`"));
            return None;
        }
    };
    let fields = keys.take("fields").map(|node| Fields::read(node, errors)).unwrap_or_default();
    let note = keys.read("note", errors).unwrap_or(true);
    let first_reply = keys.read("first_reply", errors).unwrap_or(false);
    let known = || SYSTEMS.iter().map(|kind| kind.name);
    let [(key, value)] = keys.rest() else {
        let found = keys.rest().len();
        errors.push(
            Diagnostic::error(declared.span.clone(), format!("a ticket system has one kind, not {found}"))
                .hint(format!("known are {}", known().collect::<Vec<_>>().join(", "))),
        );
        return None;
    };
    let named = key.text().unwrap_or_default();
    let Some(kind) = kind(named) else {
        let error = Diagnostic::error(key.span.clone(), format!("no such kind of ticket system: `{named}`"));
        errors.push(match nearest(named, known()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("known are {}", known().collect::<Vec<_>>().join(", "))),
        });
        return None;
    };
    if !is_name(name) {
        errors.push(
            Diagnostic::error(
                declared.span.clone(),
                format!("`{}` can't be a ticket system's name", crate::model::encode::terminal(name)),
            )
            .hint("1 to 64 lower-case letters, digits, `-` and `_`: it is part of an address"),
        );
    }
    match (kind.read)(value) {
        Ok(system) if errors.len() == before => {
            let note = note && system.takes_notes();
            Some(Desk { name: name.to_owned(), kind, system, fields, note, first_reply })
        }
        Ok(_) => None,
        Err(error) => {
            errors.push(error);
            None
        }
    }
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'))
}

/// The keys with which deliveries are verified.
///
/// # Errors
/// None is declared, or one can't be read: then nothing is accepted.
pub(crate) fn keys(secrets: &[SecretRef], wires: &Wires) -> Result<Vec<Secret>, Refused> {
    let keys: Result<Vec<Secret>, String> = secrets.iter().map(|secret| wires.credentials.get(secret)).collect();
    match keys {
        Ok(keys) if keys.is_empty() => Err(Refused::NoSecret("no secret is declared".to_owned())),
        Ok(keys) => match keys.iter().find(|key| key.expose().len() < crate::net::signature::KEY_AT_LEAST) {
            Some(_) => Err(Refused::NoSecret("its secret is shorter than 16 bytes".to_owned())),
            None => Ok(keys),
        },
        Err(why) => Err(Refused::NoSecret(why)),
    }
}

/// Refuses what is not signed as our own messages are: `X-Houston-Timestamp`, and `X-Houston-Signature: v1=` with the
/// HMAC-SHA-256 of `timestamp.body` in hex. Who can't sign sends the key itself as `X-Houston-Token`.
///
/// # Errors
/// [`Refused::NotSigned`], [`Refused::Stale`]
pub(crate) fn signed_as_ours(hook: &Hook<'_>, keys: &[Secret]) -> Result<(), Refused> {
    use crate::net::signature::{Writing, equals, verifies};
    if let Some(token) = hook.header("x-houston-token") {
        return if equals(keys, token) { Ok(()) } else { Err(Refused::NotSigned) };
    }
    let (timestamp, signature) = hook
        .header("x-houston-timestamp")
        .zip(hook.header("x-houston-signature").and_then(|signature| signature.strip_prefix("v1=")))
        .ok_or(Refused::NotSigned)?;
    if !verifies(keys, &[timestamp.as_bytes(), b".", hook.body], signature, Writing::Hex) {
        return Err(Refused::NotSigned);
    }
    hook.is_recent(timestamp)
}

/// Refuses a list of keys that is empty or too long, at its place.
///
/// # Errors
/// It is.
pub(crate) fn check_keys(node: &yaml::Node, secrets: &[SecretRef]) -> Result<(), Diagnostic> {
    if (1..=KEYS).contains(&secrets.len()) {
        return Ok(());
    }
    Err(Diagnostic::error(node.span.clone(), format!("`secrets` holds {} keys", secrets.len()))
        .hint(format!("1 to {KEYS}: a delivery is taken in when any of them made its signature")))
}

pub(crate) use crate::yaml::http_url;

/// What every note of ours begins with, so that it is recognised when it comes back.
const OWN_NOTE: &str = "[houston/T-";

/// The first line of a note: the ticket, and the beginning of the action's key, by which it is found again.
pub(crate) fn mark(letter: &Letter) -> String {
    format!("[{} {}]", letter.thread, letter.key.get(..16).unwrap_or(&letter.key))
}

/// True for a note that Houston wrote.
pub(crate) fn is_own_note(text: &str) -> bool {
    text.contains(OWN_NOTE)
}

/// A text of the payload at this path of names and numbers, `a.b.0.c`; a number or a truth value as its text.
pub(crate) fn at<'v>(payload: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(payload, |value, step| match value {
        Value::Object(fields) => fields.get(step),
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

/// As [`at`], as text.
pub(crate) fn text_at(payload: &Value, path: &str) -> Option<String> {
    match at(payload, path)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// A time as ticket systems write it: RFC 3339, with an offset without a colon (Jira), or in UTC without any (ServiceNow).
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| Timestamp::strptime("%Y-%m-%dT%H:%M:%S%.f%z", text).ok()).or_else(|| {
        let civil = jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", text).ok()?;
        Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    })
}

#[cfg(test)]
pub(crate) mod tests;
