//! How fast somebody may file tickets: a bucket per name, filled at a steady rate.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The most names that are remembered; full buckets are forgotten first, since a new one is full, too.
const NAMES: usize = 1_024;

/// The buckets. Each holds a minute's worth and is refilled over a minute, so that a burst is taken at once and a flood
/// is not.
#[derive(Debug)]
pub(super) struct Rates {
    per_minute: f64,
    buckets: HashMap<String, Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: f64,
    at: Instant,
}

impl Rates {
    pub(super) fn new(per_minute: u32) -> Self {
        Rates { per_minute: f64::from(per_minute.max(1)), buckets: HashMap::new() }
    }

    /// Takes one; or says when there will be one again.
    pub(super) fn take(&mut self, name: &str, now: Instant) -> Result<(), Duration> {
        let most = self.per_minute;
        let level = |bucket: &Bucket| {
            let elapsed = now.saturating_duration_since(bucket.at).as_secs_f64();
            (bucket.level + elapsed * most / 60.0).min(most)
        };
        if !self.buckets.contains_key(name) && self.buckets.len() >= NAMES {
            self.buckets.retain(|_, bucket| level(bucket) < most);
            if self.buckets.len() >= NAMES {
                // As many names as that are all filing at this moment: one more has to wait for a bucket.
                return Err(Duration::from_secs(60));
            }
        }
        let bucket = self.buckets.entry(name.to_owned()).or_insert(Bucket { level: most, at: now });
        let filled = level(bucket);
        if filled < 1.0 {
            *bucket = Bucket { level: filled, at: now };
            // Rounded up to whole seconds, which is what `Retry-After` can say.
            return Err(Duration::from_secs(((1.0 - filled) * 60.0 / most).ceil().max(1.0) as u64));
        }
        *bucket = Bucket { level: filled - 1.0, at: now };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let mut rates = Rates::new(30);
        let start = Instant::now();
        let mut take = |name: &str, seconds| rates.take(name, start + Duration::from_secs(seconds));
        for _ in 0..30 {
            assert_eq!(take("desk", 0), Ok(()));
        }
        assert_eq!(take("desk", 0), Err(Duration::from_secs(2)));
        assert_eq!(take("other", 0), Ok(()), "each has its own");
        assert_eq!(take("desk", 2), Ok(()));
        assert_eq!(take("desk", 2), Err(Duration::from_secs(2)));
        for _ in 0..30 {
            assert_eq!(take("desk", 3_600), Ok(()), "never more than a minute's worth is saved up");
        }
        assert!(take("desk", 3_600).is_err());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut rates = Rates::new(60);
        let start = Instant::now();
        for name in 0..NAMES {
            assert_eq!(rates.take(&name.to_string(), start), Ok(()));
        }
        assert!(rates.take("one more", start).is_err());
        assert_eq!(rates.take("one more", start + Duration::from_secs(2)), Ok(()), "the full ones made room");
        assert!(rates.buckets.len() <= NAMES);
    }
}
