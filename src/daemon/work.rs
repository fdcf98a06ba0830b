//! One round of one case: from an accepted ticket to exactly one verdict, whatever happens on the way.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use super::{Shared, ladders, sampler};
use crate::checks::CheckSet;
use crate::model::action::{Action, ActionKind};
use crate::model::case::{Case, Event, number_text};
use crate::model::look::Outcome;
use crate::model::memory::Memory;
use crate::model::ticket::Ticket;
use crate::model::verdict::{Phase, Verdict};
use crate::model::window::Window;
use crate::response::callback::begin;
use crate::response::escalation::{Cause, POISONED_AFTER, without_looking};
use crate::response::next_steps;
use crate::response::playbook::{Occasion, follow_up};
use crate::response::reply;
use crate::store::history::HistoryError;
use crate::store::{Following, Learned, StoreError};
use crate::triage::{self, Round, Setting};

/// Less time than this is not enough to look.
const SHORTEST_ROUND: Duration = Duration::from_millis(300);
/// Events that wait to be written; beyond that the findings are still in the verdict.
const EVENT_QUEUE: usize = 4_096;
/// How long a round waits for what was sampled before.
const RECALL: Duration = Duration::from_secs(2);
/// A check whose newest sample is younger than this is known to be good or bad now.
const RECENT: SignedDuration = SignedDuration::from_mins(15);
/// How often a verdict is tried to be written before the ticket is left to the next start.
const WRITE_TRIES: u32 = 5;

/// Works on a case's newest round until it has its verdict.
pub async fn work(shared: Arc<Shared>, number: u64) {
    if let Err(error) = round(&shared, number).await {
        // It stays unfinished on disk: the next start, or the next tick, takes it up again.
        tracing::error!(ticket = %number_text(number), error = %error, "a round could not be written down");
    }
}

async fn round(shared: &Arc<Shared>, number: u64) -> Result<(), StoreError> {
    let (case, damage) = match shared.store.case(number).await {
        Ok(Some(case)) => (case, None),
        Ok(None) => return Err(StoreError::NoSuchTicket(number)),
        // What is left of it can't be looked into, but it can be handed to a human.
        Err(StoreError::Damaged(why)) => {
            let open = shared.store.unfinished().await?;
            let left = open.into_iter().find(|case| case.number == number);
            (left.ok_or_else(|| StoreError::Damaged(why.clone()))?, Some(why))
        }
        Err(error) => return Err(error),
    };
    if case.verdict.is_some() {
        return Ok(());
    }
    let now = (shared.clock)();
    let attempts = shared.store.begin(number, now).await?;
    first_reply(shared, &case, now).await?;
    let left = now.duration_until(case.deadline_at);
    let left = Duration::try_from(left.max(SignedDuration::ZERO)).unwrap_or_default();

    let unlooked = |why: &str| Round {
        verdict: without_looking(&case, why, shared.settings.costs.prior, now),
        templates: Vec::new(),
        passed_with: Vec::new(),
    };
    let (round, cause) = if let Some(why) = damage {
        (unlooked(&format!("what was stored of this ticket is damaged: {why}")), Cause::Damaged)
    } else if attempts > POISONED_AFTER {
        let why =
            format!("houston ended {POISONED_AFTER} times while it worked on this ticket, and does not try again");
        (unlooked(&why), Cause::Crashed { attempts: POISONED_AFTER })
    } else if left < SHORTEST_ROUND {
        (unlooked("the deadline passed before anything could be looked at"), Cause::Late)
    } else {
        match looked_at(shared, &case, now, left).await {
            Ok(round) => (round, Cause::Judged),
            Err((why, cause)) => (unlooked(why), cause),
        }
    };
    decide(shared, &case, round, cause).await
}

/// The customer hears that somebody looks, where the ticket's desk says so: once, however often the round begins.
async fn first_reply(shared: &Shared, case: &Case, now: Timestamp) -> Result<(), StoreError> {
    let Some(rule) = shared.policy.desks.get(&case.ticket.source).filter(|rule| rule.first_reply && case.round == 1)
    else {
        return Ok(());
    };
    let facts = reply::first(case.number);
    let (channel, id) = (&rule.channel, &case.ticket.id);
    let action = Action::at_occasion(case.number, 1, ActionKind::Reply, channel, id, "first reply", facts, now);
    shared.store.enqueue(vec![action], now).await?;
    shared.outbox.notify_one();
    Ok(())
}

/// A triage under the deadline of the round.
///
/// # Errors
/// It panicked, or overran all the same: the verdict is *doubtful*, and says why.
async fn looked_at(
    shared: &Arc<Shared>,
    case: &Case,
    now: Timestamp,
    left: Duration,
) -> Result<Round, (&'static str, Cause)> {
    let began = tokio::time::Instant::now();
    let checks = shared.checks.borrow().clone();
    let memory = remembered(shared, &checks, &case.ticket, now).await;
    let left = left.saturating_sub(began.elapsed());
    let mut settings = shared.settings;
    settings.deadline = left;
    let setting = Setting {
        checks,
        catalog: Arc::clone(&shared.catalog),
        settings,
        runner: triage::Runner {
            tools: Arc::clone(&shared.tools),
            memory: Arc::new(memory),
            looks: shared.looks.clone(),
        },
    };
    let (events, queue) = mpsc::channel(EVENT_QUEUE);
    let recorder = tokio::spawn(record(Arc::clone(shared), case.number, queue));
    let metrics = Arc::clone(&shared.metrics);
    let (ticket, round_number) = (case.ticket.clone(), case.round);
    let name = number_text(case.number);
    let triage = tokio::spawn(async move {
        let tell = |event: Event| {
            if let Event::Finding { finding } = &event {
                metrics.finding(finding.look, finding.outcome.name(), Duration::from_millis(finding.took_ms));
            }
            let wanted = match &event {
                Event::Look { answered, planned, .. } => answered == planned,
                // The final verdict is written with its round.
                Event::Verdict { verdict } => verdict.phase == Phase::Early,
                _ => true,
            };
            if wanted && events.try_send(event).is_err() {
                tracing::warn!("an event was not recorded: the store is slow");
            }
        };
        triage::run(&ticket, Some(name), round_number, &setting, now, tell).await
    });
    let stop = triage.abort_handle();
    let round = match tokio::time::timeout(left + Duration::from_secs(2), triage).await {
        Ok(Ok(round)) => Ok(round),
        Ok(Err(error)) => {
            tracing::error!(ticket = %number_text(case.number), error = %error, "a triage failed");
            Err(("houston failed while it looked", Cause::Crashed { attempts: 1 }))
        }
        Err(_) => {
            stop.abort();
            Err(("the deadline passed before there was a verdict", Cause::Late))
        }
    };
    // What was told before the verdict stands before it in the history.
    if tokio::time::timeout(Duration::from_secs(2), recorder).await.is_err() {
        tracing::warn!(ticket = %number_text(case.number), "the history is behind its verdict");
    }
    round
}

/// What a triage of this ticket may remember. What can't be recalled soon is left: the looks matter more.
async fn remembered(shared: &Shared, checks: &CheckSet, ticket: &Ticket, now: Timestamp) -> Memory {
    let wanted = triage::recall::wanted(ticket, checks, &shared.catalog, &shared.settings, now);
    let mut memory = match shared.store.memory(wanted.window.from).await {
        Ok(memory) => memory,
        Err(error) => {
            tracing::warn!(error = %error, "what was learned before can't be read");
            Memory::default()
        }
    };
    let Some(history) = shared.history.as_ref().filter(|_| !wanted.checks.is_empty()) else { return memory };
    let recalled = tokio::time::timeout(RECALL, async {
        let samples = history.samples(wanted.checks.clone(), wanted.window).await?;
        memory.samples = samples.into_iter().map(|(check, samples)| (check, samples.into())).collect();
        // What is bad at this moment, whatever the ticket's window: since when?
        let mut recent = history.samples(wanted.checks, Window::ending_at(now, RECENT)).await?;
        recent.retain(|_, samples| samples.last().is_some_and(|sample| sample.outcome == Outcome::Bad));
        memory.bad_since = history.bad_since(recent.into_keys().collect(), now).await?;
        let compared = checks.checks.iter().filter(|check| wanted.usual.contains(check.name.as_ref()));
        let troubles = sampler::troubles(&shared.store, wanted.window.to).await;
        let (at, since) = (wanted.window.to, wanted.window.from);
        memory.baselines = sampler::baselines(history, &troubles, compared.cloned().collect(), at, since).await?;
        Ok::<_, HistoryError>(())
    });
    match recalled.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error = %error, "what was sampled before can't be read"),
        Err(_) => tracing::warn!("what was sampled before could not be read in time"),
    }
    memory
}

/// Writes events down as they come, several at a time.
async fn record(shared: Arc<Shared>, number: u64, mut queue: mpsc::Receiver<Event>) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, 256).await > 0 {
        if let Err(error) = shared.store.append(number, (shared.clock)(), std::mem::take(&mut batch)).await {
            tracing::warn!(ticket = %number_text(number), error = %error, "events were not recorded");
        }
        shared.told(number);
    }
}

/// Ends the round: verdict and what follows from it in one transaction.
async fn decide(shared: &Arc<Shared>, case: &Case, round: Round, cause: Cause) -> Result<(), StoreError> {
    let mut verdict = round.verdict;
    let now = (shared.clock)();
    let follow = |verdict: &Verdict| {
        let occasion = Occasion { number: case.number, round: case.round, ticket: &case.ticket, verdict, cause };
        follow_up(&occasion, &shared.policy, now)
    };
    verdict.next = next_steps::next(&verdict, &shared.catalog, &follow(&verdict));
    // Once more, for the messages carry the next steps as well.
    let mut actions = follow(&verdict);
    let occasion = Occasion { number: case.number, round: case.round, ticket: &case.ticket, verdict: &verdict, cause };
    let (call_back, asking) = begin(&occasion, &shared.policy, now).unzip();
    actions.extend(asking.into_iter().flatten());
    let pages = ladders::pages(shared, &occasion, now);
    let following = Following { actions, call_back, pages };
    let learned = Learned { templates: round.templates, passed_with: round.passed_with };
    let mut tries = 0;
    loop {
        tries += 1;
        let written = shared
            .store
            .decide(case.number, case.round, now, verdict.clone(), following.clone(), learned.clone())
            .await;
        match written {
            Ok(()) => break,
            // Somebody else ended the round: it has its one verdict.
            Err(StoreError::AlreadyDecided { .. }) => return Ok(()),
            Err(error) if tries >= WRITE_TRIES => return Err(error),
            Err(error) => {
                tracing::warn!(ticket = %number_text(case.number), error = %error, "the verdict could not be written yet");
                tokio::time::sleep(Duration::from_millis(200 * u64::from(tries))).await;
            }
        }
    }
    let took = Duration::from_millis(verdict.took_ms);
    shared.metrics.verdict(verdict.decision, took);
    let escalations = following.actions.iter().filter(|action| action.kind == ActionKind::Escalate).count();
    shared.metrics.escalations.inc_by(escalations as u64);
    tracing::info!(
        ticket = %number_text(case.number),
        verdict = verdict.decision.name(),
        probability = verdict.probability,
        took_ms = verdict.took_ms,
        escalations,
        "verdict"
    );
    shared.told(case.number);
    shared.outbox.notify_one();
    shared.pages.notify_one();
    Ok(())
}
