//! What the paths of a check match, with the rotations of what they match, as the directories list it.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::gate::Gate;
use super::timestamp::{Micros, SECOND};

/// The most directory entries that one look goes through.
pub const ENTRIES: usize = 200_000;

/// A file that could not be read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    pub why: String,
    /// A permission is what is missing.
    pub forbidden: bool,
    /// When it was last written, where that is known: one older than the question doesn't matter.
    pub modified: Option<Micros>,
}

impl Gap {
    pub fn new(why: String) -> Self {
        Gap { why, forbidden: false, modified: None }
    }

    /// What the system said about a path.
    pub fn of(path: &Path, what: &str, error: &io::Error) -> Self {
        let forbidden = error.kind() == io::ErrorKind::PermissionDenied;
        Gap { why: format!("{} {what}: {}", path.display(), plain(error)), forbidden, modified: None }
    }
}

/// A file as its directory lists it.
#[derive(Debug, Clone)]
pub struct Listed {
    pub family: PathBuf,
    pub id: (u64, u64),
    pub modified: Micros,
    pub packing: Packing,
    pub regular: bool,
    /// The check names this very path.
    pub named: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    Foreign,
}

pub fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

pub fn modified(metadata: &Metadata) -> Micros {
    metadata.mtime().saturating_mul(SECOND) + metadata.mtime_nsec() / 1_000
}

/// The system's word for an error, without its number.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// What the patterns match, and the rotations of what they match.
pub fn list(patterns: &[String], gaps: &mut Vec<Gap>, gate: &Gate) -> BTreeMap<PathBuf, Listed> {
    let mut found = BTreeMap::new();
    let mut entries = 0;
    for pattern in patterns {
        let path = Path::new(pattern);
        let name = path.file_name().map(|name| glob::Pattern::new(&name.to_string_lossy()));
        let (Some(Ok(name)), Some(directory)) = (name, path.parent()) else {
            gaps.push(Gap::new(format!("`{pattern}` names no file")));
            continue;
        };
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        let named = !is_pattern(pattern);
        let mut any = false;
        for directory in directories(directory, gaps) {
            let listing = match std::fs::read_dir(&directory) {
                Ok(listing) => listing,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    gaps.push(Gap::of(&directory, "can't be listed", &error));
                    continue;
                }
            };
            for entry in listing.flatten() {
                entries += 1;
                if entries > ENTRIES || gate.grant(1) == 0 {
                    gaps.push(Gap::new(format!("`{pattern}` has too many files to go through")));
                    return found;
                }
                let Some((direct, family)) = family_of(&entry.file_name().to_string_lossy(), &name) else { continue };
                let path = directory.join(entry.file_name());
                match std::fs::metadata(&path) {
                    Ok(metadata) => {
                        any = true;
                        let listed = Listed {
                            family: directory.join(family),
                            id: identity(&metadata),
                            modified: modified(&metadata),
                            packing: packing_of(&path).0,
                            regular: metadata.is_file(),
                            named: named && direct,
                        };
                        found.insert(path, listed);
                    }
                    // Gone, or a symbolic link to nowhere.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => gaps.push(Gap::of(&path, "can't be looked at", &error)),
                }
            }
        }
        if !any {
            let why = if named { format!("{pattern} does not exist") } else { format!("no file matches {pattern}") };
            gaps.push(Gap::new(why));
        }
    }
    found
}

/// Whether a name matches by itself, and the name that it is a rotation of; `None` where neither matches.
fn family_of(name: &str, pattern: &glob::Pattern) -> Option<(bool, String)> {
    let matches = |name: &str| (!name.starts_with('.') || pattern.as_str().starts_with('.')) && pattern.matches(name);
    let base = base_of(name).filter(|base| matches(base));
    let direct = matches(name);
    (direct || base.is_some()).then(|| (direct, base.unwrap_or_else(|| name.to_owned())))
}

/// True for a path with a wildcard in it.
pub fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

fn directories(directory: &Path, gaps: &mut Vec<Gap>) -> Vec<PathBuf> {
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
                    Err(error) => gaps.push(Gap::of(error.path(), "can't be listed", error.error())),
                }
            }
            found
        }
        Err(error) => {
            gaps.push(Gap::new(format!("`{text}` is no pattern of paths: {}", error.msg)));
            Vec::new()
        }
    }
}

/// How a file is compressed, by its name, and its name without that.
pub fn packing_of(path: &Path) -> (Packing, String) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotations_are_known_by_their_names() {
        for (name, base) in [
            ("app.log.1", Some("app.log")),
            ("app.log.12.gz", Some("app.log")),
            ("app.log-20261122", Some("app.log")),
            ("app.log-20261122.gz", Some("app.log")),
            ("app.log-20261122-100000.gz", Some("app.log")),
            ("app.log.2026-11-22", Some("app.log")),
            ("app.log.2026-11-22T10-00", Some("app.log")),
            ("app.log-1795341600", Some("app.log")),
            ("app-2026-11-22.log", Some("app.log")),
            ("app.2026-11-22.0.log.gz", Some("app.log")),
            ("app.1.log", Some("app.log")),
            ("app.log.old", Some("app.log")),
            ("app.log.gz", Some("app.log")),
            ("app.log.1.zst", Some("app.log")),
            ("app.log", None),
            ("app-2.log", None),
            ("app", None),
            (".1", None),
            ("1", None),
            ("größe.log.1", Some("größe.log")),
            ("log-ä1", None),
        ] {
            assert_eq!(base_of(name).as_deref(), base, "{name}");
        }
    }

    #[test]
    fn a_name_belongs_to_the_family_that_the_pattern_names() {
        for (pattern, name, family) in [
            ("app.log", "app.log", Some((true, "app.log"))),
            ("app.log", "app.log.1", Some((false, "app.log"))),
            ("app.log", "app-2.log", None),
            ("*.log", "a.log.2.gz", Some((false, "a.log"))),
            ("*.log", ".hidden.log", None),
            ("a*", "a.log.1", Some((true, "a.log"))),
            ("app.log.*", "app.log.1", Some((true, "app.log.1"))),
        ] {
            let found = family_of(name, &glob::Pattern::new(pattern).unwrap());
            assert_eq!(found.as_ref().map(|(direct, family)| (*direct, family.as_str())), family, "{pattern} {name}");
        }
    }
}
