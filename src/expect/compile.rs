//! From text to a checked expression: the language's parser reads it, then every name, type, pattern and duration is
//! checked here, so that what can't hold is refused when the file is loaded, at its own place.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, SourceInfo, operators};

use super::Refused;
use super::node::{Arithmetic, Compiled, Function, How, Loop, Name, Node, Order};
use super::scan::{refuse, scan};
use crate::model::measure::{Measure, Type};
use crate::model::source::nearest;
use crate::model::value::Value;
use crate::model::{encode, units};

/// How deep an expression may be nested.
const DEPTH_LIMIT: usize = 40;

/// How many loops may stand in one another.
const LOOPS_LIMIT: usize = 2;

/// The memory that a compiled pattern may take, in bytes.
const PATTERN_LIMIT: usize = 1 << 20;

/// Functions as they are written, and whether they stand behind a dot.
const FUNCTIONS: &[(&str, Function)] = &[
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

/// Compiles a text whose names are the measures and the extra ones.
///
/// # Errors
/// The first thing that is wrong, at its place.
pub(super) fn compile(text: &str, measures: &[Measure], extra: &[&str], condition: bool) -> Result<Compiled, Refused> {
    let known = |word: &str| measures.iter().any(|measure| measure.name == word) || extra.contains(&word);
    scan(text, &known)?;
    let (tree, places) = cel::Env::default()
        .with_optional_support(false)
        .parser()
        .max_recursion_depth(DEPTH_LIMIT as u16 + 20)
        .parse_with_source_info(text)
        .map_err(|errors| plain(text, &errors))?;
    let mut reading =
        Reading { text, places, measures, extra, names: Vec::new(), usual: Vec::new(), loops: Vec::new() };
    let (root, kind) = reading.node(&tree, 0)?;
    if condition {
        reading.must_be(&tree, kind, Type::Bool)?;
        if reading.names.is_empty() {
            return Err(refuse(0, text.chars().count(), "it names no measure, so it says nothing about what was seen"));
        }
    }
    let Reading { names, usual, .. } = reading;
    let measures = names
        .iter()
        .filter(|name| measures.iter().any(|measure| measure.name == name.name))
        .map(|name| name.name.clone());
    Ok(Compiled { text: text.to_owned(), root, measures: measures.collect(), usual, names })
}

/// A type with its article.
pub(super) fn words(kind: Type) -> &'static str {
    match kind {
        Type::Number => "a number",
        Type::Bool => "true or false",
        Type::Text => "text",
        Type::List => "a list",
        Type::Map => "a map",
        Type::Any => "any value",
    }
}

/// The parser's first complaint in plain words.
fn plain(text: &str, errors: &cel::ParseErrors) -> Refused {
    let end = text.trim_end().chars().count();
    let Some(error) = errors.errors.first() else {
        return refuse(0, end, "this can't be read as an expression");
    };
    let message = error.msg.as_str();
    if message.contains("recursion limit") {
        return refuse(0, end, format!("the expression is nested deeper than {DEPTH_LIMIT}"));
    }
    let (line, column) = (usize::try_from(error.pos.0).unwrap_or(0), usize::try_from(error.pos.1).unwrap_or(0));
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(|line| line.chars().count()).sum();
    let offset = (before + column.saturating_sub(1)).min(end);
    if message.contains("<EOF>' expecting") || message.contains("at input '<EOF>'") || offset == end {
        return refuse(end, 1, "the expression ends where something is expected");
    }
    if let Some(word) = message.strip_prefix("reserved identifier: ") {
        return refuse(offset, word.chars().count(), format!("`{word}` is a reserved word"))
            .hint("write [\"…\"] for a key");
    }
    if message.contains("invalid int literal") || message.contains("invalid double literal") {
        return refuse(offset, 1, "this number is too large");
    }
    let rest = || text.chars().skip(offset);
    let word = rest().take_while(|c| c.is_alphanumeric() || *c == '_').count();
    let length = if word > 0 { word } else { 1 };
    let found: String = rest().take(length).collect();
    if message.contains("Syntax error") || message.contains("unexpected") {
        return refuse(offset, length, format!("`{}` is not expected here", encode::terminal(&found)));
    }
    refuse(offset, length, encode::terminal(message))
}

struct Reading<'a> {
    text: &'a str,
    places: SourceInfo,
    measures: &'a [Measure],
    extra: &'a [&'a str],
    names: Vec<Name>,
    usual: Vec<String>,
    /// The names of the loops that are open, outermost first.
    loops: Vec<(String, Type)>,
}

type Read = Result<(Node, Type), Refused>;

impl Reading<'_> {
    fn node(&mut self, expr: &IdedExpr, depth: usize) -> Read {
        if depth > DEPTH_LIMIT {
            return Err(self.at(expr, format!("the expression is nested deeper than {DEPTH_LIMIT}")));
        }
        match &expr.expr {
            Expr::Literal(literal) => self.literal(expr, literal),
            Expr::Ident(name) => self.name(expr, name),
            Expr::Select(select) => {
                let (of, kind) = self.node(&select.operand, depth + 1)?;
                self.may_be(&select.operand, kind, &[Type::Map], "has no members")?;
                Ok((Node::Member(Box::new([of, Node::Value(select.field.as_str().into())])), Type::Any))
            }
            Expr::List(list) => {
                let items = list.elements.iter().map(|item| Ok(self.node(item, depth + 1)?.0));
                Ok((Node::List(items.collect::<Result<_, Refused>>()?), Type::List))
            }
            Expr::Map(map) => {
                let mut entries = Vec::new();
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        return Err(self.at(expr, "only maps with keys in quotes are known here"));
                    };
                    let Expr::Literal(LiteralValue::String(key)) = &entry.key.expr else {
                        return Err(self.at(&entry.key, "a key of a map must be text in quotes"));
                    };
                    entries.push((key.inner().to_owned(), self.node(&entry.value, depth + 1)?.0));
                }
                Ok((Node::Map(entries), Type::Map))
            }
            Expr::Call(call) => self.call(expr, call, depth),
            Expr::Struct(_) | Expr::Comprehension(_) | Expr::Unspecified => {
                Err(self.at(expr, "this can't be used in an expectation"))
            }
        }
    }

    fn literal(&self, expr: &IdedExpr, literal: &LiteralValue) -> Read {
        Ok(match literal {
            LiteralValue::Boolean(value) => (Node::Value(Value::Bool(*value.inner())), Type::Bool),
            LiteralValue::Int(value) => (Node::Value(Value::Int(*value.inner())), Type::Number),
            LiteralValue::Double(value) => (Node::Value(Value::Float(*value.inner())), Type::Number),
            LiteralValue::UInt(value) => match i64::try_from(*value.inner()) {
                Ok(value) => (Node::Value(Value::Int(value)), Type::Number),
                Err(_) => return Err(self.at(expr, "this number is too large")),
            },
            LiteralValue::Null => (Node::Value(Value::Null), Type::Any),
            LiteralValue::String(text) => {
                self.no_slot(expr, text.inner())?;
                (Node::Value(Value::from(text.inner())), Type::Text)
            }
            LiteralValue::Bytes(_) => {
                return Err(self.at(expr, "bytes can't be compared with anything here").hint("leave out the `b`"));
            }
        })
    }

    /// `"{{ account }}"` would be compared as it stands; what is meant is `account`.
    fn no_slot(&self, expr: &IdedExpr, text: &str) -> Result<(), Refused> {
        let inside = text.split_once("{{").and_then(|(_, rest)| rest.split_once("}}")).map(|(inside, _)| inside.trim());
        match inside {
            Some(name) if self.extra.contains(&name) => Err(self
                .at(expr, "nothing is filled into text here")
                .hint(format!("write `{name}` without quotes and braces"))),
            _ => Ok(()),
        }
    }

    fn name(&mut self, expr: &IdedExpr, name: &str) -> Read {
        if let Some(at) = self.loops.iter().rposition(|(local, _)| local == name) {
            return Ok((Node::Local(at), self.loops[at].1));
        }
        let measure = self.measures.iter().find(|measure| measure.name == name);
        let kind = match measure {
            Some(measure) => measure.kind,
            None if self.extra.contains(&name) => Type::Any,
            None => return Err(self.unknown_name(expr, name)),
        };
        let at = self.names.iter().position(|known| known.name == name).unwrap_or_else(|| {
            self.names.push(Name { name: name.to_owned(), kind });
            self.names.len() - 1
        });
        Ok((Node::Measure(at), kind))
    }

    fn unknown_name(&self, expr: &IdedExpr, name: &str) -> Refused {
        let known = || {
            let loops = self.loops.iter().map(|(name, _)| name.as_str());
            self.measures.iter().map(|measure| measure.name).chain(self.extra.iter().copied()).chain(loops)
        };
        let (offset, _) = self.extent(expr);
        let refused = refuse(offset, name.chars().count(), format!("there is no measure `{}`", encode::terminal(name)));
        match nearest(name, known()) {
            Some(near) => refused.hint(format!("did you mean `{near}`?")),
            None if known().next().is_none() => refused,
            None => refused.hint(format!("known here: {}", known().collect::<Vec<_>>().join(", "))),
        }
    }

    fn call(&mut self, expr: &IdedExpr, call: &CallExpr, depth: usize) -> Read {
        let name = call.func_name.as_str();
        if call.target.is_none() {
            match (name, call.args.as_slice()) {
                (operators::CONDITIONAL, [when, then, otherwise]) => {
                    return self.choose(when, then, otherwise, depth);
                }
                (operators::LOGICAL_NOT, [of]) => {
                    let (node, kind) = self.node(of, depth + 1)?;
                    self.must_be(of, kind, Type::Bool)?;
                    return Ok((Node::Not(Box::new(node)), Type::Bool));
                }
                (operators::NEGATE, [of]) => {
                    let (node, kind) = self.node(of, depth + 1)?;
                    self.must_be(of, kind, Type::Number)?;
                    return Ok((Node::Negate(Box::new(node)), Type::Number));
                }
                (_, [left, right]) if is_operator(name) => return self.operator(name, left, right, depth),
                ("usual", arguments) => return self.usual(expr, arguments),
                ("duration", arguments) => return self.duration(expr, arguments),
                ("has", arguments) => return self.has(expr, arguments, depth),
                _ => {}
            }
        }
        if let Some(over) = &call.target
            && let Some(how) = loop_of(name)
        {
            return self.each(expr, how, over, &call.args, depth);
        }
        let arguments: Vec<&IdedExpr> = call.target.as_deref().into_iter().chain(&call.args).collect();
        if name == "matches" {
            return self.matches(expr, &arguments, depth);
        }
        let Some((_, function)) = FUNCTIONS.iter().find(|(known, _)| *known == name) else {
            return Err(self.unknown_function(expr, call));
        };
        self.function(expr, *function, call.target.is_some(), &arguments, depth)
    }

    fn choose(&mut self, when: &IdedExpr, then: &IdedExpr, otherwise: &IdedExpr, depth: usize) -> Read {
        let (condition, kind) = self.node(when, depth + 1)?;
        self.must_be(when, kind, Type::Bool)?;
        let (then, one) = self.node(then, depth + 1)?;
        let (otherwise, other) = self.node(otherwise, depth + 1)?;
        let kind = if one == other { one } else { Type::Any };
        Ok((Node::Choose(Box::new([condition, then, otherwise])), kind))
    }

    fn operator(&mut self, name: &str, left: &IdedExpr, right: &IdedExpr, depth: usize) -> Read {
        let (a, a_kind) = self.node(left, depth + 1)?;
        let (b, b_kind) = self.node(right, depth + 1)?;
        let kinds = [(left, a_kind), (right, b_kind)];
        let never_null = |node: &Node, kind: Type| matches!(node, Node::Value(Value::Null)) && kind != Type::Any;
        let alien = a_kind != b_kind && a_kind != Type::Any && b_kind != Type::Any
            || never_null(&a, b_kind)
            || never_null(&b, a_kind);
        let ratio = self
            .ratio_against(&a, &b)
            .map(|value| (right, value))
            .or_else(|| self.ratio_against(&b, &a).map(|value| (left, value)));
        let sides = Box::new([a, b]);
        let order = |order: Order, sides| Node::Order(order, sides);
        let (node, kind) = match name {
            operators::LOGICAL_AND | operators::LOGICAL_OR => {
                for (expr, kind) in kinds {
                    self.must_be(expr, kind, Type::Bool)?;
                }
                (if name == operators::LOGICAL_AND { Node::And(sides) } else { Node::Or(sides) }, Type::Bool)
            }
            operators::EQUALS | operators::NOT_EQUALS => {
                let never = if name == operators::EQUALS { "this can never hold" } else { "this always holds" };
                if alien {
                    return Err(self.alien(left, a_kind, right, b_kind, never));
                }
                (if name == operators::EQUALS { Node::Equal(sides) } else { Node::NotEqual(sides) }, Type::Bool)
            }
            operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS => {
                for (expr, kind) in kinds {
                    self.may_be(
                        expr,
                        kind,
                        &[Type::Number, Type::Text, Type::Bool],
                        "is neither more nor less than anything",
                    )?;
                }
                if alien {
                    return Err(self.alien(left, a_kind, right, b_kind, "they don't compare"));
                }
                let node = match name {
                    operators::LESS => order(Order::Less, sides),
                    operators::LESS_EQUALS => order(Order::LessOrEqual, sides),
                    operators::GREATER => order(Order::Greater, sides),
                    _ => order(Order::GreaterOrEqual, sides),
                };
                (node, Type::Bool)
            }
            operators::IN => {
                if b_kind == Type::Text {
                    let (text, part) = (self.snippet(right), self.snippet(left));
                    return Err(self
                        .at(right, "`in` looks into lists and maps, this is text")
                        .hint(format!("write `{text}.contains({part})`")));
                }
                self.may_be(right, b_kind, &[Type::List, Type::Map], "contains nothing")?;
                (Node::In(sides), Type::Bool)
            }
            operators::INDEX => {
                self.may_be(left, a_kind, &[Type::List, Type::Map], "has no members")?;
                self.may_be(right, b_kind, &[Type::Number, Type::Text], "is no place in a list and no key of a map")?;
                match (a_kind, b_kind) {
                    (Type::List, Type::Text) => {
                        return Err(self.at(right, "a list has no keys").hint("write its place: [0]"));
                    }
                    (Type::Map, Type::Number) => {
                        return Err(self.at(right, "a key of a map is text").hint("write it in quotes"));
                    }
                    _ => (Node::Member(sides), Type::Any),
                }
            }
            operators::ADD if a_kind == b_kind && matches!(a_kind, Type::Text | Type::List) => {
                (Node::Arithmetic(Arithmetic::Add, sides), a_kind)
            }
            _ => {
                let (how, kind) = match name {
                    operators::ADD if a_kind == Type::Any && b_kind == Type::Any => (Arithmetic::Add, Type::Any),
                    operators::ADD
                        if matches!(a_kind, Type::Text | Type::List) || matches!(b_kind, Type::Text | Type::List) =>
                    {
                        if alien {
                            return Err(self.alien(left, a_kind, right, b_kind, "they don't add"));
                        }
                        (Arithmetic::Add, if a_kind == Type::Any { b_kind } else { a_kind })
                    }
                    operators::ADD => (Arithmetic::Add, Type::Number),
                    operators::SUBSTRACT => (Arithmetic::Subtract, Type::Number),
                    operators::MULTIPLY => (Arithmetic::Multiply, Type::Number),
                    operators::DIVIDE => (Arithmetic::Divide, Type::Number),
                    _ => (Arithmetic::Remainder, Type::Number),
                };
                if kind == Type::Number {
                    for (expr, kind) in kinds {
                        self.must_be(expr, kind, Type::Number)?;
                    }
                }
                (Node::Arithmetic(how, sides), kind)
            }
        };
        if kind == Type::Bool
            && let Some((expr, value)) = ratio
        {
            let shown = crate::model::value::show_number(value);
            let refused = self.at(expr, format!("a ratio is a number from 0 to 1, {shown} is outside"));
            let share = crate::model::value::show_number(value / 100.0);
            return Err(if (0.0..=100.0).contains(&value) {
                refused.hint(format!("write {share} for {shown} %"))
            } else {
                refused
            });
        }
        Ok((node, kind))
    }

    /// The constant, where a ratio is compared with one that no ratio can reach.
    fn ratio_against(&self, measure: &Node, constant: &Node) -> Option<f64> {
        let (Node::Measure(at), Node::Value(value)) = (measure, constant) else {
            return None;
        };
        let name = &self.names.get(*at)?.name;
        let declared = self.measures.iter().any(|measure| measure.name == name);
        value.as_f64().filter(|value| declared && name.ends_with("_ratio") && !(0.0..=1.0).contains(value))
    }

    fn usual(&mut self, expr: &IdedExpr, arguments: &[IdedExpr]) -> Read {
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

    fn duration(&self, expr: &IdedExpr, arguments: &[IdedExpr]) -> Read {
        let [argument] = arguments else {
            return Err(self.at(expr, "duration() takes one text").hint("write `duration(\"5m\")`"));
        };
        let Expr::Literal(LiteralValue::String(text)) = &argument.expr else {
            return Err(self.at(argument, "duration() takes text in quotes").hint("write `duration(\"5m\")`"));
        };
        let seconds = units::parse_duration(text.inner()).map_err(|why| self.at(argument, why))?.as_secs_f64();
        Ok((Node::Value(Value::Float(seconds)), Type::Number))
    }

    fn has(&mut self, expr: &IdedExpr, arguments: &[IdedExpr], depth: usize) -> Read {
        let [argument] = arguments else {
            return Err(self.at(expr, "has() takes one key").hint("write `has(json.state)`"));
        };
        let (of, key) = match &argument.expr {
            Expr::Select(select) => (select.operand.as_ref(), select.field.clone()),
            Expr::Call(CallExpr { func_name, args, .. }) if func_name == operators::INDEX => match args.as_slice() {
                [of, IdedExpr { expr: Expr::Literal(LiteralValue::String(key)), .. }] => (of, key.inner().to_owned()),
                _ => {
                    return Err(self
                        .at(argument, "has() takes a key that is written out")
                        .hint("write `has(json.state)`"));
                }
            },
            Expr::Ident(_) => {
                return Err(self
                    .at(argument, "has() asks for a key, like has(json.state)")
                    .hint("a measure that was not seen makes the expectation unknown by itself"));
            }
            _ => return Err(self.at(argument, "has() takes a key").hint("write `has(json.state)`")),
        };
        let (node, kind) = self.node(of, depth + 1)?;
        self.may_be(of, kind, &[Type::Map], "has no keys")?;
        Ok((Node::Has(Box::new(node), key), Type::Bool))
    }

    fn each(&mut self, expr: &IdedExpr, how: How, over: &IdedExpr, arguments: &[IdedExpr], depth: usize) -> Read {
        let (local, body, then) = match arguments {
            [IdedExpr { expr: Expr::Ident(local), .. }, body] => (local, body, None),
            [IdedExpr { expr: Expr::Ident(local), .. }, body, then] if how == How::Map => (local, body, Some(then)),
            _ => {
                return Err(self
                    .at(expr, "a loop takes a name for the element and what to do with it")
                    .hint("write `list.all(x, x > 0)`"));
            }
        };
        if self.loops.len() >= LOOPS_LIMIT {
            return Err(self.at(expr, format!("more than {LOOPS_LIMIT} loops in one another")));
        }
        let (over_node, kind) = self.node(over, depth + 1)?;
        self.may_be(over, kind, &[Type::List, Type::Map], "is neither a list nor a map")?;
        self.loops.push((local.clone(), if kind == Type::Map { Type::Text } else { Type::Any }));
        let read = self.body(how, body, then, depth);
        self.loops.pop();
        let (body, then) = read?;
        let kind = if matches!(how, How::Map | How::Filter) { Type::List } else { Type::Bool };
        Ok((Node::Loop(Box::new(Loop { how, over: over_node, body, then })), kind))
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

    fn matches(&mut self, expr: &IdedExpr, arguments: &[&IdedExpr], depth: usize) -> Read {
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

    fn function(
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

    fn unknown_function(&self, expr: &IdedExpr, call: &CallExpr) -> Refused {
        let name = call.func_name.as_str();
        let (offset, length) = self.function_place(expr, name);
        let refused = refuse(offset, length, format!("there is no function `{}`", encode::terminal(name)));
        let known = FUNCTIONS.iter().map(|(name, _)| *name).chain(SPECIAL.iter().copied());
        let elsewhere = ELSEWHERE.iter().find(|(other, _)| *other == name).map(|(_, own)| *own);
        match elsewhere.or_else(|| nearest(name, known.clone())) {
            Some(near) => refused.hint(format!("did you mean `{near}`?")),
            None => refused.hint(format!("known are {}", known.collect::<Vec<_>>().join(", "))),
        }
    }

    /// Where a called name stands: before the bracket at which the parser places a call behind a dot.
    fn function_place(&self, expr: &IdedExpr, name: &str) -> (usize, usize) {
        let length = name.chars().count();
        let place = self.places.offset_for(expr.id).map_or(0, |(start, _)| start as usize);
        let chars: Vec<char> = self.text.chars().collect();
        let stands = |at: usize| name.chars().eq(chars.iter().skip(at).take(length).copied());
        let at = (0..=place).rev().find(|&at| stands(at)).unwrap_or(place);
        (at, length)
    }

    fn must_be(&self, expr: &IdedExpr, kind: Type, wanted: Type) -> Result<(), Refused> {
        if kind == wanted || kind == Type::Any {
            return Ok(());
        }
        let what = self.subject(expr);
        let refused = self.at(expr, format!("{what} is {}, not {}", words(kind), words(wanted)));
        Err(if wanted == Type::Bool { refused.hint("compare it with something: `==`, `<`, `>`") } else { refused })
    }

    fn may_be(&self, expr: &IdedExpr, kind: Type, wanted: &[Type], otherwise: &str) -> Result<(), Refused> {
        if kind == Type::Any || wanted.contains(&kind) {
            return Ok(());
        }
        let what = self.subject(expr);
        Err(self.at(expr, format!("{what} is {}: it {otherwise}", words(kind)).replace(": it is ", ": that is ")))
    }

    /// Two sides of different types.
    fn alien(&self, left: &IdedExpr, a: Type, right: &IdedExpr, b: Type, so: &str) -> Refused {
        let side = |expr: &IdedExpr, kind: Type| {
            let null = matches!(expr.expr, Expr::Literal(LiteralValue::Null));
            format!("{} is {}", self.subject(expr), if null { "nothing" } else { words(kind) })
        };
        let literal = |expr: &IdedExpr| matches!(expr.expr, Expr::Literal(_));
        let culprit = if literal(left) && !literal(right) { left } else { right };
        let refused = self.at(culprit, format!("{}, {}; {so}", side(left, a), side(right, b)));
        let other = if std::ptr::eq(culprit, left) { b } else { a };
        match &culprit.expr {
            Expr::Literal(LiteralValue::String(text))
                if other == Type::Number && text.inner().parse::<f64>().is_ok() =>
            {
                refused.hint(format!("write {} without quotes", text.inner()))
            }
            Expr::Literal(LiteralValue::String(text))
                if other == Type::Bool && matches!(text.inner(), "true" | "false") =>
            {
                refused.hint(format!("write {} without quotes", text.inner()))
            }
            Expr::Literal(LiteralValue::Int(number)) if other == Type::Text => {
                refused.hint(format!("write \"{}\" in quotes", number.inner()))
            }
            _ => refused,
        }
    }

    /// What is talked about, in words.
    fn subject(&self, expr: &IdedExpr) -> String {
        match &expr.expr {
            Expr::Ident(_) | Expr::Literal(_) | Expr::Select(_) => self.snippet(expr),
            Expr::Call(call) if !is_operator(&call.func_name) && call.func_name.starts_with(char::is_alphabetic) => {
                format!("{}()", call.func_name)
            }
            _ => "this".to_owned(),
        }
    }

    fn at(&self, expr: &IdedExpr, message: impl Into<String>) -> Refused {
        let (offset, length) = self.extent(expr);
        refuse(offset, length, message)
    }

    fn snippet(&self, expr: &IdedExpr) -> String {
        let (offset, length) = self.extent(expr);
        self.text.chars().skip(offset).take(length).collect()
    }

    /// Offset and length, in characters, of all that an expression's parts cover.
    fn extent(&self, expr: &IdedExpr) -> (usize, usize) {
        let (mut start, mut stop) = (usize::MAX, 0);
        let mut queue = vec![expr];
        while let Some(expr) = queue.pop() {
            if let Some((from, to)) = self.places.offset_for(expr.id) {
                start = start.min(from as usize);
                stop = stop.max(to as usize);
                if let Expr::Select(select) = &expr.expr {
                    stop = stop.max(to as usize + select.field.chars().count());
                }
            }
            match &expr.expr {
                Expr::Select(select) => queue.push(&select.operand),
                Expr::Call(call) => queue.extend(call.target.as_deref().into_iter().chain(&call.args)),
                Expr::List(list) => queue.extend(&list.elements),
                _ => {}
            }
        }
        if start > stop { (0, self.text.chars().count()) } else { (start, stop - start + 1) }
    }
}

fn is_operator(name: &str) -> bool {
    name.starts_with('_') || name.starts_with('@') || name.starts_with('!') || name.starts_with('-')
}

fn loop_of(name: &str) -> Option<How> {
    Some(match name {
        "all" => How::All,
        "exists" => How::Exists,
        "exists_one" | "existsOne" => How::ExistsOne,
        "filter" => How::Filter,
        "map" => How::Map,
        _ => return None,
    })
}
