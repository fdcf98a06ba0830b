//! Between which bounds a measure is usual, from few or many past windows.

use super::nature::Nature;
use super::quantile::{median, median_deviation};
use super::rates::{EventsAmong, EventsInTime};

/// The chance below which a count is unusual.
const CHANCE: f64 = 1e-3;

/// How many windows the knowledge about a nature is worth. With two windows a rate must then change by three quarters
/// to be unusual, with nine by a quarter.
const PRIOR_WINDOWS: f64 = 4.0;

/// The quarter by which a value must differ at the least.
pub(super) const RELATIVE_FLOOR: f64 = 0.25;

/// A ratio that grows by less than this is nobody's concern.
const RATIO_FLOOR: f64 = 0.001;

/// The same, where it isn't known of how many events it is a ratio.
const RATIO_FLOOR_UNCOUNTED: f64 = 0.01;

/// Fewer events than these are an accident …
const FEW_EVENTS: f64 = 5.0;

/// … unless they are at least half of all, and these many.
const VERY_FEW_EVENTS: f64 = 3.0;

/// Where a measure lies, and how much it varies.
struct Spread {
    centre: f64,
    /// Beyond `noise`, in the measure's own unit; the nature's own variation is part of it.
    deviation: f64,
    /// How many deviations are too many.
    limit: f64,
}

/// `noise` is the variance that counting alone would give a value around this centre.
fn spread(past: &[f64], variation: f64, few: bool, noise: impl Fn(f64) -> f64) -> Spread {
    let count = past.len() as f64;
    let mean = past.iter().sum::<f64>() / count;
    let middle = median(past).unwrap_or(mean);
    // Among few events the median is 0 for long stretches, and the mean tells more.
    let centre = if few { mean } else { middle };
    let variance = if few || past.len() < 5 {
        variance(past)
    } else {
        let robust = (1.482_6 * small_sample(past.len()) * median_deviation(past).unwrap_or(0.0)).powi(2);
        // The median deviation of few values is itself a matter of chance, and often far too small.
        if past.len() < 15 { robust.max(variance(without_furthest(past, middle))) } else { robust }
    };
    // A median around 0 has no size to compare with; that of the values is the next best.
    let size = if centre == 0.0 { past.iter().map(|value| value.abs()).sum::<f64>() / count } else { centre.abs() };
    let beyond = (variance - noise(centre)).max(0.0);
    let freedom = PRIOR_WINDOWS + count - 1.0;
    let deviation = ((PRIOR_WINDOWS * (variation * size).powi(2) + (count - 1.0) * beyond) / freedom).sqrt();
    Spread { centre, deviation, limit: student(freedom) * (1.0 + 1.0 / count).sqrt() }
}

fn variance(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0)
}

/// Sorted values without the one that lies furthest off the middle: one window may have been in trouble.
fn without_furthest(sorted: &[f64], middle: f64) -> &[f64] {
    match sorted {
        [first, .., last] if middle - first > last - middle => &sorted[1..],
        [rest @ .., _] => rest,
        [] => sorted,
    }
}

/// By how much the median deviation of few values falls short (Croux & Rousseeuw 1992).
fn small_sample(count: usize) -> f64 {
    match count {
        0..=5 => 1.206,
        6 => 1.200,
        7 => 1.140,
        8 => 1.129,
        9 => 1.107,
        more => more as f64 / (more as f64 - 0.8),
    }
}

/// The quantile of Student's t at 0.9995, for 5 degrees of freedom and more, within 3 % (Abramowitz & Stegun 26.7.5).
fn student(freedom: f64) -> f64 {
    const NORMAL: f64 = 3.290_526_731_491_926;
    let z = NORMAL;
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    z + first / freedom + second / freedom.powi(2) + third / freedom.powi(3)
}

/// The square of the relative deviation, widened for what few windows leave open.
fn dispersion(spread: &Spread) -> f64 {
    (spread.deviation / spread.centre * spread.limit / student(1e9)).powi(2)
}

/// The bounds of a counted rate.
pub(super) fn rate(past: &[f64], seconds: f64, both: bool) -> (f64, f64) {
    let counts: Vec<f64> = past.iter().map(|rate| rate.max(0.0) * seconds).collect();
    let few = median(&counts).unwrap_or(0.0) < FEW_EVENTS;
    let mut spread =
        spread(&counts, Nature::Rate { window_seconds: None, drop_harms: both }.variation(), few, |mean| mean);
    // Nothing in all windows: the next one may well hold half an event.
    let at_least = 0.5 / counts.len() as f64;
    if spread.centre < at_least {
        spread.centre = at_least;
        spread.deviation = spread.deviation.max(at_least);
    }
    let events = EventsInTime::new(spread.centre, dispersion(&spread));
    let chance = if both { CHANCE / 2.0 } else { CHANCE };
    let low = events.lowest(chance).min(spread.centre * (1.0 - RELATIVE_FLOOR));
    let high = events.highest(chance).max(spread.centre * (1.0 + RELATIVE_FLOOR)).max(FEW_EVENTS - 1.0);
    (low / seconds, high / seconds)
}

/// The bounds of a ratio of so many events.
pub(super) fn ratio(past: &[f64], of: f64) -> (f64, f64) {
    let shares: Vec<f64> = past.iter().map(|share| share.clamp(0.0, 1.0)).collect();
    let few = median(&shares).unwrap_or(0.0) * of < FEW_EVENTS;
    let variation = Nature::Ratio { of: None }.variation();
    let mut spread = spread(&shares, variation, few, |share| share * (1.0 - share) / of);
    let at_least = 0.5 / (of * shares.len() as f64 + 1.0);
    if spread.centre < at_least {
        spread.centre = at_least;
        spread.deviation = spread.deviation.max(at_least);
    }
    let high = EventsAmong::new(of, spread.centre, dispersion(&spread)).highest(CHANCE) / of;
    let few_events = (FEW_EVENTS - 1.0).min((of / 2.0).ceil() - 1.0).max(VERY_FEW_EVENTS - 1.0) / of;
    let high = high.max(spread.centre * (1.0 + RELATIVE_FLOOR)).max(spread.centre + RATIO_FLOOR).max(few_events);
    (0.0, high)
}

/// The bounds of a number of which only its past values are known.
pub(super) fn number(past: &[f64], nature: Nature) -> (f64, f64) {
    let spread = spread(past, nature.variation(), false, |_| 0.0);
    let width = (spread.limit.max(4.0) * spread.deviation).max(RELATIVE_FLOOR * spread.centre.abs());
    let width = match nature {
        Nature::Ratio { .. } => width.max(RATIO_FLOOR_UNCOUNTED),
        _ => width,
    };
    (spread.centre - width, spread.centre + width)
}
