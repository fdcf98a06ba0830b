//! Notices changes of `checks.d/` and hands out what is in force then.
//!
//! The kernel's notifications are a hint that makes it fast, never the truth: they go silent when a directory is
//! renamed away and made anew, and never came for what lies behind a link. So the directory's parent is watched as
//! well, the watch is set anew when another directory stands at the path, and every 30 s all content is read again.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::check::CheckSet;
use super::folder;
use super::library::Library;
use crate::model::source::{Diagnostic, Span};

/// How long nothing must change before what changed is read: an editor writes a file in several steps.
const QUIET: Duration = Duration::from_millis(200);
/// The longest that a directory without a quiet moment is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often all content is read again, whatever the notifications say.
const RESCAN: Duration = Duration::from_secs(30);
/// How often the directory is looked at where the kernel can't notify.
const POLL: Duration = Duration::from_secs(1);

/// What is in force after a change.
#[derive(Debug, Clone)]
pub struct Reloaded {
    pub set: CheckSet,
    pub diagnostics: Vec<Diagnostic>,
}

/// Watches the library's directory until the receiver is gone; sends whenever the checks, or what is wrong with them,
/// have changed. The library should have been loaded before; what changed since then is sent at once.
///
/// Dropping the future ends the watch.
pub async fn watch(library: Library, changes: mpsc::Sender<Reloaded>) {
    let path = library.folder().to_path_buf();
    let changed = Arc::new(Notify::new());
    let mut watcher = Watching::start(&path, &changed);
    let mut sent: Option<(u64, Vec<Diagnostic>)> = Some((library.set().generation, Vec::new()));
    let mut library = Some(library);
    let mut stamp = None;
    let mut rescan_at = Instant::now();
    loop {
        let look_at = if watcher.is_deaf() { rescan_at.min(Instant::now() + POLL) } else { rescan_at };
        tokio::select! {
            () = changes.closed() => return,
            () = changed.notified() => settle(&changed).await,
            () = sleep_until(look_at) => {
                if Instant::now() < rescan_at {
                    let folder = path.clone();
                    let now = tokio::task::spawn_blocking(move || folder::stamp(&folder)).await.ok();
                    if now == stamp {
                        continue;
                    }
                    stamp = now;
                    settle(&changed).await;
                }
            }
        }
        if watcher.is_outdated(&path) || (watcher.is_deaf() && Instant::now() >= rescan_at) {
            watcher = Watching::start(&path, &changed);
        }
        let Some(mut owned) = library.take() else { return };
        let done = tokio::task::spawn_blocking(move || {
            let (set, diagnostics) = owned.reload();
            (owned, set, diagnostics)
        });
        let Ok((owned, set, mut diagnostics)) = done.await else { return };
        library = Some(owned);
        rescan_at = Instant::now() + RESCAN;
        diagnostics.extend(watcher.complaint(&path));
        let new = (set.generation, diagnostics);
        if sent.as_ref() != Some(&new) {
            let reloaded = Reloaded { set, diagnostics: new.1.clone() };
            if changes.send(reloaded).await.is_err() {
                return;
            }
            sent = Some(new);
        }
    }
}

/// Waits until nothing has changed for a while.
async fn settle(changed: &Notify) {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let quiet = (Instant::now() + QUIET).min(give_up);
        if timeout_at(quiet, changed.notified()).await.is_err() {
            return;
        }
    }
}

/// The kernel's watch on a directory and its parent.
struct Watching {
    /// `None`, or its reason, where the kernel can't.
    watcher: Result<RecommendedWatcher, String>,
    /// The directory that is watched: device and inode.
    identity: Option<(u64, u64)>,
}

impl Watching {
    fn start(path: &Path, changed: &Arc<Notify>) -> Self {
        let identity = identity(path);
        let watcher = set_up(path, Arc::clone(changed)).map_err(|error| error.to_string());
        // What happened while no watch was set is found by reading once.
        changed.notify_one();
        Watching { watcher, identity }
    }

    /// True where no notification can be expected.
    fn is_deaf(&self) -> bool {
        self.watcher.is_err()
    }

    /// True where another directory stands at the path than the one that is watched.
    fn is_outdated(&self, path: &Path) -> bool {
        identity(path) != self.identity
    }

    fn complaint(&self, path: &Path) -> Option<Diagnostic> {
        let why = self.watcher.as_ref().err()?;
        let at = Span::file(&folder::label(path));
        let message = format!(
            "the kernel can't watch this directory ({}); it is looked at every second",
            crate::model::encode::terminal(why)
        );
        Some(Diagnostic::warning(at, message).hint("raise fs.inotify.max_user_watches and max_user_instances"))
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn set_up(path: &Path, changed: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let absolute = std::path::absolute(path).map_err(notify::Error::io)?;
    let own = absolute.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        let matters = match event {
            // Reading the files must not look like a change of them.
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => false,
            // The parent may be a busy place: only what concerns our directory counts.
            Ok(event) => event.need_rescan() || event.paths.iter().any(|path| path.starts_with(&own)),
            Err(_) => true,
        };
        if matters {
            changed.notify_one();
        }
    })?;
    if absolute.is_dir() {
        watcher.watch(&absolute, RecursiveMode::Recursive)?;
    }
    if let Some(parent) = absolute.parent().map(PathBuf::from) {
        watcher.watch(&parent, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tokio::task::JoinHandle;

    use super::super::test_kinds::KINDS;
    use super::*;

    fn check(name: &str) -> String {
        format!("checks:\n- name: {name}\n  http: {{ url: 'http://x/' }}\n")
    }

    struct Case {
        root: tempfile::TempDir,
        changes: mpsc::Receiver<Reloaded>,
        task: JoinHandle<()>,
    }

    impl Drop for Case {
        fn drop(&mut self) {
            self.task.abort();
        }
    }

    impl Case {
        /// A directory `checks.d`, filled by `prepare`, loaded and watched.
        fn new(prepare: impl FnOnce(&Path)) -> Self {
            let root = tempfile::tempdir().unwrap();
            let folder = root.path().join("checks.d");
            std::fs::create_dir(&folder).unwrap();
            prepare(&folder);
            let mut library = Library::new(folder, KINDS, Arc::new(|_| Ok(())));
            library.reload();
            let (sender, changes) = mpsc::channel(16);
            let task = tokio::spawn(watch(library, sender));
            Case { root, changes, task }
        }

        fn folder(&self) -> PathBuf {
            self.root.path().join("checks.d")
        }

        /// Waits until exactly these checks are in force.
        async fn until(&mut self, names: &[&str], stale: usize) {
            let mut last = None;
            let wait = async {
                while let Some(reloaded) = self.changes.recv().await {
                    let is: Vec<&str> = reloaded.set.checks.iter().map(|check| &*check.name).collect();
                    if is == names && reloaded.set.stale_files.len() == stale {
                        return;
                    }
                    last = Some(reloaded);
                }
                panic!("the watch has ended");
            };
            // The promise is 2 s; a loaded machine gets more.
            if tokio::time::timeout(Duration::from_secs(20), wait).await.is_err() {
                panic!("{names:?} never came; the last was {last:?}");
            }
        }
    }

    #[tokio::test]
    async fn an_atomic_rename_and_a_write_in_place_are_seen() {
        let mut case = Case::new(|folder| std::fs::write(folder.join("a.yaml"), check("a")).unwrap());
        let folder = case.folder();
        std::fs::write(folder.join(".b.yaml.new"), check("b")).unwrap();
        std::fs::rename(folder.join(".b.yaml.new"), folder.join("b.yaml")).unwrap();
        case.until(&["a", "b"], 0).await;
        std::fs::write(folder.join("a.yaml"), check("a2")).unwrap();
        case.until(&["a2", "b"], 0).await;
        std::fs::write(folder.join("a.yaml"), "checks:\n- nam").unwrap();
        case.until(&["a2", "b"], 1).await;
        std::fs::remove_file(folder.join("a.yaml")).unwrap();
        case.until(&["b"], 0).await;
        std::fs::create_dir(folder.join("more")).unwrap();
        std::fs::write(folder.join("more/c.yaml"), check("c")).unwrap();
        case.until(&["b", "c"], 0).await;
    }

    #[tokio::test]
    async fn the_link_swap_of_a_mounted_volume_is_seen() {
        let mut case = Case::new(|folder| {
            std::fs::create_dir(folder.join("..1")).unwrap();
            std::fs::write(folder.join("..1/a.yaml"), check("one")).unwrap();
            symlink("..1", folder.join("..data")).unwrap();
            symlink("..data/a.yaml", folder.join("a.yaml")).unwrap();
        });
        let folder = case.folder();
        std::fs::create_dir(folder.join("..2")).unwrap();
        std::fs::write(folder.join("..2/a.yaml"), check("two")).unwrap();
        symlink("..2", folder.join("..data_tmp")).unwrap();
        std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        case.until(&["two"], 0).await;
    }

    #[tokio::test]
    async fn a_directory_that_is_renamed_away_and_made_anew_is_heard_again() {
        let mut case = Case::new(|folder| std::fs::write(folder.join("a.yaml"), check("a")).unwrap());
        let folder = case.folder();
        std::fs::rename(&folder, case.root.path().join("old")).unwrap();
        case.until(&["a"], 1).await;
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("b.yaml"), check("b")).unwrap();
        case.until(&["b"], 0).await;
        // The new directory is watched, not the old one.
        std::fs::write(folder.join("c.yaml"), check("c")).unwrap();
        case.until(&["b", "c"], 0).await;
    }

    #[tokio::test]
    async fn the_watch_ends_with_its_receiver() {
        let mut case = Case::new(|_| {});
        case.changes.close();
        let ended = tokio::time::timeout(Duration::from_secs(20), &mut case.task).await;
        assert!(ended.is_ok(), "still watching");
    }

    #[tokio::test]
    async fn where_the_kernel_cannot_notify_it_is_looked_at_and_said() {
        // A directory whose parent isn't there can't be watched.
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("later/checks.d");
        let mut library = Library::new(&folder, KINDS, Arc::new(|_| Ok(())));
        library.reload();
        let (sender, changes) = mpsc::channel(16);
        let task = tokio::spawn(watch(library, sender));
        let mut case = Case { root, changes, task };
        let first = tokio::time::timeout(Duration::from_secs(20), case.changes.recv()).await.unwrap().unwrap();
        assert!(first.diagnostics.iter().any(|error| error.message.contains("every second")), "{first:?}");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("a.yaml"), check("a")).unwrap();
        case.until(&["a"], 0).await;
    }
}
