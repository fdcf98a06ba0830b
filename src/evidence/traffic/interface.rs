//! Kind `interface`: what goes over this host's wires while the look is taken, from the kernel's own counters.
//!
//! Counters count since the host was started, so they are read twice, a short interval apart. They know of no customer
//! and no request; where there is neither access log nor metric, they are what there is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use crate::evidence::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::encode::{shell_word, terminal};
use crate::model::look::Look;
use crate::model::measure::{Measure, Type};
use crate::model::observation::{Observation, Unknown, UnknownKind};
use crate::model::source::Diagnostic;
use crate::model::units::{Span, show_duration, show_size};
use crate::yaml::{Node, Spanned};

mod counters;
mod difference;
mod sockets;

use counters::Counters;

/// How far apart the counters are read, unless it is declared.
const INTERVAL: Duration = Duration::from_secs(2);
/// The shortest and the longest interval.
const BOUNDS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(30);
/// The most interfaces that are named.
const INTERFACES: usize = 64;
/// The longest name of an interface, in bytes (`IFNAMSIZ`, without its end).
const NAME_LIMIT: usize = 15;

/// What stands under `interface:`.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Names of interfaces, as `ip link` has them.
    interfaces: Option<Spanned<Vec<String>>>,
    /// Count the connections of this local port only.
    port: Option<Spanned<u16>>,
    /// How far apart the counters are read.
    interval: Option<Spanned<Span>>,
    /// Where the host's own `/` is, for a container that has it mounted.
    root: Option<Spanned<PathBuf>>,
}

/// This host's wires.
#[derive(Debug, Clone)]
struct Wires {
    /// All but the loopback where there are none.
    interfaces: Vec<String>,
    port: Option<u16>,
    interval: Duration,
    root: PathBuf,
}

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    let names = config.interfaces.unwrap_or_else(|| Spanned { at: node.span.clone(), value: Vec::new() });
    if names.value.len() > INTERFACES {
        return Err(Diagnostic::error(names.at, format!("more than {INTERFACES} interfaces")));
    }
    for name in &names.value {
        let is_plain = name.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':' && b != b'{');
        if name.is_empty() || name.len() > NAME_LIMIT || !is_plain {
            let message = format!("`{}` is not the name of an interface", terminal(name));
            return Err(Diagnostic::error(names.at.clone(), message).hint("`ip link` lists them: eth0"));
        }
    }
    if let Some(port) = config.port.as_ref().filter(|port| port.value == 0) {
        return Err(Diagnostic::error(port.at.clone(), "a port lies between 1 and 65535"));
    }
    let interval = match config.interval {
        Some(interval) if !BOUNDS.contains(&interval.value.0) => {
            return Err(Diagnostic::error(interval.at, "the interval lies between 100ms and 30s"));
        }
        interval => interval.map_or(INTERVAL, |interval| interval.value.0),
    };
    let root = match config.root {
        Some(root) if !root.value.is_absolute() => {
            return Err(Diagnostic::error(root.at, "the root is not an absolute path"));
        }
        root => root.map_or_else(|| PathBuf::from("/"), |root| root.value),
    };
    let port = config.port.map(|port| port.value);
    Ok(Arc::new(Wires { interfaces: names.value, port, interval, root }))
}

impl Probe for Wires {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(async {
            let started = Instant::now();
            let observation = match self.look(ask).await {
                Ok(observation) => observation,
                Err(unknown) => Observation::blind(unknown.kind, unknown.why),
            };
            observation.reproduce(self.by_hand()).took(started.elapsed())
        })
    }

    fn system(&self) -> String {
        match self.root == Path::new("/") {
            true => "the wires of this host".to_owned(),
            false => format!("the wires of the host under {}", self.root.display()),
        }
    }
}

impl Wires {
    /// `/proc/net` is the reader's own; a host's, seen from a container, is that of its first process.
    fn directory(&self) -> PathBuf {
        let whose = if self.root == Path::new("/") { "self" } else { "1" };
        self.root.join("proc").join(whose).join("net")
    }

    async fn look(&self, ask: &Ask) -> Result<Observation, Unknown> {
        let left = ask.deadline.saturating_duration_since(Instant::now());
        let deadline = ask.deadline - (left / 20).min(Duration::from_millis(100));
        if left < self.interval.mul_f64(1.2) {
            let why = format!(
                "{} are not enough to read counters {} apart",
                show_duration(left),
                show_duration(self.interval)
            );
            return Err(Unknown::new(UnknownKind::TimedOut, why));
        }
        let (directory, names) = (self.directory(), self.interfaces.clone());
        let counters = move || Counters::read(&directory, &names);
        let before = blocking(counters.clone(), deadline).await?;
        tokio::time::sleep(self.interval).await;
        let after = blocking(counters, deadline).await?;
        let (directory, port, until) = (self.directory(), self.port, deadline.into_std());
        let sockets = blocking(move || sockets::count(&directory, port, until), deadline).await?;

        let mut measures = difference::tell(&before, &after)?;
        sockets.tell(&mut measures);
        let rate = |name: &str| show_size(measures.number(name).unwrap_or_default() as u64);
        let excerpt = format!(
            "in {}: {}/s in, {}/s out; {}",
            show_duration(after.at.duration_since(before.at)),
            rate("receive_bytes_per_second"),
            rate("transmit_bytes_per_second"),
            sockets.shown()
        );
        Ok(Observation::answered(measures).excerpt(excerpt))
    }

    fn by_hand(&self) -> String {
        let filter = self.port.map(|port| format!(" '( sport = :{port} )'")).unwrap_or_default();
        let names: String = self.interfaces.iter().map(|name| format!(" dev {}", shell_word(name))).take(1).collect();
        format!("ip -s link show{names}; nstat -az TcpRetransSegs TcpOutSegs TcpExtListenOverflows; ss -tan{filter}")
    }
}

/// Reads on a thread that may wait.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Unknown> + Send + 'static,
    deadline: Instant,
) -> Result<T, Unknown> {
    match tokio::time::timeout_at(deadline, tokio::task::spawn_blocking(read)).await {
        Ok(Ok(read)) => read,
        Ok(Err(_)) => Err(Unknown::new(UnknownKind::Panicked, "reading the counters failed")),
        Err(_) => Err(Unknown::new(UnknownKind::TimedOut, "the kernel's counters took too long to read")),
    }
}

/// The interfaces of the host that this runs on.
pub static KIND: Kind = Kind {
    name: "interface",
    look: Look::Traffic,
    summary: "this host's interfaces and TCP: throughput, retransmits, resets, overflows, connections",
    docs: "\
Reads the kernel's counters twice, `interval` apart, on the host that Houston runs on, and tells rates. Bytes, packets,
errors and drops are those of the interfaces, together and (under `each`) apart; without `interfaces` of all but the
loopback. Segments, resets and listen queues are those of all TCP of this host, whatever the interface: the kernel counts
them together. Connections by their state are those of `port`, or all.

`listen_overflows_per_second` above zero means that connections came faster than a program took them: customers wait or
are turned away. `close_wait` that grows is a program that doesn't close what its peers have closed.

Bad: whatever the expectations forbid; without `expect` a listen queue that overflows.
Unknown: the counters can't be read, went back in between, or the time of the check is shorter than the interval; a named
interface isn't there; more sockets than are read. `retransmit_ratio` is absent where nothing was sent: an idle wire
proves nothing.

Parameters can't stand here.",
    keys: &[
        Key {
            name: "interfaces",
            takes: "list of text",
            default: Some("all but the loopback"),
            meaning: "names of interfaces, as `ip link` has them",
        },
        Key {
            name: "port",
            takes: "number",
            default: Some("every port"),
            meaning: "count the connections and listeners of this local port only",
        },
        Key {
            name: "interval",
            takes: "duration",
            default: Some("2s"),
            meaning: "how far apart the counters are read; 100ms to 30s",
        },
        Key {
            name: "root",
            takes: "absolute path",
            default: Some("/"),
            meaning: "where the host's own / is, for a container that has it mounted: /host",
        },
    ],
    measures: MEASURES,
    default_expect: &["listen_overflows_per_second == 0"],
    headline: &["receive_bytes_per_second", "transmit_bytes_per_second", "established"],
    sees: Sees::Now,
    attempts: 1,
    example: "traffic/interface.yaml",
    example_text: include_str!("../../../checks.d/traffic/interface.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

const fn number(name: &'static str, unit: &'static str, meaning: &'static str) -> Measure {
    Measure { name, kind: Type::Number, unit, meaning }
}

const MEASURES: &[Measure] = &[
    number("interval_seconds", "seconds", "how far apart the counters were read"),
    number("receive_bytes_per_second", "bytes per second", "what came in over the interfaces"),
    number("transmit_bytes_per_second", "bytes per second", "what went out"),
    number("receive_packets_per_second", "per second", "packets that came in"),
    number("transmit_packets_per_second", "per second", "packets that went out"),
    number("errors_per_second", "per second", "packets that were broken, either way"),
    number("drops_per_second", "per second", "packets that the interfaces dropped, either way"),
    Measure {
        name: "each",
        kind: Type::Map,
        unit: "per second",
        meaning: "each interface: receive_bytes, transmit_bytes, receive_packets, transmit_packets, errors, drops",
    },
    number("segments_sent_per_second", "per second", "TCP segments sent, without repetitions"),
    number("retransmits_per_second", "per second", "TCP segments sent again"),
    number("retransmit_ratio", "ratio 0–1", "segments sent again by all that were sent; absent where none was"),
    number("resets_per_second", "per second", "established connections that a reset ended"),
    number("resets_sent_per_second", "per second", "resets that this host sent, refused connections among them"),
    number("accepts_per_second", "per second", "connections that came in"),
    number("connects_per_second", "per second", "connections that this host began"),
    number("connect_failures_per_second", "per second", "connections that never came about, either way"),
    number("listen_overflows_per_second", "per second", "connections that found a full listen queue"),
    number("listen_drops_per_second", "per second", "connections dropped while they were set up, overflows among them"),
    number("established", "count", "connections that stand"),
    number("syn_received", "count", "connections that are being set up from outside"),
    number("close_wait", "count", "connections that the peer has closed and a program here hasn't"),
    number("time_wait", "count", "connections that are over and still remembered"),
    Measure {
        name: "connections",
        kind: Type::Map,
        unit: "count",
        meaning: "sockets by their state: established, syn_sent, syn_received, fin_wait1, … listen, closing",
    },
    number("listeners", "count", "sockets that take connections"),
    number("listen_queue", "count", "connections that wait to be taken, at the listener with the most"),
];

#[cfg(test)]
mod tests;
