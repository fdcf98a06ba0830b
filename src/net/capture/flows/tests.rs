//! Conversations with known ends, and laws over any.

use proptest::prelude::*;

use super::super::packet::segment;
use super::super::packet::tests::{Build, v4, v6};
use super::*;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const SYN_ACK: u8 = 0x12;
const FIN: u8 = 0x11;
const RST: u8 = 0x04;
const MS: u64 = 1_000_000;

/// Packets as (from the server, flags, sequence number, payload, millisecond), of one connection to port 80.
fn counts(packets: &[(bool, u8, u32, &[u8], u64)], end: u64) -> Counts {
    let mut flows = Flows::default();
    for (from_server, flags, sequence, body, at) in packets {
        let build = Build { flags: *flags, sequence: *sequence, body, ..Build::default() };
        let mut packet = v4(&build);
        if *from_server {
            let (addresses, ports) = (packet[12..20].to_vec(), packet[20..24].to_vec());
            packet[12..20].copy_from_slice(&[&addresses[4..], &addresses[..4]].concat());
            packet[20..24].copy_from_slice(&[&ports[2..], &ports[..2]].concat());
        }
        flows.add(&segment(&packet, 80).unwrap(), at * MS);
    }
    flows.end(end * MS)
}

#[test]
fn handshakes_end_in_one_of_five_ways() {
    let n = b"";
    for (what, packets, end, expected) in [
        (
            "complete",
            vec![(false, SYN, 1, &n[..], 0), (true, SYN_ACK, 9, n, 4), (false, ACK, 2, n, 5)],
            5,
            [1, 0, 0, 0, 0],
        ),
        ("refused", vec![(false, SYN, 1, n, 0), (true, RST | ACK, 0, n, 1)], 1, [0, 1, 0, 0, 0]),
        ("unanswered", vec![(false, SYN, 1, n, 0)], 1000, [0, 0, 1, 0, 0]),
        ("tried again from the same port", vec![(false, SYN, 1, n, 0), (false, SYN, 5, n, 9)], 10, [0, 0, 1, 0, 1]),
        ("abandoned", vec![(false, SYN, 1, n, 0), (true, SYN_ACK, 9, n, 4)], 1001, [0, 0, 0, 1, 0]),
        ("scanned", vec![(false, SYN, 1, n, 0), (true, SYN_ACK, 9, n, 4), (false, RST, 2, n, 5)], 9, [0, 0, 0, 1, 0]),
        ("under way", vec![(false, SYN, 1, n, 0)], 999, [0, 0, 0, 0, 1]),
        ("from before", vec![(true, SYN_ACK, 9, n, 4), (false, ACK, 2, n, 5)], 9, [0, 0, 0, 0, 0]),
    ] {
        let c = counts(&packets, end);
        let seen = [c.established, c.refused, c.unanswered, c.abandoned, c.undecided];
        assert_eq!(seen, expected, "{what}: {c:?}");
        assert_eq!(c.resets, 0, "{what}: what never stood isn't reset");
        assert_eq!(c.handshake_p50_micros, (what == "complete").then_some(5000), "{what}");
    }
}

#[test]
fn what_was_sent_again_is_told_from_what_was_late() {
    let data = |sequence, at| (false, ACK, sequence, &b"0123456789"[..], at);
    for (what, packets, again, late) in [
        ("in order", vec![data(0, 0), data(10, 1), data(20, 2)], 0, 0),
        ("twice", vec![data(0, 0), data(10, 1), data(10, 2)], 1, 0),
        ("lost before us, filled soon", vec![data(0, 0), data(20, 1), data(10, 2)], 0, 1),
        ("lost before us, filled late", vec![data(0, 0), data(20, 1), data(10, 200)], 1, 0),
        ("across the wrap", vec![data(u32::MAX - 4, 0), data(5, 1), data(5, 2)], 1, 0),
        ("partly new", vec![data(0, 0), data(5, 1), data(15, 2)], 1, 0),
        ("a sign of life", vec![data(0, 0), (false, ACK, 9, &b"x"[..], 1)], 0, 0),
        ("bare ACKs", vec![data(0, 0), (false, ACK, 10, b"", 1), (false, ACK, 10, b"", 2)], 0, 0),
        ("a FIN again", vec![data(0, 0), (false, FIN, 10, b"", 1), (false, FIN, 10, b"", 2)], 1, 0),
        ("a SYN again", vec![(false, SYN, 0, b"", 0), (false, SYN, 0, b"", 1000)], 1, 0),
    ] {
        let c = counts(&packets, 2000);
        assert_eq!((c.retransmits, c.late), (again, late), "{what}: {c:?}");
    }
}

#[test]
fn plain_http_is_counted_once_and_nothing_else_is_taken_for_it() {
    let ask = b"GET / HTTP/1.1\r\n\r\n";
    let c = counts(
        &[
            (false, ACK, 0, ask, 0),
            (false, ACK, 0, ask, 200),
            (true, ACK, 0, b"HTTP/1.1 100 Continue\r\n", 201),
            (true, ACK, 23, b"HTTP/1.1 503 No\r\n", 202),
            (true, ACK, 40, b"HTTP/1.1 5x3 No\r\n", 203),
            (false, ACK, 18, b"HTTP/1.1 200 OK\r\n", 204),
            (true, ACK, 57, ask, 205),
            (true, RST, 75, b"", 206),
            (true, RST, 75, b"", 207),
        ],
        300,
    );
    assert_eq!((c.requests, c.status_2xx, c.status_5xx, c.retransmits, c.resets), (1, 0, 1, 1, 1), "{c:?}");
    // From the request as it was sent first to the answer that isn't an interim one.
    assert_eq!((c.answer_p50_micros, c.answer_p95_micros), (Some(202_000), Some(202_000)), "{c:?}");
}

#[test]
fn durations_are_those_of_the_nearest_rank() {
    let sorted: Vec<u64> = (1..=20).collect();
    for (values, percent, expected) in
        [(&sorted[..], 50, Some(10)), (&sorted, 95, Some(19)), (&sorted[..1], 95, Some(1)), (&[], 50, None)]
    {
        assert_eq!(quantile(values, percent), expected, "{values:?} {percent}");
    }
}

#[test]
fn more_connections_than_the_table_holds_are_forgotten_and_said() {
    let mut flows = Flows::default();
    for number in 0..FLOWS as u32 + 10 {
        let mut packet = v6(&Build { flags: SYN, ..Build::default() });
        packet[8..12].copy_from_slice(&number.to_be_bytes());
        flows.add(&segment(&packet, 80).unwrap(), 0);
    }
    assert_eq!((flows.flows.len(), flows.order.len()), (FLOWS, FLOWS));
    let counts = flows.end(0);
    assert_eq!((counts.forgotten, counts.undecided), (10, FLOWS as u64));
}

fn packets() -> impl Strategy<Value = Vec<(u8, bool, u8, u32, usize, u64)>> {
    prop::collection::vec((0..4_u8, any::<bool>(), any::<u8>(), 0..60_u32, 0..30_usize, 0..3_000_u64), 0..80)
}

/// The same conversation with this filling for payloads and addresses, as the child's own line has it.
fn told(packets: &[(u8, bool, u8, u32, usize, u64)], fill: u8, network: u8) -> (Counts, String) {
    let mut flows = Flows::default();
    for (client, from_server, flags, sequence, length, at) in packets {
        let body = vec![fill; *length];
        let (from, to) = if *from_server { (80, 5000) } else { (5000, 80) };
        let mut packet = v4(&Build {
            client: *client,
            from,
            to,
            flags: *flags,
            sequence: *sequence,
            body: &body,
            ..Build::default()
        });
        packet[12] = network;
        packet[16] = network;
        flows.add(&segment(&packet, 80).unwrap(), at * MS);
    }
    let counts = flows.end(3_000 * MS);
    let line = serde_json::to_string(&super::super::Said::Counts(counts.clone().into())).unwrap();
    (counts, line)
}

proptest! {
    #[test]
    fn counts_are_bounded_by_the_packets(packets in packets()) {
        let (c, _) = told(&packets, b'x', 10);
        let decided = c.established + c.refused + c.unanswered + c.abandoned + c.undecided;
        prop_assert_eq!(c.packets, packets.len() as u64);
        prop_assert_eq!(c.connections, decided, "each connection that began has one end");
        prop_assert!(c.retransmits + c.late <= c.segments && c.segments <= c.packets && c.resets <= c.packets);
    }

    #[test]
    fn no_payload_and_no_address_changes_what_the_child_says(packets in packets(), fill: u8, network: u8) {
        prop_assert_eq!(told(&packets, fill, network).1, told(&packets, b'x', 10).1);
    }

    #[test]
    fn the_line_has_names_of_counts_and_numbers_and_nothing_else(packets in packets()) {
        let (_, line) = told(&packets, b'x', 10);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let numbers = value["counts"].as_object().unwrap();
        prop_assert!(numbers.values().all(|value| value.is_u64() || value.is_null()), "{line}");
    }
}
