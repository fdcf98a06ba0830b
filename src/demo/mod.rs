//! A shop to try Houston on. It knows nothing of Houston.
