//! The kinds of the logs look.

pub mod elasticsearch;
pub mod journald;
pub mod log_file;
pub mod loki;

mod account;
mod line;
mod secrets;
mod store;
mod tally;
#[cfg(test)]
mod testing;
