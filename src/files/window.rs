//! Finds where a span of time lies in a file whose lines carry times, by bisection: a few blocks are read, not the file.
//!
//! Lines need not be sorted exactly: what is at most [`SLACK`] late is found all the same. One line with a false time
//! misleads nobody, because the median of several lines is what is compared.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;

use super::gate::Gate;
use super::lines::{BLOCK, Lines, Stretch};
use super::timestamp::{Micros, Recogniser, SECOND};

/// How late a line may be written.
pub const SLACK: Micros = 10 * SECOND;

/// How many lines with a time stand for a place in the file.
const LINES: usize = 5;

/// How far from a place the lines that stand for it may lie, in bytes.
const REACH: u64 = 4 * BLOCK as u64;

/// What the lines at one place of a file say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Where the first line with a time begins.
    pub start: u64,
    /// Behind the last line that was looked at.
    pub end: u64,
    pub earliest: Micros,
    pub median: Micros,
    pub last: Micros,
}

/// The places of one file that have been looked at.
#[derive(Debug, Default)]
pub struct Places(BTreeMap<u64, Option<Sample>>);

impl Places {
    /// The part of the file outside of which no line's time is between `from` and `to`.
    ///
    /// # Errors
    /// Those of reading. Where the gate grants nothing more the range is wider than it need be.
    pub fn range(
        &mut self,
        file: &File,
        length: u64,
        (from, to): (Micros, Micros),
        recogniser: &mut Recogniser,
        gate: &Gate,
    ) -> io::Result<Range<u64>> {
        let (mut low, mut high) = (0, length);
        let mut start = 0;
        while high - low > BLOCK as u64 && gate.halted().is_none() {
            let middle = low + (high - low) / 2;
            match self.at(file, length, middle, recogniser, gate)? {
                Some(sample) if sample.median < from => (low, start) = (middle, sample.start),
                // Where no line tells, the window may begin further up.
                _ => high = middle,
            }
        }
        let (mut low, mut high) = (0, length);
        let mut end = length;
        while high - low > BLOCK as u64 && gate.halted().is_none() {
            let middle = low + (high - low) / 2;
            match self.at(file, length, middle, recogniser, gate)? {
                Some(sample) if sample.median > to => (high, end) = (middle, sample.end),
                _ => low = middle,
            }
        }
        Ok(start..end.max(start))
    }

    /// True where places have been looked at and none had a line with a time.
    pub fn timeless(&self) -> bool {
        !self.0.is_empty() && self.0.values().all(Option::is_none)
    }

    fn at(
        &mut self,
        file: &File,
        length: u64,
        place: u64,
        recogniser: &mut Recogniser,
        gate: &Gate,
    ) -> io::Result<Option<Sample>> {
        if let Some(known) = self.0.get(&place) {
            return Ok(*known);
        }
        let found = sample(file, length, place, recogniser, gate)?;
        if gate.halted().is_none() {
            self.0.insert(place, found);
        }
        Ok(found)
    }
}

/// Reads the lines from `place` on.
///
/// # Errors
/// Those of reading.
pub fn sample(
    file: &File,
    length: u64,
    place: u64,
    recogniser: &mut Recogniser,
    gate: &Gate,
) -> io::Result<Option<Sample>> {
    // From the byte before, so that a line which begins right here is not taken for the rest of another.
    let from = place.saturating_sub(1);
    let mut lines = Lines::new(Stretch { file, at: from, end: length.min(place.saturating_add(REACH)), gate });
    if place > 0 {
        lines.read()?;
    }
    let mut seen: Vec<Micros> = Vec::with_capacity(LINES);
    let (mut start, mut end) = (0, 0);
    while let Some(line) = lines.read()? {
        if let Some(stamp) = recogniser.stamp(line.bytes) {
            if seen.is_empty() {
                start = from + line.offset;
            }
            end = from + line.offset + line.bytes.len() as u64;
            seen.push(stamp.at);
            if seen.len() == LINES {
                break;
            }
        }
    }
    let (Some(earliest), Some(last)) = (seen.iter().min().copied(), seen.last().copied()) else { return Ok(None) };
    seen.sort_unstable();
    Ok(Some(Sample { start, end, earliest, median: seen[seen.len() / 2], last }))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;
    use crate::files::timestamp::{Clock, timestamp};

    /// A file of lines, each as late as its number says; some have no time of their own.
    fn file(lines: &[(Micros, u8)]) -> (File, u64, String) {
        let mut text = String::new();
        for (index, (at, kind)) in lines.iter().enumerate() {
            if kind % 7 == 3 {
                text.push_str("    at some.Frame(Some.java:12)\n");
            } else {
                let padding = "x".repeat(usize::from(*kind) * 4);
                text.push_str(&format!("{} line {index} {padding}\n", timestamp(*at)));
            }
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        (file, text.len() as u64, text)
    }

    fn clock() -> Clock {
        Clock::new(TimeZone::UTC, None, "2030-01-01T00:00:00Z".parse().unwrap())
    }

    fn gate() -> Gate {
        Gate::new(u64::MAX, Instant::now() + Duration::from_secs(60), Arc::default())
    }

    /// The lines with a time between the two, by reading `text` from start to end.
    fn inside(text: &str, from: Micros, to: Micros) -> Vec<&str> {
        let mut recogniser = clock().recogniser(text.as_bytes());
        text.lines()
            .filter(|line| recogniser.stamp(line.as_bytes()).is_some_and(|stamp| from <= stamp.at && stamp.at <= to))
            .collect()
    }

    #[test]
    fn only_a_few_blocks_are_read() {
        let lines: Vec<_> = (0..400_000_i64).map(|second| (second * SECOND, 20)).collect();
        let (file, length, text) = file(&lines);
        assert!(length > 40 * BLOCK as u64);
        let gate = gate();
        let (from, to) = (399_000 * SECOND, 400_000 * SECOND);
        let mut recogniser = clock().recogniser(&text.as_bytes()[..4_096]);
        let range = Places::default().range(&file, length, (from - SLACK, to + SLACK), &mut recogniser, &gate).unwrap();
        assert!(range.end - range.start < 3 * BLOCK as u64);
        assert!(u64::MAX - gate.left() < 16 * BLOCK as u64);
        let part = &text[range.start as usize..range.end as usize];
        assert_eq!(inside(part, from, to), inside(&text, from, to));
    }

    #[test]
    fn single_false_times_do_not_mislead() {
        let mut lines: Vec<_> = (0..60_000_i64).map(|second| (second * SECOND, 20)).collect();
        for index in (0..lines.len()).step_by(9) {
            lines[index].0 = if index % 2 == 0 { 0 } else { 1_900_000_000 * SECOND };
        }
        let (file, length, text) = file(&lines);
        for from in [1_000, 30_000, 59_000] {
            let (from, to) = (from * SECOND, (from + 900) * SECOND);
            let mut recogniser = clock().recogniser(&text.as_bytes()[..4_096]);
            let range =
                Places::default().range(&file, length, (from - SLACK, to + SLACK), &mut recogniser, &gate()).unwrap();
            let part = &text[range.start as usize..range.end as usize];
            assert_eq!(inside(part, from, to), inside(&text, from, to));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn bisection_finds_what_a_full_scan_finds(
            steps in proptest::collection::vec((0_i64..4_000_000, 0_i64..2_000_000, any::<u8>()), 2_000..9_000),
            windows in proptest::collection::vec((0.0_f64..1.0, 0.0_f64..0.3), 4),
        ) {
            let mut at = 1_700_000_000 * SECOND;
            let lines: Vec<_> = steps.iter().map(|(step, late, kind)| { at += step; (at - late, *kind) }).collect();
            let (file, length, text) = file(&lines);
            let span = (at - 1_700_000_000 * SECOND) as f64;
            let mut places = Places::default();
            for (begin, share) in windows {
                let from = 1_700_000_000 * SECOND + (begin * span) as i64;
                let to = from + (share * span) as i64;
                let mut recogniser = clock().recogniser(&text.as_bytes()[..4_096.min(text.len())]);
                let range = places.range(&file, length, (from - SLACK, to + SLACK), &mut recogniser, &gate()).unwrap();
                let mut part = &text[range.start as usize..range.end as usize];
                // The range may end inside of a line that begins in it.
                if range.end < length && !part.ends_with('\n') {
                    part = &text[range.start as usize..range.end as usize + text[range.end as usize..].find('\n').unwrap()];
                }
                prop_assert_eq!(inside(part, from, to), inside(&text, from, to));
            }
        }
    }
}
