//! What channels to services over HTTP have in common: the base URL that each can be pointed elsewhere by, texts of at
//! most a length, and an action without the secrets that are known.

use serde_json::Value;
use url::Url;

use crate::model::action::{Action, ActionKind};
use crate::model::source::Diagnostic;
use crate::net::outgoing::{Wires, struck};
use crate::yaml::Spanned;

/// The declared base URL, or the service's public one.
///
/// # Errors
/// It is none that can be posted to.
pub fn base(declared: Option<&Spanned<String>>, public: &str) -> Result<String, Diagnostic> {
    let Some(written) = declared else { return Ok(public.to_owned()) };
    let wrong = |what: String| Diagnostic::error(written.at.clone(), what);
    let url = Url::parse(&written.value).map_err(|error| wrong(format!("not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong("it begins with http:// or https://".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("a user or password doesn't belong into a URL".to_owned()).hint("there is a key for it"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("a base URL ends with its path".to_owned()));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// A URL below a base that [`base`] gave; what stands in `path` from outside is escaped already.
///
/// # Errors
/// Says so where it is no URL.
pub fn below(base: &str, path: &str) -> Result<Url, crate::model::delivery::Outcome> {
    Url::parse(&format!("{base}{path}"))
        .map_err(|error| crate::model::delivery::Outcome::rejected(format!("its URL is none: {error}")))
}

/// At most so many characters, the last of them an ellipsis where it was longer.
pub fn cut(text: &str, at_most: usize) -> String {
    if text.chars().count() <= at_most {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(at_most.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// The same action, its facts without any secret that is known by now.
pub fn without_secrets(action: &Action, wires: &Wires) -> Action {
    Action { facts: struck(action.facts.clone(), &wires.redactor), ..action.clone() }
}

/// What an action means for the page that a ticket's earlier actions opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is to ring.
    Open,
    /// Somebody has taken it on.
    Acknowledge,
    /// There is nothing to ring for any more.
    Close,
}

impl Turn {
    /// As `event` in the facts says it (`acknowledge`, `resolve`); otherwise news of *no issue* close what may be open,
    /// and everything else rings. Somebody who is asked for is always rung for.
    pub fn of(action: &Action) -> Turn {
        let asked = matches!(action.kind, ActionKind::Escalate | ActionKind::Page | ActionKind::CallBack);
        match action.facts["event"].as_str() {
            Some("acknowledge") => Turn::Acknowledge,
            Some("resolve") => Turn::Close,
            _ if !asked && action.facts["verdict"] == "no_issue" => Turn::Close,
            _ => Turn::Open,
        }
    }
}

/// The services that the ticket concerns.
pub fn services(facts: &Value) -> Vec<&str> {
    facts["ticket"]["services"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
pub(crate) mod testing;
