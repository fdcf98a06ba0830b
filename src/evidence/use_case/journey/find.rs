//! What is looked for in an answer: by a JSONPath, in a header, by a regular expression.
//!
//! JSONPath is that of RFC 9535. A regular expression takes its first group, or all that it matches where it has none,
//! of each text that it is held against, the first time that it matches there.

use http::HeaderName;
use regex::{Regex, RegexBuilder};
use serde_json_path::JsonPath;

use super::keys::FinderKeys;
use crate::model::source::{Diagnostic, Span};
use crate::model::value::Value;
use crate::net::http::Response;
use crate::yaml::{Spanned, inside};

/// The most bytes that are kept of what a JSONPath finds.
const FOUND_LIMIT: usize = 4 * 1024 * 1024;
/// The most memory of a compiled regular expression, in bytes.
const REGEX_LIMIT: usize = 1024 * 1024;
/// Each `..` may visit a whole document for each thing that the one before it found.
const DESCENTS_LIMIT: usize = 2;

/// Where to look, and what for.
#[derive(Debug)]
pub struct Finder {
    place: Place,
    regex: Option<Regex>,
}

#[derive(Debug)]
enum Place {
    JsonPath { path: JsonPath, text: String },
    Header(HeaderName),
    Body,
}

/// Why it could not be looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hidden {
    /// The body was not read to its end.
    Unread,
    /// The body isn't JSON, which is the service's doing.
    NotJson,
    /// More than is kept.
    TooMuch,
}

impl Finder {
    /// Reads where to look; `None` where nothing says so.
    ///
    /// # Errors
    /// A path, a header or an expression that can't be one, at its own place.
    pub fn read(keys: FinderKeys) -> Result<Option<Finder>, Diagnostic> {
        let place = match (keys.jsonpath, keys.header) {
            (Some(_), Some(header)) => {
                return Err(Diagnostic::error(header.at, "`header` beside `jsonpath`: one place is looked at"));
            }
            (Some(path), None) => json_path(path)?,
            (None, Some(header)) => match HeaderName::from_bytes(header.value.as_bytes()) {
                Ok(name) => Place::Header(name),
                Err(_) => return Err(Diagnostic::error(header.at, "this can't be the name of a header")),
            },
            (None, None) if keys.regex.is_some() => Place::Body,
            (None, None) => return Ok(None),
        };
        let regex = keys.regex.map(|written| regex(&written)).transpose()?;
        Ok(Some(Finder { place, regex }))
    }

    /// As people read it: `jsonpath $.id`, `header etag`, `regex (\d+)`.
    pub fn text(&self) -> String {
        let regex = self.regex.as_ref().map(|regex| format!("regex {}", regex.as_str()));
        match (&self.place, regex) {
            (Place::JsonPath { text, .. }, None) => format!("jsonpath {text}"),
            (Place::JsonPath { text, .. }, Some(regex)) => format!("jsonpath {text}, {regex}"),
            (Place::Header(name), None) => format!("header {name}"),
            (Place::Header(name), Some(regex)) => format!("header {name}, {regex}"),
            (Place::Body, regex) => regex.unwrap_or_default(),
        }
    }

    /// Everything that is found, in the order of the answer.
    ///
    /// # Errors
    /// Why that isn't known.
    pub fn find(&self, response: &Response) -> Result<Vec<Value>, Hidden> {
        if response.truncated && !matches!(self.place, Place::Header(_)) {
            return Err(Hidden::Unread);
        }
        let found = match &self.place {
            Place::JsonPath { path, .. } => {
                let json: serde_json::Value = serde_json::from_slice(&response.body).map_err(|_| Hidden::NotJson)?;
                let nodes = path.query(&json).all();
                // Counted before anything is copied: each may hold the others.
                let mut left = FOUND_LIMIT;
                for node in &nodes {
                    left = left.checked_sub(weight(node)).ok_or(Hidden::TooMuch)?;
                }
                nodes.into_iter().map(|node| Value::from(node.clone())).collect()
            }
            Place::Header(name) => {
                let values = response.headers.get_all(name).iter();
                values.map(|value| Value::Text(String::from_utf8_lossy(value.as_bytes()).into_owned())).collect()
            }
            Place::Body => vec![Value::Text(String::from_utf8_lossy(&response.body).into_owned())],
        };
        let Some(regex) = &self.regex else { return Ok(found) };
        let part = |value: &Value| {
            let text = match value {
                Value::Text(text) => text.clone(),
                other => other.show(usize::MAX),
            };
            let captured = regex.captures(&text)?;
            let part = captured.get(1).or_else(|| if regex.captures_len() > 1 { None } else { captured.get(0) })?;
            Some(Value::Text(part.as_str().to_owned()))
        };
        Ok(found.iter().filter_map(part).collect())
    }
}

/// What is found as one value: itself where it is one, a list of several, null where there is none.
pub fn as_one(mut found: Vec<Value>) -> Value {
    match found.len() {
        0 => Value::Null,
        1 => found.remove(0),
        _ => Value::List(found),
    }
}

fn json_path(written: Spanned<String>) -> Result<Place, Diagnostic> {
    let text = written.value;
    // The library counts bytes, or characters where all are one byte long; elsewhere the whole is shown.
    let path = JsonPath::parse(&text).map_err(|error| {
        let at = if text.is_ascii() { inside(&written.at, &text, error.position(), 1) } else { written.at.clone() };
        Diagnostic::error(at, format!("not a JSONPath: {}", error.message())).hint("such as $.items[0].id (RFC 9535)")
    })?;
    if text.matches("..").count() > DESCENTS_LIMIT {
        let message = format!("a JSONPath descends (`..`) at most {DESCENTS_LIMIT} times");
        return Err(Diagnostic::error(written.at, message));
    }
    Ok(Place::JsonPath { path, text })
}

fn regex(written: &Spanned<String>) -> Result<Regex, Diagnostic> {
    let wrong = |at: Span, message: String| Diagnostic::error(at, message);
    RegexBuilder::new(&written.value).size_limit(REGEX_LIMIT).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => wrong(written.at.clone(), "this regular expression is too large".to_owned()),
        other => {
            let last = other.to_string();
            let why = last.lines().last().unwrap_or_default().trim_start_matches("error: ");
            wrong(written.at.clone(), format!("not a regular expression: {why}"))
        }
    })
}

/// About how many bytes a copy takes.
fn weight(value: &serde_json::Value) -> usize {
    let own = std::mem::size_of::<serde_json::Value>();
    own + match value {
        serde_json::Value::String(text) => text.len(),
        serde_json::Value::Array(items) => items.iter().map(weight).sum(),
        serde_json::Value::Object(entries) => entries.iter().map(|(key, value)| key.len() + weight(value)).sum(),
        _ => 0,
    }
}
