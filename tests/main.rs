//! The one integration binary: laws of the house, real servers, the binary end to end.

// Everything here is a test or serves one; clippy knows only the functions marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
// Tests start programs: servers, and the binary itself.
#![allow(clippy::disallowed_methods)]

mod demo;
mod docs;
mod e2e;
mod golden;
mod house;
mod invalid;
mod lab;
mod real;
