//! Reports that are whole and reports that aren't, tests that behave and tests that don't, as real processes.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use proptest::prelude::*;

use super::report::{Ended as Step, Report};
use super::*;
use crate::evidence::{Setup, Tools};
use crate::model::observation::Seen;
use crate::model::params::Params;
use crate::model::secret::Environment;
use crate::model::value::Value;
use crate::model::window::{Moment, Window};
use crate::yaml;

/// Passed, failed, broke, skipped.
fn counts(report: &Report) -> [usize; 4] {
    [Step::Passed, Step::Failed, Step::Broke, Step::Skipped].map(|ended| report.count(ended))
}

#[test]
fn junit_is_read_as_its_writers_write_it() {
    for (text, expected, culprit, message) in [
        (r#"<testsuite><testcase name="a" time="1,234.5"/></testsuite>"#, [1, 0, 0, 0], "", ""),
        (
            r#"<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="pytest" errors="0" failures="1" skipped="1" tests="3">
            <testcase classname="t" name="a"/><testcase name="b"><failure message="assert 1 == 2">trace</failure></testcase>
            <testcase name="c"><skipped/></testcase></testsuite></testsuites>"#,
            [1, 1, 0, 1],
            "b",
            "assert 1 == 2",
        ),
        // Playwright: the message is in the text.
        (
            r#"<testsuites tests="1" failures="1"><testsuite><testcase name="pays"><failure type="FAILURE"><![CDATA[  Timeout 5000ms ]]></failure></testcase></testsuite></testsuites>"#,
            [0, 1, 0, 0],
            "pays",
            "Timeout 5000ms",
        ),
        // A failure decides before an error that came first.
        (
            r#"<testsuite><testcase name="a"><error message="x"/></testcase><testcase classname="b"><failure/></testcase></testsuite>"#,
            [0, 1, 1, 0],
            "b",
            "",
        ),
        ("\u{feff} <testsuite><testsuite><testcase name='&lt;a'/></testsuite></testsuite>", [1, 0, 0, 0], "", ""),
    ] {
        let report = junit::read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!((counts(&report), &report.incomplete), (expected, &None), "{text}");
        let step = report.culprit().map(|step| (step.name.as_str(), step.message.as_str()));
        assert_eq!(step.unwrap_or_default(), (culprit, message), "{text}");
    }
    let report = junit::read(r#"<testsuite><testcase name="a" time="1,234.5"/></testsuite>"#).unwrap();
    assert_eq!(report.steps[0].seconds, Some(1234.5));
}

#[test]
fn a_junit_report_that_is_not_whole_is_never_taken_for_one() {
    for (text, error) in [
        ("", "no JUnit XML"),
        ("<html><body/></html>", "neither"),
        ("<testsuite><testcase name='a'/>", "no JUnit XML"),
        ("<testsuite><testcase name='a'></testsuite>", "no JUnit XML"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><testsuite><testcase name='&b;'/></testsuite>", "no JUnit XML"),
        ("1 passed\n<testsuite/>", "no JUnit XML"),
        // XML has no escape characters.
        ("<testsuite><testcase name='&#27;[2J'/></testsuite>", "no JUnit XML"),
    ] {
        assert!(junit::read(text).unwrap_err().contains(error), "{text}");
    }
    for (text, gap) in [
        ("<testsuites/>", "no case"),
        ("<testsuite tests='2'><testcase name='a'/></testsuite>", "counts 2 tests and holds 1"),
        ("<testsuites failures='1'><testsuite><testcase/></testsuite></testsuites>", "counts 1 failures and holds 0"),
        ("<testsuite><error message='no database'/><testcase/></testsuite>", "no database"),
    ] {
        assert!(junit::read(text).unwrap().incomplete.unwrap().contains(gap), "{text}");
    }
    let deep = format!("{}{}", "<testsuite>".repeat(150_000), "</testsuite>".repeat(150_000));
    assert!(junit::read(&deep).unwrap().incomplete.unwrap().contains("no case"));
    assert!(junit::read(&format!("<testsuite>{}", "<a/>".repeat(200_001))).unwrap_err().contains("larger"));
    let wide = format!("<testsuite>{}</testsuite>", "<testcase/>".repeat(10_001));
    assert!(junit::read(&wide).unwrap().incomplete.unwrap().contains("more than 10000"));
}

#[test]
fn tap_is_read_by_its_specification() {
    for (text, expected, culprit, gap) in [
        ("1..2\nok 1 - opens\nok 2 - pays\n", [2, 0, 0, 0], "", ""),
        ("TAP version 14\nok\nnot ok 2 - pays # after a while\n1..2\n", [1, 1, 0, 0], "pays", ""),
        (
            "1..3\nok 1 # SKIP no browser\nnot ok 2 later # TODO some day\nok 3 # skipped: it is slow",
            [0, 0, 0, 3],
            "",
            "",
        ),
        ("1..1\n    ok 1 - a\n    not ok 2 - b\n    1..2\nnot ok 1 - outer", [0, 1, 0, 0], "outer › b", ""),
        ("1..1\nnot ok 1 - a\n  ---\n  message: 'status is 503'\n  duration_ms: 12.5\n  ...\n", [0, 1, 0, 0], "a", ""),
        ("1..3\nok 1\n", [1, 0, 0, 0], "", "planned 3 tests and ran 1"),
        ("ok 1\nok 2\n", [2, 0, 0, 0], "", "plan is missing"),
        ("1..0 # SKIP no shop here", [0, 0, 0, 0], "", "planned no test"),
        ("1..2\nok 1\nBail out! no database\nok 2", [1, 0, 0, 0], "", "no database"),
        ("okay then\n1..1\nok 1", [1, 0, 0, 0], "", ""),
    ] {
        let report = tap::read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(counts(&report), expected, "{text}");
        assert_eq!(report.culprit().map(|step| step.name.as_str()).unwrap_or_default(), culprit, "{text}");
        assert_eq!(report.incomplete.is_none(), gap.is_empty(), "{text}: {report:?}");
        assert!(report.incomplete.unwrap_or_default().contains(gap), "{text}");
    }
    let report =
        tap::read("1..1\nnot ok 1 - a\n  ---\n  message: 'status is 503'\n  duration_ms: 12.5\n  ...\n").unwrap();
    assert_eq!((report.steps[0].seconds, report.steps[0].message.as_str()), (Some(0.0125), "status is 503"));
    for text in ["", "<html>", "1..x", "1..1\n1..1\nok"] {
        assert!(tap::read(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn whatever_is_printed_nothing_panics_and_what_is_cut_is_not_whole(text in any::<String>(), cut in 1_usize..60) {
        let _ = (junit::read(&text), tap::read(&text));
        let whole = r#"<testsuites><testsuite tests="1"><testcase name="a"/></testsuite></testsuites>"#;
        prop_assert!(junit::read(&whole[..whole.len() - cut]).is_err());
        let whole = "1..9\nok 1\nok 2\nok 3\nok 4\nok 5\nok 6\nok 7\nok 8\nok 9";
        let cut_short = tap::read(&whole[..whole.len() - cut.min(whole.len())]);
        // A number that lost its last digits still is one line of a test.
        prop_assert!(cut < 3 || cut_short.is_err() || cut_short.unwrap().incomplete.is_some());
    }
}

fn probe(text: &str) -> Result<Arc<dyn Probe>, String> {
    yaml::parse("s.yaml", text).and_then(|node| read(&node)).map_err(|error| error.to_string())
}

/// Runs a script of one's own, with what else stands below `script:`.
async fn look_for(body: &str, rest: &str, time: Duration, params: &[(&str, &str)]) -> Observation {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shop-test");
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o555)).unwrap();
    let probe = probe(&format!("{{ command: [ {} ]{rest} }}", path.display())).unwrap();
    let now = jiff::Timestamp::UNIX_EPOCH;
    let environment = Environment::new([("SHOP_TOKEN".to_owned(), "hunter2hunter2".to_owned())]);
    let programs: Vec<PathBuf> = vec![path];
    let tools = Arc::new(Tools::new(Setup { programs, environment, ..Setup::default() }));
    // A file that was just written can't be run while another thread's fork still holds it open.
    loop {
        let mut ask = Ask {
            now,
            window: Window::new(now, now),
            moment: Moment::Now,
            since: now,
            params: Params::default(),
            customer: None,
            attempt: 1,
            usual: Vec::new(),
            deadline: Instant::now() + time,
            memory: Arc::default(),
            check: "shop".into(),
            tools: Arc::clone(&tools),
        };
        for (name, value) in params {
            ask.params.set(name, *value, true);
        }
        let seen = probe.observe(&ask).await;
        match &seen.seen {
            Seen::Blind(unknown) if unknown.why.contains("Text file busy") => tokio::task::yield_now().await,
            _ => return seen,
        }
    }
}

async fn look(body: &str, rest: &str) -> Observation {
    look_for(body, rest, Duration::from_secs(20), &[]).await
}

fn blind(seen: &Observation) -> (UnknownKind, &str) {
    match &seen.seen {
        Seen::Blind(unknown) => (unknown.kind, &unknown.why),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_exit_code_that_is_declared_is_an_answer() {
    for (body, rest, failures) in [
        ("echo fine", "", 0.0),
        ("echo 'cart is empty'; exit 1", "", 1.0),
        ("echo 'thresholds crossed'; exit 99", ", failure_codes: [ 99, 108 ]", 1.0),
    ] {
        let seen = look(body, rest).await;
        assert_eq!(
            (&seen.seen, seen.measures.number("failures")),
            (&Seen::Answered, Some(failures)),
            "{body}: {seen:?}"
        );
    }
    for (body, rest, kind, why) in [
        ("exit 2", "", UnknownKind::Incomplete, "exit code 2"),
        ("exit 1", ", failure_codes: [ 99 ]", UnknownKind::Incomplete, "exit code 1"),
        ("no-such-program", "", UnknownKind::Incomplete, "exit code 127"),
        ("kill -SEGV $$", "", UnknownKind::Unintelligible, "signal 11"),
        ("head -c 2000000 /dev/zero", "", UnknownKind::Incomplete, "more than we read"),
    ] {
        let seen = look(body, rest).await;
        assert_eq!(blind(&seen).0, kind, "{body}: {seen:?}");
        assert!(blind(&seen).1.contains(why), "{body}: {seen:?}");
    }
    let seen = look_for("exec sleep 60", "", Duration::from_secs(2), &[]).await;
    assert_eq!(blind(&seen).0, UnknownKind::TimedOut, "{seen:?}");
}

#[tokio::test]
async fn a_report_decides_and_its_absence_is_unknown() {
    let case =
        r#"<testsuite><testcase name="opens"/><testcase name="pays"><failure message="503"/></testcase></testsuite>"#;
    for (body, rest) in [
        (format!("echo noise; echo '{case}' >r.xml; exit 1"), ", junit: r.xml"),
        // An exit code of 0 doesn't talk a failure away.
        (format!("echo '{case}'"), ", junit: stdout"),
        ("echo 1..2; echo ok 1 opens; echo not ok 2 pays; exit 1".to_owned(), ", tap: stdout"),
        ("(echo 1..2; echo ok 1 opens; echo not ok 2 pays) >r.tap".to_owned(), ", tap: r.tap"),
        // What is missing can't undo what failed.
        ("echo 1..9; echo ok 1 opens; echo not ok 2 pays".to_owned(), ", tap: stdout"),
    ] {
        let seen = look(&body, rest).await;
        assert_eq!(seen.seen, Seen::Answered, "{body}: {seen:?}");
        assert_eq!(seen.measures.get("failed_step"), Some(&Value::from("pays")), "{body}");
        assert_eq!((seen.measures.number("steps"), seen.measures.number("failures")), (Some(1.0), Some(1.0)), "{body}");
        assert!(seen.excerpt.unwrap().contains("pays"), "{body}");
    }
    let good = "<testsuite><testcase name=\"opens\"/></testsuite>";
    for (body, rest, kind, why) in [
        ("true".to_owned(), ", junit: r.xml", UnknownKind::Incomplete, "left no report"),
        ("ln -s /etc/passwd r.xml".to_owned(), ", junit: r.xml", UnknownKind::Incomplete, "left no report"),
        ("echo '<testsuite>' >r.xml".to_owned(), ", junit: r.xml", UnknownKind::Unintelligible, "no JUnit XML"),
        ("printf '\\377' >r.xml".to_owned(), ", junit: r.xml", UnknownKind::Unintelligible, "not UTF-8"),
        (format!("echo '{good}'; exit 3"), ", junit: stdout", UnknownKind::Incomplete, "exit code 3"),
        (format!("echo '{good}'; kill -9 $$"), ", junit: stdout", UnknownKind::Unintelligible, "signal 9"),
        ("echo 1..1; echo 'ok 1 # SKIP'".to_owned(), ", tap: stdout", UnknownKind::Incomplete, "none of its tests"),
        ("echo 1..2; echo ok; echo 'Bail out! gone'".to_owned(), ", tap: stdout", UnknownKind::Incomplete, "gone"),
        (
            "echo '<testsuite><testcase name=\"a\"><error message=\"no fixture\"/></testcase></testsuite>'; exit 1"
                .to_owned(),
            ", junit: stdout",
            UnknownKind::Incomplete,
            "no fixture",
        ),
    ] {
        let seen = look(&body, rest).await;
        assert_eq!(blind(&seen).0, kind, "{body}: {seen:?}");
        assert!(blind(&seen).1.contains(why), "{body}: {seen:?}");
    }
}

#[tokio::test]
async fn values_go_in_whole_and_secrets_do_not_come_out() {
    let body = "echo \"customer=$CUSTOMER token=$TOKEN argument=$1\"; exit 1";
    let rest = ", env: { CUSTOMER: \"{{ who }}\", TOKEN: { env: SHOP_TOKEN } }";
    let seen = look_for(body, rest, Duration::from_secs(20), &[("who", "$(id); acme'")]).await;
    let shown = format!("{seen:?}");
    assert!(shown.contains("customer=$(id); acme'") && shown.contains("token=‹secret›"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(seen.reproduce.unwrap().contains("TOKEN=…"));

    assert!(probe("{ command: [ /bin/t ], env: { ENVIRONMENT: test, PATHS: x } }").is_ok());
    let probe = probe("{ command: [ /bin/t, \"{{ a }}\" ], env: { B: \"{{ b }}\", A: \"{{ a }}\", C: { file: /s } } }")
        .unwrap();
    assert_eq!((probe.params(), probe.secrets().len()), (vec!["a".to_owned(), "b".to_owned()], 1));
}

#[test]
fn what_is_wrong_is_said_when_it_is_read() {
    for (text, message) in [
        ("command: []", "empty"),
        ("command: [ pytest ]", "not an absolute path"),
        ("command: [ \"/bin/{{ a }}\" ]", "can't choose the program"),
        ("command: [ /bin/t, \"--customer={{ a }}\" ]", "whole argument"),
        ("{ command: [ /bin/t ], junit: a.xml, tap: stdout }", "one report"),
        ("{ command: [ /bin/t ], junit: ../a.xml }", "not the name of a file"),
        ("{ command: [ /bin/t ], junit: /tmp/a.xml }", "not the name of a file"),
        ("{ command: [ /bin/t ], tap: \"{{ a }}\" }", "not the name of a file"),
        ("{ command: [ /bin/t ], failure_codes: [ 0 ] }", "from 1 to 125"),
        ("{ command: [ /bin/t ], failure_codes: [] }", "from 1 to 125"),
        ("{ command: [ /bin/t ], env: { LD_PRELOAD: /tmp/x.so } }", "what code a program runs"),
        ("{ command: [ /bin/t ], env: { NODE_OPTIONS: -r/tmp/x } }", "what code a program runs"),
        ("{ command: [ /bin/t ], env: { a-b: x } }", "name of a variable"),
        ("{ command: [ /bin/t ], env: { A: \"x{{ b }}\" } }", "whole value"),
        ("{ command: [ /bin/t ], memory: 4 }", "no unit"),
        ("{ command: [ /bin/t ], shell: true }", "shell"),
    ] {
        let error = probe(text).unwrap_err();
        assert!(error.contains(message), "{text}: {error}");
    }
}
