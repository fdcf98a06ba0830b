//! The kinds of the logs look.

pub mod log_file;

mod account;
mod line;
mod secrets;
mod tally;
