//! The `icmp` kind: echo requests, how many of them come back, and how long they take.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};
use tokio::time::Instant;
use url::Host;

use super::failure::{self, measure};
use super::tls_options::Ip;
use crate::evidence::slots::without_slots;
use crate::evidence::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::encode::shell_word;
use crate::model::look::Look;
use crate::model::measure::Type;
use crate::model::observation::Observation;
use crate::model::source::Diagnostic;
use crate::model::units::Span;
use crate::model::value::Measures;
use crate::net::icmp::{Ping, Pinged};
use crate::yaml::Node;

/// The most requests of one look.
const COUNT: u16 = 20;
/// The shortest time from one request to the next, in which a network isn't flooded.
const INTERVAL: Duration = Duration::from_millis(50);
/// The longest time that a look may spend on sending, and wait for the last reply.
const LONGEST: Duration = Duration::from_secs(60);

/// The kind's entry in the registry.
pub static KIND: Kind = Kind {
    name: "icmp",
    look: Look::External,
    summary: "pings: how many come back, and how long they take",
    docs: "\
Sends a few echo requests and counts the replies. It needs no privileges where the kernel's `ping_group_range` covers the
group that Houston runs as (most distributions cover everybody), and otherwise the capability CAP_NET_RAW.

Bad: no reply at all, a name that doesn't resolve, a host that is said to be unreachable. Odd: some replies are missing.
Many networks drop pings and work well: expect of a host only what it has answered on good days.
Unknown: we may not send (it is said how to mend that), our resolver doesn't answer, there is no route from here, a guard
of ours forbids the address, the time is too short for the requests.

Parameters can't stand here.",
    keys: &[
        Key { name: "host", takes: "name or address", default: None, meaning: "who is asked" },
        Key { name: "count", takes: "1 to 20", default: Some("5"), meaning: "how many requests" },
        Key {
            name: "interval",
            takes: "duration, at least 50ms",
            default: Some("200ms"),
            meaning: "from one to the next",
        },
        Key { name: "wait", takes: "duration", default: Some("1s"), meaning: "a reply that takes longer is lost" },
        Key { name: "ip", takes: "v4 or v6", default: Some("either"), meaning: "which addresses of the host to use" },
    ],
    measures: &[
        measure("sent", Type::Number, "count", "requests"),
        measure("received", Type::Number, "count", "replies in time"),
        measure("loss_ratio", Type::Number, "ratio 0–1", "the share of requests without a reply"),
        measure("rtt_seconds", Type::Number, "seconds", "the mean round-trip time; absent where nothing came back"),
        measure("rtt_minimum_seconds", Type::Number, "seconds", "the shortest of them"),
        measure("rtt_maximum_seconds", Type::Number, "seconds", "the longest of them"),
        measure("jitter_seconds", Type::Number, "seconds", "their mean deviation from the mean; from two replies on"),
        measure("resolve_seconds", Type::Number, "seconds", "resolving the name"),
        measure("address", Type::Text, "text", "the address that was asked"),
    ],
    default_expect: &["loss_ratio < 1.0", "odd: loss_ratio == 0.0"],
    headline: &["loss_ratio", "rtt_seconds"],
    sees: Sees::Now,
    attempts: 2,
    example: "external/icmp.yaml",
    example_text: include_str!("../../../checks.d/external/icmp.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    host: Name,
    #[serde(default = "five")]
    count: u16,
    #[serde(default)]
    interval: Option<Span>,
    #[serde(default)]
    wait: Option<Span>,
    #[serde(default)]
    ip: Option<Ip>,
}

fn five() -> u16 {
    5
}

/// A host, spelt out in a check.
#[derive(Debug)]
struct Name(Host<String>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        without_slots(&text).map_err(de::Error::custom)?;
        if let Ok(address) = text.parse() {
            return Ok(Name(Host::Ipv6(address)));
        }
        Host::parse(&text).map(Name).map_err(|_| de::Error::custom(format!("`{text}` is no host (no port, no URL)")))
    }
}

impl schemars::JsonSchema for Name {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HostName".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string" })
    }
}

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    let wrong = |key: &str, message: String| {
        Diagnostic::error(node.get(key).map_or_else(|| node.span.clone(), |value| value.span.clone()), message)
    };
    if config.count == 0 || config.count > COUNT {
        return Err(wrong("count", format!("a count is 1 to {COUNT}, not {}", config.count)));
    }
    let interval = config.interval.map_or(Duration::from_millis(200), |span| span.0);
    let wait = config.wait.map_or(Duration::from_secs(1), |span| span.0);
    if !(INTERVAL..=LONGEST).contains(&interval) {
        return Err(wrong("interval", "an interval is 50ms to 60s".to_owned()));
    }
    if wait.is_zero() || wait > LONGEST {
        return Err(wrong("wait", "the time to wait is more than nothing, and at most 60s".to_owned()));
    }
    Ok(Arc::new(Icmp { host: config.host.0, ip: config.ip, count: config.count, interval, wait }))
}

#[derive(Debug)]
struct Icmp {
    host: Host<String>,
    ip: Option<Ip>,
    count: u16,
    interval: Duration,
    wait: Duration,
}

impl Probe for Icmp {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(async move {
            let started = Instant::now();
            let left = ask.deadline.saturating_duration_since(started);
            let ping = Ping {
                host: self.host.clone(),
                ip: self.ip.map(Ip::version),
                count: self.count,
                interval: self.interval,
                wait: self.wait,
                // A little before the caller gives up, so that the answer can still say what was waited for.
                deadline: ask.deadline - (left / 20).min(Duration::from_millis(100)),
            };
            let observation = match ping.send(&ask.tools.http).await {
                Ok(pinged) => Observation::answered(measures(&pinged)),
                Err(failure) => failure::observation(&failure, Measures::new()),
            };
            observation.reproduce(self.by_hand()).took(started.elapsed())
        })
    }

    fn system(&self) -> String {
        self.host.to_string()
    }
}

impl Icmp {
    fn by_hand(&self) -> String {
        let host = self.host.to_string();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let version = match self.ip {
            Some(Ip::V4) => " -4",
            Some(Ip::V6) => " -6",
            None => "",
        };
        let (interval, wait) = (self.interval.as_secs_f64(), self.wait.as_secs_f64());
        format!("ping{version} -c {} -i {interval} -W {wait} {}", self.count, shell_word(bare))
    }
}

fn measures(pinged: &Pinged) -> Measures {
    let times: Vec<f64> = pinged.round_trips.iter().flatten().map(Duration::as_secs_f64).collect();
    let (sent, received) = (pinged.round_trips.len(), times.len());
    let mut measures = Measures::new();
    measures.set("sent", sent).set("received", received).set("address", pinged.address.to_string());
    measures.set("loss_ratio", (sent - received) as f64 / sent.max(1) as f64);
    if let Some(resolve) = pinged.resolve {
        measures.set("resolve_seconds", resolve.as_secs_f64());
    }
    if received > 0 {
        let mean = times.iter().sum::<f64>() / received as f64;
        measures
            .set("rtt_seconds", mean)
            .set("rtt_minimum_seconds", times.iter().copied().fold(f64::INFINITY, f64::min))
            .set("rtt_maximum_seconds", times.iter().copied().fold(0.0, f64::max));
        if received > 1 {
            let deviations = times.iter().map(|time| (time - mean).abs()).sum::<f64>();
            measures.set("jitter_seconds", deviations / received as f64);
        }
    }
    measures
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::external::testing::{
        ask, ask_with, blindness, declared, example_reads, hold, is_good, look, read as read_text, setup,
    };
    use crate::expect::Held;
    use crate::net::guard::{Entry, Guard};

    #[test]
    fn replies_become_measures_and_their_absence_a_loss() {
        let time = |millis| Some(Duration::from_millis(millis));
        for (round_trips, holds) in [
            (vec![time(10), time(30)], "loss_ratio == 0.0 && received == 2 && sent == 2"),
            (vec![time(10), time(30)], "rtt_minimum_seconds == 0.01 && rtt_maximum_seconds == 0.03"),
            (vec![time(10), time(30)], "rtt_seconds > 0.0199 && rtt_seconds < 0.0201 && jitter_seconds > 0.0099"),
            (vec![None, time(30), None, None], "loss_ratio == 0.75 && rtt_seconds == 0.03 && received == 1"),
            (vec![None, None], "loss_ratio == 1.0 && sent == 2"),
        ] {
            let pinged = Pinged { address: [127, 0, 0, 1].into(), resolve: None, round_trips };
            let observation = Observation::answered(measures(&pinged));
            declared(&KIND, &observation);
            assert_eq!(hold(&KIND, holds, &observation), Held::True, "{holds}: {observation:?}");
            assert_eq!(is_good(&KIND, &observation), hold(&KIND, "loss_ratio == 0.0", &observation) == Held::True);
        }
        let lost = Pinged { address: [127, 0, 0, 1].into(), resolve: None, round_trips: vec![None] };
        assert!(matches!(
            hold(&KIND, "rtt_seconds < 1.0", &Observation::answered(measures(&lost))),
            Held::Unknown { .. }
        ));
    }

    #[tokio::test]
    async fn what_is_forbidden_or_too_short_is_unknown() {
        let guarded = Guard::new(vec![Entry::parse("127.0.0.0/8").unwrap()], Vec::new());
        let forbidden = ask_with(crate::evidence::Setup { guard: guarded, ..setup() }, Duration::from_secs(20));
        let observation = look(&KIND, "host: 127.0.0.1", &forbidden).await;
        assert!(blindness(&observation).1.contains("deny list"), "{observation:?}");
        let observation = look(&KIND, "host: 169.254.169.254", &ask()).await;
        assert!(blindness(&observation).1.contains("metadata") || blindness(&observation).1.contains("link-local"));
        let short = ask_with(setup(), Duration::from_millis(400));
        let observation = look(&KIND, "{ host: 127.0.0.1, count: 20, interval: 1s }", &short).await;
        // Where this host lets nobody send, that is said first.
        let why = blindness(&observation).1;
        assert!(why.contains("too short") || why.contains("ping_group_range"), "{observation:?}");
    }

    #[test]
    fn what_is_wrong_is_said_at_its_place() {
        example_reads(&KIND);
        for (text, place, part) in [
            ("host: 'shop:80'", "test.yaml:1:7", "no host"),
            ("host: '{{ host }}'", "test.yaml:1:7", "no parameters"),
            ("host: a\ncount: 0", "test.yaml:2:8", "1 to 20"),
            ("host: a\ncount: 21", "test.yaml:2:8", "1 to 20"),
            ("host: a\ninterval: 1ms", "test.yaml:2:11", "50ms"),
            ("host: a\nwait: 2m", "test.yaml:2:7", "at most 60s"),
            ("count: 1", "test.yaml:1:1", "host"),
        ] {
            let error = read_text(&KIND, text).unwrap_err();
            assert_eq!(error.at.to_string(), place, "{text}: {error}");
            assert!(error.message.contains(part), "{text}: {error}");
        }
        for (text, system) in
            [("host: '::1'", "[::1]"), ("host: '[::1]'", "[::1]"), ("host: Shop.Example", "shop.example")]
        {
            assert_eq!(read_text(&KIND, text).unwrap().system(), system);
        }
    }
}
