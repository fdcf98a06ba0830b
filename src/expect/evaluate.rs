//! Evaluates a checked expression over what was seen: three-valued, without copies of what it reads, within a budget.
//!
//! The language's own interpreter isn't used here, because it can't be bounded (a loop over a list in a loop over a
//! list, each step searching a body of 1 MiB, runs for hours), copies each element that it visits, knows `NaN == NaN`
//! as a plain false, and can't add a whole number to another. The tests hold the two against one another.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::Usual;
use super::compile::words;
use super::functions::overflow;
use super::node::{Compiled, How, Loop, Node, Order};
use super::values::{article, kind_of, numbers, same, weight};
use crate::model::measure::Type;
use crate::model::value::{Measures, Value};

/// The most that one evaluation may do: a node visited, or 64 bytes looked at or copied, count as one. About 0.2 s.
pub(super) const WORK_LIMIT: u64 = 2_000_000;

/// The longest list or map that a loop goes through.
pub(super) const LOOP_LIMIT: usize = 10_000;

/// How many characters of a value are shown.
pub(super) const SHOWN: usize = 80;

/// Why there is no value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stop {
    /// We don't know: a measure is missing, a number is none, what is usual isn't known.
    Unknown(String),
    /// What was seen isn't such that the expression could hold: a key is missing, text where a number belongs.
    Unfit(String),
    /// The budget is spent; nothing may be concluded.
    Exhausted,
}

pub(super) type Outcome<'a> = Result<Cow<'a, Value>, Stop>;

pub(super) struct Evaluation<'a> {
    compiled: &'a Compiled,
    measures: &'a Measures,
    usual: &'a dyn Fn(&str, f64) -> Usual,
    locals: Vec<Cow<'a, Value>>,
    work_left: u64,
}

impl<'a> Evaluation<'a> {
    pub fn new(compiled: &'a Compiled, measures: &'a Measures, usual: &'a dyn Fn(&str, f64) -> Usual) -> Self {
        Evaluation { compiled, measures, usual, locals: Vec::new(), work_left: WORK_LIMIT }
    }

    /// What `usual(…)` says of a measure.
    pub fn usual(&mut self, at: usize) -> Result<Usual, Stop> {
        let value = self.measure(at)?;
        match value.as_f64() {
            Some(number) => Ok((self.usual)(&self.compiled.names[at].name, number)),
            None => Err(Stop::Unknown(format!("{} is not a number", self.compiled.names[at].name))),
        }
    }

    pub fn condition(&mut self, node: &'a Node) -> Result<bool, Stop> {
        match node {
            Node::Not(of) => self.condition(of).map(|held| !held),
            Node::And(sides) => {
                let left = self.condition(&sides[0]);
                match left {
                    Ok(false) | Err(Stop::Exhausted) => left,
                    left => and(left, self.condition(&sides[1])),
                }
            }
            Node::Or(sides) => {
                let left = self.condition(&sides[0]);
                match left {
                    Ok(true) | Err(Stop::Exhausted) => left,
                    left => or(left, self.condition(&sides[1])),
                }
            }
            _ => match self.value(node)?.as_ref() {
                Value::Bool(held) => Ok(*held),
                other => Err(Stop::Unfit(format!("{}, not true or false", self.shown(node, other)))),
            },
        }
    }

    pub fn value(&mut self, node: &'a Node) -> Outcome<'a> {
        self.charge(1)?;
        Ok(match node {
            Node::Value(value) => Cow::Borrowed(value),
            Node::Measure(at) => Cow::Borrowed(self.measure(*at)?),
            Node::Local(at) => {
                let local = self.locals.get(*at).cloned().ok_or(Stop::Exhausted)?;
                if let Cow::Owned(value) = &local {
                    self.charge(weight(value))?;
                }
                local
            }
            Node::Usual(at) => match self.usual(*at)? {
                Usual::Yes => truth(true),
                Usual::No { .. } => truth(false),
                Usual::Unknown { why } => return Err(Stop::Unknown(why)),
            },
            Node::Not(_) | Node::And(_) | Node::Or(_) => truth(self.condition(node)?),
            Node::Negate(of) => match self.value(of)?.as_ref() {
                Value::Int(value) => Cow::Owned(Value::Int(value.checked_neg().ok_or_else(overflow)?)),
                Value::Float(value) => Cow::Owned(Value::Float(-value)),
                other => return Err(Stop::Unfit(format!("{}, not a number", self.shown(of, other)))),
            },
            Node::Choose(three) => {
                let way = if self.condition(&three[0])? { &three[1] } else { &three[2] };
                self.value(way)?
            }
            Node::Equal(sides) => truth(self.equal(sides)?),
            Node::NotEqual(sides) => truth(!self.equal(sides)?),
            Node::Order(order, sides) => {
                let found = self.compare(sides)?;
                truth(match order {
                    Order::Less => found == Ordering::Less,
                    Order::LessOrEqual => found != Ordering::Greater,
                    Order::Greater => found == Ordering::Greater,
                    Order::GreaterOrEqual => found != Ordering::Less,
                })
            }
            Node::In(sides) => truth(self.contains(sides)?),
            Node::Arithmetic(how, sides) => Cow::Owned(self.arithmetic(*how, sides)?),
            Node::Member(sides) => self.member(sides)?,
            Node::Has(of, key) => match self.value(of)?.as_ref() {
                Value::Map(entries) => truth(entries.contains_key(key)),
                _ => truth(false),
            },
            Node::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for item in items {
                    list.push(self.owned(item)?);
                }
                Cow::Owned(Value::List(list))
            }
            Node::Map(entries) => {
                let mut map = std::collections::BTreeMap::new();
                for (key, item) in entries {
                    map.insert(key.clone(), self.owned(item)?);
                }
                Cow::Owned(Value::Map(map))
            }
            Node::Loop(each) => self.each(each)?,
            Node::Matches(of, pattern) => match self.value(of)?.as_ref() {
                Value::Text(text) => {
                    // An automaton looks at each byte in several states: dearer than a plain search.
                    self.charge(text.len() as u64 / 8)?;
                    truth(pattern.is_match(text))
                }
                other => return Err(Stop::Unfit(format!("{}, not text", self.shown(of, other)))),
            },
            Node::Call(function, arguments) => self.call(*function, arguments)?,
        })
    }

    pub fn measure(&self, at: usize) -> Result<&'a Value, Stop> {
        let name = &self.compiled.names[at];
        let unknown = |what: &str| Stop::Unknown(format!("{} {what}", name.name));
        match (self.measures.get(&name.name), name.kind) {
            (None, _) => Err(unknown("was not seen")),
            (Some(Value::Null), kind) if kind != Type::Any => Err(unknown("was not seen")),
            (Some(Value::Float(value)), _) if value.is_nan() => Err(unknown("is NaN")),
            (Some(value), kind) if kind != Type::Any && kind != kind_of(value) => Err(Stop::Unknown(format!(
                "{} is {}, where it should be {}",
                name.name,
                value.show(SHOWN),
                words(kind)
            ))),
            (Some(value), _) => Ok(value),
        }
    }

    fn owned(&mut self, node: &'a Node) -> Result<Value, Stop> {
        let value = self.value(node)?;
        self.charge(weight(&value))?;
        Ok(value.into_owned())
    }

    pub(super) fn both(&mut self, sides: &'a [Node; 2]) -> Result<(Cow<'a, Value>, Cow<'a, Value>), Stop> {
        let left = self.value(&sides[0])?;
        let right = self.value(&sides[1])?;
        for (node, value) in sides.iter().zip([&left, &right]) {
            if value.as_f64().is_some_and(f64::is_nan) {
                return Err(Stop::Unknown(match node.path(&self.compiled.names) {
                    Some(path) => format!("{path} is NaN"),
                    None => "a number is NaN".to_owned(),
                }));
            }
        }
        Ok((left, right))
    }

    fn equal(&mut self, sides: &'a [Node; 2]) -> Result<bool, Stop> {
        let (left, right) = self.both(sides)?;
        self.charge(weight(&left).min(weight(&right)))?;
        Ok(same(&left, &right))
    }

    fn compare(&mut self, sides: &'a [Node; 2]) -> Result<Ordering, Stop> {
        let (left, right) = self.both(sides)?;
        let found = match (left.as_ref(), right.as_ref()) {
            (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
            (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
            (left, right) => numbers(left, right),
        };
        found.ok_or_else(|| {
            let of = |at: usize, value: &Value| format!("{} ({})", self.shown(&sides[at], value), article(value));
            Stop::Unfit(format!("{} and {} don't compare", of(0, &left), of(1, &right)))
        })
    }

    fn contains(&mut self, sides: &'a [Node; 2]) -> Result<bool, Stop> {
        let (wanted, within) = self.both(sides)?;
        match within.as_ref() {
            Value::List(items) => {
                self.charge(weight(&within))?;
                Ok(items.iter().any(|item| same(item, &wanted)))
            }
            Value::Map(entries) => Ok(matches!(wanted.as_ref(), Value::Text(key) if entries.contains_key(key))),
            other => Err(Stop::Unfit(format!("{}, neither a list nor a map", self.shown(&sides[1], other)))),
        }
    }

    fn member(&mut self, sides: &'a [Node; 2]) -> Outcome<'a> {
        let of = self.value(&sides[0])?;
        let key = self.value(&sides[1])?;
        if let (Value::Float(at), Value::List(items)) = (key.as_ref(), of.as_ref())
            && !items.is_empty()
            && at.fract() == 0.0
        {
            return self.element(&sides[0], of, *at as i64);
        }
        match (of.as_ref(), key.as_ref()) {
            (Value::Map(entries), Value::Text(name)) if entries.contains_key(name) => Ok(match of {
                Cow::Borrowed(Value::Map(entries)) => entries.get(name).map_or(truth(false), Cow::Borrowed),
                Cow::Owned(Value::Map(mut entries)) => Cow::Owned(entries.remove(name).unwrap_or(Value::Null)),
                other => other,
            }),
            (Value::Map(_), Value::Text(name)) => {
                let path = sides[0].path(&self.compiled.names).unwrap_or_else(|| "a map".to_owned());
                Err(Stop::Unfit(format!(
                    "{path} has no key `{}`",
                    Value::from(name.as_str()).show(SHOWN).trim_matches('"')
                )))
            }
            (Value::List(_), Value::Int(at)) => {
                let at = *at;
                self.element(&sides[0], of, at)
            }
            (Value::Map(_), other) => Err(Stop::Unfit(format!("{}, no key of a map", self.shown(&sides[1], other)))),
            (Value::List(_), other) => {
                Err(Stop::Unfit(format!("{}, no place in a list", self.shown(&sides[1], other))))
            }
            (other, _) => Err(Stop::Unfit(format!("{}, which has no members", self.shown(&sides[0], other)))),
        }
    }

    fn element(&mut self, node: &'a Node, of: Cow<'a, Value>, at: i64) -> Outcome<'a> {
        let place = usize::try_from(at).ok();
        let length = match of.as_ref() {
            Value::List(items) => items.len(),
            _ => 0,
        };
        let found = match (of, place) {
            (Cow::Borrowed(Value::List(items)), Some(place)) => items.get(place).map(Cow::Borrowed),
            (Cow::Owned(Value::List(mut items)), Some(place)) if place < length => {
                Some(Cow::Owned(items.swap_remove(place)))
            }
            _ => None,
        };
        found.ok_or_else(|| {
            let path = node.path(&self.compiled.names).unwrap_or_else(|| "a list".to_owned());
            Stop::Unfit(format!("{path} has no element {at}: its size is {length}"))
        })
    }

    fn each(&mut self, each: &'a Loop) -> Outcome<'a> {
        let over = self.value(&each.over)?;
        let items: Vec<Cow<'a, Value>> = match over {
            Cow::Borrowed(Value::List(items)) => items.iter().take(LOOP_LIMIT + 1).map(Cow::Borrowed).collect(),
            Cow::Owned(Value::List(items)) => items.into_iter().map(Cow::Owned).collect(),
            ref other => match other.as_ref() {
                Value::Map(entries) => {
                    entries.keys().take(LOOP_LIMIT + 1).map(|key| Cow::Owned(Value::Text(key.clone()))).collect()
                }
                other => {
                    return Err(Stop::Unfit(format!("{}, neither a list nor a map", self.shown(&each.over, other))));
                }
            },
        };
        if items.len() > LOOP_LIMIT {
            let path = each.over.path(&self.compiled.names).unwrap_or_else(|| "a list".to_owned());
            return Err(Stop::Unknown(format!("{path} has more than {LOOP_LIMIT} elements, too many to go through")));
        }
        self.charge(items.len() as u64 / 8)?;
        let depth = self.locals.len();
        let result = self.every(each, items);
        self.locals.truncate(depth);
        result
    }

    fn every(&mut self, each: &'a Loop, items: Vec<Cow<'a, Value>>) -> Outcome<'a> {
        let depth = self.locals.len();
        let mut held = Ok(each.how == How::All);
        let mut found = 0_u32;
        let mut kept = Vec::new();
        for item in items {
            self.locals.truncate(depth);
            self.locals.push(item);
            match each.how {
                How::All | How::Exists => {
                    let this = self.condition(&each.body);
                    match (each.how, &this) {
                        (_, Err(Stop::Exhausted)) => return Err(Stop::Exhausted),
                        (How::All, Ok(false)) => return Ok(truth(false)),
                        (How::Exists, Ok(true)) => return Ok(truth(true)),
                        _ => {}
                    }
                    held = if each.how == How::All { and(held, this) } else { or(held, this) };
                }
                How::ExistsOne => found += u32::from(self.condition(&each.body)?),
                How::Map => match &each.then {
                    Some(then) => {
                        if self.condition(&each.body)? {
                            kept.push(self.owned(then)?);
                        }
                    }
                    None => kept.push(self.owned(&each.body)?),
                },
            }
        }
        match each.how {
            How::All | How::Exists => held.map(truth),
            How::ExistsOne => Ok(truth(found == 1)),
            How::Map => Ok(Cow::Owned(Value::List(kept))),
        }
    }

    /// `json.count is "abc"`, or only the value where it stands at no path.
    pub fn shown(&self, node: &Node, value: &Value) -> String {
        match node.path(&self.compiled.names) {
            Some(path) => format!("{path} is {}", value.show(SHOWN)),
            None => value.show(SHOWN),
        }
    }

    pub(super) fn charge(&mut self, work: u64) -> Result<(), Stop> {
        match self.work_left.checked_sub(work) {
            Some(left) => {
                self.work_left = left;
                Ok(())
            }
            None => {
                self.work_left = 0;
                Err(Stop::Exhausted)
            }
        }
    }

    pub fn exhausted(&self) -> bool {
        self.work_left == 0
    }
}

pub(super) fn truth<'a>(value: bool) -> Cow<'a, Value> {
    Cow::Borrowed(if value { &Value::Bool(true) } else { &Value::Bool(false) })
}

/// False beats everything; what is unfit will not become true, so it beats what isn't known.
fn and(left: Result<bool, Stop>, right: Result<bool, Stop>) -> Result<bool, Stop> {
    match (left, right) {
        (Err(Stop::Exhausted), _) | (_, Err(Stop::Exhausted)) => Err(Stop::Exhausted),
        (Ok(false), _) | (_, Ok(false)) => Ok(false),
        (Ok(true), other) | (other, Ok(true)) => other,
        (_, Err(Stop::Unfit(what))) => Err(Stop::Unfit(what)),
        (left, _) => left,
    }
}

/// True beats everything; what isn't known may yet be true, so it beats what is unfit.
fn or(left: Result<bool, Stop>, right: Result<bool, Stop>) -> Result<bool, Stop> {
    match (left, right) {
        (Err(Stop::Exhausted), _) | (_, Err(Stop::Exhausted)) => Err(Stop::Exhausted),
        (Ok(true), _) | (_, Ok(true)) => Ok(true),
        (Ok(false), other) | (other, Ok(false)) => other,
        (_, Err(Stop::Unknown(why))) => Err(Stop::Unknown(why)),
        (left, _) => left,
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile::compile;
    use super::super::hold::hold;
    use super::super::{Held, Usual};
    use super::*;

    fn no_usual(_: &str, _: f64) -> Usual {
        Usual::Yes
    }

    fn held(text: &str, measures: &Measures) -> Held {
        hold(&compile(text, &[], &["json", "body"], true).unwrap(), measures, &no_usual)
    }

    #[test]
    fn work_is_bounded() {
        let mut measures = Measures::new();
        measures.set("json", Value::List((0..10_000).map(Value::Int).collect())).set("body", "x".repeat(1 << 20));
        for text in [
            "json.all(a, json.all(b, a + b >= 0))",
            "json.all(a, !body.contains(string(a)))",
            "json.all(a, !body.matches('y+z'))",
            "json.all(a, size(body) > a)",
            "json.all(a, body != string(a) + body)",
            "size(json.map(a, body)) == 1",
            "size(json.map(a, json)) == 1",
            "json.all(a, size(json + json) > 0)",
            "json.all(a, !(-1 in json))",
            "json.all(a, [json, json] == [json, json])",
            "json.exists(a, json.exists(b, json[a] < 0))",
        ] {
            let why = "the expectation takes too much work on what was seen".to_owned();
            assert_eq!(held(text, &measures), Held::Unknown { why }, "{text}");
        }
        assert_eq!(held("json.all(a, a >= 0 && size(string(a)) < 9)", &measures), Held::True);
        assert_eq!(held("json.exists(a, json[a] == 9999)", &measures), Held::True);
    }

    #[test]
    fn a_list_that_is_too_long_is_not_gone_through() {
        let mut measures = Measures::new();
        measures.set("json", Value::List(vec![Value::Int(1); LOOP_LIMIT + 1]));
        let why = "json has more than 10000 elements, too many to go through".to_owned();
        assert_eq!(held("json.all(a, a == 1)", &measures), Held::Unknown { why });
        assert_eq!(held("size(json) == 10001", &measures), Held::True);
    }
}
