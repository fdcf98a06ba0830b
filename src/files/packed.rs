//! Gzip members of a rotated log, decompressed within a cap on size and on ratio.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

use super::gate::Gate;
use super::lines::BLOCK;

/// The most that one compressed file may come to, in bytes.
const SIZE: u64 = 256 * 1024 * 1024;

/// How many times its compressed size a file may come to; logs come to 5 to 30 times.
const RATIO: u64 = 200;

/// Below this many bytes the ratio is not looked at: a short file of equal lines is no bomb.
const FREE: u64 = 1024 * 1024;

/// Reads what is in a gzip file. What goes wrong ends the data and stays in [`Packed::fault`].
#[derive(Debug)]
pub struct Packed<'a, R> {
    decoder: MultiGzDecoder<Counted<R>>,
    out: u64,
    gate: &'a Gate,
    fault: Option<String>,
}

#[derive(Debug)]
struct Counted<R> {
    from: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(into)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

impl<'a, R: Read> Packed<'a, R> {
    pub fn new(from: R, gate: &'a Gate) -> Self {
        Packed { decoder: MultiGzDecoder::new(Counted { from, bytes: 0 }), out: 0, gate, fault: None }
    }

    /// Why the data ended before the file did: broken, cut short, or a bomb.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }
}

impl<R: Read> Read for Packed<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.fault.is_some() || into.is_empty() {
            return Ok(0);
        }
        let granted = self.gate.grant(into.len().min(BLOCK));
        if granted == 0 {
            return Ok(0);
        }
        match self.decoder.read(&mut into[..granted]) {
            Ok(read) => {
                self.gate.spend(read);
                self.out += read as u64;
                if self.out > SIZE {
                    self.fault = Some("unpacks to more than 256 MiB".to_owned());
                } else if self.out > FREE && self.out > RATIO * self.decoder.get_ref().bytes {
                    self.fault = Some(format!("unpacks to more than {RATIO} times its size"));
                }
                Ok(if self.fault.is_some() { 0 } else { read })
            }
            // The reader below stopped because the gate did: that is told once, there.
            Err(_) if self.gate.halted().is_some() => Ok(0),
            Err(error) => {
                self.fault = Some(match error.kind() {
                    io::ErrorKind::UnexpectedEof => "is cut short".to_owned(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                        format!("is no sound gzip file: {error}")
                    }
                    _ => error.to_string(),
                });
                Ok(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(bytes: &[u8]) -> (Vec<u8>, Option<String>) {
        let gate = Gate::new(u64::MAX, Instant::now() + Duration::from_secs(60), Arc::default());
        let mut packed = Packed::new(bytes, &gate);
        let mut out = Vec::new();
        packed.read_to_end(&mut out).unwrap();
        (out, packed.fault().map(str::to_owned))
    }

    fn text(lines: u32) -> Vec<u8> {
        (0..lines)
            .flat_map(|line| format!("{line} {}\n", u64::from(line) * 2_654_435_761 % 99_991).into_bytes())
            .collect()
    }

    #[test]
    fn members_one_after_another_are_one_text() {
        let mut bytes = Vec::new();
        for _ in 0..1_000 {
            bytes.extend(pack(b"line\n"));
        }
        assert_eq!(unpack(&bytes), (b"line\n".repeat(1_000), None));
    }

    #[test]
    fn what_is_broken_gives_what_it_can_and_says_so() {
        let whole = pack(&text(10_000));
        let (out, fault) = unpack(&whole[..whole.len() / 2]);
        assert!(!out.is_empty() && text(10_000).starts_with(&out));
        assert!(fault.unwrap().contains("cut short"));
        let mut wrong = whole.clone();
        let crc = wrong.len() - 6;
        wrong[crc] ^= 1;
        assert!(unpack(&wrong).1.unwrap().contains("no sound gzip"));
        assert!(unpack(b"2026-11-22T10:00:00Z not packed at all").1.unwrap().contains("no sound gzip"));
        assert_eq!(unpack(&whole), (text(10_000), None));
    }

    #[test]
    fn a_bomb_is_left_early() {
        let bomb = pack(&vec![b'A'; 64 * 1024 * 1024]);
        let (out, fault) = unpack(&bomb);
        assert!(fault.unwrap().contains("200 times"));
        assert!(out.len() < 16 * 1024 * 1024, "{}", out.len());
    }
}
