//! A few seconds of one TCP port on one interface, looked at by a child process that hands back counts only.
//!
//! Packets hold what customers send, so they are kept from this process: the program runs itself again
//! ([`process::run_with`]) with the capability CAP_NET_RAW and none besides. That child opens one packet socket (packet(7)),
//! attaches a filter for the port before the socket is bound, gives up CAP_NET_RAW as well, counts, and prints one line
//! of JSON that has no place for text ([`Said`]). No payload but the first [`filter::SHOWN`] bytes of a segment is even
//! copied out of the kernel.

use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    self, ControlMessageOwned, LinkAddr, MsgFlags, SockaddrStorage, setsockopt,
    sockopt::{ReceiveTimestampns, RxqOvfl},
};
use nix::sys::time::TimeSpec;
use rustix::thread::{CapabilitySet, CapabilitySets};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use super::process::{self, Bounds, Ended, NotRun, Privileges, Program, Ran};

mod filter;
mod flows;
mod packet;

use flows::Flows;

/// The word by which the program knows that it is the child.
pub const COMMAND: &str = "capture-child";

/// How much the kernel may hold for us until it is read, in bytes; it gives less where `net.core.rmem_max` is less.
const QUEUE: usize = 16 * 1024 * 1024;
/// The most that is still read of the queue when the time is over, in packets.
const LAST: usize = 65_536;
/// How long a read waits until it looks at the clock again.
const WAIT: Duration = Duration::from_millis(50);
/// Every protocol (`ETH_P_ALL` of <linux/if_ether.h>): only this shows what goes out, too.
const ALL: u16 = 3;

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its name, as `ip link` has it.
    pub interface: String,
    pub port: u16,
    pub duration: Duration,
}

/// What was counted. There is nothing but numbers in it, so that nothing but numbers can leave the child.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// How long was looked.
    pub micros: u64,
    /// TCP packets of the port, either way.
    pub packets: u64,
    /// Packets that the kernel threw away because they came faster than they were read.
    pub lost: u64,
    /// Packets that contradict themselves.
    pub unreadable: u64,
    /// Open connections that were forgotten because there were too many.
    pub forgotten: u64,
    /// Connections that a client began.
    pub connections: u64,
    /// Of these, handshakes that were completed.
    pub established: u64,
    /// Handshakes that the server answered with a reset.
    pub refused: u64,
    /// Handshakes that nobody answered.
    pub unanswered: u64,
    /// Handshakes that the server answered and the client didn't complete.
    pub abandoned: u64,
    /// Handshakes that were under way when the time was over.
    pub undecided: u64,
    pub handshake_p50_micros: Option<u64>,
    pub handshake_p95_micros: Option<u64>,
    /// Open connections that a reset ended, from either side.
    pub resets: u64,
    /// Segments with data, or that begin or end a connection.
    pub segments: u64,
    /// Of these, those sent again.
    pub retransmits: u64,
    /// Of these, those that were overtaken.
    pub late: u64,
    /// Requests of plain HTTP/1.
    pub requests: u64,
    pub status_2xx: u64,
    pub status_3xx: u64,
    pub status_4xx: u64,
    pub status_5xx: u64,
    /// From the first segment of a request to that of its answer.
    pub answer_p50_micros: Option<u64>,
    pub answer_p95_micros: Option<u64>,
}

/// All that the child can say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    Counts(Box<Counts>),
    /// It has no CAP_NET_RAW.
    NotPermitted,
    /// There is no such interface.
    NoInterface,
    /// There are no packet sockets here, or a sandbox forbids them.
    NoPacketSockets,
    /// The interface is down.
    Down,
    /// The system refused something, with this error number.
    Failed(i32),
}

/// Why the child said nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Silent {
    #[error(transparent)]
    NotRun(#[from] NotRun),
    #[error("the child that looks was not done in time")]
    TimedOut,
    #[error("the child that looks ended without an answer")]
    NoAnswer,
}

/// Starts the child and waits for what it says. The request's duration has to end well before the deadline.
///
/// # Errors
/// It could not be started, or didn't answer.
pub async fn take(request: &Request, deadline: tokio::time::Instant) -> Result<Said, Silent> {
    let program = Program {
        // The file that this process was started from, even where another has taken its name since.
        path: PathBuf::from("/proc/self/exe"),
        called: Some(PathBuf::from("houston")),
        args: vec![
            COMMAND.to_owned(),
            format!("--interface={}", request.interface),
            format!("--port={}", request.port),
            format!("--milliseconds={}", request.duration.as_millis()),
        ],
        env: Vec::new(),
    };
    let bounds = Bounds { output: 4 * 1024, cpu: request.duration + Duration::from_secs(5), ..Bounds::default() };
    match process::run_with(Privileges::RawSockets, &program, bounds, deadline).await? {
        Ran { ended: Ended::TimedOut, .. } => Err(Silent::TimedOut),
        Ran { ended: Ended::Exit(0), stdout, truncated: false, .. } => {
            serde_json::from_slice(&stdout).map_err(|_| Silent::NoAnswer)
        }
        _ => Err(Silent::NoAnswer),
    }
}

/// What the child does: looks, and returns its one line. It gives up every privilege on the way.
pub fn child(request: &Request) -> String {
    let said = open(request).and_then(|socket| look(&socket, request)).unwrap_or_else(|said| said);
    serde_json::to_string(&said).unwrap_or_default()
}

fn failed(error: Errno) -> Said {
    match error {
        Errno::EPERM | Errno::EACCES => Said::NotPermitted,
        Errno::EAFNOSUPPORT => Said::NoPacketSockets,
        Errno::ENETDOWN => Said::Down,
        Errno::ENODEV | Errno::ENXIO => Said::NoInterface,
        error => Said::Failed(error as i32),
    }
}

/// The same for errors of the standard library.
fn broken(error: &io::Error) -> Said {
    failed(Errno::from_raw(error.raw_os_error().unwrap_or_default()))
}

/// Gives up all capabilities but these, for good.
fn keep(capabilities: CapabilitySet) -> Result<(), Said> {
    let sets = CapabilitySets { effective: capabilities, permitted: capabilities, inheritable: CapabilitySet::empty() };
    rustix::thread::set_no_new_privs(true)
        .and_then(|()| rustix::thread::clear_ambient_capability_set())
        .and_then(|()| rustix::thread::set_capabilities(None, sets))
        .map_err(|error| broken(&error.into()))
}

/// The socket, filtered and bound; without any capability left.
fn open(request: &Request) -> Result<Socket, Said> {
    keep(CapabilitySet::NET_RAW)?;
    let packets = |protocol: u16| {
        let protocol = Protocol::from(i32::from(protocol.to_be()));
        // Without link headers.
        Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol)).map_err(|error| broken(&error))
    };
    // A socket of no protocol gets no packets until it is bound to an address that names one.
    let socket = packets(0)?;
    socket.attach_filter(&filter::of_interface(request.port)).map_err(|error| broken(&error))?;
    setsockopt(&socket, ReceiveTimestampns, &true).map_err(failed)?;
    setsockopt(&socket, RxqOvfl, &1).map_err(failed)?;
    socket.set_recv_buffer_size(QUEUE).map_err(|error| broken(&error))?;
    socket.set_read_timeout(Some(WAIT)).map_err(|error| broken(&error))?;
    // The kernel writes that address for us: it is that of another socket, from which nothing is ever read.
    let address = {
        let other = packets(ALL)?;
        socket::bind(other.as_raw_fd(), &address_of(&request.interface)?).map_err(failed)?;
        socket::getsockname::<SockaddrStorage>(other.as_raw_fd()).map_err(failed)?
    };
    socket::bind(socket.as_raw_fd(), &address).map_err(failed)?;
    keep(CapabilitySet::empty())?;
    Ok(socket)
}

/// The interface's link address.
fn address_of(interface: &str) -> Result<LinkAddr, Said> {
    let mut named = getifaddrs().map_err(failed)?.filter(|entry| entry.interface_name == interface);
    named.find_map(|entry| entry.address?.as_link_addr().copied()).ok_or(Said::NoInterface)
}

fn look(socket: &Socket, request: &Request) -> Result<Said, Said> {
    let started = Instant::now();
    let mut flows = Flows::default();
    let (mut lost, mut newest) = (0, None);
    let mut left = LAST;
    let mut control = nix::cmsg_space!(TimeSpec, u32);
    loop {
        let over = started.elapsed() >= request.duration;
        let flags = if over { MsgFlags::MSG_DONTWAIT } else { MsgFlags::empty() };
        match receive(socket, request.port, flags, &mut control, &mut flows) {
            Ok(received) => {
                lost = received.lost.max(lost);
                newest = received.at.map(|at| (at, Instant::now())).or(newest);
            }
            Err(Errno::EAGAIN) if over => break,
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(failed(error)),
        }
        if over {
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
    // The kernel's clock goes on from its last word by ours.
    let end = newest.map_or(0, |(at, read): (u64, Instant)| at.saturating_add(read.elapsed().as_nanos() as u64));
    let counts = Counts { lost, micros: started.elapsed().as_micros() as u64, ..flows.end(end) };
    Ok(Said::Counts(Box::new(counts)))
}

/// What came with a packet.
struct Received {
    /// When, in nanoseconds.
    at: Option<u64>,
    /// How many were lost before it, since the beginning; what is lost after the last one, nobody tells.
    lost: u64,
}

/// Takes in one packet; `control` has room for what the kernel says of it.
fn receive(
    socket: &Socket,
    port: u16,
    flags: MsgFlags,
    control: &mut [u8],
    flows: &mut Flows,
) -> Result<Received, Errno> {
    let mut buffer = [0; filter::LONGEST];
    let (length, received) = {
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let message = socket::recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(control), flags)?;
        let mut received = Received { at: None, lost: 0 };
        for with in message.cmsgs()? {
            match with {
                ControlMessageOwned::ScmTimestampns(at) => {
                    received.at = u64::try_from(at.tv_sec() * 1_000_000_000 + at.tv_nsec()).ok();
                }
                ControlMessageOwned::RxqOvfl(lost) => received.lost = u64::from(lost),
                _ => {}
            }
        }
        (message.bytes, received)
    };
    match (buffer.get(..length).and_then(|packet| packet::segment(packet, port)), received.at) {
        (Some(segment), Some(at)) => flows.add(&segment, at),
        _ => flows.unreadable(),
    }
    Ok(received)
}
