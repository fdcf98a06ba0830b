//! Holds a condition against what was seen, and says what it was that broke it.

use super::evaluate::{Evaluation, SHOWN, Stop};
use super::node::{Compiled, Function, Node};
use super::{Held, Usual};
use crate::model::value::Measures;

/// The most actual values that are named for one broken expectation.
const NAMED: usize = 6;

pub(super) fn hold(compiled: &Compiled, measures: &Measures, usual: &dyn Fn(&str, f64) -> Usual) -> Held {
    let mut evaluation = Evaluation::new(compiled, measures, usual);
    let mut broken: Vec<String> = Vec::new();
    let mut unknown: Vec<String> = Vec::new();
    for condition in compiled.root.conditions() {
        match evaluation.condition(condition) {
            Ok(true) => {}
            Ok(false) => {
                let mut seen = Vec::new();
                actual(&mut evaluation, compiled, condition, &mut seen);
                if seen.is_empty() {
                    seen.push("a part of it never holds, whatever is seen".to_owned());
                }
                seen.into_iter().for_each(|what| add(&mut broken, what));
            }
            Err(Stop::Unfit(what)) => add(&mut broken, what),
            Err(Stop::Unknown(why)) => add(&mut unknown, why),
            Err(Stop::Exhausted) => break,
        }
    }
    // What was cut short proves nothing, even where a part of it already failed or held.
    if evaluation.exhausted() {
        return Held::Unknown { why: "the expectation takes too much work on what was seen".to_owned() };
    }
    if !broken.is_empty() {
        broken.truncate(NAMED);
        return Held::False { actual: broken.join(", ") };
    }
    if !unknown.is_empty() {
        return Held::Unknown { why: unknown.join(", ") };
    }
    Held::True
}

fn add(to: &mut Vec<String>, what: String) {
    if !to.contains(&what) {
        to.push(what);
    }
}

/// The actual value of each thing that a broken condition looks at.
fn actual<'a>(evaluation: &mut Evaluation<'a>, compiled: &'a Compiled, node: &'a Node, out: &mut Vec<String>) {
    if let Node::Usual(at) = node {
        let name = &compiled.names[*at].name;
        match (evaluation.measure(*at), evaluation.usual(*at)) {
            (Ok(value), Ok(Usual::No { usually })) => add(out, format!("{name} is {}, {usually}", value.show(SHOWN))),
            (Ok(value), _) => add(out, format!("{name} is {}", value.show(SHOWN))),
            (Err(stop), _) => add(out, words(stop)),
        }
        return;
    }
    let shown = match node {
        Node::Call(Function::Size, of) => {
            of.first().and_then(|of| of.path(&compiled.names)).map(|path| format!("size({path})"))
        }
        Node::Has(of, key) => match (of.path(&compiled.names), evaluation.condition(node)) {
            (Some(path), Ok(true)) => return add(out, format!("{path} has a key `{key}`")),
            (Some(path), Ok(false)) => return add(out, format!("{path} has no key `{key}`")),
            _ => None,
        },
        _ => node.path(&compiled.names),
    };
    match shown {
        Some(shown) => match evaluation.value(node) {
            Ok(value) => add(out, format!("{shown} is {}", value.show(SHOWN))),
            Err(stop) => add(out, words(stop)),
        },
        None => node.parts().into_iter().for_each(|part| actual(evaluation, compiled, part, out)),
    }
}

pub(super) fn words(stop: Stop) -> String {
    match stop {
        Stop::Unknown(what) | Stop::Unfit(what) => what,
        Stop::Exhausted => "too much work".to_owned(),
    }
}
