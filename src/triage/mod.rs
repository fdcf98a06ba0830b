//! The path: scope, plan, gather, assess, judge.
