//! Wires: one file per system or protocol that we speak. Nobody else opens a socket.

pub mod credentials;
pub mod dns;
pub mod exposition;
pub mod http;
pub mod process;
