//! The kinds of the traffic look.

pub mod access_log;
pub mod capture;
pub mod interface;
#[allow(clippy::module_inception)] // the kind is called like its look
pub mod traffic;
