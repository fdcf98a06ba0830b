//! What an expression is after it was checked: names resolved, patterns and durations compiled, macros as loops.

use regex::Regex;

use crate::model::measure::Type;
use crate::model::value::Value;

/// A checked expression.
#[derive(Debug)]
pub(super) struct Compiled {
    pub text: String,
    pub root: Node,
    /// Everything it refers to, in the order of first mention.
    pub names: Vec<Name>,
    /// The measures among the names.
    pub measures: Vec<String>,
    /// The measures inside `usual(…)`.
    pub usual: Vec<String>,
}

/// Something that an expression refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub name: String,
    pub kind: Type,
}

#[derive(Debug)]
pub(super) enum Node {
    Value(Value),
    /// By its place in [`Compiled::names`].
    Measure(usize),
    /// A loop's own name, by its place on the stack of loops.
    Local(usize),
    /// `usual(…)` of a measure.
    Usual(usize),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    /// Condition, then, else.
    Choose(Box<[Node; 3]>),
    Equal(Box<[Node; 2]>),
    NotEqual(Box<[Node; 2]>),
    Order(Order, Box<[Node; 2]>),
    In(Box<[Node; 2]>),
    Arithmetic(Arithmetic, Box<[Node; 2]>),
    /// `of.key` or `of[key]`.
    Member(Box<[Node; 2]>),
    /// `has(of.key)`.
    Has(Box<Node>, String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
    Loop(Box<Loop>),
    Matches(Box<Node>, Regex),
    Call(Function, Vec<Node>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Debug)]
pub(super) struct Loop {
    pub how: How,
    /// A list, or a map's keys.
    pub over: Node,
    pub body: Node,
    /// What `map` with a condition makes of each.
    pub then: Option<Node>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    All,
    Exists,
    ExistsOne,
    /// `filter(x, p)` is `map(x, p, x)`.
    Map,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Int,
    Double,
    Text,
    Bool,
}

impl Node {
    /// The conditions of which all must hold.
    pub fn conditions(&self) -> Vec<&Node> {
        let mut found = Vec::new();
        let mut queue = vec![self];
        while let Some(node) = queue.pop() {
            match node {
                Node::And(sides) => {
                    queue.push(&sides[1]);
                    queue.push(&sides[0]);
                }
                other => found.push(other),
            }
        }
        found
    }

    /// The parts of it, in the order written.
    pub fn parts(&self) -> Vec<&Node> {
        match self {
            Node::Value(_) | Node::Measure(_) | Node::Local(_) | Node::Usual(_) => Vec::new(),
            Node::Not(of) | Node::Negate(of) | Node::Has(of, _) | Node::Matches(of, _) => vec![of],
            Node::And(sides)
            | Node::Or(sides)
            | Node::Equal(sides)
            | Node::NotEqual(sides)
            | Node::Order(_, sides)
            | Node::In(sides)
            | Node::Arithmetic(_, sides)
            | Node::Member(sides) => sides.iter().collect(),
            Node::Choose(three) => three.iter().collect(),
            Node::List(items) | Node::Call(_, items) => items.iter().collect(),
            Node::Map(entries) => entries.iter().map(|(_, value)| value).collect(),
            Node::Loop(each) => {
                [Some(&each.over), Some(&each.body), each.then.as_ref()].into_iter().flatten().collect()
            }
        }
    }

    /// The way from a name to a member, as it is written: `json.items[0].state`. `None` where a step isn't constant,
    /// or it doesn't start at a name.
    pub fn path(&self, names: &[Name]) -> Option<String> {
        match self {
            Node::Measure(at) => names.get(*at).map(|name| name.name.clone()),
            Node::Member(sides) => {
                let mut path = sides[0].path(names)?;
                match &sides[1] {
                    Node::Value(Value::Text(key)) => path.push_str(&step(key)),
                    Node::Value(Value::Int(at)) => path.push_str(&format!("[{at}]")),
                    _ => return None,
                }
                Some(path)
            }
            _ => None,
        }
    }
}

/// One step to a member, in the shortest form that reads back.
fn step(key: &str) -> String {
    let plain = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain { format!(".{key}") } else { format!("[\"{key}\"]") }
}
