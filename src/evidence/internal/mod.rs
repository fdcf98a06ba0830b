//! The kinds of the internal look.

pub mod alertmanager;
pub mod host;
pub mod metrics;
pub mod plugin;
pub mod postgres;
pub mod prometheus;
pub mod systemd;
