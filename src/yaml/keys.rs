//! Walks the keys of a map one by one, so that one reader can report every error of a document.

use serde::de::DeserializeOwned;

use super::{Node, Shape};
use crate::model::source::{Diagnostic, nearest};

/// The keys of a map that are still to be read, and the names that were asked for.
#[derive(Debug)]
pub struct Keys<'a> {
    entries: Vec<(&'a Node, &'a Node)>,
    known: Vec<&'static str>,
}

impl<'a> Keys<'a> {
    /// The keys of this map; `what` names it for the error: "a check".
    ///
    /// # Errors
    /// It is no map.
    pub fn of(node: &'a Node, what: &str) -> Result<Self, Diagnostic> {
        match &node.shape {
            Shape::Map(entries) => {
                Ok(Keys { entries: entries.iter().map(|(key, value)| (key, value)).collect(), known: Vec::new() })
            }
            _ => Err(Diagnostic::error(node.span.clone(), format!("{what} is a map, found {}", node.describe()))
                .hint("write `key: value`, one a line")),
        }
    }

    /// The value under this key, if it is there; from now on the key is known.
    pub fn take(&mut self, name: &'static str) -> Option<&'a Node> {
        self.take_with_key(name).map(|(_, value)| value)
    }

    /// As [`Keys::take`], with the key's own node.
    pub fn take_with_key(&mut self, name: &'static str) -> Option<(&'a Node, &'a Node)> {
        self.known.push(name);
        let index = self.entries.iter().position(|(key, _)| key.text() == Some(name))?;
        Some(self.entries.remove(index))
    }

    /// Reads the value under this key; an error goes to `errors` and counts as absent.
    pub fn read<T: DeserializeOwned>(&mut self, name: &'static str, errors: &mut Vec<Diagnostic>) -> Option<T> {
        match self.take(name)?.read() {
            Ok(value) => Some(value),
            Err(error) => {
                errors.push(error);
                None
            }
        }
    }

    /// The keys that nobody took, in the order written.
    pub fn rest(&self) -> &[(&'a Node, &'a Node)] {
        &self.entries
    }

    /// An error for each key that nobody took.
    pub fn finish(self, errors: &mut Vec<Diagnostic>) {
        for (key, _) in &self.entries {
            errors.push(unknown_key(key, self.known.iter().copied()));
        }
    }
}

/// That nobody knows this key, with the nearest known one, or all of them.
pub fn unknown_key<'k>(key: &Node, known: impl IntoIterator<Item = &'k str> + Clone) -> Diagnostic {
    let name = key.text().unwrap_or_default();
    let short: String = name.chars().take(60).collect();
    Diagnostic::error(key.span.clone(), format!("unknown key `{short}`")).hint(suggest(name, known, "known keys"))
}

/// "did you mean `x`?", or the list of what is known.
pub(super) fn suggest<'k>(name: &str, known: impl IntoIterator<Item = &'k str> + Clone, label: &str) -> String {
    // A name from a file is compared in its first characters only: the distance costs the product of both lengths.
    let short: String = name.chars().take(64).collect();
    match nearest(&short, known.clone()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => {
            let all: Vec<&str> = known.into_iter().collect();
            if all.is_empty() { format!("no {label} here") } else { format!("{label}: {}", all.join(", ")) }
        }
    }
}
