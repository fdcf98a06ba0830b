//! The files of a log: what its paths match, with their rotations, opened at one moment so that no line is read twice
//! and none is lost while they are being rotated.
//!
//! A file is known by device and inode, never by its name. All are opened before any is read, and the directory is
//! listed until it stands still: a file that is renamed or removed after that is still there to read. A copy
//! (`copytruncate`, or a rotation that is being compressed) is known by its first bytes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::gate::Gate;
use super::lines::{Lines, Stretch};
use super::listing::{self, Gap, Listed, Packing, identity};
use super::packed::Packed;
use super::timestamp::{Clock, Micros, Recogniser};
use super::window::{Places, SLACK, Sample, sample};

/// The most files that one look opens; the newest count.
pub const FILES: usize = 256;

/// How much of a file's start is read to learn its form and to tell a copy.
const HEAD: usize = 64 * 1024;

/// How often the directories are listed until they stand still.
const ROUNDS: usize = 4;

/// One file, opened.
#[derive(Debug)]
pub struct Member {
    pub path: PathBuf,
    /// The path that it is a rotation of, or its own.
    pub family: PathBuf,
    pub file: File,
    /// What there is to read, in bytes.
    pub length: u64,
    /// When it was last written.
    pub modified: Micros,
    pub packed: bool,
    /// Its first lines; of a compressed file, unpacked.
    head: Vec<u8>,
    /// What the first lines with a time say.
    pub first: Option<Sample>,
    pub recogniser: RefCell<Recogniser>,
    pub places: RefCell<Places>,
    id: (u64, u64),
}

/// The files of a log at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Rotations before the file that they are rotations of.
    pub members: Vec<Member>,
    pub gaps: Vec<Gap>,
    /// What was passed over without harm.
    pub notes: Vec<String>,
    /// Families of which older files exist that nobody asked for.
    deeper: BTreeSet<PathBuf>,
}

/// A file that is open, and what was taken of it.
struct Held {
    path: PathBuf,
    listed: Listed,
    file: File,
    length: u64,
    head: Vec<u8>,
    fault: Option<Gap>,
}

impl Held {
    /// Takes the file's length and first bytes, anew where its length changed.
    fn look(&mut self, gate: &Gate) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        if length == self.length {
            return Ok(());
        }
        let mut head = vec![0; HEAD];
        let stretch = Stretch { file: &self.file, at: 0, end: length, gate };
        let read = match self.listed.packing {
            Packing::Plain => fill(stretch, &mut head)?,
            _ => fill(Packed::new(stretch, gate), &mut head)?,
        };
        head.truncate(read);
        (self.length, self.head) = (length, head);
        Ok(())
    }

    fn into_member(self, clock: &Clock) -> Member {
        let mut recogniser = clock.recogniser(&self.head);
        let first = first_of(&self.head, &mut recogniser);
        Member {
            path: self.path,
            family: self.listed.family,
            file: self.file,
            length: self.length,
            modified: self.listed.modified,
            packed: self.listed.packing == Packing::Gzip,
            head: self.head,
            first,
            recogniser: RefCell::new(recogniser),
            places: RefCell::default(),
            id: self.listed.id,
        }
    }
}

impl Member {
    /// Its first lines, at most 64 KiB; of a compressed file, unpacked.
    pub fn head(&self) -> &[u8] {
        &self.head
    }
}

impl Snapshot {
    /// Opens what the paths match and what was written since `since`.
    ///
    /// What is taken of each file (its length, its first bytes) is taken before a listing that finds everything as the
    /// listing before did: a truncation that came earlier has left its copy there, a later one is found by
    /// [`Snapshot::verify`].
    pub fn take(patterns: &[String], since: Micros, clock: &Clock, gate: &Gate) -> Snapshot {
        let mut held: BTreeMap<(u64, u64), Held> = BTreeMap::new();
        let mut before: Option<BTreeMap<PathBuf, (u64, u64)>> = None;
        let mut round = 0;
        let mut snapshot = loop {
            let mut snapshot = Snapshot::default();
            let mut listed = listing::list(patterns, &mut snapshot.gaps, gate);
            snapshot.pass_over(&mut listed, since);
            let now: BTreeMap<_, _> = listed.iter().map(|(path, listed)| (path.clone(), listed.id)).collect();
            let still = before.as_ref() == Some(&now);
            round += 1;
            if !still && round > ROUNDS {
                let why = "the log's files changed again and again while they were opened";
                snapshot.gaps.push(Gap::new(why.to_owned()));
            }
            for (path, listed) in listed {
                if let Some(held) = held.get_mut(&listed.id) {
                    // The newest name, so that a file says what it is called now.
                    (held.path, held.listed) = (path, listed);
                } else {
                    match open(&path, listed.id) {
                        Ok(Some(file)) if !still => {
                            held.insert(
                                listed.id,
                                Held { path, listed, file, length: 0, head: Vec::new(), fault: None },
                            );
                        }
                        // Gone already: the next listing tells.
                        Ok(None) if !still => {}
                        Ok(_) => snapshot.gaps.push(Gap::new(format!("{} can't be opened", path.display()))),
                        Err(error) => {
                            let modified = Some(listed.modified);
                            snapshot.gaps.push(Gap { modified, ..Gap::of(&path, "can't be opened", &error) });
                        }
                    }
                }
            }
            if still || round > ROUNDS || gate.halted().is_some() {
                break snapshot;
            }
            for held in held.values_mut() {
                held.fault = held.look(gate).err().map(|error| Gap::of(&held.path, "can't be read", &error));
            }
            before = Some(now);
        };
        // A file that was removed since stays: its lines may be nowhere else.
        snapshot.gaps.extend(held.values().filter_map(|held| held.fault.clone()));
        snapshot.members = held.into_values().map(|held| held.into_member(clock)).collect();
        snapshot.drop_copies();
        snapshot.members.sort_by_key(|member| {
            (member.family.clone(), member.first.map_or(member.modified, |first| first.earliest), member.modified)
        });
        snapshot
    }

    /// True where each family that has been written since `since` reaches back to `at`.
    pub fn reaches(&self, at: Micros, since: Micros) -> bool {
        let mut oldest: BTreeMap<&Path, Micros> = BTreeMap::new();
        for member in &self.members {
            if let Some(first) = member.first {
                let entry = oldest.entry(&member.family).or_insert(first.median);
                *entry = first.median.min(*entry);
            }
        }
        !oldest.is_empty()
            && oldest.iter().all(|(family, oldest)| {
                let alive = self.members.iter().any(|member| member.family == **family && member.modified >= since);
                !alive || *oldest <= at || self.deeper.contains(*family)
            })
    }

    /// The time of the first line that there is; `None` where older files exist or no line has a time.
    pub fn begins(&self) -> Option<Micros> {
        if !self.deeper.is_empty() {
            return None;
        }
        self.members.iter().filter_map(|member| member.first.map(|first| first.median)).min()
    }

    /// The time of the newest line that is not in the future, and the file that has it.
    pub fn last(&self, clock: &Clock, gate: &Gate) -> Option<(Micros, &Member)> {
        let mut newest: Vec<&Member> = self.members.iter().filter(|member| !member.packed).collect();
        newest.sort_by_key(|member| std::cmp::Reverse(member.modified));
        let mut best: Option<(Micros, &Member)> = None;
        for member in newest.into_iter().take(8) {
            // A file holds no line that is newer than its last write.
            if best.is_some_and(|(at, _)| at > member.modified + SLACK) {
                break;
            }
            if let Some(at) = member.last(clock.now() + SLACK, gate)
                && best.is_none_or(|(known, _)| known < at)
            {
                best = Some((at, member));
            }
        }
        best
    }

    /// Checks, after reading, that the files are still what they were: `Err` says which one was truncated or rewritten
    /// underneath, or got lines that belong to the time before `now`.
    ///
    /// # Errors
    /// A sentence for a person.
    pub fn verify(&self, now: Micros, gate: &Gate) -> Result<(), String> {
        for member in &self.members {
            let Ok(metadata) = member.file.metadata() else { continue };
            let path = member.path.display();
            if metadata.len() < member.length {
                return Err(format!("{path} was truncated while it was read"));
            }
            if !member.packed {
                let mut head = vec![0; member.head.len().min(4_096)];
                let same = member.file.read_at(&mut head, 0).is_ok_and(|read| read == head.len());
                if !same || !member.head.starts_with(&head) {
                    return Err(format!("{path} was rewritten while it was read"));
                }
            }
            if metadata.len() > member.length && member.path != member.family {
                let mut recogniser = member.recogniser.borrow_mut();
                let grown = sample(&member.file, metadata.len(), member.length, &mut recogniser, gate);
                if member.packed || grown.is_ok_and(|grown| grown.is_some_and(|grown| grown.earliest <= now)) {
                    return Err(format!("{path} was still being written while it was read"));
                }
            }
        }
        Ok(())
    }

    /// Takes out what nobody asked for or nobody can read.
    fn pass_over(&mut self, listed: &mut BTreeMap<PathBuf, Listed>, since: Micros) {
        let plain: BTreeSet<PathBuf> = listed
            .iter()
            .filter(|(_, listed)| listed.packing == Packing::Plain && listed.regular)
            .map(|(path, _)| path.clone())
            .collect();
        let mut deeper = BTreeSet::new();
        let mut irregular = Vec::new();
        let mut foreign = Vec::new();
        listed.retain(|path, listed| {
            if !listed.regular {
                irregular.push((path.clone(), listed.named));
                return false;
            }
            if listed.modified < since - SLACK {
                deeper.insert(listed.family.clone());
                return false;
            }
            let unpacked = path.with_extension("");
            if listed.packing != Packing::Plain && plain.contains(&unpacked) {
                return false; // being compressed: the original is still there
            }
            if listed.packing == Packing::Foreign {
                foreign.push(Gap {
                    modified: Some(listed.modified),
                    ..Gap::new(format!("{} is compressed in a way that can't be read here", path.display()))
                });
                return false;
            }
            true
        });
        for (path, named) in irregular {
            let why = format!("{} is not a regular file", path.display());
            if named {
                self.gaps.push(Gap::new(why));
            } else if !path.is_dir() && self.notes.len() < 5 {
                self.notes.push(format!("{why} and was left out"));
            }
        }
        self.gaps.append(&mut foreign);
        self.deeper = deeper;
        if listed.len() > FILES {
            let mut times: Vec<Micros> = listed.values().map(|listed| listed.modified).collect();
            times.sort_unstable_by_key(|at| std::cmp::Reverse(*at));
            let oldest = times[FILES - 1];
            self.gaps.push(Gap {
                why: format!("{} files match; the {FILES} newest were read", listed.len()),
                forbidden: false,
                modified: times.get(FILES).copied(),
            });
            let mut room = FILES;
            listed.retain(|_, listed| {
                let keep = listed.modified >= oldest && room > 0;
                room -= usize::from(keep);
                keep
            });
        }
    }

    /// Of two files of a family that begin alike one is a copy of the other: the longer one stays.
    fn drop_copies(&mut self) {
        let mut dropped: BTreeSet<(u64, u64)> = BTreeSet::new();
        for (index, a) in self.members.iter().enumerate() {
            for b in &self.members[index + 1..] {
                let related = a.family == b.family || a.path == b.family || b.path == a.family;
                let common = a.head.len().min(b.head.len());
                if !related || a.first.is_none() || b.first.is_none() || a.head[..common] != b.head[..common] {
                    continue;
                }
                let copy = match (a.packed, b.packed) {
                    (true, false) => a,
                    (false, true) => b,
                    _ if a.length < b.length => a,
                    _ => b,
                };
                dropped.insert(copy.id);
            }
        }
        self.members.retain(|member| !dropped.contains(&member.id));
    }
}

impl Member {
    /// The newest time in the last lines of the file that is not after `limit`.
    fn last(&self, limit: Micros, gate: &Gate) -> Option<Micros> {
        let mut recogniser = self.recogniser.borrow_mut();
        let mut reach = super::lines::BLOCK as u64;
        loop {
            let from = self.length.saturating_sub(reach);
            let mut lines = Lines::new(Stretch { file: &self.file, at: from, end: self.length, gate });
            let mut last = None;
            while let Ok(Some(line)) = lines.read() {
                if let Some(stamp) = recogniser.stamp(line.bytes)
                    && stamp.at <= limit
                {
                    last = last.max(Some(stamp.at));
                }
            }
            // A stack trace or a giant line may fill the last block: look back once more.
            if last.is_some() || from == 0 || reach > 16 * super::lines::BLOCK as u64 {
                return last;
            }
            reach *= 8;
        }
    }
}

fn first_of(head: &[u8], recogniser: &mut Recogniser) -> Option<Sample> {
    let mut seen: Vec<Micros> = Vec::new();
    for line in head.split(|byte| *byte == b'\n') {
        if let Some(stamp) = recogniser.stamp(line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)) {
            seen.push(stamp.at);
            if seen.len() == 5 {
                break;
            }
        }
    }
    let (earliest, last) = (seen.iter().min().copied()?, seen.last().copied()?);
    // Of a file's first lines the second earliest: one false time doesn't count, and no sparse log loses its start.
    seen.sort_unstable();
    let median = seen.get(1).copied().unwrap_or(earliest).min(seen[seen.len() / 2]);
    Some(Sample { start: 0, end: 0, earliest, median, last })
}

fn fill(mut from: impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match from.read(&mut into[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// Opens a regular file, and nothing else: no pipe that would wait for a writer, no device that would act.
fn open(path: &Path, id: (u64, u64)) -> io::Result<Option<File>> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let file = match File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    // Replaced since it was listed: the next listing knows it.
    Ok((metadata.is_file() && identity(&metadata) == id).then_some(file))
}

#[cfg(test)]
mod tests;
