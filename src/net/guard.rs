//! What is never connected to, whoever asks: metadata services, link-local nets, our own listeners, a deny list.
//!
//! It is asked three times: about the host as it is spelt in a URL, about each address that a name resolves to right
//! before it is connected to, and again at every redirect. Loopback and private addresses are a second matter: a
//! check of ours may look inside, a stranger's redirect may not lead there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use url::{Host, Url};

/// Names under which clouds hand out a machine's credentials.
const METADATA_NAMES: &[&str] = &[
    "metadata.google.internal",
    "metadata.goog",
    "metadata.azure.internal",
    "instance-data",
    "instance-data.ec2.internal",
];

/// Metadata services outside of the link-local nets: Alibaba, Azure, Oracle.
const METADATA_V4: &[Ipv4Addr] =
    &[Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];

/// Metadata services over IPv6: Amazon, Google.
const METADATA_V6: &[Ipv6Addr] =
    &[Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

/// Why nothing was sent there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("{0} is a metadata service")]
    Metadata(String),
    #[error("{0} is a link-local address")]
    LinkLocal(IpAddr),
    #[error("{0} is not an address of a host")]
    NoHost(IpAddr),
    #[error("{0} is on the deny list")]
    Listed(String),
    #[error("{0} is a listener of this daemon")]
    Own(SocketAddr),
    #[error("{0} is inside, and what led there came from outside")]
    Inside(IpAddr),
    #[error("{0}: is not spoken here, only http: and https:")]
    Scheme(String),
    #[error("the URL names no host")]
    NameMissing,
}

/// Whether loopback and private addresses may be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The target stands in a check of ours, and nothing on the way was public.
    Anywhere,
    /// A public address led here: it must not lead inside.
    PublicOnly,
}

/// One entry of the deny list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// `10.1.0.0/16`, `10.1.2.3`, `2001:db8::/32`
    Net { address: IpAddr, prefix: u8 },
    /// `internal.example`, and with a leading `*.` every name below it.
    Name { name: String, below: bool },
}

impl Entry {
    /// Reads an address, a net in CIDR form, a host name, or `*.` and a host name.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        if let Ok(address) = address.parse::<IpAddr>() {
            let widest = if address.is_ipv4() { 32 } else { 128 };
            let prefix = match prefix {
                None => widest,
                Some(prefix) => match prefix.parse() {
                    Ok(prefix) if prefix <= widest => prefix,
                    _ => return Err(format!("`{text}` has no prefix length between 0 and {widest}")),
                },
            };
            return Ok(Entry::Net { address, prefix });
        }
        let (name, below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        match Host::parse(name) {
            Ok(Host::Domain(name)) => Ok(Entry::Name { name: plain(&name), below }),
            _ => Err(format!("`{text}` is neither an address, nor a net, nor a host name")),
        }
    }

    /// True for an address of this net.
    pub fn covers_address(&self, ip: IpAddr) -> bool {
        let Entry::Net { address, prefix } = self else { return false };
        match (address, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let shift = 32 - u32::from(*prefix);
                u32::from(*net).checked_shr(shift) == u32::from(ip).checked_shr(shift)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(*prefix);
                u128::from(*net).checked_shr(shift) == u128::from(ip).checked_shr(shift)
            }
            _ => false,
        }
    }

    fn covers_name(&self, host: &str) -> bool {
        let Entry::Name { name, below } = self else { return false };
        if *below { host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.')) } else { host == name }
    }
}

/// The rules in force; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Guard(Arc<Rules>);

#[derive(Debug, Default)]
struct Rules {
    denied: Vec<Entry>,
    own: Vec<SocketAddr>,
}

impl Guard {
    /// `own` are the addresses that this process listens on; a wildcard among them stands for this whole host.
    pub fn new(denied: Vec<Entry>, own: Vec<SocketAddr>) -> Self {
        Guard(Arc::new(Rules { denied, own }))
    }

    /// Judges a URL as it is written, before anything is resolved. The `url` crate has by then turned every odd
    /// spelling of an address (`0x7f000001`, `2130706433`, circled digits) into the address.
    ///
    /// # Errors
    /// Why it must not be asked.
    pub fn check_url(&self, url: &Url, reach: Reach) -> Result<(), Denied> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Denied::Scheme(url.scheme().to_owned()));
        }
        let host = url.host().ok_or(Denied::NameMissing)?;
        self.check_host(&host, url.port_or_known_default().unwrap_or(0), reach)
    }

    /// Judges a host as it is written.
    ///
    /// # Errors
    /// Why it must not be asked.
    pub fn check_host<S: AsRef<str>>(&self, host: &Host<S>, port: u16, reach: Reach) -> Result<(), Denied> {
        match host {
            Host::Ipv4(ip) => self.check_address(SocketAddr::new(IpAddr::V4(*ip), port), reach),
            Host::Ipv6(ip) => self.check_address(SocketAddr::new(IpAddr::V6(*ip), port), reach),
            Host::Domain(name) => {
                let name = plain(name.as_ref());
                if METADATA_NAMES.contains(&name.as_str()) {
                    return Err(Denied::Metadata(name));
                }
                if self.0.denied.iter().any(|entry| entry.covers_name(&name)) {
                    return Err(Denied::Listed(name));
                }
                Ok(())
            }
        }
    }

    /// Judges an address right before it is connected to.
    ///
    /// # Errors
    /// Why it must not be connected to.
    pub fn check_address(&self, address: SocketAddr, reach: Reach) -> Result<(), Denied> {
        let ip = address.ip().to_canonical();
        never(ip)?;
        if let Some(inner) = embedded(ip) {
            never(IpAddr::V4(inner))?;
        }
        if let Some(ip) = forms(ip).find(|ip| self.0.denied.iter().any(|entry| entry.covers_address(*ip))) {
            return Err(Denied::Listed(ip.to_string()));
        }
        if self.is_own(address) {
            return Err(Denied::Own(address));
        }
        if reach == Reach::PublicOnly && is_inside(ip) {
            return Err(Denied::Inside(ip));
        }
        Ok(())
    }

    /// Judges a connection that stands: one whose two ends have the same address reached this very host.
    ///
    /// # Errors
    /// Where a wildcard listener of our own took the connection.
    pub fn check_connected(&self, local: SocketAddr, peer: SocketAddr) -> Result<(), Denied> {
        let here = local.ip().to_canonical() == peer.ip().to_canonical();
        if here && self.0.own.iter().any(|own| own.ip().is_unspecified() && own.port() == peer.port()) {
            return Err(Denied::Own(peer));
        }
        Ok(())
    }

    fn is_own(&self, address: SocketAddr) -> bool {
        self.0.own.iter().filter(|own| own.port() == address.port()).any(|own| {
            forms(address.ip().to_canonical())
                .any(|ip| own.ip().to_canonical() == ip || (own.ip().is_unspecified() && ip.is_loopback()))
        })
    }
}

/// True for loopback, private and other addresses that the public network doesn't carry.
pub fn is_inside(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => inside_v4(ip),
        IpAddr::V6(ip) => {
            let first = ip.segments()[0];
            ip.is_loopback()
                || (first & 0xfe00) == 0xfc00 // unique local
                || (first & 0xffc0) == 0xfec0 // site local, deprecated
                || embedded(IpAddr::V6(ip)).is_some_and(inside_v4)
                || ip.segments()[..3] == [0x64, 0xff9b, 1] // NAT64 for local use
        }
    }
}

fn inside_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    ip.is_loopback()
        || ip.is_private()
        || (a == 100 && (b & 0xc0) == 64) // carrier-grade NAT
        || (a == 198 && (b & 0xfe) == 18) // benchmarks
        || (a, b, c) == (192, 0, 0)
}

/// What no check may reach, not even by a literal.
fn never(ip: IpAddr) -> Result<(), Denied> {
    match ip {
        IpAddr::V4(v4) if METADATA_V4.contains(&v4) => Err(Denied::Metadata(ip.to_string())),
        IpAddr::V4(v4) if v4 == Ipv4Addr::new(169, 254, 169, 254) => Err(Denied::Metadata(ip.to_string())),
        IpAddr::V4(v4) if v4.is_link_local() => Err(Denied::LinkLocal(ip)),
        // 224.0.0.0/4 multicast, 240.0.0.0/4 reserved with the broadcast address
        IpAddr::V4(v4) if v4.octets()[0] == 0 || v4.octets()[0] >= 224 => Err(Denied::NoHost(ip)),
        IpAddr::V6(v6) if METADATA_V6.contains(&v6) => Err(Denied::Metadata(ip.to_string())),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Err(Denied::LinkLocal(ip)),
        IpAddr::V6(v6) if v6.is_unspecified() || v6.is_multicast() => Err(Denied::NoHost(ip)),
        _ => Ok(()),
    }
}

/// The IPv4 address that an IPv6 address leads to by translation or tunnel.
fn embedded(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(ip) = ip else { return None };
    if ip.is_loopback() || ip.is_unspecified() {
        return None;
    }
    let s = ip.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match s {
        [0, 0, 0, 0, 0, 0, high, low] // v4-compatible
        | [0, 0, 0, 0, 0, 0xffff, high, low] // v4-mapped
        | [0, 0, 0, 0, 0xffff, 0, high, low] // v4-translated, RFC 2765
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] // NAT64, RFC 6052
        | [0x64, 0xff9b, 1, .., high, low] // NAT64 for local use, RFC 8215, as a /96
        => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)), // 6to4, RFC 3056
        [0x2001, 0, .., high, low] => Some(join(!high, !low)), // Teredo, RFC 4380
        _ => None,
    }
}

fn forms(ip: IpAddr) -> impl Iterator<Item = IpAddr> {
    std::iter::once(ip).chain(embedded(ip).map(IpAddr::V4))
}

fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url_result(text: &str) -> Option<Result<(), Denied>> {
        Url::parse(text).ok().map(|url| Guard::default().check_url(&url, Reach::Anywhere))
    }

    #[test]
    fn the_metadata_address_is_refused_in_every_spelling() {
        let hosts = [
            "169.254.169.254",
            "169.254.169.254.",
            "169.254.43518",
            "169.16689662",
            "2852039166",
            "0xa9fea9fe",
            "0xA9FEA9FE",
            "0xa9.0xfe.0xa9.0xfe",
            "0xa9.0xfea9fe",
            "0251.0376.0251.0376",
            "025177524776",
            "0251.254.0xa9.254",
            "169.254.169.0xfe",
            "169.0376.43518",
            "①⑥⑨.②⑤④.①⑥⑨.②⑤④",
            "169。254。169。254",
            "169．254．169．254",
            "１６９.254.169.254",
            "%31%36%39.254.169.254",
            "user:pw@169.254.169.254",
            "x@169.254.169.254:80",
            "[::ffff:169.254.169.254]",
            "[::ffff:a9fe:a9fe]",
            "[0:0:0:0:0:ffff:a9fe:a9fe]",
            "[0000:0000:0000:0000:0000:FFFF:A9FE:A9FE]",
            "[::169.254.169.254]",
            "[::a9fe:a9fe]",
            "[::ffff:0:a9fe:a9fe]",
            "[64:ff9b::169.254.169.254]",
            "[64:ff9b::a9fe:a9fe]",
            "[64:ff9b:1::a9fe:a9fe]",
            "[2002:a9fe:a9fe::]",
            "[2002:a9fe:a9fe::1]",
            "[2001:0:1:2:3:4:5601:5601]",
            "[fd00:ec2::254]",
            "[FD00:EC2:0:0:0:0:0:254]",
            "[fd20:ce::254]",
            "100.100.100.200",
            "0x646464c8",
            "168.63.129.16",
            "metadata.google.internal",
            "METADATA.Google.Internal.",
            "metadata.goog",
            "instance-data",
            "instance-data.ec2.internal",
        ];
        assert!(hosts.len() >= 40);
        for host in hosts {
            let result = url_result(&format!("http://{host}/latest/meta-data/"));
            assert!(matches!(result, None | Some(Err(_))), "{host}: {result:?}");
            // Only escaped and overlong spellings may fail to parse; everything else must be refused by the guard.
            assert!(result.is_some(), "{host} does not parse");
        }
    }

    #[test]
    fn nets_that_hold_no_service_are_refused() {
        for host in [
            "169.254.0.1",
            "169.254.255.255",
            "[fe80::1]",
            "[febf::1]",
            "0.0.0.0",
            "0",
            "0.1.2.3",
            "[::]",
            "[::ffff:0.0.0.0]",
            "224.0.0.1",
            "239.255.255.250",
            "255.255.255.255",
            "240.0.0.1",
            "[ff02::1]",
            "[64:ff9b::224.0.0.1]",
            "[2002:e000:1::]",
            "http:\\\\169.254.1.1",
        ] {
            let text = if host.starts_with("http") { host.to_owned() } else { format!("http://{host}/") };
            assert!(matches!(url_result(&text), Some(Err(_))), "{host}");
        }
        assert_eq!(url_result("http://[fe80::1%25lo]/"), None);
    }

    #[test]
    fn what_a_check_may_name_passes() {
        for host in
            ["127.0.0.1", "localhost", "10.1.2.3", "[::1]", "192.168.1.1", "example.com", "8.8.8.8", "[2606:4700::1]"]
        {
            assert_eq!(url_result(&format!("http://{host}/")), Some(Ok(())), "{host}");
        }
        for scheme in ["file:///etc/passwd", "ftp://example.com/", "gopher://example.com/"] {
            assert!(matches!(url_result(scheme), Some(Err(Denied::Scheme(_)))), "{scheme}");
        }
    }

    #[test]
    fn a_public_origin_does_not_lead_inside() {
        let guard = Guard::default();
        for (ip, inside) in [
            ("127.0.0.1", true),
            ("127.1.2.3", true),
            ("10.0.0.1", true),
            ("172.16.0.1", true),
            ("172.31.255.255", true),
            ("192.168.0.1", true),
            ("100.64.0.1", true),
            ("198.18.0.1", true),
            ("::1", true),
            ("fc00::1", true),
            ("fdff::1", true),
            ("::ffff:127.0.0.1", true),
            ("64:ff9b::10.0.0.1", true),
            ("64:ff9b:1::8.8.8.8", true),
            ("2002:7f00:1::", true),
            ("8.8.8.8", false),
            ("172.32.0.1", false),
            ("100.128.0.1", false),
            ("2606:4700::1", false),
            ("64:ff9b::8.8.8.8", false),
        ] {
            let address = SocketAddr::new(ip.parse().unwrap(), 80);
            assert_eq!(is_inside(address.ip()), inside, "{ip}");
            assert_eq!(guard.check_address(address, Reach::PublicOnly).is_err(), inside, "{ip}");
            assert_eq!(guard.check_address(address, Reach::Anywhere), Ok(()), "{ip}");
        }
    }

    #[test]
    fn the_deny_list_holds_nets_and_names() {
        let entries = ["10.9.0.0/16", "192.0.2.7", "2001:db8::/32", "db.example", "*.secret.example", "0.0.0.0/0"];
        let entry = |index: usize| Entry::parse(entries[index]).unwrap();
        let covers = |index: usize, ip: &str| entry(index).covers_address(ip.parse().unwrap());
        assert!(covers(0, "10.9.255.1") && !covers(0, "10.10.0.1"));
        assert!(covers(1, "192.0.2.7") && !covers(1, "192.0.2.8"));
        assert!(covers(2, "2001:db8::5") && !covers(2, "2001:db9::5"));
        assert!(covers(5, "1.2.3.4"));
        assert!(entry(3).covers_name("db.example") && !entry(3).covers_name("x.db.example"));
        assert!(entry(4).covers_name("a.b.secret.example") && !entry(4).covers_name("secret.example"));
        assert!(!entry(4).covers_name("notsecret.example"));
        for wrong in ["10.0.0.0/33", "", "a b", "::/129", "1.2.3.4/x"] {
            assert!(Entry::parse(wrong).is_err(), "{wrong}");
        }
        let guard = Guard::new(vec![entry(0), entry(3)], Vec::new());
        let refused = |text: &str| guard.check_url(&Url::parse(text).unwrap(), Reach::Anywhere).is_err();
        assert!(refused("http://10.9.1.1/") && refused("http://DB.example./") && refused("http://[::ffff:10.9.1.1]/"));
        assert!(!refused("http://10.8.1.1/"));
    }

    #[test]
    fn our_own_listeners_are_refused() {
        let guard = Guard::new(Vec::new(), vec!["127.0.0.1:7878".parse().unwrap(), "0.0.0.0:9000".parse().unwrap()]);
        let refused = |text: &str| guard.check_address(text.parse().unwrap(), Reach::Anywhere).is_err();
        assert!(refused("127.0.0.1:7878") && refused("[::ffff:127.0.0.1]:7878"));
        assert!(refused("127.0.0.1:9000") && refused("[::1]:9000"));
        assert!(!refused("127.0.0.1:7879") && !refused("192.0.2.1:9000"));
        let local = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(guard.check_connected(local("192.0.2.1:40000"), local("192.0.2.1:9000")).is_err());
        assert!(guard.check_connected(local("192.0.2.1:40000"), local("192.0.2.2:9000")).is_ok());
    }

    proptest! {
        #[test]
        fn no_form_of_a_denied_address_passes(low in 0u16..=u16::MAX, form in 0usize..6) {
            let v4 = Ipv4Addr::new(169, 254, (low >> 8) as u8, low as u8);
            let s = [0xa9fe, low];
            let ip = match form {
                0 => IpAddr::V4(v4),
                1 => IpAddr::V6(v4.to_ipv6_mapped()),
                2 => Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, s[0], s[1]).into(),
                3 => Ipv6Addr::new(0x2002, s[0], s[1], 1, 2, 3, 4, 5).into(),
                4 => Ipv6Addr::new(0x2001, 0, 1, 2, 3, 4, !s[0], !s[1]).into(),
                _ => Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, s[0], s[1]).into(),
            };
            prop_assert!(Guard::default().check_address(SocketAddr::new(ip, 80), Reach::Anywhere).is_err());
        }
    }
}
