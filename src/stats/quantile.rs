//! Quantiles: of durations in bounded memory however many there are, and of small slices exactly.

use hdrhistogram::Histogram;

/// The longest duration that is recorded, in seconds.
pub const LONGEST_SECONDS: f64 = 3_600.0;

/// Durations in seconds, from which quantiles can be asked: up to one hour, resolved to a microsecond and to three
/// significant digits (an HDR histogram: 0.2 MB, and 0.1 % off at the most).
#[derive(Debug, Clone)]
pub struct Durations {
    microseconds: Histogram<u64>,
    refused: u64,
}

impl Default for Durations {
    fn default() -> Self {
        Self::new()
    }
}

impl Durations {
    pub fn new() -> Self {
        // The bounds are constants that the histogram documents as valid: at least 1, the upper one at least twice
        // the lower one, at most five digits.
        #[allow(clippy::expect_used)]
        let microseconds = Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("valid constants");
        Durations { microseconds, refused: 0 }
    }

    /// Records one duration. What is no duration (NaN, negative, longer than an hour) is only counted as refused.
    pub fn record(&mut self, seconds: f64) {
        self.record_many(seconds, 1);
    }

    /// Records the same duration several times.
    pub fn record_many(&mut self, seconds: f64, count: u64) {
        let possible = (0.0..=LONGEST_SECONDS).contains(&seconds);
        if !possible || self.microseconds.record_n((seconds * 1e6).round() as u64, count).is_err() {
            self.refused = self.refused.saturating_add(count);
        }
    }

    /// Adds what another one recorded.
    pub fn merge(&mut self, other: &Durations) {
        if self.microseconds.add(&other.microseconds).is_err() {
            self.refused = self.refused.saturating_add(other.len());
        }
        self.refused = self.refused.saturating_add(other.refused);
    }

    /// How many were recorded.
    pub fn len(&self) -> u64 {
        self.microseconds.len()
    }

    pub fn is_empty(&self) -> bool {
        self.microseconds.is_empty()
    }

    /// How many were no durations.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The duration in seconds below or at which this share (0 to 1) of all lies; `None` where nothing was recorded,
    /// or the share is none.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        if self.is_empty() || !(0.0..=1.0).contains(&share) {
            return None;
        }
        let upper = self.microseconds.value_at_quantile(share).min(self.microseconds.max());
        Some(upper as f64 / 1e6)
    }
}

/// The middle of the finite numbers; the mean of the two middle ones where their count is even. `None` without any.
pub fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(sorted.len() / 2 - 1)?;
    Some(lower + (upper - lower) / 2.0)
}

/// The median of the distances from the median: a spread that half of the values can't spoil. Times 1.4826 it
/// estimates the standard deviation of what is normally distributed. `None` without a finite number.
pub fn median_deviation(values: &[f64]) -> Option<f64> {
    let middle = median(values)?;
    let distances: Vec<f64> =
        values.iter().filter(|value| value.is_finite()).map(|value| (value - middle).abs()).collect();
    median(&distances)
}

/// The finite numbers, smallest first.
pub fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_of_what_was_recorded() {
        let mut durations = Durations::new();
        for millis in 1..=1_000 {
            durations.record(f64::from(millis) / 1_000.0);
        }
        for (share, seconds) in [(0.0, 0.001), (0.5, 0.5), (0.95, 0.95), (0.99, 0.99), (1.0, 1.0)] {
            let quantile = durations.quantile(share).unwrap();
            assert!((quantile - seconds).abs() <= seconds * 0.001 + 1e-6, "{share}: {quantile}");
        }
        assert_eq!(durations.len(), 1_000);
        assert_eq!(durations.quantile(1.1), None);
        assert_eq!(durations.quantile(f64::NAN), None);
    }

    #[test]
    fn nothing_recorded_has_no_quantile() {
        assert_eq!(Durations::new().quantile(0.5), None);
    }

    #[test]
    fn what_is_no_duration_is_counted() {
        let mut durations = Durations::new();
        for seconds in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.001, 3_600.1, f64::MAX] {
            durations.record(seconds);
        }
        assert_eq!((durations.len(), durations.refused()), (0, 6));
        assert_eq!(durations.quantile(0.5), None);
        for seconds in [0.0, -0.0, 1e-9, 3_600.0] {
            durations.record(seconds);
        }
        assert_eq!((durations.len(), durations.refused()), (4, 6));
        assert_eq!(durations.quantile(0.5), Some(0.0));
    }

    #[test]
    fn two_together_are_as_one() {
        let (mut one, mut other) = (Durations::new(), Durations::new());
        one.record_many(0.1, 3);
        other.record(0.3);
        other.record(f64::NAN);
        one.merge(&other);
        assert_eq!((one.len(), one.refused()), (4, 1));
        assert!((one.quantile(1.0).unwrap() - 0.3).abs() < 1e-3);
    }

    #[test]
    fn medians() {
        for (values, middle, deviation) in [
            (&[3.0, 1.0, 2.0][..], Some(2.0), Some(1.0)),
            (&[4.0, 1.0, 2.0, 3.0], Some(2.5), Some(1.0)),
            (&[5.0, f64::NAN], Some(5.0), Some(0.0)),
            (&[1.0, 1.0, 1.0, 100.0], Some(1.0), Some(0.0)),
            (&[f64::NAN, f64::INFINITY], None, None),
            (&[], None, None),
        ] {
            assert_eq!((median(values), median_deviation(values)), (middle, deviation), "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn a_quantile_is_within_a_thousandth_of_the_exact_one(
            mut seconds in proptest::collection::vec(0.000_01..3_600.0, 1..200),
            share in 0.0..=1.0_f64,
        ) {
            let mut durations = Durations::new();
            seconds.iter().for_each(|seconds| durations.record(*seconds));
            seconds.sort_by(f64::total_cmp);
            let rank = ((share * seconds.len() as f64).ceil() as usize).clamp(1, seconds.len());
            // A share that falls on the border between two ranks may come out as either.
            let near = &seconds[rank.saturating_sub(2)..(rank + 1).min(seconds.len())];
            let quantile = durations.quantile(share).unwrap();
            prop_assert!(near.iter().any(|exact| (quantile - exact).abs() <= exact * 0.001 + 1e-6), "{quantile} {near:?}");
        }
    }
}
