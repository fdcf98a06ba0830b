//! Climbs the ladders: pages that are due are advanced, each in one transaction with the messages that follow.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Shared, TICK};
use crate::model::action::{Action, ActionKind};
use crate::model::case::number_text;
use crate::model::page::Page;
use crate::model::people::ACKNOWLEDGE_FOR;
use crate::response::ladder;
use crate::response::next_steps;
use crate::response::playbook::{self, Occasion, Policy, Target};
use crate::store::StoreError;
use crate::store::pages::DuePage;

/// Advances what is due, whenever something new begins and every second, until `stop` is cancelled.
pub async fn climb(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        if let Err(error) = advance(&shared).await {
            tracing::error!(error = %error, "the ladders can't be climbed at the moment");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.pages.notified() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

async fn advance(shared: &Shared) -> Result<(), StoreError> {
    let now = (shared.clock)();
    for due in shared.store.due_pages(now).await? {
        let (next, actions) = match &due.page {
            Ok(page) => {
                let (next, actions) = ladder::advance(page, &shared.catalog, fallback(&shared.policy), now);
                (Some(next), actions)
            }
            Err(why) => (None, unreadable(shared, &due, why, now)),
        };
        let reached = actions.len();
        // Where it changed meanwhile, an acknowledgement came first: it is looked at again.
        if shared.store.advance_page(&due, next, actions, now).await? && reached > 0 {
            let ticket = number_text(due.ticket);
            tracing::info!(%ticket, team = ?due.team, messages = reached, "a ladder was climbed");
            shared.told(due.ticket);
            shared.outbox.notify_one();
        }
    }
    Ok(())
}

fn fallback(policy: &Policy) -> &[Target] {
    &policy.escalate
}

/// Nobody knows any more who was reached: a human has to look.
fn unreadable(shared: &Shared, due: &DuePage, why: &StoreError, now: Timestamp) -> Vec<Action> {
    let number = number_text(due.ticket);
    let summary = format!("who is being reached about {number} can't be read any more: see to it");
    let facts =
        json!({ "summary": summary, "why": "damaged", "damaged": why.to_string(), "ticket": { "number": number } });
    let log = Policy::default().escalate;
    let targets = fallback(&shared.policy).iter().chain(&log);
    let mut actions: Vec<Action> = Vec::new();
    for Target { channel, recipient } in targets {
        let (kind, facts) = (ActionKind::Escalate, facts.clone());
        let action = Action::at_occasion(due.ticket, 1, kind, channel, recipient, &due.key, facts, now);
        if !actions.iter().any(|other| other.key == action.key) {
            actions.push(action);
        }
    }
    actions
}

/// The pages that begin with a verdict.
pub fn pages(shared: &Shared, occasion: &Occasion<'_>, now: Timestamp) -> Vec<Page> {
    let owners = next_steps::owners(occasion.verdict, &shared.catalog);
    let calls = playbook::calls(occasion, &shared.policy, &shared.catalog, &owners);
    let page = |call: playbook::Call| {
        let ladder = shared.catalog.teams.get(&call.team).and_then(|team| team.ladder.as_ref());
        let hold = ladder.map_or(ACKNOWLEDGE_FOR, |ladder| ladder.acknowledge_for);
        let hold = SignedDuration::try_from(hold).unwrap_or(SignedDuration::from_mins(30));
        let mut facts = call.facts;
        let key = Page::key_of(occasion.number, occasion.round, &call.team);
        if let (Some(fields), true) = (facts.as_object_mut(), ladder.is_some()) {
            fields.insert("acknowledge".to_owned(), shared.acknowledge.path(&key, now).into());
        }
        let title = occasion.ticket.title.clone();
        Page::begin(occasion.number, occasion.round, &call.team, title, call.services, hold, facts, now)
    };
    calls.into_iter().map(page).collect()
}
