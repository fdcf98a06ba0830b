//! Whether what a step expects is so, and where it can't be said, whose doing that is.

use super::answer::{CONTENT, step_measures};
use super::find::{Finder, Hidden, as_one};
use super::read::{FOUND, FOUND_COUNT};
use super::step::Expect;
use crate::expect::{Expression, Held, Usual};
use crate::model::value::{Measures, Value};
use crate::net::http::Response;

/// Why something does not hold, or has no value.
pub enum Absent {
    /// Everything was there: this is what was found instead.
    No(String),
    /// The service answered something else than JSON: that is the service's doing.
    Json,
    /// We didn't read it, or it isn't to be had of such an exchange.
    Ours(String),
}

pub fn absent(names: &[String], why: String, measures: &Measures, response: &Response) -> Absent {
    let missing = |name: &str| step_measures().iter().any(|m| m.name == name) && measures.get(name).is_none();
    let missing: Vec<&str> = names.iter().map(String::as_str).filter(|name| missing(name)).collect();
    let of_body = |name: &str| CONTENT.contains(&name) || name == "body_bytes";
    match missing.first() {
        None => Absent::No(why),
        Some(name) if response.truncated && of_body(name) => unread(response),
        Some(_) if missing.iter().all(|name| *name == "json") => Absent::Json,
        Some(name) => Absent::Ours(format!("there is no {name} of this exchange")),
    }
}

fn unread(response: &Response) -> Absent {
    Absent::Ours(match &response.unread_coding {
        Some(coding) => format!("the body is packed as {coding}, which is not understood here"),
        None => "the body is longer than is read".to_owned(),
    })
}

/// What is looked for in an answer.
pub fn found(finder: &Finder, response: &Response) -> Result<Vec<Value>, Absent> {
    finder.find(response).map_err(|hidden| match hidden {
        Hidden::Unread => unread(response),
        Hidden::NotJson => Absent::Json,
        Hidden::TooMuch => Absent::Ours(format!("{} finds more than is kept", finder.text())),
    })
}

/// Holds one expectation.
pub fn hold(expect: &Expect, all: &Measures, measures: &Measures, response: &Response) -> Result<(), Absent> {
    let Some(finder) = &expect.of else { return condition(&expect.that, all, measures, response) };
    let found = found(finder, response)?;
    let mut all = all.clone();
    all.set(FOUND_COUNT, found.len()).set(FOUND, as_one(found));
    condition(&expect.that, &all, measures, response)
}

/// Holds one expression that is true or false.
pub fn condition(that: &Expression, all: &Measures, measures: &Measures, response: &Response) -> Result<(), Absent> {
    match that.hold(all, &|_, _| Usual::Unknown { why: "not in a journey".to_owned() }) {
        Held::True => Ok(()),
        Held::False { actual } => Err(Absent::No(actual)),
        Held::Unknown { why } => Err(absent(that.names(), why, measures, response)),
    }
}
