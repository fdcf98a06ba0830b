//! The path: scope, plan, gather, assess, judge. Only gather touches the world.

pub mod judge;
#[cfg(test)]
mod laws;
pub mod plan;
pub mod scope;
