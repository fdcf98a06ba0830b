//! Intake: what ticket systems send, and what they tell when they are asked, becomes tickets and events of tickets.
//!
//! Nothing is acknowledged before it is on disk. A system that goes on and on about one ticket, as two robots do that
//! answer each other, is muted for that ticket, and a human is told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::answer::{InPath, Refusal, raw_body};
use super::auth::{Identity, Peer, Scope, Via};
use super::{Shared, access, acknowledge};
use crate::model::action::{Action, ActionKind};
use crate::model::case::{Event, number_text};
use crate::model::text::Untrusted;
use crate::net::outgoing::Wires;
use crate::response::playbook::Policy;
use crate::store::pages::Which;
use crate::store::{Delivery, Heard, StoreError};
use crate::ticketing::{Answer, Desk, Hook, Incoming, Received, Reference, Refused, What};

/// More events of one ticket within a minute than this are no human's.
const LOOP: usize = 5;
const MINUTE: Duration = Duration::from_secs(60);
/// The most tickets whose events are counted at a time.
const COUNTED: usize = 10_000;

/// The ticket systems, and what they share.
#[derive(Debug)]
pub struct Desks {
    desks: BTreeMap<String, Desk>,
    wires: Arc<Wires>,
    /// Where we are reached from outside, without a slash at the end; some senders sign the address.
    public_url: Option<String>,
    /// When the events of the last minute came, by ticket.
    heard: Mutex<BTreeMap<(String, String), VecDeque<Instant>>>,
}

/// How often a ticket's system had something to say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Human,
    /// This is the first event too many.
    Looping,
    Muted,
}

impl Desks {
    pub fn new(desks: BTreeMap<String, Desk>, wires: Arc<Wires>) -> Self {
        Desks { desks, wires, public_url: None, heard: Mutex::default() }
    }

    /// With the address under which senders reach us.
    pub fn with_public_url(mut self, url: Option<&str>) -> Self {
        self.public_url = url.map(|url| url.trim_end_matches('/').to_owned());
        self
    }

    pub fn get(&self, name: &str) -> Option<&Desk> {
        self.desks.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Desk> {
        self.desks.values()
    }

    fn pace(&self, desk: &str, id: &str, now: Instant) -> Pace {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() >= COUNTED {
            heard.retain(|_, times| times.back().is_some_and(|last| now.duration_since(*last) < MINUTE));
        }
        let times = heard.entry((desk.to_owned(), id.to_owned())).or_default();
        while times.front().is_some_and(|first| now.duration_since(*first) >= MINUTE) {
            times.pop_front();
        }
        times.push_back(now);
        match times.len() {
            ..=LOOP => Pace::Human,
            n if n == LOOP + 1 => Pace::Looping,
            _ => {
                // The last of a flood keeps it muted, whatever its length.
                times.pop_front();
                times.push_front(now);
                times.truncate(LOOP + 2);
                Pace::Muted
            }
        }
    }
}

/// `POST /hooks/{system}`: no token, for each system has its own way to prove itself; 202 once everything is on disk.
pub async fn hook(
    State(shared): State<Arc<Shared>>,
    InPath(name): InPath,
    request: Request,
) -> Result<Response, Refusal> {
    let desk = shared.desks.get(&name).ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "there is nothing here"))?;
    let local = request.extensions().get::<Peer>().and_then(|peer| shared.access.local(peer));
    let url = shared.desks.public_url.as_ref().map(|base| format!("{base}{}", request.uri()));
    let (headers, body) = raw_body(request).await?;
    let now = (shared.clock)();
    let hook = Hook { headers: &headers, body: &body, url: url.as_deref(), local: local.is_some(), now };
    desk.system.verify(&hook, &shared.desks.wires).map_err(|why| refuse(desk, why))?;
    let via = if local.is_some() { Via::Socket } else { Via::Token };
    let identity = Identity { name: format!("hooks/{name}"), scope: Scope::Report, via };
    shared.access.may_file(&identity, Instant::now().into_std()).map_err(access::refuse)?;
    let received = desk.system.read(&hook).map_err(|why| refuse(desk, why))?;
    if shared.is_draining() {
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "shutting down").retry_after(5));
    }
    if let Some(why) = &received.ignored {
        tracing::debug!(system = %name, why, "a delivery was ignored");
    }
    let tickets = take_in(&shared, desk, &received, now).await?;
    if let Some(Answer { content_type, body }) = desk.system.answer(&hook, &received, &tickets) {
        return Ok(([(header::CONTENT_TYPE, content_type)], body).into_response());
    }
    let tickets: Vec<String> = tickets.into_iter().map(number_text).collect();
    let answer = json!({ "tickets": tickets, "ignored": received.ignored });
    Ok((StatusCode::ACCEPTED, axum::Json(answer)).into_response())
}

fn refuse(desk: &Desk, why: Refused) -> Refusal {
    match why {
        Refused::NotSigned | Refused::Stale => {
            tracing::warn!(system = %desk.name, stale = (why == Refused::Stale), "a delivery was refused");
            Refusal::new(StatusCode::UNAUTHORIZED, "not signed by this system").closing()
        }
        Refused::NoSecret(why) => {
            tracing::error!(system = %desk.name, why, "deliveries can't be verified, and are refused");
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "deliveries can't be verified").retry_after(60)
        }
        Refused::Unreadable(why) => Refusal::new(StatusCode::BAD_REQUEST, format!("not readable: {why}")),
    }
}

/// Puts everything of a delivery on disk; returns the tickets that it is about.
///
/// # Errors
/// Something could not be written: the delivery must not be acknowledged. What was written is recognised when it is
/// repeated.
pub async fn take_in(
    shared: &Shared,
    desk: &Desk,
    received: &Received,
    now: Timestamp,
) -> Result<Vec<u64>, StoreError> {
    let mut tickets = Vec::new();
    for (index, incoming) in received.incoming.iter().enumerate() {
        let delivery = received.delivery.as_ref().map(|id| format!("{id}#{index}"));
        tickets.extend(take_in_one(shared, desk, incoming, delivery, now).await?);
    }
    Ok(tickets)
}

async fn take_in_one(
    shared: &Shared,
    desk: &Desk,
    incoming: &Incoming,
    delivery: Option<String>,
    now: Timestamp,
) -> Result<Option<u64>, StoreError> {
    if incoming.what == What::Opened {
        return open(shared, desk, incoming, delivery, now).await;
    }
    let pace = shared.desks.pace(&desk.name, &incoming.id, Instant::now());
    if pace == Pace::Muted {
        tracing::debug!(system = %desk.name, id = ?incoming.id, "a ticket that loops is muted");
        return Ok(None);
    }
    let event = event(&incoming.what);
    let ids = ids(shared, desk, incoming).await?;
    let reopened = incoming.what == What::Reopened && pace == Pace::Human;
    // In one transaction with the event: a repeated delivery changes nothing any more.
    let again = reopened.then(|| now.checked_add(shared.settings.deadline).unwrap_or(now));
    let mut heard = Heard::NoSuchTicket;
    for id in ids.as_deref().unwrap_or(std::slice::from_ref(&incoming.id)) {
        heard = shared.store.hear(&desk.name, id, delivery.clone(), now, event.clone(), again).await?;
        if heard != Heard::NoSuchTicket {
            break;
        }
    }
    match heard {
        Heard::Again(number) => Ok(Some(number)),
        // What is open again, and was never told of, is a ticket all the same.
        Heard::NoSuchTicket if incoming.what == What::Reopened || ids.is_some() => {
            open(shared, desk, incoming, delivery, now).await
        }
        Heard::NoSuchTicket => Ok(None),
        Heard::Noted(number) => {
            if pace == Pace::Looping {
                looping(shared, desk, number, now).await?;
            } else {
                match &incoming.what {
                    What::Reopened => shared.accepted(number),
                    What::Acknowledged { by } => {
                        let by = bounded(by, 256);
                        acknowledge::take_on(shared, Which::OfTicket(number), by, None).await?;
                    }
                    What::Closed => shared.store.end_pages(number).await?,
                    What::Opened | What::Updated | What::Commented { .. } => {}
                }
            }
            shared.told(number);
            Ok(Some(number))
        }
    }
}

/// The ids that the ticket of this may have, where its system names more than one.
async fn ids(shared: &Shared, desk: &Desk, incoming: &Incoming) -> Result<Option<Vec<String>>, StoreError> {
    let references = desk.system.belongs_to(incoming);
    if references.is_empty() {
        return Ok(None);
    }
    let mut ids = Vec::new();
    for reference in references {
        match reference {
            Reference::Id(id) => ids.push(id),
            // Whoever knows a number must not reach the tickets of other systems with it.
            Reference::Number(number) => {
                let case = shared.store.case(number).await?;
                ids.extend(case.filter(|case| case.ticket.source == desk.name).map(|case| case.ticket.id));
            }
        }
    }
    Ok(Some(ids))
}

fn event(what: &What) -> Event {
    let (name, by, text) = match what {
        What::Opened => ("opened", None, None),
        What::Updated => ("updated", None, None),
        What::Commented { by, text } => ("commented", by.clone(), Some(text.clone())),
        What::Closed => ("closed", None, None),
        What::Reopened => ("reopened", None, None),
        What::Acknowledged { by } => ("acknowledged", Some(by.clone()), None),
    };
    Event::Heard {
        what: name.to_owned(),
        by: by.map(|by| bounded(&by, 256)),
        text: text.map(|text| bounded(&text, 8_192)),
    }
}

fn bounded(text: &Untrusted, limit: usize) -> Untrusted {
    Untrusted::bounded(text.raw(), limit)
}

async fn open(
    shared: &Shared,
    desk: &Desk,
    incoming: &Incoming,
    delivery: Option<String>,
    now: Timestamp,
) -> Result<Option<u64>, StoreError> {
    let ticket = match desk.ticket(incoming, now) {
        Ok(ticket) => ticket,
        Err(why) => {
            // Sent again it would say the same.
            tracing::warn!(system = %desk.name, field = why.field, why = ?why.what, "a delivery is no ticket");
            return Ok(None);
        }
    };
    let deadline = now.checked_add(shared.settings.deadline).unwrap_or(now);
    let delivery = Delivery {
        by: Some(format!("hooks/{}", desk.name)),
        id: delivery.map(|id| (desk.name.clone(), id)),
        ..Delivery::default()
    };
    let accepted = shared.store.accept(ticket, delivery, now, deadline).await?;
    if accepted.new {
        shared.metrics.tickets.inc();
        tracing::info!(ticket = %number_text(accepted.number), system = %desk.name, "accepted");
        shared.accepted(accepted.number);
    }
    // Also when it comes again: what was stored may not have been followed by this. The key makes it one.
    if let Some(why) = desk.system.urgent(incoming) {
        let title = incoming.report.title.as_ref().map_or("", |title| title.raw());
        let facts = json!({
            "summary": format!("{}: {why}", number_text(accepted.number)),
            "ticket": { "number": number_text(accepted.number), "title": title },
            "contact": incoming.report.contact.as_ref().map(|contact| contact.raw()),
            "ticket_url": incoming.report.url.as_ref().map(|url| url.raw()),
            "why": "urgent",
        });
        escalate(shared, accepted.number, "urgent", facts, now).await?;
    }
    Ok(Some(accepted.number))
}

/// Still broken: another round, unless one is under way.
pub async fn look_again(shared: &Shared, number: u64, now: Timestamp) -> Result<(), StoreError> {
    let deadline = now.checked_add(shared.settings.deadline).unwrap_or(now);
    match shared.store.new_round(number, deadline).await {
        Ok(_) => {
            shared.accepted(number);
            Ok(())
        }
        Err(StoreError::NotDecided { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// One escalation, and then silence about this ticket.
async fn looping(shared: &Shared, desk: &Desk, number: u64, now: Timestamp) -> Result<(), StoreError> {
    tracing::warn!(ticket = %number_text(number), system = %desk.name, "a ticket loops, and is muted");
    let facts = json!({
        "summary": format!("{} gets more than {LOOP} events a minute from {}: something answers us automatically; it is muted", number_text(number), desk.name),
        "ticket": { "number": number_text(number) },
        "why": "loop",
    });
    escalate(shared, number, "loop", facts, now).await
}

/// Tells those who are told of doubtful tickets, once per ticket and occasion.
async fn escalate(
    shared: &Shared,
    number: u64,
    occasion: &str,
    facts: Value,
    now: Timestamp,
) -> Result<(), StoreError> {
    let fallback = Policy::default().escalate;
    let targets = if shared.policy.escalate.is_empty() { &fallback } else { &shared.policy.escalate };
    let actions = targets
        .iter()
        .map(|target| {
            let (channel, recipient) = (&target.channel, &target.recipient);
            Action::at_occasion(number, 1, ActionKind::Escalate, channel, recipient, occasion, facts.clone(), now)
        })
        .collect();
    shared.store.enqueue(actions, now).await?;
    shared.outbox.notify_one();
    Ok(())
}

/// Asks each system that has to be asked, until `stop` is cancelled.
pub async fn poll(shared: Arc<Shared>, stop: CancellationToken) {
    let polls = shared.desks.iter().filter_map(|desk| Some((desk.name.clone(), desk.system.poll_every()?)));
    let polls = polls.map(|(name, every)| poll_one(Arc::clone(&shared), name, every, stop.clone()));
    futures_util::future::join_all(polls.collect::<Vec<_>>()).await;
}

async fn poll_one(shared: Arc<Shared>, name: String, every: Duration, stop: CancellationToken) {
    let Some(desk) = shared.desks.get(&name) else { return };
    let mut failures = 0_u32;
    loop {
        match poll_once(&shared, desk).await {
            Ok(()) => failures = 0,
            Err(why) => {
                failures += 1;
                tracing::warn!(system = %name, why = ?why, failures, "a ticket system can't be read");
            }
        }
        let pause = every.saturating_mul(1 << failures.min(4)).min(every.max(Duration::from_secs(300)));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Asks once. The cursor moves only when everything before it is on disk.
async fn poll_once(shared: &Shared, desk: &Desk) -> Result<(), String> {
    let cursor = shared.store.cursor(&desk.name).await.map_err(|error| error.to_string())?;
    let now = (shared.clock)();
    let polled = desk.system.poll(cursor.as_deref(), now, &shared.desks.wires).await?;
    for received in &polled.received {
        take_in(shared, desk, received, now).await.map_err(|error| error.to_string())?;
    }
    match polled.cursor {
        Some(cursor) => shared.store.set_cursor(&desk.name, &cursor).await.map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

/// The way into the tickets of a desk, as a channel.
#[derive(Debug)]
pub struct IntoTickets(pub Desk);

impl crate::response::channels::Channel for IntoTickets {
    fn send<'a>(
        &'a self,
        message: crate::model::delivery::Message<'a>,
        wires: &'a Wires,
    ) -> crate::net::outgoing::Sending<'a> {
        self.0.system.annotate(message, wires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn two_robots_are_muted_and_a_human_is_not() {
        let redactor = crate::model::secret::Redactor::default();
        let wires = Wires {
            http: crate::net::http::Client::default(),
            credentials: crate::net::credentials::Credentials::default(),
            redactor,
        };
        let desks = Desks::new(BTreeMap::new(), Arc::new(wires));
        let mut paces = Vec::new();
        for _ in 0..8 {
            paces.push(desks.pace("desk", "1", Instant::now()));
        }
        let (human, rest) = paces.split_at(LOOP);
        assert!(human.iter().all(|pace| *pace == Pace::Human), "{paces:?}");
        assert_eq!(rest, [Pace::Looping, Pace::Muted, Pace::Muted]);
        assert_eq!(desks.pace("desk", "2", Instant::now()), Pace::Human, "another ticket");
        tokio::time::advance(MINUTE).await;
        assert_eq!(desks.pace("desk", "1", Instant::now()), Pace::Human, "it stopped");
    }
}
