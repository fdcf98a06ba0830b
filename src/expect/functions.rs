//! What functions and arithmetic come to.

use std::borrow::Cow;

use super::evaluate::{Evaluation, Outcome, Stop};
use super::node::{Arithmetic, Function, Node};
use super::values::weight;
use crate::model::value::Value;

impl<'a> Evaluation<'a> {
    pub(super) fn call(&mut self, function: Function, arguments: &'a [Node]) -> Outcome<'a> {
        let mut values = Vec::with_capacity(2);
        for argument in arguments {
            values.push(self.value(argument)?);
        }
        let unfit = |this: &Self, at: usize, what: &str| match (arguments.get(at), values.get(at)) {
            (Some(node), Some(value)) => Stop::Unfit(format!("{}, {what}", this.shown(node, value))),
            _ => Stop::Unfit(what.to_owned()),
        };
        let first = values.first().map(AsRef::as_ref).unwrap_or(&Value::Null);
        let second = values.get(1).map(AsRef::as_ref);
        let value = match (function, first) {
            (Function::Size, Value::Text(text)) => {
                self.charge(text.len() as u64 / 64)?;
                Value::from(text.chars().count())
            }
            (Function::Size, Value::List(items)) => Value::from(items.len()),
            (Function::Size, Value::Map(entries)) => Value::from(entries.len()),
            (Function::Size, _) => return Err(unfit(self, 0, "which has no size")),
            (Function::Contains | Function::StartsWith | Function::EndsWith, Value::Text(text)) => {
                let Some(Value::Text(part)) = second else {
                    return Err(unfit(self, 1, "not text"));
                };
                Value::Bool(match function {
                    Function::StartsWith => text.starts_with(part.as_str()),
                    Function::EndsWith => text.ends_with(part.as_str()),
                    _ => {
                        self.charge(text.len() as u64 / 64)?;
                        text.contains(part.as_str())
                    }
                })
            }
            (Function::Contains | Function::StartsWith | Function::EndsWith, _) => {
                return Err(unfit(self, 0, "not text"));
            }
            (Function::Int, Value::Int(whole)) => Value::Int(*whole),
            (Function::Int, Value::Float(number)) if number.abs() < 9.2e18 => Value::Int(number.trunc() as i64),
            (Function::Int, Value::Text(text)) => match text.trim().parse() {
                Ok(whole) => Value::Int(whole),
                Err(_) => return Err(unfit(self, 0, "not a whole number")),
            },
            (Function::Int, _) => return Err(unfit(self, 0, "not a whole number")),
            (Function::Double, Value::Int(whole)) => Value::Float(*whole as f64),
            (Function::Double, Value::Float(number)) => Value::Float(*number),
            (Function::Double, Value::Text(text)) => match text.trim().parse() {
                Ok(number) => Value::Float(number),
                Err(_) => return Err(unfit(self, 0, "not a number")),
            },
            (Function::Double, _) => return Err(unfit(self, 0, "not a number")),
            (Function::Text, Value::Text(text)) => {
                self.charge(text.len() as u64 / 64)?;
                Value::Text(text.clone())
            }
            (Function::Text, Value::Bool(value)) => Value::Text(value.to_string()),
            (Function::Text, Value::Int(whole)) => Value::Text(whole.to_string()),
            (Function::Text, Value::Float(number)) => Value::Text(number.to_string()),
            (Function::Text, _) => return Err(unfit(self, 0, "which has no form as text")),
            (Function::Bool, Value::Bool(value)) => Value::Bool(*value),
            (Function::Bool, Value::Text(text)) => match text.as_str() {
                "true" | "True" | "TRUE" | "t" | "1" => Value::Bool(true),
                "false" | "False" | "FALSE" | "f" | "0" => Value::Bool(false),
                _ => return Err(unfit(self, 0, "neither true nor false")),
            },
            (Function::Bool, _) => return Err(unfit(self, 0, "neither true nor false")),
        };
        Ok(Cow::Owned(value))
    }

    pub(super) fn arithmetic(&mut self, how: Arithmetic, sides: &'a [Node; 2]) -> Result<Value, Stop> {
        let (left, right) = self.both(sides)?;
        match (how, left.as_ref(), right.as_ref()) {
            (Arithmetic::Add, Value::Text(a), Value::Text(b)) => {
                self.charge((a.len() + b.len()) as u64 / 16)?;
                return Ok(Value::Text(format!("{a}{b}")));
            }
            (Arithmetic::Add, Value::List(a), Value::List(b)) => {
                self.charge(weight(&left) + weight(&right))?;
                return Ok(Value::List(a.iter().chain(b).cloned().collect()));
            }
            _ => {}
        }
        if let (Value::Int(a), Value::Int(b)) = (left.as_ref(), right.as_ref()) {
            let whole = match how {
                Arithmetic::Add => Some(a.checked_add(*b)),
                Arithmetic::Subtract => Some(a.checked_sub(*b)),
                Arithmetic::Multiply => Some(a.checked_mul(*b)),
                Arithmetic::Divide if *b == 0 => return Err(Stop::Unknown("a division by zero".to_owned())),
                // There is one type of number: 1 / 4 is 0.25, as in all that measures are made from.
                Arithmetic::Divide if a.checked_rem(*b) == Some(0) => Some(a.checked_div(*b)),
                Arithmetic::Divide => None,
                Arithmetic::Remainder if *b == 0 => return Err(Stop::Unknown("a division by zero".to_owned())),
                Arithmetic::Remainder => Some(a.checked_rem(*b)),
            };
            if let Some(whole) = whole {
                return whole.map(Value::Int).ok_or_else(overflow);
            }
        }
        let (Some(a), Some(b)) = (left.as_f64(), right.as_f64()) else {
            let (at, value) = if left.as_f64().is_none() { (0, &left) } else { (1, &right) };
            return Err(Stop::Unfit(format!("{}, not a number", self.shown(&sides[at], value))));
        };
        Ok(Value::Float(match how {
            Arithmetic::Add => a + b,
            Arithmetic::Subtract => a - b,
            Arithmetic::Multiply => a * b,
            Arithmetic::Divide | Arithmetic::Remainder if b == 0.0 => {
                return Err(Stop::Unknown("a division by zero".to_owned()));
            }
            Arithmetic::Divide => a / b,
            Arithmetic::Remainder => a % b,
        }))
    }
}

pub(super) fn overflow() -> Stop {
    Stop::Unknown("a number grew too large".to_owned())
}
