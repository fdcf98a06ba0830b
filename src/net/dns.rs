//! Names to addresses, without a blocking thread: `getaddrinfo` would share its threads with file reads, and a silent
//! name server would stop those, too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::Name;

use super::http::IpVersion;

mod query;

pub use query::{Answer, Question, Record, Transport, Unanswered};

/// The most addresses of one name that are used.
const ADDRESSES: usize = 16;
/// How long one name server may think before the next is asked.
const PATIENCE: Duration = Duration::from_secs(2);
const CONFIGURATION: &str = "/etc/resolv.conf";

/// An asynchronous resolver with the host's own configuration (`/etc/resolv.conf`, `/etc/hosts`), read when it is
/// first needed and again when it changes. It keeps no answers: a probe sees what is true now.
#[derive(Clone, Default)]
pub struct Resolver(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Name servers to ask instead of the host's.
    servers: Option<Vec<SocketAddr>>,
    loaded: Mutex<Option<Loaded>>,
}

#[derive(Clone)]
struct Loaded {
    /// When the configuration was changed last, as the file says.
    changed: Option<SystemTime>,
    /// By the versions of IP that are asked for: both, 4, 6.
    resolvers: [TokioResolver; 3],
    servers: Vec<SocketAddr>,
}

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// The name system answered: there is none. What a customer sees as well.
    #[error("{0}")]
    NoAddress(String),
    /// Our resolver doesn't answer, or can't be asked.
    #[error("{0}")]
    Ours(String),
}

impl Resolver {
    /// Asks these name servers, over UDP and TCP, instead of the host's.
    pub fn with_servers(servers: Vec<SocketAddr>) -> Self {
        Resolver(Arc::new(Shared { servers: Some(servers), loaded: Mutex::default() }))
    }

    /// The addresses of a name, IPv6 first where both are asked for; an address stands for itself.
    ///
    /// # Errors
    /// Whether the name has none, or we could not ask.
    pub async fn addresses(&self, host: &str, ip: Option<IpVersion>) -> Result<Vec<IpAddr>, Unresolved> {
        let fits = |address: &IpAddr| ip.is_none_or(|ip| (ip == IpVersion::V4) == address.is_ipv4());
        if let Some(fixed) = fixed(host) {
            let addresses: Vec<_> = fixed.into_iter().filter(fits).collect();
            return if addresses.is_empty() { Err(none_of(host, ip)) } else { Ok(addresses) };
        }
        let name =
            Name::from_utf8(host).map_err(|error| Unresolved::NoAddress(format!("{host} can't be a name: {error}")))?;
        let loaded = self.load().map_err(Unresolved::Ours)?;
        let resolver = match ip {
            None => &loaded.resolvers[0],
            Some(IpVersion::V4) => &loaded.resolvers[1],
            Some(IpVersion::V6) => &loaded.resolvers[2],
        };
        let answer = resolver.lookup_ip(name).await.map_err(|error| unresolved(host, ip, &error))?;
        let addresses: Vec<_> = answer.iter().filter(fits).take(ADDRESSES).collect();
        if addresses.is_empty() { Err(none_of(host, ip)) } else { Ok(addresses) }
    }

    /// The name servers that are asked.
    ///
    /// # Errors
    /// Why the host's configuration can't be used.
    pub fn servers(&self) -> Result<Vec<SocketAddr>, String> {
        Ok(self.load()?.servers)
    }

    fn load(&self) -> Result<Loaded, String> {
        let changed = match self.0.servers {
            Some(_) => None,
            None => std::fs::metadata(CONFIGURATION).and_then(|metadata| metadata.modified()).ok(),
        };
        let mut slot = self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = slot.as_ref().filter(|loaded| loaded.changed == changed) {
            return Ok(loaded.clone());
        }
        let (config, options) = match &self.0.servers {
            Some(servers) => (fixed_servers(servers), ResolverOpts::default()),
            None => hickory_resolver::system_conf::read_system_conf()
                .map_err(|error| format!("{CONFIGURATION} can't be used: {error}"))?,
        };
        let servers = config
            .name_servers()
            .iter()
            .filter_map(|server| server.connections.first().map(|c| SocketAddr::new(server.ip, c.port)))
            .collect();
        let build = |strategy| {
            let provider = TokioRuntimeProvider::default();
            let mut builder = TokioResolver::builder_with_config(config.clone(), provider);
            let mut options = options.clone();
            options.timeout = options.timeout.min(PATIENCE);
            options.ip_strategy = strategy;
            options.cache_size = 0;
            options.use_hosts_file = ResolveHosts::Always;
            *builder.options_mut() = options;
            builder.build().map_err(|error| format!("the resolver can't be set up: {error}"))
        };
        let loaded = Loaded {
            changed,
            resolvers: [
                build(LookupIpStrategy::Ipv6AndIpv4)?,
                build(LookupIpStrategy::Ipv4Only)?,
                build(LookupIpStrategy::Ipv6Only)?,
            ],
            servers,
        };
        *slot = Some(loaded.clone());
        Ok(loaded)
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("servers", &self.0.servers).finish_non_exhaustive()
    }
}

fn fixed_servers(servers: &[SocketAddr]) -> ResolverConfig {
    let servers = servers.iter().map(|server| {
        let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
        for connection in &mut connections {
            connection.port = server.port();
        }
        NameServerConfig::new(server.ip(), true, connections)
    });
    ResolverConfig::from_name_servers(servers.collect())
}

/// Addresses that need no question: literals, and `localhost` with all below it (RFC 6761).
fn fixed(host: &str) -> Option<Vec<IpAddr>> {
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = literal.parse() {
        return Some(vec![address]);
    }
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    (name == "localhost" || name.ends_with(".localhost"))
        .then(|| vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)])
}

fn none_of(host: &str, ip: Option<IpVersion>) -> Unresolved {
    Unresolved::NoAddress(match ip {
        None => format!("{host} has no address"),
        Some(IpVersion::V4) => format!("{host} has no IPv4 address"),
        Some(IpVersion::V6) => format!("{host} has no IPv6 address"),
    })
}

fn unresolved(host: &str, ip: Option<IpVersion>, error: &NetError) -> Unresolved {
    let code = match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => none.response_code,
        NetError::Dns(DnsError::ResponseCode(code)) => *code,
        NetError::Timeout => return Unresolved::Ours(format!("the resolver did not answer for {host}")),
        NetError::Proto(_) => {
            return Unresolved::Ours(format!("the resolver's answer for {host} can't be read: {error}"));
        }
        _ => return Unresolved::Ours(format!("the resolver can't be asked for {host}: {error}")),
    };
    match code {
        ResponseCode::NoError => none_of(host, ip),
        ResponseCode::NXDomain => Unresolved::NoAddress(format!("{host} does not exist (NXDOMAIN)")),
        ResponseCode::ServFail => Unresolved::NoAddress(format!("{host} does not resolve (SERVFAIL)")),
        // REFUSED, FORMERR, NOTIMP: the resolver doesn't do its work for us; it says nothing of the name.
        other => Unresolved::Ours(format!("the resolver answered {} for {host}", query::code_name(other))),
    }
}

#[cfg(test)]
mod tests;
