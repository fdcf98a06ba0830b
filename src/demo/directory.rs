//! The directory of the log files: only one that is ours, that nobody else can write, and that no other shop uses.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use super::StartError;
use super::logs::{ALL_FILES, GONE};

/// Makes the directory where it is missing, takes it for this shop and removes what an earlier shop left there.
/// The lock is held for as long as the file is kept.
pub fn prepare(directory: &Path) -> Result<File, StartError> {
    let refuse = |why: String| StartError::Directory { directory: directory.to_path_buf(), why };
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| refuse(format!("{what}: {error}"))
    };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed("it can't be made"))?;
    // The default lies in /tmp, where anybody may have put a link or a directory of this name first.
    let found = std::fs::symlink_metadata(directory).map_err(failed("it can't be looked at"))?;
    if !found.is_dir() {
        return Err(refuse("it is no directory".into()));
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(refuse(format!("it belongs to somebody else (user {})", found.uid())));
    }
    if found.mode() & 0o022 != 0 {
        return Err(refuse("others may write to it".into()));
    }
    let lock = File::options().create(true).truncate(false).write(true).open(directory.join("shop.lock"));
    let lock = lock.map_err(failed("its lock can't be made"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(refuse("another shop is using it".into())),
        Err(TryLockError::Error(error)) => return Err(refuse(format!("its lock can't be taken: {error}"))),
    }
    for name in ALL_FILES {
        for place in [directory.to_path_buf(), directory.join(GONE)] {
            match std::fs::remove_file(place.join(name)) {
                Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    return Err(refuse(format!("the old {name} can't be removed: {error}")));
                }
                _ => {}
            }
        }
    }
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_that_cannot_be_trusted_is_refused_with_the_reason() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        std::fs::write(at("file"), "x").unwrap();
        std::fs::create_dir(at("open")).unwrap();
        std::fs::set_permissions(at("open"), std::fs::Permissions::from_mode(0o777)).unwrap();
        std::fs::create_dir(at("real")).unwrap();
        std::os::unix::fs::symlink(at("real"), at("link")).unwrap();
        for (name, expected) in [
            ("file", "can't be made"),
            ("open", "others may write to it"),
            ("link", "no directory"),
            ("file/below", "can't be made"),
        ] {
            let error = prepare(&at(name)).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(name), "{name}: {error}");
        }
    }

    #[test]
    fn it_is_made_private_locked_and_cleared_of_old_logs_only() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("deep/shop");
        let lock = prepare(&directory).unwrap();
        assert_eq!(std::fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
        std::fs::write(directory.join("access.log"), "old").unwrap();
        std::fs::write(directory.join("notes.txt"), "mine").unwrap();

        let error = prepare(&directory).unwrap_err().to_string();
        assert!(error.contains("another shop"), "{error}");
        assert!(directory.join("access.log").exists(), "a refused start must not touch the other shop's files");

        drop(lock);
        let _lock = prepare(&directory).unwrap();
        assert!(!directory.join("access.log").exists());
        assert!(directory.join("notes.txt").exists());
    }
}
