//! What sort of number a measure is: how it varies when all is well, and which way it can do harm.

/// What sort of number a measure is: how it varies, and which way it can do harm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Nature {
    /// Events a second, counted in a window of this length (where it is known). A drop can be as bad as a surge, but
    /// not for events that are bad themselves.
    Rate { window_seconds: Option<f64>, drop_harms: bool },
    /// A share of so many events (where it is known), 0 to 1. More is worse.
    Ratio { of: Option<f64> },
    /// Seconds. More is worse.
    Duration,
    /// Any other number, either way.
    Other,
}

impl Nature {
    /// What a measure's name says about it: measures carry their unit in their name (`_per_second`, `_ratio`,
    /// `_seconds`).
    ///
    /// `window_seconds` and `of`: the length of the window, and how many events it had in all, where they are known.
    /// A drop of events whose name tells of trouble (`error`, `match`, `fail`, `timeout`, `retr`, `drop`, `reject`)
    /// does no harm.
    pub fn of_measure(name: &str, window_seconds: Option<f64>, of: Option<f64>) -> Self {
        const TROUBLE: [&str; 7] = ["error", "match", "fail", "timeout", "retr", "drop", "reject"];
        if name.ends_with("_per_second") {
            Nature::Rate { window_seconds, drop_harms: !TROUBLE.iter().any(|word| name.contains(word)) }
        } else if name.ends_with("_ratio") {
            Nature::Ratio { of }
        } else if name.ends_with("_seconds") {
            Nature::Duration
        } else {
            Nature::Other
        }
    }

    /// How much a healthy measure of this nature varies from window to window beyond the noise of counting: its
    /// relative standard deviation, for want of better knowledge. Bursts make ratios vary most.
    pub(super) fn variation(self) -> f64 {
        match self {
            Nature::Rate { .. } | Nature::Other => 0.1,
            Nature::Duration => 0.2,
            Nature::Ratio { .. } => 0.5,
        }
    }

    pub(super) fn only_upwards(self) -> bool {
        matches!(self, Nature::Rate { drop_harms: false, .. } | Nature::Ratio { .. } | Nature::Duration)
    }

    /// True where equal values again and again are nothing strange: they were counted, often there was nothing.
    pub(super) fn counted(self) -> bool {
        match self {
            Nature::Rate { window_seconds: known, .. } | Nature::Ratio { of: known } => {
                known.is_some_and(|known| known > 0.0)
            }
            Nature::Duration | Nature::Other => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_nature() {
        for (name, nature) in [
            ("requests_per_second", Nature::Rate { window_seconds: Some(60.0), drop_harms: true }),
            ("bytes_per_second", Nature::Rate { window_seconds: Some(60.0), drop_harms: true }),
            ("matches_per_second", Nature::Rate { window_seconds: Some(60.0), drop_harms: false }),
            ("timeouts_per_second", Nature::Rate { window_seconds: Some(60.0), drop_harms: false }),
            ("error_ratio", Nature::Ratio { of: Some(9.0) }),
            ("p95_seconds", Nature::Duration),
            ("value", Nature::Other),
        ] {
            assert_eq!(Nature::of_measure(name, Some(60.0), Some(9.0)), nature, "{name}");
        }
    }
}
