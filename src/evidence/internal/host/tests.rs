//! What the kind makes of hosts that are made up for it.

use jiff::Timestamp;

use super::*;
use crate::model::observation::Seen;
use crate::model::params::Params;
use crate::model::value::Value;
use crate::model::window::{Moment, Window};
use crate::yaml;

fn ask() -> Ask {
    let now = Timestamp::from_second(1_795_340_700).unwrap();
    Ask {
        now,
        window: Window::new(now, now),
        moment: Moment::Now,
        since: now,
        params: Params::default(),
        customer: None,
        attempt: 1,
        usual: Vec::new(),
        deadline: Instant::now() + Duration::from_secs(20),
        memory: Arc::default(),
        check: "host".into(),
        tools: Arc::default(),
    }
}

fn probe(text: &str) -> Result<Arc<dyn Probe>, String> {
    yaml::parse("h.yaml", text).and_then(|node| read(&node)).map_err(|error| error.to_string())
}

/// Files below a directory that stands for `/`.
fn made_up(files: &[(&str, &str)]) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = place.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    place
}

const FILES: &[(&str, &str)] = &[
    ("proc/loadavg", "3.00 1.50 0.75 4/92 18856\n"),
    ("proc/stat", "cpu  1 2 3\ncpu0 1 2\ncpu1 1 2\nintr 5\n"),
    ("proc/meminfo", "MemTotal: 1000 kB\nMemFree: 5 kB\nMemAvailable:  250 kB\nSwapTotal: 400 kB\nSwapFree: 100 kB\n"),
    (
        "proc/pressure/cpu",
        "some avg10=9.00 avg60=12.50 avg300=1.00 total=5\nfull avg10=0.00 avg60=0.00 avg300=0 total=0\n",
    ),
    (
        "proc/pressure/memory",
        "some avg10=9.00 avg60=2.00 avg300=1.00 total=5\nfull avg10=0.00 avg60=1.00 avg300=0 total=0\n",
    ),
    ("proc/sys/fs/file-nr", "1000\t200\t1600\n"),
    ("proc/uptime", "360.5 700.1\n"),
    (
        "proc/1/mountinfo",
        "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n28 27 254:0 / /again rw - ext4 /dev/vda rw\n\
         29 27 0:25 / /proc rw - proc proc rw\n30 27 7:1 / /snap ro - squashfs /dev/loop1 ro\n\
         31 27 254:1 / /with\\040space rw - xfs /dev/vdb rw\nnonsense\n",
    ),
    ("with space/x", ""),
];

#[tokio::test]
async fn a_host_is_read_from_the_files_that_it_is_made_of() {
    let place = made_up(FILES);
    let seen = probe(&format!("root: {}", place.path().display())).unwrap().observe(&ask()).await;
    assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
    for (name, value) in [
        ("load_1m", 3.0),
        ("load_15m", 0.75),
        ("cpus", 2.0),
        ("load_per_cpu", 1.5),
        ("memory_available_ratio", 0.25),
        ("memory_available_bytes", 256_000.0),
        ("swap_used_ratio", 0.75),
        ("cpu_pressure_ratio", 0.125),
        ("memory_pressure_ratio", 0.02),
        ("memory_stall_ratio", 0.01),
        ("files_open", 800.0),
        ("files_open_ratio", 0.5),
        ("uptime_seconds", 360.5),
    ] {
        assert_eq!(seen.measures.number(name), Some(value), "{name}");
    }
    for absent in ["io_pressure_ratio", "io_stall_ratio", "clock_offset_seconds"] {
        assert_eq!(seen.measures.get(absent), None, "{absent}");
    }
    let Some(Value::Map(disks)) = seen.measures.get("disks") else { panic!("{seen:?}") };
    assert_eq!(disks.keys().collect::<Vec<_>>(), ["/", "/with space"]);
    let free = seen.measures.number("disk_free_ratio").unwrap();
    assert!((0.0..=1.0).contains(&free), "{free}");
}

#[tokio::test]
async fn what_is_missing_or_garbled_is_absent_and_never_zero() {
    let garbled: Vec<(&str, &str)> =
        FILES.iter().map(|(name, _)| (*name, "\u{1b}[2J NaN -x 99999999999999999999 =")).collect();
    let cases: [&[(&str, &str)]; 3] = [&[], &garbled, &FILES[..1]];
    for (files, answers) in cases.into_iter().zip([false, false, true]) {
        let place = made_up(files);
        let seen = probe(&format!("root: {}", place.path().display())).unwrap().observe(&ask()).await;
        assert_eq!(seen.seen == Seen::Answered, answers, "{files:?}: {seen:?}");
        for name in ["disk_free_ratio", "memory_available_ratio", "files_open_ratio", "cpu_pressure_ratio"] {
            assert_eq!(seen.measures.get(name), None, "{name}");
        }
        assert!(seen.notes.iter().all(|note| !note.contains('\u{1b}')), "{seen:?}");
    }
    // One path that isn't there leaves the others unanswered: what is full may be the missing one.
    let place = made_up(FILES);
    let text = format!("root: {}\npaths: [/, /nowhere]", place.path().display());
    let seen = probe(&text).unwrap().observe(&ask()).await;
    assert_eq!(seen.measures.get("disk_free_ratio"), None, "{seen:?}");
    assert!(seen.notes.iter().any(|note| note.contains("/nowhere can't be looked at")), "{seen:?}");
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    for (text, part) in [
        ("paths: [var]", "h.yaml:1:8: `var` is not an absolute path"),
        ("paths: [/a/../b]", "without `..`"),
        ("root: host", "h.yaml:1:7"),
        ("disk: /", "disk"),
    ] {
        let error = probe(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}
