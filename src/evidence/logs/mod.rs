//! The kinds of the logs look.
