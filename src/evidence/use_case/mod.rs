//! The kinds of the use_case look.

pub mod hurl;
pub mod journey;
pub mod script;
