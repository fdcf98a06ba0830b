//! The two log files on disk: written line by line, rotated by size, silenced or moved away by a fault.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::clock;
use super::lines::{Said, Served, Writer};
use super::past::Event;

/// The access log's name.
pub const ACCESS: &str = "access.log";
/// The application log's name.
pub const APP: &str = "app.log";
/// Every file that the logs may consist of.
pub const ALL_FILES: &[&str] =
    &["access.log", "access.log.1", "access.log.2.gz", "app.log", "app.log.1", "app.log.2.gz"];
/// The directory below the logs' own into which a fault moves them.
pub const GONE: &str = "gone";

/// A file beyond this size is rotated, so that a shop left alone doesn't fill the disk.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The shop's logs. A line is in its file as soon as its function returns.
#[derive(Debug)]
pub struct Logs {
    directory: PathBuf,
    files: Mutex<Files>,
}

#[derive(Debug)]
struct Files {
    access: Growing,
    app: Growing,
    writer: Writer,
    buffer: Vec<u8>,
    silent: bool,
    gone: bool,
}

/// A log file that is open for appending.
#[derive(Debug)]
struct Growing {
    name: &'static str,
    file: File,
    bytes: u64,
}

impl Logs {
    /// Opens both files for appending; makes those that are missing.
    pub fn open(directory: &Path) -> std::io::Result<Logs> {
        let files = Files {
            access: Growing::open(directory, ACCESS)?,
            app: Growing::open(directory, APP)?,
            writer: Writer::default(),
            buffer: Vec::with_capacity(512),
            silent: false,
            gone: false,
        };
        Ok(Logs { directory: directory.to_path_buf(), files: Mutex::new(files) })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A request was answered just now.
    pub fn served(&self, served: &Served) {
        // The time is taken under the lock: lines stand in the order of their times.
        let mut files = self.lock();
        self.report(files.write(&self.directory, clock::now_millis(), Some(served), None));
    }

    /// The software says something just now.
    pub fn said(&self, said: &Said) {
        let mut files = self.lock();
        self.report(files.write(&self.directory, clock::now_millis(), None, Some(said)));
    }

    /// Something that happened at a time of its own.
    pub fn past(&self, event: &Event) -> std::io::Result<()> {
        self.lock().write(&self.directory, event.at, event.served.as_ref(), event.said.as_ref())
    }

    /// From now on lines are lost, or written again.
    pub fn set_silent(&self, silent: bool) {
        self.lock().silent = silent;
    }

    /// Moves all files to the directory [`GONE`], or back. They keep growing there.
    pub fn set_gone(&self, gone: bool) {
        let mut files = self.lock();
        if files.gone == gone {
            return;
        }
        files.gone = gone;
        let hidden = self.directory.join(GONE);
        let (from, to) = if gone {
            (self.directory.as_path(), hidden.as_path())
        } else {
            (hidden.as_path(), self.directory.as_path())
        };
        self.report(std::fs::create_dir_all(&hidden));
        for name in ALL_FILES.iter().filter(|name| from.join(name).exists()) {
            self.report(std::fs::rename(from.join(name), to.join(name)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A full disk must not close the shop.
    fn report(&self, result: std::io::Result<()>) {
        if let Err(error) = result {
            tracing::warn!(%error, directory = %self.directory.display(), "the shop can't write its logs");
        }
    }
}

impl Files {
    fn write(
        &mut self,
        directory: &Path,
        at: i64,
        served: Option<&Served>,
        said: Option<&Said>,
    ) -> std::io::Result<()> {
        if self.silent {
            return Ok(());
        }
        let home = if self.gone { directory.join(GONE) } else { directory.to_path_buf() };
        if let Some(said) = said {
            self.buffer.clear();
            self.writer.app(at, said, &mut self.buffer);
            self.app.append(&home, &self.buffer)?;
        }
        if let Some(served) = served {
            self.buffer.clear();
            self.writer.access(at, served, &mut self.buffer);
            self.access.append(&home, &self.buffer)?;
        }
        Ok(())
    }
}

impl Growing {
    fn open(directory: &Path, name: &'static str) -> std::io::Result<Growing> {
        let file = File::options().create(true).append(true).open(directory.join(name))?;
        let bytes = file.metadata()?.len();
        Ok(Growing { name, file, bytes })
    }

    /// One write per line: a reader never sees half of one for longer than that.
    fn append(&mut self, directory: &Path, line: &[u8]) -> std::io::Result<()> {
        if self.bytes >= MAX_BYTES {
            std::fs::rename(directory.join(self.name), directory.join(format!("{}.1", self.name)))?;
            *self = Growing::open(directory, self.name)?;
        }
        self.file.write_all(line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines::Level;
    use super::*;

    fn said(message: &'static str) -> Said {
        Said { level: Level::Info, message: message.into(), customer: None, order: None }
    }

    fn read(path: PathBuf) -> String {
        std::fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn lines_are_lost_while_silent_and_move_while_gone() {
        let place = tempfile::tempdir().unwrap();
        let logs = Logs::open(place.path()).unwrap();
        logs.said(&said("one"));
        assert!(read(place.path().join(APP)).contains("one"), "flushed at once");
        logs.set_silent(true);
        logs.said(&said("lost"));
        logs.set_silent(false);

        logs.set_gone(true);
        logs.set_gone(true);
        logs.said(&said("away"));
        assert!(!place.path().join(APP).exists() && !place.path().join(ACCESS).exists());
        logs.set_gone(false);
        logs.said(&said("back"));
        let text = read(place.path().join(APP));
        let found: Vec<&str> = ["one", "lost", "away", "back"].into_iter().filter(|word| text.contains(word)).collect();
        assert_eq!(found, ["one", "away", "back"]);
    }

    #[test]
    fn a_file_beyond_its_size_is_rotated() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join(APP), "old\n").unwrap();
        let logs = Logs::open(place.path()).unwrap();
        logs.lock().app.bytes = MAX_BYTES;
        logs.said(&said("new"));
        assert_eq!(read(place.path().join("app.log.1")), "old\n");
        assert!(read(place.path().join(APP)).contains("new"));
    }
}
