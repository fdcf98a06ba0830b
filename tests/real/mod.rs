//! Looks taken at real servers.

mod looking;

mod blackbox;
mod dnsmasq;
mod grpc;
mod icmp;
mod nginx;
mod plugins;
mod prometheus;
mod shop_logs;
mod shop_metrics;
mod status_page;
mod websocket;
