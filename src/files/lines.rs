//! Lines of a file, block by block, none of which can be too long.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use super::gate::Gate;

/// What is kept of one line, in bytes; the rest is skipped up to its end, and the line says so.
pub const KEPT: usize = 64 * 1024;

/// What is read at once, in bytes.
pub const BLOCK: usize = 256 * 1024;

/// One line, without its line break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Where it begins, in bytes from where reading began.
    pub offset: u64,
    pub bytes: &'a [u8],
    /// It was longer than [`KEPT`].
    pub cut: bool,
    /// It has a line break; the last line of a file that is being written may not have one yet.
    pub ended: bool,
}

/// Reads lines. `\r\n` ends a line as `\n` does, a byte order mark at the start is skipped, any bytes are fine.
#[derive(Debug)]
pub struct Lines<R> {
    from: R,
    buffer: Vec<u8>,
    /// The unread part of the buffer.
    start: usize,
    end: usize,
    /// Where `start` is, in bytes from where reading began.
    offset: u64,
    /// Nothing is left to read.
    dry: bool,
}

impl<R: Read> Lines<R> {
    pub fn new(from: R) -> Self {
        Lines { from, buffer: vec![0; BLOCK + KEPT], start: 0, end: 0, offset: 0, dry: false }
    }

    pub fn reader(&self) -> &R {
        &self.from
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn read(&mut self) -> io::Result<Option<Line<'_>>> {
        let mut searched = 0;
        loop {
            let unread = &self.buffer[self.start..self.end];
            if let Some(length) = memchr::memchr(b'\n', &unread[searched..]) {
                let length = searched + length;
                return Ok(Some(self.take(length, 1, length > KEPT)));
            }
            searched = unread.len();
            if searched > KEPT {
                return self.take_giant().map(Some);
            }
            if self.dry {
                return Ok(if searched == 0 { None } else { Some(self.take(searched, 0, false)) });
            }
            self.fill()?;
        }
    }

    /// Hands out the `length` bytes at `start` as a line, and goes on `brk` bytes behind it.
    fn take(&mut self, length: usize, brk: usize, cut: bool) -> Line<'_> {
        let (start, offset) = (self.start, self.offset);
        self.start += length + brk;
        self.offset += (length + brk) as u64;
        let mut bytes = &self.buffer[start..start + length.min(KEPT)];
        if !cut && brk == 1 {
            bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        }
        if offset == 0 {
            bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        }
        Line { offset, bytes, cut, ended: brk == 1 }
    }

    /// Keeps the first [`KEPT`] bytes of a line that doesn't end in the buffer, and skips to its end.
    fn take_giant(&mut self) -> io::Result<Line<'_>> {
        self.buffer.copy_within(self.start..self.start + KEPT, 0);
        let offset = self.offset;
        self.offset += (self.end - self.start) as u64;
        let mut ended = false;
        loop {
            // The kept part stands at the buffer's start; the rest of the line passes through behind it.
            let read = read(&mut self.from, &mut self.buffer[KEPT..])?;
            if read == 0 {
                self.dry = true;
                (self.start, self.end) = (0, 0);
                break;
            }
            let block = &self.buffer[KEPT..KEPT + read];
            if let Some(length) = memchr::memchr(b'\n', block) {
                self.offset += length as u64 + 1;
                (self.start, self.end) = (KEPT + length + 1, KEPT + read);
                ended = true;
                break;
            }
            self.offset += read as u64;
        }
        Ok(Line { offset, bytes: &self.buffer[..KEPT], cut: true, ended })
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let read = read(&mut self.from, &mut self.buffer[self.end..])?;
        self.end += read;
        self.dry = read == 0;
        Ok(())
    }
}

fn read(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// A part of a file, read at its own place whatever else reads the file, as far as the gate allows.
#[derive(Debug)]
pub struct Stretch<'a> {
    pub file: &'a File,
    pub at: u64,
    pub end: u64,
    pub gate: &'a Gate,
}

impl Read for Stretch<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.end - self.at).map_or(into.len(), |left| left.min(into.len()));
        if wanted == 0 {
            return Ok(0);
        }
        let granted = self.gate.grant(wanted.min(BLOCK));
        let read = self.file.read_at(&mut into[..granted], self.at)?;
        self.gate.spend(read);
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Vec<(u64, Vec<u8>, bool, bool)> {
        let mut lines = Lines::new(bytes);
        let mut out = Vec::new();
        while let Some(line) = lines.read().unwrap() {
            out.push((line.offset, line.bytes.to_vec(), line.cut, line.ended));
        }
        out
    }

    #[test]
    fn every_way_to_end_a_line() {
        for (bytes, expected) in [
            (&b""[..], vec![]),
            (b"a", vec![(0, &b"a"[..], false)]),
            (b"a\n", vec![(0, b"a", true)]),
            (b"a\r\n\r\nb", vec![(0, b"a", true), (3, b"", true), (5, b"b", false)]),
            (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", vec![(0, b"a", true), (5, b"\xef\xbb\xbfb", true)]),
            (b"\0\xff\n\n", vec![(0, b"\0\xff", true), (3, b"", true)]),
        ] {
            let expected: Vec<_> =
                expected.into_iter().map(|(offset, line, ended)| (offset, line.to_vec(), false, ended)).collect();
            assert_eq!(all(bytes), expected);
        }
    }

    #[test]
    fn a_giant_line_is_kept_in_part_and_skipped_to_its_end() {
        for giant in [KEPT, KEPT + 1, BLOCK, BLOCK + KEPT, BLOCK + KEPT + 1, 4 * BLOCK + 17] {
            let mut bytes = b"first\n".to_vec();
            bytes.extend(std::iter::repeat_n(b'A', giant));
            bytes.extend(b"\nlast\n");
            let lines = all(&bytes);
            assert_eq!(lines.len(), 3, "{giant}");
            assert_eq!((lines[1].0, lines[1].1.len(), lines[1].2), (6, KEPT, giant > KEPT), "{giant}");
            assert_eq!(lines[2], (6 + giant as u64 + 1, b"last".to_vec(), false, true));
        }
    }

    proptest! {
        #[test]
        fn lines_are_those_of_a_plain_split(parts in proptest::collection::vec("[a-c\r]{0,9}", 0..40), ended: bool) {
            let mut text = parts.join("\n");
            if ended && !parts.is_empty() { text.push('\n'); }
            let mut expected: Vec<&str> = text.split('\n').collect();
            if expected.last() == Some(&"") { expected.pop(); }
            let count = expected.len();
            let expected: Vec<Vec<u8>> = expected.iter().enumerate().map(|(index, line)| {
                let whole = index + 1 < count || text.ends_with('\n');
                if whole { line.strip_suffix('\r').unwrap_or(line) } else { line }.as_bytes().to_vec()
            }).collect();
            let lines: Vec<Vec<u8>> = all(text.as_bytes()).into_iter().map(|line| line.1).collect();
            prop_assert_eq!(lines, expected);
        }
    }
}
