//! The kinds of the internal look.
