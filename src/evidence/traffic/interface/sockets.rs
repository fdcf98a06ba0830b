//! Sockets by their state: `net/tcp` and `net/tcp6` of proc(5).

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::time::Instant;

use crate::model::encode::terminal;
use crate::model::observation::{Unknown, UnknownKind};
use crate::model::value::{Measures, Value};

/// The most that is read of both tables, in bytes: some 400,000 sockets.
const TABLE_LIMIT: u64 = 64 * 1024 * 1024;

/// The states by their numbers, from 1 (`include/net/tcp_states.h`).
const STATES: [&str; 12] = [
    "established",
    "syn_sent",
    "syn_received",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "closed",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
    "syn_received",
];

/// How many sockets there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sockets {
    by_state: BTreeMap<&'static str, u64>,
    listen_queue: Option<u64>,
}

/// Counts the sockets of a local port, or all.
///
/// # Errors
/// The table can't be read, not to its end, or not in time.
pub(super) fn count(directory: &Path, port: Option<u16>, until: Instant) -> Result<Sockets, Unknown> {
    let mut sockets = Sockets::default();
    let mut left = TABLE_LIMIT;
    for name in ["tcp", "tcp6"] {
        let path = directory.join(name);
        let file = match std::fs::File::open(&path) {
            Ok(file) => file,
            // A kernel without IPv6.
            Err(error) if name == "tcp6" && error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(&path, &error)),
        };
        let mut table = BufReader::with_capacity(64 * 1024, file.take(left));
        let mut line = Vec::new();
        for number in 0_u64.. {
            line.clear();
            let length = table.read_until(b'\n', &mut line).map_err(|error| unreadable(&path, &error))? as u64;
            if length == 0 {
                break;
            }
            left = left.saturating_sub(length);
            if left == 0 {
                let why = format!("this host has more sockets than are read ({number} lines)");
                return Err(Unknown::new(UnknownKind::Incomplete, why));
            }
            if number.is_multiple_of(4_096) && Instant::now() >= until {
                return Err(Unknown::new(UnknownKind::TimedOut, "the table of sockets took too long to read"));
            }
            if number > 0 {
                sockets.add(&String::from_utf8_lossy(&line), port);
            }
        }
    }
    Ok(sockets)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Unknown {
    Unknown::new(UnknownKind::Refused, terminal(&format!("{} can't be read: {error}", path.display())))
}

impl Sockets {
    /// `sl local_address rem_address st tx_queue:rx_queue …`, numbers in hexadecimal.
    fn add(&mut self, line: &str, port: Option<u16>) {
        let mut fields = line.split_whitespace().skip(1);
        let (Some(local), Some(_), Some(state), Some(queues)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return;
        };
        let local = local.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
        if port.is_some() && port != local {
            return;
        }
        let state = usize::from_str_radix(state, 16).ok().and_then(|state| STATES.get(state.checked_sub(1)?).copied());
        let Some(state) = state else { return };
        *self.by_state.entry(state).or_default() += 1;
        // Of a listener it is the number of connections that wait to be taken.
        let waiting = queues.split_once(':').and_then(|(_, waiting)| u64::from_str_radix(waiting, 16).ok());
        if state == "listen" {
            self.listen_queue = self.listen_queue.max(waiting);
        }
    }

    fn number(&self, state: &str) -> u64 {
        self.by_state.get(state).copied().unwrap_or_default()
    }

    pub(super) fn tell(&self, measures: &mut Measures) {
        for state in ["established", "syn_received", "close_wait", "time_wait"] {
            measures.set(state, self.number(state));
        }
        measures.set("listeners", self.number("listen"));
        if let Some(waiting) = self.listen_queue {
            measures.set("listen_queue", waiting);
        }
        let all = STATES.iter().map(|state| ((*state).to_owned(), Value::from(self.number(state))));
        measures.set("connections", Value::Map(all.collect()));
    }

    /// A few words for a reader.
    pub(super) fn shown(&self) -> String {
        let states: Vec<String> = self.by_state.iter().map(|(state, count)| format!("{count} {state}")).collect();
        if states.is_empty() { "no socket".to_owned() } else { states.join(", ") }
    }
}
