//! Looks taken at real servers.

mod looking;

mod dnsmasq;
mod nginx;
mod shop_logs;
mod shop_metrics;
