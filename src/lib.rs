//! Houston: a ticket comes in, five looks are taken in parallel, a verdict with its evidence goes out.
//!
//! The modules in the order of the path; ARCHITECTURE.md has the map, the layers and the invariants.
#![forbid(unsafe_code)]

pub mod model;

pub mod expect;
pub mod files;
pub mod net;
pub mod stats;
pub mod yaml;

pub mod checks;
pub mod evidence;

pub mod triage;

pub mod config;
pub mod report;
pub mod response;
pub mod store;
pub mod ticketing;

pub mod daemon;
pub mod demo;

pub mod cli;
