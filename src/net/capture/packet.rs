//! One packet as the filter lets it through, without its link header: IPv4 (RFC 791) or IPv6 (RFC 8200) with TCP
//! (RFC 9293).
//!
//! The socket takes link headers and VLAN tags off by itself, so this reads the same bytes on every sort of interface.

use super::filter::SHOWN;

/// The two ends of a connection; the server's is the one with the port that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Ends {
    pub client: [u8; 16],
    pub client_port: u16,
    pub server: [u8; 16],
}

/// A TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment<'p> {
    pub ends: Ends,
    pub from_server: bool,
    pub sequence: u32,
    pub syn: bool,
    pub ack: bool,
    pub fin: bool,
    pub rst: bool,
    /// Bytes of payload on the wire.
    pub payload: u32,
    /// The first of them, as far as the kernel shows them.
    pub shown: &'p [u8],
}

/// Reads a packet from or to this port; anything else, or one that contradicts itself, is none.
pub(super) fn segment(packet: &[u8], port: u16) -> Option<Segment<'_>> {
    let (source, destination, headers, total) = match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet.first()? & 0x0f) * 4;
            let is_later_fragment = half(packet, 6)? & 0x1fff != 0;
            if header < 20 || is_later_fragment || *packet.get(9)? != 6 {
                return None;
            }
            (mapped(packet.get(12..16)?)?, mapped(packet.get(16..20)?)?, header, usize::from(half(packet, 2)?))
        }
        6 if *packet.get(6)? == 6 => {
            let total = 40 + usize::from(half(packet, 4)?);
            (packet.get(8..24)?.try_into().ok()?, packet.get(24..40)?.try_into().ok()?, 40, total)
        }
        _ => return None,
    };
    let tcp = packet.get(headers..)?;
    let (from, to) = (half(tcp, 0)?, half(tcp, 2)?);
    let header = usize::from(*tcp.get(12)? >> 4) * 4;
    let flags = *tcp.get(13)?;
    if header < 20 || tcp.len() < header {
        return None;
    }
    let payload = total.checked_sub(headers + header)?;
    let syn = flags & 0x02 != 0;
    let ack = flags & 0x10 != 0;
    // Where both ends have the port, the one order of them is as good as the other, as long as it is always the same.
    let from_server = match (from == port, to == port) {
        (true, true) => source < destination,
        (true, false) => true,
        (false, true) => false,
        (false, false) => return None,
    };
    let ends = match from_server {
        true => Ends { client: destination, client_port: to, server: source },
        false => Ends { client: source, client_port: from, server: destination },
    };
    let shown = tcp.get(header..).unwrap_or_default();
    Some(Segment {
        ends,
        from_server,
        sequence: u32::from_be_bytes(tcp.get(4..8)?.try_into().ok()?),
        syn,
        ack,
        fin: flags & 0x01 != 0,
        rst: flags & 0x04 != 0,
        payload: u32::try_from(payload).ok()?,
        // Short frames are padded: what lies beyond the packet is none of it.
        shown: shown.get(..payload.min(shown.len()).min(SHOWN as usize)).unwrap_or_default(),
    })
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// An IPv4 address as IPv6 has it (RFC 4291 §2.5.5.2).
fn mapped(address: &[u8]) -> Option<[u8; 16]> {
    let mut whole = [0; 16];
    whole.get_mut(10..12)?.fill(0xff);
    whole.get_mut(12..)?.copy_from_slice(address.get(..4)?);
    Some(whole)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What a packet is built from.
    #[derive(Debug, Clone)]
    pub struct Build<'b> {
        pub client: u8,
        pub from: u16,
        pub to: u16,
        pub sequence: u32,
        pub flags: u8,
        pub body: &'b [u8],
        pub ip_options: usize,
        pub tcp_options: usize,
        pub protocol: u8,
        pub fragment: u16,
    }

    impl Default for Build<'_> {
        fn default() -> Self {
            Build {
                client: 7,
                from: 5000,
                to: 80,
                sequence: 1,
                flags: 0x10,
                body: b"",
                ip_options: 0,
                tcp_options: 0,
                protocol: 6,
                fragment: 0,
            }
        }
    }

    fn tcp(build: &Build) -> Vec<u8> {
        let mut tcp = [build.from.to_be_bytes(), build.to.to_be_bytes()].concat();
        tcp.extend(build.sequence.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend([(((20 + build.tcp_options) / 4) << 4) as u8, build.flags, 255, 255, 0, 0, 0, 0]);
        tcp.resize(20 + build.tcp_options, 1);
        tcp.extend(build.body);
        tcp
    }

    pub fn v4(build: &Build) -> Vec<u8> {
        let tcp = tcp(build);
        let header = 20 + build.ip_options;
        let mut packet = vec![0x40 | (header / 4) as u8, 0];
        packet.extend(((header + tcp.len()) as u16).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(build.fragment.to_be_bytes());
        packet.extend([64, build.protocol, 0, 0, 10, 0, 0, build.client, 10, 0, 0, 200]);
        packet.resize(header, 1);
        packet.extend(tcp);
        packet
    }

    pub fn v6(build: &Build) -> Vec<u8> {
        let tcp = tcp(build);
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((tcp.len() as u16).to_be_bytes());
        packet.extend([build.protocol, 64]);
        packet.extend([&[0xfd; 15][..], &[build.client], &[0xfd; 15], &[200]].concat());
        packet.extend(tcp);
        packet
    }

    #[test]
    fn segments_are_read_from_either_side_and_either_version() {
        for make in [v4, v6] {
            let to = make(&Build { sequence: 77, flags: 0x12, body: b"GET / HTTP/1.1\r\n", ..Build::default() });
            let read = segment(&to, 80).unwrap();
            assert_eq!((read.from_server, read.sequence, read.syn, read.ack), (false, 77, true, true));
            assert_eq!((read.fin, read.rst, read.payload, read.shown), (false, false, 16, &b"GET / HTTP/1"[..]));
            assert_eq!(read.ends.client_port, 5000);
            // The answer's addresses are the other way around; here only the ports are, so that the ends differ.
            let from = make(&Build { from: 80, to: 5000, flags: 0x05, tcp_options: 40, ..Build::default() });
            let read = segment(&from, 80).unwrap();
            assert_eq!((read.from_server, read.fin, read.rst, read.payload), (true, true, true, 0));
            assert_eq!(segment(&to, 81), None);
        }
        let cut = v4(&Build { body: &[b'x'; 1000], ..Build::default() });
        assert_eq!(segment(&cut[..52], 80).unwrap().payload, 1000, "the length is that on the wire");
        let mut padded = v4(&Build::default());
        padded.extend([b'G'; 6]);
        assert_eq!(segment(&padded, 80).unwrap().shown, b"", "padding is no payload");
    }

    #[test]
    fn what_contradicts_itself_is_no_segment() {
        let whole = v4(&Build { body: b"x", ..Build::default() });
        for (at, value) in [(0, 0x44), (0, 0x55), (3, 20), (6, 0x1f), (9, 17), (32, 0x40), (32, 0xf0)] {
            let mut packet = whole.clone();
            packet[at] = value;
            assert_eq!(segment(&packet, 80), None, "{at}: {value:#x}");
        }
        for length in 0..40 {
            assert_eq!(segment(&whole[..length], 80), None, "{length}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(mut bytes: Vec<u8>, version: bool, port: u16) {
            if let Some(first) = bytes.first_mut() {
                *first = if version { 0x45 } else { 0x60 };
            }
            if let Some(read) = segment(&bytes, port) {
                proptest::prop_assert!(read.payload <= 65_535 && read.shown.len() <= SHOWN as usize);
            }
        }
    }
}
