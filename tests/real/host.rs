//! `host` at the host that the tests run on, and at a filesystem that is really full.

use std::process::Command;

use houston::model::observation::Seen;
use houston::model::value::Value;

use super::looking::{ask, example, look, number};
use crate::lab::{place, program};

fn said(command: &str) -> Vec<f64> {
    #[allow(clippy::disallowed_methods)] // what a person would ask
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn this_host_is_as_its_own_programs_see_it() {
    let seen = look("host", "paths: [/]", &ask()).await;
    assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
    assert_eq!(number(&seen, "cpus"), said("getconf _NPROCESSORS_ONLN")[0]);
    let df = said("df -P / | tail -n 1");
    let (used, free) = (df[1], df[2]);
    let expected = free / (used + free);
    assert!((number(&seen, "disk_free_ratio") - expected).abs() < 0.02, "{expected}: {seen:?}");
    let available = said("free -b | awk '/^Mem/ { print $7 }'")[0];
    let told = number(&seen, "memory_available_bytes");
    assert!(told > available / 2.0 && told < available * 2.0, "{available}: {told}");
    assert!(number(&seen, "files_open") > 10.0 && number(&seen, "files_open_ratio") < 1.0, "{seen:?}");
    let up = said("cut -d ' ' -f 1 /proc/uptime")[0];
    assert!((number(&seen, "uptime_seconds") - up).abs() < 60.0, "{up}: {seen:?}");
    for (file, name) in [("cpu", "cpu_pressure_ratio"), ("memory", "memory_stall_ratio"), ("io", "io_stall_ratio")] {
        let is_told = std::fs::read_to_string(format!("/proc/pressure/{file}")).is_ok();
        assert_eq!(seen.measures.get(name).is_some(), is_told, "{name}: {seen:?}");
    }
    let every = look("host", "{}", &ask()).await;
    let named = matches!(every.measures.get("disks"), Some(Value::Map(disks)) if !disks.is_empty());
    assert!(named || every.notes.iter().any(|note| note.contains("name some with `paths`")), "{every:?}");
}

/// Runs a check of this directory after `fill` was done in it, on a filesystem of 256 KiB and 32 inodes of its own.
fn on_a_small_disk(fill: &str) -> serde_json::Value {
    let place = place::new();
    let disk = place.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let checks =
        format!("service: shop\nowner: me\nchecks:\n  - name: disk\n    host: {{ paths: [ {} ] }}\n", disk.display());
    std::fs::create_dir(place.path().join("checks.d")).unwrap();
    std::fs::write(place.path().join("checks.d/disk.yaml"), checks).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=256k,nr_inodes=32 none '{}' && (cd '{0}' && {fill}); exec '{}' check run disk --json",
        disk.display(),
        env!("CARGO_BIN_EXE_houston")
    );
    #[allow(clippy::disallowed_methods)] // a namespace of its own: nobody else sees the mount
    let mut command = Command::new(program("unshare"));
    let output = command.args(["--map-root-user", "--mount", "sh", "-c", &script]).current_dir(place.path()).output();
    let output = output.unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn a_full_disk_and_used_up_inodes_are_bad() {
    let fine = on_a_small_disk("true");
    assert_eq!(fine["outcome"], "good", "{fine}");
    let full = on_a_small_disk("head -c 300000 /dev/zero > big 2>/dev/null || true");
    assert_eq!(
        (&full["outcome"], &full["failed"][0]["that"]),
        (&"bad".into(), &"disk_free_ratio > 0.03".into()),
        "{full}"
    );
    let many = on_a_small_disk("for n in $(seq 40); do : > $n; done 2>/dev/null || true");
    assert_eq!(
        (&many["outcome"], &many["failed"][0]["that"]),
        (&"bad".into(), &"inodes_free_ratio > 0.03".into()),
        "{many}"
    );
}

#[test]
fn the_example_tells_good_from_unknown() {
    let fine = example(
        "host",
        &[("disk_free_ratio > 0.02", "disk_free_ratio > 0"), ("inodes_free_ratio > 0.02", "inodes_free_ratio > 0")],
        "{}\n",
    );
    assert_eq!(fine["outcome"], "good", "{fine}");
    let nowhere = example("host", &[("paths: [ / ]", "paths: [ / ], root: /proc/nowhere")], "{}\n");
    assert_eq!(nowhere["outcome"], "unknown", "{nowhere}");
    let missing = example("host", &[("paths: [ / ]", "paths: [ /nowhere ]")], "{}\n");
    assert_eq!(missing["outcome"], "unknown", "{missing}");
}
