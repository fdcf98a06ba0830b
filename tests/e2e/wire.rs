//! HTTP/1.1 as plain bytes over TCP or a unix socket. Knows nothing of the code that is tested.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The longest that any single read or write may take: a bound, not an expectation.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where somebody listens.
#[derive(Debug, Clone)]
pub enum Place {
    /// `127.0.0.1:port`
    Tcp(String),
    Socket(PathBuf),
}

/// A connection of either sort.
pub trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

impl Place {
    /// What belongs into `Host`.
    pub fn host(&self) -> &str {
        match self {
            Place::Tcp(address) => address,
            Place::Socket(_) => "localhost",
        }
    }

    pub fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        Ok(match self {
            Place::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
            Place::Socket(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
        })
    }

    /// Sends these bytes and reads the answer until the other side closes.
    pub fn send(&self, bytes: &[u8]) -> std::io::Result<Answer> {
        let mut stream = self.connect()?;
        // Who is refused halfway may find the other side closed; the answer is there all the same.
        let _ = stream.write_all(bytes);
        answer(&mut *stream)
    }
}

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// With names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// # Panics
    /// Where it is no JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }
}

/// Reads one answer; the other side must close after it.
pub fn answer(stream: &mut (impl Read + ?Sized)) -> std::io::Result<Answer> {
    let mut bytes = Vec::new();
    let mut chunk = [0_u8; 16 * 1024];
    let ends = Instant::now() + PATIENCE;
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
            // What came before a reset still counts.
            Err(error) if error.kind() == ErrorKind::ConnectionReset && !bytes.is_empty() => break,
            Err(error) => return Err(error),
        }
        assert!(Instant::now() < ends && bytes.len() < 64 << 20, "an answer without end");
    }
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> std::io::Result<Answer> {
    let broken = |why: &str| std::io::Error::new(ErrorKind::UnexpectedEof, format!("{why} in {} bytes", bytes.len()));
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(|| broken("no head"))?;
    let (head, body) = (String::from_utf8_lossy(&bytes[..end]).into_owned(), &bytes[end + 4..]);
    let mut lines = head.split("\r\n");
    let status =
        lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or_else(|| broken("no status"))?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let body = match (chunked, length) {
        (true, _) => whole(body).ok_or_else(|| broken("a cut chunk"))?,
        // The answer to a HEAD says how long a body would be, and has none.
        (false, Some(_)) if body.is_empty() => Vec::new(),
        (false, Some(length)) => body.get(..length).ok_or_else(|| broken("a cut body"))?.to_vec(),
        (false, None) => body.to_vec(),
    };
    Ok(Answer { status, headers, body })
}

/// The chunks put together; nothing where the last one is missing.
fn whole(mut chunks: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = chunks.windows(2).position(|window| window == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&chunks[..end]).ok()?.trim(), 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(chunks.get(end + 2..end + 2 + length)?);
        chunks = chunks.get(end + 2 + length + 2..)?;
    }
}
