//! Rotations made by hand, and what is read of them.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::tz::TimeZone;

use super::*;
use crate::files::listing::modified;
use crate::files::scan::scan;
use crate::files::timestamp::{SECOND, timestamp};
use crate::model::window::Window;

/// 2026-11-22T10:00:00Z
const BASE: Micros = 1_795_341_600 * SECOND;

fn gate() -> Gate {
    Gate::new(u64::MAX, Instant::now() + Duration::from_secs(600), Default::default())
}

fn clock(now: Micros) -> Clock {
    Clock::new(TimeZone::UTC, None, timestamp(now))
}

/// One line a second from `from` on.
fn lines(from: usize, to: usize) -> String {
    (from..to).map(|second| format!("{} line {second}\n", timestamp(BASE + second as i64 * SECOND))).collect()
}

fn write(path: &Path, bytes: &[u8], modified: usize) {
    std::fs::write(path, bytes).unwrap();
    touch(path, BASE + modified as i64 * SECOND);
}

fn touch(path: &Path, at: Micros) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_micros(at as u64)).unwrap();
}

fn pack(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// The numbers of the lines in a window, and what is amiss.
fn seen(directory: &Path, pattern: &str, from: usize, to: usize) -> (Vec<usize>, Vec<String>) {
    let clock = clock(BASE + 100_000 * SECOND);
    let gate = gate();
    let window = Window::new(timestamp(BASE + from as i64 * SECOND), timestamp(BASE + to as i64 * SECOND));
    let pattern = directory.join(pattern).to_string_lossy().into_owned();
    let snapshot = Snapshot::take(&[pattern], BASE + from as i64 * SECOND, &clock, &gate);
    let mut numbers = Vec::new();
    let coverage = scan(&snapshot, window, None, &clock, &gate, |entry| numbers.push(number(entry.line)));
    let mut amiss: Vec<String> = snapshot.gaps.iter().map(|gap| gap.why.clone()).collect();
    amiss.extend(coverage.incomplete);
    amiss.extend(snapshot.verify(clock.now(), &gate).err());
    numbers.sort_unstable();
    (numbers, amiss)
}

fn number(line: &[u8]) -> usize {
    std::str::from_utf8(line).unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

fn range(from: usize, to: usize) -> (Vec<usize>, Vec<String>) {
    ((from..=to).collect(), Vec::new())
}

#[test]
fn a_window_is_read_through_all_rotations_that_reach_into_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    // Broken: nobody may read it where it lies before the window.
    write(&path("app.log.4.gz"), b"this is no gzip file at all", 500);
    write(&path("app.log-20261101.gz"), &pack(&lines(1_000, 2_000)), 1_999);
    write(&path("app.log.2.gz"), &pack(&lines(2_000, 3_000)), 2_999);
    write(&path("app.log.1"), lines(3_000, 4_000).as_bytes(), 3_999);
    write(&path("app.log"), lines(4_000, 5_000).as_bytes(), 4_999);
    for (from, to) in [(1_500, 4_500), (2_500, 2_600), (4_000, 4_999), (3_990, 4_010)] {
        for pattern in ["app.log", "app.log*", "*.log"] {
            assert_eq!(seen(directory.path(), pattern, from, to), range(from, to), "{pattern}");
        }
    }
    let (numbers, amiss) = seen(directory.path(), "app.log", 400, 1_100);
    assert_eq!(numbers, (1_000..=1_100).collect::<Vec<_>>());
    assert!(amiss[0].contains("app.log.4.gz is no sound gzip file"), "{amiss:?}");
}

#[test]
fn a_copy_is_not_read_twice() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    write(&path("app.log"), lines(0, 1_000).as_bytes(), 999);
    // copytruncate in the middle of copying, and before it has truncated.
    for copied in [10, 500, 1_000] {
        write(&path("app.log.1"), lines(0, copied).as_bytes(), 999);
        assert_eq!(seen(directory.path(), "app.log", 0, 999), range(0, 999));
    }
    // Being compressed: the unfinished one lies beside the original.
    write(&path("app.log.1"), lines(0, 1_000).as_bytes(), 999);
    write(&path("app.log"), lines(1_000, 1_010).as_bytes(), 1_009);
    let packed = pack(&lines(0, 1_000));
    for part in [0, 5, packed.len() / 2, packed.len()] {
        write(&path("app.log.1.gz"), &packed[..part], 999);
        assert_eq!(seen(directory.path(), "app.log", 0, 1_009), range(0, 1_009), "{part}");
    }
    // The same file under two names.
    std::os::unix::fs::symlink(path("app.log"), path("current.log")).unwrap();
    std::fs::hard_link(path("app.log"), path("other.log")).unwrap();
    assert_eq!(seen(directory.path(), "*.log", 0, 1_009), range(0, 1_009));
}

#[test]
fn only_regular_files_are_opened_and_what_is_missing_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::create_dir(path("dir.log")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, path("pipe.log"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path("socket.log")).unwrap();
    std::os::unix::fs::symlink(path("nowhere"), path("dangling.log")).unwrap();
    std::os::unix::fs::symlink(path("circle.log"), path("circle.log")).unwrap();
    for (pattern, part) in [
        ("pipe.log", "not a regular file"),
        ("dir.log", "not a regular file"),
        ("socket.log", "not a regular file"),
        ("dangling.log", "does not exist"),
        ("circle.log", "can't be looked at"),
        ("missing.log", "does not exist"),
        ("missing/app.log", "does not exist"),
        ("no*.log", "no file matches"),
    ] {
        let (numbers, amiss) = seen(directory.path(), pattern, 0, 10);
        assert!(numbers.is_empty());
        assert!(amiss.iter().any(|why| why.contains(part)), "{pattern}: {amiss:?}");
    }
    for device in ["/dev/zero", "/dev/null"] {
        let snapshot = Snapshot::take(&[device.to_owned()], 0, &clock(BASE), &gate());
        assert!(snapshot.members.is_empty() && snapshot.gaps[0].why.contains("not a regular file"));
    }
    // Beside readable files a wildcard passes over what is none.
    std::fs::remove_file(path("circle.log")).unwrap();
    write(&path("app.log"), lines(0, 10).as_bytes(), 9);
    assert_eq!(seen(directory.path(), "*.log", 0, 9), range(0, 9));
}

#[test]
fn what_changes_underneath_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.log");
    let rotated = directory.path().join("app.log.1");
    let (clock, gate) = (clock(BASE + 2_000 * SECOND), gate());
    let pattern = [path.to_string_lossy().into_owned()];
    let append = |path: &Path, text: &str| {
        File::options().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    };
    for (change, part) in
        [(0, None), (1, Some("truncated")), (2, Some("rewritten")), (3, Some("still being written")), (4, None)]
    {
        write(&rotated, lines(0, 100).as_bytes(), 99);
        write(&path, lines(100, 200).as_bytes(), 199);
        let snapshot = Snapshot::take(&pattern, BASE, &clock, &gate);
        match change {
            0 => append(&path, &lines(200, 210)),
            1 => std::fs::write(&path, "").unwrap(),
            2 => {
                std::fs::write(&path, "").unwrap();
                append(&path, &lines(2_000, 3_000));
            }
            3 => append(&rotated, &lines(100, 110)),
            // A program that has not let go of its old file writes on after the question was asked.
            _ => append(&rotated, &lines(3_000, 3_010)),
        }
        let verified = snapshot.verify(clock.now(), &gate);
        assert_eq!(
            verified.as_ref().err().map(|why| part.is_some_and(|part| why.contains(part))),
            part.map(|_| true),
            "{change}: {verified:?}"
        );
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    Rename,
    RenameAndPack,
    CopyTruncate,
}

struct Stopper<'a>(&'a AtomicBool);

impl Drop for Stopper<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Writes and rotates as fast as it can, a line every 100 µs of the log's own time.
fn writer(directory: &Path, how: How, base: Micros, written: &AtomicUsize, allowed: &AtomicUsize, stop: &AtomicBool) {
    let path = |name: &str| directory.join(name);
    let open = || File::options().create(true).append(true).open(path("app.log")).unwrap();
    let (mut file, mut number) = (open(), 0);
    for rotation in 1.. {
        for _ in 0..40 {
            let chunk: String = (number..number + 25)
                .map(|line| format!("{} padding padding padding {line}\n", timestamp(base + line as i64 * 100)))
                .collect();
            file.write_all(chunk.as_bytes()).unwrap();
            number += 25;
            written.store(number, Ordering::SeqCst);
            // It runs ahead of the reader, but not without end.
            while number >= allowed.load(Ordering::SeqCst) || stop.load(Ordering::SeqCst) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                std::thread::yield_now();
            }
        }
        let name = format!("app.log-{:08}", 20_000_000 + rotation);
        if how == How::CopyTruncate {
            std::fs::copy(path("app.log"), path(&name)).unwrap();
            file.set_len(0).unwrap();
        } else {
            std::fs::rename(path("app.log"), path(&name)).unwrap();
            file = open();
        }
        if how == How::RenameAndPack {
            let text = std::fs::read_to_string(path(&name)).unwrap();
            let modified = std::fs::metadata(path(&name)).unwrap().modified().unwrap();
            let packed = path(&format!("{name}.gz"));
            std::fs::write(&packed, pack(&text)).unwrap();
            File::options().write(true).open(&packed).unwrap().set_modified(modified).unwrap();
            std::fs::remove_file(path(&name)).unwrap();
        }
    }
}

#[test]
fn no_line_is_read_twice_and_none_lost_while_the_log_is_rotated() {
    for how in [How::Rename, How::RenameAndPack, How::CopyTruncate] {
        let directory = tempfile::tempdir().unwrap();
        let pattern = [directory.path().join("app.log").to_string_lossy().into_owned()];
        std::fs::write(directory.path().join("app.log"), "").unwrap();
        let base = modified(&std::fs::metadata(directory.path().join("app.log")).unwrap());
        let (written, allowed, stop) = (AtomicUsize::new(0), AtomicUsize::new(1_000), AtomicBool::new(false));
        let (mut whole, mut flagged) = (0, 0);
        std::thread::scope(|scope| {
            // The writer ends with this thread, also where an assertion ends it.
            let _stopper = Stopper(&stop);
            scope.spawn(|| writer(directory.path(), how, base, &written, &allowed, &stop));
            for _ in 0..16 {
                while written.load(Ordering::SeqCst) + 500 < allowed.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                allowed.fetch_add(1_500, Ordering::SeqCst);
                let count = written.load(Ordering::SeqCst);
                let now = base + (count as i64 - 1) * 100;
                let (clock, gate) = (clock(now), gate());
                let snapshot = Snapshot::take(&pattern, base, &clock, &gate);
                let mut numbers = Vec::new();
                let window = Window::new(timestamp(base), timestamp(now));
                let coverage = scan(&snapshot, window, None, &clock, &gate, |entry| numbers.push(number(entry.line)));
                let amiss = !snapshot.gaps.is_empty()
                    || !coverage.incomplete.is_empty()
                    || snapshot.verify(now, &gate).is_err();
                numbers.sort_unstable();
                let read = numbers.len();
                numbers.dedup();
                assert_eq!(read, numbers.len(), "{how:?}: lines were read twice");
                if amiss {
                    flagged += 1;
                } else {
                    assert_eq!(
                        numbers,
                        (0..count).collect::<Vec<_>>(),
                        "{how:?}: lines are missing and nothing says so"
                    );
                    whole += 1;
                }
            }
        });
        assert!(whole > 0, "{how:?}: never read whole, {flagged} times flagged");
    }
}
