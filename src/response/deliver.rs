//! Delivers one action at a time, and says what is to be noted of it: done, again at that time, or given up.
//!
//! An attempt whose result nobody knows is made again with the same key. A channel that fails is left alone for a
//! while, so that a receiver that hangs delays nobody else. What has not arrived after two minutes, or was refused,
//! goes to the log as well: an exhausted delivery is itself an escalation.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::channels::{Channels, LOG};
use crate::model::action::Action;
use crate::model::delivery::{Message, Outcome};
use crate::model::letter::Links;
use crate::net::outgoing::{TIMEOUT, Wires};

/// When a failed attempt is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure; it doubles with each.
    pub first: Duration,
    pub longest: Duration,
    /// Counted from the action's creation; then it is given up.
    pub give_up_after: Duration,
    /// How long a delivery may fail before the log is told as well.
    pub tell_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(5 * 60),
            give_up_after: Duration::from_secs(72 * 3_600),
            tell_after: Duration::from_secs(2 * 60),
        }
    }
}

/// However long a receiver asks us to wait, it is no longer than this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3_600);

impl Backoff {
    /// The pause after attempt `tries` (from 0) of this action failed. It is between three quarters and five quarters
    /// of its nominal length, by the action's key, so that what failed together isn't repeated together.
    pub fn pause(&self, key: &str, tries: u32) -> Duration {
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(tries.min(31)));
        let nominal = doubled.min(self.longest);
        let spread = crc32fast::hash(format!("{key}{tries}").as_bytes()) % 1_024;
        nominal.mul_f64(0.75 + f64::from(spread) / 2_048.0)
    }
}

/// What is to be noted of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Attempted {
    Delivered {
        /// What the receiver calls it.
        receipt: Option<String>,
    },
    /// It is due again at `at`, or, without, given up; `then` follows, written down with it.
    Failed { why: String, at: Option<Timestamp>, then: Vec<Action> },
}

/// A channel that fails.
#[derive(Debug, Clone, Copy)]
struct Ailing {
    failures: u32,
    /// Not asked again before.
    until: Instant,
}

/// Knows the channels, and which of them fail at the moment.
#[derive(Debug)]
pub struct Deliverer {
    channels: Channels,
    wires: Arc<Wires>,
    backoff: Backoff,
    links: Option<Links>,
    ailing: Mutex<BTreeMap<String, Ailing>>,
}

/// What is known of an action's earlier attempts, and of what was sent before it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Before<'a> {
    pub tries: u32,
    /// See [`Message::previous`].
    pub previous: Option<&'a str>,
}

impl Deliverer {
    pub fn new(channels: Channels, wires: impl Into<Arc<Wires>>, backoff: Backoff) -> Self {
        Deliverer { channels, wires: wires.into(), backoff, links: None, ailing: Mutex::default() }
    }

    /// With links to this Houston in what is sent.
    pub fn with_links(mut self, links: Option<Links>) -> Self {
        self.links = links;
        self
    }

    /// Attempts an action. Takes 10 seconds at most; may be dropped at any time
    /// (then nobody knows whether it arrived, and it is simply attempted again).
    pub async fn attempt(&self, action: &Action, before: Before<'_>, now: Timestamp) -> Attempted {
        let outcome = match self.rest_of_pause(&action.channel) {
            // Known to fail: not asked, so that the queue behind it isn't held up by timeouts.
            Some(left) => Outcome::Retry { after: Some(left), why: "the channel fails at the moment".to_owned() },
            None => {
                let outcome = self.send(action, before, now).await;
                self.note(&action.channel, &outcome);
                outcome
            }
        };
        match outcome {
            Outcome::Delivered { receipt } => Attempted::Delivered { receipt },
            Outcome::Rejected { why } => {
                tracing::error!(channel = ?action.channel, key = %action.key, why = ?why, "an action was refused");
                Attempted::Failed { at: None, then: self.tell(action, &why, now), why }
            }
            Outcome::Retry { after, why } => self.again(action, before.tries, after, why, now),
        }
    }

    /// Names of the channels whose last attempt failed.
    pub fn failing(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    async fn send(&self, action: &Action, before: Before<'_>, now: Timestamp) -> Outcome {
        let Some(channel) = self.channels.get(&action.channel) else {
            return Outcome::Rejected { why: "no such channel is configured".to_owned() };
        };
        let Before { tries, previous } = before;
        let message = Message { action, previous, tries, now, links: self.links.as_ref() };
        let sending = AssertUnwindSafe(async { channel.send(message, &self.wires).await }).catch_unwind();
        match tokio::time::timeout(TIMEOUT, sending).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_panic)) => Outcome::Retry { after: None, why: "the channel panicked".to_owned() },
            Err(_) => Outcome::Retry { after: None, why: format!("no answer in {} s", TIMEOUT.as_secs()) },
        }
    }

    fn again(&self, action: &Action, tries: u32, after: Option<Duration>, why: String, now: Timestamp) -> Attempted {
        let pause = self.backoff.pause(&action.key, tries).max(after.unwrap_or_default().min(LONGEST_RETRY_AFTER));
        let at = SignedDuration::try_from(pause).ok().and_then(|pause| now.checked_add(pause).ok());
        let age_at = |at: Timestamp| Duration::try_from(action.created_at.duration_until(at)).unwrap_or_default();
        match at {
            Some(at) if age_at(at) <= self.backoff.give_up_after => {
                let then =
                    if age_at(now) >= self.backoff.tell_after { self.tell(action, &why, now) } else { Vec::new() };
                Attempted::Failed { why, at: Some(at), then }
            }
            _ => {
                tracing::error!(channel = ?action.channel, key = %action.key, why = ?why, "an action was given up");
                Attempted::Failed { at: None, then: self.tell(action, &why, now), why }
            }
        }
    }

    /// The same over the log. Its key is the same each time, so that it is written once however often this is asked.
    fn tell(&self, action: &Action, why: &str, now: Timestamp) -> Vec<Action> {
        if action.channel == LOG {
            return Vec::new();
        }
        let mut facts = action.facts.clone();
        if let serde_json::Value::Object(fields) = &mut facts {
            let undelivered = serde_json::json!({ "key": action.key, "channel": action.channel, "why": why });
            fields.insert("undelivered".to_owned(), undelivered);
        }
        let recipient = format!("{} (by {})", action.recipient, action.channel);
        vec![Action::new(action.ticket, action.round, action.kind, LOG, &recipient, facts, now)]
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Ailing>> {
        self.ailing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a channel that fails is still left alone. When that is over, one attempt at a time is let through.
    fn rest_of_pause(&self, channel: &str) -> Option<Duration> {
        let mut ailing = self.lock();
        let ailing = ailing.get_mut(channel)?;
        let now = Instant::now();
        let left = ailing.until.saturating_duration_since(now);
        if left.is_zero() {
            if !self.backoff.first.is_zero() {
                ailing.until = now + TIMEOUT;
            }
            return None;
        }
        Some(left)
    }

    /// A refusal is an answer: the channel works.
    fn note(&self, channel: &str, outcome: &Outcome) {
        let mut ailing = self.lock();
        if let Outcome::Retry { after, .. } = outcome {
            let failures = ailing.get(channel).map_or(0, |ailing| ailing.failures);
            let longest = self.backoff.longest.min(Duration::from_secs(30));
            let pause = self.backoff.pause(channel, failures).min(longest);
            let pause = pause.max(after.unwrap_or_default().min(LONGEST_RETRY_AFTER));
            ailing.insert(channel.to_owned(), Ailing { failures: failures + 1, until: Instant::now() + pause });
        } else {
            ailing.remove(channel);
        }
    }
}

#[cfg(test)]
mod tests;
