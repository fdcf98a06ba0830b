//! How often somebody may be wrong: a bounded memory of who was.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::network;

/// So many wrong tokens are answered as such within [`SPAN`].
const GUESSES: u32 = 10;
const SPAN: Duration = Duration::from_secs(60);
/// The most addresses that are remembered; the one seen longest ago makes room.
const ADDRESSES: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Limiter(HashMap<IpAddr, Wrong>);

#[derive(Debug, Clone, Copy)]
struct Wrong {
    since: Instant,
    guesses: u32,
}

impl Limiter {
    /// Notes a wrong guess; returns how long nothing but "too many" is answered, once it comes to that.
    pub(super) fn note(&mut self, address: IpAddr, now: Instant) -> Option<Duration> {
        let address = network(address);
        if !self.0.contains_key(&address) && self.0.len() >= ADDRESSES {
            self.0.retain(|_, wrong| now.saturating_duration_since(wrong.since) < SPAN);
            if self.0.len() >= ADDRESSES
                && let Some(oldest) = self.0.iter().min_by_key(|(_, wrong)| wrong.since).map(|(address, _)| *address)
            {
                self.0.remove(&oldest);
            }
        }
        let wrong = self.0.entry(address).or_insert(Wrong { since: now, guesses: 0 });
        let elapsed = now.saturating_duration_since(wrong.since);
        if elapsed >= SPAN {
            *wrong = Wrong { since: now, guesses: 0 };
        }
        wrong.guesses = wrong.guesses.saturating_add(1);
        (wrong.guesses > GUESSES).then(|| SPAN.saturating_sub(now.saturating_duration_since(wrong.since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_guesses_a_minute_and_network() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        let guess = |limiter: &mut Limiter, address: &str, seconds| {
            limiter.note(address.parse().unwrap(), start + Duration::from_secs(seconds))
        };
        for n in 0..10 {
            assert_eq!(guess(&mut limiter, &format!("2001:db8::{n}"), 0), None);
        }
        assert_eq!(guess(&mut limiter, "2001:db8::ffff", 20), Some(Duration::from_secs(40)));
        assert_eq!(guess(&mut limiter, "2001:db8:0:1::1", 20), None, "another network");
        assert_eq!(guess(&mut limiter, "2001:db8::1", 60), None, "another minute");
        for _ in 0..10 {
            assert_eq!(guess(&mut limiter, "10.0.0.1", 0), None);
        }
        assert!(guess(&mut limiter, "::ffff:10.0.0.1", 0).is_some(), "the same address in its other form");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        for n in 0..3 * ADDRESSES as u32 {
            limiter.note(IpAddr::V4(n.into()), start + Duration::from_millis(u64::from(n)));
        }
        assert!(limiter.0.len() <= ADDRESSES);
    }
}
