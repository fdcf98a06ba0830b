//! What must hold: the `expect` list, compiled against the kind's measures, errors at their own column.

use super::check::Expectation;
use crate::evidence::{Kind, ODD};
use crate::expect::{Expression, Refused};
use crate::model::source::{Diagnostic, Span};
use crate::yaml::{self, Keys, Node, Shape};

/// The most expectations of a check.
const LIMIT: usize = 64;

/// Reads a list of expectations: text, or `{ that, else, note }`.
pub(super) fn read_list(
    node: &Node,
    kind: &Kind,
    parameters: &[&str],
    errors: &mut Vec<Diagnostic>,
) -> Vec<Expectation> {
    let items = match &node.shape {
        Shape::List(items) => items,
        Shape::Scalar { text, .. } => {
            let short: String = text.chars().take(60).collect();
            errors.push(
                Diagnostic::error(node.span.clone(), "`expect` is a list of expectations")
                    .hint(format!("write it as a list: [ \"{short}\" ]")),
            );
            return Vec::new();
        }
        _ => {
            errors.push(
                Diagnostic::error(node.span.clone(), format!("`expect` is a list, found {}", node.describe()))
                    .hint("write one `- …` an expectation"),
            );
            return Vec::new();
        }
    };
    if items.is_empty() || items.len() > LIMIT {
        let hint = if items.is_empty() { "remove the key: the kind has a default" } else { "split the check" };
        errors.push(
            Diagnostic::error(
                node.span.clone(),
                format!("`expect` has {} items, 1 to {LIMIT} are allowed", items.len()),
            )
            .hint(hint),
        );
        return Vec::new();
    }
    items.iter().filter_map(|item| read_one(item, kind, parameters, errors)).collect()
}

fn read_one(item: &Node, kind: &Kind, parameters: &[&str], errors: &mut Vec<Diagnostic>) -> Option<Expectation> {
    let (that, odd, note) = match &item.shape {
        Shape::Map(entries) if item.get("that").is_none() => {
            // `- json.state == "a" : b`, `a ? b : c` in brackets: a colon made a map out of an expression.
            let key = entries.first().map(|(key, _)| key).unwrap_or(item);
            let known = ["that", "else", "note"];
            let near = key.text().and_then(|name| crate::model::source::nearest(name, known));
            let error = match near {
                Some(_) => yaml::unknown_key(key, known),
                None => Diagnostic::error(key.span.clone(), "an expectation is a text or a map with `that`")
                    .hint("quote the expression if the colon belongs to it"),
            };
            errors.push(error);
            return None;
        }
        Shape::Map(_) => {
            let mut keys = Keys::of(item, "an expectation").map_err(|error| errors.push(error)).ok()?;
            let that = keys.take("that");
            let outcome = keys.take("else");
            let note = keys.read::<String>("note", errors);
            keys.finish(errors);
            let odd = match outcome.map(|node| (node, node.text())) {
                None | Some((_, Some("bad"))) => false,
                Some((_, Some("odd"))) => true,
                Some((node, _)) => {
                    errors.push(
                        Diagnostic::error(
                            node.span.clone(),
                            format!("`else` is odd or bad, found {}", node.describe()),
                        )
                        .hint("without `else` a broken expectation is bad"),
                    );
                    false
                }
            };
            (that?, odd, note)
        }
        _ => (item, false, None),
    };
    let Some(text) = that.text() else {
        errors.push(
            Diagnostic::error(that.span.clone(), format!("an expectation is a text, found {}", that.describe()))
                .hint("quote it if it contains brackets, braces or a colon"),
        );
        return None;
    };
    match Expression::condition(text, kind.measures, parameters) {
        Ok(expression) => Some(Expectation { that: expression, odd, note, at: that.span.clone() }),
        Err(refused) => {
            errors.push(at_its_column(&that.span, text, refused, kind));
            None
        }
    }
}

/// The kind's own expectations, for a check that declares none. They stand where the kind is named.
pub(super) fn defaults(kind: &Kind, at: &Span, errors: &mut Vec<Diagnostic>) -> Vec<Expectation> {
    let compile = |text: &&'static str| {
        let (text, odd) = text.strip_prefix(ODD).map_or((*text, false), |text| (text, true));
        match Expression::condition(text, kind.measures, &[]) {
            Ok(that) => Some(Expectation { that, odd, note: None, at: at.clone() }),
            Err(refused) => {
                let message = format!("the default of `{}` can't be used: {}", kind.name, refused.message);
                errors.push(Diagnostic::error(at.clone(), message).hint("declare `expect`"));
                None
            }
        }
    };
    kind.default_expect.iter().filter_map(compile).collect()
}

fn at_its_column(scalar: &Span, text: &str, refused: Refused, kind: &Kind) -> Diagnostic {
    let at = yaml::inside(scalar, text, refused.offset, refused.length);
    let hint = refused.hint.unwrap_or_else(|| {
        let measures: Vec<&str> = kind.measures.iter().map(|measure| measure.name).collect();
        format!("measures of {}: {}", kind.name, measures.join(", "))
    });
    Diagnostic::error(at, refused.message).hint(hint)
}
