//! Bodies, decoded while they come, so that the cap counts what they unfold to and a bomb stops at it.

use std::io::{self, Write};

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

/// How a body is packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    /// RFC 9110 says zlib; some servers send the bare stream.
    Deflate,
    /// One that we did not ask for and can't undo.
    Foreign(String),
}

impl Coding {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut codings = headers
            .get_all(CONTENT_ENCODING)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .map(|coding| String::from_utf8_lossy(coding).trim().to_ascii_lowercase())
            .filter(|coding| !coding.is_empty() && coding != "identity");
        let coding = match codings.next().as_deref() {
            None => Coding::Identity,
            Some("gzip" | "x-gzip") => Coding::Gzip,
            Some("deflate") => Coding::Deflate,
            Some(other) => Coding::Foreign(other.to_owned()),
        };
        match codings.next() {
            None => coding,
            Some(second) => Coding::Foreign(format!("{coding:?} and {second}").to_ascii_lowercase()),
        }
    }
}

/// What became of a piece of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fed {
    More,
    /// The cap is reached, and there is more than that.
    Full,
}

/// Takes a body piece by piece.
pub(super) struct Unpacker {
    coding: Coding,
    stage: Stage,
    /// Nothing at all is a whole body, however it is labelled.
    begun: bool,
}

enum Stage {
    Plain(Capped),
    Gzip(MultiGzDecoder<Capped>),
    /// Fewer than two bytes have come: it can't be told which of the two this is.
    Undecided(Vec<u8>, Capped),
    Zlib(ZlibDecoder<Capped>),
    Deflate(DeflateDecoder<Capped>),
    Broken,
}

/// Keeps at most `cap` bytes; refuses the first one beyond.
struct Capped {
    kept: Vec<u8>,
    cap: usize,
    over: bool,
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.cap - self.kept.len();
        if room == 0 && !bytes.is_empty() {
            self.over = true;
            return Err(io::Error::other("the cap is reached"));
        }
        let taken = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        self.kept.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Unpacker {
    pub(super) fn new(coding: Coding, cap: usize) -> Self {
        let capped = Capped { kept: Vec::new(), cap, over: false };
        let stage = match coding {
            Coding::Identity | Coding::Foreign(_) => Stage::Plain(capped),
            Coding::Gzip => Stage::Gzip(MultiGzDecoder::new(capped)),
            Coding::Deflate => Stage::Undecided(Vec::new(), capped),
        };
        Unpacker { coding, stage, begun: false }
    }

    /// # Errors
    /// The piece is not what the label says.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<Fed, String> {
        self.begun |= !piece.is_empty();
        if let Stage::Undecided(..) = self.stage {
            let Stage::Undecided(mut begun, capped) = std::mem::replace(&mut self.stage, Stage::Broken) else {
                return Err("unreadable".to_owned());
            };
            begun.extend_from_slice(piece);
            let [first, second, ..] = begun[..] else {
                self.stage = Stage::Undecided(begun, capped);
                return Ok(Fed::More);
            };
            // RFC 1950: method 8, and the two bytes are a multiple of 31.
            let zlib = first & 0x0f == 8 && (u16::from(first) * 256 + u16::from(second)).is_multiple_of(31);
            self.stage =
                if zlib { Stage::Zlib(ZlibDecoder::new(capped)) } else { Stage::Deflate(DeflateDecoder::new(capped)) };
            return self.feed(&begun);
        }
        let written = match &mut self.stage {
            Stage::Plain(capped) => capped.write_all(piece),
            Stage::Gzip(decoder) => decoder.write_all(piece),
            Stage::Zlib(decoder) => decoder.write_all(piece),
            Stage::Deflate(decoder) => decoder.write_all(piece),
            Stage::Undecided(..) | Stage::Broken => Err(io::Error::other("unreadable")),
        };
        match written {
            Ok(()) => Ok(Fed::More),
            Err(_) if self.is_over() => Ok(Fed::Full),
            Err(_) => Err(format!("the body is labelled {} and isn't", self.label())),
        }
    }

    /// The body, once all has come; `whole: false` where it was given up before its end.
    ///
    /// # Errors
    /// It ended within its packing, or its checksum is wrong.
    pub(super) fn finish(mut self, whole: bool) -> Result<(Vec<u8>, bool), String> {
        let finished = match &mut self.stage {
            _ if !whole || !self.begun => Ok(()),
            Stage::Gzip(decoder) => decoder.try_finish(),
            Stage::Zlib(decoder) => decoder.try_finish(),
            Stage::Deflate(decoder) => decoder.try_finish(),
            Stage::Undecided(begun, _) if !begun.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            Stage::Plain(_) | Stage::Undecided(..) | Stage::Broken => Ok(()),
        };
        if let Err(error) = finished
            && !self.is_over()
        {
            let label = self.label();
            return Err(format!("the body is labelled {label} and is cut short or damaged: {error}"));
        }
        let over = self.is_over() || !whole;
        let kept = match &mut self.stage {
            Stage::Plain(capped) | Stage::Undecided(_, capped) => std::mem::take(&mut capped.kept),
            Stage::Gzip(decoder) => std::mem::take(&mut decoder.get_mut().kept),
            Stage::Zlib(decoder) => std::mem::take(&mut decoder.get_mut().kept),
            Stage::Deflate(decoder) => std::mem::take(&mut decoder.get_mut().kept),
            Stage::Broken => Vec::new(),
        };
        Ok((kept, over))
    }

    fn is_over(&self) -> bool {
        match &self.stage {
            Stage::Plain(capped) | Stage::Undecided(_, capped) => capped.over,
            Stage::Gzip(decoder) => decoder.get_ref().over,
            Stage::Zlib(decoder) => decoder.get_ref().over,
            Stage::Deflate(decoder) => decoder.get_ref().over,
            Stage::Broken => false,
        }
    }

    fn label(&self) -> &'static str {
        match &self.coding {
            Coding::Gzip => "gzip",
            Coding::Deflate => "deflate",
            Coding::Identity | Coding::Foreign(_) => "plain",
        }
    }
}
