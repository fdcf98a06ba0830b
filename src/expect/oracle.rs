//! Tests that hold our use of the language against the `cel` crate's own: its default parser, its interpreter.

use cel::IdedExpr;
use proptest::prelude::*;

use super::compile::compile;
use super::evaluate::{Evaluation, Stop};
use super::hold::hold;
use super::parse::{parse, places};
use super::values::same;
use super::{Held, Usual};
use crate::model::value::{Measures, Value};

const NAMES: [&str; 6] = ["whole", "other", "half", "word", "list", "map"];

fn no_usual(_: &str, _: f64) -> Usual {
    Usual::Yes
}

/// Texts of expressions, with every construct that both parsers know.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("whole"),
        Just("other"),
        Just("half"),
        Just("word"),
        Just("list"),
        Just("map"),
        Just("1"),
        Just("(-2)"),
        Just("0.5"),
        Just("3u"),
        Just("'a'"),
        Just("\"b\\n\""),
        Just("true"),
        Just("null"),
        Just("[]"),
        Just("{'k': 1}"),
    ]
    .prop_map(str::to_owned);
    let operators = ["==", "!=", "<", "<=", ">", ">=", "&&", "||", "+", "-", "*", "in"];
    leaf.prop_recursive(3, 16, 3, move |inner| {
        let two = (inner.clone(), proptest::sample::select(operators.to_vec()), inner.clone());
        prop_oneof![
            4 => two.clone().prop_map(|(a, sign, b)| format!("{a} {sign} {b}")),
            2 => two.prop_map(|(a, sign, b)| format!("({a} {sign} {b})")),
            1 => inner.clone().prop_map(|a| format!("!({a})")),
            1 => inner.clone().prop_map(|a| format!("-({a})")),
            1 => inner.clone().prop_map(|a| format!("size({a})")),
            1 => inner.clone().prop_map(|a| format!("({a}).k")),
            1 => inner.clone().prop_map(|a| format!("map.{}", if a.len() > 4 { "k" } else { "deep.k" })),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[{b}]")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}).startsWith({b})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}).all(x, x == {b})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("list.exists(x, x == {a} || {b})")),
            1 => inner.clone().prop_map(|a| format!("list.map(x, [x, {a}])")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("list.map(x, x != {a}, {b})")),
            1 => inner.clone().prop_map(|a| format!("list.filter(x, x != {a})")),
            1 => inner.prop_map(|a| format!("list.exists_one(x, x == {a})")),
        ]
    })
}

/// A tree without what numbers its parts.
fn shape(tree: &IdedExpr) -> String {
    let shown = format!("{tree:?}");
    regex::Regex::new(r"id: \d+, ").unwrap().replace_all(&shown, "").into_owned()
}

fn values() -> Vec<(&'static str, serde_json::Value)> {
    NAMES
        .into_iter()
        .zip([
            serde_json::json!(1),
            serde_json::json!(-2),
            serde_json::json!(0.5),
            serde_json::json!("ab"),
            serde_json::json!([1, "a", 0.5, {"k": 1}]),
            serde_json::json!({"k": 3, "deep": {"k": "b\n"}}),
        ])
        .collect()
}

fn measures() -> Measures {
    let mut measures = Measures::new();
    for (name, value) in values() {
        measures.set(name, Value::from(value));
    }
    measures
}

/// What the language's own interpreter makes of it.
fn by_the_crate(text: &str) -> Result<cel::Value, cel::ExecutionError> {
    let tree = parse(text).unwrap();
    let mut context = cel::Context::default();
    for (name, value) in values() {
        context.add_variable(name, value).unwrap();
    }
    cel::Value::resolve(&tree, &context)
}

fn as_ours(value: cel::Value) -> Option<Value> {
    Some(match value {
        cel::Value::Null => Value::Null,
        cel::Value::Bool(value) => Value::Bool(value),
        cel::Value::Int(value) => Value::Int(value),
        cel::Value::UInt(value) => Value::Int(value as i64),
        cel::Value::Float(value) => Value::Float(value),
        cel::Value::String(value) => Value::Text(value.to_string()),
        cel::Value::List(items) => Value::List(items.iter().cloned().map(as_ours).collect::<Option<_>>()?),
        cel::Value::Map(entries) => {
            let entries = entries.map.iter().map(|(key, value)| Some((key.to_string(), as_ours(value.clone())?)));
            Value::Map(entries.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Where the language's own interpreter comes to a value, it is ours, too.
    #[test]
    fn it_agrees_with_the_language(text in expression()) {
        let Ok(compiled) = compile(&text, &[], &NAMES, false) else {
            return Ok(()); // Refused for its types.
        };
        let Some(expected) = by_the_crate(&text).ok().and_then(as_ours) else {
            return Ok(());
        };
        let measures = measures();
        let mut evaluation = Evaluation::new(&compiled, &measures, &no_usual);
        let value = evaluation.value(&compiled.root);
        if text.contains('+') && matches!(value, Err(Stop::Unfit(_))) {
            return Ok(()); // The crate adds a map's keys to a list, of which the language knows nothing.
        }
        prop_assert!(value.as_ref().is_ok_and(|value| same(value, &expected)), "{text}: {value:?}, not {expected:?}");
    }

    #[test]
    fn nothing_seen_makes_it_panic(text in expression(), seen in proptest::collection::vec(
        (proptest::sample::select(NAMES.to_vec()), prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::Int),
            any::<f64>().prop_map(Value::Float),
            ".{0,8}".prop_map(Value::Text),
            proptest::collection::vec(any::<i64>().prop_map(Value::Int), 0..5).prop_map(Value::List),
        ]), 0..8)
    ) {
        let mut measures = Measures::new();
        for (name, value) in seen {
            measures.set(name, value);
        }
        if let Ok(compiled) = compile(&text, &[], &NAMES, true) {
            let held = hold(&compiled, &measures, &no_usual);
            prop_assert!(!matches!(held, Held::False { ref actual } if actual.is_empty()), "{text}");
        }
    }

    #[test]
    fn both_parsers_of_the_language_read_the_same(text in expression()) {
        // The crate's default parser needs far more stack than a test's thread has.
        let by_default = |text: String| {
            let thread = std::thread::Builder::new().stack_size(256 << 20);
            thread.spawn(move || cel::parser::Parser::new().parse(&text).unwrap()).unwrap().join().unwrap()
        };
        prop_assert_eq!(shape(&parse(&text).unwrap()), shape(&by_default(text.clone())), "{}", text);
    }

    #[test]
    fn places_are_told_for_whatever_can_be_read(text in expression()) {
        let tree = parse(&text).unwrap();
        prop_assert!(places(&text).unwrap().offset_for(tree.id).is_some());
    }
}

#[test]
fn the_language_itself_is_compared_with_often_enough() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let compared = (0..1_000)
        .filter(|_| {
            let text = expression().new_tree(&mut runner).unwrap().current();
            compile(&text, &[], &NAMES, false).is_ok() && by_the_crate(&text).is_ok()
        })
        .count();
    assert!(compared > 250, "only {compared} of 1,000");
}
