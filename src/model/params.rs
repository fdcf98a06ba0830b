//! Parameters of a check: declared, typed, taken from named fields of the ticket and nowhere else.

use std::collections::BTreeMap;

use super::ticket::Ticket;

/// The longest value that a parameter takes, in bytes.
pub const VALUE_LIMIT: usize = 256;

/// Which field of a ticket a parameter's value may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `ticket.customer`
    Customer,
    /// `ticket.params.NAME`
    Param(String),
}

impl Source {
    /// Reads `ticket.customer` or `ticket.params.NAME`.
    ///
    /// # Errors
    /// Names the fields that a parameter may be taken from.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix("ticket.") {
            Some("customer") => Ok(Source::Customer),
            Some(rest) => match rest.strip_prefix("params.") {
                Some(name) if is_name(name) => Ok(Source::Param(name.to_owned())),
                _ => Err(format!("no such field: `{text}` (ticket.customer, ticket.params.NAME)")),
            },
            None => Err(format!("no such field: `{text}` (ticket.customer, ticket.params.NAME)")),
        }
    }
}

/// True for a parameter's or a capture's name: a letter or underscore, then letters, digits, underscores.
pub fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// One declared parameter.
#[derive(Debug, Clone)]
pub struct ParamSpec {
    pub name: String,
    pub from: Option<Source>,
    /// The whole value must match; compiled with anchors.
    pub pattern: Option<regex::Regex>,
    pub default: Option<String>,
    /// What to ask the reporter when it is missing.
    pub ask: Option<String>,
}

/// A value in use, and whether it is the ticket's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    pub value: String,
    pub from_ticket: bool,
}

/// The values that a probe is run with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(BTreeMap<String, Bound>);

/// Why a parameter has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    pub name: String,
    /// The question that goes back to the reporter.
    pub question: String,
}

impl Params {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|bound| bound.value.as_str())
    }

    pub fn set(&mut self, name: &str, value: impl Into<String>, from_ticket: bool) {
        self.0.insert(name.to_owned(), Bound { value: value.into(), from_ticket });
    }

    /// True where at least one value is the ticket's own.
    pub fn from_ticket(&self) -> bool {
        self.0.values().any(|bound| bound.from_ticket)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bound)> {
        self.0.iter().map(|(name, bound)| (name.as_str(), bound))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The synthetic values: every parameter at its default.
    ///
    /// # Errors
    /// The first parameter that has none.
    pub fn synthetic(specs: &[ParamSpec]) -> Result<Self, Missing> {
        let mut params = Params::default();
        for spec in specs {
            match &spec.default {
                Some(default) => params.set(&spec.name, default.clone(), false),
                None => return Err(spec.missing("has no default")),
            }
        }
        Ok(params)
    }

    /// Values given by name, as a person runs one check; the defaults elsewhere.
    ///
    /// # Errors
    /// A name that isn't declared, a value of the wrong form, a parameter that has neither value nor default.
    pub fn given(specs: &[ParamSpec], values: &BTreeMap<String, String>) -> Result<Self, String> {
        if let Some(name) = values.keys().find(|name| specs.iter().all(|spec| spec.name != **name)) {
            let known: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
            return Err(match super::source::nearest(name, known.iter().copied()) {
                Some(near) => format!("no parameter `{name}` is declared, did you mean `{near}`?"),
                None => format!("no parameter `{name}` is declared (declared: {})", known.join(", ")),
            });
        }
        let mut params = Params::default();
        for spec in specs {
            match (values.get(&spec.name), &spec.default) {
                (Some(value), _) if spec.accepts(value) => params.set(&spec.name, value.clone(), true),
                (Some(_), _) => return Err(format!("`{}` is not of the declared form", spec.name)),
                (None, Some(default)) => params.set(&spec.name, default.clone(), false),
                (None, None) => return Err(format!("`{}` has no value and no default", spec.name)),
            }
        }
        Ok(params)
    }

    /// The ticket's values where it has acceptable ones, the defaults elsewhere.
    ///
    /// # Errors
    /// The first parameter that has neither: its question goes back to the reporter.
    pub fn bind(specs: &[ParamSpec], ticket: &Ticket) -> Result<Self, Missing> {
        let mut params = Params::default();
        for spec in specs {
            let given = match &spec.from {
                Some(Source::Customer) => ticket.customer.as_ref().map(|customer| customer.raw()),
                Some(Source::Param(name)) => ticket.params.get(name).map(|value| value.raw()),
                None => None,
            };
            match (given, &spec.default) {
                (Some(value), _) if spec.accepts(value) => params.set(&spec.name, value, true),
                // A value that was given and is not acceptable is a question, never silently the default.
                (Some(_), _) => return Err(spec.missing("what the ticket names has another form")),
                (None, Some(default)) => params.set(&spec.name, default.clone(), false),
                (None, None) => return Err(spec.missing("the ticket doesn't say")),
            }
        }
        Ok(params)
    }
}

impl ParamSpec {
    /// True where a value from outside may be used: bounded, printable, no dot segment, of the declared form.
    pub fn accepts(&self, value: &str) -> bool {
        !value.is_empty()
            && value.len() <= VALUE_LIMIT
            && !value.chars().any(super::encode::is_unprintable)
            && !value.bytes().all(|b| b == b'.')
            && self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(value))
    }

    fn missing(&self, what: &str) -> Missing {
        let question = match &self.ask {
            Some(ask) => ask.clone(),
            None => format!("what is the {}? ({what})", self.name.replace('_', " ")),
        };
        Missing { name: self.name.clone(), question }
    }
}
