//! Pieces of evidence that are too large for a verdict, such as screenshots: files in one directory, bounded and for a time.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

/// The most bytes of one file.
pub const FILE_LIMIT: usize = 1024 * 1024;
/// The most files; the oldest go first.
const FILES: usize = 100;
/// How long a file is kept.
const AGE: Duration = Duration::from_hours(14 * 24);
/// The longest part of a file's name that a check gives.
const STEM: usize = 48;

/// The directory. It is made when the first file is kept.
#[derive(Debug, Clone)]
pub struct Kept {
    directory: PathBuf,
}

impl Kept {
    pub fn new(directory: PathBuf) -> Self {
        Kept { directory }
    }

    /// Keeps a file and lets go of those that are too old or too many. Blocks. Returns where it lies:
    /// `20261122T101500Z-check-1f2e3d4c.png`.
    ///
    /// # Errors
    /// It is too large, the directory is somebody else's, the disk is full.
    pub fn put(&self, check: &str, extension: &str, bytes: &[u8], now: Timestamp) -> io::Result<PathBuf> {
        if bytes.len() > FILE_LIMIT {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
        }
        self.make_ready()?;
        self.let_go(now);
        let mut random = [0_u8; 4];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let stem: String = check.chars().take(STEM).map(plain).collect();
        let name = format!("{}-{stem}-{:08x}.{extension}", now.strftime("%Y%m%dT%H%M%SZ"), u32::from_be_bytes(random));
        let path = self.directory.join(name);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        if let Err(error) = file.write_all(bytes) {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(path)
    }

    /// A kept file by its name.
    ///
    /// # Errors
    /// There is none of this name (any more).
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        if !is_kept_name(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = fs::OpenOptions::new().read(true).custom_flags(NO_LINK).open(self.directory.join(name))?;
        let mut bytes = Vec::new();
        file.take(FILE_LIMIT as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn make_ready(&self) -> io::Result<()> {
        match fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let found = fs::symlink_metadata(&self.directory)?;
        let ours = found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0;
        if !found.is_dir() || !ours {
            let what = format!("{} is not a directory of ours alone", self.directory.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
        Ok(())
    }

    /// Names begin with their time, so that their order is their age's.
    fn let_go(&self, now: Timestamp) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|n| is_kept_name(n))
            .collect();
        names.sort_unstable();
        let oldest = now.checked_sub(AGE).unwrap_or(now).strftime("%Y%m%dT%H%M%SZ").to_string();
        let too_many = (names.len() + 1).saturating_sub(FILES);
        for (index, name) in names.iter().enumerate() {
            if index < too_many || name.as_str() < oldest.as_str() {
                let _ = fs::remove_file(self.directory.join(name));
            }
        }
    }
}

const NO_LINK: i32 = rustix::fs::OFlags::NOFOLLOW.bits() as i32;

/// True for a name that [`Kept::put`] gives, and so for nothing that leads elsewhere.
pub fn is_kept_name(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    plain
        && name.len() < 128
        && name.starts_with("20")
        && name.matches('.').count() == 1
        && name.get(15..17) == Some("Z-")
}

/// The name of a kept file, by its path.
pub fn name_of(path: &str) -> Option<&str> {
    let name = Path::new(path).file_name()?.to_str()?;
    is_kept_name(name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_kept_within_bounds_and_for_a_time() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("state").join("evidence");
        let kept = Kept::new(directory.clone());
        let now: Timestamp = "2026-11-22T10:15:00Z".parse().unwrap();
        let path = kept.put("pay/../{{x}}", "png", b"picture", now).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.starts_with("20261122T101500Z-pay_") && name.ends_with(".png"), "{name}");
        assert_eq!(kept.read(&name).unwrap(), b"picture");
        assert_eq!(name_of(path.to_str().unwrap()), Some(name.as_str()));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
        assert!(kept.put("a", "png", &vec![0; FILE_LIMIT + 1], now).is_err());

        // More than are kept, and a file that isn't ours to remove.
        fs::write(directory.join("notes.txt"), "").unwrap();
        for _ in 0..FILES + 5 {
            kept.put("b", "png", b"x", now + jiff::SignedDuration::from_mins(1)).unwrap();
        }
        assert_eq!(fs::read_dir(&directory).unwrap().count(), FILES + 1);
        assert!(!path.exists(), "the oldest went");
        kept.put("c", "png", b"x", now + jiff::SignedDuration::from_hours(15 * 24)).unwrap();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2, "those of before are too old");
    }

    #[test]
    fn nothing_else_is_read_or_written() {
        let place = tempfile::tempdir().unwrap();
        let kept = Kept::new(place.path().join("a"));
        for name in ["../../etc/passwd", "/etc/passwd", "", ".", "20261122T101500Z-a.b.png", "20261122T101500Z-a/b.png"]
        {
            assert!(kept.read(name).is_err(), "{name}");
        }
        let now: Timestamp = "2026-11-22T10:15:00Z".parse().unwrap();
        let name = "20261122T101500Z-a-1f2e3d4c.png";
        fs::create_dir(place.path().join("a")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", place.path().join("a").join(name)).unwrap();
        assert!(kept.read(name).is_err(), "a link");
        // The directory's own mode says that others may look in.
        assert!(kept.put("a", "png", b"x", now).is_err());
    }
}
