//! Names to addresses, without a blocking thread.

/// An asynchronous resolver with the host's own configuration.
#[derive(Debug, Clone)]
pub struct Resolver {}
