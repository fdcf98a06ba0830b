//! The kinds of the use_case look.

pub mod browser;
pub mod hurl;
pub mod journey;
pub mod script;

mod expectation;
