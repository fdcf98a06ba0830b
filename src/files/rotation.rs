//! The files of a log: what its paths match, with their rotations, opened at one moment so that no line is read twice
//! and none is lost while they are being rotated.
//!
//! A file is known by device and inode, never by its name. All are opened before any is read, and the directory is
//! listed until it stands still: a file that is renamed or removed after that is still there to read. A copy
//! (`copytruncate`, or a rotation that is being compressed) is known by its first bytes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::gate::Gate;
use super::lines::{Lines, Stretch};
use super::packed::Packed;
use super::timestamp::{Clock, Micros, Recogniser, SECOND};
use super::window::{Places, SLACK, Sample, sample};

/// The most files that one look opens; the newest count.
pub const FILES: usize = 256;

/// The most directory entries that one look goes through.
pub const ENTRIES: usize = 200_000;

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

/// A file that could not be read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    pub why: String,
    /// A permission is what is missing.
    pub forbidden: bool,
    /// When it was last written, where that is known: one older than the question doesn't matter.
    pub modified: Option<Micros>,
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

/// A file as its directory lists it.
#[derive(Debug, Clone)]
struct Listed {
    family: PathBuf,
    id: (u64, u64),
    modified: Micros,
    packing: Packing,
    regular: bool,
    /// The check names this very path.
    named: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
    Foreign,
}

impl Snapshot {
    /// Opens what the paths match and what was written since `since`.
    pub fn take(patterns: &[String], since: Micros, clock: &Clock, gate: &Gate) -> Snapshot {
        let mut opened: BTreeMap<(u64, u64), (PathBuf, File)> = BTreeMap::new();
        let mut snapshot = Snapshot::default();
        let mut before: Option<BTreeMap<PathBuf, (u64, u64)>> = None;
        let mut listed = BTreeMap::new();
        for round in 0..=ROUNDS {
            snapshot = Snapshot::default();
            listed = list(patterns, &mut snapshot, gate);
            snapshot.pass_over(&mut listed, since);
            let now: BTreeMap<_, _> = listed.iter().map(|(path, listed)| (path.clone(), listed.id)).collect();
            let mut vanished = false;
            for (path, listed) in &listed {
                if let std::collections::btree_map::Entry::Vacant(place) = opened.entry(listed.id) {
                    match open(path, listed.id) {
                        Ok(Some(file)) => {
                            place.insert((path.clone(), file));
                        }
                        Ok(None) => vanished = true,
                        Err(error) => snapshot.gaps.push(Gap {
                            why: format!("{} can't be opened: {}", path.display(), plain(&error)),
                            forbidden: error.kind() == io::ErrorKind::PermissionDenied,
                            modified: Some(listed.modified),
                        }),
                    }
                }
            }
            if before.as_ref() == Some(&now) && !vanished || gate.halted().is_some() {
                break;
            }
            if round == ROUNDS {
                snapshot.gap("the log's files changed again and again while they were opened".to_owned());
            }
            before = Some(now);
        }
        // A name for each file that was opened: the newest listing's, or the one that it had when it was opened.
        let mut by_id: BTreeMap<(u64, u64), (PathBuf, Listed)> = BTreeMap::new();
        for (path, listed) in listed {
            by_id.entry(listed.id).or_insert((path, listed));
        }
        for (id, (path, file)) in opened {
            if let Some((path, listed)) = by_id.remove(&id) {
                snapshot.admit(path, listed, file, clock, gate);
            } else {
                // Removed since: compressed, or dropped by the rotation. Its lines may be nowhere else.
                let (family, packing) = (path.clone(), packing_of(&path).0);
                let modified = file.metadata().map_or(0, |metadata| modified(&metadata));
                let listed = Listed { family, id, modified, packing, regular: true, named: false };
                snapshot.admit(path, listed, file, clock, gate);
            }
        }
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

    fn gap(&mut self, why: String) {
        self.gaps.push(Gap { why, forbidden: false, modified: None });
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
                    why: format!("{} is compressed in a way that can't be read here", path.display()),
                    forbidden: false,
                    modified: Some(listed.modified),
                });
                return false;
            }
            true
        });
        for (path, named) in irregular {
            let why = format!("{} is not a regular file", path.display());
            if named {
                self.gap(why);
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

    fn admit(&mut self, path: PathBuf, listed: Listed, file: File, clock: &Clock, gate: &Gate) {
        let Ok(metadata) = file.metadata() else {
            return self.gap(format!("{} can't be read", path.display()));
        };
        let packed = listed.packing == Packing::Gzip;
        let length = metadata.len();
        let mut head = vec![0; HEAD];
        let stretch = Stretch { file: &file, at: 0, end: length, gate };
        let read = if packed { fill(Packed::new(stretch, gate), &mut head) } else { fill(stretch, &mut head) };
        match read {
            Ok(read) => head.truncate(read),
            Err(error) => return self.gap(format!("{} can't be read: {}", path.display(), plain(&error))),
        }
        let mut recogniser = clock.recogniser(&head);
        let first = first_of(&head, &mut recogniser);
        self.members.push(Member {
            path,
            family: listed.family,
            file,
            length,
            modified: listed.modified,
            packed,
            head,
            first,
            recogniser: RefCell::new(recogniser),
            places: RefCell::default(),
            id: listed.id,
        });
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
            while let Ok(Some(line)) = lines.next() {
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

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn modified(metadata: &Metadata) -> Micros {
    metadata.mtime().saturating_mul(SECOND) + metadata.mtime_nsec() / 1_000
}

/// The system's word for an error, without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// What the patterns match, and the rotations of what they match.
fn list(patterns: &[String], snapshot: &mut Snapshot, gate: &Gate) -> BTreeMap<PathBuf, Listed> {
    let mut found = BTreeMap::new();
    let mut entries = 0;
    for pattern in patterns {
        let path = Path::new(pattern);
        let (Some(name), Some(directory)) = (path.file_name(), path.parent()) else {
            snapshot.gap(format!("`{pattern}` names no file"));
            continue;
        };
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        let named = !is_pattern(pattern);
        let matcher = glob::Pattern::new(&name.to_string_lossy());
        let Ok(matcher) = matcher else {
            snapshot.gap(format!("`{pattern}` is no pattern of paths"));
            continue;
        };
        let before = found.len();
        for directory in directories(directory, snapshot) {
            let listing = match std::fs::read_dir(&directory) {
                Ok(listing) => listing,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    snapshot.gaps.push(Gap {
                        why: format!("{} can't be listed: {}", directory.display(), plain(&error)),
                        forbidden: error.kind() == io::ErrorKind::PermissionDenied,
                        modified: None,
                    });
                    continue;
                }
            };
            for entry in listing.flatten() {
                entries += 1;
                if entries > ENTRIES || gate.grant(1) == 0 {
                    snapshot.gap(format!("`{pattern}` has too many files to go through"));
                    return found;
                }
                let file_name = entry.file_name();
                let name_text = file_name.to_string_lossy();
                let matches =
                    |name: &str| (!name.starts_with('.') || pattern_starts_hidden(&matcher)) && matcher.matches(name);
                let base = base_of(&name_text).filter(|base| matches(base));
                let direct = matches(&name_text);
                if !direct && base.is_none() {
                    continue;
                }
                let path = directory.join(&file_name);
                let family = base.map_or_else(|| path.clone(), |base| directory.join(base));
                let metadata = match std::fs::metadata(&path) {
                    Ok(metadata) => metadata,
                    // Gone, or a symbolic link to nowhere.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => {
                        snapshot.gaps.push(Gap {
                            why: format!("{} can't be looked at: {}", path.display(), plain(&error)),
                            forbidden: error.kind() == io::ErrorKind::PermissionDenied,
                            modified: None,
                        });
                        continue;
                    }
                };
                let listed = Listed {
                    family,
                    id: identity(&metadata),
                    modified: modified(&metadata),
                    packing: packing_of(&path).0,
                    regular: metadata.is_file(),
                    named: named && direct,
                };
                found.insert(path, listed);
            }
        }
        if found.len() == before
            && !found.keys().any(|path| glob::Pattern::new(pattern).is_ok_and(|p| p.matches_path(path)))
        {
            snapshot.gap(if named {
                format!("{pattern} does not exist")
            } else {
                format!("no file matches {pattern}")
            });
        }
    }
    found
}

fn pattern_starts_hidden(pattern: &glob::Pattern) -> bool {
    pattern.as_str().starts_with('.')
}

/// True for a path with a wildcard in it.
pub fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

fn directories(directory: &Path, snapshot: &mut Snapshot) -> Vec<PathBuf> {
    let text = directory.to_string_lossy();
    if !is_pattern(&text) {
        return vec![directory.to_owned()];
    }
    match glob::glob(&text) {
        Ok(paths) => {
            let mut found = Vec::new();
            for path in paths.take(ENTRIES) {
                match path {
                    Ok(path) if path.is_dir() => found.push(path),
                    Ok(_) => {}
                    Err(error) => snapshot.gaps.push(Gap {
                        why: format!("{} can't be listed: {}", error.path().display(), plain(error.error())),
                        forbidden: error.error().kind() == io::ErrorKind::PermissionDenied,
                        modified: None,
                    }),
                }
            }
            found
        }
        Err(error) => {
            snapshot.gap(format!("`{text}` is no pattern of paths: {}", error.msg));
            Vec::new()
        }
    }
}

/// How a file is compressed, by its name, and its name without that.
fn packing_of(path: &Path) -> (Packing, String) {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if let Some(inner) = name.strip_suffix(".gz") {
        return (Packing::Gzip, inner.to_owned());
    }
    for foreign in [".zst", ".xz", ".bz2", ".lz4", ".lzma", ".Z"] {
        if let Some(inner) = name.strip_suffix(foreign) {
            return (Packing::Foreign, inner.to_owned());
        }
    }
    (Packing::Plain, name)
}

/// The name that a file is a rotation of: `app.log` for `app.log.1`, `app.log-20261122.gz`, `app-2026-11-22.log`.
fn base_of(name: &str) -> Option<String> {
    let (packing, inner) = packing_of(Path::new(name));
    let packed = packing != Packing::Plain;
    let inner = inner.as_str();
    if let Some(base) = inner.strip_suffix(".old") {
        return Some(base.to_owned());
    }
    if let Some((base, _)) = strip_number(inner, true) {
        return Some(base.to_owned());
    }
    // The extension kept at the end, as logback and logrotate's `extension` write it.
    if let Some((stem, extension)) = inner.rsplit_once('.')
        && let Some((base, _)) = strip_number(stem, false)
    {
        return Some(format!("{base}.{extension}"));
    }
    packed.then(|| inner.to_owned())
}

/// Takes `.1`, `-20261122`, `.2026-11-22T10-00` off the end of a name. A single number behind a hyphen is no rotation
/// (`app-2` is an instance), nor is a short one before an extension unless behind a dot.
fn strip_number(name: &str, at_end: bool) -> Option<(&str, &str)> {
    let number = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '_' | 'T' | ':');
    let (base, number) = name.split_at(name.trim_end_matches(number).len());
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    let fits = match number.as_bytes().first()? {
        b'.' => digits >= if at_end || !number[1..].contains('.') { 1 } else { 8 },
        b'-' | b'_' => digits >= 8,
        _ => false,
    };
    (fits && digits <= 20 && !base.is_empty()).then_some((base, number))
}
