//! What the shop knows while it is open: accounts, carts, and how it is broken.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::catalog::{Book, CUSTOMERS, Customer};
use super::faults::{Active, Fault, UnknownFault};
use super::logs::Logs;
use super::metrics::Metrics;
use super::random::Random;
use super::recent::Recent;
use super::route::Route;

/// Carts that are kept; the oldest is dropped for one more.
const MAX_CARTS: usize = 10_000;
/// Books that a cart takes.
pub const MAX_ITEMS: usize = 50;
/// Requests under way at once.
const MAX_REQUESTS: usize = 256;
/// Requests for metrics that a fault leaves unanswered at once.
const MAX_HANGING: usize = 64;

/// The currency that every part of the ledger books in.
const CURRENCY: &str = "EUR";
/// What `customer-only` leaves in an account: ISO 4217's code for testing, which no ledger books in.
const SPOILT_CURRENCY: &str = "XTS";

/// How far carts and orders have been counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Numbers {
    carts: u64,
    orders: u64,
}

impl Numbers {
    /// The next cart's name.
    pub fn cart(&mut self) -> String {
        self.carts += 1;
        format!("c-{}", self.carts)
    }

    /// The next order's name.
    pub fn order(&mut self) -> String {
        self.orders += 1;
        format!("o-{}", self.orders)
    }
}

/// What a customer has with the shop.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    pub currency: &'static str,
    pub orders: u64,
    pub spent_cents: u64,
}

/// A cart, open or paid.
#[derive(Debug, Clone)]
pub struct Cart {
    pub customer: &'static Customer,
    pub books: Vec<&'static Book>,
    /// Set once it is paid.
    pub order: Option<String>,
}

impl Cart {
    pub fn cents(&self) -> u32 {
        self.books.iter().map(|book| book.cents).sum()
    }
}

/// Accounts and carts.
#[derive(Debug)]
pub struct Desk {
    pub numbers: Numbers,
    pub carts: BTreeMap<u64, Cart>,
    pub accounts: BTreeMap<&'static str, Account>,
}

impl Desk {
    /// Opens a cart and names it.
    pub fn open_cart(&mut self, customer: &'static Customer) -> String {
        if self.carts.len() >= MAX_CARTS {
            self.carts.pop_first();
        }
        let name = self.numbers.cart();
        self.carts.insert(self.numbers.carts, Cart { customer, books: Vec::new(), order: None });
        name
    }

    /// The key of a cart that is there.
    pub fn key(&self, name: &str) -> Option<u64> {
        let key = name.strip_prefix("c-")?.parse().ok()?;
        self.carts.contains_key(&key).then_some(key)
    }
}

/// Everything that the shop's handlers share.
#[derive(Debug)]
pub struct Inner {
    pub logs: Logs,
    pub metrics: Metrics,
    pub recent: Mutex<Recent>,
    pub requests: Semaphore,
    pub hanging: Semaphore,
    pub stopping: CancellationToken,
    desk: Mutex<Desk>,
    random: Mutex<Random>,
    faults: watch::Sender<Active>,
}

impl Inner {
    pub fn new(logs: Logs, numbers: Numbers, seed: u64, stopping: CancellationToken) -> Inner {
        let account = Account { currency: CURRENCY, orders: 0, spent_cents: 0 };
        let accounts = CUSTOMERS.iter().map(|customer| (customer.name, account)).collect();
        Inner {
            logs,
            metrics: Metrics::new(),
            recent: Mutex::new(Recent::new()),
            requests: Semaphore::new(MAX_REQUESTS),
            hanging: Semaphore::new(MAX_HANGING),
            stopping,
            desk: Mutex::new(Desk { numbers, carts: BTreeMap::new(), accounts }),
            random: Mutex::new(Random::new(seed ^ 0x11fe)),
            faults: watch::Sender::new(Active::default()),
        }
    }

    /// The past has gone on before the doors were opened.
    pub fn continue_numbers(&self, numbers: Numbers) {
        self.desk().numbers = numbers;
    }

    pub fn desk(&self) -> MutexGuard<'_, Desk> {
        lock(&self.desk)
    }

    pub fn random(&self) -> MutexGuard<'_, Random> {
        lock(&self.random)
    }

    /// True where this fault holds.
    pub fn has(&self, fault: &Fault) -> bool {
        self.faults.borrow().has(fault)
    }

    pub fn faults(&self) -> Vec<Fault> {
        self.faults.borrow().list()
    }

    /// To wait for a repair.
    pub fn watch_faults(&self) -> watch::Receiver<Active> {
        self.faults.subscribe()
    }

    pub fn set_fault(&self, fault: Fault) -> Result<(), UnknownFault> {
        fault.check()?;
        self.change_faults(|active| {
            active.clear();
            active.add(fault);
        });
        Ok(())
    }

    pub fn add_fault(&self, fault: Fault) -> Result<(), UnknownFault> {
        fault.check()?;
        self.change_faults(|active| active.add(fault));
        Ok(())
    }

    /// Everything that a fault spoils is spoilt, or whole again, when this returns.
    fn change_faults(&self, change: impl FnOnce(&mut Active)) {
        self.faults.send_modify(|active| {
            change(active);
            self.logs.set_silent(active.has(&Fault::LogsSilent));
            self.logs.set_gone(active.logs_gone());
            for (name, account) in &mut self.desk().accounts {
                account.currency = if active.spoils(name) { SPOILT_CURRENCY } else { CURRENCY };
            }
        });
    }

    /// The work on a request, which takes its time.
    pub async fn work(&self, route: Route) {
        let seconds = route.service_time(&mut self.random());
        wait(seconds).await;
    }

    /// What the database adds while it is slow, and says so.
    pub async fn database(&self, what: &'static str, customer: Option<&'static str>) {
        if self.has(&Fault::SlowDb) {
            let seconds = 1.5 + 0.1 * self.random().unit();
            wait(seconds).await;
            self.logs.said(&super::words::slow_query(what, seconds, customer));
        }
    }
}

impl Account {
    /// The ledger books in one currency.
    pub fn is_bookable(&self) -> bool {
        self.currency == CURRENCY
    }
}

/// A deliberate delay, in seconds.
pub async fn wait(seconds: f64) {
    if seconds > 0.0 {
        tokio::time::sleep(Duration::from_secs_f64(seconds.min(60.0))).await;
    }
}

/// A handler that failed must not close the shop.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_cart_makes_room_for_one_more() {
        let mut desk = Desk { numbers: Numbers::default(), carts: BTreeMap::new(), accounts: BTreeMap::new() };
        let first = desk.open_cart(&CUSTOMERS[0]);
        assert_eq!(first, "c-1");
        for _ in 0..MAX_CARTS {
            desk.open_cart(&CUSTOMERS[0]);
        }
        assert_eq!(desk.carts.len(), MAX_CARTS);
        assert_eq!(desk.key(&first), None);
        assert!(desk.key("c-2").is_some());
        for name in ["", "2", "c-", "c--2", "c-99999999999999999999999", "o-2"] {
            assert_eq!(desk.key(name), None, "{name}");
        }
    }
}
