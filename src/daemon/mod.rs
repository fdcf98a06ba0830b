//! Serve: one loop over one closed event enum.

pub mod log;
pub mod metrics;
pub mod server;
