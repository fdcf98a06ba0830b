//! From text to a checked expression: the language's parser reads it, then every name, type, pattern and duration is
//! checked here, so that what can't hold is refused when the file is loaded, at its own place.

use std::cell::OnceCell;
use std::sync::Arc;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, SourceInfo, operators};

use super::Refused;
use super::calls::FUNCTIONS;
use super::node::{Compiled, Name, Node};
use super::parse::parse;
use super::place::is_operator;
use super::scan::{refuse, scan};
use crate::model::encode;
use crate::model::measure::{Measure, Type};
use crate::model::source::nearest;
use crate::model::value::Value;

/// How deep an expression may be nested.
pub(super) const DEPTH_LIMIT: usize = 40;

/// Compiles a text whose names are the measures and the extra ones.
///
/// # Errors
/// The first thing that is wrong, at its place.
pub(super) fn compile(text: &str, measures: &[Measure], extra: &[&str], condition: bool) -> Result<Compiled, Refused> {
    let known = |word: &str| measures.iter().any(|measure| measure.name == word) || extra.contains(&word);
    scan(text, &known)?;
    let tree = parse(text)?;
    let mut reading = Reading {
        text,
        places: OnceCell::new(),
        measures,
        extra,
        names: Vec::new(),
        usual: Vec::new(),
        loops: Vec::new(),
    };
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

/// The state of one compilation.
pub(super) struct Reading<'a> {
    pub(super) text: &'a str,
    /// Found out when something is to be said about a place.
    pub(super) places: OnceCell<Option<Arc<SourceInfo>>>,
    pub(super) measures: &'a [Measure],
    pub(super) extra: &'a [&'a str],
    pub(super) names: Vec<Name>,
    pub(super) usual: Vec<String>,
    /// The names of the loops that are open, outermost first.
    pub(super) loops: Vec<(String, Type)>,
}

pub(super) type Read = Result<(Node, Type), Refused>;

impl Reading<'_> {
    pub(super) fn node(&mut self, expr: &IdedExpr, depth: usize) -> Read {
        if depth > DEPTH_LIMIT {
            return Err(self.at(expr, format!("the expression is nested deeper than {DEPTH_LIMIT}")));
        }
        match &expr.expr {
            Expr::Literal(literal) => self.literal(expr, literal),
            Expr::Ident(name) => self.name(expr, name),
            Expr::Select(select) => {
                let (of, kind) = self.node(&select.operand, depth + 1)?;
                if select.test {
                    self.may_be(&select.operand, kind, &[Type::Map], "has no keys")?;
                    return Ok((Node::Has(Box::new(of), select.field.clone()), Type::Bool));
                }
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
            Expr::Comprehension(each) => self.each(expr, each, depth),
            Expr::Struct(_) | Expr::Unspecified => Err(self.at(expr, "this can't be used in an expectation")),
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

    pub(super) fn name(&mut self, expr: &IdedExpr, name: &str) -> Read {
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

    pub(super) fn unknown_name(&self, expr: &IdedExpr, name: &str) -> Refused {
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
                _ => {}
            }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn measure(name: &'static str, kind: Type) -> Measure {
        Measure { name, kind, unit: "", meaning: "" }
    }

    const MEASURES: &[Measure] = &[
        measure("status", Type::Number),
        measure("error_ratio", Type::Number),
        measure("connected", Type::Bool),
        measure("body", Type::Text),
        measure("headers", Type::Map),
        measure("names", Type::List),
        measure("json", Type::Any),
    ];

    #[test]
    fn what_cannot_be_meant_is_refused_at_its_place() {
        let mut wrong = Vec::new();
        for (text, at, message, hint) in [
            // Names.
            ("statu == 200", "statu", "there is no measure `statu`", "did you mean `status`?"),
            ("1 == 1 && jsn.state == 'x'", "jsn", "there is no measure `jsn`", "did you mean `json`?"),
            (
                "latency < 3",
                "latency",
                "there is no measure `latency`",
                "known here: status, error_ratio, connected, body, headers, names, json, cart",
            ),
            (
                "bödy == 'ü' || statuss == 1",
                "bödy",
                "`bödy` is not a name",
                "names have the letters a to z, digits and `_`",
            ),
            ("body == 'ü' || statuss == 1", "statuss", "there is no measure `statuss`", "did you mean `status`?"),
            ("names.all(n, m == 'x')", "m", "there is no measure `m`", "did you mean `n`?"),
            // Types.
            (
                "status == \"200\"",
                "\"200\"",
                "status is a number, \"200\" is text; this can never hold",
                "write 200 without quotes",
            ),
            (
                "\"200\" == status",
                "\"200\"",
                "\"200\" is text, status is a number; this can never hold",
                "write 200 without quotes",
            ),
            ("status != 'x'", "'x'", "status is a number, 'x' is text; this always holds", ""),
            ("status == true", "true", "status is a number, true is true or false; this can never hold", ""),
            ("status == null", "null", "status is a number, null is nothing; this can never hold", ""),
            ("body == 200", "200", "body is text, 200 is a number; this can never hold", "write \"200\" in quotes"),
            (
                "connected == \"true\"",
                "\"true\"",
                "connected is true or false, \"true\" is text; this can never hold",
                "write true without quotes",
            ),
            ("status == body", "body", "status is a number, body is text; this can never hold", ""),
            ("status < 'x'", "'x'", "status is a number, 'x' is text; they don't compare", ""),
            ("headers < 3", "headers", "headers is a map, which is neither more nor less than anything", ""),
            ("status", "status", "status is a number, not true or false", "compare it with something: `==`, `<`, `>`"),
            (
                "status && connected",
                "status",
                "status is a number, not true or false",
                "compare it with something: `==`, `<`, `>`",
            ),
            ("!body", "body", "body is text, not true or false", "compare it with something: `==`, `<`, `>`"),
            (
                "status + 1",
                "status + 1",
                "this is a number, not true or false",
                "compare it with something: `==`, `<`, `>`",
            ),
            (
                "size(body)",
                "size(body",
                "size() is a number, not true or false",
                "compare it with something: `==`, `<`, `>`",
            ),
            ("body + 1 == 'x'", "1", "body is text, 1 is a number; they don't add", "write \"1\" in quotes"),
            ("body * 2 == 4", "body", "body is text, not a number", ""),
            ("status.code == 1", "status", "status is a number, which has no members", ""),
            ("names['x'] == 1", "'x'", "a list has no keys", "write its place: [0]"),
            ("headers[0] == 'x'", "0", "a key of a map is text", "write it in quotes"),
            ("'x' in body", "body", "`in` looks into lists and maps, this is text", "write `body.contains('x')`"),
            ("status in 5", "5", "5 is a number, which contains nothing", ""),
            ("error_ratio < 5", "5", "a ratio is a number from 0 to 1, 5 is outside", "write 0.05 for 5 %"),
            ("2.5 >= error_ratio", "2.5", "a ratio is a number from 0 to 1, 2.5 is outside", "write 0.025 for 2.5 %"),
            ("1 < 2", "1 < 2", "it names no measure, so it says nothing about what was seen", ""),
            ("true", "true", "it names no measure, so it says nothing about what was seen", ""),
            // Functions.
            ("len(body) > 3", "len", "there is no function `len`", "did you mean `size`?"),
            ("body.includes('x')", "includes", "there is no function `includes`", "did you mean `contains`?"),
            ("body.startWith('x')", "startWith", "there is no function `startWith`", "did you mean `startsWith`?"),
            ("usul(status)", "usul", "there is no function `usul`", "did you mean `usual`?"),
            ("size(status) == 3", "status", "status is a number, which is nothing for size()", ""),
            (
                "contains(body, 'x')",
                "contains(body, 'x'",
                "contains() is not used like this",
                "write `text.contains(\"…\")`",
            ),
            ("body.contains(3)", "3", "3 is a number, which is nothing for contains()", ""),
            ("body.matches('(')", "'('", "bad pattern: unclosed group", ""),
            ("body.matches(body)", "body", "a pattern must be written out, in quotes", ""),
            ("body.matches('\\\\w{1000}')", "'\\\\w{1000}'", "the pattern is too large", ""),
            ("status.matches('x')", "status", "status is a number, which is not text", ""),
            ("status < duration('5')", "'5'", "`5` has no unit (write `5s` for seconds)", ""),
            ("status < duration(5)", "5", "duration() takes text in quotes", "write `duration(\"5m\")`"),
            ("usual(body)", "body", "`body` is text; only a number can be usual", ""),
            ("usual(status + 1)", "status + 1", "usual() takes the plain name of a measure", "write `usual(name)`"),
            ("usual(cart)", "cart", "`cart` is not a measure: nothing is usual for it", ""),
            ("usual(statu)", "statu", "there is no measure `statu`", "did you mean `status`?"),
            (
                "has(status)",
                "status",
                "has() asks for a key, like has(json.state)",
                "for another key: `\"content-type\" in headers`",
            ),
            ("has(body.x)", "body", "body is text, which has no keys", ""),
            (
                "names.all(n > 3)",
                "all",
                "a loop takes a name for the element and what to do with it",
                "write `list.all(x, …)`",
            ),
            ("body.all(c, c == 'x')", "body", "body is text, which is neither a list nor a map", ""),
            (
                "names.all(n, size(n))",
                "size(n",
                "size() is a number, not true or false",
                "compare it with something: `==`, `<`, `>`",
            ),
            ("names.all(a, names.all(b, names.all(c, a == b)))", "names.all(", "more than 2 loops in one another", ""),
            (
                "cart == \"{{ cart }}\"",
                "\"{{ cart }}\"",
                "nothing is filled into text here",
                "write `cart` without quotes and braces",
            ),
            // Syntax.
            ("status ==", "", "the expression ends where something is expected", ""),
            ("status == 200 201", "201", "`201` is not expected here", ""),
            ("== 200", "==", "`==` is not expected here", ""),
            ("status == == 200", "==", "`==` is not expected here", ""),
            ("json.a..b == 1", ".", "`.` is not expected here", ""),
            ("json.items[] == 1", "]", "`]` is not expected here", ""),
            ("if == 1", "if", "`if` is a reserved word", "write [\"…\"] for a key"),
            ("status == 99999999999999999999", "99999999999999999999", "this number is too large", ""),
            ("json == b'x'", "b'x'", "bytes can't be compared with anything here", "leave out the `b`"),
            ("json == {1: 2}", "1", "a key of a map must be text in quotes", ""),
            ("json == a.b{c: 1}", ".", "this can't be used in an expectation", ""),
            ("json.?a == 1", ".", "`.` is not expected here", ""),
        ] {
            let Err(refused) = compile(text, MEASURES, &["cart"], true) else {
                panic!("{text} is not refused");
            };
            let covered: String = text.chars().skip(refused.offset).take(refused.length).collect();
            let got = (covered.as_str(), refused.message.as_str(), refused.hint.as_deref().unwrap_or(""));
            if got != (at, message, hint) {
                wrong.push(format!("{text}\n   {got:?}\n   {:?}", (at, message, hint)));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn a_place_in_the_second_line_counts_from_the_start() {
        let refused = compile("status == 200 &&\n  ünknown == 1", MEASURES, &[], true).unwrap_err();
        assert_eq!((refused.offset, refused.length), (19, 7));
        let refused = compile("status == 200 &&\n  1 2", MEASURES, &[], true).unwrap_err();
        assert_eq!((refused.offset, refused.length), (21, 1));
    }

    #[test]
    fn depth_is_bounded() {
        let deep = [
            format!("{}status{} == 1", "1 + (".repeat(190), ")".repeat(190)),
            format!("{}connected", "!-".repeat(350)),
            format!("status{} == 1", " + 1".repeat(390)),
            format!("json{} == 1", ".a".repeat(390)),
            format!("json{} == 1", "[0]".repeat(260)),
            format!("{}1{} == json", "[".repeat(390), "]".repeat(390)),
            format!("{}1", "connected ? 1 : ".repeat(190)),
            format!("{}1{}", "size(".repeat(190), ")".repeat(190)),
        ];
        for text in deep {
            let refused = compile(&text, MEASURES, &[], true).unwrap_err();
            assert!(refused.message.contains("nested deeper than 40"), "{text}: {refused:?}");
        }
        let brackets = format!("{}status == 1{}", "(".repeat(390), ")".repeat(390));
        assert!(compile(&brackets, MEASURES, &[], true).is_ok(), "brackets alone don't nest");
        let wide = format!("status in [{}]", ["200"; 380].join(","));
        assert!(compile(&wide, MEASURES, &[], true).is_ok());
        let many = ["status != 200"; 100].join(" && ");
        assert!(compile(&many, MEASURES, &[], true).is_ok());
    }

    #[test]
    fn what_it_refers_to_is_known() {
        let compiled =
            compile("usual(status) && json.a == cart && names.all(n, n == body)", MEASURES, &["cart"], true).unwrap();
        assert_eq!(compiled.measures, ["status", "json", "names", "body"]);
        assert_eq!(compiled.usual, ["status"]);
    }
}
