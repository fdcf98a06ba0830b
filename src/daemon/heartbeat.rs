//! The heartbeat: a watcher outside is told that all is well, as long as it is. Its silence is the alarm.
//!
//! It beats only while every accepted ticket past its deadline has its verdict, the store can be written and read, the
//! loop turns, and nothing stands that nobody could be told. Any doubt about that is silence.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::Shared;
use super::status::Trouble;
use crate::net::budget::Budget;
use crate::net::http::{Client, Request};

/// How long one beat may take.
const BEAT: Duration = Duration::from_secs(10);

/// Who is told, and how often.
#[derive(Debug, Clone)]
pub struct Watcher {
    pub url: Url,
    pub every: Duration,
    pub http: Client,
}

/// Why it doesn't beat, if it doesn't.
pub fn withheld(makes_progress: bool, troubles: &[Trouble]) -> Option<String> {
    if !makes_progress {
        return Some("the daemon makes no progress".to_owned());
    }
    let wrong = troubles.iter().find(|trouble| trouble.blocks || trouble.in_public == "overdue");
    wrong.map(|trouble| trouble.in_full.clone())
}

/// Beats until the daemon ends.
pub async fn run(shared: Arc<Shared>, watcher: Watcher, ending: CancellationToken) {
    let mut ticks = tokio::time::interval(watcher.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said: Option<String> = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = ending.cancelled() => return,
        }
        let wrong = match withheld(shared.makes_progress(), &shared.troubles().await) {
            Some(why) => Some(format!("the heartbeat is withheld: {why}")),
            None => {
                tokio::select! {
                    beat = beat(&watcher) => beat.err().map(|why| format!("the watcher can't be told: {why}")),
                    () = ending.cancelled() => return,
                }
            }
        };
        // Each state is said once, not each second.
        match (&wrong, &said) {
            (Some(wrong), said) if said.as_ref() != Some(wrong) => tracing::error!("{wrong}"),
            (None, Some(_)) => tracing::info!("the heartbeat beats again"),
            _ => {}
        }
        said = wrong;
    }
}

/// Tells the watcher once. Its URL is a secret of a kind, and is in no error.
async fn beat(watcher: &Watcher) -> Result<(), String> {
    let request = Request { budget: Budget::System, ..Request::get(watcher.url.clone(), Instant::now() + BEAT) };
    match watcher.http.send(request).await {
        Ok(response) if (200..300).contains(&response.status) => Ok(()),
        Ok(response) => Err(format!("it answered {}", response.status)),
        Err(failure) => Err(failure.what),
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::model::action::{Action, ActionKind};
    use crate::model::ticket::Report;
    use crate::store::{Delivery, Store, Undeliverable};

    #[test]
    fn it_beats_only_while_all_is_well() {
        let trouble = |in_public, blocks| Trouble { in_public, in_full: "x".to_owned(), blocks };
        assert_eq!(withheld(true, &[]), None);
        assert_eq!(withheld(true, &[trouble("stale checks", false), trouble("no checks", false)]), None);
        assert!(withheld(false, &[]).is_some());
        for wrong in [trouble("store", true), trouble("undeliverable", true), trouble("overdue", false)] {
            assert!(withheld(true, &[trouble("no checks", false), wrong]).is_some());
        }
    }

    fn start() -> Timestamp {
        "2026-11-22T10:00:00Z".parse().unwrap()
    }

    fn later(minutes: i64) -> Timestamp {
        start().checked_add(SignedDuration::from_mins(minutes)).unwrap()
    }

    async fn undeliverable(store: &Store, minutes: i64) -> Vec<Undeliverable> {
        let (hour, patience) = (SignedDuration::from_hours(1), SignedDuration::from_mins(5));
        store.undeliverable(later(minutes), "log", hour, patience).await.unwrap()
    }

    #[tokio::test]
    async fn what_reached_nobody_stands_and_what_reached_somebody_does_not() {
        use ActionKind::{Announce, Escalate, Note, Page, Reply};
        let action =
            |number, kind, channel: &str| Action::new(number, 1, kind, channel, "ops", serde_json::json!({}), start());
        // What failed, whether for good, what else arrived; whether it stands at once, and after ten minutes.
        for (kind, for_good, arrived, at_once, after) in [
            (Escalate, true, &[][..], true, true),
            (Escalate, false, &[], false, true),
            (Page, true, &[(Escalate, "second")], false, false),
            (Page, true, &[(Escalate, "log")], true, true),
            (Page, true, &[(Announce, "second"), (Note, "desk")], true, true),
            (Announce, true, &[(Note, "desk")], false, false),
            (Announce, true, &[], true, true),
            (Note, true, &[], false, false),
            (Note, false, &[], false, true),
            (Reply, false, &[(Page, "second")], false, false),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let store = Store::open(directory.path()).unwrap();
            let ticket = Report { title: Some("slow".into()), ..Report::default() }.accept(start(), "1").unwrap();
            let accepted = store.accept(ticket, Delivery::default(), start(), later(1)).await.unwrap();
            let failing = action(accepted.number, kind, "first");
            let others: Vec<Action> =
                arrived.iter().map(|(kind, channel)| action(accepted.number, *kind, channel)).collect();
            store.enqueue([vec![failing.clone()], others.clone()].concat(), start()).await.unwrap();
            assert_eq!(undeliverable(&store, 10).await, [], "not tried yet");
            store.failed(&failing.key, "no", (!for_good).then(|| later(11))).await.unwrap();
            for other in &others {
                store.delivered(&other.key, start(), None).await.unwrap();
            }
            let case = format!("{kind:?} {for_good} {arrived:?}");
            assert_eq!(!undeliverable(&store, 1).await.is_empty(), at_once, "{case}");
            let stands = undeliverable(&store, 10).await;
            let expected = Undeliverable { ticket: accepted.number, channel: "first".into(), why: "no".into() };
            assert_eq!(stands, if after { vec![expected] } else { vec![] }, "{case}");
            assert_eq!(undeliverable(&store, 61).await.is_empty(), for_good || !after, "{case}: for an hour");
            store.delivered(&failing.key, later(62), None).await.unwrap();
            assert_eq!(undeliverable(&store, 62).await, [], "{case}: it arrived after all");
        }
    }
}
