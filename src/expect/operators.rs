//! The types of operators: what compares, adds and combines with what, and what can never hold.

use cel::IdedExpr;
use cel::common::ast::{Expr, LiteralValue, operators};

use super::Refused;
use super::compile::{Read, Reading, words};
use super::node::{Arithmetic, Node, Order};
use crate::model::measure::Type;
use crate::model::value::{Value, show_number};

impl Reading<'_> {
    pub(super) fn choose(&mut self, when: &IdedExpr, then: &IdedExpr, otherwise: &IdedExpr, depth: usize) -> Read {
        let (condition, kind) = self.node(when, depth + 1)?;
        self.must_be(when, kind, Type::Bool)?;
        let (then, one) = self.node(then, depth + 1)?;
        let (otherwise, other) = self.node(otherwise, depth + 1)?;
        let kind = if one == other { one } else { Type::Any };
        Ok((Node::Choose(Box::new([condition, then, otherwise])), kind))
    }

    pub(super) fn operator(&mut self, name: &str, left: &IdedExpr, right: &IdedExpr, depth: usize) -> Read {
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
            let shown = show_number(value);
            let refused = self.at(expr, format!("a ratio is a number from 0 to 1, {shown} is outside"));
            let share = show_number(value / 100.0);
            return Err(if (0.0..=100.0).contains(&value) {
                refused.hint(format!("write {share} for {shown} %"))
            } else {
                refused
            });
        }
        Ok((node, kind))
    }

    /// The constant, where a ratio is compared with one that no ratio can reach.
    pub(super) fn ratio_against(&self, measure: &Node, constant: &Node) -> Option<f64> {
        let (Node::Measure(at), Node::Value(value)) = (measure, constant) else {
            return None;
        };
        let name = &self.names.get(*at)?.name;
        let declared = self.measures.iter().any(|measure| measure.name == name);
        value.as_f64().filter(|value| declared && name.ends_with("_ratio") && !(0.0..=1.0).contains(value))
    }

    pub(super) fn must_be(&self, expr: &IdedExpr, kind: Type, wanted: Type) -> Result<(), Refused> {
        if kind == wanted || kind == Type::Any {
            return Ok(());
        }
        let what = self.subject(expr);
        let refused = self.at(expr, format!("{what} is {}, not {}", words(kind), words(wanted)));
        Err(if wanted == Type::Bool { refused.hint("compare it with something: `==`, `<`, `>`") } else { refused })
    }

    pub(super) fn may_be(&self, expr: &IdedExpr, kind: Type, wanted: &[Type], otherwise: &str) -> Result<(), Refused> {
        if kind == Type::Any || wanted.contains(&kind) {
            return Ok(());
        }
        let what = self.subject(expr);
        Err(self.at(expr, format!("{what} is {}, which {otherwise}", words(kind))))
    }

    /// Two sides of different types.
    pub(super) fn alien(&self, left: &IdedExpr, a: Type, right: &IdedExpr, b: Type, so: &str) -> Refused {
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
}
