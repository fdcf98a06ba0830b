//! The words that Houston thinks in: plain data and pure rules. No I/O, no async, no clock.

pub mod action;
pub mod callback;
pub mod case;
pub mod catalog;
pub mod delivery;
pub mod encode;
pub mod finding;
pub mod history;
pub mod letter;
pub mod look;
pub mod measure;
pub mod memory;
pub mod observation;
pub mod page;
pub mod params;
pub mod people;
pub mod secret;
pub mod settings;
pub mod source;
pub mod text;
pub mod ticket;
pub mod units;
pub mod value;
pub mod verdict;
pub mod window;
