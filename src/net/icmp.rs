//! Echo requests (RFC 792, RFC 4443): how many come back, and how long they take.
//!
//! Over a datagram socket, which Linux grants without privileges to the groups in `net.ipv4.ping_group_range` (icmp(7));
//! where it doesn't, over a raw socket, which needs the capability CAP_NET_RAW.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, ipproto};
use tokio::net::UdpSocket;
use tokio::time::Instant;
use url::Host;

use super::budget::Budget;
use super::dial::{Target, connect_error};
use super::guard::Reach;
use super::http::{Client, Failure, IpVersion, Reason};
use super::progress::{Progress, Stage};
use super::tls::borrowed;
use crate::model::observation::UnknownKind;

/// Bytes that are sent behind the header: the first sixteen tell our own replies from those to anybody else.
const PAYLOAD: usize = 56;
const TOKEN: usize = 16;
/// The header of an echo request or reply.
const HEADER: usize = 8;
/// A round trip of less than this is not worth waiting for.
const WAIT_AT_LEAST: Duration = Duration::from_millis(100);

/// What is asked, and how often.
#[derive(Debug, Clone)]
pub struct Ping {
    pub host: Host<String>,
    pub ip: Option<IpVersion>,
    /// How many requests.
    pub count: u16,
    /// From one to the next.
    pub interval: Duration,
    /// How long each is waited for.
    pub wait: Duration,
    pub deadline: Instant,
}

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub struct Pinged {
    pub address: IpAddr,
    pub resolve: Option<Duration>,
    /// The round-trip time of each request, in their order; `None` where no reply came in time.
    pub round_trips: Vec<Option<Duration>>,
}

/// A socket of either sort.
struct Socket {
    socket: UdpSocket,
    /// Raw sockets show everybody's packets, over IPv4 with the IP header.
    raw: bool,
    v6: bool,
}

impl Ping {
    /// Sends all requests and waits for the replies, within the deadline.
    ///
    /// # Errors
    /// A [`Failure`] where nothing could be sent. That nothing came back is none: it is what was seen.
    pub async fn send(&self, client: &Client) -> Result<Pinged, Failure> {
        let mut progress = Progress::new();
        match tokio::time::timeout_at(self.deadline, self.exchange(client, &mut progress)).await {
            Ok(result) => result,
            Err(_) => Err(progress.timed_out(self.deadline)),
        }
    }

    async fn exchange(&self, client: &Client, progress: &mut Progress) -> Result<Pinged, Failure> {
        let target = Target {
            host: borrowed(&self.host),
            port: 0,
            ip: self.ip,
            budget: Budget::Service,
            reach: Reach::Anywhere,
        };
        let (_turn, addresses) = client.dialer().judged(&target, progress).await?;
        // A host that answers over IPv4 alone mustn't be lost because it has an IPv6 address that we have no route to.
        let mut failure = None;
        for address in addresses {
            match self.echo(address.ip(), progress).await {
                Ok(round_trips) => {
                    let resolve = progress.timings.resolve;
                    return Ok(Pinged { address: address.ip(), resolve, round_trips });
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(|| progress.fail(Reason::Ours, "no address to ask")))
    }

    async fn echo(&self, address: IpAddr, progress: &mut Progress) -> Result<Vec<Option<Duration>>, Failure> {
        let socket = Socket::open(address.is_ipv6()).map_err(|error| forbidden(&error, progress))?;
        let sending = self.interval * u32::from(self.count.saturating_sub(1));
        let left = self.deadline.saturating_duration_since(Instant::now());
        let wait = self.wait.min(left.saturating_sub(sending).saturating_sub(WAIT_AT_LEAST));
        if wait < WAIT_AT_LEAST.min(self.wait) {
            let what = format!("the time that is left is too short for {} requests", self.count);
            return Err(progress.fail(Reason::Ours, what));
        }
        let mut token = [0; TOKEN];
        getrandom::fill(&mut token)
            .map_err(|error| progress.fail(Reason::Ours, format!("no random bytes: {error}")))?;
        progress.enter(Stage::FirstByte);
        socket.converse(address, &token, self, wait).await.map_err(|error| {
            let (reason, what) = connect_error(&error);
            progress.fail(reason, what)
        })
    }
}

impl Socket {
    fn open(v6: bool) -> io::Result<Socket> {
        let sort = |sort| -> io::Result<UdpSocket> {
            let (family, protocol): (_, Protocol) = match v6 {
                true => (AddressFamily::INET6, ipproto::ICMPV6),
                false => (AddressFamily::INET, ipproto::ICMP),
            };
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = rustix::net::socket_with(family, sort, flags, Some(protocol))?;
            UdpSocket::from_std(socket.into())
        };
        match sort(SocketType::DGRAM) {
            Ok(socket) => Ok(Socket { socket, raw: false, v6 }),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Ok(Socket { socket: sort(SocketType::RAW)?, raw: true, v6 })
            }
            Err(error) => Err(error),
        }
    }

    async fn converse(
        &self,
        address: IpAddr,
        token: &[u8; TOKEN],
        ping: &Ping,
        wait: Duration,
    ) -> io::Result<Vec<Option<Duration>>> {
        // Over a datagram socket the kernel puts the socket's own number in its place.
        let id = u16::from_be_bytes([token[0], token[1]]);
        let mut sent: Vec<Instant> = Vec::new();
        let mut round_trips: Vec<Option<Duration>> = vec![None; usize::from(ping.count)];
        let mut next = Instant::now();
        let mut buffer = [0; 2_048];
        loop {
            let now = Instant::now();
            if sent.len() < round_trips.len() && now >= next {
                let sequence = u16::try_from(sent.len()).unwrap_or(u16::MAX);
                sent.push(now);
                self.socket.send_to(&request(self.v6, id, sequence, token), SocketAddr::new(address, 0)).await?;
                next = if sent.len() < round_trips.len() { now + ping.interval } else { now + wait };
            } else if sent.len() == round_trips.len() && (now >= next || round_trips.iter().all(Option::is_some)) {
                return Ok(round_trips);
            }
            let Ok(came) = tokio::time::timeout_at(next, self.socket.recv_from(&mut buffer)).await else { continue };
            let arrived = Instant::now();
            let (length, from) = came?;
            let packet = buffer.get(..length).unwrap_or_default();
            let Some(reply) = reply(packet, self.raw && !self.v6, self.v6) else { continue };
            let ours = from.ip() == address && reply.token == token && (!self.raw || reply.id == id);
            let place = usize::from(reply.sequence);
            let (Some(at), Some(slot)) = (sent.get(place), round_trips.get_mut(place)) else { continue };
            let took = arrived.saturating_duration_since(*at);
            if ours && took <= wait {
                // A reply that comes twice counts once.
                slot.get_or_insert(took);
            }
        }
    }
}

/// An echo request.
fn request(v6: bool, id: u16, sequence: u16, token: &[u8; TOKEN]) -> Vec<u8> {
    let mut packet = vec![if v6 { 128 } else { 8 }, 0, 0, 0];
    packet.extend_from_slice(&id.to_be_bytes());
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(token);
    packet.resize(HEADER + PAYLOAD, 0);
    if !v6 {
        // Over IPv6 the kernel does it: the sum covers the addresses, too.
        let sum = checksum(&packet);
        packet.splice(2..4, sum.to_be_bytes());
    }
    packet
}

/// The Internet checksum (RFC 1071) of a packet whose checksum is still 0.
fn checksum(packet: &[u8]) -> u16 {
    let words = packet.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[derive(Debug, PartialEq)]
struct Reply<'p> {
    id: u16,
    sequence: u16,
    token: &'p [u8],
}

/// Reads an echo reply; anything else is none.
fn reply(packet: &[u8], with_ip_header: bool, v6: bool) -> Option<Reply<'_>> {
    let packet = match with_ip_header {
        true => packet.get(usize::from(packet.first()? & 0x0f) * 4..)?,
        false => packet,
    };
    let [kind, 0, _, _, id_high, id_low, sequence_high, sequence_low] = *packet.get(..HEADER)? else { return None };
    if kind != if v6 { 129 } else { 0 } {
        return None;
    }
    Some(Reply {
        id: u16::from_be_bytes([id_high, id_low]),
        sequence: u16::from_be_bytes([sequence_high, sequence_low]),
        token: packet.get(HEADER..HEADER + TOKEN)?,
    })
}

/// That this process gets no socket for it, and how to mend that.
fn forbidden(error: &io::Error, progress: &mut Progress) -> Failure {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return progress.fail(Reason::Ours, format!("no ICMP socket: {error}"));
    }
    let what = "this user may not send pings; allow it with `sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"` \
                (for good in /etc/sysctl.d), or give the program the capability CAP_NET_RAW";
    let mut failure = progress.fail(Reason::Ours, what);
    failure.unknown = UnknownKind::Refused;
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_as_the_rfc_has_them() {
        let token = [0x61; TOKEN];
        let packet = request(false, 0x1234, 7, &token);
        assert_eq!((packet.len(), &packet[..2], &packet[4..8]), (64, &[8, 0][..], &[0x12, 0x34, 0, 7][..]));
        // Summed with its checksum, a packet comes to nothing.
        assert_eq!(checksum(&packet), 0);
        // The example of RFC 1071 §3.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&[0xff]), !0xff00);

        let mut answer = packet.clone();
        answer[0] = 0;
        let read = Reply { id: 0x1234, sequence: 7, token: &token };
        assert_eq!(reply(&answer, false, false), Some(read));
        let mut with_header = vec![0x46; 24];
        with_header.extend_from_slice(&answer);
        assert_eq!(reply(&with_header, true, false).unwrap().sequence, 7);
        let mut six = request(true, 1, 2, &token);
        assert_eq!(reply(&six, false, true), None, "a request of ours is no reply");
        six[0] = 129;
        assert_eq!(reply(&six, false, true).unwrap().token, token);
        for (bytes, with_ip_header) in
            [(&b""[..], true), (&b""[..], false), (&[0x4f, 1][..], true), (&answer[..20], false)]
        {
            assert_eq!(reply(bytes, with_ip_header, false), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_packet_is_read_without_a_panic(bytes: Vec<u8>, with_ip_header: bool, v6: bool) {
            let _ = reply(&bytes, with_ip_header, v6);
        }
    }
}
