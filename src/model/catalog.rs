//! What is known of the services, teams and customers.

use std::collections::BTreeMap;

use super::people::{Ladder, OnCall, Person};

/// Everything that `houston.yaml` says about who and what there is.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    pub services: BTreeMap<String, Service>,
    pub teams: BTreeMap<String, Team>,
    /// Those who can be reached; a team may have members besides.
    pub people: BTreeMap<String, Person>,
    pub customers: BTreeMap<String, Customer>,
}

#[derive(Debug, Clone, Default)]
pub struct Service {
    pub owner: Option<String>,
    pub depends_on: Vec<String>,
    /// Words by which a ticket's text names it; matched as whole words, case ignored.
    pub aliases: Vec<String>,
    /// Patterns by which a ticket's text names it.
    pub patterns: Vec<regex::Regex>,
    /// What customers call it.
    pub public_name: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub struct Team {
    pub members: Vec<String>,
    /// Channels by which the team is reached, in order.
    pub channels: Vec<String>,
    pub on_call: Option<OnCall>,
    /// Without one the team is told once, over its channels.
    pub ladder: Option<Ladder>,
}

#[derive(Debug, Clone, Default)]
pub struct Customer {
    /// Other names by which tickets call the customer.
    pub identifiers: Vec<String>,
}

impl Catalog {
    /// The customer's own name for any of its names, case ignored.
    pub fn customer(&self, name: &str) -> Option<&str> {
        let wanted = name.trim().to_lowercase();
        self.customers
            .iter()
            .find(|(own, customer)| {
                own.to_lowercase() == wanted || customer.identifiers.iter().any(|id| id.to_lowercase() == wanted)
            })
            .map(|(own, _)| own.as_str())
    }

    /// What these services depend on, directly or through others, without themselves.
    pub fn dependencies(&self, services: &[String]) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        let mut queue: Vec<&str> = services.iter().map(String::as_str).collect();
        while let Some(name) = queue.pop() {
            for dependency in self.services.get(name).map_or(&[][..], |service| &service.depends_on) {
                if !services.contains(dependency) && !found.contains(dependency) {
                    found.push(dependency.clone());
                    queue.push(dependency);
                }
            }
        }
        found.sort();
        found
    }
}
