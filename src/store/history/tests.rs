//! Samples go in, and come back as samples, as hours, or not any more.

use super::*;
use crate::model::history::Spread;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn minutes(minutes: i64) -> Timestamp {
    at("2026-11-22T08:00:00Z") + jiff::SignedDuration::from_mins(minutes)
}

fn sample(minute: i64, outcome: Outcome, value: f64) -> (Arc<str>, Sample) {
    let sample =
        Sample::new(minutes(minute), outcome, Duration::from_millis(20)).measured([("duration_seconds", value)]);
    (Arc::from("page"), sample)
}

fn window(from: i64, to: i64) -> Window {
    Window::new(minutes(from), minutes(to))
}

fn page() -> BTreeSet<String> {
    BTreeSet::from(["page".to_owned()])
}

async fn values(history: &History, window: Window) -> Vec<f64> {
    let found = history.samples(page(), window).await.unwrap();
    found.get("page").into_iter().flatten().map(|sample| sample.measures["duration_seconds"]).collect()
}

#[tokio::test]
async fn a_sample_is_found_before_and_after_its_hour_is_compacted_and_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let history = History::open(directory.path(), Keep::default()).unwrap();
    for minute in 0..150 {
        let batch = vec![
            sample(minute, Outcome::Good, minute as f64),
            (Arc::from("other"), sample(minute, Outcome::Bad, 0.0).1),
        ];
        history.record(batch).await.unwrap();
    }
    let expected: Vec<f64> = (50..=70).map(f64::from).collect();
    assert_eq!(values(&history, window(50, 70)).await, expected);
    history.compact(minutes(150)).await.unwrap();
    assert_eq!(values(&history, window(50, 70)).await, expected);
    assert_eq!(values(&history, window(100, 140)).await.len(), 41, "the hour under way is not compacted");
    drop(history);
    let history = History::open(directory.path(), Keep::default()).unwrap();
    assert_eq!(values(&history, window(50, 70)).await, expected);
    // Late samples join their hour.
    history.record(vec![sample(30, Outcome::Good, 1_000.0)]).await.unwrap();
    history.compact(minutes(150)).await.unwrap();
    assert_eq!(values(&history, window(30, 30)).await, [1_000.0, 30.0]);
    let hours = history.hours("page", window(-600, 600), None).await.unwrap();
    let hours = &hours["duration_seconds"];
    assert_eq!(hours.iter().map(|hour| hour.spread.count).collect::<Vec<_>>(), [61, 60]);
    assert_eq!(
        (hours[1].start, hours[1].spread.points.first(), hours[1].spread.points.last()),
        (minutes(60), Some(&60.0), Some(&119.0))
    );
    let ninth = history.hours("page", window(-600, 600), Some(9)).await.unwrap();
    assert_eq!(ninth["duration_seconds"].len(), 1);
    assert_eq!(ninth["duration_seconds"][0].spread, hours[1].spread);
}

#[tokio::test]
async fn what_is_too_old_goes_failures_last() {
    let directory = tempfile::tempdir().unwrap();
    let keep = Keep { samples: Duration::from_secs(2 * 3_600), hours: Duration::from_secs(5 * 3_600), size: u64::MAX };
    let history = History::open(directory.path(), keep).unwrap();
    for hour in 0..10 {
        let outcome = if hour == 6 { Outcome::Bad } else { Outcome::Good };
        history.record(vec![sample(hour * 60, outcome, hour as f64)]).await.unwrap();
    }
    history.compact(minutes(10 * 60 + 1)).await.unwrap();
    assert_eq!(values(&history, window(0, 600)).await, [6.0, 8.0, 9.0], "six was bad, and is kept for longer");
    let hours = history.hours("page", window(0, 600), None).await.unwrap();
    let medians: Vec<Option<f64>> = hours["duration_seconds"].iter().map(|hour| hour.spread.median()).collect();
    assert_eq!(medians, [5.0, 6.0, 7.0, 8.0, 9.0].map(Some));
}

#[tokio::test]
async fn its_size_is_bounded_and_the_newest_stays() {
    let directory = tempfile::tempdir().unwrap();
    let keep = Keep { size: 400 * 1024, ..Keep::default() };
    let history = History::open(directory.path(), keep).unwrap();
    for hour in 0..24 {
        // Values that don't pack well.
        let batch = (0..3_000).map(|n| {
            let noise = f64::from((n * 7_919 + hour as i32 * 104_729) % 1_000_003) / 7.0;
            sample(hour * 60 + i64::from(n) % 60, Outcome::Good, noise)
        });
        history.record(batch.collect()).await.unwrap();
        history.compact(minutes((hour + 1) * 60 + 1)).await.unwrap();
    }
    let used = used(&history.0.writer.lock().unwrap()).unwrap();
    assert!(used <= keep.size, "{used}");
    assert_eq!(values(&history, window(0, 59)).await, [0.0; 0]);
    assert_eq!(values(&history, window(23 * 60, 24 * 60)).await.len(), 3_000);
    let hours = history.hours("page", window(0, 24 * 60), None).await.unwrap();
    assert_eq!(hours["duration_seconds"].len(), 24, "summaries outlive their samples");
}

#[tokio::test]
async fn what_is_never_compacted_is_bounded_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let history = History::open(directory.path(), Keep { size: 200 * 1024, ..Keep::default() }).unwrap();
    let noise = |n: i64| (n * 7_919 % 1_000_003) as f64 / 7.0;
    let mut refused = None;
    for round in 0..1_000 {
        let batch = (0..100).map(|n| sample(0, Outcome::Good, noise(round * 100 + n))).collect();
        if let Err(error) = history.record(batch).await {
            refused = Some(error.to_string());
            break;
        }
    }
    assert!(refused.is_some_and(|why| why.contains("may hold 204800")));
    history.compact(minutes(61)).await.unwrap();
    history.record(vec![sample(62, Outcome::Good, 1.0)]).await.unwrap();
}

#[tokio::test]
async fn since_when_it_is_bad() {
    let directory = tempfile::tempdir().unwrap();
    let history = History::open(directory.path(), Keep::default()).unwrap();
    let now = minutes(300);
    let since = || async { history.bad_since(page(), now).await.unwrap().get("page").copied() };
    assert_eq!(since().await, None);
    for minute in 0..300 {
        let outcome = match minute {
            0..100 => Outcome::Good,
            150 => Outcome::Unknown,
            _ => Outcome::Bad,
        };
        history.record(vec![sample(minute, outcome, 1.0)]).await.unwrap();
    }
    assert_eq!(since().await, Some(minutes(100)));
    history.compact(now).await.unwrap();
    assert_eq!(since().await, Some(minutes(100)));
    history.record(vec![sample(300, Outcome::Good, 1.0)]).await.unwrap();
    assert_eq!(since().await, None);
}

#[tokio::test]
async fn a_history_that_cannot_be_read_is_moved_aside() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("history.db"), vec![b'x'; 8_192]).unwrap();
    let history = History::open(directory.path(), Keep::default()).unwrap();
    assert!(directory.path().join("history.db.corrupt").exists());
    history.record(vec![sample(1, Outcome::Good, 1.0)]).await.unwrap();
    assert_eq!(values(&history, window(0, 10)).await, [1.0]);
}

#[tokio::test]
async fn a_damaged_row_costs_itself() {
    let directory = tempfile::tempdir().unwrap();
    let history = History::open(directory.path(), Keep::default()).unwrap();
    for minute in [1, 2, 61] {
        history.record(vec![sample(minute, Outcome::Good, minute as f64)]).await.unwrap();
    }
    history.0.writer.lock().unwrap().execute("UPDATE batch SET body = x'00ff' WHERE id = 2", []).unwrap();
    assert_eq!(values(&history, window(0, 100)).await, [1.0, 61.0]);
    history.compact(minutes(200)).await.unwrap();
    assert_eq!(values(&history, window(0, 100)).await, [1.0, 61.0]);
}

#[test]
fn what_is_packed_is_unpacked() {
    let spread = Spread::of(vec![1.0, 2.0]);
    assert_eq!(unpack::<Spread>("a spread", &pack(&spread).unwrap()), Some(spread));
    assert_eq!(unpack::<Spread>("a spread", b"nothing"), None);
}
