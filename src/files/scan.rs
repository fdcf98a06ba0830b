//! One pass over the lines of a span of time, through all files of a log, with an account of what was and wasn't seen.

use std::io::{self, Read};

use super::gate::Gate;
use super::lines::{Lines, Stretch};
use super::packed::Packed;
use super::rotation::{Member, Snapshot};
use super::timestamp::{Clock, Micros, SECOND, Stamp, micros};
use super::window::SLACK;
use crate::model::window::Window;

/// After this many lines inside of the span, one from long before it is out of its place.
const SETTLED: u64 = 5;

/// One line of the span.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    pub line: &'a [u8],
    /// Its time, or that of the line above that it belongs to.
    pub at: Micros,
    /// Where its own time stands; `None` for a line that belongs to the one above.
    pub stamp: Option<Stamp>,
    /// Only its first part was kept.
    pub cut: bool,
    /// It has its line break.
    pub ended: bool,
}

/// What one pass saw, and what it could not see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Files that were read.
    pub files: u32,
    /// Lines inside of the span, those included that belong to a line above.
    pub lines: u64,
    /// Lines with a time of their own that were read, inside of the span or not.
    pub stamped: u64,
    /// Of these, in the future.
    pub future: u64,
    /// Of these, from long before their neighbours.
    pub misplaced: u64,
    /// Lines longer than what is kept of one.
    pub cut: u64,
    pub first: Option<Micros>,
    pub last: Option<Micros>,
    /// Why the span was not seen whole, in sentences.
    pub incomplete: Vec<String>,
}

impl Coverage {
    /// The share of lines whose time can't be right, 0 to 1.
    pub fn skewed(&self) -> f64 {
        if self.stamped == 0 { 0.0 } else { (self.future + self.misplaced) as f64 / self.stamped as f64 }
    }
}

/// Reads the lines of a span, in the order in which each file has them.
///
/// `newest` limits what is read of each plain file to its last so many bytes of the span.
pub fn scan(
    snapshot: &Snapshot,
    window: Window,
    newest: Option<u64>,
    clock: &Clock,
    gate: &Gate,
    mut visit: impl FnMut(Entry<'_>),
) -> Coverage {
    let mut pass = Pass {
        from: micros(window.from),
        to: micros(window.to),
        slack: SLACK,
        now: clock.now(),
        coverage: Coverage::default(),
        above: None,
    };
    let hours = jiff::SignedDuration::from_hours(2);
    if clock.changes_between(window.from.saturating_sub(hours).unwrap_or(window.from), window.to) {
        // Local times go back by an hour.
        pass.slack += 3_600 * SECOND;
    }
    let mut family = None;
    for member in &snapshot.members {
        if family != Some(&member.family) {
            pass.above = None;
            family = Some(&member.family);
        }
        let begins_later = member.first.is_some_and(|first| first.earliest > pass.to + pass.slack);
        if member.length == 0 || member.modified < pass.from - pass.slack || begins_later {
            continue;
        }
        if let Err(error) = pass.read(member, newest, gate, &mut visit) {
            pass.coverage.incomplete.push(format!("{} can't be read: {error}", member.path.display()));
        }
        if let Some(halt) = gate.halted() {
            pass.coverage.incomplete.push(halt.why().to_owned());
            break;
        }
    }
    pass.coverage
}

struct Pass {
    from: Micros,
    to: Micros,
    slack: Micros,
    now: Micros,
    coverage: Coverage,
    /// The time of the line above.
    above: Option<Micros>,
}

impl Pass {
    fn read(
        &mut self,
        member: &Member,
        newest: Option<u64>,
        gate: &Gate,
        visit: &mut impl FnMut(Entry<'_>),
    ) -> io::Result<()> {
        self.coverage.files += 1;
        let before = self.coverage.stamped;
        let mut any = false;
        if member.packed {
            let stretch = Stretch { file: &member.file, at: 0, end: member.length, gate };
            let mut lines = Lines::new(Packed::new(stretch, gate));
            any |= self.lines(&mut lines, member, visit)?;
            if let Some(fault) = lines.reader().fault() {
                self.coverage.incomplete.push(format!("{} {fault}", member.path.display()));
            }
        } else {
            let mut places = member.places.borrow_mut();
            let bounds = (self.from - self.slack, self.to + self.slack);
            let recogniser = &mut member.recogniser.borrow_mut();
            let range = places.range(&member.file, member.length, bounds, recogniser, gate)?;
            if places.timeless() && member.first.is_none() {
                any = true;
            } else {
                let mut start = range.start;
                if let Some(newest) = newest.filter(|newest| range.end - range.start > *newest) {
                    start = range.end - newest;
                }
                // The range may end inside of a line that begins in it.
                let end = (range.end + super::lines::KEPT as u64).min(member.length);
                let mut lines = Lines::new(Stretch { file: &member.file, at: start, end, gate });
                if start > range.start {
                    lines.read()?;
                    self.above = None;
                }
                drop(places);
                any |= self.read_lines(&mut lines, recogniser, visit)?;
            }
        }
        if any && self.coverage.stamped == before && gate.halted().is_none() {
            let why = format!("no line of {} carries a time that can be recognised", member.path.display());
            self.coverage.incomplete.push(why);
        }
        Ok(())
    }

    fn lines<R: Read>(
        &mut self,
        lines: &mut Lines<R>,
        member: &Member,
        visit: &mut impl FnMut(Entry<'_>),
    ) -> io::Result<bool> {
        self.read_lines(lines, &mut member.recogniser.borrow_mut(), visit)
    }

    /// True where there was any line at all that could have had a time.
    fn read_lines<R: Read>(
        &mut self,
        lines: &mut Lines<R>,
        recogniser: &mut super::timestamp::Recogniser,
        visit: &mut impl FnMut(Entry<'_>),
    ) -> io::Result<bool> {
        let mut any = false;
        let mut inside = 0;
        while let Some(line) = lines.read()? {
            any |= !line.bytes.is_empty();
            let stamp = recogniser.stamp(line.bytes);
            if let Some(stamp) = stamp {
                self.coverage.stamped += 1;
                self.above = Some(stamp.at);
                if stamp.at > self.now + SLACK {
                    self.coverage.future += 1;
                } else if stamp.at < self.from - self.slack && inside >= SETTLED {
                    self.coverage.misplaced += 1;
                }
            }
            let Some(at) = self.above.filter(|at| self.from <= *at && *at <= self.to) else { continue };
            inside += 1;
            let coverage = &mut self.coverage;
            coverage.lines += 1;
            coverage.cut += u64::from(line.cut);
            coverage.first = Some(coverage.first.map_or(at, |first| first.min(at)));
            coverage.last = Some(coverage.last.map_or(at, |last| last.max(at)));
            visit(Entry { line: line.bytes, at, stamp, cut: line.cut, ended: line.ended });
        }
        Ok(any)
    }
}
