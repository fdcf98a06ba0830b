//! What is shown: findings and verdicts rendered, nothing decided.

pub mod diagnostic;
pub mod style;
pub mod text;
