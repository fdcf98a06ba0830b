//! What time it is: the shop stands for a system of its own, so it reads the wall clock, here and nowhere else.

/// Milliseconds since 1970, in UTC.
#[allow(clippy::disallowed_methods)] // a foreign system has a clock of its own; no verdict is computed from it
pub fn now_millis() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
