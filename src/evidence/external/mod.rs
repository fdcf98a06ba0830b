//! The kinds of the external look.
