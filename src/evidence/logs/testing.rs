//! For tests: a log with a known truth, and the questions that stores of it are asked.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::evidence::Ask;
use crate::model::observation::{Observation, Seen, UnknownKind};
use crate::model::params::Params;
use crate::model::window::{Moment, Window};

/// When the question is asked: 2026-11-22T10:00:00Z.
pub const NOW: i64 = 1_795_341_600;

pub fn second(at: i64) -> Timestamp {
    Timestamp::from_second(at).unwrap()
}

/// About the last quarter of an hour.
pub fn ask() -> Ask {
    Ask {
        now: second(NOW),
        window: Window::ending_at(second(NOW), SignedDuration::from_mins(15)),
        moment: Moment::Now,
        since: second(NOW - 900),
        params: Params::default(),
        customer: None,
        attempt: 1,
        usual: Vec::new(),
        deadline: tokio::time::Instant::now() + Duration::from_secs(20),
        memory: Arc::default(),
        check: "shop-log".into(),
        tools: Arc::default(),
    }
}

/// One line of the shop.
#[derive(Debug, Clone)]
pub struct Said {
    /// Seconds since 1970.
    pub at: i64,
    pub level: &'static str,
    pub customer: &'static str,
    pub message: String,
}

/// Two days of a calm log, a line every `step` seconds, one in fifty an error that is well known. From `fault` on, a
/// line in ten is one that was never seen.
pub fn shop(step: i64, fault: Option<i64>) -> Vec<Said> {
    let mut lines = Vec::new();
    let mut at = NOW - 50 * 3_600;
    while at <= NOW {
        let turn = at / step;
        let customer = ["acme", "globex", "initech"][(turn % 3) as usize];
        let (level, message) = match turn {
            turn if turn % 10 == 1 && fault.is_some_and(|from| at >= from) => {
                ("error", format!("payment gateway refused order {at}"))
            }
            turn if turn % 50 == 0 => ("error", format!("mail to user {at} bounced")),
            _ => ("info", format!("order {at} paid in {} ms", at % 90)),
        };
        lines.push(Said { at, level, customer, message });
        at += step;
    }
    lines
}

pub fn blind(observation: &Observation) -> (UnknownKind, &str) {
    match &observation.seen {
        Seen::Blind(unknown) => (unknown.kind, &unknown.why),
        other => panic!("{other:?}: {observation:?}"),
    }
}

pub fn number(observation: &Observation, name: &str) -> f64 {
    observation.measures.number(name).unwrap_or_else(|| panic!("no {name} in {observation:?}"))
}
