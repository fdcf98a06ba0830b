//! Files beside the database: the lock, the reserve of disk space, and what is left of a store that can't be read.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Held back for verdicts and escalations of tickets that were accepted before the disk was full.
const RESERVE: u64 = 8 * 1024 * 1024;

/// How long a daemon that is about to end may still hold the lock.
const LOCK_PATIENCE: Duration = Duration::from_millis(600);

/// How many ticket numbers are set aside at a time.
pub(super) const NUMBERS: u64 = 100_000;

fn reserve_path(directory: &Path) -> PathBuf {
    directory.join("houston.reserve")
}

/// Sets the space aside, where it isn't yet. Without it the store works, only not as long on a full disk.
///
/// # Errors
/// No space, no permission.
pub(super) fn set_aside(directory: &Path) -> std::io::Result<()> {
    let path = reserve_path(directory);
    if std::fs::metadata(&path).is_ok_and(|found| found.len() == RESERVE) {
        return Ok(());
    }
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path)?;
    let filled = match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, RESERVE) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            let block = vec![0_u8; 1024 * 1024];
            (0..RESERVE / block.len() as u64).try_for_each(|_| file.write_all(&block))
        }
        allocated => allocated.map_err(std::io::Error::from),
    };
    if filled.is_err() {
        // Half a reserve would take the last space from those whom it is for.
        std::fs::remove_file(&path)?;
    }
    filled
}

/// Gives the reserve to whoever writes next.
///
/// # Errors
/// It can't be removed; that it is gone already is none.
pub(super) fn release(directory: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(reserve_path(directory)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Takes the directory for this process. The lock is the kernel's: it ends with its holder, however that ends, so a
/// lock file that is left behind is no obstacle.
///
/// # Errors
/// `WouldBlock` where another process holds it.
pub(super) fn lock(directory: &Path) -> Result<File, TryLockError> {
    let path = directory.join("houston.lock");
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path);
    let file = file.map_err(TryLockError::Error)?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error),
            Ok(()) => return Ok(file),
        }
    }
}

/// Up to which number tickets of this directory may have been numbered; 0 before the first.
///
/// It is kept in the lock file, outside of the database, so that a store that had to start afresh never gives a number
/// (and with it the key of an action, by which receivers recognise repetitions) a second time.
pub(super) fn numbers_used(lock: &mut File) -> std::io::Result<u64> {
    let mut text = String::new();
    lock.rewind()?;
    lock.take(64).read_to_string(&mut text)?;
    Ok(text.trim().parse().unwrap_or(0))
}

/// Sets aside the numbers that follow `newest`, if too few are left; returns the last one that is.
///
/// # Errors
/// The file can't be written.
pub(super) fn set_numbers_aside(lock: &mut File, newest: u64) -> std::io::Result<u64> {
    let used = numbers_used(lock)?;
    if used >= newest.saturating_add(NUMBERS / 2) {
        return Ok(used);
    }
    let used = newest.saturating_add(NUMBERS);
    lock.rewind()?;
    lock.write_all(format!("{used:<20}\n").as_bytes())?;
    lock.sync_all()?;
    Ok(used)
}

/// Moves a database that can't be used out of the way, with its companions; returns where it is.
///
/// # Errors
/// It can't be moved.
pub(super) fn move_aside(path: &Path) -> std::io::Result<PathBuf> {
    let beside = |n: u32| path.with_extension(format!("db.corrupt-{n}"));
    let free =
        (1..u32::MAX).map(beside).find(|candidate| !candidate.exists() && !with_suffix(candidate, "-wal").exists());
    let target = free.unwrap_or_else(|| beside(u32::MAX));
    for suffix in ["", "-wal", "-shm"] {
        match std::fs::rename(with_suffix(path, suffix), with_suffix(&target, suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(target)
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_set_aside_once_and_released() {
        let directory = tempfile::tempdir().unwrap();
        set_aside(directory.path()).unwrap();
        set_aside(directory.path()).unwrap();
        assert_eq!(std::fs::metadata(reserve_path(directory.path())).unwrap().len(), RESERVE);
        release(directory.path()).unwrap();
        release(directory.path()).unwrap();
        assert!(!reserve_path(directory.path()).exists());
    }

    #[test]
    fn numbers_are_set_aside_in_blocks() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = lock(directory.path()).unwrap();
        assert_eq!(numbers_used(&mut file).unwrap(), 0);
        for (newest, used) in [(0, 100_000), (40_000, 100_000), (50_001, 150_001)] {
            set_numbers_aside(&mut file, newest).unwrap();
            assert_eq!(numbers_used(&mut file).unwrap(), used);
        }
    }

    #[test]
    fn what_is_moved_aside_never_hides_an_earlier_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("houston.db");
        for n in 1..=3 {
            std::fs::write(&path, "x").unwrap();
            let moved = move_aside(&path).unwrap();
            assert!(moved.ends_with(format!("houston.db.corrupt-{n}")));
            assert!(moved.exists() && !path.exists());
        }
    }
}
