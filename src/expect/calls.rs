//! Functions and loops: which there are, what they take, and what is checked about their arguments.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, LiteralValue, operators};

use super::Refused;
use super::compile::{Read, Reading, words};
use super::node::{Function, How, Loop, Node};
use super::scan::refuse;
use crate::model::measure::Type;
use crate::model::source::nearest;
use crate::model::value::Value;
use crate::model::{encode, units};

/// How many loops may stand in one another.
const LOOPS_LIMIT: usize = 2;

/// The memory that a compiled pattern may take, in bytes.
const PATTERN_LIMIT: usize = 1 << 20;

/// Functions as they are written, and whether they stand behind a dot.
pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("size", Function::Size),
    ("contains", Function::Contains),
    ("startsWith", Function::StartsWith),
    ("endsWith", Function::EndsWith),
    ("int", Function::Int),
    ("double", Function::Double),
    ("string", Function::Text),
    ("bool", Function::Bool),
];

/// The other calls that are understood.
const SPECIAL: &[&str] = &["usual", "duration", "matches", "has", "all", "exists", "exists_one", "map", "filter"];

/// Those of them that go through a list or a map.
const LOOPS: &[&str] = &["all", "exists", "exists_one", "existsOne", "map", "filter"];

/// What other languages call these.
const ELSEWHERE: &[(&str, &str)] = &[
    ("len", "size"),
    ("length", "size"),
    ("count", "size"),
    ("includes", "contains"),
    ("has_key", "has"),
    ("starts_with", "startsWith"),
    ("ends_with", "endsWith"),
    ("any", "exists"),
    ("some", "exists"),
    ("every", "all"),
    ("float", "double"),
    ("number", "double"),
    ("str", "string"),
    ("regex", "matches"),
    ("match", "matches"),
    ("normal", "usual"),
];

impl Reading<'_> {
    pub(super) fn usual(&mut self, expr: &IdedExpr, arguments: &[IdedExpr]) -> Read {
        let [argument] = arguments else {
            return Err(self.at(expr, "usual() takes one measure").hint("write `usual(name)`"));
        };
        let Expr::Ident(name) = &argument.expr else {
            return Err(self.at(argument, "usual() takes the plain name of a measure").hint("write `usual(name)`"));
        };
        let measure = self.measures.iter().find(|measure| measure.name == name);
        match measure {
            _ if self.loops.iter().any(|(local, _)| local == name) => {
                return Err(self.at(argument, format!("`{name}` is the name of a loop's element here, not a measure")));
            }
            None if self.extra.contains(&name.as_str()) => {
                return Err(self.at(argument, format!("`{name}` is not a measure: nothing is usual for it")));
            }
            None => return Err(self.unknown_name(argument, name)),
            Some(measure) if measure.kind != Type::Number => {
                let message = format!("`{name}` is {}; only a number can be usual", words(measure.kind));
                return Err(self.at(argument, message));
            }
            Some(_) => {}
        }
        let (node, _) = self.name(argument, name)?;
        if !self.usual.contains(name) {
            self.usual.push(name.clone());
        }
        match node {
            Node::Measure(at) => Ok((Node::Usual(at), Type::Bool)),
            _ => Err(self.at(argument, "usual() takes the plain name of a measure")),
        }
    }

    pub(super) fn duration(&self, expr: &IdedExpr, arguments: &[IdedExpr]) -> Read {
        let [argument] = arguments else {
            return Err(self.at(expr, "duration() takes one text").hint("write `duration(\"5m\")`"));
        };
        let Expr::Literal(LiteralValue::String(text)) = &argument.expr else {
            return Err(self.at(argument, "duration() takes text in quotes").hint("write `duration(\"5m\")`"));
        };
        let seconds = units::parse_duration(text.inner()).map_err(|why| self.at(argument, why))?.as_secs_f64();
        Ok((Node::Value(Value::Float(seconds)), Type::Number))
    }

    /// A macro of the language: the parser has spelt it out as a loop over an accumulator, from which its meaning is
    /// read back.
    pub(super) fn each(&mut self, expr: &IdedExpr, each: &ComprehensionExpr, depth: usize) -> Read {
        if self.loops.len() >= LOOPS_LIMIT {
            return Err(self.at(expr, format!("more than {LOOPS_LIMIT} loops in one another")));
        }
        let Some((how, body, then)) = meaning(each) else {
            return Err(self.at(expr, "this can't be used in an expectation"));
        };
        let (over, kind) = self.node(&each.iter_range, depth + 1)?;
        self.may_be(&each.iter_range, kind, &[Type::List, Type::Map], "is neither a list nor a map")?;
        self.loops.push((each.iter_var.clone(), if kind == Type::Map { Type::Text } else { Type::Any }));
        let read = self.body(how, body, then, depth);
        self.loops.pop();
        let (body, then) = read?;
        let kind = if how == How::Map { Type::List } else { Type::Bool };
        Ok((Node::Loop(Box::new(Loop { how, over, body, then })), kind))
    }

    fn body(
        &mut self,
        how: How,
        body: &IdedExpr,
        then: Option<&IdedExpr>,
        depth: usize,
    ) -> Result<(Node, Option<Node>), Refused> {
        let (node, kind) = self.node(body, depth + 1)?;
        if how != How::Map || then.is_some() {
            self.must_be(body, kind, Type::Bool)?;
        }
        let then = then.map(|then| self.node(then, depth + 1)).transpose()?;
        Ok((node, then.map(|(node, _)| node)))
    }

    pub(super) fn matches(&mut self, expr: &IdedExpr, arguments: &[&IdedExpr], depth: usize) -> Read {
        let [of, pattern] = arguments else {
            return Err(self.at(expr, "matches() takes one pattern").hint("write `body.matches(\"pattern\")`"));
        };
        let Expr::Literal(LiteralValue::String(written)) = &pattern.expr else {
            return Err(self.at(pattern, "a pattern must be written out, in quotes"));
        };
        let (node, kind) = self.node(of, depth + 1)?;
        self.may_be(of, kind, &[Type::Text], "is not text")?;
        let compiled =
            regex::RegexBuilder::new(written.inner()).size_limit(PATTERN_LIMIT).dfa_size_limit(PATTERN_LIMIT).build();
        let compiled = compiled.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => self.at(pattern, "the pattern is too large"),
            error => {
                let last = error.to_string().lines().last().unwrap_or_default().to_owned();
                let why = last.strip_prefix("error: ").unwrap_or(&last);
                self.at(pattern, format!("bad pattern: {}", encode::terminal(why)))
            }
        })?;
        Ok((Node::Matches(Box::new(node), compiled), Type::Bool))
    }

    pub(super) fn function(
        &mut self,
        expr: &IdedExpr,
        function: Function,
        member: bool,
        arguments: &[&IdedExpr],
        depth: usize,
    ) -> Read {
        let text = [Type::Text];
        let (count, takes, gives): (usize, &[Type], Type) = match function {
            Function::Size => (1, &[Type::Text, Type::List, Type::Map], Type::Number),
            Function::Contains | Function::StartsWith | Function::EndsWith => (2, &text, Type::Bool),
            Function::Int | Function::Double => (1, &[Type::Number, Type::Text], Type::Number),
            Function::Text => (1, &[Type::Number, Type::Text, Type::Bool], Type::Text),
            Function::Bool => (1, &[Type::Bool, Type::Text], Type::Bool),
        };
        let name = FUNCTIONS.iter().find(|(_, known)| *known == function).map_or("", |(name, _)| name);
        let as_member = count == 2;
        if arguments.len() != count || (member != as_member && function != Function::Size) {
            let usage = if as_member { format!("text.{name}(\"…\")") } else { format!("{name}(…)") };
            return Err(self.at(expr, format!("{name}() is not used like this")).hint(format!("write `{usage}`")));
        }
        let mut nodes = Vec::with_capacity(count);
        for argument in arguments {
            let (node, kind) = self.node(argument, depth + 1)?;
            self.may_be(argument, kind, takes, &format!("is nothing for {name}()"))?;
            nodes.push(node);
        }
        Ok((Node::Call(function, nodes), gives))
    }

    pub(super) fn unknown_function(&self, expr: &IdedExpr, call: &CallExpr) -> Refused {
        let name = call.func_name.as_str();
        let (offset, length) = self.function_place(expr, name);
        let refused = refuse(offset, length, format!("there is no function `{}`", encode::terminal(name)));
        if LOOPS.contains(&name) {
            return refuse(offset, length, "a loop takes a name for the element and what to do with it")
                .hint(format!("write `list.{name}(x, …)`"));
        }
        let known = FUNCTIONS.iter().map(|(name, _)| *name).chain(SPECIAL.iter().copied());
        let elsewhere = ELSEWHERE.iter().find(|(other, _)| *other == name).map(|(_, own)| *own);
        match elsewhere.or_else(|| nearest(name, known.clone())) {
            Some(near) => refused.hint(format!("did you mean `{near}`?")),
            None => refused.hint(format!("known are {}", known.collect::<Vec<_>>().join(", "))),
        }
    }

    /// Where a called name stands: before the bracket at which the parser places a call behind a dot.
    pub(super) fn function_place(&self, expr: &IdedExpr, name: &str) -> (usize, usize) {
        let length = name.chars().count();
        let (start, covered) = self.extent(expr);
        let place = start + covered;
        let chars: Vec<char> = self.text.chars().collect();
        let stands = |at: usize| name.chars().eq(chars.iter().skip(at).take(length).copied());
        let at = (0..=place).rev().find(|&at| stands(at)).unwrap_or(place);
        (at, length)
    }
}

/// What a spelt-out macro does, with what: `all(x, body)`, `map(x, then)`, `map(x, body, then)`.
fn meaning(each: &ComprehensionExpr) -> Option<(How, &IdedExpr, Option<&IdedExpr>)> {
    let accumulator = |expr: &IdedExpr| matches!(&expr.expr, Expr::Ident(name) if *name == each.accu_var);
    let Expr::Call(step) = &each.loop_step.expr else {
        return None;
    };
    match (step.func_name.as_str(), step.args.as_slice()) {
        (operators::LOGICAL_AND, [first, body]) if accumulator(first) => Some((How::All, body, None)),
        (operators::LOGICAL_OR, [first, body]) if accumulator(first) => Some((How::Exists, body, None)),
        (operators::CONDITIONAL, [body, _, _]) if matches!(each.accu_init.expr, Expr::Literal(_)) => {
            Some((How::ExistsOne, body, None))
        }
        (operators::CONDITIONAL, [body, step, _]) => Some((How::Map, body, Some(element(step)?))),
        (operators::ADD, [first, _]) if accumulator(first) => Some((How::Map, element(&each.loop_step)?, None)),
        _ => None,
    }
}

/// The one element that `accumulator + [element]` appends.
fn element(step: &IdedExpr) -> Option<&IdedExpr> {
    let Expr::Call(call) = &step.expr else {
        return None;
    };
    match call.args.get(1).map(|list| &list.expr) {
        Some(Expr::List(list)) => list.elements.first(),
        _ => None,
    }
}
