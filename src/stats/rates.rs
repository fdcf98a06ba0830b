//! How likely counts are that vary more than chance alone would have them: the tails of the negative binomial (events
//! in a time) and of the beta-binomial (events among so many).
//!
//! Both are what Poisson and binomial counts become when their rate itself varies from window to window. On real
//! traffic it does: exact Poisson and binomial tests accuse hundreds of times too often.

/// Beyond this many expected events, counts are scaled down to it. What varies then is the rate, not the count: the
/// noise that scaling adds is 2 % of the mean, and it errs towards "usual".
const SCALE: f64 = 2_000.0;

/// The most terms that a tail is summed from, and the most events that are told apart.
const MOST_TERMS: u32 = 500_000;

/// The natural logarithm of the gamma function, for x > 0; about 15 digits (Lanczos' approximation with g = 7 and
/// nine coefficients, as computed by Godfrey).
pub fn ln_gamma(x: f64) -> f64 {
    const G: f64 = 7.0;
    const FIRST: f64 = 0.999_999_999_999_809_9;
    const OTHERS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        // Reflection: Γ(x)·Γ(1 − x) = π / sin(πx).
        return (std::f64::consts::PI / (std::f64::consts::PI * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let series = OTHERS.iter().zip(1_u8..).fold(FIRST, |sum, (factor, at)| sum + factor / (x + f64::from(at)));
    let base = x + G + 0.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * base.ln() - base + series.ln()
}

/// Counts of events in windows of one length, whose rate varies between windows.
///
/// A negative binomial distribution: variance = mean + dispersion · mean².
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EventsInTime {
    mean: f64,
    size: f64,
    scale: f64,
}

impl EventsInTime {
    /// `mean` events in a window; `dispersion` is the square of the rate's own relative standard deviation.
    pub fn new(mean: f64, dispersion: f64) -> Self {
        let mean = if mean.is_finite() { mean.max(1e-12) } else { 1e-12 };
        let scale = (SCALE / mean).min(1.0);
        EventsInTime { mean: mean * scale, size: 1.0 / dispersion.clamp(1e-6, 1e6), scale }
    }

    /// The chance of this many or more.
    pub fn at_least(&self, count: f64) -> f64 {
        let count = (count * self.scale).ceil();
        tail_up(count, self.mean, f64::INFINITY, |k| self.ln_of(k), |k| self.up(k))
    }

    /// The chance of this many or fewer.
    pub fn at_most(&self, count: f64) -> f64 {
        let count = (count * self.scale).floor();
        if count < 0.0 {
            0.0
        } else {
            1.0 - tail_up(count + 1.0, self.mean, f64::INFINITY, |k| self.ln_of(k), |k| self.up(k))
        }
    }

    /// The largest count that isn't rarer, on its side, than `chance`.
    pub fn highest(&self, chance: f64) -> f64 {
        let from = self.mean.ceil();
        border_up(from, self.tail(from), chance, f64::INFINITY, |k| self.ln_of(k), |k| self.up(k)) / self.scale
    }

    /// The smallest count that isn't rarer, on its side, than `chance`.
    pub fn lowest(&self, chance: f64) -> f64 {
        let mut count = self.mean.floor();
        let mut below = 1.0 - self.tail(count + 1.0);
        let mut term = self.ln_of(count).exp();
        while count > 0.0 && below - term >= chance {
            below -= term;
            count -= 1.0;
            term /= self.up(count);
        }
        count / self.scale
    }

    fn tail(&self, count: f64) -> f64 {
        tail_up(count, self.mean, f64::INFINITY, |k| self.ln_of(k), |k| self.up(k))
    }

    fn ln_of(&self, k: f64) -> f64 {
        let (mean, size) = (self.mean, self.size);
        ln_gamma(k + size) - ln_gamma(size) - ln_gamma(k + 1.0) - size * (mean / size).ln_1p()
            + k * (mean / (size + mean)).ln()
    }

    /// What `k + 1` is more likely than `k`.
    fn up(&self, k: f64) -> f64 {
        (k + self.size) / (k + 1.0) * (self.mean / (self.size + self.mean))
    }
}

/// Counts of events among so many, whose share varies between windows.
///
/// A beta-binomial distribution: the share itself is beta-distributed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EventsAmong {
    of: f64,
    alpha: f64,
    beta: f64,
    scale: f64,
}

impl EventsAmong {
    /// Events among `of`, with a mean share within 0 to 1; `dispersion` is the square of the share's own relative
    /// standard deviation.
    pub fn new(of: f64, share: f64, dispersion: f64) -> Self {
        let of = if of.is_finite() { of.max(1.0).round() } else { 1.0 };
        let share = share.clamp(1e-12, 1.0 - 1e-12);
        // Few events or few others: either one is what makes a count coarse.
        let scale = (SCALE / (of * share.min(1.0 - share))).min(f64::from(MOST_TERMS) / of).min(1.0);
        let together = ((1.0 - share) / (share * dispersion.clamp(1e-6, 1e6)) - 1.0).max(1e-3);
        EventsAmong {
            of: (of * scale).round().max(1.0),
            alpha: share * together,
            beta: (1.0 - share) * together,
            scale,
        }
    }

    /// The chance of this many or more.
    pub fn at_least(&self, count: f64) -> f64 {
        self.tail((count * self.scale).ceil())
    }

    /// The largest count that isn't rarer, on its side, than `chance`.
    pub fn highest(&self, chance: f64) -> f64 {
        let from = (self.of * self.alpha / (self.alpha + self.beta)).ceil();
        border_up(from, self.tail(from), chance, self.of, |k| self.ln_of(k), |k| self.up(k)) / self.scale
    }

    fn tail(&self, count: f64) -> f64 {
        let mean = self.of * self.alpha / (self.alpha + self.beta);
        tail_up(count, mean, self.of, |k| self.ln_of(k), |k| self.up(k))
    }

    fn ln_of(&self, k: f64) -> f64 {
        let (n, a, b) = (self.of, self.alpha, self.beta);
        let ln_beta = |x: f64, y: f64| ln_gamma(x) + ln_gamma(y) - ln_gamma(x + y);
        ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0) + ln_beta(k + a, n - k + b) - ln_beta(a, b)
    }

    fn up(&self, k: f64) -> f64 {
        let (n, a, b) = (self.of, self.alpha, self.beta);
        (n - k) / (k + 1.0) * (k + a) / (n - k - 1.0 + b)
    }
}

/// The chance of `from` or more: summed from there upwards, or from there downwards and taken from 1, whichever is the
/// shorter tail. `up(k)` is what `k + 1` is more likely than `k`.
fn tail_up(from: f64, mean: f64, last: f64, ln_of: impl Fn(f64) -> f64, up: impl Fn(f64) -> f64) -> f64 {
    /// Terms below this share of the sum no longer count.
    const NEGLIGIBLE: f64 = 1e-13;
    if from <= 0.0 {
        return 1.0;
    }
    if from > last {
        return 0.0;
    }
    let upwards = from > mean;
    let mut k = if upwards { from } else { from - 1.0 };
    let mut term = ln_of(k).exp();
    let mut sum = term;
    for _ in 0..MOST_TERMS {
        if upwards {
            if k >= last {
                break;
            }
            term *= up(k);
            k += 1.0;
        } else {
            if k <= 0.0 {
                break;
            }
            k -= 1.0;
            term /= up(k);
        }
        sum += term;
        // A term that grows again (a distribution with two humps) is waited for.
        if term <= sum * NEGLIGIBLE && (if upwards { up(k) < 1.0 } else { up(k) > 1.0 }) {
            break;
        }
    }
    let sum = sum.clamp(0.0, 1.0);
    if upwards { sum } else { 1.0 - sum }
}

/// The largest count of which it still has this `chance` that it is reached, going up `from` where the tail is known.
fn border_up(from: f64, tail: f64, chance: f64, last: f64, ln_of: impl Fn(f64) -> f64, up: impl Fn(f64) -> f64) -> f64 {
    let (mut count, mut tail) = (from, tail);
    let mut term = ln_of(count).exp();
    for _ in 0..MOST_TERMS {
        if count >= last || tail - term < chance {
            break;
        }
        tail -= term;
        term *= up(count);
        count += 1.0;
    }
    count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(found: f64, expected: f64) -> bool {
        (found - expected).abs() <= expected.abs() * 1e-9 + 1e-15
    }

    #[test]
    fn the_gamma_function() {
        for (x, expected) in [
            (1e-3, 6.907_178_885_383_854),
            (0.1, 2.252_712_651_734_205_5),
            (1.0, 0.0),
            (1.5, -0.120_782_237_635_245_43),
            (2.0, 0.0),
            (10.3, 13.482_036_786_138_36),
            (1e6, 12_815_504.569_147_611),
        ] {
            assert!((ln_gamma(x) - expected).abs() <= expected.abs() * 1e-12 + 1e-13, "{x}: {}", ln_gamma(x));
        }
    }

    /// Expected values: summed term by term, in another language; size 1 is the geometric distribution, (1/2)^5.
    #[test]
    fn events_in_time() {
        for (count, mean, dispersion, chance) in [
            (5.0, 1.0, 1.0, 0.031_25),
            (20.0, 10.0, 0.1, 0.030_714_172_869_920_602),
            (30.0, 10.0, 0.1, 0.000_532_509_817_276_146),
            (0.0, 10.0, 0.1, 1.0),
            (400.0, 300.0, 0.01, 0.003_828_263_100_186_605_7),
            (500.0, 300.0, 0.01, 3.754_021_267_730_62e-7),
        ] {
            let events = EventsInTime::new(mean, dispersion);
            assert!(close(events.at_least(count), chance), "{count} {mean}: {}", events.at_least(count));
        }
        // Without dispersion: Poisson, e^-10.
        assert!((EventsInTime::new(10.0, 0.0).at_most(0.0) / (-10.0_f64).exp() - 1.0).abs() < 1e-4);
    }

    /// Expected values: exact fractions; alpha = beta = 1 is the uniform distribution over 0 to n.
    #[test]
    fn events_among() {
        for (count, of, share, dispersion, chance) in [
            (3.0, 10.0, 0.5, 1.0 / 3.0, 8.0 / 11.0),
            (3.0, 10.0, 2.0 / 7.0, 0.3125, 0.510_989_010_989_011),
            (8.0, 10.0, 2.0 / 7.0, 0.3125, 0.024_475_524_475_524_476),
            (20.0, 100.0, 0.02, 0.485_148_514_851_485_14, 4.451_596_772_669_721_4e-6),
            (12.0, 100.0, 0.02, 0.485_148_514_851_485_14, 0.001_345_300_822_101_575),
            (50.0, 500.0, 0.03, 0.320_132_013_201_320_1, 0.003_968_009_807_455_425),
        ] {
            let events = EventsAmong::new(of, share, dispersion);
            assert!(close(events.at_least(count), chance), "{count} of {of}: {}", events.at_least(count));
        }
    }

    #[test]
    fn many_events_stay_cheap_and_nearly_right() {
        // A gamma distribution of shape 25: 1.733 times the mean is its quantile at 0.999 (χ² with 50 degrees: 86.66).
        let chance = EventsInTime::new(5e9, 0.04).at_least(1.733 * 5e9);
        assert!((0.000_9..0.001_2).contains(&chance), "{chance}");
        assert!(EventsAmong::new(1e9, 0.3, 0.01).at_least(0.5e9) < 1e-7);
        assert!(EventsAmong::new(1e9, 0.3, 0.01).at_least(0.31e9) > 0.2);
    }

    proptest! {
        #[test]
        fn tails_are_chances_that_fall(mean in 0.0..1e7, dispersion in 0.0..10.0, count in 0.0..1e7, more in 1.0..1e6) {
            let events = EventsInTime::new(mean, dispersion);
            let (here, further) = (events.at_least(count), events.at_least(count + more));
            prop_assert!((0.0..=1.0).contains(&here) && further <= here + 1e-9);
            prop_assert!(events.at_most(count) <= events.at_most(count + more) + 1e-9);
        }

        #[test]
        fn shares_have_tails_that_fall(of in 1.0..1e7, share in 0.0..=1.0, dispersion in 0.0..10.0, a in 0.0..=1.0, b in 0.0..=1.0) {
            let events = EventsAmong::new(of, share, dispersion);
            let (fewer, more) = ((of * f64::min(a, b)).floor(), (of * f64::max(a, b)).floor());
            let (here, further) = (events.at_least(fewer), events.at_least(more));
            prop_assert!((0.0..=1.0).contains(&here) && further <= here + 1e-9, "{here} {further}");
        }

        #[test]
        fn the_borders_are_those_of_the_tails(mean in 0.1..1_500.0, dispersion in 0.001..3.0) {
            let events = EventsInTime::new(mean, dispersion);
            let (low, high) = (events.lowest(0.001), events.highest(0.001));
            prop_assert!(events.at_least(high) >= 0.001 && events.at_least(high + 1.0) < 0.001);
            prop_assert!(events.at_most(low) >= 0.001 && (low == 0.0 || events.at_most(low - 1.0) < 0.001));
        }
    }
}
