//! Values as expectations compare them: one type of number, equality that looks inside, and what looking costs.

use std::cmp::Ordering;

use super::compile::words;
use crate::model::measure::Type;
use crate::model::value::Value;

/// Which of two numbers is larger, whole or not; `None` where one is none.
pub(super) fn numbers(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

pub(super) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::List(left), Value::List(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Map(left), Value::Map(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|((a, left), (b, right))| a == b && same(left, right))
        }
        _ => numbers(left, right) == Some(Ordering::Equal) || left == right,
    }
}

/// What looking at all of a value, or copying it, costs.
pub(super) fn weight(value: &Value) -> u64 {
    1 + match value {
        Value::Text(text) => text.len() as u64 / 64,
        Value::List(items) => items.iter().map(weight).sum(),
        Value::Map(entries) => entries.iter().map(|(key, value)| 1 + key.len() as u64 / 64 + weight(value)).sum(),
        _ => 0,
    }
}

pub(super) fn kind_of(value: &Value) -> Type {
    match value {
        Value::Int(_) | Value::Float(_) => Type::Number,
        Value::Bool(_) => Type::Bool,
        Value::Text(_) => Type::Text,
        Value::List(_) => Type::List,
        Value::Map(_) => Type::Map,
        Value::Null => Type::Any,
    }
}

pub(super) fn article(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        other => words(kind_of(other)),
    }
}
