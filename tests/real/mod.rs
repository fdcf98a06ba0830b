//! Looks taken at real servers.

mod looking;

mod nginx;
mod shop_logs;
