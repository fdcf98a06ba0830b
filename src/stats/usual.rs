//! Whether a value is usual, given what the same source showed in earlier windows of the same length.
//!
//! With history there are hundreds of such windows; on the first day there are two to nine (an hour ago, a day ago).
//! Few windows say little about how much a measure varies. So what they show is combined with what measures of its
//! nature show elsewhere (a scaled inverse χ² prior worth four windows), and the fewer they are, the wider the bounds
//! (Student's t): with two past windows a rate must change by three quarters to be unusual, with nine by a quarter.
//!
//! * **Rates** that were counted are held against a negative binomial, **ratios** of known counts against a
//!   beta-binomial, both with the dispersion found in the past: errors come in bursts, and tests that know only chance
//!   cry wolf. Unusual is what has a chance below one in a thousand, and lies a quarter off besides.
//! * **Durations** and all other numbers are held against median and median deviation (z > 4).
//! * What past windows showed is usual, and a quarter more, but for the one highest and the one lowest of five or more.
//! * A past that can't vary says nothing: no windows, no numbers, or the same number over and over where it isn't known
//!   to be a count.

use super::bounds::{RELATIVE_FLOOR, number, rate, ratio};
use super::nature::Nature;
use super::quantile::sorted;
use crate::model::value::show_number;

/// What comparing comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Comparison {
    Usual {
        low: f64,
        high: f64,
    },
    /// The value lies outside of these bounds; `low` is minus infinity where only more is worse.
    Unusual {
        low: f64,
        high: f64,
    },
    Unknown(Lack),
}

/// What is missing for a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// So many more windows of the past.
    Windows(usize),
    /// The past is one number over and over.
    Variation,
    /// The value itself is none.
    Value,
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Lack::Windows(1) => f.write_str("needs 1 more window of the past"),
            Lack::Windows(more) => write!(f, "needs {more} more windows of the past"),
            Lack::Variation => f.write_str("the past is one number over and over, which says nothing"),
            Lack::Value => f.write_str("the value is not a number"),
        }
    }
}

impl Comparison {
    /// "usually 190 to 230", "usually up to 0.004"; empty where that isn't known.
    pub fn usually(&self) -> String {
        match self {
            Comparison::Usual { low, high } | Comparison::Unusual { low, high } if low.is_finite() => {
                format!("usually {} to {}", show_number(*low), show_number(*high))
            }
            Comparison::Usual { high, .. } | Comparison::Unusual { high, .. } => {
                format!("usually up to {}", show_number(*high))
            }
            Comparison::Unknown(_) => String::new(),
        }
    }
}

/// The fewest past windows that say anything.
pub const WINDOWS_NEEDED: usize = 2;

/// Holds a value against the past: values of the same measure in earlier windows of the same length. Numbers that are
/// none are left out; of the past nothing is assumed about its order.
///
/// The windows should end before the trouble is said to have begun, or what is wrong becomes what is usual.
pub fn compare(value: f64, past: &[f64], nature: Nature) -> Comparison {
    let past = sorted(past);
    if !value.is_finite() {
        return Comparison::Unknown(Lack::Value);
    }
    if past.len() < WINDOWS_NEEDED {
        return Comparison::Unknown(Lack::Windows(WINDOWS_NEEDED - past.len()));
    }
    if past.first() == past.last() && !nature.counted() {
        return Comparison::Unknown(Lack::Variation);
    }
    let seen = seen(&past);
    let (low, high) = match nature {
        Nature::Rate { window_seconds: Some(seconds), drop_harms } if seconds > 0.0 => rate(&past, seconds, drop_harms),
        Nature::Ratio { of: Some(of) } if of >= 1.0 => ratio(&past, of),
        nature => number(&past, nature),
    };
    let low = if nature.only_upwards() { f64::NEG_INFINITY } else { low.min(seen.0 - RELATIVE_FLOOR * seen.0.abs()) };
    let high = high.max(seen.1 + RELATIVE_FLOOR * seen.1.abs());
    // What was computed from a value must not exclude it by its last digit.
    let slack = 1e-9 * value.abs();
    if value < low - slack || value > high + slack {
        Comparison::Unusual { low, high }
    } else {
        Comparison::Usual { low, high }
    }
}

/// The range of the past, from five windows on without its one lowest and its one highest: once may be an accident,
/// twice is a habit (a nightly job, seen a day ago and two days ago).
fn seen(sorted: &[f64]) -> (f64, f64) {
    let inner = if sorted.len() >= 5 { sorted.get(1..sorted.len() - 1) } else { None };
    let range = inner.unwrap_or(sorted);
    (range.first().copied().unwrap_or(f64::INFINITY), range.last().copied().unwrap_or(f64::NEG_INFINITY))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::quantile::median;
    use super::*;

    const REQUESTS: Nature = Nature::Rate { window_seconds: Some(900.0), drop_harms: true };
    const MATCHES: Nature = Nature::Rate { window_seconds: Some(900.0), drop_harms: false };
    const RATE: Nature = Nature::Rate { window_seconds: None, drop_harms: true };

    fn ratio_of(of: f64) -> Nature {
        Nature::Ratio { of: Some(of) }
    }

    #[test]
    fn what_is_usual_and_what_is_not() {
        let day = [210.0, 205.0, 198.0, 190.0, 215.0, 208.0, 202.0, 220.0, 195.0];
        let calm = [0.003_2, 0.002_9, 0.003_5, 0.003_0, 0.004_1, 0.002_7, 0.003_3, 0.003_1, 0.003_6];
        let latency = [0.50, 0.47, 0.55, 0.52, 0.49, 0.51, 0.48, 0.53, 0.50];
        for (value, past, nature, usual) in [
            // Traffic, both ways.
            (212.0, &day[..], REQUESTS, true),
            (160.0, &day, REQUESTS, true),
            (120.0, &day, REQUESTS, false),
            (3.1, &day, REQUESTS, false),
            (0.0, &day, REQUESTS, false),
            (400.0, &day, REQUESTS, false),
            (0.0, &day, RATE, false),
            (400.0, &day, RATE, false),
            (230.0, &day, RATE, true),
            // Two windows: less is known, but an outage is one.
            (0.0, &day[..2], REQUESTS, false),
            (0.0, &day[..2], RATE, false),
            (2_100.0, &day[..2], RATE, false),
            (130.0, &day[..2], REQUESTS, true),
            // So few requests that none are no news: 1.8 a window; 18 are enough.
            (0.0, &[0.002, 0.003, 0.001, 0.002, 0.002], REQUESTS, true),
            (0.0, &[0.02, 0.03, 0.01, 0.02, 0.02], REQUESTS, false),
            // Nothing so far.
            (0.0, &[0.0; 9], MATCHES, true),
            (4.0 / 900.0, &[0.0; 9], MATCHES, true),
            (6.0 / 900.0, &[0.0; 9], MATCHES, false),
            // Bursts: what happened twice is no surprise.
            (60.0 / 900.0, &[0.0, 0.0, 70.0 / 900.0, 0.0, 0.0, 0.0, 65.0 / 900.0, 0.0, 0.0], MATCHES, true),
            (60.0 / 900.0, &[0.0, 0.0, 1.0 / 900.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], MATCHES, false),
            (0.0, &[0.5, 0.6, 0.4, 0.5, 0.55], MATCHES, true),
            // A nightly job, a day ago and two days ago.
            (100.0, &[10.0, 11.0, 10.0, 9.0, 100.0, 10.0, 11.0, 98.0, 10.0], REQUESTS, true),
            // One past window in trouble doesn't make trouble usual.
            (0.0, &[210.0, 0.0, 205.0, 190.0, 200.0, 220.0], REQUESTS, false),
            // Error ratios, upwards only.
            (0.228, &calm, ratio_of(5_326.0), false),
            (0.228, &calm[..2], ratio_of(5_326.0), false),
            (0.228, &calm, Nature::Ratio { of: None }, false),
            (0.005, &calm, ratio_of(5_326.0), true),
            (0.005, &calm, Nature::Ratio { of: None }, true),
            (0.0, &calm, ratio_of(5_326.0), true),
            (0.0, &[0.0; 9], ratio_of(5_326.0), true),
            (0.000_9, &[0.0; 9], ratio_of(5_326.0), true),
            (0.01, &[0.0; 9], ratio_of(5_326.0), false),
            (1.0, &[0.0; 9], ratio_of(4.0), false),
            (1.0, &[0.0; 9], ratio_of(2.0), true),
            (0.04, &[0.0; 9], ratio_of(100.0), true),
            (0.06, &[0.0; 9], ratio_of(100.0), false),
            (0.2, &[0.1, 0.0, 0.3, 0.2, 0.0], ratio_of(10.0), true),
            // Latency, upwards only.
            (13.97, &latency, Nature::Duration, false),
            (0.9, &latency, Nature::Duration, false),
            (0.7, &latency, Nature::Duration, true),
            (0.01, &latency, Nature::Duration, true),
            (5.0, &latency[..2], Nature::Duration, false),
            // Anything else.
            (-30.0, &[-10.0, -11.0, -9.0, -10.5, -10.0], Nature::Other, false),
            (-11.0, &[-10.0, -11.0, -9.0, -10.5, -10.0], Nature::Other, true),
            (0.1, &[-0.1, 0.0, 0.1, 0.0, 0.05], Nature::Other, true),
            (9.0, &[-0.1, 0.0, 0.1, 0.0, 0.05], Nature::Other, false),
        ] {
            let comparison = compare(value, past, nature);
            let found = match comparison {
                Comparison::Usual { .. } => true,
                Comparison::Unusual { .. } => false,
                Comparison::Unknown(lack) => panic!("{value} {past:?}: {lack}"),
            };
            assert_eq!(found, usual, "{value} against {past:?} as {nature:?}: {comparison:?}");
        }
    }

    #[test]
    fn what_cannot_be_known_says_what_is_lacking() {
        for (value, past, nature, lack, words) in [
            (1.0, &[][..], RATE, Lack::Windows(2), "needs 2 more windows of the past"),
            (1.0, &[1.0], RATE, Lack::Windows(1), "needs 1 more window of the past"),
            (1.0, &[f64::NAN, f64::INFINITY, 2.0], RATE, Lack::Windows(1), "needs 1 more window of the past"),
            (1.0, &[f64::NAN; 9], RATE, Lack::Windows(2), "needs 2 more windows of the past"),
            (5.0, &[5.0; 9], RATE, Lack::Variation, "the past is one number over and over, which says nothing"),
            (
                0.0,
                &[0.0; 9],
                Nature::Other,
                Lack::Variation,
                "the past is one number over and over, which says nothing",
            ),
            (f64::NAN, &[1.0, 2.0], RATE, Lack::Value, "the value is not a number"),
        ] {
            assert_eq!(compare(value, past, nature), Comparison::Unknown(lack), "{value} {past:?}");
            assert_eq!(lack.to_string(), words);
        }
    }

    #[test]
    fn bounds_are_told() {
        for (comparison, words) in [
            (Comparison::Unusual { low: 190.0, high: 230.25 }, "usually 190 to 230.2"),
            (Comparison::Usual { low: f64::NEG_INFINITY, high: 0.004 }, "usually up to 0.004"),
            (Comparison::Unknown(Lack::Variation), ""),
        ] {
            assert_eq!(comparison.usually(), words);
        }
    }

    /// A generator with a fixed seed (splitmix64), for series that are the same in every run.
    struct Chance(u64);

    impl Chance {
        fn uniform(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        }

        fn normal(&mut self) -> f64 {
            let (a, b) = (1.0 - self.uniform(), self.uniform());
            (-2.0 * a.ln()).sqrt() * (2.0 * std::f64::consts::PI * b).cos()
        }

        /// A factor around 1 with about this relative deviation.
        fn factor(&mut self, deviation: f64) -> f64 {
            let sigma = (1.0 + deviation * deviation).ln().sqrt();
            (sigma * self.normal() - sigma * sigma / 2.0).exp()
        }

        fn poisson(&mut self, mean: f64) -> f64 {
            if mean > 500.0 {
                return (mean + mean.sqrt() * self.normal()).round().max(0.0);
            }
            let (limit, mut product, mut count) = ((-mean).exp(), self.uniform(), 0.0);
            while product > limit {
                product *= self.uniform();
                count += 1.0;
            }
            count
        }
    }

    /// Of how many trials it is told how often a calm value is called unusual, and how often a changed one.
    const CALM: usize = 1_500;
    const CHANGED: usize = 200;

    /// How often of all trials something was called unusual.
    fn alarms(
        chance: &mut Chance,
        nature: Nature,
        windows: usize,
        mut draw: impl FnMut(&mut Chance) -> f64,
        change: f64,
    ) -> f64 {
        let trials = if change == 1.0 { CALM } else { CHANGED };
        let mut alarms = 0;
        for _ in 0..trials {
            let past: Vec<f64> = (0..windows).map(|_| draw(chance)).collect();
            let value = draw(chance) * change;
            alarms += usize::from(matches!(compare(value, &past, nature), Comparison::Unusual { .. }));
        }
        alarms as f64 / trials as f64
    }

    #[test]
    fn calm_series_raise_no_alarm_and_outages_are_found() {
        let mut chance = Chance(42);
        for windows in [2, 5, 9] {
            for (mean, varies) in
                [(3.0, 0.0), (40.0, 0.0), (40.0, 0.2), (2_000.0, 0.1), (200_000.0, 0.1), (2_000.0, 0.25)]
            {
                let draw = |chance: &mut Chance| {
                    let mean = mean * chance.factor(varies);
                    chance.poisson(mean) / 900.0
                };
                let calm = alarms(&mut chance, REQUESTS, windows, draw, 1.0);
                assert!(calm < 0.02, "rate {mean} ± {varies}, {windows} windows: {calm} false alarms");
                if mean >= 40.0 {
                    let gone = alarms(&mut chance, REQUESTS, windows, draw, 0.0);
                    assert!(gone > 0.9, "rate {mean} ± {varies}, {windows} windows: {gone} of the outages");
                    let surge = alarms(&mut chance, REQUESTS, windows, draw, 10.0);
                    assert!(surge > 0.97, "rate {mean} ± {varies}, {windows} windows: {surge} of the surges");
                }
            }
        }
    }

    #[test]
    fn bursts_of_errors_raise_no_alarm_and_a_jump_is_found() {
        let mut chance = Chance(7);
        for windows in [2, 5, 9] {
            for (of, share, varies) in [
                (5_326.0, 0.003_2, 0.0),
                (5_326.0, 0.003_2, 0.6),
                (300.0, 0.003_2, 0.6),
                (300.0, 0.05, 0.5),
                (50.0, 0.0, 0.0),
            ] {
                let draw = |chance: &mut Chance| {
                    let mean = of * share * chance.factor(varies);
                    chance.poisson(mean).min(of) / of
                };
                let calm = alarms(&mut chance, ratio_of(of), windows, draw, 1.0);
                assert!(calm < 0.02, "{share} ± {varies} of {of}, {windows} windows: {calm} false alarms");
                let found = (0..CHANGED).filter(|_| {
                    let past: Vec<f64> = (0..windows).map(|_| draw(&mut chance)).collect();
                    let value = (71.0 * share).clamp(0.2, 1.0);
                    matches!(compare(value, &past, ratio_of(of)), Comparison::Unusual { .. })
                });
                let found = found.count() as f64 / CHANGED as f64;
                assert!(share > 0.01 || found > 0.97, "{share} ± {varies} of {of}, {windows} windows: {found} found");
            }
        }
    }

    #[test]
    fn latencies_raise_no_alarm_and_a_tenfold_one_is_found() {
        let mut chance = Chance(11);
        for windows in [2, 5, 9] {
            for varies in [0.05, 0.2, 0.35] {
                let draw = |chance: &mut Chance| 0.5 * chance.factor(varies);
                let calm = alarms(&mut chance, Nature::Duration, windows, draw, 1.0);
                assert!(calm < 0.02, "± {varies}, {windows} windows: {calm} false alarms");
                let slow = alarms(&mut chance, Nature::Duration, windows, draw, 10.0);
                assert!(slow > 0.97, "± {varies}, {windows} windows: {slow} found");
            }
        }
    }

    fn natures() -> impl Strategy<Value = Nature> {
        proptest::sample::select(vec![
            REQUESTS,
            RATE,
            MATCHES,
            ratio_of(10_000.0),
            Nature::Ratio { of: None },
            Nature::Duration,
            Nature::Other,
        ])
    }

    proptest! {
        #[test]
        fn what_was_seen_more_than_once_is_usual(past in proptest::collection::vec(0.0..1.0, 2..30), at in 0.0..=1.0, nature in natures()) {
            let (low, high) = seen(&sorted(&past));
            let value = low + (high - low) * at;
            prop_assert!(!matches!(compare(value, &past, nature), Comparison::Unusual { .. }), "{value} {past:?}");
        }

        #[test]
        fn ten_times_a_steady_past_is_unusual(past in proptest::collection::vec(0.05..0.06, 2..30), nature in natures()) {
            let value = 10.0 * median(&past).unwrap();
            prop_assert!(matches!(compare(value, &past, nature), Comparison::Unusual { .. }), "{:?}", compare(value, &past, nature));
        }

        #[test]
        fn the_unit_changes_nothing(
            past in proptest::collection::vec(0.1..10.0, 2..12), value in 0.0..100.0, power in -8..8, nature in proptest::sample::select(vec![RATE, Nature::Duration, Nature::Other])
        ) {
            // Powers of two: exact in floating point.
            let factor = 2.0_f64.powi(power);
            let scaled: Vec<f64> = past.iter().map(|value| value * factor).collect();
            let unusual = |comparison| matches!(comparison, Comparison::Unusual { .. });
            prop_assert_eq!(unusual(compare(value, &past, nature)), unusual(compare(value * factor, &scaled, nature)));
        }

        #[test]
        fn the_order_of_the_past_changes_nothing(past in proptest::collection::vec(0.0..1.0, 0..12), value in 0.0..2.0, nature in natures()) {
            let mut reversed = past.clone();
            reversed.reverse();
            prop_assert_eq!(compare(value, &past, nature), compare(value, &reversed, nature));
        }

        #[test]
        fn further_off_is_never_more_usual(past in proptest::collection::vec(0.0..1.0, 2..12), value in 0.0..2.0, more in 0.0..2.0, nature in natures()) {
            let unusual = |value| matches!(compare(value, &past, nature), Comparison::Unusual { .. });
            let middle = median(&past).unwrap();
            prop_assert!(value < middle || !unusual(value) || unusual(value + more));
        }

        #[test]
        fn no_number_makes_it_panic(past in proptest::collection::vec(any::<f64>(), 0..12), value in any::<f64>(), window in any::<f64>(), of in any::<f64>()) {
            for nature in [Nature::Rate { window_seconds: Some(window), drop_harms: true }, RATE, ratio_of(of), Nature::Ratio { of: None }, Nature::Duration, Nature::Other] {
                let _ = compare(value, &past, nature).usually();
            }
        }
    }
}
