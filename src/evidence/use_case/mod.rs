//! The kinds of the use_case look.
