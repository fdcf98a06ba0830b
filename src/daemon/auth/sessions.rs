//! Sessions of the pages, and the links that begin them; in memory only, so a restart ends them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{Scope, digest};
use crate::model::secret::Secret;

/// How long a login link works.
const LINK_LASTS: Duration = Duration::from_secs(10 * 60);
/// How long a session lasts.
pub(super) const LASTS: Duration = Duration::from_secs(12 * 3_600);
/// The most of each at a time; the oldest makes room.
const MOST: usize = 1_024;

/// Whom a link or a session is for. They are held by the hashes of their secrets, so that to look one up takes the
/// same time whatever is right of it.
#[derive(Debug, Clone)]
struct Holder {
    name: String,
    scope: Scope,
    since: Instant,
}

type Held = HashMap<[u8; 32], Holder>;

#[derive(Debug, Default)]
pub(super) struct Sessions {
    links: Held,
    sessions: Held,
}

impl Sessions {
    pub(super) fn offer(&mut self, once: &Secret, name: &str, scope: Scope, now: Instant) {
        hold(&mut self.links, once, Holder { name: name.to_owned(), scope, since: now }, LINK_LASTS, now);
    }

    /// Ends the link and begins the session; false where there is no such link, or not any more.
    pub(super) fn exchange(&mut self, once: &str, session: &Secret, now: Instant) -> bool {
        let Some(holder) = self.links.remove(&digest(once)) else { return false };
        if is_over(&holder, LINK_LASTS, now) {
            return false;
        }
        hold(&mut self.sessions, session, Holder { since: now, ..holder }, LASTS, now);
        true
    }

    pub(super) fn find(&self, session: &str, now: Instant) -> Option<(String, Scope)> {
        let holder = self.sessions.get(&digest(session)).filter(|holder| !is_over(holder, LASTS, now))?;
        Some((holder.name.clone(), holder.scope))
    }

    pub(super) fn end(&mut self, session: &str) {
        self.sessions.remove(&digest(session));
    }
}

fn is_over(holder: &Holder, lasts: Duration, now: Instant) -> bool {
    now.saturating_duration_since(holder.since) >= lasts
}

fn hold(held: &mut Held, secret: &Secret, holder: Holder, lasts: Duration, now: Instant) {
    held.retain(|_, holder| !is_over(holder, lasts, now));
    if held.len() >= MOST
        && let Some(oldest) = held.iter().min_by_key(|(_, holder)| holder.since).map(|(hash, _)| *hash)
    {
        held.remove(&oldest);
    }
    held.insert(digest(secret.expose()), holder);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(n: usize) -> Secret {
        Secret::new(format!("secret {n}"))
    }

    #[test]
    fn a_link_works_once_and_for_ten_minutes() {
        let start = Instant::now();
        let mut sessions = Sessions::default();
        sessions.offer(&secret(1), "ops", Scope::Operate, start);
        sessions.offer(&secret(2), "ops", Scope::Operate, start);
        assert!(!sessions.exchange("secret 9", &secret(10), start), "unknown");
        assert!(sessions.exchange("secret 1", &secret(10), start));
        assert!(!sessions.exchange("secret 1", &secret(11), start), "used");
        assert!(!sessions.exchange("secret 2", &secret(11), start + LINK_LASTS), "over");
        assert_eq!(sessions.find("secret 10", start), Some(("ops".to_owned(), Scope::Operate)));
        assert_eq!(sessions.find("secret 1", start), None, "a link is no session");
        assert_eq!(sessions.find("secret 10", start + LASTS), None, "over");
        sessions.end("secret 10");
        assert_eq!(sessions.find("secret 10", start), None, "ended");
    }

    #[test]
    fn their_number_is_bounded_and_the_oldest_goes_first() {
        let start = Instant::now();
        let mut sessions = Sessions::default();
        for n in 0..=MOST {
            sessions.offer(&secret(n), "ops", Scope::Read, start + Duration::from_millis(n as u64));
        }
        assert_eq!(sessions.links.len(), MOST);
        let now = start + Duration::from_secs(2);
        assert!(!sessions.exchange("secret 0", &secret(9_999), now));
        assert!(sessions.exchange("secret 1", &secret(9_999), now));
    }
}
