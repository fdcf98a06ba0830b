//! The kinds of the use_case look.

pub mod browser;
pub mod journey;
pub mod script;

mod expectation;
