//! What customers do in the shop, and when: the one plan by which the past was made and the present goes on.

use super::catalog::{self, CUSTOMERS, SEARCHES, UNCOUNTED};
use super::past::HOUR;
use super::random::Random;

/// Requests per second unless told otherwise: enough for a quarter of an hour to speak (900), few enough for two days of
/// log lines to be small.
pub const DEFAULT_RATE: f64 = 1.0;

/// Requests of one visit, on average: what the shares in [`Visits::acts`] come to (a test counts).
const MEAN_REQUESTS: f64 = 3.93;

/// One thing that a customer does; each is one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Front,
    /// Browsers ask for it; there is none.
    Icon,
    Status,
    Search(&'static str),
    /// The form sent empty.
    SearchNothing,
    OpenCart,
    Add(&'static str),
    /// A book that was taken off the list, from a bookmark.
    AddUnknown,
    /// A page left open over night: its cart is no more.
    AddTooLate,
    Pay,
    Drop,
}

/// A customer's stay, from the first request to the last.
#[derive(Debug, Clone)]
pub struct Visit {
    /// Milliseconds since 1970.
    pub starts_at: i64,
    /// `None`: nobody who is known to the shop.
    pub customer: Option<&'static str>,
    pub agent: &'static str,
    /// Each with the milliseconds that pass before it.
    pub acts: Vec<(i64, Act)>,
}

/// What the customers browse with.
pub const AGENTS: &[&str] = &[
    "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0",
    "Mozilla/5.0 (Macintosh) Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64) Chrome/142.0",
    "bookshop-android/5.2",
];

/// All visits from a time on, without end.
#[derive(Debug, Clone)]
pub struct Visits {
    random: Random,
    /// Visits per millisecond, before the daily rhythm.
    rate: f64,
    /// When the next visit starts, in milliseconds since 1970.
    next_at: f64,
    /// Who comes next: dealt out like cards, so that each customer's share is steady.
    deck: Vec<Option<&'static str>>,
}

impl Visits {
    /// `rate` is in requests per second.
    pub fn new(seed: u64, from_millis: i64, rate: f64) -> Visits {
        Visits {
            random: Random::new(seed),
            rate: rate / MEAN_REQUESTS / 1000.0,
            next_at: from_millis as f64,
            deck: Vec::new(),
        }
    }

    /// When the next visit will start, in milliseconds since 1970.
    pub fn next_at(&self) -> i64 {
        self.next_at as i64
    }

    /// Nobody came before this time (the machine slept).
    pub fn skip_to(&mut self, millis: i64) {
        self.next_at = self.next_at.max(millis as f64);
    }

    /// The next visit.
    pub fn next(&mut self) -> Visit {
        let starts_at = self.next_at();
        // Between half and one and a half times the mean apart: steadier than single customers would be, as the sum of
        // many is.
        let mean = 1.0 / (self.rate * rhythm(starts_at)).max(1e-9);
        self.next_at += mean * (0.5 + self.random.unit());
        let customer = self.deal();
        let agent = self.random.one_of(AGENTS).unwrap_or("-");
        let acts = self.acts(customer.is_some());
        Visit { starts_at, customer, agent, acts }
    }

    fn deal(&mut self) -> Option<&'static str> {
        if self.deck.is_empty() {
            for customer in CUSTOMERS {
                self.deck.extend(std::iter::repeat_n(Some(customer.name), customer.weight.into()));
            }
            self.deck.extend([None, None]);
            self.random.shuffle(&mut self.deck);
        }
        self.deck.pop().flatten()
    }

    /// Who has no account only looks around.
    fn acts(&mut self, buys: bool) -> Vec<(i64, Act)> {
        let random = &mut self.random;
        let mut acts = Vec::with_capacity(8);
        let kind = random.unit() * if buys { 1.0 } else { 0.45 };
        if kind < 0.10 {
            acts.extend([Act::Front, if random.chance(0.1) { Act::Icon } else { Act::Status }]);
        } else if kind < 0.45 {
            acts.extend([Act::Front, search(random)]);
            if random.chance(0.5) {
                acts.push(search(random));
            }
        } else if kind < 0.60 {
            acts.extend([search(random), Act::OpenCart, add(random), Act::Drop]);
        } else {
            acts.extend([Act::Front, search(random), Act::OpenCart]);
            for _ in 0..random.between(1, 3) {
                acts.push(add(random));
            }
            acts.push(Act::Pay);
        }
        let mut pause = 0;
        acts.into_iter()
            .map(|act| {
                let after = pause;
                pause = random.between(200, 1500);
                (after, act)
            })
            .collect()
    }
}

fn search(random: &mut Random) -> Act {
    if random.chance(0.01) { Act::SearchNothing } else { Act::Search(random.one_of(SEARCHES).unwrap_or("bread")) }
}

fn add(random: &mut Random) -> Act {
    let luck = random.unit();
    if luck < 0.0125 {
        Act::Add(UNCOUNTED)
    } else if luck < 0.025 {
        Act::AddUnknown
    } else if luck < 0.032 {
        Act::AddTooLate
    } else {
        let index = random.between(0, catalog::sellable().count() as i64 - 1);
        Act::Add(catalog::sellable().nth(index as usize).map_or("book-1", |book| book.sku))
    }
}

/// How busy a time of day is: 0.85 in the small hours, 1.15 in the afternoon (UTC).
fn rhythm(millis: i64) -> f64 {
    let hour = millis.rem_euclid(24 * HOUR) as f64 / HOUR as f64;
    1.0 + 0.15 * ((hour - 9.0) / 24.0 * std::f64::consts::TAU).sin()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visits_of_a_day(seed: u64) -> Vec<Visit> {
        let mut visits = Visits::new(seed, 0, DEFAULT_RATE);
        std::iter::from_fn(|| (visits.next_at() < 24 * HOUR).then(|| visits.next())).collect()
    }

    #[test]
    fn the_rate_is_what_was_asked_for() {
        let requests: usize = visits_of_a_day(3).iter().map(|visit| visit.acts.len()).sum();
        let rate = requests as f64 / (24.0 * 3600.0);
        assert!((rate - DEFAULT_RATE).abs() < 0.02, "{rate} a second");
    }

    #[test]
    fn quarters_of_an_hour_are_alike_and_every_customer_has_its_share() {
        let day = visits_of_a_day(1);
        let mut quarters = [0usize; 96];
        for visit in &day {
            quarters[(visit.starts_at / (HOUR / 4)) as usize] += visit.acts.len();
        }
        let (least, most) = (quarters.iter().min().unwrap(), quarters.iter().max().unwrap());
        assert!(*least > 650 && *most < 1150, "{least} to {most}");
        for customer in CUSTOMERS {
            let visits = day.iter().filter(|visit| visit.customer == Some(customer.name)).count();
            let share = visits as f64 / day.len() as f64;
            assert!((share - f64::from(customer.weight) / 21.0).abs() < 0.002, "{} {share}", customer.name);
        }
    }

    #[test]
    fn mishaps_are_rare_but_there() {
        let acts: Vec<Act> = visits_of_a_day(2).into_iter().flat_map(|visit| visit.acts).map(|(_, act)| act).collect();
        let share = |wanted: fn(&Act) -> bool| acts.iter().filter(|act| wanted(act)).count() as f64 / acts.len() as f64;
        let broken = share(|act| *act == Act::Add(UNCOUNTED));
        assert!((0.002..0.004).contains(&broken), "{broken}");
        let refused = share(|act| matches!(act, Act::AddUnknown | Act::AddTooLate | Act::SearchNothing | Act::Icon));
        assert!((0.005..0.02).contains(&refused), "{refused}");
    }

    #[test]
    fn a_cart_is_opened_before_it_is_used() {
        for visit in visits_of_a_day(4) {
            let position = |act: Act| visit.acts.iter().position(|(_, one)| *one == act);
            let used = visit.acts.iter().position(|(_, act)| matches!(act, Act::Add(_) | Act::Pay | Act::Drop));
            if let Some(used) = used {
                assert!(position(Act::OpenCart).is_some_and(|opened| opened < used), "{visit:?}");
            }
        }
    }
}
