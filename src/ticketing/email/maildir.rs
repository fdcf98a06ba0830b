//! A Maildir (https://cr.yp.to/proto/maildir.html): what is in `new/`, and what may go to `cur/`.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

/// Mails of one look.
const MAILS: usize = 64;
/// As much of each mail is read, in bytes: text stands before attachments.
pub(super) const MAIL_LIMIT: u64 = 250 * 1024;
/// Names that are looked at; which of them come first is the file system's choice.
const NAMES: usize = 10_000;

/// What a look found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub mails: Vec<Vec<u8>>,
    /// Which mails these were: to be given to the next look, once they are on disk.
    pub cursor: String,
}

/// Moves what the cursor names from `new/` to `cur/`, and reads what else is in `new/`, the oldest names first.
///
/// # Errors
/// It can't be read, or written to.
pub(super) fn look(maildir: &Path, cursor: Option<&str>) -> Result<Found, String> {
    let (new, cur) = (maildir.join("new"), maildir.join("cur"));
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let done: Vec<String> = cursor.and_then(|cursor| serde_json::from_str(cursor).ok()).unwrap_or_default();
    for name in done.iter().filter(|name| is_name(name)) {
        let (from, to) = (new.join(name), cur.join(format!("{name}:2,S")));
        match std::fs::rename(&from, &to) {
            Ok(()) => {}
            // Another reader, or this one before it ended, moved it.
            Err(error) if error.kind() == ErrorKind::NotFound && cur.is_dir() => {}
            Err(error) => return Err(failed(&from, error)),
        }
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&new).map_err(|error| failed(&new, error))?.take(NAMES) {
        let entry = entry.map_err(|error| failed(&new, error))?;
        // A link, a pipe or a directory is no mail, and may lead elsewhere.
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if let Some(name) = entry.file_name().to_str().filter(|name| is_file && is_name(name)) {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    names.truncate(MAILS);
    let mut mails = Vec::new();
    let mut read = Vec::new();
    for name in names {
        let path = new.join(&name);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|file| file.take(MAIL_LIMIT).read_to_end(&mut bytes)) {
            Ok(_) => {
                mails.push(bytes);
                read.push(name);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // One that can't be read must not stand in the way of the others; it stays where it is.
            Err(error) => tracing::warn!(path = %path.display(), error = %error, "a mail can't be read"),
        }
    }
    let cursor = serde_json::to_string(&read).map_err(|error| error.to_string())?;
    Ok(Found { mails, cursor })
}

fn is_name(name: &str) -> bool {
    !name.starts_with('.') && !name.contains('/') && !name.is_empty()
}
