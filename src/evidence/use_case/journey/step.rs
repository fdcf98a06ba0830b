//! One step of a journey, as it was read: what is sent, what must hold, what is kept.

use std::time::Duration;

use super::find::Finder;
use crate::evidence::message::Message;
use crate::expect::Expression;
use crate::model::source::Span;

#[derive(Debug)]
pub struct Step {
    pub name: Option<String>,
    /// The name, or method and path as written.
    pub label: String,
    pub message: Message,
    pub expect: Vec<Expect>,
    pub capture: Vec<Capture>,
    /// Taken whatever happened before; its own failure is noted and not bad.
    pub always: bool,
    pub again: Again,
    pub timeout: Option<Duration>,
    /// Where its URL is written.
    pub at: Span,
}

/// When a step is taken once more.
#[derive(Debug)]
pub enum Again {
    /// Until its expectations hold: `attempts` times at most, from 1, with `delay` between them.
    Retry { attempts: u32, delay: Duration },
    /// Until the answer is the one that is waited for; only then the expectations are held against it.
    Poll(Poll),
}

/// Waiting for something that takes its time.
#[derive(Debug)]
pub struct Poll {
    pub until: Expression,
    /// Between two requests.
    pub every: Duration,
    /// No request is begun after this time.
    pub within: Duration,
    pub at: Span,
}

/// What must hold of the step's answer.
#[derive(Debug)]
pub struct Expect {
    /// What is looked for in the answer; the expression then sees it as `found` and `found_count`.
    pub of: Option<Finder>,
    pub that: Expression,
    /// A broken one is odd: it is told, and the journey goes on.
    pub odd: bool,
    pub note: Option<String>,
    pub at: Span,
}

impl Expect {
    /// As people read it.
    pub fn text(&self) -> String {
        match &self.of {
            Some(finder) => format!("{}: {}", finder.text(), self.that.text()),
            None => self.that.text().to_owned(),
        }
    }
}

/// What is kept of the step's answer for the steps after it.
#[derive(Debug)]
pub struct Capture {
    pub name: String,
    pub value: Wanted,
    /// A later slot wants it, so it must be one word of text, a number, true or false.
    pub fills_slot: bool,
    pub at: Span,
}

/// How a value is got out of an answer.
#[derive(Debug)]
pub enum Wanted {
    Expression(Expression),
    Found(Finder),
}

impl Wanted {
    /// As it is written.
    pub fn text(&self) -> String {
        match self {
            Wanted::Expression(expression) => expression.text().to_owned(),
            Wanted::Found(finder) => finder.text(),
        }
    }
}
