//! Drains the outbox: what is due is attempted, and what became of it is written down.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Shared, TICK};
use crate::response::deliver::{Attempted, Before, Deliverer};
use crate::store::{Due, Store, StoreError};

/// The most actions of one pass.
const AT_A_TIME: usize = 100;
/// The most attempts at once over one channel; channels don't wait for each other.
const PER_CHANNEL: usize = 4;

/// What one pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    pub delivered: usize,
    /// To be attempted again.
    pub failed: usize,
    pub given_up: usize,
    /// What became of these could not be written down: they are attempted again, with the same keys.
    pub unnoted: usize,
    /// True where more may be due already.
    pub more: bool,
    /// When the next action is due.
    pub next_due: Option<Timestamp>,
}

/// Attempts what is due at `now`, up to a hundred actions, and notes the results. Takes as long as the slowest channel,
/// seldom more than the ten seconds of one attempt. May be dropped at any time: what wasn't noted is attempted again.
///
/// Two passes must not run at the same time, for they would attempt the same actions.
///
/// # Errors
/// The store can't be read; nothing was attempted.
pub async fn drain(store: &Store, deliverer: &Deliverer, now: Timestamp) -> Result<Drained, StoreError> {
    let start = Instant::now();
    let due = store.due(now, AT_A_TIME).await?;
    let mut drained = Drained { more: due.len() == AT_A_TIME, ..Drained::default() };
    let mut channels: BTreeMap<String, Vec<Due>> = BTreeMap::new();
    for due in due {
        channels.entry(due.action.channel.clone()).or_default().push(due);
    }
    let passes = channels.into_values().map(|queue| {
        stream::iter(queue)
            .map(|due| async move {
                let later = || SignedDuration::try_from(start.elapsed()).ok().and_then(|by| now.checked_add(by).ok());
                let before = Before { tries: due.tries, previous: due.previous.as_deref() };
                let attempted = deliverer.attempt(&due.action, before, later().unwrap_or(now)).await;
                note(store, &due, attempted, later().unwrap_or(now)).await
            })
            .buffer_unordered(PER_CHANNEL)
            .collect::<Vec<_>>()
    });
    for noted in futures_util::future::join_all(passes).await.into_iter().flatten() {
        match noted {
            Noted::Delivered => drained.delivered += 1,
            Noted::Failed => drained.failed += 1,
            Noted::GivenUp => drained.given_up += 1,
            Noted::Not => drained.unnoted += 1,
        }
    }
    drained.next_due = store.next_due().await?;
    Ok(drained)
}

enum Noted {
    Delivered,
    Failed,
    GivenUp,
    Not,
}

async fn note(store: &Store, due: &Due, attempted: Attempted, now: Timestamp) -> Noted {
    let key = &due.action.key;
    let (written, noted) = match attempted {
        Attempted::Delivered { receipt } => (store.delivered(key, now, receipt).await, Noted::Delivered),
        Attempted::Failed { why, at, then } => {
            let noted = if at.is_some() { Noted::Failed } else { Noted::GivenUp };
            (store.failed_then(key, &why, at, then).await, noted)
        }
    };
    match written {
        Ok(()) => noted,
        Err(error) => {
            tracing::error!(%key, why = ?error.to_string(), "the result of a delivery can't be written down");
            Noted::Not
        }
    }
}

/// Drains the outbox whenever there is something new, and every second for what is due again.
pub async fn run(shared: Arc<Shared>, deliverer: Deliverer, ending: CancellationToken) {
    loop {
        match drain(&shared.store, &deliverer, (shared.clock)()).await {
            Ok(drained) => {
                let results =
                    [("delivered", drained.delivered), ("retry", drained.failed), ("rejected", drained.given_up)];
                for (result, count) in results {
                    shared.metrics.deliveries(result, count);
                }
                if drained.more {
                    continue;
                }
            }
            Err(error) => tracing::warn!(error = %error, "the outbox can't be read"),
        }
        tokio::select! {
            () = shared.outbox.notified() => {}
            () = tokio::time::sleep(TICK) => {}
            () = ending.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::model::action::{Action, ActionKind};
    use crate::model::secret::{Environment, Redactor};
    use crate::model::ticket::Report;
    use crate::net::credentials::Credentials;
    use crate::net::outgoing::Wires;
    use crate::response::channels::Channels;
    use crate::response::deliver::Backoff;
    use crate::response::escalation;
    use crate::store::{Delivery, Learned};
    use crate::yaml;

    fn start() -> Timestamp {
        "2026-11-22T10:00:00Z".parse().unwrap()
    }

    fn later(seconds: i64) -> Timestamp {
        start().checked_add(SignedDuration::from_secs(seconds)).unwrap()
    }

    /// A receiver that refuses service so many times, and then takes everything; and a channel to it.
    async fn deliverer(unavailable: usize) -> Deliverer {
        let asked = Arc::new(AtomicUsize::new(0));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = move || {
            let n = asked.fetch_add(1, Ordering::Relaxed);
            async move {
                if n < unavailable { axum::http::StatusCode::SERVICE_UNAVAILABLE } else { axum::http::StatusCode::OK }
            }
        };
        let router = axum::Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let text = format!("hook: {{ webhook: {{ url: \"http://{address}/\", secret: {{ env: SECRET }} }} }}");
        let document = yaml::parse("houston.yaml", &text).unwrap();
        let yaml::Shape::Map(entries) = &document.shape else { panic!("a map") };
        let mut channels = Channels::default();
        channels.declare(&entries[0].0, &entries[0].1).unwrap();
        let environment = Environment::new([("SECRET".to_owned(), "0123456789abcdef".to_owned())]);
        let redactor = Redactor::default();
        let credentials = Credentials::new(environment, redactor.clone());
        let wires = Wires { http: crate::net::http::Client::default(), credentials, redactor };
        Deliverer::new(channels, wires, Backoff { first: std::time::Duration::ZERO, ..Backoff::default() })
    }

    async fn decided(directory: &std::path::Path, channels: &[&str]) -> Store {
        let store = Store::open(directory).unwrap();
        let ticket = Report { title: Some("slow".into()), ..Report::default() }.accept(start(), "1").unwrap();
        let number = store.accept(ticket, Delivery::default(), start(), later(60)).await.unwrap().number;
        let case = store.case(number).await.unwrap().unwrap();
        let verdict = escalation::without_looking(&case, "a test", 0.35, start());
        let action = |channel: &&str| {
            Action::new(number, 1, ActionKind::Escalate, channel, "ops", serde_json::json!({}), start())
        };
        let actions: Vec<Action> = channels.iter().map(action).collect();
        store.decide(number, 1, start(), verdict, actions, Learned::default()).await.unwrap();
        store
    }

    #[tokio::test]
    async fn what_fails_is_repeated_until_it_arrives_and_everything_is_written_down() {
        let directory = tempfile::tempdir().unwrap();
        let store = decided(directory.path(), &["hook", "log"]).await;
        let deliverer = deliverer(2).await;
        let first = drain(&store, &deliverer, start()).await.unwrap();
        assert_eq!((first.delivered, first.failed), (1, 1), "the log doesn't wait for the webhook");
        drop(store);
        let store = Store::open(directory.path()).unwrap();
        let second = drain(&store, &deliverer, later(60)).await.unwrap();
        assert_eq!((second.delivered, second.failed), (0, 1));
        let third = drain(&store, &deliverer, later(120)).await.unwrap();
        assert_eq!((third.delivered, third.next_due), (1, None));
        assert_eq!(store.queue_length().await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_cannot_be_delivered_reaches_the_log_once() {
        let directory = tempfile::tempdir().unwrap();
        let store = decided(directory.path(), &["hook", "nowhere"]).await;
        let deliverer = deliverer(usize::MAX).await;
        let refused = drain(&store, &deliverer, start()).await.unwrap();
        assert_eq!((refused.failed, refused.given_up), (1, 1));
        assert_eq!(drain(&store, &deliverer, later(60)).await.unwrap().delivered, 1, "the refused one, by the log");
        for (seconds, by_the_log) in [(180, 0), (240, 1), (300, 0), (360, 0)] {
            let drained = drain(&store, &deliverer, later(seconds)).await.unwrap();
            assert_eq!((drained.delivered, drained.failed), (by_the_log, 1), "after {seconds} s");
        }
        assert_eq!(store.queue_length().await.unwrap(), 1, "and the webhook is tried on");
    }
}
