//! What one look may spend on reading: bytes, time, and whether anybody still waits for it.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The most that one look reads, decompressed, in bytes.
pub const BYTES: u64 = 256 * 1024 * 1024;

/// How long before its deadline a look stops reading, so that what it has is told in time.
const EARLY: Duration = Duration::from_millis(50);

/// Why reading ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halt {
    Bytes,
    Deadline,
    /// The caller has dropped the look.
    Dropped,
}

impl Halt {
    /// A sentence for a person, lower case, no full stop.
    pub fn why(self) -> &'static str {
        match self {
            Halt::Bytes => "the 256 MiB that one look may read were not enough",
            Halt::Deadline => "the time for this look was not enough to read it all",
            Halt::Dropped => "the look was given up",
        }
    }
}

/// Is asked before each block that is read.
#[derive(Debug)]
pub struct Gate {
    left: Cell<u64>,
    deadline: Instant,
    dropped: Arc<AtomicBool>,
    halted: Cell<Option<Halt>>,
}

impl Gate {
    pub fn new(bytes: u64, deadline: Instant, dropped: Arc<AtomicBool>) -> Self {
        Gate { left: Cell::new(bytes), deadline, dropped, halted: Cell::new(None) }
    }

    /// How many of `wanted` bytes may be read now; 0 once something is spent, for good.
    pub fn grant(&self, wanted: usize) -> usize {
        if self.halted.get().is_none() {
            if self.dropped.load(Ordering::Relaxed) {
                self.halted.set(Some(Halt::Dropped));
            } else if self.left.get() == 0 {
                self.halted.set(Some(Halt::Bytes));
            } else if Instant::now() + EARLY >= self.deadline {
                self.halted.set(Some(Halt::Deadline));
            }
        }
        if self.halted.get().is_some() {
            0
        } else {
            usize::try_from(self.left.get()).map_or(wanted, |left| left.min(wanted))
        }
    }

    /// Records what was read.
    pub fn spend(&self, bytes: usize) {
        self.left.set(self.left.get().saturating_sub(bytes as u64));
    }

    pub fn left(&self) -> u64 {
        self.left.get()
    }

    pub fn halted(&self) -> Option<Halt> {
        self.halted.get()
    }

    /// A gate of its own for a part that must not take more than `bytes` of what is left.
    pub fn part(&self, bytes: u64) -> Gate {
        Gate {
            left: Cell::new(bytes.min(self.left.get())),
            deadline: self.deadline,
            dropped: Arc::clone(&self.dropped),
            halted: Cell::new(self.halted.get()),
        }
    }

    /// Takes back what is left of a part; a deadline that the part has met is met for the whole.
    pub fn rejoin(&self, part: &Gate, granted: u64) {
        let granted = granted.min(self.left.get());
        self.left.set(self.left.get() - (granted - part.left.get().min(granted)));
        if let Some(halt @ (Halt::Deadline | Halt::Dropped)) = part.halted.get() {
            self.halted.set(Some(halt));
        }
    }
}

/// Tells a look's blocking work, when its future is dropped, that nobody waits any more.
#[derive(Debug, Default)]
pub struct Leash(Arc<AtomicBool>);

impl Leash {
    pub fn signal(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(bytes: u64) -> Gate {
        Gate::new(bytes, Instant::now() + Duration::from_secs(60), Arc::default())
    }

    #[test]
    fn bytes_run_out_for_good() {
        let gate = gate(100);
        assert_eq!(gate.grant(60), 60);
        gate.spend(60);
        assert_eq!(gate.grant(60), 40);
        gate.spend(40);
        assert_eq!((gate.grant(1), gate.halted()), (0, Some(Halt::Bytes)));
    }

    #[test]
    fn a_part_takes_no_more_than_its_share() {
        let gate = gate(100);
        let part = gate.part(30);
        part.spend(20);
        gate.rejoin(&part, 30);
        assert_eq!(gate.left(), 80);
        let part = gate.part(1_000);
        part.spend(80);
        assert_eq!(part.grant(1), 0);
        gate.rejoin(&part, 1_000);
        assert_eq!((gate.left(), gate.halted()), (0, None));
    }

    #[test]
    fn nobody_waiting_and_no_time_left_end_it() {
        let leash = Leash::default();
        let dropped = Gate::new(100, Instant::now() + Duration::from_secs(60), leash.signal());
        assert_eq!(dropped.grant(1), 1);
        drop(leash);
        assert_eq!((dropped.grant(1), dropped.halted()), (0, Some(Halt::Dropped)));
        let late = Gate::new(100, Instant::now(), Arc::default());
        assert_eq!((late.grant(1), late.halted()), (0, Some(Halt::Deadline)));
    }
}
