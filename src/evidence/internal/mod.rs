//! The kinds of the internal look.

pub mod metrics;
pub mod prometheus;
