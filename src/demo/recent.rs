//! The last minute in figures, for the status page and a gauge: what a counter can't say by itself.

use super::route::Route;

const SECONDS: i64 = 60;

/// The parts of the shop that the status page knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Shop,
    Search,
    Checkout,
}

impl Part {
    pub const ALL: [Part; 3] = [Part::Shop, Part::Search, Part::Checkout];

    pub fn name(self) -> &'static str {
        match self {
            Part::Shop => "Shop",
            Part::Search => "Search",
            Part::Checkout => "Checkout",
        }
    }

    fn of(route: Route) -> Part {
        match route {
            Route::Search => Part::Search,
            route if route.is_checkout() => Part::Checkout,
            _ => Part::Shop,
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Second {
    at: i64,
    requests: [u32; 3],
    errors: [u32; 3],
}

/// Requests and errors of each of the last sixty seconds.
#[derive(Debug)]
pub struct Recent {
    ring: [Second; SECONDS as usize],
}

impl Recent {
    pub fn new() -> Recent {
        Recent { ring: [Second::default(); SECONDS as usize] }
    }

    /// `second` counts from 1970.
    pub fn count(&mut self, second: i64, route: Route, failed: bool) {
        let slot = &mut self.ring[second.rem_euclid(SECONDS) as usize];
        if slot.at != second {
            *slot = Second { at: second, ..Second::default() };
        }
        let part = Part::of(route) as usize;
        slot.requests[part] += 1;
        slot.errors[part] += u32::from(failed);
    }

    /// The share of this part's requests that failed; `None` where there were none.
    pub fn error_ratio(&self, second: i64, part: Part) -> Option<f64> {
        self.ratio(second, &[part])
    }

    /// The share of all requests that failed; `None` where there were none.
    pub fn total_error_ratio(&self, second: i64) -> Option<f64> {
        self.ratio(second, &Part::ALL)
    }

    fn ratio(&self, second: i64, parts: &[Part]) -> Option<f64> {
        let (mut requests, mut errors) = (0u32, 0u32);
        for slot in self.ring.iter().filter(|slot| slot.at > second - SECONDS && slot.at <= second) {
            for part in parts {
                requests += slot.requests[*part as usize];
                errors += slot.errors[*part as usize];
            }
        }
        (requests > 0).then(|| f64::from(errors) / f64::from(requests))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_minute_counts_and_each_part_for_itself() {
        let mut recent = Recent::new();
        assert_eq!(recent.error_ratio(1000, Part::Search), None);
        for second in 1000..1010 {
            recent.count(second, Route::Search, second % 2 == 0);
            recent.count(second, Route::Pay, false);
        }
        assert_eq!(recent.error_ratio(1010, Part::Search), Some(0.5));
        assert_eq!(recent.error_ratio(1010, Part::Checkout), Some(0.0));
        assert_eq!(recent.error_ratio(1010, Part::Shop), None);
        assert_eq!(recent.total_error_ratio(1010), Some(0.25));
        assert_eq!(recent.error_ratio(1068, Part::Search), Some(0.0), "only second 1009 is left");
        assert_eq!(recent.error_ratio(1069, Part::Search), None);
        recent.count(1060, Route::Search, true);
        assert_eq!(recent.error_ratio(1061, Part::Search), Some(5.0 / 9.0), "second 1000 made room");
    }
}
