//! The services and customers: how tickets name them, and what depends on what.

use std::collections::BTreeMap;

use super::{entries, undeclared};
use crate::model::catalog::{Customer, Service, Team};
use crate::model::source::Diagnostic;
use crate::yaml::{Keys, Node, Spanned};

/// The most bytes of a compiled pattern.
const PATTERN_LIMIT: usize = 1 << 20;
/// The most aliases, patterns or identifiers of one entry.
const NAMES_LIMIT: usize = 64;
/// The most patterns of all services: each is tried on each ticket.
const PATTERNS_LIMIT: usize = 1_000;

pub(super) fn services(
    node: Option<&Node>,
    teams: &BTreeMap<String, Team>,
    errors: &mut Vec<Diagnostic>,
) -> BTreeMap<String, Service> {
    let mut services = BTreeMap::new();
    let mut depends: Vec<Spanned<String>> = Vec::new();
    let mut patterns = 0;
    for (name, key, value) in entries(node, "services", errors) {
        let mut keys = match Keys::of(value, "a service") {
            Ok(keys) => keys,
            Err(error) => {
                errors.push(error.hint("write `{ owner: …, depends_on: […], aliases: […] }`"));
                continue;
            }
        };
        let owner = keys.read::<Spanned<String>>("owner", errors);
        if let Some(owner) = &owner
            && !teams.contains_key(&owner.value)
            && !teams.is_empty()
        {
            errors.push(undeclared(&owner.at, "team", &owner.value, teams.keys().map(String::as_str)));
        }
        let depends_on: Vec<Spanned<String>> = keys.read("depends_on", errors).unwrap_or_default();
        let aliases = names(&mut keys, "aliases", errors);
        let declared: Vec<Spanned<String>> = keys.read("patterns", errors).unwrap_or_default();
        patterns += declared.len();
        if patterns > PATTERNS_LIMIT || declared.len() > NAMES_LIMIT {
            let message = format!("too many patterns: at most {NAMES_LIMIT} a service, {PATTERNS_LIMIT} in all");
            errors.push(Diagnostic::error(key.span.clone(), message).hint("aliases are words, and cheaper"));
            continue;
        }
        let service = Service {
            owner: owner.map(|owner| owner.value),
            depends_on: depends_on.iter().map(|other| other.value.clone()).collect(),
            aliases,
            patterns: declared.into_iter().filter_map(|text| pattern(text, errors)).collect(),
            public_name: keys.read("public_name", errors),
        };
        keys.finish(errors);
        depends.extend(depends_on);
        services.insert(name.to_owned(), service);
    }
    for other in depends {
        if !services.contains_key(&other.value) {
            errors.push(undeclared(&other.at, "service", &other.value, services.keys().map(String::as_str)));
        }
    }
    services
}

pub(super) fn customers(node: Option<&Node>, errors: &mut Vec<Diagnostic>) -> BTreeMap<String, Customer> {
    let mut customers = BTreeMap::new();
    // A name of two customers would bind one customer's parameters to the other's ticket.
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    for (name, key, value) in entries(node, "customers", errors) {
        let mut keys = match Keys::of(value, "a customer") {
            Ok(keys) => keys,
            Err(error) => {
                errors.push(error.hint("write `{ identifiers: […] }`, or `{}`"));
                continue;
            }
        };
        let identifiers: Vec<Spanned<String>> = keys.read("identifiers", errors).unwrap_or_default();
        keys.finish(errors);
        let own = Spanned { at: key.span.clone(), value: name.to_owned() };
        for called in std::iter::once(&own).chain(&identifiers) {
            match owners.insert(called.value.trim().to_lowercase(), name.to_owned()) {
                Some(other) if other != name => errors.push(
                    Diagnostic::error(
                        called.at.clone(),
                        format!("`{}` names the customer `{other}`, too", called.value),
                    )
                    .hint("a name must belong to one customer, whether written in capitals or not"),
                ),
                _ => {}
            }
        }
        let identifiers = bounded(identifiers, "identifiers", errors);
        customers.insert(name.to_owned(), Customer { identifiers });
    }
    customers
}

fn names(keys: &mut Keys<'_>, key: &'static str, errors: &mut Vec<Diagnostic>) -> Vec<String> {
    let names: Vec<Spanned<String>> = keys.read(key, errors).unwrap_or_default();
    bounded(names, key, errors)
}

fn bounded(names: Vec<Spanned<String>>, what: &str, errors: &mut Vec<Diagnostic>) -> Vec<String> {
    if let Some(first) = names.get(NAMES_LIMIT) {
        errors.push(
            Diagnostic::error(first.at.clone(), format!("more than {NAMES_LIMIT} {what}")).hint("leave some out"),
        );
    }
    for name in &names {
        if !super::is_name(&name.value) {
            errors.push(
                Diagnostic::error(name.at.clone(), "this can't be a name")
                    .hint("1 to 128 printable characters, no blank at the ends"),
            );
        }
    }
    names.into_iter().map(|name| name.value).collect()
}

fn pattern(text: Spanned<String>, errors: &mut Vec<Diagnostic>) -> Option<regex::Regex> {
    match regex::RegexBuilder::new(&text.value).size_limit(PATTERN_LIMIT).build() {
        Ok(pattern) if pattern.is_match("") => {
            errors.push(
                Diagnostic::error(text.at, "this pattern matches every ticket, even an empty one")
                    .hint("it should name the service: 'checkout|shopping cart'"),
            );
            None
        }
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let drawing = error.to_string();
            let what = drawing.lines().last().unwrap_or("").trim_start_matches("error: ");
            errors.push(
                Diagnostic::error(text.at, format!("not a regular expression: {what}"))
                    .hint("it is searched for in the ticket's title and text"),
            );
            None
        }
    }
}
