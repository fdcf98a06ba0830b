//! A message on its way: what is sent, and how one attempt went.

use std::time::Duration;

use jiff::Timestamp;

use super::action::Action;
use super::letter::Links;

/// An action as it is handed to what sends it.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub action: &'a Action,
    /// What the receiver called the message that this ticket's last action left with the same recipient, where it calls
    /// them anything: to edit it, or to answer in its thread.
    pub previous: Option<&'a str>,
    /// Attempts that were made before. After one of them nobody may know whether it arrived.
    pub tries: u32,
    pub now: Timestamp,
    /// How links to this Houston are made; without, messages carry none.
    pub links: Option<&'a Links>,
}

/// How one attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Delivered {
        /// What the receiver calls it: the id of a comment, the time stamp of a chat message, a Message-ID.
        receipt: Option<String>,
    },
    /// Nobody can know whether it arrived, or it has not: it is sent again with the same key, not before `after`
    /// where the receiver says so.
    Retry { after: Option<Duration>, why: String },
    /// It would be refused again.
    Rejected { why: String },
}

impl Outcome {
    /// Delivered to somebody who has no name for it.
    pub const DELIVERED: Outcome = Outcome::Delivered { receipt: None };

    pub fn delivered_as(receipt: impl Into<String>) -> Self {
        Outcome::Delivered { receipt: Some(receipt.into()) }
    }

    pub fn retry(why: impl Into<String>) -> Self {
        Outcome::Retry { after: None, why: why.into() }
    }

    pub fn rejected(why: impl Into<String>) -> Self {
        Outcome::Rejected { why: why.into() }
    }
}
