//! What somebody reports. Its text is data, and hostile until proven otherwise.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::text::Untrusted;
use super::window::Symptom;

/// The most of a title that is kept, in bytes.
pub const TITLE_LIMIT: usize = 512;
/// The most of a text that is kept, in bytes.
pub const TEXT_LIMIT: usize = 64 * 1024;
/// The most parameters of a ticket.
pub const PARAMS_LIMIT: usize = 32;
/// How far back a symptom may begin.
pub const OLDEST_SYMPTOM: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How far ahead of our clock a reporter's clock may be.
pub const CLOCK_SLACK: SignedDuration = SignedDuration::from_mins(2);

/// A ticket as its sender writes it: `POST /api/v1/tickets`, `houston triage --file`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The system that the ticket comes from.
    #[serde(default)]
    pub source: Option<String>,
    /// Its id there; with `source` it makes a delivery recognisable.
    #[serde(default)]
    pub id: Option<String>,
    #[serde(default)]
    pub title: Option<Untrusted>,
    #[serde(default)]
    pub text: Option<Untrusted>,
    #[serde(default)]
    pub reporter: Option<Untrusted>,
    #[serde(default)]
    pub customer: Option<Untrusted>,
    /// Services that the sender names, by their names in the catalog.
    #[serde(default)]
    pub services: Vec<String>,
    /// A call-back number or address.
    #[serde(default)]
    pub contact: Option<Untrusted>,
    /// Where people see it in its own system.
    #[serde(default)]
    pub url: Option<Untrusted>,
    /// When the symptom began, and ended.
    #[serde(default)]
    pub since: Option<Timestamp>,
    #[serde(default)]
    pub until: Option<Timestamp>,
    #[serde(default)]
    pub reported_at: Option<Timestamp>,
    /// True where a machine reports, so that everything of the service is the use case.
    #[serde(default)]
    pub alert: bool,
    #[serde(default, deserialize_with = "each_once")]
    pub params: BTreeMap<String, Untrusted>,
}

/// A map in which no key stands twice: of two values nobody knows which one was meant.
///
/// # Errors
/// No map of texts, a key twice, more than 32 of them.
pub fn each_once<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Untrusted>, D::Error> {
    struct Once;
    impl<'de> Visitor<'de> for Once {
        type Value = BTreeMap<String, Untrusted>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a map of texts")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((name, value)) = entries.next_entry::<String, Untrusted>()? {
                if map.len() >= PARAMS_LIMIT {
                    return Err(Error::custom("at most 32 params are allowed"));
                }
                if map.insert(name, value).is_some() {
                    return Err(Error::custom("a param stands there twice"));
                }
            }
            Ok(map)
        }
    }
    deserializer.deserialize_map(Once)
}

/// A ticket in Houston's one form: bounded, with its times made plausible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    pub source: String,
    pub id: String,
    pub title: Untrusted,
    #[serde(default, skip_serializing_if = "Untrusted::is_empty")]
    pub text: Untrusted,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reporter: Option<Untrusted>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<Untrusted>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<Untrusted>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Untrusted>,
    /// When the reporter saw it, where the ticket says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symptom: Option<Symptom>,
    pub reported_at: Timestamp,
    #[serde(default)]
    pub alert: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Untrusted>,
    /// What was changed to make it plausible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What is wrong with a report, and in which field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {what}")]
pub struct Unacceptable {
    pub field: &'static str,
    pub what: String,
}

/// True for what may be shown as a link.
fn is_web_address(text: &str) -> bool {
    (text.starts_with("https://") || text.starts_with("http://"))
        && text.len() <= 2_000
        && !text.chars().any(|c| c.is_whitespace() || super::encode::is_unprintable(c))
}

impl Report {
    /// The ticket that this report makes, when it arrives at `now`. `id` is used where the report has none.
    ///
    /// Times outside of what can be are clamped and noted, never refused: a wrong clock must not lose a ticket.
    ///
    /// # Errors
    /// Neither title nor text; a name or parameter outside its bounds.
    pub fn accept(self, now: Timestamp, id: &str) -> Result<Ticket, Unacceptable> {
        let refuse = |field, what: &str| Err(Unacceptable { field, what: what.to_owned() });
        let text = Untrusted::bounded(self.text.as_ref().map_or("", |t| t.raw()), TEXT_LIMIT);
        let title = match &self.title {
            Some(title) if !title.raw().trim().is_empty() => Untrusted::bounded(title.raw(), TITLE_LIMIT),
            _ => Untrusted::bounded(text.raw().lines().find(|line| !line.trim().is_empty()).unwrap_or(""), TITLE_LIMIT),
        };
        if title.is_empty() {
            return refuse("title", "a ticket needs a title or a text");
        }
        for (field, name) in [("source", &self.source), ("id", &self.id)] {
            if name.as_ref().is_some_and(|name| {
                name.is_empty() || name.len() > 200 || name.chars().any(super::encode::is_unprintable)
            }) {
                return refuse(field, "1 to 200 printable characters are allowed");
            }
        }
        if self.services.len() > 16 || self.services.iter().any(|name| name.is_empty() || name.len() > 128) {
            return refuse("services", "at most 16 names of 1 to 128 bytes are allowed");
        }
        for (field, value) in [("customer", &self.customer), ("reporter", &self.reporter), ("contact", &self.contact)] {
            if value.as_ref().is_some_and(|value| value.raw().len() > 256) {
                return refuse(field, "at most 256 bytes are allowed");
            }
        }
        if self.params.len() > PARAMS_LIMIT {
            return refuse("params", "at most 32 are allowed");
        }
        for (name, value) in &self.params {
            if !super::params::is_name(name) || name.len() > 64 {
                return refuse("params", "a name is a letter or underscore, then letters, digits, underscores");
            }
            if value.raw().len() > super::params::VALUE_LIMIT {
                return refuse("params", "a value has at most 256 bytes");
            }
        }

        let mut notes = Vec::new();
        let mut plausible = |what: &str, at: Timestamp| {
            let oldest = now.checked_sub(OLDEST_SYMPTOM).unwrap_or(Timestamp::MIN);
            let newest = now.checked_add(CLOCK_SLACK).unwrap_or(Timestamp::MAX);
            if at < oldest || at > newest {
                notes.push(format!("{what} {at} is not plausible and was moved"));
            }
            at.clamp(oldest, now)
        };
        let reported_at = self.reported_at.map_or(now, |at| plausible("reported_at", at));
        let until = self.until.map(|at| plausible("until", at));
        let symptom = match self.since {
            Some(since) => {
                let from = plausible("since", since);
                if until.is_some_and(|to| to < from) {
                    return refuse("until", "it lies before since");
                }
                Some(Symptom { from, to: until })
            }
            None => until
                .map(|to| Symptom { from: to.checked_sub(SignedDuration::from_mins(15)).unwrap_or(to), to: Some(to) }),
        };
        let some = |value: Option<Untrusted>| value.filter(|value| !value.raw().trim().is_empty());
        Ok(Ticket {
            source: self.source.unwrap_or_else(|| "api".to_owned()),
            id: self.id.unwrap_or_else(|| id.to_owned()),
            title,
            text,
            reporter: some(self.reporter),
            customer: some(self.customer),
            services: self.services,
            contact: some(self.contact),
            url: some(self.url).filter(|url| is_web_address(url.raw())),
            symptom,
            reported_at,
            alert: self.alert,
            params: self.params,
            notes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T10:00:00Z".parse().unwrap()
    }

    fn report(title: &str) -> Report {
        Report { title: Some(title.into()), ..Report::default() }
    }

    #[test]
    fn times_that_cannot_be_are_moved_and_noted() {
        for (since, from) in [
            ("1970-01-01T00:00:00Z", "2026-10-23T10:00:00Z"),
            ("9999-12-01T00:00:00Z", "2026-11-22T10:00:00Z"),
            ("2026-11-22T09:00:00Z", "2026-11-22T09:00:00Z"),
        ] {
            let ticket = Report { since: Some(since.parse().unwrap()), ..report("x") }.accept(now(), "1").unwrap();
            assert_eq!(ticket.symptom.unwrap().from, from.parse().unwrap());
            assert_eq!(ticket.notes.is_empty(), since == from);
        }
    }

    #[test]
    fn a_title_is_taken_from_the_text_and_bounded() {
        let ticket =
            Report { text: Some("\n\nfirst line\nsecond".into()), ..Report::default() }.accept(now(), "7").unwrap();
        assert_eq!(ticket.title.raw(), "first line");
        assert_eq!(ticket.id, "7");
        let long = report(&"ü".repeat(1_000)).accept(now(), "1").unwrap();
        assert!(long.title.raw().len() <= TITLE_LIMIT);
    }

    #[test]
    fn no_key_stands_twice() {
        for text in [r#"{"title":"x","title":"y"}"#, r#"{"title":"x","params":{"a":"1","a":"2"}}"#] {
            assert!(serde_json::from_str::<Report>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_by_field() {
        assert_eq!(Report::default().accept(now(), "1").unwrap_err().field, "title");
        let mut bad = report("x");
        bad.params.insert("a-b".into(), "1".into());
        assert_eq!(bad.accept(now(), "1").unwrap_err().field, "params");
        let backwards =
            Report { since: Some(now()), until: Some("2026-11-22T09:00:00Z".parse().unwrap()), ..report("x") };
        assert_eq!(backwards.accept(now(), "1").unwrap_err().field, "until");
    }
}
