//! Serve: one loop over one closed event enum.

pub mod auth;
pub mod outbox;
