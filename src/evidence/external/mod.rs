//! The kinds of the external look: what somebody outside sees of a service, protocol by protocol.

pub mod blackbox;
pub mod dns;
pub mod grpc;
pub mod http;
pub mod icmp;
pub mod status_page;
pub mod tcp;
pub mod tls;
pub mod websocket;

pub(crate) mod address;
pub(crate) mod failure;
mod pattern;
pub(crate) mod tls_options;

#[cfg(test)]
mod testing;
