//! Wires: one file per system or protocol that we speak. Nobody else opens a socket.

pub mod alertmanager;
pub mod budget;
pub mod capture;
pub mod credentials;
pub mod daemon;
pub mod dial;
pub mod dns;
pub mod elasticsearch;
pub mod exposition;
pub mod grpc;
pub mod guard;
pub mod http;
pub mod icmp;
pub mod irc;
pub mod journal;
pub mod loki;
pub mod outgoing;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod signature;
pub mod smtp;
pub mod system;
pub mod tcp;
pub mod tls;
pub mod webdriver;
pub mod websocket;

#[cfg(test)]
pub mod canned;
mod progress;
#[cfg(test)]
pub(crate) mod scripted;
