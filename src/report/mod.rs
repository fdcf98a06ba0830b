//! What is shown: findings and verdicts rendered, nothing decided.

pub mod baseline;
pub mod diagnostic;
pub mod html;
pub mod style;
pub mod text;
