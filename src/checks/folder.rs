//! The files of a `checks.d/`: which count, in which order, and their bytes.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::model::encode;
use crate::model::source::{Diagnostic, Span};
use crate::yaml::FILE_LIMIT;

/// The most files that are loaded.
pub const FILES_LIMIT: usize = 2_000;
/// The most entries of directories that are looked at.
const ENTRIES_LIMIT: usize = 100_000;
/// The most levels of directories.
const DEPTH_LIMIT: usize = 16;

/// A file that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub path: PathBuf,
    /// As it is shown: the path with the folder's own name.
    pub label: String,
}

/// What is in the folder.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// In the order of their paths.
    pub files: Vec<Found>,
    /// False where something could not be listed: then what is missing may be there.
    pub complete: bool,
    pub diagnostics: Vec<Diagnostic>,
}

/// Lists the files: `*.yaml` and `*.yml`, in all directories below.
///
/// Left out are names that editors and copies leave behind: dot files (and directories, so that the `..data` of a
/// mounted Kubernetes volume isn't read twice), `~` at the end, `.swp`, `.tmp`.
pub(super) fn scan(folder: &Path) -> Scan {
    let mut scan = Scan { complete: true, ..Scan::default() };
    let Ok(root) = folder.canonicalize() else {
        scan.complete = false;
        return scan;
    };
    let mut entries = 0;
    walk(folder, &root, 0, &mut entries, &mut scan);
    scan.files.sort_by(|a, b| a.path.cmp(&b.path));
    if scan.files.len() > FILES_LIMIT {
        let more = scan.files.len() - FILES_LIMIT;
        let first = scan.files.get(FILES_LIMIT).map(|file| file.label.clone()).unwrap_or_default();
        scan.files.truncate(FILES_LIMIT);
        scan.complete = false;
        let message =
            format!("{more} files too many: at most {FILES_LIMIT} are loaded, `{first}` and what follows is not");
        scan.diagnostics
            .push(Diagnostic::error(Span::file(&label(folder)), message).hint("put several checks into one file"));
    }
    scan
}

fn walk(directory: &Path, root: &Path, depth: usize, entries: &mut usize, scan: &mut Scan) {
    let trouble = |scan: &mut Scan, path: &Path, what: String, hint: &str| {
        scan.complete = false;
        scan.diagnostics.push(Diagnostic::error(Span::file(&label(path)), what).hint(hint));
    };
    let listing = match std::fs::read_dir(directory) {
        Ok(listing) => listing,
        Err(error) => {
            trouble(
                scan,
                directory,
                format!("the directory can't be listed: {error}"),
                "houston needs to read and enter it",
            );
            return;
        }
    };
    for entry in listing {
        *entries += 1;
        if *entries > ENTRIES_LIMIT {
            if *entries == ENTRIES_LIMIT + 1 {
                let what = format!("more than {ENTRIES_LIMIT} entries");
                trouble(scan, directory, what, "is this the right directory?");
            }
            return;
        }
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                trouble(scan, directory, format!("the directory can't be listed: {error}"), "it is tried again");
                return;
            }
        };
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            if depth + 1 >= DEPTH_LIMIT {
                let what = format!("more than {DEPTH_LIMIT} levels of directories");
                trouble(scan, &path, what, "move the files up");
            } else {
                walk(&path, root, depth + 1, entries, scan);
            }
            continue;
        }
        if !(name.ends_with(".yaml") || name.ends_with(".yml")) {
            if kind.is_symlink() && path.is_dir() {
                let what = "a link to a directory is not followed".to_owned();
                scan.diagnostics.push(
                    Diagnostic::warning(Span::file(&label(&path)), what)
                        .hint("move the directory here, or link its files"),
                );
            }
            continue;
        }
        // A link may lead to another file of the folder (that is how Kubernetes swaps them), not out of it.
        if kind.is_symlink()
            && let Ok(target) = path.canonicalize()
            && !target.starts_with(root)
        {
            let what = "this link leads out of the directory of checks".to_owned();
            scan.diagnostics.push(Diagnostic::error(Span::file(&label(&path)), what).hint("copy the file here"));
            continue;
        }
        scan.files.push(Found { label: label(&path), path });
    }
}

/// A path as it is shown.
pub(super) fn label(path: &Path) -> String {
    encode::terminal(&path.to_string_lossy())
}

/// The bytes of a file, at most one more than the limit. Never waits: a pipe or a device is refused, not read.
pub(super) fn read(file: &Found) -> Result<Vec<u8>, Diagnostic> {
    let refuse = |what: String, hint: &str| Diagnostic::error(Span::file(&file.label), what).hint(hint);
    let failed = |error: std::io::Error| refuse(format!("the file can't be read: {error}"), "houston needs to read it");
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let mut open = std::fs::OpenOptions::new();
    let handle: File = open.read(true).custom_flags(flags.bits() as i32).open(&file.path).map_err(failed)?;
    if !handle.metadata().map_err(failed)?.is_file() {
        return Err(refuse("this is no regular file".to_owned(), "only files are read here"));
    }
    let mut bytes = Vec::new();
    handle.take(FILE_LIMIT as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// A number that changes when a file appears, goes or is written, without reading any. For polling.
pub(super) fn stamp(folder: &Path) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    let scan = scan(folder);
    scan.complete.hash(&mut hasher);
    for file in scan.files {
        file.label.hash(&mut hasher);
        if let Ok(metadata) = std::fs::metadata(&file.path) {
            (metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec(), metadata.ctime_nsec())
                .hash(&mut hasher);
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_what_is_meant_to_be_loaded_counts() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for directory in ["logs", ".git", "x.yaml", "..2026"] {
            std::fs::create_dir(at(directory)).unwrap();
        }
        for file in [
            "b.yaml",
            "a.yml",
            "logs/c.yaml",
            ".hidden.yaml",
            "d.yaml~",
            "e.yaml.swp",
            "f.yaml.tmp",
            "g.txt",
            ".git/h.yaml",
            "x.yaml/i.yaml",
            "..2026/j.yaml",
        ] {
            std::fs::write(at(file), "checks: []").unwrap();
        }
        symlink("..2026", at("..data")).unwrap();
        symlink("..data/j.yaml", at("j.yaml")).unwrap();
        symlink("nowhere@host:1", at(".#b.yaml")).unwrap();
        let scan = scan(folder.path());
        let names: Vec<_> =
            scan.files.iter().map(|file| file.path.strip_prefix(folder.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.yml", "b.yaml", "j.yaml", "logs/c.yaml", "x.yaml/i.yaml"]);
        assert!(scan.complete && scan.diagnostics.is_empty(), "{:?}", scan.diagnostics);
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        let pipe = folder.path().join("pipe.yaml");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        symlink(outside.path(), folder.path().join("out.yaml")).unwrap();
        symlink("gone.yaml", folder.path().join("dangling.yaml")).unwrap();
        let scan = scan(folder.path());
        assert!(scan.diagnostics[0].message.contains("out of the directory"));
        let results: Vec<_> = scan.files.iter().map(|file| read(file).unwrap_err().message).collect();
        assert_eq!(results.len(), 2);
        assert!(results[0].contains("can't be read"), "{results:?}");
        assert!(results[1].contains("no regular file"), "{results:?}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_no_empty_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!scan(&folder.path().join("gone")).complete);
        assert!(scan(folder.path()).complete);
    }

    #[test]
    fn more_files_than_the_limit_are_said() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..=FILES_LIMIT {
            std::fs::write(folder.path().join(format!("{number:05}.yaml")), "").unwrap();
        }
        let scan = scan(folder.path());
        assert_eq!(scan.files.len(), FILES_LIMIT);
        assert!(!scan.complete);
        assert!(scan.diagnostics[0].message.contains("1 files too many"), "{:?}", scan.diagnostics);
    }
}
