//! One question to one named name server, over UDP or TCP, with the whole answer: code, records, flags.
//!
//! Format: RFC 1035 (messages, TCP length prefix), RFC 6891 (EDNS), RFC 6840 §5.7 (the AD bit in a query).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// How long to wait for a datagram before it is sent again: either may have been lost.
const RESEND: Duration = Duration::from_millis(1_000);
/// What we say that we can take in one datagram (the size that passes unfragmented nearly everywhere).
const DATAGRAM: u16 = 1_232;
/// The most records of one answer that are kept.
const RECORDS: usize = 1_000;

/// How a question travels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Transport {
    /// UDP, and TCP where the answer is too long for it.
    #[default]
    Udp,
    Tcp,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    name: Name,
    record_type: RecordType,
    pub transport: Transport,
    /// Whether the server is to ask others for us (the RD flag).
    pub recursion: bool,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// `NOERROR`, `NXDOMAIN`, `SERVFAIL` …
    pub rcode: String,
    /// Of the answer section, at most 1,000.
    pub records: Vec<Record>,
    /// Of the authority section, at most 1,000: the zone's SOA beside an empty answer, the name servers of a referral.
    pub authority: Vec<Record>,
    /// The server says that it has validated the answer (the AD flag); we validate nothing ourselves.
    pub authenticated: bool,
    /// The server answers for a zone of its own (the AA flag).
    pub authoritative: bool,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub name: String,
    /// `A`, `MX` …
    pub record_type: String,
    pub ttl: u32,
    /// As in a zone file.
    pub data: String,
}

/// Why there was no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// Nothing listens there, the connection broke, no route.
    #[error("{0}")]
    Unreachable(String),
    /// What came back is no answer to the question.
    #[error("{0}")]
    Unreadable(String),
}

impl Question {
    /// `name` is taken as it stands, without search domains; `record_type` is `A`, `AAAA`, `MX` …
    ///
    /// # Errors
    /// Which of the two can't be asked.
    pub fn new(name: &str, record_type: &str, transport: Transport) -> Result<Self, String> {
        let mut parsed = Name::from_utf8(name).map_err(|error| format!("`{name}` is no name: {error}"))?;
        parsed.set_fqdn(true);
        let record_type = record_type.to_ascii_uppercase();
        let known = record_type.parse::<RecordType>().ok().filter(|t| !matches!(t, RecordType::Unknown(_)));
        let record_type = known.ok_or_else(|| format!("`{record_type}` is no record type that can be asked for"))?;
        Ok(Question { name: parsed, record_type, transport, recursion: true })
    }

    /// Asks one server. Has no deadline of its own; dropping it ends it.
    ///
    /// # Errors
    /// Why there was no answer; an answer with an error code *is* an answer.
    pub async fn ask(&self, server: SocketAddr) -> Result<Answer, Unanswered> {
        let message = self.message()?;
        let bytes = message.to_vec().map_err(|error| Unanswered::Unreadable(error.to_string()))?;
        let answer = match self.transport {
            Transport::Udp => {
                let answer = self.over_udp(server, &message, &bytes).await?;
                if answer.metadata.truncation { self.over_tcp(server, &message, &bytes).await? } else { answer }
            }
            Transport::Tcp => self.over_tcp(server, &message, &bytes).await?,
        };
        Ok(read(&answer))
    }

    fn message(&self) -> Result<Message, Unanswered> {
        let mut id = [0_u8; 2];
        getrandom::fill(&mut id).map_err(|error| Unanswered::Unreachable(format!("no random numbers: {error}")))?;
        let mut message = Message::new(u16::from_be_bytes(id), MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = self.recursion;
        message.metadata.authentic_data = true;
        message.add_query(Query::query(self.name.clone(), self.record_type));
        let mut edns = Edns::new();
        edns.set_max_payload(DATAGRAM).set_version(0);
        message.set_edns(edns);
        Ok(message)
    }

    async fn over_udp(&self, server: SocketAddr, asked: &Message, bytes: &[u8]) -> Result<Message, Unanswered> {
        let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).await.map_err(unreachable)?;
        // Connected, so that only the server's own datagrams arrive, and its "nobody listens" as well.
        socket.connect(server).await.map_err(unreachable)?;
        let mut buffer = vec![0_u8; 65_535];
        loop {
            socket.send(bytes).await.map_err(unreachable)?;
            let again = tokio::time::Instant::now() + RESEND;
            while let Ok(received) = tokio::time::timeout_at(again, socket.recv(&mut buffer)).await {
                let length = received.map_err(unreachable)?;
                // A datagram with a foreign id is an old answer or a forgery: not ours, whatever else it is.
                if buffer.get(..2) != bytes.get(..2) {
                    continue;
                }
                return fits(asked, buffer.get(..length).unwrap_or_default());
            }
        }
    }

    async fn over_tcp(&self, server: SocketAddr, asked: &Message, bytes: &[u8]) -> Result<Message, Unanswered> {
        let mut stream = TcpStream::connect(server).await.map_err(unreachable)?;
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
        let framed = [&length[..], bytes].concat();
        stream.write_all(&framed).await.map_err(unreachable)?;
        let length = stream.read_u16().await.map_err(unreachable)?;
        let mut buffer = vec![0_u8; usize::from(length)];
        stream.read_exact(&mut buffer).await.map_err(unreachable)?;
        fits(asked, &buffer)
    }
}

fn fits(asked: &Message, bytes: &[u8]) -> Result<Message, Unanswered> {
    let answer = Message::from_vec(bytes)
        .map_err(|error| Unanswered::Unreadable(format!("the answer can't be read: {error}")))?;
    let same = answer.metadata.id == asked.metadata.id
        && answer.metadata.message_type == MessageType::Response
        // A server that can't read the question may leave it out.
        && (answer.queries == asked.queries || (answer.queries.is_empty() && answer.answers.is_empty()));
    if same { Ok(answer) } else { Err(Unanswered::Unreadable("the answer is to another question".to_owned())) }
}

fn read(message: &Message) -> Answer {
    let kept = |records: &[hickory_resolver::proto::rr::Record]| {
        let records = records.iter().take(RECORDS).map(|record| Record {
            name: record.name.to_string(),
            record_type: record.record_type().to_string(),
            ttl: record.ttl,
            data: record.data.to_string(),
        });
        records.collect()
    };
    Answer {
        rcode: code_name(message.metadata.response_code),
        records: kept(&message.answers),
        authority: kept(&message.authorities),
        authenticated: message.metadata.authentic_data,
        authoritative: message.metadata.authoritative,
    }
}

fn unreachable(error: std::io::Error) -> Unanswered {
    Unanswered::Unreachable(match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        std::io::ErrorKind::UnexpectedEof => "the connection was closed before the answer's end".to_owned(),
        _ => error.to_string(),
    })
}

/// A response code by its registered name (IANA, DNS RCODEs).
pub(super) fn code_name(code: ResponseCode) -> String {
    match u16::from(code) {
        0 => "NOERROR".to_owned(),
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        3 => "NXDOMAIN".to_owned(),
        4 => "NOTIMP".to_owned(),
        5 => "REFUSED".to_owned(),
        6 => "YXDOMAIN".to_owned(),
        7 => "YXRRSET".to_owned(),
        8 => "NXRRSET".to_owned(),
        9 => "NOTAUTH".to_owned(),
        10 => "NOTZONE".to_owned(),
        16 => "BADVERS".to_owned(),
        other => format!("RCODE{other}"),
    }
}
