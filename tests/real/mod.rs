//! Looks taken at real servers.

mod looking;

mod dnsmasq;
mod elasticsearch;
mod journald;
mod loki;
mod nginx;
mod plugins;
mod prometheus;
mod shop_logs;
mod shop_metrics;
mod traffic;
