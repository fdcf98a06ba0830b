//! `params`: what a check takes from a ticket, declared, bounded and of a stated form.

use super::document::Surroundings;
use crate::evidence::Probe;
use crate::model::params::{ParamSpec, Source, is_name};
use crate::model::source::{Diagnostic, Span, nearest};
use crate::yaml::{self, Keys, Node, Shape, Spanned};

/// The most parameters of a check.
const LIMIT: usize = 32;

/// Reads `params: { name: { from, pattern, default, ask } }`, each with the place of its name.
pub(super) fn read(
    node: &Node,
    surroundings: &Surroundings<'_>,
    errors: &mut Vec<Diagnostic>,
) -> Vec<(ParamSpec, Span)> {
    let Shape::Map(entries) = &node.shape else {
        errors.push(
            Diagnostic::error(node.span.clone(), format!("`params` is a map, found {}", node.describe()))
                .hint("write `params: { account: { from: ticket.customer } }`"),
        );
        return Vec::new();
    };
    if entries.len() > LIMIT {
        errors.push(
            Diagnostic::error(node.span.clone(), format!("more than {LIMIT} parameters")).hint("split the check"),
        );
        return Vec::new();
    }
    entries.iter().filter_map(|(key, value)| read_one(key, value, surroundings, errors)).collect()
}

fn read_one(
    key: &Node,
    value: &Node,
    surroundings: &Surroundings<'_>,
    errors: &mut Vec<Diagnostic>,
) -> Option<(ParamSpec, Span)> {
    let name = key.text().unwrap_or_default();
    let before = errors.len();
    if !is_name(name) || name.len() > 64 {
        errors.push(
            Diagnostic::error(key.span.clone(), format!("{} can't be a parameter's name", key.describe()))
                .hint("a letter or underscore, then letters, digits, underscores; at most 64"),
        );
    }
    let mut keys = Keys::of(value, "a parameter").map_err(|error| errors.push(error)).ok()?;
    let from = keys.take("from").and_then(|from| match from.text().map(Source::parse) {
        Some(Ok(source)) => Some(source),
        Some(Err(_)) => {
            errors.push(
                Diagnostic::error(from.span.clone(), format!("no such field of a ticket: {}", from.describe()))
                    .hint("ticket.customer or ticket.params.NAME"),
            );
            None
        }
        None => {
            errors.push(
                Diagnostic::error(from.span.clone(), "`from` names a field of the ticket")
                    .hint("ticket.customer or ticket.params.NAME"),
            );
            None
        }
    });
    let pattern = keys.read::<Spanned<String>>("pattern", errors).and_then(|pattern| {
        match surroundings.whole_pattern(&pattern.value) {
            Ok(compiled) => Some(compiled),
            Err(why) => {
                errors
                    .push(Diagnostic::error(pattern.at, why).hint("the whole value must match it: '[a-z0-9-]{3,32}'"));
                None
            }
        }
    });
    let default = keys.read::<Spanned<String>>("default", errors);
    let ask = keys.read::<Spanned<String>>("ask", errors);
    keys.finish(errors);
    if let Some(ask) = &ask
        && (ask.value.trim().is_empty() || ask.value.chars().count() > 200)
    {
        errors.push(Diagnostic::error(ask.at.clone(), "a question has 1 to 200 characters").hint("shorten it"));
    }
    let spec = ParamSpec {
        name: name.to_owned(),
        from,
        pattern,
        default: default.as_ref().map(|default| default.value.clone()),
        ask: ask.map(|ask| ask.value),
    };
    if let Some(default) = default
        && errors.len() == before
        && !spec.accepts(&default.value)
    {
        errors.push(
            Diagnostic::error(default.at, "the default is not of the form that the parameter declares")
                .hint("at most 256 printable characters that match `pattern` as a whole"),
        );
    }
    if errors.len() > before {
        return None;
    }
    if spec.from.is_none() && spec.default.is_none() {
        errors.push(
            Diagnostic::error(key.span.clone(), format!("the parameter `{name}` can never have a value"))
                .hint("add `from: ticket.params.NAME`, or `default`"),
        );
        return None;
    }
    Some((spec, key.span.clone()))
}

/// What the probe uses must be declared; what is declared and used nowhere is probably a mistake.
pub(super) fn hold_against(
    declared: &[(ParamSpec, Span)],
    probes: &[(&dyn Probe, &Node)],
    expressions: &[String],
    errors: &mut Vec<Diagnostic>,
) {
    let mut used: Vec<String> = Vec::new();
    for (probe, node) in probes {
        for name in probe.params() {
            if !declared.iter().any(|(spec, _)| spec.name == name) && !used.contains(&name) {
                let at = slot(node, &name).unwrap_or_else(|| node.span.clone());
                let near = nearest(&name, declared.iter().map(|(spec, _)| spec.name.as_str()));
                errors.push(Diagnostic::error(at, format!("the parameter `{name}` is not declared")).hint(
                    match near {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("add it: params: {{ {name}: {{ from: ticket.params.{name} }} }}"),
                    },
                ));
                used.extend(near.map(str::to_owned)); // one mistake, one complaint
            }
            used.push(name);
        }
    }
    for (spec, at) in declared {
        let in_expression = expressions
            .iter()
            .any(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == spec.name));
        if !in_expression && !used.contains(&spec.name) {
            errors.push(
                Diagnostic::warning(at.clone(), format!("the parameter `{}` is used nowhere", spec.name))
                    .hint(format!("write {{{{ {} }}}} where its value belongs", spec.name)),
            );
        }
    }
}

/// Where `{{ name }}` stands within a kind's value.
fn slot(node: &Node, name: &str) -> Option<Span> {
    match &node.shape {
        Shape::Scalar { text, .. } => text.match_indices("{{").find_map(|(start, _)| {
            let rest = text.get(start + 2..)?;
            let end = rest.find("}}")?;
            (rest.get(..end)?.trim() == name).then(|| {
                let offset = text.get(..start).unwrap_or("").chars().count();
                yaml::inside(&node.span, text, offset, end + 4)
            })
        }),
        Shape::List(items) => items.iter().find_map(|item| slot(item, name)),
        Shape::Map(entries) => entries.iter().find_map(|(_, value)| slot(value, name)),
        Shape::Null => None,
    }
}
