//! Declarations: documents become checks; errors cost only their own file.

mod check;

pub use check::{AppliesTo, BadIf, Check, CheckSet, Control, Expectation, KnownIssue};
