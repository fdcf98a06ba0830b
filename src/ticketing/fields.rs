//! Fields: which part of a delivery is the customer, the service, the time and the parameters of a ticket.

use std::collections::BTreeMap;

use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use super::{parse_time, text_at};
use crate::model::source::Diagnostic;
use crate::model::text::Untrusted;
use crate::model::ticket::{PARAMS_LIMIT, Report};
use crate::yaml::{Keys, Node, Shape, Spanned};

/// The most bytes of a compiled pattern.
const PATTERN_LIMIT: usize = 1 << 20;
/// As much of a field is looked at by a pattern, in bytes.
const LOOKED_AT: usize = 8 * 1024;

/// Where one field of a ticket comes from: the first source that has something.
#[derive(Debug, Clone, Default)]
struct Field(Vec<Source>);

#[derive(Debug, Clone)]
struct Source {
    from: Origin,
    /// Its first group, or the whole match.
    pattern: Option<Regex>,
}

#[derive(Debug, Clone)]
enum Origin {
    Path(String),
    Value(String),
}

/// Which part of a delivery becomes which field, as it is declared. What isn't declared is what the system's own file
/// makes of it.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    customer: Field,
    service: Field,
    since: Field,
    until: Field,
    contact: Field,
    reporter: Field,
    params: BTreeMap<String, Field>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    #[serde(default)]
    path: Option<Spanned<String>>,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    pattern: Option<Spanned<String>>,
}

impl Fields {
    /// Reads `{ customer: PATH, service: { path: PATH, pattern: REGEX }, params: { account: PATH } }`; a list holds what
    /// is tried in turn.
    pub(super) fn read(node: &Node, errors: &mut Vec<Diagnostic>) -> Self {
        let mut fields = Fields::default();
        let mut keys = match Keys::of(node, "`fields`") {
            Ok(keys) => keys,
            Err(error) => {
                errors.push(error.hint("write `{ customer: issue.fields.customer, service: … }`"));
                return fields;
            }
        };
        for (name, field) in [
            ("customer", &mut fields.customer),
            ("service", &mut fields.service),
            ("since", &mut fields.since),
            ("until", &mut fields.until),
            ("contact", &mut fields.contact),
            ("reporter", &mut fields.reporter),
        ] {
            if let Some(node) = keys.take(name) {
                *field = read(node, errors);
            }
        }
        if let Some(node) = keys.take("params") {
            match &node.shape {
                Shape::Map(entries) if entries.len() <= PARAMS_LIMIT => {
                    for (key, value) in entries {
                        let name = key.text().unwrap_or_default();
                        if crate::model::params::is_name(name) {
                            fields.params.insert(name.to_owned(), read(value, errors));
                        } else {
                            errors.push(
                                Diagnostic::error(key.span.clone(), "this can't be a parameter's name")
                                    .hint("a letter or underscore, then letters, digits, underscores"),
                            );
                        }
                    }
                }
                _ => errors.push(
                    Diagnostic::error(node.span.clone(), "expected a map from parameters to paths")
                        .hint(format!("at most {PARAMS_LIMIT}: `{{ account: issue.fields.account }}`")),
                ),
            }
        }
        keys.finish(errors);
        fields
    }

    /// Fills in what is declared; what a delivery doesn't have stays as it was.
    pub(super) fn fill(&self, payload: &Value, report: &mut Report) {
        let text = |field: &Field| field.of(payload).map(|text| Untrusted::bounded(text, 256));
        for (field, place) in [
            (&self.customer, &mut report.customer),
            (&self.contact, &mut report.contact),
            (&self.reporter, &mut report.reporter),
        ] {
            if let Some(value) = text(field) {
                *place = Some(value);
            }
        }
        if let Some(service) = self.service.of(payload).filter(|name| name.len() <= 128) {
            report.services = vec![service];
        }
        for (field, place) in [(&self.since, &mut report.since), (&self.until, &mut report.until)] {
            if let Some(at) = field.of(payload).and_then(|text| parse_time(&text)) {
                *place = Some(at);
            }
        }
        for (name, field) in &self.params {
            if let Some(value) = field.of(payload).filter(|value| value.len() <= crate::model::params::VALUE_LIMIT) {
                report.params.insert(name.clone(), Untrusted::new(value));
            }
        }
    }
}

impl Field {
    fn of(&self, payload: &Value) -> Option<String> {
        self.0.iter().find_map(|source| {
            let text = match &source.from {
                Origin::Path(path) => text_at(payload, path)?,
                Origin::Value(value) => value.clone(),
            };
            let Some(pattern) = &source.pattern else { return Some(text.trim().to_owned()) };
            let mut end = text.len().min(LOOKED_AT);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            let found = pattern.captures(&text[..end])?;
            let part = found.get(1).or_else(|| found.get(0))?;
            Some(part.as_str().trim().to_owned()).filter(|text| !text.is_empty())
        })
    }
}

fn read(node: &Node, errors: &mut Vec<Diagnostic>) -> Field {
    let nodes = match &node.shape {
        Shape::List(items) => items.iter().collect(),
        _ => vec![node],
    };
    Field(nodes.into_iter().filter_map(|node| source(node, errors)).collect())
}

fn source(node: &Node, errors: &mut Vec<Diagnostic>) -> Option<Source> {
    if let Some(path) = node.text() {
        return Some(Source { from: Origin::Path(path.to_owned()), pattern: None });
    }
    let declared: Declared = match node.read() {
        Ok(declared) => declared,
        Err(error) => {
            errors.push(error.hint("write a path like `issue.fields.customer`, or `{ path: …, pattern: … }`"));
            return None;
        }
    };
    let from = match (declared.path, declared.value) {
        (Some(path), None) => Origin::Path(path.value),
        (None, Some(value)) => Origin::Value(value),
        _ => {
            errors.push(
                Diagnostic::error(node.span.clone(), "a field comes from a `path` or is a `value`, one of both")
                    .hint("`{ path: issue.title, pattern: '^\\[(\\w+)\\]' }`, or `{ value: checkout }`"),
            );
            return None;
        }
    };
    let pattern = match declared.pattern {
        None => None,
        Some(text) => match regex::RegexBuilder::new(&text.value).size_limit(PATTERN_LIMIT).build() {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let drawing = error.to_string();
                let what = drawing.lines().last().unwrap_or("").trim_start_matches("error: ");
                errors.push(
                    Diagnostic::error(text.at, format!("not a regular expression: {what}"))
                        .hint("its first group is the field; without a group the whole match"),
                );
                return None;
            }
        },
    };
    Some(Source { from, pattern })
}
