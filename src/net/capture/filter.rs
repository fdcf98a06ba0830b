//! The kernel's own filter for one TCP port: what it doesn't let through never reaches a process.
//!
//! Classic BPF (bpf(4), the kernel's networking/filter.rst) over packets without their link header. Of what is let
//! through, the kernel copies the headers and [`SHOWN`] bytes behind them, and no more.

use socket2::SockFilter;

/// Bytes behind the TCP header that may be looked at: `HTTP/1.1 200` is twelve long.
pub(super) const SHOWN: u32 = 12;

/// The longest that is let through: an IP header and a TCP header of sixty bytes each, and what is shown.
pub(super) const LONGEST: usize = 60 + 60 + SHOWN as usize;

// Opcodes, from <linux/bpf_common.h>.
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF_AT_X: u16 = 0x48;
const LOAD_BYTE_AT_X: u16 = 0x50;
/// X becomes four times the low half of the byte: the length of an IPv4 header.
const LOAD_X_HEADER: u16 = 0xb1;
const AND: u16 = 0x54;
const SHIFT_RIGHT: u16 = 0x74;
const ADD: u16 = 0x04;
const ADD_X: u16 = 0x0c;
const EQUAL: u16 = 0x15;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;
const RETURN_A: u16 = 0x16;

/// What isn't in the packet (`SKF_AD_OFF`, `SKF_AD_PKTTYPE`, `SKF_AD_HATYPE` of <linux/filter.h>).
const PACKET_TYPE: u32 = 0xffff_f000 + 4;
const HARDWARE_TYPE: u32 = 0xffff_f000 + 28;
/// `ARPHRD_LOOPBACK` of <linux/if_arp.h>.
const LOOPBACK: u32 = 772;
/// `PACKET_OUTGOING` of <linux/if_packet.h>.
const OUTGOING: u32 = 4;

const TCP: u32 = 6;

/// For a socket that is bound to an interface. The loopback shows each packet twice, going out and coming in: of these
/// only the second is let through.
pub(super) fn of_interface(port: u16) -> Vec<SockFilter> {
    let step = SockFilter::new;
    let mut filter = vec![
        step(LOAD_WORD, 0, 0, HARDWARE_TYPE),
        step(EQUAL, 0, 3, LOOPBACK),
        step(LOAD_WORD, 0, 0, PACKET_TYPE),
        step(EQUAL, 0, 1, OUTGOING),
        step(RETURN, 0, 0, 0),
    ];
    filter.extend(of_packets(port));
    filter
}

/// The headers of TCP segments from or to this port over IPv4 or IPv6; no fragments but whole packets, no IPv6 extension
/// headers.
fn of_packets(port: u16) -> Vec<SockFilter> {
    let (step, port) = (SockFilter::new, u32::from(port));
    vec![
        step(LOAD_BYTE, 0, 0, 0),
        step(AND, 0, 0, 0xf0),
        step(EQUAL, 0, 15, 0x40), // else IPv6
        // IPv4: the first fragment with all of the TCP header says all that we ask; the others say nothing
        step(LOAD_HALF, 0, 0, 6),
        step(ANY_BIT, 25, 0, 0x1fff),
        step(LOAD_BYTE, 0, 0, 9),
        step(EQUAL, 0, 23, TCP),
        step(LOAD_X_HEADER, 0, 0, 0),
        step(LOAD_HALF_AT_X, 0, 0, 0),
        step(EQUAL, 2, 0, port),
        step(LOAD_HALF_AT_X, 0, 0, 2),
        step(EQUAL, 0, 18, port),
        step(LOAD_BYTE_AT_X, 0, 0, 12),
        step(AND, 0, 0, 0xf0),
        step(SHIFT_RIGHT, 0, 0, 2),
        step(ADD_X, 0, 0, 0),
        step(ADD, 0, 0, SHOWN),
        step(RETURN_A, 0, 0, 0),
        // IPv6
        step(EQUAL, 0, 11, 0x60),
        step(LOAD_BYTE, 0, 0, 6),
        step(EQUAL, 0, 9, TCP),
        step(LOAD_HALF, 0, 0, 40),
        step(EQUAL, 2, 0, port),
        step(LOAD_HALF, 0, 0, 42),
        step(EQUAL, 0, 5, port),
        step(LOAD_BYTE, 0, 0, 52),
        step(AND, 0, 0, 0xf0),
        step(SHIFT_RIGHT, 0, 0, 2),
        step(ADD, 0, 0, 40 + SHOWN),
        step(RETURN_A, 0, 0, 0),
        step(RETURN, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::packet::tests::{Build, v4, v6};
    use super::*;
    use std::io::ErrorKind;
    use std::os::unix::net::UnixDatagram;

    /// What the kernel lets through of this packet: any socket takes such a filter.
    fn filtered(port: u16, packet: &[u8]) -> Option<Vec<u8>> {
        let (sender, receiver) = UnixDatagram::pair().unwrap();
        socket2::SockRef::from(&receiver).attach_filter(&of_packets(port)).unwrap();
        receiver.set_nonblocking(true).unwrap();
        // A packet that is turned away is an error for its sender, here.
        let _ = sender.send(packet);
        let mut buffer = [0; 2048];
        match receiver.recv(&mut buffer) {
            Ok(length) => Some(buffer[..length].to_vec()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                None
            }
        }
    }

    #[test]
    fn the_kernel_lets_through_headers_of_one_port_and_twelve_bytes() {
        let body = [b'x'; 900];
        for (what, packet, headers) in [
            ("to the port", v4(&Build { from: 5000, to: 443, body: &body, ..Build::default() }), Some(40)),
            ("from the port", v4(&Build { from: 443, to: 5000, body: &body, ..Build::default() }), Some(40)),
            ("IP options", v4(&Build { to: 443, ip_options: 8, body: &body, ..Build::default() }), Some(48)),
            ("TCP options", v4(&Build { to: 443, tcp_options: 12, body: &body, ..Build::default() }), Some(52)),
            ("IPv6", v6(&Build { to: 443, tcp_options: 12, body: &body, ..Build::default() }), Some(72)),
            ("IPv6 from", v6(&Build { from: 443, to: 9, body: &body, ..Build::default() }), Some(60)),
            ("another port", v4(&Build { from: 5000, to: 444, body: &body, ..Build::default() }), None),
            ("another port over IPv6", v6(&Build { from: 5000, to: 444, body: &body, ..Build::default() }), None),
            ("UDP", v4(&Build { to: 443, protocol: 17, body: &body, ..Build::default() }), None),
            ("UDP over IPv6", v6(&Build { to: 443, protocol: 17, body: &body, ..Build::default() }), None),
            ("a later fragment", v4(&Build { to: 443, fragment: 100, body: &body, ..Build::default() }), None),
            ("ARP", [0, 1, 8, 0, 6, 4, 0, 1].repeat(4), None),
            ("nothing", Vec::new(), None),
            ("a stump", vec![0x45, 0, 0], None),
        ] {
            let through = filtered(443, &packet).map(|through| through.len());
            assert_eq!(through, headers.map(|headers| headers + SHOWN as usize), "{what}");
        }
        // What has no body is let through whole.
        let bare = v4(&Build { to: 443, ..Build::default() });
        assert_eq!(filtered(443, &bare), Some(bare));
    }

    #[test]
    fn the_kernel_takes_the_filter_of_an_interface_as_well() {
        let (_sender, receiver) = UnixDatagram::pair().unwrap();
        socket2::SockRef::from(&receiver).attach_filter(&of_interface(443)).unwrap();
    }

    proptest::proptest! {
        #[test]
        fn nothing_longer_than_the_buffer_is_let_through(packet in proptest::collection::vec(proptest::num::u8::ANY, 0..400), first in proptest::sample::select(vec![0x45_u8, 0x4f, 0x60, 0x00])) {
            let mut packet = packet;
            if let Some(byte) = packet.first_mut() {
                *byte = first;
            }
            let port = packet.get(20..22).map_or(443, |port| u16::from_be_bytes([port[0], port[1]]));
            if let Some(through) = filtered(port, &packet) {
                proptest::prop_assert!(through.len() <= LONGEST && packet.starts_with(&through));
            }
        }
    }
}
