//! The kinds of the traffic look.
