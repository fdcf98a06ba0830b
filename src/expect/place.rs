//! Where the parts of an expression stand in its text, and what is said of them there.

use cel::IdedExpr;
use cel::common::ast::Expr;

use super::Refused;
use super::compile::Reading;
use super::parse;
use super::scan::refuse;

impl Reading<'_> {
    /// What is talked about, in words.
    pub(super) fn subject(&self, expr: &IdedExpr) -> String {
        match &expr.expr {
            Expr::Ident(_) | Expr::Literal(_) | Expr::Select(_) => self.snippet(expr),
            Expr::Call(call) if !is_operator(&call.func_name) && call.func_name.starts_with(char::is_alphabetic) => {
                format!("{}()", call.func_name)
            }
            _ => "this".to_owned(),
        }
    }

    pub(super) fn at(&self, expr: &IdedExpr, message: impl Into<String>) -> Refused {
        let (offset, length) = self.extent(expr);
        refuse(offset, length, message)
    }

    pub(super) fn snippet(&self, expr: &IdedExpr) -> String {
        let (offset, length) = self.extent(expr);
        self.text.chars().skip(offset).take(length).collect()
    }

    /// Offset and length, in characters, of all that an expression's parts cover.
    pub(super) fn extent(&self, expr: &IdedExpr) -> (usize, usize) {
        let places = self.places.get_or_init(|| parse::places(self.text));
        let (mut start, mut stop) = (self.text.len(), 0);
        let mut queue = vec![expr];
        while let Some(expr) = queue.pop() {
            if let Some((from, to)) = places.as_ref().and_then(|places| places.offset_for(expr.id)) {
                start = start.min(from as usize);
                stop = stop.max(to as usize);
                if let Expr::Select(select) = &expr.expr {
                    stop = stop.max(to as usize + select.field.len());
                }
            }
            match &expr.expr {
                Expr::Select(select) => queue.push(&select.operand),
                Expr::Call(call) => queue.extend(call.target.as_deref().into_iter().chain(&call.args)),
                Expr::List(list) => queue.extend(&list.elements),
                Expr::Comprehension(each) => queue.push(&each.iter_range),
                _ => {}
            }
        }
        let characters = |bytes: usize| self.text.char_indices().take_while(|(at, _)| *at < bytes).count();
        if start >= stop {
            return (0, characters(self.text.len()));
        }
        let start = characters(start);
        (start, characters(stop) - start)
    }
}

/// Operators are calls of names that nobody can write.
pub(super) fn is_operator(name: &str) -> bool {
    name.starts_with('_') || name.starts_with('@') || name.starts_with('!') || name.starts_with('-')
}
