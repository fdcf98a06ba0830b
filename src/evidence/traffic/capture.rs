//! Kind `capture`: a few seconds of a port's packets, as counts; for where there is neither log nor metric.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use crate::evidence::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::encode::{shell_word, terminal};
use crate::model::look::Look;
use crate::model::measure::{Measure, Type};
use crate::model::observation::{Observation, UnknownKind};
use crate::model::source::Diagnostic;
use crate::model::units::{Span, show_duration};
use crate::model::value::{Measures, Value};
use crate::net::capture::{self, Counts, Request, Said, Silent};
use crate::yaml::{Node, Spanned};

/// How long is looked, unless it is declared.
const DURATION: Duration = Duration::from_secs(3);
/// The shortest and the longest look.
const BOUNDS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30);
/// What starting the child and its end may take besides.
const START_AND_END: Duration = Duration::from_millis(500);
/// The longest name of an interface, in bytes (`IFNAMSIZ`, without its end).
const NAME_LIMIT: usize = 15;

/// How to give the program what it needs.
const PERMISSION: &str = "Houston lacks the capability CAP_NET_RAW, without which nobody sees packets; give it with \
                          AmbientCapabilities=CAP_NET_RAW in a drop-in of its systemd unit, or, where it runs without \
                          one, with `setcap cap_net_raw=ep` on its binary";
/// What else may stand in the way.
const FAMILIES: &str = "no packet sockets here: RestrictAddressFamilies= in Houston's systemd unit has to allow \
                        AF_PACKET and AF_NETLINK, and the kernel has to have them";

/// What stands under `capture:`.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The interface, as `ip link` has it.
    interface: Spanned<String>,
    /// The service's TCP port.
    port: Spanned<u16>,
    /// How long to look.
    #[serde(default)]
    duration: Option<Spanned<Span>>,
}

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    let name = &config.interface.value;
    let is_plain = name.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':' && b != b'{');
    if name.is_empty() || name.len() > NAME_LIMIT || !is_plain {
        let message = format!("`{}` is not the name of an interface", terminal(name));
        return Err(Diagnostic::error(config.interface.at, message).hint("`ip link` lists them: eth0"));
    }
    if config.port.value == 0 {
        return Err(Diagnostic::error(config.port.at, "a port lies between 1 and 65535"));
    }
    let duration = match config.duration {
        Some(duration) if !BOUNDS.contains(&duration.value.0) => {
            return Err(Diagnostic::error(duration.at, "the duration lies between 1s and 30s"));
        }
        duration => duration.map_or(DURATION, |duration| duration.value.0),
    };
    Ok(Arc::new(Wire(Request { interface: config.interface.value, port: config.port.value, duration })))
}

/// One port on one interface.
#[derive(Debug)]
struct Wire(Request);

impl Probe for Wire {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(async {
            let started = Instant::now();
            let left = ask.deadline.saturating_duration_since(started);
            let Request { interface, port, duration } = &self.0;
            let observation = if left < *duration + START_AND_END {
                let (left, duration) = (show_duration(left), show_duration(*duration));
                let why =
                    format!("{left} are not enough to look for {duration}; a longer `timeout` of the check helps");
                Observation::blind(UnknownKind::TimedOut, why)
            } else {
                let deadline = ask.deadline - START_AND_END / 5;
                facts(&self.0, capture::take(&self.0, deadline).await)
            };
            let seconds = duration.as_secs_f64();
            let by_hand = format!("timeout {seconds} tcpdump -nni {} tcp port {port}", shell_word(interface));
            observation.reproduce(by_hand).took(started.elapsed())
        })
    }

    fn system(&self) -> String {
        format!("packets of port {} on {} of this host", self.0.port, self.0.interface)
    }
}

/// What the child's word says.
fn facts(request: &Request, said: Result<Said, Silent>) -> Observation {
    let Request { interface, port, .. } = request;
    let counts = match said {
        Ok(Said::Counts(counts)) => counts,
        Ok(Said::NotPermitted) => return Observation::blind(UnknownKind::Refused, PERMISSION),
        Ok(Said::NoPacketSockets) => return Observation::blind(UnknownKind::Refused, FAMILIES),
        Ok(Said::NoInterface) => {
            return Observation::blind(UnknownKind::Unreachable, format!("there is no interface {interface}"));
        }
        Ok(Said::Down) => {
            return Observation::blind(UnknownKind::Unreachable, format!("the interface {interface} is down"));
        }
        Ok(Said::Failed(number)) => {
            let error = std::io::Error::from_raw_os_error(number);
            return Observation::blind(UnknownKind::Unreachable, format!("no packets of {interface}: {error}"));
        }
        Err(silent) => {
            let kind = match silent {
                Silent::NotRun(_) => UnknownKind::Unreachable,
                Silent::TimedOut => UnknownKind::TimedOut,
                Silent::NoAnswer => UnknownKind::Unintelligible,
            };
            return Observation::blind(kind, terminal(&silent.to_string()));
        }
    };
    let looked = show_duration(Duration::from_micros(counts.micros));
    let blind = if counts.lost > 0 {
        Some(format!(
            "{} packets came faster than they were read; a larger net.core.rmem_max holds more of them",
            counts.lost
        ))
    } else if counts.forgotten > 0 {
        Some(format!("more connections than can be told apart: {} were forgotten", counts.forgotten))
    } else if counts.packets == 0 {
        Some(format!("no packet of port {port} passed {interface} within {looked}"))
    } else {
        None
    };
    let seen = format!(
        "in {looked}: {} packets, {} connections begun, {} established, {} failed, {} reset",
        counts.packets,
        counts.connections,
        counts.established,
        failures(&counts),
        counts.resets
    );
    let mut observation = match blind {
        Some(why) => Observation::blind(UnknownKind::Incomplete, why),
        None => Observation::answered(Measures::new()),
    };
    if counts.unreadable > 0 {
        observation =
            observation.note(format!("{} packets contradict themselves and were left out", counts.unreadable));
    }
    observation.measures(measures(&counts)).excerpt(seen)
}

fn failures(counts: &Counts) -> u64 {
    counts.refused + counts.unanswered + counts.abandoned
}

fn measures(counts: &Counts) -> Measures {
    let mut measures = Measures::new();
    let seconds = counts.micros as f64 / 1e6;
    for (name, count) in [
        ("packets", counts.packets),
        ("connections", counts.connections),
        ("handshakes", counts.established),
        ("handshake_failures", failures(counts)),
        ("refused", counts.refused),
        ("unanswered", counts.unanswered),
        ("abandoned", counts.abandoned),
        ("resets", counts.resets),
        ("retransmits", counts.retransmits),
    ] {
        measures.set(name, count as f64);
    }
    measures.set("duration_seconds", seconds);
    let mut ratio = |name: &str, part: u64, of: u64| {
        if of > 0 {
            measures.set(name, part as f64 / of as f64);
        }
    };
    ratio("handshake_failure_ratio", failures(counts), counts.established + failures(counts));
    ratio("retransmit_ratio", counts.retransmits, counts.segments);
    let answers = [counts.status_2xx, counts.status_3xx, counts.status_4xx, counts.status_5xx];
    let answered: u64 = answers.iter().sum();
    ratio("error_ratio", counts.status_5xx, answered);
    ratio("client_error_ratio", counts.status_4xx, answered);
    for (name, micros) in [
        ("handshake_p50_seconds", counts.handshake_p50_micros),
        ("handshake_p95_seconds", counts.handshake_p95_micros),
        ("p50_seconds", counts.answer_p50_micros),
        ("p95_seconds", counts.answer_p95_micros),
    ] {
        if let Some(micros) = micros {
            measures.set(name, micros as f64 / 1e6);
        }
    }
    if seconds > 0.0 {
        measures.set("connections_per_second", counts.connections as f64 / seconds);
    }
    if seconds > 0.0 && counts.requests + answered > 0 {
        measures.set("requests", counts.requests as f64);
        measures.set("requests_per_second", counts.requests as f64 / seconds);
        let classes = ["2xx", "3xx", "4xx", "5xx"].map(str::to_owned).into_iter();
        measures.set("statuses", Value::Map(classes.zip(answers.map(|count| Value::from(count as f64))).collect()));
    }
    measures
}

/// A port's packets.
pub static KIND: Kind = Kind {
    name: "capture",
    look: Look::Traffic,
    summary: "a few seconds of a port's packets: handshakes, resets, retransmits, plain HTTP's answers",
    docs: "\
Looks at the packets of one TCP port on one interface of the host that Houston runs on, for `duration`, where there is
neither log nor metric. The side with that port is taken for the server, on this host or elsewhere.

Packets hold what customers send. So they are read by a child process, which has CAP_NET_RAW and no other capability,
gives that up once its socket is open, and hands back numbers only. The kernel shows it the headers and the first twelve
bytes behind them, by which it knows a request and a status of plain HTTP/1; TLS and HTTP/2 have neither.

Houston needs the capability itself, to hand it on. Under systemd a drop-in for its unit gives it, with `[Service]` and
`AmbientCapabilities=CAP_NET_RAW`; where the unit sets them, `CapabilityBoundingSet=` has to allow CAP_NET_RAW,
`RestrictAddressFamilies=` AF_PACKET and AF_NETLINK, and `PrivateUsers=` has to be off. Without a unit
`setcap cap_net_raw=ep` on the binary gives it to whoever may run that (not where `NoNewPrivileges=` is set).

A handshake has failed where the server answered it with a reset (`refused`), where nobody answered it within a second
(`unanswered`), or where the client didn't complete it (`abandoned`). A segment counts as sent again where its side had
sent it before; one that was overtaken by less than 3 ms doesn't, nor does a repeated single byte, which can't be told
from a keep-alive.

Bad: whatever the expectations forbid; without `expect` half of the handshakes that fail.
Unknown: no CAP_NET_RAW, no such interface, no packet in that time, packets that were lost because they came too fast,
more than 32768 connections at a time. Ratios are absent where there was nothing of which they are a share: no handshake
proves nothing.

Not seen are requests in the midst of a segment, later IP fragments, and TCP behind IPv6 extension headers. Parameters
can't stand here.",
    keys: &[
        Key {
            name: "interface",
            takes: "text",
            default: None,
            meaning: "the interface, as `ip link` has it: eth0, lo",
        },
        Key { name: "port", takes: "number", default: None, meaning: "the service's TCP port" },
        Key {
            name: "duration",
            takes: "duration",
            default: Some("3s"),
            meaning: "how long to look; 1s to 30s, and less than the check's `timeout`",
        },
    ],
    measures: MEASURES,
    default_expect: &["handshake_failure_ratio < 0.5"],
    headline: &["connections", "handshake_failures", "retransmit_ratio"],
    sees: Sees::Now,
    attempts: 1,
    example: "traffic/capture.yaml",
    example_text: include_str!("../../../checks.d/traffic/capture.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

const fn number(name: &'static str, unit: &'static str, meaning: &'static str) -> Measure {
    Measure { name, kind: Type::Number, unit, meaning }
}

const MEASURES: &[Measure] = &[
    number("duration_seconds", "seconds", "how long was looked"),
    number("packets", "count", "TCP packets of the port, either way"),
    number("connections", "count", "connections that clients began"),
    number("connections_per_second", "per second", "the same by time"),
    number("handshakes", "count", "handshakes that were completed"),
    number("handshake_failures", "count", "handshakes that were refused, unanswered or abandoned"),
    number("handshake_failure_ratio", "ratio 0–1", "of the decided handshakes, those that failed; absent without any"),
    number("refused", "count", "handshakes that the server answered with a reset"),
    number("unanswered", "count", "handshakes that nobody answered within a second"),
    number("abandoned", "count", "handshakes that the server answered and the client didn't complete"),
    number("handshake_p50_seconds", "seconds", "half of the completed handshakes took no longer, from SYN to ACK"),
    number("handshake_p95_seconds", "seconds", "95 % of them took no longer"),
    number("resets", "count", "open connections that a reset ended, from either side"),
    number("retransmits", "count", "segments that were sent again"),
    number("retransmit_ratio", "ratio 0–1", "the same by all segments with data, SYN or FIN; absent where none was"),
    number("requests", "count", "requests of plain HTTP/1; absent, as what follows, where none was seen"),
    number("requests_per_second", "per second", "the same by time"),
    number(
        "p50_seconds",
        "seconds",
        "half of the HTTP requests were answered within this, to the first byte of the status",
    ),
    number("p95_seconds", "seconds", "95 % of them were"),
    number("error_ratio", "ratio 0–1", "of the HTTP answers, those with 5xx"),
    number("client_error_ratio", "ratio 0–1", "of the HTTP answers, those with 4xx"),
    Measure { name: "statuses", kind: Type::Map, unit: "count", meaning: "HTTP answers by class: 2xx, 3xx, 4xx, 5xx" },
];

#[cfg(test)]
mod tests;
