//! What a status page says, in one form for all: the worst state, open incidents, components.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de};

use crate::evidence::slots::without_slots;

/// How a component is, from good to bad; Atlassian's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum State {
    #[default]
    Operational,
    UnderMaintenance,
    DegradedPerformance,
    PartialOutage,
    MajorOutage,
}

impl State {
    pub(super) fn name(self) -> &'static str {
        match self {
            State::Operational => "operational",
            State::UnderMaintenance => "under_maintenance",
            State::DegradedPerformance => "degraded_performance",
            State::PartialOutage => "partial_outage",
            State::MajorOutage => "major_outage",
        }
    }

    /// A component's or a page's state: Atlassian's `partial_outage`, Instatus's `PARTIALOUTAGE`, and
    /// `SOMEPARTIALOUTAGE` of a whole page.
    pub(super) fn of(word: &str) -> Option<Self> {
        let word: String = word.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_ascii_lowercase();
        let bare = ["all", "some", "one"].iter().find_map(|prefix| word.strip_prefix(prefix)).unwrap_or(&word);
        Some(match bare {
            "operational" | "up" => State::Operational,
            "undermaintenance" => State::UnderMaintenance,
            "degradedperformance" | "hasissues" => State::DegradedPerformance,
            "partialoutage" | "minoroutage" => State::PartialOutage,
            "majoroutage" => State::MajorOutage,
            _ => return None,
        })
    }
}

/// An incident that isn't over.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Incident {
    /// From outside, as all texts here.
    pub(super) name: String,
    /// How far it is: `investigating`.
    pub(super) word: Option<String>,
    pub(super) link: Option<String>,
}

/// All of it, as far as it counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Said {
    pub(super) state: State,
    /// `None` where the page has no list of them.
    pub(super) incidents: Option<Vec<Incident>>,
    pub(super) maintenances: usize,
    pub(super) components: Option<BTreeMap<String, State>>,
    pub(super) touched: Option<Timestamp>,
    pub(super) notes: Vec<String>,
}

/// The parts of a provider that a check wants; none: all.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Components(Vec<String>);

impl Components {
    pub(super) fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.is_all() || self.0.iter().any(|wanted| *wanted == folded(name))
    }

    /// True where a text speaks of one of them.
    pub(super) fn are_in(&self, text: &str) -> bool {
        let text = folded(text);
        self.is_all() || self.0.iter().any(|wanted| text.contains(wanted.as_str()))
    }

    /// The first that isn't among these names.
    pub(super) fn missing_of<'n>(&self, names: impl Iterator<Item = &'n str>) -> Option<&str> {
        let names: Vec<String> = names.map(folded).collect();
        self.0.iter().find(|wanted| !names.contains(wanted)).map(String::as_str)
    }
}

fn folded(name: &str) -> String {
    name.trim().to_lowercase()
}

impl<'de> Deserialize<'de> for Components {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> de::Visitor<'de> for OneOrMore {
            type Value = Components;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the name of a component, or a list of names")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Components, E> {
                without_slots(name).map_err(E::custom)?;
                if name.trim().is_empty() {
                    return Err(E::custom("a component's name is empty"));
                }
                Ok(Components(vec![folded(name)]))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Components, A::Error> {
                let mut all = Components::default();
                while let Some(name) = list.next_element::<String>()? {
                    all.0.extend(OneOrMore.visit_str::<A::Error>(&name)?.0);
                }
                if all.is_all() {
                    return Err(de::Error::custom("the list of components is empty"));
                }
                Ok(all)
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

impl schemars::JsonSchema for Components {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Components".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "anyOf": [
            { "type": "string" },
            { "type": "array", "items": { "type": "string" }, "minItems": 1 }
        ] })
    }
}
