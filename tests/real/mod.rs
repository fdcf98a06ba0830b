//! Looks taken at real servers.

mod looking;

mod nginx;
mod plugins;
mod prometheus;
mod shop_logs;
