//! Looks taken at real servers.

mod looking;

mod alertmanager;
mod blackbox;
mod browser;
mod capture;
mod dnsmasq;
mod elasticsearch;
mod grpc;
mod host;
mod http;
mod hurl;
mod icmp;
mod interface;
mod irc;
mod journald;
mod journey;
mod loki;
mod nginx;
mod pagers;
mod plugins;
mod postgres;
mod prometheus;
mod request_tracker;
mod script;
mod shop_logs;
mod shop_metrics;
mod smtp;
mod status_page;
mod systemd;
mod traffic;
mod websocket;
