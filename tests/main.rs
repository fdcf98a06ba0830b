//! The one integration binary: laws of the house, real servers, the binary end to end.

mod e2e;
mod house;
mod lab;
mod real;
