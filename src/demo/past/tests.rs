//! Tests of the generated past.

use std::io::Read as _;
use std::path::Path;

use super::*;

/// 2026-11-22 10:00:00 UTC.
const NOW: i64 = 1_795_341_600_000;

fn generated(seed: u64, hours: i64) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let from = NOW - hours * HOUR;
    write(place.path(), &mut Past::new(seed, from, 1.0), from, NOW).unwrap();
    place
}

/// All parts of a log, oldest first.
fn whole(directory: &Path, name: &str) -> String {
    let mut text = String::new();
    if let Ok(file) = File::open(directory.join(format!("{name}.2.gz"))) {
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    }
    for part in [format!("{name}.1"), name.to_owned()] {
        text.push_str(&std::fs::read_to_string(directory.join(part)).unwrap_or_default());
    }
    text
}

fn access_time(line: &str) -> i64 {
    let text = &line[line.find('[').unwrap() + 1..line.find(']').unwrap()];
    jiff::fmt::strtime::parse("%d/%b/%Y:%H:%M:%S %z", text).unwrap().to_timestamp().unwrap().as_millisecond()
}

#[test]
fn two_runs_with_one_seed_give_the_same_past_and_another_seed_another() {
    let (one, same, other) = (generated(1, 3), generated(1, 3), generated(2, 3));
    for name in [ACCESS, APP] {
        assert_eq!(whole(one.path(), name), whole(same.path(), name));
        assert_ne!(whole(one.path(), name), whole(other.path(), name));
    }
}

#[test]
fn fifty_hours_are_in_order_without_a_hole_and_in_three_parts() {
    let place = generated(1, 50);
    let parts = ["access.log", "access.log.1", "access.log.2.gz", "app.log", "app.log.1", "app.log.2.gz"];
    let sizes = parts.map(|part| std::fs::metadata(place.path().join(part)).unwrap().len());
    assert!(sizes.iter().sum::<u64>() < 40 * 1024 * 1024, "{sizes:?}");

    let mut last = NOW - 50 * HOUR;
    for line in whole(place.path(), ACCESS).lines() {
        let at = access_time(line);
        // A line's time has whole seconds.
        assert!(at + 1000 > last && at - last < 60_000, "{line}");
        last = at;
    }
    assert!(NOW - last < 60_000);

    let mut last = NOW - 50 * HOUR;
    for line in whole(place.path(), APP).lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let at = value["ts"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond();
        assert!(at >= last && at - last < 120_000, "{line}");
        last = at;
    }

    let written = |part: &str| std::fs::metadata(place.path().join(part)).unwrap().modified().unwrap();
    let hours_ago = |hours: i64| UNIX_EPOCH + Duration::from_millis((NOW - hours * HOUR) as u64);
    assert_eq!(written("access.log.1"), hours_ago(20));
    assert_eq!(written("app.log.2.gz"), hours_ago(44));
}

#[test]
fn the_ordinary_noise_is_in_both_logs() {
    let place = generated(1, 12);
    let access = whole(place.path(), ACCESS);
    let lines = access.lines().count() as f64;
    let share = |class: &str| {
        access.lines().filter(|line| line.contains(&format!("HTTP/1.1\" {class}"))).count() as f64 / lines
    };
    assert!((0.001..0.006).contains(&share("5")), "{}", share("5"));
    assert!((0.004..0.02).contains(&share("4")), "{}", share("4"));
    let rate = lines / (12.0 * 3600.0);
    assert!((0.85..1.15).contains(&rate), "{rate} requests a second");

    let app = whole(place.path(), APP);
    let errors = app.lines().filter(|line| line.contains("\"level\":\"error\"")).count();
    let failed = access.lines().filter(|line| line.contains("HTTP/1.1\" 500")).count();
    assert_eq!(errors, failed, "each 500 left its error");
    assert!(app.contains("\"level\":\"warn\"") && app.contains("order authorized"));
    assert!(!app.contains("ledger shard"), "what a fault says must be new");
}

#[test]
fn telling_it_in_pieces_tells_the_same() {
    let tell = |steps: &[i64]| {
        let mut past = Past::new(9, NOW - HOUR, 1.0);
        let mut told = Vec::new();
        for step in steps {
            past.advance(NOW - HOUR + step * 60_000, &mut |event| {
                told.push((event.at, event.served.as_ref().map(|served| served.target.clone())));
                Ok(())
            })
            .unwrap();
        }
        told
    };
    assert_eq!(tell(&[60]), tell(&[1, 2, 17, 17, 33, 60]));
}

#[test]
fn no_hours_are_no_lines() {
    let place = generated(1, 0);
    assert_eq!(whole(place.path(), ACCESS), "");
}
