//! A journey against a real server.
