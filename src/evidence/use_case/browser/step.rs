//! One step of a browser's use case, as it was read: what is done, what must be seen then.

use std::time::Duration;

use super::super::expectation::Expect;
use crate::evidence::slots::{TextTemplate, UrlTemplate};
use crate::model::secret::SecretRef;
use crate::model::source::Span;
use crate::net::webdriver::Locator;

#[derive(Debug)]
pub struct Step {
    pub name: Option<String>,
    /// The name, or what is done as it is written.
    pub label: String,
    pub act: Act,
    pub expect: Vec<Expect>,
    /// Taken whatever happened before; its own failure is noted and not bad.
    pub always: bool,
    pub timeout: Option<Duration>,
    /// What is done, as it is written.
    pub that: String,
    /// Where that stands.
    pub at: Span,
}

#[derive(Debug)]
pub enum Act {
    Go(UrlTemplate),
    Fill(Place, Text),
    Click(Place),
    Select(Place, TextTemplate),
    /// The key's code point, and the element that gets it; whatever has the focus where there is none.
    Press(char, Option<Place>),
    See(Place),
    Gone(Place),
    /// Answers the dialog that is open: true for its "OK".
    Dialog(bool),
    /// Nothing but its expectations.
    Wait,
}

/// An element of the page: as it is written, and as it is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub written: String,
    pub locator: Locator,
}

#[derive(Debug)]
pub enum Text {
    Plain(TextTemplate),
    Secret(SecretRef),
}

impl Step {
    /// The names in the step's slots, in the order of their first use.
    pub fn slots(&self) -> Vec<String> {
        match &self.act {
            Act::Go(url) => url.params(),
            Act::Fill(_, Text::Plain(text)) | Act::Select(_, text) => text.params(),
            _ => Vec::new(),
        }
    }

    pub fn secret(&self) -> Option<&SecretRef> {
        match &self.act {
            Act::Fill(_, Text::Secret(secret)) => Some(secret),
            _ => None,
        }
    }
}
