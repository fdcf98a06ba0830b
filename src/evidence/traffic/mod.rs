//! The kinds of the traffic look.

pub mod access_log;
#[allow(clippy::module_inception)] // the kind is called like its look
pub mod traffic;
pub mod interface;
