//! Reproducible chance: the same seed gives the same customers, delays and mishaps.

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// At least 0, below 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True in this share of the cases.
    pub fn chance(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// One of these; the first of an empty list doesn't exist, so there is none.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        let index = (self.next() % choices.len().max(1) as u64) as usize;
        choices.get(index).copied()
    }

    /// From `from` to `to`, both included.
    pub fn between(&mut self, from: i64, to: i64) -> i64 {
        let span = to.saturating_sub(from).max(0) as u64 + 1;
        from + (self.next() % span) as i64
    }

    /// Normally distributed, mean 0, deviation 1 (the sum of four uniforms: cheap, and its tails end at ± 3.5).
    pub fn normal(&mut self) -> f64 {
        let sum = self.unit() + self.unit() + self.unit() + self.unit();
        (sum - 2.0) * 1.732_050_8
    }

    /// In another order (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.between(0, last as i64) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_gives_others() {
        let (mut one, mut same, mut other) = (Random::new(7), Random::new(7), Random::new(8));
        let first: Vec<u64> = (0..100).map(|_| one.next()).collect();
        assert_eq!(first, (0..100).map(|_| same.next()).collect::<Vec<_>>());
        assert_ne!(first, (0..100).map(|_| other.next()).collect::<Vec<_>>());
    }

    #[test]
    fn means_and_bounds_hold() {
        let mut random = Random::new(1);
        let count = 20_000;
        let uniform: f64 = (0..count).map(|_| random.unit()).sum::<f64>() / f64::from(count);
        assert!((uniform - 0.5).abs() < 0.01, "{uniform}");
        let draws: Vec<f64> = (0..count).map(|_| random.normal()).collect();
        let mean = draws.iter().sum::<f64>() / f64::from(count);
        let spread = draws.iter().map(|x| x * x).sum::<f64>() / f64::from(count);
        assert!(mean.abs() < 0.03 && (spread - 1.0).abs() < 0.05, "{mean} {spread}");
        for _ in 0..1000 {
            assert!((3..=5).contains(&random.between(3, 5)));
        }
        assert_eq!(random.one_of::<u8>(&[]), None);
    }

    #[test]
    fn shuffling_keeps_every_item() {
        let mut items: Vec<u8> = (0..50).collect();
        Random::new(3).shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<u8>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<u8>>());
    }
}
