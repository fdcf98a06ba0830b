//! `log_file` against files whose truth is known: counts, what is new, the past, customers, and what makes it blind.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::*;
use crate::model::observation::{Seen, UnknownKind};

/// When the question is asked.
const NOW: &str = "2026-11-22T10:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

fn question(from: i64, to: i64) -> Question {
    Question {
        now: now(),
        window: Window::new(ago(from), ago(to)),
        customer: None,
        usual: Vec::new(),
        since: ago(from),
        deadline: Instant::now() + Duration::from_secs(600),
        dropped: Default::default(),
    }
}

/// A log in a directory of its own.
struct Log {
    directory: tempfile::TempDir,
    text: String,
}

impl Log {
    fn new() -> Self {
        Log { directory: tempfile::tempdir().unwrap(), text: String::new() }
    }

    /// A line so many seconds before now.
    fn say(&mut self, seconds: i64, level: &str, customer: &str, message: &str) {
        let message = serde_json::Value::from(message);
        let _ = writeln!(
            self.text,
            r#"{{"ts":"{}","level":"{level}","msg":{message},"customer":"{customer}"}}"#,
            ago(seconds)
        );
    }

    /// A calm log: a line each `step` seconds, one in fifty an error that is well known.
    fn calm(&mut self, from: i64, to: i64, step: i64) {
        let mut seconds = from;
        while seconds >= to {
            let customer = ["acme", "globex", "initech"][(seconds / step % 3) as usize];
            if seconds / step % 50 == 0 {
                self.say(seconds, "error", customer, &format!("mail to user {seconds} bounced"));
            } else {
                self.say(seconds, "info", customer, &format!("order {seconds} paid in {} ms", seconds % 90));
            }
            seconds -= step;
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("app.log")
    }

    fn write(&self) -> Vec<String> {
        write(&self.path(), self.text.as_bytes());
        vec![self.path().to_string_lossy().into_owned()]
    }
}

/// Writes a file that was last written now.
fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_micros(micros(now()) as u64)).unwrap();
}

fn probe(paths: Vec<String>) -> LogFile {
    LogFile::new(Config { paths, ..Config::default() }, None).unwrap()
}

fn look(log: &Log, question: &Question) -> Observation {
    probe(log.write()).look(question, None)
}

fn number(observation: &Observation, name: &str) -> f64 {
    observation.measures.number(name).unwrap_or_else(|| panic!("no {name} in {observation:?}"))
}

fn why(observation: &Observation) -> (UnknownKind, &str) {
    match &observation.seen {
        Seen::Blind(unknown) => (unknown.kind, &unknown.why),
        other => panic!("not blind: {other:?}"),
    }
}

#[test]
fn counts_are_those_of_the_window() {
    let mut log = Log::new();
    log.calm(2 * 3_600, 0, 1);
    let seen = look(&log, &question(899, 0));
    assert_eq!(seen.seen, Seen::Answered);
    assert_eq!((number(&seen, "lines"), number(&seen, "matches")), (900.0, 18.0));
    assert!((number(&seen, "matches_per_second") - 18.0 / 899.0).abs() < 1e-9);
    assert!((number(&seen, "match_ratio") - 0.02).abs() < 1e-9);
    assert_eq!((number(&seen, "new_templates"), number(&seen, "new_error_templates")), (0.0, 0.0));
    assert_eq!(number(&seen, "last_line_age_seconds"), 0.0);
    assert_eq!(seen.data_until, Some(now()));
    let top = format!("{:?}", seen.measures.get("top"));
    assert!(top.contains("18 × mail to user <*> bounced") && top.contains("882 × order <*> paid in <*> ms"), "{top}");

    let config = Config {
        paths: log.write(),
        matching: Some("paid in 8[0-9] ms".to_owned()),
        exclude: Some("bounced".to_owned()),
        ..Config::default()
    };
    let seen = LogFile::new(config, None).unwrap().look(&question(3_599, 2_700), None);
    let expected = (2_700..=3_599).filter(|second| second % 50 != 0 && second % 90 >= 80).count();
    assert_eq!((number(&seen, "lines"), number(&seen, "matches")), (882.0, expected as f64));
}

#[test]
fn a_message_never_seen_before_is_new_and_shown_without_its_secrets() {
    let mut log = Log::new();
    log.calm(2 * 3_600, 301, 1);
    log.calm(300, 0, 10);
    log.say(20, "error", "acme", "payment provider refused token=abc123secret for order 77");
    log.say(10, "error", "acme", "payment provider refused token=def456secret for order 78");
    log.say(5, "info", "acme", "cache warmed");
    let seen = look(&log, &question(300, 0));
    assert_eq!((number(&seen, "new_templates"), number(&seen, "new_error_templates")), (2.0, 1.0));
    let excerpt = seen.excerpt.as_deref().unwrap();
    assert!(excerpt.starts_with("2 × ") && excerpt.contains("payment provider refused"), "{excerpt}");
    assert!(!excerpt.contains("bounced") && !excerpt.contains("abc123secret"), "{excerpt}");
    // The error is not remembered: whoever asks again in ten minutes must find it new again.
    assert!(!seen.templates.iter().any(|template| template.contains("refused")));
    assert!(seen.templates.contains(&"cache warmed".to_owned()));

    let remembered: BTreeSet<String> = seen.templates.into_iter().collect();
    let again = probe(log.write()).look(&question(300, 0), Some(&remembered));
    assert_eq!((number(&again, "new_templates"), number(&again, "new_error_templates")), (1.0, 1.0));
}

#[test]
fn an_error_of_yesterday_is_known_and_remembered() {
    let mut log = Log::new();
    log.calm(25 * 3_600, 24 * 3_600 - 600, 10);
    log.say(24 * 3_600 - 610, "error", "acme", "nightly export failed");
    log.calm(3_600 + 900, 300, 10);
    log.say(200, "error", "acme", "nightly export failed");
    let seen = look(&log, &question(900, 0));
    assert_eq!(number(&seen, "new_error_templates"), 0.0, "{seen:?}");
    assert!(seen.templates.contains(&"nightly export failed".to_owned()));
}

#[test]
fn without_a_past_nothing_is_called_new() {
    let mut log = Log::new();
    log.calm(900, 0, 1);
    log.say(0, "error", "acme", "payment provider refused");
    let seen = look(&log, &question(880, 0));
    assert_eq!(seen.seen, Seen::Answered);
    assert!(seen.measures.get("new_error_templates").is_none() && seen.measures.get("new_templates").is_none());
    assert!(seen.notes.iter().any(|note| note.contains("what is new can't be told")), "{:?}", seen.notes);
    // What the memory knows is enough.
    let remembered = BTreeSet::from(["order <*> paid in <*> ms".to_owned(), "mail to user <*> bounced".to_owned()]);
    let seen = probe(log.write()).look(&question(880, 0), Some(&remembered));
    assert_eq!(number(&seen, "new_error_templates"), 1.0);
}

#[test]
fn a_flood_does_not_hide_the_real_error() {
    let mut log = Log::new();
    log.calm(2 * 3_600, 301, 10);
    for flood in 0..30_000_u32 {
        let word: String = flood.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
        log.say(300 - i64::from(flood / 100), "info", "acme", &format!("flood{word} {word}"));
    }
    log.say(0, "error", "acme", "payment provider refused");
    let seen = look(&log, &question(300, 0));
    assert_eq!(number(&seen, "new_error_templates"), 1.0);
    assert!(number(&seen, "new_templates") > 10_000.0);
    assert!(seen.notes.iter().any(|note| note.contains("flood of different messages")), "{:?}", seen.notes);
    assert!(seen.templates.len() <= 8_000);
}

#[test]
fn the_lines_of_one_customer_count_alone() {
    let mut log = Log::new();
    log.calm(2 * 3_600, 0, 1);
    log.say(0, "error", "globex", "payment provider refused");
    let customer = |field: Option<&str>, pattern: Option<&str>| {
        let customer = CustomerConfig { field: field.map(str::to_owned), pattern: pattern.map(str::to_owned) };
        let config = Config { paths: log.write(), customer: Some(customer), ..Config::default() };
        LogFile::new(config, None)
    };
    let everyone = customer(Some("customer"), None).unwrap();
    assert!(everyone.splits_by_customer() && !probe(log.write()).splits_by_customer());
    for probe in [everyone, customer(None, Some(r#""customer":"([a-z]+)""#)).unwrap()] {
        for (name, lines, new) in [("acme", 300.0, 0.0), ("globex", 301.0, 1.0), ("initech", 300.0, 0.0)] {
            let question = Question { customer: Some(name.to_owned()), ..question(899, 0) };
            let seen = probe.look(&question, None);
            assert_eq!((number(&seen, "lines"), number(&seen, "new_error_templates")), (lines, new), "{name}");
        }
        let question = Question { customer: Some("nobody".to_owned()), ..question(899, 0) };
        let (kind, reason) = (UnknownKind::Incomplete, "no line of the ticket's customer");
        let seen = probe.look(&question, None);
        assert!(why(&seen).0 == kind && why(&seen).1.contains(reason), "{seen:?}");
    }
    for wrong in [customer(None, None), customer(Some("a"), Some("(b)")), customer(None, Some("no group"))] {
        assert!(wrong.unwrap_err().key.starts_with("customer"));
    }
}

#[test]
fn the_past_has_a_sample_for_each_span_that_the_log_covers() {
    let mut log = Log::new();
    log.calm(26 * 3_600, 0, 10);
    let usual = ["matches_per_second", "lines", "new_templates"].map(str::to_owned).to_vec();
    let seen = look(&log, &Question { usual, ..question(600, 0) });
    // 1, 2, 3, 23, 24 and 25 hours ago are covered, 47 and 48 are not.
    assert_eq!(seen.past["lines"], vec![61.0; 6]);
    assert_eq!(seen.past["matches_per_second"].len(), 6);
    assert!(seen.past["new_templates"].is_empty());
    // Spans that overlap the window itself are no samples.
    let long = Question { usual: vec!["lines".to_owned()], ..question(5 * 3_600, 0) };
    assert_eq!(long.past().count(), 5);
}

#[test]
fn an_empty_window_is_no_good_sign() {
    let mut log = Log::new();
    log.calm(2 * 3_600, 480, 10);
    let seen = look(&log, &question(300, 0));
    assert_eq!(
        why(&seen),
        (
            UnknownKind::Incomplete,
            "no line between 2026-11-22T09:55:00Z and 2026-11-22T10:00:00Z; last line 3 m before"
        )
    );
    assert_eq!(number(&seen, "last_line_age_seconds"), 480.0);
    assert!(seen.measures.get("new_error_templates").is_none());

    let config = Config { paths: log.write(), ..Config::default() };
    let healthy = LogFile::new(config, Some("it only writes when something is wrong".to_owned())).unwrap();
    let seen = healthy.look(&question(300, 0), None);
    assert_eq!(seen.seen, Seen::Answered);
    assert_eq!((number(&seen, "lines"), number(&seen, "new_error_templates")), (0.0, 0.0));
    assert!(seen.notes.iter().any(|note| note.contains("only writes when")), "{:?}", seen.notes);
    // A file that isn't there is not an empty window.
    let config = Config { paths: vec!["/nowhere/app.log".to_owned()], ..Config::default() };
    let seen = LogFile::new(config, Some("because".to_owned())).unwrap().look(&question(300, 0), None);
    assert_eq!(why(&seen), (UnknownKind::Unreachable, "/nowhere/app.log does not exist"));
}

#[test]
fn what_cannot_be_believed_makes_it_blind() {
    let calm = |log: &mut Log| log.calm(2 * 3_600, 0, 1);
    for (change, kind, part) in [
        (0, UnknownKind::Incomplete, "carry a time in the future"),
        (1, UnknownKind::Incomplete, "from long before their neighbours"),
        (2, UnknownKind::Unintelligible, "carries a time that can be recognised"),
        (3, UnknownKind::Incomplete, "the log begins only at"),
    ] {
        let mut log = Log::new();
        match change {
            // Ten years ahead, and ten years back, in one line of twenty.
            0 | 1 => {
                calm(&mut log);
                let year = if change == 0 { "2036" } else { "2016" };
                let forged = |(index, line): (usize, &str)| {
                    if index % 20 == 7 { line.replacen("2026", year, 1) + "\n" } else { format!("{line}\n") }
                };
                log.text = log.text.lines().enumerate().map(forged).collect();
            }
            2 => log.text = "a line\nanother line\n".repeat(100),
            _ => log.calm(100, 0, 1),
        }
        let seen = look(&log, &question(899, 0));
        assert!(why(&seen).0 == kind && why(&seen).1.contains(part), "{change}: {seen:?}");
    }
    // One forged line in two thousand is told, and hides nothing.
    let mut log = Log::new();
    calm(&mut log);
    log.text = log.text.replacen("2026-11-22T09:55:00Z", "2036-11-22T09:55:00Z", 1);
    let seen = look(&log, &question(1_799, 0));
    assert_eq!((seen.seen.clone(), number(&seen, "lines")), (Seen::Answered, 1_799.0));
    assert!(seen.notes.iter().any(|note| note.contains("in the future")), "{:?}", seen.notes);
}

#[test]
fn a_giant_line_is_cut_and_the_others_count() {
    let mut log = Log::new();
    log.calm(7_200, 450, 1);
    let giant = "A".repeat(24 * 1024 * 1024);
    log.say(449, "info", "acme", &giant);
    log.calm(448, 0, 1);
    let seen = look(&log, &question(899, 0));
    assert_eq!((seen.seen.clone(), number(&seen, "lines")), (Seen::Answered, 900.0));
    assert!(seen.notes.iter().any(|note| note.contains("longer than 64 KiB")), "{:?}", seen.notes);
    // More of it than one look may read.
    log.text.clear();
    log.calm(7_200, 450, 1);
    log.say(449, "info", "acme", &giant);
    log.calm(448, 0, 1);
    let mut file = std::fs::File::options().append(true).open(log.path()).unwrap();
    std::io::Write::write_all(&mut file, b"{\"ts\":\"2026-11-22T10:00:00Z\",\"msg\":\"").unwrap();
    file.set_len(file.metadata().unwrap().len() + 300 * 1024 * 1024).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_micros(micros(now()) as u64)).unwrap();
    let seen = probe(vec![log.path().to_string_lossy().into_owned()]).look(&question(899, 0), None);
    assert!(matches!(why(&seen), (UnknownKind::Incomplete, reason) if reason.contains("256 MiB")), "{seen:?}");
}

#[test]
fn traces_belong_to_the_line_above_and_houston_s_own_lines_to_nobody() {
    let mut log = Log::new();
    log.calm(7_200, 301, 1);
    let _ = write!(
        log.text,
        "{} ERROR [worker-3] checkout failed\njava.lang.IllegalStateException: no stock\n\tat com.shop.A(A.java:1)\n\
         {} INFO GET / by \"houston/0.1\"\n  and its trace\n{} INFO done\n",
        ago(200),
        ago(100),
        ago(50)
    );
    let seen = look(&log, &question(300, 0));
    assert_eq!((number(&seen, "lines"), number(&seen, "matches")), (4.0, 1.0));
    assert_eq!(number(&seen, "new_error_templates"), 2.0, "{seen:?}");
}

#[test]
fn a_look_that_nobody_waits_for_stops() {
    let mut log = Log::new();
    log.calm(7_200, 0, 1);
    let probe = probe(log.write());
    let seen = probe.look(&Question { deadline: Instant::now(), ..question(899, 0) }, None);
    assert!(matches!(seen.seen, Seen::Blind(_)), "{seen:?}");
    let dropped = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let seen = probe.look(&Question { dropped, ..question(899, 0) }, None);
    assert!(matches!(seen.seen, Seen::Blind(_)), "{seen:?}");
}

#[test]
fn wrong_values_are_errors_at_their_own_place() {
    for (yaml, line, part) in [
        ("paths: [/a]\nmatch: \"(\"\n", 2, "unclosed group"),
        ("paths: [/a]\nexclude: '\\w{1000}\\w{1000}'\n", 2, "1 MiB"),
        ("match: x\npaths: []\n", 2, "no path"),
        ("paths: [/a]\ntimestamp:\n  zone: Mars/Base\n", 3, "unknown time zone"),
        ("paths: [/a]\ncustomer:\n  pattern: none\n", 3, "exactly one group"),
        ("paths: [/a]\nfromat: json\n", 2, "fromat"),
        ("paths: [/a]\nabsent_means: { healthy: true, because: '' }\n", 2, "reason"),
    ] {
        let node = crate::yaml::parse("x.yaml", yaml).unwrap();
        let error = (KIND.read)(&node).unwrap_err();
        assert_eq!(error.at.line, line, "{yaml}: {error}");
        assert!(error.message.contains(part), "{yaml}: {error}");
    }
}

#[test]
fn what_the_memory_knows_is_known_whatever_the_past_says() {
    let mut log = Log::new();
    log.calm(2 * 3_600, 0, 10);
    log.say(0, "error", "acme", "payment provider refused");
    let first = look(&log, &question(300, 0));
    assert_eq!(number(&first, "new_error_templates"), 1.0);
    // The error is a day old now, and remembered: nothing is unfamiliar, and what is remembered is told again.
    let mut remembered: BTreeSet<String> = first.templates.iter().cloned().collect();
    let before = remembered.len();
    remembered.insert("payment provider refused".to_owned());
    assert_eq!(remembered.len(), before + 1, "an error that came with the trouble is not remembered at once");
    let known = probe(log.write()).look(&question(300, 0), Some(&remembered));
    assert_eq!((number(&known, "new_templates"), number(&known, "new_error_templates")), (0.0, 0.0));
    assert!(known.templates.contains(&"payment provider refused".to_owned()), "{:?}", known.templates);
    // One unfamiliar message, and the log's own past is asked: it was written half an hour ago.
    log.say(1_800, "info", "acme", "a promotion begins");
    log.say(10, "info", "acme", "a promotion begins");
    let asked = probe(log.write()).look(&question(300, 0), Some(&remembered));
    assert_eq!(number(&asked, "new_templates"), 0.0);
    // Unless it is new to the past as well.
    log.say(5, "error", "acme", "out of disk space");
    let new = probe(log.write()).look(&question(300, 0), Some(&remembered));
    assert_eq!(number(&new, "new_error_templates"), 1.0);
}
