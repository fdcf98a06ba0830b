//! The same question, asked by several within 10 s, is put once (single flight) and its answer shared.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::{Failure, Reason, Request, Response, Timings};
use crate::model::observation::{Phase, UnknownKind};
use crate::model::units::show_duration;

/// How long an answer may serve others.
const FRESH: Duration = Duration::from_secs(10);
/// The most answers, and bytes of bodies, that are kept for others.
const KEPT: usize = 256;
const KEPT_BYTES: usize = 16 * 1024 * 1024;

/// What makes two requests identical; secrets go in as a digest only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// `None` where the request may not be shared: nobody said that it may, it could change something, or it belongs
    /// to a run.
    pub(super) fn of(request: &Request) -> Option<Self> {
        request.asker.as_ref()?;
        if request.kept.is_some() || !matches!(request.method, Method::GET | Method::HEAD) || !request.body.is_empty() {
            return None;
        }
        let mut digest = Sha256::new();
        let mut add = |bytes: &[u8]| {
            digest.update((bytes.len() as u64).to_be_bytes());
            digest.update(bytes);
        };
        add(request.method.as_str().as_bytes());
        add(request.url.as_str().as_bytes());
        for (name, value) in &request.headers {
            add(name.as_bytes());
            add(value.as_bytes());
        }
        add(b"secret");
        for (name, value) in &request.secret_headers {
            add(name.as_bytes());
            add(value.expose().as_bytes());
        }
        add(b"digest");
        if let Some(login) = &request.digest {
            add(login.user.as_bytes());
            add(login.password.expose().as_bytes());
        }
        let rest = (request.follow_redirects, &request.tls, request.ip, request.caps, request.budget, request.reach);
        add(format!("{rest:?}").as_bytes());
        Some(Key(digest.finalize().into()))
    }
}

/// The questions under way and the answers that are still fresh.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<Key, Arc<Flight>>>);

#[derive(Debug)]
struct Flight {
    begun: Instant,
    /// How long whoever asks was ready to wait.
    patience: Duration,
    askers: Mutex<BTreeSet<String>>,
    landed: OnceCell<Result<Response, Failure>>,
}

impl Flights {
    /// Asks, or takes what another asker's identical question brings.
    pub(super) async fn join<F>(&self, key: Key, request: &Request, ask: impl Fn() -> F) -> Result<Response, Failure>
    where
        F: Future<Output = Result<Response, Failure>>,
    {
        let begun = Instant::now();
        let patience = request.deadline.saturating_duration_since(begun);
        let flight = self.board(key, request.asker.as_deref().unwrap_or_default(), begun, patience);
        // Whoever comes first asks; is it dropped meanwhile, the next one waiting asks in its stead.
        let landing = flight.landed.get_or_init(&ask);
        let landed = match tokio::time::timeout_at(request.deadline, landing).await {
            Ok(landed) => landed,
            Err(_) => return Err(late(begun)),
        };
        let whole = match landed {
            Ok(_) => true,
            Err(failure) => match failure.reason {
                Reason::Service => true,
                // Somebody less patient than we are may have given up too early.
                Reason::Timeout => flight.patience >= patience,
                Reason::Guard | Reason::Ours => false,
            },
        };
        if whole || flight.begun == begun { landed.clone() } else { ask().await }
    }

    /// A seat in a flight in which this asker has not been yet.
    fn board(&self, key: Key, asker: &str, now: Instant, patience: Duration) -> Arc<Flight> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&key)
            && now.saturating_duration_since(flight.begun) < FRESH
            && flight.askers.lock().unwrap_or_else(PoisonError::into_inner).insert(asker.to_owned())
        {
            return Arc::clone(flight);
        }
        flights.retain(|_, flight| now.saturating_duration_since(flight.begun) < FRESH);
        let bytes: usize = flights.values().map(|flight| flight.size()).sum();
        if flights.len() >= KEPT || bytes >= KEPT_BYTES {
            flights.clear(); // those who are aboard keep their flight; only newcomers ask again
        }
        let flight = Arc::new(Flight {
            begun: now,
            patience,
            askers: Mutex::new(BTreeSet::from([asker.to_owned()])),
            landed: OnceCell::new(),
        });
        flights.insert(key, Arc::clone(&flight));
        flight
    }
}

impl Flight {
    fn size(&self) -> usize {
        self.landed.get().and_then(|landed| landed.as_ref().ok()).map_or(0, |response| response.body.len())
    }
}

fn late(begun: Instant) -> Failure {
    let waited = begun.elapsed();
    Failure {
        reason: Reason::Ours,
        phase: Phase::Processing,
        what: format!("an identical question that was under way brought nothing in {}", show_duration(waited)),
        timings: Timings { total: waited, ..Timings::default() },
        redirects: Vec::new(),
        certificate_expiry: None,
        unknown: UnknownKind::TimedOut,
    }
}
