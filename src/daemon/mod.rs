//! Serve: one loop over one closed event enum.

pub mod auth;
pub mod log;
pub mod metrics;
pub mod outbox;
pub mod server;
