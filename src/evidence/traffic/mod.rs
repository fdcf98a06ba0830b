//! The kinds of the traffic look.

pub mod access_log;
pub mod interface;
