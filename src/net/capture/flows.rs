//! Connections as they pass by: what is counted of them, and nothing else is kept.
//!
//! A segment that begins below what its side has sent already was sent again, unless it fills a hole that is younger
//! than 3 ms, which is how Wireshark tells a late segment from a repeated one ("TCP Analysis" in its user's guide).
//! A handshake is decided when it is complete or refused, when the client begins anew, or after one second, the time
//! after which a SYN is repeated (RFC 6298 §2).

use std::collections::{BTreeMap, HashMap};

use super::Counts;
use super::packet::{Ends, Segment};

/// The most connections that are told apart at a time; beyond that the one that was silent for longest is forgotten.
const FLOWS: usize = 32_768;
/// The most handshakes, and again requests, of which the duration is kept.
const DURATIONS: usize = 65_536;
const PATIENCE: u64 = 1_000_000_000;
const LATE: u64 = 3_000_000;

/// Where a handshake stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handshake {
    /// Complete, decided otherwise, or from before we looked.
    Over,
    /// The first SYN was seen at this time.
    Asked { at: u64 },
    /// It was answered.
    Answered { at: u64 },
}

/// What one side has sent.
#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    /// The sequence number of what comes next.
    next: Option<u32>,
    /// Where the newest hole begins and ends, and since when it is there.
    hole: Option<(u32, u32, u64)>,
}

/// How a segment stands to those before it.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    New,
    Late,
    Again,
    /// Nothing but a sign of life (RFC 9293 §3.8.4).
    KeepAlive,
}

#[derive(Debug)]
struct Flow {
    handshake: Handshake,
    /// The SYN that began it, to tell a repeated one from a new connection's.
    syn: Option<u32>,
    client: Sent,
    server: Sent,
    /// When the oldest HTTP request was sent that has no answer yet.
    request: Option<u64>,
    closed: bool,
    /// When it was last heard of, in segments.
    heard: u64,
}

/// All connections of a port.
#[derive(Debug, Default)]
pub(super) struct Flows {
    counts: Counts,
    flows: HashMap<Ends, Flow>,
    /// The same by when they were last heard of.
    order: BTreeMap<u64, Ends>,
    clock: u64,
    durations: Durations,
}

/// How long things took, in microseconds.
#[derive(Debug, Default)]
struct Durations {
    handshakes: Vec<u64>,
    answers: Vec<u64>,
}

impl Flows {
    /// Takes in a segment that was seen at this time, in nanoseconds.
    pub fn add(&mut self, segment: &Segment<'_>, at: u64) {
        self.counts.packets += 1;
        self.clock += 1;
        let mut flow = match self.flows.remove(&segment.ends) {
            Some(flow) => {
                self.order.remove(&flow.heard);
                flow
            }
            None => {
                self.make_room();
                Flow::new()
            }
        };
        self.counts.take(&mut flow, segment, at, &mut self.durations);
        flow.heard = self.clock;
        self.order.insert(self.clock, segment.ends);
        self.flows.insert(segment.ends, flow);
    }

    /// A packet that can't be read.
    pub fn unreadable(&mut self) {
        self.counts.unreadable += 1;
    }

    fn make_room(&mut self) {
        while self.flows.len() >= FLOWS {
            let Some((_, oldest)) = self.order.pop_first() else { return };
            if self.flows.remove(&oldest).is_some_and(|flow| !flow.closed) {
                self.counts.forgotten += 1;
            }
        }
    }

    /// What there is to tell at this time.
    pub fn end(mut self, at: u64) -> Counts {
        for flow in self.flows.values() {
            match flow.handshake {
                Handshake::Asked { at: since } | Handshake::Answered { at: since }
                    if at.saturating_sub(since) < PATIENCE =>
                {
                    self.counts.undecided += 1;
                }
                handshake => self.counts.settle(handshake),
            }
        }
        let Durations { mut handshakes, mut answers } = self.durations;
        handshakes.sort_unstable();
        answers.sort_unstable();
        Counts {
            handshake_p50_micros: quantile(&handshakes, 50),
            handshake_p95_micros: quantile(&handshakes, 95),
            answer_p50_micros: quantile(&answers, 50),
            answer_p95_micros: quantile(&answers, 95),
            ..self.counts
        }
    }
}

/// The nearest rank: the smallest of these sorted values that no less than this share of them doesn't exceed.
fn quantile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Keeps how long it was from then to now, both in nanoseconds, while there is room.
fn keep(durations: &mut Vec<u64>, since: u64, now: u64) {
    if durations.len() < DURATIONS {
        durations.push(now.saturating_sub(since) / 1000);
    }
}

impl Flow {
    fn new() -> Self {
        Flow {
            handshake: Handshake::Over,
            syn: None,
            client: Sent::default(),
            server: Sent::default(),
            request: None,
            closed: false,
            heard: 0,
        }
    }
}

impl Counts {
    /// A handshake that isn't going to be completed any more.
    fn settle(&mut self, handshake: Handshake) {
        match handshake {
            Handshake::Over => {}
            Handshake::Asked { .. } => self.unanswered += 1,
            Handshake::Answered { .. } => self.abandoned += 1,
        }
    }

    fn take(&mut self, flow: &mut Flow, segment: &Segment<'_>, at: u64, durations: &mut Durations) {
        if segment.syn && !segment.ack && !segment.from_server && flow.syn != Some(segment.sequence) {
            self.settle(flow.handshake);
            *flow = Flow::new();
            flow.syn = Some(segment.sequence);
            flow.handshake = Handshake::Asked { at };
            self.connections += 1;
        }
        if segment.rst {
            self.reset(flow, segment.from_server);
            return;
        }
        match flow.handshake {
            Handshake::Asked { at: since } if segment.from_server && segment.syn && segment.ack => {
                flow.handshake = Handshake::Answered { at: since };
            }
            Handshake::Answered { at: since } if !segment.from_server && segment.ack && !segment.syn => {
                flow.handshake = Handshake::Over;
                self.established += 1;
                keep(&mut durations.handshakes, since, at);
            }
            _ => {}
        }
        flow.closed |= segment.fin;
        let length = segment.payload + u32::from(segment.syn) + u32::from(segment.fin);
        if length == 0 {
            return;
        }
        let sent = if segment.from_server { &mut flow.server } else { &mut flow.client };
        match sent.place(segment, length, at) {
            Place::KeepAlive => return,
            Place::New => self.http(flow, segment, at, durations),
            Place::Late => {
                self.late += 1;
                self.http(flow, segment, at, durations);
            }
            Place::Again => self.retransmits += 1,
        }
        self.segments += 1;
    }

    /// A connection that stood, or may have, counts as reset, once; one that was being set up, as refused or given up.
    fn reset(&mut self, flow: &mut Flow, from_server: bool) {
        match flow.handshake {
            Handshake::Asked { .. } if from_server => self.refused += 1,
            Handshake::Over if !flow.closed => self.resets += 1,
            handshake => self.settle(handshake),
        }
        flow.handshake = Handshake::Over;
        flow.closed = true;
    }

    /// Requests and answers of plain HTTP/1 (RFC 9112), told by how a segment begins.
    fn http(&mut self, flow: &mut Flow, segment: &Segment<'_>, at: u64, durations: &mut Durations) {
        const METHODS: [&[u8]; 9] = [
            b"GET /",
            b"POST /",
            b"HEAD /",
            b"PUT /",
            b"DELETE /",
            b"PATCH /",
            b"OPTIONS /",
            b"OPTIONS *",
            b"GET http",
        ];
        if !segment.from_server {
            if METHODS.iter().any(|method| segment.shown.starts_with(method)) {
                self.requests += 1;
                flow.request.get_or_insert(at);
            }
        } else if let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', _, b' ', class, b'0'..=b'9', b'0'..=b'9'] =
            segment.shown
        {
            let of_class = match class {
                b'2' => &mut self.status_2xx,
                b'3' => &mut self.status_3xx,
                b'4' => &mut self.status_4xx,
                b'5' => &mut self.status_5xx,
                // An interim answer; the one that counts follows.
                _ => return,
            };
            *of_class += 1;
            // Of requests that are sent ahead of the answers only the first is timed.
            if let Some(since) = flow.request.take() {
                keep(&mut durations.answers, since, at);
            }
        }
    }
}

impl Sent {
    fn place(&mut self, segment: &Segment<'_>, length: u32, at: u64) -> Place {
        let (begin, end) = (segment.sequence, segment.sequence.wrapping_add(length));
        let Some(next) = self.next else {
            self.next = Some(end);
            return Place::New;
        };
        // Sequence numbers are compared modulo 2^32 (RFC 9293 §3.4).
        let before = |a: u32, b: u32| (a.wrapping_sub(b) as i32) < 0;
        if !before(begin, next) {
            if begin != next {
                self.hole = Some((next, begin, at));
            }
            self.next = Some(end);
            return Place::New;
        }
        if length == 1 && segment.payload == 1 && begin.wrapping_add(1) == next {
            return Place::KeepAlive;
        }
        if before(next, end) {
            self.next = Some(end);
        }
        match self.hole {
            Some((from, to, since)) if !before(begin, from) && !before(to, end) && at.saturating_sub(since) <= LATE => {
                // What is left of it, where it is filled in order.
                self.hole = (begin == from && end != to).then_some((end, to, since));
                Place::Late
            }
            _ => Place::Again,
        }
    }
}

#[cfg(test)]
mod tests;
