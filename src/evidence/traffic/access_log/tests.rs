//! `access_log` against files whose truth is known: rates, errors, quantiles, customers, and what makes it blind.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::model::observation::Seen;

fn now() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
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

struct Request {
    ago: i64,
    customer: &'static str,
    path: String,
    status: u16,
    milliseconds: u64,
}

/// Requests from a seed, one each `step` seconds, oldest first.
fn requests(seed: u64, from: i64, to: i64, step: i64) -> Vec<Request> {
    let mut state = seed | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let customers = ["acme", "globex", "initech"];
    let mut all = Vec::new();
    let mut at = from;
    while at >= to {
        let customer = customers[(random() % 3) as usize];
        let status = match random() % 100 {
            0..=2 => 503,
            3..=9 => 404,
            _ => 200,
        };
        let path = format!("/{}/{customer}/item?tenant={customer}&n={}", ["api", "shop"][(random() % 2) as usize], at);
        all.push(Request { ago: at, customer, path, status, milliseconds: 1 + random() % 900 });
        at -= step;
    }
    all
}

fn combined(requests: &[Request]) -> String {
    let mut text = String::new();
    for request in requests {
        let time = ago(request.ago).strftime("%d/%b/%Y:%H:%M:%S +0000");
        let _ = writeln!(
            text,
            r#"127.0.0.1 - {} [{time}] "GET {} HTTP/1.1" {} 100 "-" "ua" {:.3}"#,
            request.customer,
            request.path,
            request.status,
            request.milliseconds as f64 / 1e3
        );
    }
    text
}

struct Log(tempfile::TempDir);

impl Log {
    fn new(text: &str) -> Self {
        let log = Log(tempfile::tempdir().unwrap());
        std::fs::write(log.path(), text).unwrap();
        let file = std::fs::File::options().write(true).open(log.path()).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_micros(micros(now()) as u64)).unwrap();
        log
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("access.log")
    }

    fn look(&self, config: Config, question: &Question) -> Observation {
        let config = Config { paths: vec![self.path().to_string_lossy().into_owned()], ..config };
        AccessLog::new(config, None).unwrap().look(question)
    }
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

/// Holds the measures of `seen` against those of the requests themselves.
fn hold(seen: &Observation, truth: &[&Request], seconds: f64) {
    let count = truth.len() as f64;
    let share = |low, high| truth.iter().filter(|r| (low..high).contains(&r.status)).count() as f64 / count;
    assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
    assert_eq!(number(seen, "requests"), count);
    for (name, expected) in [
        ("requests_per_second", count / seconds),
        ("error_ratio", share(500, 600)),
        ("client_error_ratio", share(400, 500)),
        ("bytes_per_second", count * 100.0 / seconds),
    ] {
        assert!((number(seen, name) - expected).abs() < 1e-9, "{name}: {seen:?}");
    }
    let mut times: Vec<u64> = truth.iter().map(|request| request.milliseconds).collect();
    times.sort_unstable();
    for (name, quantile) in [("p50_seconds", 0.5), ("p95_seconds", 0.95), ("p99_seconds", 0.99)] {
        let rank = ((quantile * count).ceil() as usize).max(1) - 1;
        let exact = times[rank] as f64 / 1e3;
        assert!((number(seen, name) / exact - 1.0).abs() < 2e-3, "{name}: {exact} {seen:?}");
    }
}

#[test]
fn measures_are_those_of_the_requests_in_the_window() {
    let all = requests(7, 7_200, 0, 1);
    let log = Log::new(&combined(&all));
    let inside: Vec<&Request> = all.iter().filter(|r| (600..=1_500).contains(&r.ago)).collect();
    hold(&log.look(Config::default(), &question(1_500, 600)), &inside, 900.0);

    let api: Vec<&Request> = inside.iter().copied().filter(|r| r.path.starts_with("/api/")).collect();
    for path in ["/api/", "^/api/[a-z]+/item$"] {
        let config = Config { path: Some(path.to_owned()), ..Config::default() };
        hold(&log.look(config, &question(1_500, 600)), &api, 900.0);
    }
    let format = r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" $request_time"#;
    let config = Config { format: Some(format.to_owned()), ..Config::default() };
    hold(&log.look(config, &question(1_500, 600)), &inside, 900.0);

    for customer in [
        CustomerConfig { field: Some("remote_user".to_owned()), ..CustomerConfig::default() },
        CustomerConfig { path_segment: Some(2), ..CustomerConfig::default() },
        CustomerConfig { query: Some("tenant".to_owned()), ..CustomerConfig::default() },
    ] {
        let acme: Vec<&Request> = inside.iter().copied().filter(|r| r.customer == "acme").collect();
        let question = Question { customer: Some("acme".to_owned()), ..question(1_500, 600) };
        let config = Config { customer: Some(customer), ..Config::default() };
        hold(&log.look(config.clone(), &question), &acme, 900.0);
        let nobody = Question { customer: Some("nobody".to_owned()), ..question };
        let seen = log.look(config, &nobody);
        assert!(why(&seen).1.starts_with("no request of the ticket's customer"), "{seen:?}");
        assert!(seen.measures.get("p99_seconds").is_none() && seen.measures.get("error_ratio").is_none());
    }
}

#[test]
fn a_log_of_iis_is_read_by_the_names_of_its_own_columns() {
    let all = requests(11, 7_200, 0, 1);
    let mut text = String::new();
    let fields =
        "date time cs-method cs-uri-stem cs-uri-query cs-username c-ip cs(User-Agent) sc-status sc-bytes time-taken";
    for (number, request) in all.iter().enumerate() {
        // The server was started anew now and then, also within the window.
        if number % 1_000 == 0 {
            let _ = writeln!(
                text,
                "#Software: Microsoft Internet Information Services 10.0\r\n#Version: 1.0\r\n#Fields: {fields}\r"
            );
        }
        let (path, query) = request.path.split_once('?').unwrap();
        let _ = writeln!(
            text,
            "{} GET {path} {query} {} 203.0.113.9 Mozilla/5.0+(X11) {} 100 {}\r",
            ago(request.ago).strftime("%Y-%m-%d %H:%M:%S"),
            request.customer,
            request.status,
            request.milliseconds
        );
    }
    let log = Log::new(&text);
    let inside: Vec<&Request> = all.iter().filter(|r| (600..=1_500).contains(&r.ago)).collect();
    for format in [None, Some("w3c".to_owned()), Some(format!("#Fields: {fields}"))] {
        let config = Config { format, ..Config::default() };
        let seen = log.look(config, &question(1_500, 600));
        hold(&seen, &inside, 900.0);
        assert!(seen.notes.is_empty(), "{:?}", seen.notes);
    }
    for customer in [
        CustomerConfig { field: Some("cs-username".to_owned()), ..CustomerConfig::default() },
        CustomerConfig { query: Some("tenant".to_owned()), ..CustomerConfig::default() },
    ] {
        let acme: Vec<&Request> = inside.iter().copied().filter(|r| r.customer == "acme").collect();
        let question = Question { customer: Some("acme".to_owned()), ..question(1_500, 600) };
        hold(&log.look(Config { customer: Some(customer), ..Config::default() }, &question), &acme, 900.0);
    }
    // Without its names no column means anything.
    let bare = text.lines().filter(|line| !line.starts_with('#')).fold(String::new(), |all, line| all + line + "\n");
    let seen = Log::new(&bare).look(Config::default(), &question(1_500, 600));
    assert_eq!(why(&seen).0, UnknownKind::Unintelligible);
}

#[test]
fn the_past_has_the_same_measures() {
    let all = requests(3, 26 * 3_600, 0, 5);
    let log = Log::new(&combined(&all));
    let usual = ["requests_per_second", "error_ratio", "p95_seconds"].map(str::to_owned).to_vec();
    let seen = log.look(Config::default(), &Question { usual, ..question(900, 0) });
    for name in ["requests_per_second", "error_ratio", "p95_seconds"] {
        assert_eq!(seen.past[name].len(), 6, "{name}");
    }
    // Nearest first: an hour ago, a day ago.
    for (sample, hours) in [(0, 1), (1, 24)] {
        let window = hours * 3_600..=hours * 3_600 + 900;
        let truth: Vec<&Request> = all.iter().filter(|r| window.contains(&r.ago)).collect();
        let errors = truth.iter().filter(|r| r.status >= 500).count() as f64 / truth.len() as f64;
        assert!((seen.past["error_ratio"][sample] - errors).abs() < 1e-9);
    }
}

#[test]
fn what_is_no_request_is_counted_and_half_of_it_makes_blind() {
    let good = combined(&requests(5, 1_000, 1, 1));
    // Of so many lines the first few carry an impossible duration.
    let broken = |few: usize, of: usize| -> String {
        good.lines()
            .enumerate()
            .map(|(index, line)| match index % of {
                number if number < few => line.rsplit_once(' ').unwrap().0.to_owned() + " NaN\n",
                _ => format!("{line}\n"),
            })
            .collect()
    };
    let seen = Log::new(&broken(1, 10)).look(Config::default(), &question(1_000, 0));
    assert_eq!((seen.seen.clone(), number(&seen, "requests")), (Seen::Answered, 900.0), "{seen:?}");
    assert!(seen.notes.iter().any(|note| note.contains("10.0 % of the lines")), "{:?}", seen.notes);
    let seen = Log::new(&broken(1, 200)).look(Config::default(), &question(1_000, 0));
    assert!(seen.notes.is_empty(), "{:?}", seen.notes);
    let seen = Log::new(&broken(3, 5)).look(Config::default(), &question(1_000, 0));
    assert_eq!(why(&seen), (UnknownKind::Unintelligible, "600 of 1000 lines are no request that can be read"));
}

#[test]
fn no_request_is_no_evidence() {
    let log = Log::new(&combined(&requests(5, 7_200, 480, 1)));
    let seen = log.look(Config::default(), &question(300, 0));
    let (kind, reason) = why(&seen);
    assert_eq!(kind, UnknownKind::Incomplete);
    assert!(reason.starts_with("no request between") && reason.ends_with("last line 3 m before"), "{reason}");
    assert!(seen.measures.get("p99_seconds").is_none() && seen.measures.get("requests_per_second").is_none());
    // Houston's own requests are nobody's.
    let own = combined(&requests(5, 300, 0, 1)).replace("\"ua\"", "\"houston/0.1.0\"");
    let seen = Log::new(&(combined(&requests(5, 7_200, 301, 1)) + &own)).look(Config::default(), &question(290, 0));
    assert!(why(&seen).1.starts_with("no request between"), "{seen:?}");
    // Without durations there are no quantiles.
    let short = combined(&requests(5, 900, 0, 1))
        .lines()
        .fold(String::new(), |text, line| text + line.rsplit_once(' ').unwrap().0 + "\n");
    let seen = Log::new(&short).look(Config::default(), &question(900, 0));
    assert_eq!(seen.seen, Seen::Answered);
    assert!(seen.measures.get("p50_seconds").is_none() && number(&seen, "requests") == 901.0);
}

#[test]
fn wrong_values_are_errors_at_their_own_place() {
    for (yaml, line, part) in [
        ("paths: [/a]\nformat: fancy\n", 2, "unknown format"),
        ("paths: [/a]\nformat: '$remote_addr'\n", 2, "no status"),
        ("paths: [/a]\nformat: '#Fields: date time c-ip'\n", 2, "no sc-status"),
        ("paths: [/a]\ncustomer: { path_segment: 0 }\n", 2, "path_segment"),
        ("paths: [/a]\ncustomer: { query: a, field: b }\n", 2, "one of"),
        ("paths: [/a]\npath: '^/a('\n", 2, "unclosed group"),
        ("paths: [/a]\nfields: { duration_unit: hours }\n", 2, "hours"),
    ] {
        let node = crate::yaml::parse("x.yaml", yaml).unwrap();
        let error = (KIND.read)(&node).unwrap_err();
        assert!(error.at.line == line && error.message.contains(part), "{yaml}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn hostile_lines_change_nothing_but_the_count_of_the_unread(
        lines in proptest::collection::vec(prop_oneof![
            "\\PC{0,80}",
            "[\\[\\]\":/0-9GETHP. -]{0,80}".prop_map(|rest| format!("1.1.1.1 - - [22/Nov/2026:09:59:00 +0000] {rest}")),
            "[0-9.eE+-]{0,12}".prop_map(|tail| format!("1.1.1.1 - - [22/Nov/2026:09:59:00 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"u\" {tail}")),
        ], 0..60)
    ) {
        let log = Log::new(&(combined(&requests(5, 1_000, 1, 1)) + &lines.join("\n") + "\n"));
        let seen = log.look(Config::default(), &question(1_000, 0));
        prop_assert!(number(&seen, "requests") >= 1_000.0);
        for name in ["p50_seconds", "p95_seconds", "p99_seconds"] {
            prop_assert!((0.0..=3_600.0).contains(&number(&seen, name)));
        }
    }
}
