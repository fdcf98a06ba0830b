//! How humans and programs are reached: one file per kind of channel, and the registry that names them all.
//!
//! To add a kind: one file, its `mod` line, its line in [`CHANNELS`].

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::delivery::Message;
use crate::model::secret::SecretRef;
use crate::model::source::{Diagnostic, nearest};
use crate::net::outgoing::{Sending, Wires};
use crate::yaml;

pub mod alertmanager;
pub mod command;
pub mod email;
pub mod irc;
pub mod log;
pub mod matrix;
pub mod mattermost;
pub mod ntfy;
pub mod opsgenie;
pub mod pagerduty;
pub mod slack;
pub mod teams;
pub mod twilio;
pub mod webhook;

/// Every kind of channel, in the order in which they are listed to people.
pub static CHANNELS: &[&ChannelKind] = &[
    &webhook::WEBHOOK,
    &email::EMAIL,
    &slack::SLACK,
    &mattermost::MATTERMOST,
    &ntfy::NTFY,
    &matrix::MATRIX,
    &teams::TEAMS,
    &irc::IRC,
    &pagerduty::PAGERDUTY,
    &alertmanager::ALERTMANAGER,
    &opsgenie::OPSGENIE,
    &twilio::TWILIO,
    &command::COMMAND,
    &log::LOG,
];

/// The name under which the log is always there, for what can't be delivered otherwise.
pub const LOG: &str = "log";

/// The kind with this name.
pub fn kind(name: &str) -> Option<&'static ChannelKind> {
    CHANNELS.iter().copied().find(|kind| kind.name == name)
}

/// A way to reach somebody, set up from its entry in `houston.yaml`.
pub trait Channel: Send + Sync + std::fmt::Debug {
    /// Sends once. It is dropped at its deadline, so it must be safe to cancel at each `await`. After an attempt whose
    /// end nobody knows (`message.tries` > 0) it looks first whether the message is there already, where that can be
    /// asked.
    fn send<'a>(&'a self, message: Message<'a>, wires: &'a Wires) -> Sending<'a>;

    /// Secrets that it will need, so that a missing one is an error at the start.
    fn secrets(&self) -> Vec<SecretRef> {
        Vec::new()
    }

    /// Programs that it runs, so that one that isn't on the list is an error of the configuration.
    fn programs(&self) -> Vec<yaml::Spanned<std::path::PathBuf>> {
        Vec::new()
    }
}

/// One kind of channel.
pub struct ChannelKind {
    /// The key in YAML.
    pub name: &'static str,
    /// One line, lower case, no full stop.
    pub summary: &'static str,
    /// Keys, and what a receiver gets.
    pub docs: &'static str,
    /// A value that works, as it is written below the kind's name.
    pub example: &'static str,
    /// Reads the kind's own value from YAML.
    pub read: fn(&yaml::Node) -> Result<Arc<dyn Channel>, Diagnostic>,
}

impl std::fmt::Debug for ChannelKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChannelKind({})", self.name)
    }
}

/// The configured channels by name; the log is always among them.
#[derive(Debug, Clone)]
pub struct Channels(BTreeMap<String, Arc<dyn Channel>>);

impl Default for Channels {
    fn default() -> Self {
        Channels(BTreeMap::from([(LOG.to_owned(), Arc::new(log::Log) as Arc<dyn Channel>)]))
    }
}

impl Channels {
    /// Adds a channel as it is declared: its name and the node below it, `{ webhook: { … } }`.
    ///
    /// # Errors
    /// The node is no map of one known kind, the kind refuses its value, or the name is the log's or taken.
    pub fn declare(&mut self, name: &yaml::Node, declared: &yaml::Node) -> Result<(), Diagnostic> {
        let yaml::Shape::Map(entries) = &declared.shape else {
            return Err(Diagnostic::error(declared.span.clone(), "a channel is a map of one kind")
                .hint("write it like `{ webhook: { url: \"https://…\", secret: { env: NAME } } }`"));
        };
        let [(key, value)] = entries.as_slice() else {
            return Err(Diagnostic::error(
                declared.span.clone(),
                format!("a channel has one kind, not {}", entries.len()),
            ));
        };
        let named = key.text().unwrap_or_default();
        let Some(kind) = kind(named) else {
            let error = Diagnostic::error(key.span.clone(), format!("no such kind of channel: `{named}`"));
            let known = CHANNELS.iter().map(|kind| kind.name);
            return Err(match nearest(named, known.clone()) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("known are {}", known.collect::<Vec<_>>().join(", "))),
            });
        };
        let channel = (kind.read)(value)?;
        let called = name.text().unwrap_or_default();
        if called.is_empty() || called.len() > 64 || called.chars().any(crate::model::encode::is_unprintable) {
            return Err(Diagnostic::error(name.span.clone(), "a channel's name has 1 to 64 printable characters"));
        }
        if called == LOG && kind.name != LOG {
            return Err(Diagnostic::error(name.span.clone(), "the channel `log` is the log, and always there")
                .hint("give this channel another name"));
        }
        if called != LOG && self.0.contains_key(called) {
            return Err(Diagnostic::error(name.span.clone(), format!("there are two channels `{called}`")));
        }
        self.0.insert(called.to_owned(), channel);
        Ok(())
    }

    pub fn get(&self, name: &str) -> Option<&Arc<dyn Channel>> {
        self.0.get(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Every secret that a channel will need, by the channel's name.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, SecretRef)> {
        self.0
            .iter()
            .flat_map(|(name, channel)| channel.secrets().into_iter().map(move |secret| (name.as_str(), secret)))
    }

    /// Every program that a channel runs.
    pub fn programs(&self) -> impl Iterator<Item = yaml::Spanned<std::path::PathBuf>> {
        self.0.values().flat_map(|channel| channel.programs())
    }

    /// Adds a way that isn't declared under `channels`. A name that is taken is replaced.
    pub fn attach(&mut self, name: &str, channel: Arc<dyn Channel>) {
        self.0.insert(name.to_owned(), channel);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use super::*;

    pub(in super::super) fn wires() -> Wires {
        let redactor = crate::model::secret::Redactor::default();
        let secrets =
            [("HOOK_SECRET", "0123456789abcdef0123"), ("HOOK_TOKEN", "bearer-of-good-news"), ("SHORT", "short")];
        let environment = secrets.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let credentials = crate::net::credentials::Credentials::new(
            crate::model::secret::Environment::new(environment),
            redactor.clone(),
        );
        Wires { http: crate::net::http::Client::default(), credentials, redactor }
    }

    pub(super) fn declare(text: &str) -> Result<Channels, Diagnostic> {
        let document = yaml::parse("houston.yaml", text).unwrap();
        let yaml::Shape::Map(entries) = &document.shape else { panic!("a map") };
        let mut channels = Channels::default();
        for (name, declared) in entries {
            channels.declare(name, declared)?;
        }
        Ok(channels)
    }

    #[test]
    fn the_registry_keeps_its_laws() {
        let names: BTreeSet<_> = CHANNELS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), CHANNELS.len(), "names are unique");
        let mut files: BTreeSet<String> = std::fs::read_dir("src/response/channels")
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        files.remove("mod");
        assert_eq!(files, names.iter().map(|name| (*name).to_owned()).collect(), "every file is registered");
        for kind in CHANNELS {
            assert!(!kind.summary.is_empty() && !kind.docs.is_empty(), "{}", kind.name);
            let channels = declare(&format!("mine: {{ {}: {} }}", kind.name, kind.example));
            assert!(channels.unwrap().get("mine").is_some(), "the example of {} works", kind.name);
        }
    }

    #[test]
    fn a_wrong_declaration_is_refused_at_its_place() {
        for (text, place, message) in [
            ("a: { webhok: {} }", "houston.yaml:1:6", "no such kind of channel"),
            ("a: { }", "houston.yaml:1:4", "one kind, not 0"),
            ("a: text", "houston.yaml:1:4", "a map of one kind"),
            ("log: { webhook: { url: \"http://a/\", secret: { env: X } } }", "houston.yaml:1:1", "always there"),
            ("a: { webhook: { url: \"ftp://a/\", secret: { env: X } } }", "houston.yaml:1:22", "http"),
            ("a: { webhook: { url: \"http://u:p@a/\", secret: { env: X } } }", "houston.yaml:1:22", "password"),
            ("a: { webhook: { url: \"http://a/\", secret: \"hunter2\" } }", "houston.yaml:1:43", "secret"),
            ("a: { webhook: { url: \"http://a/\" } }", "houston.yaml:1:15", "secret"),
        ] {
            let error = declare(text).unwrap_err();
            assert_eq!(error.at.to_string(), place, "{text}: {error}");
            let said = format!("{} {}", error.message, error.hint.clone().unwrap_or_default());
            assert!(said.contains(message), "{text}: {said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
        assert!(declare("log: { log: {} }").is_ok(), "the log may be named, as what it is");
    }
}
