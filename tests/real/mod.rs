//! Looks taken at real servers.

mod looking;

mod alertmanager;
mod dnsmasq;
mod host;
mod interface;
mod nginx;
mod plugins;
mod postgres;
mod prometheus;
mod shop_logs;
mod shop_metrics;
mod systemd;
