//! Looks taken at real servers.
