//! The kinds of the internal look.

pub mod prometheus;
