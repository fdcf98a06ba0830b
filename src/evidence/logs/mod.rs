//! The kinds of the logs look.

pub mod log_file;
