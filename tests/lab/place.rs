//! Directories for the servers' files, below the build's own; those of runs that are over are removed.

use std::path::Path;
use std::sync::Once;

/// A directory that goes when it is dropped, or with a later run where it wasn't.
pub fn new() -> tempfile::TempDir {
    static SWEEP: Once = Once::new();
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    SWEEP.call_once(|| sweep(parent));
    let prefix = format!("lab-{}-", std::process::id());
    tempfile::Builder::new().prefix(&prefix).tempdir_in(parent).expect("the build directory can be written to")
}

/// A static is never dropped, so what a shared server wrote is still there after the run.
fn sweep(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(process) =
            name.to_str().and_then(|name| name.strip_prefix("lab-")).and_then(|rest| rest.split('-').next())
        else {
            continue;
        };
        if process.parse::<u32>().is_ok() && !Path::new("/proc").join(process).exists() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
