//! The kernel's counters: `net/dev`, `net/snmp` and `net/netstat` of proc(5).
//!
//! What the TCP counters mean: RFC 4022, and <https://docs.kernel.org/networking/snmp_counter.html>.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::time::Instant;

use crate::model::encode::terminal;
use crate::model::observation::{Unknown, UnknownKind};

/// The most that is read of one file, in bytes.
const FILE_LIMIT: u64 = 1024 * 1024;

/// The counters of one moment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Counters {
    pub(super) at: Instant,
    pub(super) interfaces: BTreeMap<String, Interface>,
    /// By `Tcp` or `TcpExt` and a name, as the kernel has them: `Tcp.RetransSegs`.
    pub(super) tcp: BTreeMap<String, u64>,
}

/// An interface's counters, both ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) receive_bytes: u64,
    pub(super) receive_packets: u64,
    pub(super) transmit_bytes: u64,
    pub(super) transmit_packets: u64,
    pub(super) errors: u64,
    pub(super) drops: u64,
}

impl Counters {
    /// Reads those of these interfaces, or of all but the loopback.
    ///
    /// # Errors
    /// A file can't be read, or an interface isn't there.
    pub(super) fn read(directory: &Path, names: &[String]) -> Result<Counters, Unknown> {
        let mut all = devices(&text(directory, "dev")?);
        let interfaces = if names.is_empty() {
            all.remove("lo");
            all
        } else {
            let chosen = names.iter().map(|name| match all.get(name) {
                Some(interface) => Ok((name.clone(), *interface)),
                None => {
                    let why = format!("this host has no interface {}", terminal(name));
                    Err(Unknown::new(UnknownKind::Incomplete, why))
                }
            });
            chosen.collect::<Result<_, _>>()?
        };
        let mut tcp = pairs(&text(directory, "snmp")?);
        // Some kernels for small devices have none of these.
        tcp.extend(text(directory, "netstat").map(|text| pairs(&text)).unwrap_or_default());
        Ok(Counters { at: Instant::now(), interfaces, tcp })
    }
}

fn text(directory: &Path, name: &str) -> Result<String, Unknown> {
    let path = directory.join(name);
    let mut bytes = Vec::new();
    let read = std::fs::File::open(&path).and_then(|file| file.take(FILE_LIMIT).read_to_end(&mut bytes));
    read.map_err(|error| {
        let why = format!("{} can't be read: {error}", path.display());
        Unknown::new(UnknownKind::Refused, terminal(&why))
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `eth0: bytes packets errs drop fifo frame compressed multicast`, and eight more for what goes out.
fn devices(text: &str) -> BTreeMap<String, Interface> {
    text.lines()
        .filter_map(|line| line.rsplit_once(':'))
        .filter_map(|(name, rest)| {
            let fields: Vec<u64> = rest.split_whitespace().map_while(|field| field.parse().ok()).collect();
            let [bytes, packets, errors, drops, _, _, _, _, out_bytes, out_packets, out_errors, out_drops, ..] =
                fields[..]
            else {
                return None;
            };
            let interface = Interface {
                receive_bytes: bytes,
                receive_packets: packets,
                transmit_bytes: out_bytes,
                transmit_packets: out_packets,
                errors: errors.saturating_add(out_errors),
                drops: drops.saturating_add(out_drops),
            };
            Some((name.trim().to_owned(), interface))
        })
        .collect()
}

/// A line of names and a line of their values, both with the group's name first.
fn pairs(text: &str) -> BTreeMap<String, u64> {
    let mut out = BTreeMap::new();
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.chunks_exact(2) {
        let [names, values] = pair else { continue };
        let (Some((group, names)), Some((same, values))) = (names.split_once(':'), values.split_once(':')) else {
            continue;
        };
        if group != same || !matches!(group, "Tcp" | "TcpExt") {
            continue;
        }
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            // One of them, MaxConn, may be -1.
            if let Ok(value) = value.parse() {
                out.insert(format!("{group}.{name}"), value);
            }
        }
    }
    out
}
