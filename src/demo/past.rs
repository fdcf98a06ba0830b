//! The shop's generated past: the same visits as the living customers make, answered on paper.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::catalog::{self, UNCOUNTED};
use super::lines::{Said, Served, Writer};
use super::logs::{ACCESS, APP};
use super::random::Random;
use super::route::Route;
use super::state::Numbers;
use super::visits::{Act, Visit, Visits};
use super::{pages, words};

/// In milliseconds.
pub const HOUR: i64 = 3_600_000;

/// Logs are rotated once a day; the last rotation was this long before the start.
const SINCE_ROTATION: i64 = 20 * HOUR;
/// What was rotated longer ago than this is compressed.
const SINCE_COMPRESSED: i64 = 44 * HOUR;

/// One request that was answered, with what the software said about it.
#[derive(Debug, Clone)]
pub struct Event {
    /// When it ended, in milliseconds since 1970.
    pub at: i64,
    pub served: Option<Served>,
    pub said: Option<Said>,
}

/// Ordered by time; those of the same millisecond in the order in which they were made.
#[derive(Debug)]
struct Pending(i64, u64, Event);

impl Ord for Pending {
    fn cmp(&self, other: &Pending) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

impl PartialOrd for Pending {
    fn partial_cmp(&self, other: &Pending) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pending {
    fn eq(&self, other: &Pending) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Pending {}

/// The past as far as it has been told.
#[derive(Debug)]
pub struct Past {
    visits: Visits,
    random: Random,
    numbers: Numbers,
    pending: BinaryHeap<Reverse<Pending>>,
    made: u64,
}

impl Past {
    /// `rate` is in requests per second.
    pub fn new(seed: u64, from_millis: i64, rate: f64) -> Past {
        Past {
            visits: Visits::new(seed, from_millis, rate),
            random: Random::new(seed ^ 0x5eed),
            numbers: Numbers::default(),
            pending: BinaryHeap::new(),
            made: 0,
        }
    }

    /// Tells everything that happened up to this time and wasn't told yet, in the order of time.
    pub fn advance(&mut self, until_millis: i64, tell: &mut dyn FnMut(&Event) -> io::Result<()>) -> io::Result<()> {
        while self.visits.next_at() < until_millis {
            let visit = self.visits.next();
            self.tell_until(visit.starts_at, tell)?;
            self.happen(&visit);
        }
        self.tell_until(until_millis, tell)
    }

    /// Where the numbers of carts and orders have come to.
    pub fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// The visits that are still to come.
    pub fn into_visits(self) -> Visits {
        self.visits
    }

    fn tell_until(&mut self, until: i64, tell: &mut dyn FnMut(&Event) -> io::Result<()>) -> io::Result<()> {
        while self.pending.peek().is_some_and(|Reverse(next)| next.0 < until) {
            if let Some(Reverse(Pending(_, _, event))) = self.pending.pop() {
                tell(&event)?;
            }
        }
        Ok(())
    }

    fn happen(&mut self, visit: &Visit) {
        let mut at = visit.starts_at;
        let mut cart = Vec::new();
        let mut cart_id = String::new();
        for &(pause, act) in &visit.acts {
            at += pause;
            let (served, said) = self.answer(visit, act, &mut cart_id, &mut cart);
            at += (served.seconds * 1000.0) as i64;
            self.made += 1;
            self.pending.push(Reverse(Pending(at, self.made, Event { at, served: Some(served), said })));
        }
    }

    /// As `api` answers when nothing is broken.
    fn answer(&mut self, visit: &Visit, act: Act, cart: &mut String, books: &mut Vec<u32>) -> (Served, Option<Said>) {
        let Some(customer) = visit.customer else { return self.answer_a_stranger(visit, act) };
        match act {
            Act::OpenCart => {
                *cart = self.numbers.cart();
                books.clear();
                let said = words::cart_opened(cart, customer);
                (self.served(visit, Route::OpenCart, "POST", "/api/cart".into(), 201, 70), Some(said))
            }
            Act::Add(sku) if sku == UNCOUNTED => {
                let said = words::stock_unreadable(sku, customer);
                (self.served(visit, Route::AddItem, "POST", items(cart), 500, 42), Some(said))
            }
            Act::Add(sku) => {
                books.push(catalog::find(sku).map_or(0, |book| book.cents));
                let bytes = 75 + 10 * books.len() as u64;
                (self.served(visit, Route::AddItem, "POST", items(cart), 200, bytes), None)
            }
            Act::AddUnknown => {
                let said = words::unknown_book(UNKNOWN_BOOK, customer);
                (self.served(visit, Route::AddItem, "POST", items(cart), 404, 24), Some(said))
            }
            Act::AddTooLate => (self.served(visit, Route::AddItem, "POST", items(LOST_CART), 404, 24), None),
            Act::Pay => {
                let order = self.numbers.order();
                let mut said = words::order_authorized(order, books.len(), books.iter().sum(), customer);
                let mut served =
                    self.served(visit, Route::Pay, "POST", format!("/api/cart/{cart}/pay").into(), 200, 62);
                if let Some(extra) = Route::Pay.hiccup(&mut self.random) {
                    served.seconds += extra;
                    said = words::gateway_retried(extra, customer);
                }
                (served, Some(said))
            }
            Act::Drop => {
                let said = words::cart_dropped(cart, customer);
                (self.served(visit, Route::DropCart, "DELETE", format!("/api/cart/{cart}").into(), 204, 0), Some(said))
            }
            Act::Front | Act::Icon | Act::Status | Act::Search(_) | Act::SearchNothing => {
                self.answer_a_stranger(visit, act)
            }
        }
    }

    fn answer_a_stranger(&mut self, visit: &Visit, act: Act) -> (Served, Option<Said>) {
        match act {
            Act::Icon => (self.served(visit, Route::Other, "GET", "/favicon.ico".into(), 404, 24), None),
            Act::Status => (self.served(visit, Route::Status, "GET", "/status".into(), 200, 310), None),
            Act::Search(word) => {
                let bytes = 40 + 75 * catalog::search(word).len() as u64;
                let mut served =
                    self.served(visit, Route::Search, "GET", format!("/api/search?q={word}").into(), 200, bytes);
                let extra = Route::Search.hiccup(&mut self.random);
                served.seconds += extra.unwrap_or_default();
                let said = extra.map(|_| words::slow_search(word, served.seconds));
                (served, said)
            }
            Act::SearchNothing => (self.served(visit, Route::Search, "GET", "/api/search?q=".into(), 400, 36), None),
            // The front page; a stranger's visit holds nothing else.
            _ => (self.served(visit, Route::Front, "GET", "/".into(), 200, pages::FRONT.len() as u64), None),
        }
    }

    fn served(
        &mut self,
        visit: &Visit,
        route: Route,
        method: &'static str,
        target: Cow<'static, str>,
        status: u16,
        bytes: u64,
    ) -> Served {
        // What a request costs beyond the work itself: the socket, the scheduler.
        let seconds = route.service_time(&mut self.random) + 0.001;
        Served {
            customer: visit.customer,
            method: method.into(),
            target,
            status,
            bytes,
            agent: visit.agent.into(),
            seconds,
        }
    }
}

/// A book that the shop doesn't have any more.
pub const UNKNOWN_BOOK: &str = "book-99";
/// A cart that was dropped long ago.
pub const LOST_CART: &str = "c-0";

fn items(cart: &str) -> Cow<'static, str> {
    format!("/api/cart/{cart}/items").into()
}

/// Writes the logs from one time to another, as a daily rotation leaves them: the file that is written to, the one of the
/// day before, and what is older compressed.
pub fn write(directory: &Path, past: &mut Past, from: i64, to: i64) -> io::Result<()> {
    let mut start = from;
    for (end, suffix) in [(to - SINCE_COMPRESSED, ".2.gz"), (to - SINCE_ROTATION, ".1"), (to, "")] {
        if end <= start {
            continue;
        }
        let path = |name: &str| directory.join(format!("{name}{suffix}"));
        let mut access = Rotation::create(&path(ACCESS), suffix.ends_with("gz"))?;
        let mut app = Rotation::create(&path(APP), suffix.ends_with("gz"))?;
        let mut writer = Writer::default();
        let mut line = Vec::with_capacity(512);
        past.advance(end, &mut |event| {
            if let Some(said) = &event.said {
                line.clear();
                writer.app(event.at, said, &mut line);
                app.write(&line)?;
            }
            if let Some(served) = &event.served {
                line.clear();
                writer.access(event.at, served, &mut line);
                access.write(&line)?;
            }
            Ok(())
        })?;
        access.finish(end)?;
        app.finish(end)?;
        start = end;
    }
    Ok(())
}

/// One file of a rotated log.
enum Rotation {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
}

impl Rotation {
    fn create(path: &Path, compressed: bool) -> io::Result<Rotation> {
        let file = BufWriter::with_capacity(256 * 1024, File::create(path)?);
        Ok(if compressed { Rotation::Gzip(GzEncoder::new(file, Compression::fast())) } else { Rotation::Plain(file) })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Rotation::Plain(file) => file.write_all(line),
            Rotation::Gzip(file) => file.write_all(line),
        }
    }

    /// The file was last written to when the log was rotated, and says so.
    fn finish(self, ended_millis: i64) -> io::Result<()> {
        let file = match self {
            Rotation::Plain(file) => file,
            Rotation::Gzip(file) => file.finish()?,
        };
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.set_modified(UNIX_EPOCH + Duration::from_millis(ended_millis.max(0) as u64))
    }
}

#[cfg(test)]
mod tests;
