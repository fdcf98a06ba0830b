//! The five looks, and how far a check's word may be trusted.

use serde::{Deserialize, Serialize};

/// One of the five ways in which a good on-call engineer looks at a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Look {
    /// What our own monitoring says.
    Internal,
    /// What a stranger sees from outside.
    External,
    /// What the programs wrote down.
    Logs,
    /// What the customers' requests do.
    Traffic,
    /// The customer's own use case, tried.
    UseCase,
}

impl Look {
    /// All five, in the order in which they are shown.
    pub const ALL: [Look; 5] = [Look::Internal, Look::External, Look::Logs, Look::Traffic, Look::UseCase];

    /// The name in YAML, JSON and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Look::Internal => "internal",
            Look::External => "external",
            Look::Logs => "logs",
            Look::Traffic => "traffic",
            Look::UseCase => "use_case",
        }
    }

    /// The class of a check of this look that declares none.
    pub fn default_class(self) -> Class {
        match self {
            Look::UseCase | Look::External => Class::Strong,
            Look::Internal | Look::Traffic => Class::Fair,
            Look::Logs => Class::Weak,
        }
    }
}

/// How far a check's word may be trusted: its rates of bad, odd and good answers with and without an issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    Strong,
    Fair,
    Weak,
    Hint,
}

impl Class {
    pub fn name(self) -> &'static str {
        match self {
            Class::Strong => "strong",
            Class::Fair => "fair",
            Class::Weak => "weak",
            Class::Hint => "hint",
        }
    }
}

/// What a check watches, relative to what the ticket names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// The reporter's own use case, tried with the reporter's own parameters.
    OwnCase,
    /// The ticket's customer alone.
    Customer,
    /// The service that the ticket names.
    Service,
    /// Something that the service depends on.
    Dependency,
    /// A check that speaks for no service in particular.
    Global,
    /// Another service.
    Other,
}

impl Relation {
    pub fn name(self) -> &'static str {
        match self {
            Relation::OwnCase => "own_case",
            Relation::Customer => "customer",
            Relation::Service => "service",
            Relation::Dependency => "dependency",
            Relation::Global => "global",
            Relation::Other => "other",
        }
    }
}

/// What an observation comes to when held against its expectations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every expectation holds, on complete and fresh evidence.
    Good,
    /// We could not look; the finding says why. Never read as health.
    Unknown,
    /// Something is unusual, or failed in part.
    Odd,
    /// An expectation is broken, or the service failed outright.
    Bad,
    /// The check doesn't apply to this ticket.
    NotApplicable,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Good => "good",
            Outcome::Odd => "odd",
            Outcome::Bad => "bad",
            Outcome::Unknown => "unknown",
            Outcome::NotApplicable => "not_applicable",
        }
    }

    /// The worse of two outcomes: bad before odd before unknown before good.
    pub fn worse(self, other: Outcome) -> Outcome {
        let rank = |outcome: Outcome| match outcome {
            Outcome::NotApplicable => 0,
            Outcome::Good => 1,
            Outcome::Unknown => 2,
            Outcome::Odd => 3,
            Outcome::Bad => 4,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worse_puts_bad_before_odd_before_unknown_before_good() {
        let order = [Outcome::NotApplicable, Outcome::Good, Outcome::Unknown, Outcome::Odd, Outcome::Bad];
        for (low, a) in order.iter().enumerate() {
            for b in &order[low..] {
                assert_eq!(a.worse(*b), *b);
                assert_eq!(b.worse(*a), *b);
            }
        }
    }

    #[test]
    fn names_are_those_of_the_serialised_form() {
        for look in Look::ALL {
            assert_eq!(serde_json::to_value(look).unwrap(), look.name());
        }
        for outcome in [Outcome::Good, Outcome::Odd, Outcome::Bad, Outcome::Unknown, Outcome::NotApplicable] {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.name());
        }
    }
}
