//! Where tickets live: one file per ticket system.
