//! How Houston runs: deadlines and costs, the store, who may connect, what may be run and asked.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use crate::model::secret::SecretRef;
use crate::model::settings::{Costs, TriageSettings};
use crate::model::source::Diagnostic;
use crate::model::units;
use crate::yaml::{Keys, Node, Shape, Spanned};

/// The TCP port of the API and the pages.
pub const DEFAULT_PORT: u16 = 8460;

/// Where cases are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// A directory; relative to the working directory.
    pub path: PathBuf,
}

impl Default for Store {
    fn default() -> Self {
        Store { path: PathBuf::from("houston-data") }
    }
}

/// What is kept of what is sampled in the background; what isn't written is left to the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct History {
    /// Each sample for so long.
    pub samples: Option<Duration>,
    /// Summaries of hours, and failures, for so long.
    pub hours: Option<Duration>,
    /// Bytes.
    pub size: Option<u64>,
}

/// A watcher outside, which raises the alarm when it isn't told any more that all is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// http or https; it is asked with GET. Who knows it can say that all is well, so it isn't shown.
    pub url: url::Url,
    pub every: Duration,
}

const HEARTBEAT: Duration = Duration::from_secs(60);
const HEARTBEAT_FASTEST: Duration = Duration::from_secs(1);
const HEARTBEAT_SLOWEST: Duration = Duration::from_secs(3_600);

/// Who may connect, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// `None`: `tcp: off`.
    pub tcp: Option<SocketAddr>,
    /// The socket for local users; `None`: beside the store.
    pub unix: Option<PathBuf>,
    /// Names besides `localhost` and the loopback addresses that a request's `Host` may have.
    pub allowed_hosts: Vec<String>,
    /// Where people reach these pages, for links in messages; without it messages carry none.
    pub public_url: Option<String>,
    /// A proxy in front ends TLS and checks who people are.
    pub behind_proxy: bool,
    pub tokens: Vec<Token>,
    /// The most tickets that one token or session may file in a minute; beyond, it is told to wait.
    pub tickets_per_minute: u32,
}

/// Of one token in a minute, unless configured: a busy help desk's worth, and no flood.
const TICKETS_PER_MINUTE: u32 = 600;

impl Default for Listen {
    fn default() -> Self {
        Listen {
            tcp: Some(SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT))),
            unix: None,
            allowed_hosts: Vec::new(),
            public_url: None,
            behind_proxy: false,
            tokens: Vec::new(),
            tickets_per_minute: TICKETS_PER_MINUTE,
        }
    }
}

/// A token by which a program is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Stands in the log for whoever used it.
    pub name: String,
    pub scope: Scope,
    pub secret: SecretRef,
    /// Addresses and nets from which it is accepted; everywhere, where there are none.
    pub from: Vec<String>,
    /// From then on it is worth nothing.
    pub expires: Option<Timestamp>,
}

/// What a token allows; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// File tickets, and wait for their verdicts.
    Report,
    /// Read everything.
    Read,
    /// Run checks, triage again, acknowledge.
    Operate,
    Admin,
}

/// How much one target is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// At once.
    pub concurrent: usize,
    /// Started per second; `None`: not bounded.
    pub per_second: Option<f64>,
}

/// How much targets are asked, whatever tickets come in.
#[derive(Debug, Clone, PartialEq)]
pub struct Budgets {
    /// What customers use, and we only probe.
    pub service: Budget,
    /// What is there to be asked: Prometheus, a log store.
    pub system: Budget,
    /// By `host` or `host:port`.
    pub hosts: BTreeMap<String, Budget>,
}

impl Default for Budgets {
    fn default() -> Self {
        Budgets {
            service: Budget { concurrent: 2, per_second: Some(5.0) },
            system: Budget { concurrent: 8, per_second: None },
            hosts: BTreeMap::new(),
        }
    }
}

pub(super) fn triage(node: Option<&Node>, errors: &mut Vec<Diagnostic>) -> TriageSettings {
    let mut settings = TriageSettings::default();
    let Some(node) = node else { return settings };
    let mut keys = match Keys::of(node, "`triage`") {
        Ok(keys) => keys,
        Err(error) => {
            errors.push(error);
            return settings;
        }
    };
    let mut duration = |key: &'static str, least: u64, most: u64, target: &mut Duration| {
        let Some(written) = keys.read::<Spanned<units::Span>>(key, errors) else { return };
        if (Duration::from_secs(least)..=Duration::from_secs(most)).contains(&written.value.0) {
            *target = written.value.0;
        } else {
            let show = |seconds| units::show_duration(Duration::from_secs(seconds));
            let message = format!("`{key}` lies between {} and {}", show(least), show(most));
            errors.push(
                Diagnostic::error(written.at, message)
                    .hint(format!("the default is {}", units::show_duration(*target))),
            );
        }
    };
    duration("deadline", 1, 600, &mut settings.deadline);
    duration("now_window", 1, 3_600, &mut settings.now_window);
    duration("default_window", 60, 86_400, &mut settings.default_window);
    if let Some(node) = keys.take("costs") {
        settings.costs = costs(node, errors);
    }
    keys.finish(errors);
    settings
}

/// Prior and costs; the thresholds that follow from them must leave room on both sides of the prior.
fn costs(node: &Node, errors: &mut Vec<Diagnostic>) -> Costs {
    let costs: Costs = match node.read() {
        Ok(costs) => costs,
        Err(error) => {
            errors.push(error);
            return Costs::default();
        }
    };
    let place = |key: &str| node.get(key).unwrap_or(node).span.clone();
    for (key, value) in [("c_miss", costs.c_miss), ("c_page", costs.c_page), ("c_human", costs.c_human)] {
        if value <= 0.0 || value > 1e6 {
            errors.push(
                Diagnostic::error(place(key), format!("`{key}` must be above 0"))
                    .hint("costs are in units of asking a human"),
            );
            return Costs::default();
        }
    }
    if !(0.0..=1.0).contains(&costs.prior) {
        errors
            .push(Diagnostic::error(place("prior"), "a probability lies between 0 and 1").hint("the default is 0.35"));
        return Costs::default();
    }
    let prior = costs.prior.clamp(0.10, 0.50);
    if prior != costs.prior {
        errors.push(
            Diagnostic::warning(place("prior"), format!("the prior is taken as {prior}"))
                .hint("between 0.1 and 0.5, so that it never decides alone"),
        );
    }
    let low = costs.c_human / costs.c_miss;
    let high = 1.0 - costs.c_human / costs.c_page;
    if low >= prior {
        let message = format!(
            "with these costs every ticket would be no issue unseen: c_human / c_miss = {low:.2} is not below the prior {prior}"
        );
        errors.push(
            Diagnostic::error(place(if node.get("c_miss").is_some() { "c_miss" } else { "c_human" }), message)
                .hint(format!("c_miss must be above {:.4}", costs.c_human / prior)),
        );
    }
    if prior >= high {
        let message = format!(
            "with these costs every ticket would be an issue unseen: 1 - c_human / c_page = {high:.2} is not above the prior {prior}"
        );
        errors.push(
            Diagnostic::error(place(if node.get("c_page").is_some() { "c_page" } else { "c_human" }), message)
                .hint(format!("c_page must be above {:.4}", costs.c_human / (1.0 - prior))),
        );
    }
    costs
}

pub(super) fn store(node: Option<&Node>, errors: &mut Vec<Diagnostic>) -> Store {
    #[derive(Deserialize)]
    struct Written {
        path: PathBuf,
    }
    match node.map(Node::read::<Written>) {
        None => Store::default(),
        Some(Ok(written)) => Store { path: written.path },
        Some(Err(error)) => {
            errors.push(error);
            Store::default()
        }
    }
}

pub(super) fn history(node: Option<&Node>, errors: &mut Vec<Diagnostic>) -> History {
    let mut history = History::default();
    let Some(node) = node else { return history };
    let mut keys = match Keys::of(node, "`history`") {
        Ok(keys) => keys,
        Err(error) => {
            errors.push(error);
            return history;
        }
    };
    history.samples = keys.read::<units::Span>("samples", errors).map(|span| span.0);
    history.hours = keys.read::<units::Span>("hours", errors).map(|span| span.0);
    history.size = keys.read::<units::Size>("size", errors).map(|size| size.0);
    keys.finish(errors);
    history
}

pub(super) fn listen(node: Option<&Node>, errors: &mut Vec<Diagnostic>) -> Listen {
    let mut listen = Listen::default();
    let Some(node) = node else { return listen };
    let mut keys = match Keys::of(node, "`listen`") {
        Ok(keys) => keys,
        Err(error) => {
            errors.push(error);
            return listen;
        }
    };
    let tcp = keys.read::<Spanned<String>>("tcp", errors);
    listen.unix = keys.read("unix", errors);
    listen.behind_proxy = keys.read("behind_proxy", errors).unwrap_or(false);
    for host in keys.read::<Vec<Spanned<String>>>("allowed_hosts", errors).unwrap_or_default() {
        let name = host.value.to_ascii_lowercase();
        match url::Host::parse(&name) {
            Ok(_) => listen.allowed_hosts.push(name),
            Err(_) => errors.push(
                Diagnostic::error(host.at, "this is no host name")
                    .hint("without scheme, port and path: houston.example.com"),
            ),
        }
    }
    if let Some(url) = keys.read::<Spanned<String>>("public_url", errors) {
        match crate::ticketing::http_url(&url) {
            Ok(read) => listen.public_url = Some(read.to_string()),
            Err(error) => errors.push(error),
        }
    }
    if let Some(list) = keys.take("tokens") {
        listen.tokens = tokens(list, errors);
    }
    match keys.read::<Spanned<u32>>("tickets_per_minute", errors) {
        Some(rate) if (1..=1_000_000).contains(&rate.value) => listen.tickets_per_minute = rate.value,
        Some(rate) => errors.push(Diagnostic::error(rate.at, "this is no rate").hint("1 to 1000000 tickets a minute")),
        None => {}
    }
    keys.finish(errors);
    match tcp {
        Some(written) if written.value == "off" => listen.tcp = None,
        Some(written) => match written.value.parse::<SocketAddr>() {
            Ok(address) => {
                listen.tcp = Some(address);
                // Beyond this machine nobody is let in without a token, nor in clear text.
                if !address.ip().is_loopback() && (!listen.behind_proxy || listen.tokens.is_empty()) {
                    errors.push(
                        Diagnostic::error(written.at, "beyond this machine a token and a proxy are needed").hint(
                            "add `tokens`, and `behind_proxy: true` with a proxy that ends TLS; or listen on 127.0.0.1",
                        ),
                    );
                }
            }
            Err(_) => errors.push(
                Diagnostic::error(written.at, "this is no address and port")
                    .hint(format!("127.0.0.1:{DEFAULT_PORT}, [::1]:{DEFAULT_PORT}, or off")),
            ),
        },
        None => {}
    }
    listen
}

fn tokens(node: &Node, errors: &mut Vec<Diagnostic>) -> Vec<Token> {
    #[derive(Deserialize)]
    struct Written {
        name: Spanned<String>,
        scope: Scope,
        secret: SecretRef,
        #[serde(default)]
        from: Vec<Spanned<String>>,
        expires: Option<Spanned<String>>,
    }
    let Shape::List(items) = &node.shape else {
        errors.push(
            Diagnostic::error(node.span.clone(), format!("`tokens` is a list, found {}", node.describe()))
                .hint("write `- { name: …, scope: report, secret: { env: NAME } }`"),
        );
        return Vec::new();
    };
    let mut tokens: Vec<Token> = Vec::new();
    for item in items {
        match item.read::<Written>() {
            Ok(written) if !super::is_name(&written.name.value) => errors.push(
                Diagnostic::error(written.name.at, "this can't be a token's name")
                    .hint("1 to 128 printable characters"),
            ),
            Ok(written) if tokens.iter().any(|token| token.name == written.name.value) => errors.push(
                Diagnostic::error(written.name.at, "there are two tokens of this name")
                    .hint("each use is written down by name: give it another one"),
            ),
            Ok(Written { name, scope, secret, from, expires }) => {
                for net in from.iter().filter(|net| !is_address_or_net(&net.value)) {
                    errors.push(
                        Diagnostic::error(net.at.clone(), "this is neither an address nor a net")
                            .hint("10.1.2.3, 10.1.0.0/16, 2001:db8::/32"),
                    );
                }
                let expires = expires.and_then(|written| match written.value.parse::<Timestamp>() {
                    Ok(at) => Some(at),
                    Err(_) => {
                        errors.push(
                            Diagnostic::error(written.at, "this is no point in time")
                                .hint("with its zone: 2027-01-31T00:00:00Z"),
                        );
                        None
                    }
                });
                let from = from.into_iter().map(|net| net.value).collect();
                tokens.push(Token { name: name.value, scope, secret, from, expires });
            }
            Err(error) => errors.push(error),
        }
    }
    tokens
}

pub(super) fn heartbeat(node: Option<&Node>, errors: &mut Vec<Diagnostic>) -> Option<Heartbeat> {
    let node = node?;
    let mut keys = Keys::of(node, "`heartbeat`").map_err(|error| errors.push(error)).ok()?;
    let before = errors.len();
    let url = keys.read::<Spanned<String>>("url", errors);
    if url.is_none() && errors.len() == before {
        errors.push(
            Diagnostic::error(node.span.clone(), "`heartbeat` has no `url`")
                .hint("heartbeat: { url: \"https://watch.example.com/ping/…\", every: 1m }"),
        );
    }
    let every = keys.read::<Spanned<String>>("every", errors);
    keys.finish(errors);
    let every = match every {
        None => HEARTBEAT,
        Some(every) => match units::parse_duration(&every.value) {
            Ok(span) if (HEARTBEAT_FASTEST..=HEARTBEAT_SLOWEST).contains(&span) => span,
            _ => {
                errors.push(Diagnostic::error(every.at, "`every` is between 1s and 1h").hint("every: 1m"));
                return None;
            }
        },
    };
    let url = url?;
    match url::Url::parse(&url.value) {
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.host().is_some() => {
            Some(Heartbeat { url: parsed, every })
        }
        _ => {
            errors.push(Diagnostic::error(url.at, "the watcher's URL begins with http:// or https://"));
            None
        }
    }
}

pub(super) fn programs(node: Option<&Node>, errors: &mut Vec<Diagnostic>) -> Vec<PathBuf> {
    let Some(node) = node else { return Vec::new() };
    let programs: Vec<Spanned<PathBuf>> = match node.read() {
        Ok(programs) => programs,
        Err(error) => {
            errors.push(error);
            return Vec::new();
        }
    };
    let plain = |path: &PathBuf| {
        path.is_absolute() && path.components().all(|part| !matches!(part, std::path::Component::ParentDir))
    };
    for program in programs.iter().filter(|program| !plain(&program.value)) {
        errors.push(
            Diagnostic::error(program.at.clone(), "a program is named by its absolute path")
                .hint("/usr/lib/nagios/plugins/check_disk"),
        );
    }
    programs.into_iter().map(|program| program.value).collect()
}

pub(super) fn budgets(node: Option<&Node>, errors: &mut Vec<Diagnostic>) -> Budgets {
    let mut budgets = Budgets::default();
    let Some(node) = node else { return budgets };
    let mut keys = match Keys::of(node, "`budgets`") {
        Ok(keys) => keys,
        Err(error) => {
            errors.push(error);
            return budgets;
        }
    };
    if let Some(node) = keys.take("service") {
        budgets.service = budget(node, budgets.service, errors);
    }
    if let Some(node) = keys.take("system") {
        budgets.system = budget(node, budgets.system, errors);
    }
    for (name, key, value) in super::entries(keys.take("hosts"), "budgets", errors) {
        let (host, port) = match name.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') && !host.contains(':') => (host, Some(port)),
            _ => (name, None),
        };
        let good_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        let good_host = url::Host::parse(host).is_ok() || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        if !good_host || !good_port {
            errors.push(
                Diagnostic::error(key.span.clone(), format!("{} is no host", key.describe()))
                    .hint("shop.example.com, or prometheus:9090"),
            );
        }
        budgets.hosts.insert(name.to_ascii_lowercase(), budget(value, budgets.service, errors));
    }
    keys.finish(errors);
    budgets
}

fn budget(node: &Node, default: Budget, errors: &mut Vec<Diagnostic>) -> Budget {
    #[derive(Deserialize)]
    struct Written {
        #[serde(default)]
        concurrent: Option<Spanned<usize>>,
        #[serde(default)]
        per_second: Option<Spanned<f64>>,
    }
    let written: Written = match node.read() {
        Ok(written) => written,
        Err(error) => {
            errors.push(error);
            return default;
        }
    };
    let mut budget = default;
    match written.concurrent {
        Some(concurrent) if !(1..=1_000).contains(&concurrent.value) => errors
            .push(Diagnostic::error(concurrent.at, "`concurrent` lies between 1 and 1000").hint("8 is a good start")),
        Some(concurrent) => budget.concurrent = concurrent.value,
        None => {}
    }
    match written.per_second {
        Some(rate) if !(0.01..=100_000.0).contains(&rate.value) => errors
            .push(Diagnostic::error(rate.at, "`per_second` lies between 0.01 and 100000").hint("5 is a good start")),
        Some(rate) => budget.per_second = Some(rate.value),
        None => {}
    }
    budget
}

pub(super) fn egress(node: Option<&Node>, errors: &mut Vec<Diagnostic>) -> Vec<Spanned<String>> {
    #[derive(Deserialize)]
    struct Written {
        #[serde(default)]
        deny: Vec<Spanned<String>>,
    }
    let deny = match node.map(Node::read::<Written>) {
        None => return Vec::new(),
        Some(Ok(written)) => written.deny,
        Some(Err(error)) => {
            errors.push(error);
            return Vec::new();
        }
    };
    for entry in deny.iter().filter(|entry| !is_address_net_or_name(&entry.value)) {
        errors.push(
            Diagnostic::error(entry.at.clone(), "this is neither an address, nor a net, nor a host name")
                .hint("10.1.2.3, 10.1.0.0/16, internal.example, *.internal.example"),
        );
    }
    deny
}

fn is_address_net_or_name(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    is_address_or_net(text) || matches!(url::Host::parse(name), Ok(url::Host::Domain(_)))
}

fn is_address_or_net(text: &str) -> bool {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    address.parse::<IpAddr>().is_ok_and(|address| {
        let widest = if address.is_ipv4() { 32 } else { 128 };
        prefix.is_none_or(|prefix| prefix.parse::<u8>().is_ok_and(|prefix| prefix <= widest))
    })
}
