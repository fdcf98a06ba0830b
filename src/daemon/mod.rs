//! Serve: one loop over one closed event enum.
