//! Space and inodes of filesystems.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfs, StatVfsMountFlags, statvfs};

use super::kernel;
use crate::model::encode::terminal;
use crate::model::units::show_size;
use crate::model::value::{Measures, Value};

/// The most filesystems that are looked at without being named.
const FOUND: usize = 64;

/// What is left on a filesystem.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Disk {
    path: String,
    free_ratio: f64,
    free_bytes: f64,
    inodes_free_ratio: f64,
    read_only: bool,
}

/// Where filesystems are mounted that lie on a device of the host's own and can be written: `mountinfo`, proc(5).
///
/// # Errors
/// It can't be read, or names none.
pub(super) fn mounted(root: &Path) -> Result<Vec<PathBuf>, String> {
    // The process that reads may live in a container: the host's own mounts are those of its first process.
    let whose = if root == Path::new("/") { "self" } else { "1" };
    let file = root.join("proc").join(whose).join("mountinfo");
    let text = kernel::text(&file).map_err(|error| format!("{} can't be read: {error}", file.display()))?;
    let mut by_device = BTreeMap::new();
    for line in text.lines() {
        let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
        let mount: Vec<&str> = mount.split(' ').collect();
        let filesystem: Vec<&str> = filesystem.split(' ').collect();
        let ([_, _, device, _, at, options, ..], [kind, source, ..]) = (&mount[..], &filesystem[..]) else { continue };
        let is_local = source.starts_with("/dev/") || *kind == "zfs";
        if is_local && !options.split(',').any(|option| option == "ro") {
            // One device may be mounted in many places; the first is as good as any.
            by_device.entry((*device).to_owned()).or_insert_with(|| unescaped(at));
        }
    }
    if by_device.is_empty() {
        return Err("no filesystem on a device of this host is mounted; name some with `paths`".to_owned());
    }
    Ok(by_device.into_values().take(FOUND).collect())
}

/// `\040` is a space, and so on.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal = tail
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

/// Looks at each of these.
///
/// # Errors
/// One of them isn't there: what is left on the others doesn't answer for it.
pub(super) fn look(root: &Path, paths: &[PathBuf]) -> Result<Vec<Disk>, String> {
    paths
        .iter()
        .map(|path| {
            let shown = path.display().to_string();
            let seen = statvfs(root.join(path.strip_prefix("/").unwrap_or(path)))
                .map_err(|error| format!("{shown} can't be looked at: {error}"))?;
            disk(shown.clone(), &seen).ok_or_else(|| format!("{shown} is on a filesystem without a size"))
        })
        .collect()
}

/// As df(1) counts: what only root may fill is neither used nor free.
fn disk(path: String, seen: &StatVfs) -> Option<Disk> {
    let used = seen.f_blocks.saturating_sub(seen.f_bfree);
    let usable = used + seen.f_bavail;
    if usable == 0 {
        return None;
    }
    let inodes_free_ratio = if seen.f_files == 0 { 1.0 } else { seen.f_favail as f64 / seen.f_files as f64 };
    Some(Disk {
        path,
        free_ratio: seen.f_bavail as f64 / usable as f64,
        free_bytes: seen.f_bavail as f64 * seen.f_frsize as f64,
        inodes_free_ratio,
        read_only: seen.f_flag.contains(StatVfsMountFlags::RDONLY),
    })
}

pub(super) fn tell(disks: &[Disk], measures: &mut Measures) {
    let least = |of: fn(&Disk) -> f64| disks.iter().map(of).reduce(f64::min);
    for (name, value) in [
        ("disk_free_ratio", least(|disk| disk.free_ratio)),
        ("disk_free_bytes", least(|disk| disk.free_bytes)),
        ("inodes_free_ratio", least(|disk| disk.inodes_free_ratio)),
    ] {
        if let Some(value) = value {
            measures.set(name, value);
        }
    }
    let each = disks.iter().map(|disk| {
        let fields = BTreeMap::from([
            ("free_ratio".to_owned(), Value::Float(disk.free_ratio)),
            ("free_bytes".to_owned(), Value::Float(disk.free_bytes)),
            ("inodes_free_ratio".to_owned(), Value::Float(disk.inodes_free_ratio)),
            ("read_only".to_owned(), Value::Bool(disk.read_only)),
        ]);
        (disk.path.clone(), Value::Map(fields))
    });
    measures.set("disks", Value::Map(each.collect()));
}

/// The fullest ones.
pub(super) fn excerpt(disks: &[Disk]) -> String {
    let mut sorted: Vec<&Disk> = disks.iter().collect();
    let rank = |disk: &Disk| disk.free_ratio.min(disk.inodes_free_ratio);
    sorted.sort_by(|a, b| rank(a).total_cmp(&rank(b)));
    let lines: Vec<String> = sorted
        .iter()
        .take(5)
        .map(|disk| {
            format!(
                "{}: {} free ({:.1} %), {:.1} % of the inodes{}",
                terminal(&disk.path),
                show_size(disk.free_bytes as u64),
                disk.free_ratio * 100.0,
                disk.inodes_free_ratio * 100.0,
                if disk.read_only { ", read-only" } else { "" }
            )
        })
        .collect();
    lines.join("\n")
}
