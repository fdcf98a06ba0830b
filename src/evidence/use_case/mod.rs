//! The kinds of the use_case look.

pub mod journey;
pub mod script;
