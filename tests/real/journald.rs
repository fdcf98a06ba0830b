//! `journald` on real journal files, read by the real journalctl.

use std::path::Path;

use houston::model::observation::{Observation, Seen, UnknownKind};
use houston::model::window::Window;
use jiff::{SignedDuration, Timestamp};

use super::looking::{ask, example, look, now, number};
use crate::lab::journal::Export;
use crate::lab::place;

const UNIT: &str = "checkout.service";

/// An entry of the shop every ten seconds of this span (in seconds before now), one in fifty a known error.
fn calm(export: &mut Export, now: Timestamp, from: i64, to: i64) {
    for ago in (to..from).rev().filter(|ago| ago % 10 == 0) {
        let at = now.as_microsecond() - ago * 1_000_000;
        let customer = ["acme", "globex"][(ago / 10 % 2) as usize];
        let (priority, message) = match ago / 10 % 50 {
            0 => (3, format!("mail to user {ago} bounced customer={customer}")),
            _ => (6, format!("order {ago} paid customer={customer}")),
        };
        export.entry(at, UNIT, priority, message.as_bytes(), &[("CUSTOMER", customer)]);
    }
}

/// Two files, as after a rotation: yesterday's and the older half of the hour in one, the rest in the other.
fn journal(directory: &Path, now: Timestamp, fault: bool) {
    let (mut old, mut new) = (Export::default(), Export::default());
    calm(&mut old, now, 25 * 3_600, 23 * 3_600);
    calm(&mut old, now, 2 * 3_600, 600);
    calm(&mut new, now, 600, 0);
    let at = |ago: i64| now.as_microsecond() - ago * 1_000_000;
    if fault {
        for ago in [300, 200, 100] {
            let trace =
                b"payment gateway refused\njava.net.ConnectException: refused\n\tat com.shop.Pay(Pay.java:3)\xff\x00";
            new.entry(at(ago), UNIT, 3, trace, &[("CUSTOMER", "acme")]);
        }
    }
    // What others write is not the shop's.
    new.entry(at(50), "cron.service", 2, b"disk on fire", &[]);
    new.entry(at(40), UNIT, 3, b"GET / refused \"houston/0.1.0\"", &[]);
    old.write(directory, "system@old.journal");
    new.write(directory, "system.journal");
}

fn settings(directory: &Path, more: &str) -> String {
    format!("directory: {}\nunit: [{UNIT}]\n{more}", directory.display())
}

fn blind(observation: &Observation) -> (UnknownKind, &str) {
    match &observation.seen {
        Seen::Blind(unknown) => (unknown.kind, &unknown.why),
        other => panic!("{other:?}: {observation:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_a_rotated_journal_are_counted_and_what_is_new_is_found() {
    let (place, now) = (place::new(), now());
    journal(place.path(), now, true);
    let mut ask = ask();
    ask.now = now;
    ask.window = Window::ending_at(now, SignedDuration::from_mins(15));
    ask.since = ask.window.from;
    let seen = look("journald", &settings(place.path(), ""), &ask).await;
    assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
    // 91 of the calm, and three of three lines.
    assert_eq!((number(&seen, "lines"), number(&seen, "new_error_templates")), (91.0 + 9.0, 2.0), "{seen:?}");
    assert_eq!(number(&seen, "last_line_age_seconds"), 0.0, "{seen:?}");
    let excerpt = seen.excerpt.clone().unwrap();
    assert!(excerpt.contains("payment gateway refused") && excerpt.contains("ConnectException"), "{excerpt}");

    // The window is the ticket's, to the microsecond, and over both files.
    ask.window = Window::new(now - SignedDuration::from_secs(700), now - SignedDuration::from_secs(500));
    assert_eq!(number(&look("journald", &settings(place.path(), ""), &ask).await, "lines"), 21.0);
    ask.window.from += SignedDuration::from_micros(1);
    assert_eq!(number(&look("journald", &settings(place.path(), ""), &ask).await, "lines"), 20.0);

    ask.window = Window::ending_at(now, SignedDuration::from_mins(15));
    for (more, lines) in
        [("priority: err", 2.0 + 9.0), ("identifier: [nobody]", 0.0), ("fields: { CUSTOMER: globex }", 45.0)]
    {
        let seen = look("journald", &settings(place.path(), more), &ask).await;
        let found = seen.measures.number("lines").unwrap_or(0.0);
        assert_eq!(found, lines, "{more}: {seen:?}");
    }
    let files = format!("files: [{}/system*.journal]\nunit: [\"check*\"]", place.path().display());
    assert_eq!(number(&look("journald", &files, &ask).await, "lines"), 100.0);

    // Each customer alone, by a field and by the text; a name that would be more than a name finds nothing.
    for customer in ["customer: { field: CUSTOMER }", "customer: { pattern: 'customer=(\\S+)' }"] {
        ask.customer = Some("globex".to_owned());
        let seen = look("journald", &settings(place.path(), customer), &ask).await;
        assert_eq!((number(&seen, "lines"), number(&seen, "new_error_templates")), (45.0, 0.0), "{customer}: {seen:?}");
        ask.customer = Some("globex _SYSTEMD_UNIT=cron.service".to_owned());
        let seen = look("journald", &settings(place.path(), customer), &ask).await;
        assert!(blind(&seen).1.contains("no line of the ticket's customer"), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_journalctl_cannot_read_whole_is_unknown() {
    let (place, now) = (place::new(), now());
    journal(place.path(), now, false);
    let mut ask = ask();
    ask.now = now;
    ask.window = Window::ending_at(now, SignedDuration::from_mins(15));
    let seen = look("journald", &settings(place.path(), "limit: 10"), &ask).await;
    let (kind, why) = blind(&seen);
    assert!(kind == UnknownKind::Incomplete && why.contains("more than 10 entries"), "{why}");
    assert_eq!(number(&seen, "lines"), 9.0, "one of the ten newest is Houston's own: {seen:?}");

    let quiet = "match: x\nexclude: x\nabsent_means: { healthy: true, because: it is only started on Mondays }";
    let other = format!("directory: {}\nunit: [nightly.service]\n", place.path().display());
    let seen = look("journald", &format!("{other}{quiet}"), &ask).await;
    assert_eq!((seen.seen.clone(), number(&seen, "lines")), (Seen::Answered, 0.0), "{seen:?}");
    let seen = look("journald", &other, &ask).await;
    assert_eq!(blind(&seen).0, UnknownKind::Incomplete, "no entry is no good sign: {seen:?}");
    let empty = crate::lab::place::new();
    let seen = look("journald", &settings(empty.path(), quiet), &ask).await;
    assert_eq!(blind(&seen).0, UnknownKind::Stale, "an empty journal is none: {seen:?}");

    let gone = look("journald", &settings(Path::new("/nonexistent/journal"), quiet), &ask).await;
    assert!(blind(&gone).1.contains("No such file"), "{gone:?}");
    // A file that is cut off, and one that was never a journal.
    let whole = std::fs::read(place.path().join("system.journal")).unwrap();
    for bytes in [whole[..whole.len() / 3].to_vec(), vec![7; 4_096]] {
        std::fs::write(place.path().join("system.journal"), bytes).unwrap();
        let seen = look("journald", &settings(place.path(), quiet), &ask).await;
        let (kind, why) = blind(&seen);
        assert!(kind == UnknownKind::Incomplete && why.contains("ignoring file"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_fields_are_bounded_and_many_of_them_are_too_much() {
    let (place, now) = (place::new(), now());
    let mut export = Export::default();
    let large = vec![b'x'; 10 << 20];
    calm(&mut export, now, 3_600, 300);
    export.entry(now.as_microsecond() - 60_000_000, UNIT, 6, &large, &[]);
    export.write(place.path(), "system.journal");
    let mut ask = ask();
    ask.now = now;
    ask.window = Window::ending_at(now, SignedDuration::from_mins(15));
    let seen = look("journald", &settings(place.path(), ""), &ask).await;
    assert_eq!(seen.seen, Seen::Answered, "one of 10 MiB is a line: {seen:?}");
    for ago in [50, 40, 30, 20] {
        let mut other = large.clone();
        other[0] = b'0' + ago / 10;
        export.entry(now.as_microsecond() - i64::from(ago) * 1_000_000, UNIT, 6, &other, &[]);
    }
    std::fs::remove_file(place.path().join("system.journal")).unwrap();
    export.write(place.path(), "system.journal");
    let seen = look("journald", &settings(place.path(), ""), &ask).await;
    let (kind, why) = blind(&seen);
    assert!(kind == UnknownKind::Incomplete && why.contains("more than 32 MiB"), "{why}");
}

#[test]
fn the_example_is_good_bad_or_unknown_as_the_journal_is() {
    let outcome = |directory: &Path| {
        let here = format!("directory: {}", directory.display());
        example("journald", &[("# directory: /var/log/journal/remote", &here)], "{}")
    };
    let healthy = place::new();
    journal(healthy.path(), now(), false);
    let finding = outcome(healthy.path());
    assert_eq!(finding["outcome"], "good", "{finding}");
    let faulty = place::new();
    journal(faulty.path(), now(), true);
    let finding = outcome(faulty.path());
    assert_eq!(finding["outcome"], "bad", "{finding}");
    let finding = outcome(place::new().path());
    assert_eq!(finding["outcome"], "unknown", "{finding}");
}
