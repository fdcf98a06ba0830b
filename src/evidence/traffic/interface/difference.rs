//! Rates: the difference of two readings by the time between them.

use std::collections::BTreeMap;

use super::counters::{Counters, Interface};
use crate::model::observation::{Unknown, UnknownKind};
use crate::model::value::{Measures, Value};

/// The measures of TCP, by the counters that they are rates of.
const TCP: [(&str, &str); 8] = [
    ("segments_sent_per_second", "Tcp.OutSegs"),
    ("retransmits_per_second", "Tcp.RetransSegs"),
    ("resets_per_second", "Tcp.EstabResets"),
    ("resets_sent_per_second", "Tcp.OutRsts"),
    ("accepts_per_second", "Tcp.PassiveOpens"),
    ("connects_per_second", "Tcp.ActiveOpens"),
    ("connect_failures_per_second", "Tcp.AttemptFails"),
    ("listen_overflows_per_second", "TcpExt.ListenOverflows"),
];

/// What happened between two readings.
///
/// # Errors
/// A counter went back, or an interface was replaced: what lies between isn't known.
pub(super) fn tell(before: &Counters, after: &Counters) -> Result<Measures, Unknown> {
    let seconds = after.at.saturating_duration_since(before.at).as_secs_f64();
    if seconds <= 0.0 {
        return Err(Unknown::new(UnknownKind::Incomplete, "no time went by between two readings"));
    }
    let rate = |name: &str, earlier: u64, later: u64| match later.checked_sub(earlier) {
        Some(more) => Ok(more as f64 / seconds),
        None => Err(Unknown::new(UnknownKind::Incomplete, format!("the counter {name} went back in between"))),
    };
    let mut measures = Measures::new();
    measures.set("interval_seconds", seconds);

    let mut each = BTreeMap::new();
    let mut sums = [0.0; 6];
    for (name, interface) in &after.interfaces {
        // One that has come since then has nothing to compare with, and is left out of the sum.
        let Some(earlier) = before.interfaces.get(name) else { continue };
        let mut rates = BTreeMap::new();
        for (sum, (field, of)) in sums.iter_mut().zip(FIELDS) {
            let rate = rate(name, of(earlier), of(interface))?;
            *sum += rate;
            rates.insert(field.to_owned(), Value::Float(rate));
        }
        each.insert(name.clone(), Value::Map(rates));
    }
    if !each.is_empty() {
        for (sum, (field, _)) in sums.iter().zip(FIELDS) {
            measures.set(&format!("{field}_per_second"), *sum);
        }
        measures.set("each", Value::Map(each));
    }

    let both = |counter: &str| Some((*before.tcp.get(counter)?, *after.tcp.get(counter)?));
    for (measure, counter) in TCP.into_iter().chain([("listen_drops_per_second", "TcpExt.ListenDrops")]) {
        if let Some((earlier, later)) = both(counter) {
            measures.set(measure, rate(counter, earlier, later)?);
        }
    }
    // The kernel counts a segment that is sent again apart from those that are sent.
    let (sent, again) = (measures.number("segments_sent_per_second"), measures.number("retransmits_per_second"));
    if let (Some(sent), Some(again)) = (sent, again)
        && sent + again > 0.0
    {
        measures.set("retransmit_ratio", again / (sent + again));
    }
    Ok(measures)
}

type Field = (&'static str, fn(&Interface) -> u64);

const FIELDS: [Field; 6] = [
    ("receive_bytes", |interface| interface.receive_bytes),
    ("transmit_bytes", |interface| interface.transmit_bytes),
    ("receive_packets", |interface| interface.receive_packets),
    ("transmit_packets", |interface| interface.transmit_packets),
    ("errors", |interface| interface.errors),
    ("drops", |interface| interface.drops),
];
