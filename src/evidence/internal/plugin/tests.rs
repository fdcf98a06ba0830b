//! Plugins that behave and plugins that don't, as real processes; and what is refused when it is read.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;
use crate::evidence::{Setup, Tools};
use crate::model::observation::Seen;
use crate::model::params::Params;
use crate::model::window::{Moment, Window};
use crate::yaml;

fn ask(programs: Vec<PathBuf>, time: Duration) -> Ask {
    let now = jiff::Timestamp::UNIX_EPOCH;
    Ask {
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
        check: "disk".into(),
        tools: Arc::new(Tools::new(Setup { programs, ..Setup::default() })),
    }
}

fn probe(text: &str) -> Result<Arc<dyn Probe>, String> {
    yaml::parse("p.yaml", text).and_then(|node| read(&node)).map_err(|error| error.to_string())
}

/// A plugin of one's own in a directory that only its owner can write.
fn script(body: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("check_it");
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o555)).unwrap();
    (directory, path)
}

async fn look_for(body: &str, arguments: &str, time: Duration, params: &[(&str, &str)]) -> Observation {
    let (_directory, path) = script(body);
    let probe = probe(&format!("command: [ {}{arguments} ]", path.display())).unwrap();
    // A file that was just written can't be run while another thread's fork still holds it open.
    loop {
        let mut ask = ask(vec![path.clone()], time);
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

async fn look(body: &str) -> Observation {
    look_for(body, "", Duration::from_secs(20), &[]).await
}

fn blind(seen: &Observation) -> (UnknownKind, &str) {
    match &seen.seen {
        Seen::Blind(unknown) => (unknown.kind, &unknown.why),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn codes_zero_to_two_are_answers() {
    for (body, exit, text) in [
        ("echo 'DISK OK - free | /=1MB;2;3;0;4'; exit 0", 0.0, "DISK OK - free"),
        ("echo 'DISK WARNING'; exit 1", 1.0, "DISK WARNING"),
        ("echo 'DISK CRITICAL'; exit 2", 2.0, "DISK CRITICAL"),
        ("exit 2", 2.0, ""),
        ("echo 'closed early'; exec >&- 2>&-; exit 1", 1.0, "closed early"),
    ] {
        let seen = look(body).await;
        assert_eq!(seen.seen, Seen::Answered, "{body}: {seen:?}");
        assert_eq!(seen.measures.number("exit"), Some(exit), "{body}");
        assert_eq!(seen.measures.get("text"), Some(&text.into()), "{body}");
    }
    let seen = look("echo 'OK | a=5ms b=NaN'; echo long; echo why >&2").await;
    assert_eq!(seen.measures.get("perfdata").unwrap().show(100), r#"{"a":{"unit":"s","value":0.005}}"#);
    assert_eq!(seen.notes, ["1 pieces of performance data can't be read, the first is `b=NaN`"]);
    assert_eq!(seen.excerpt.unwrap(), "OK\nlong\nwhy");
    assert!(seen.reproduce.unwrap().ends_with("/check_it"));
}

#[tokio::test]
async fn everything_else_is_unknown_and_never_bad() {
    for (body, kind, part) in [
        ("echo 'no route'; exit 3", UnknownKind::Incomplete, "check_it: it could not tell: no route"),
        ("echo oops >&2; exit 3", UnknownKind::Incomplete, "oops"),
        ("exit 4", UnknownKind::Unintelligible, "exit code 4 is none of a plugin's: it printed nothing"),
        ("exit 7", UnknownKind::Unintelligible, "exit code 7"),
        ("exec /nowhere/x", UnknownKind::Unintelligible, "exit code 127"),
        ("exit 137", UnknownKind::Unintelligible, "exit code 137"),
        ("exit 255", UnknownKind::Unintelligible, "exit code 255"),
        ("kill -SEGV $$", UnknownKind::Unintelligible, "ended by signal 11"),
        (
            "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done",
            UnknownKind::Incomplete,
            "more than we read",
        ),
        ("head -c 100000 /dev/zero | tr '\\0' x; exit 2", UnknownKind::Incomplete, "more than we read"),
        ("printf '\\033[2Jgone'; exit 3", UnknownKind::Incomplete, "\\u{1b}[2Jgone"),
    ] {
        let seen = look(body).await;
        let (found, why) = blind(&seen);
        assert!(found == kind && why.contains(part), "{body}: {found:?} {why}");
    }
    // Whatever code it would have ended with: it didn't in time.
    let started = Instant::now();
    let seen = look_for("trap '' TERM; sleep 38474001; exit 2", "", Duration::from_millis(800), &[]).await;
    assert_eq!(blind(&seen).0, UnknownKind::TimedOut);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn only_what_the_list_allows_is_run() {
    let (_directory, path) = script("echo ran");
    let probe = probe(&format!("command: [ {} ]", path.display())).unwrap();
    let seen = probe.observe(&ask(Vec::new(), Duration::from_secs(5))).await;
    let (kind, why) = blind(&seen);
    assert!(kind == UnknownKind::Refused && why.contains("not in the list"), "{why}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4555)).unwrap();
    let seen = probe.observe(&ask(vec![path.clone()], Duration::from_secs(5))).await;
    let (kind, why) = blind(&seen);
    assert!(kind == UnknownKind::Refused && why.contains("another user's rights"), "{why}");
}

#[tokio::test]
async fn a_ticket_is_one_argument_and_never_an_option() {
    let show = "printf '<%s>' \"$@\"";
    let arguments = ", -H, '{{ host }}', --, '{{ rest }}'";
    let time = Duration::from_secs(20);
    let seen = look_for(show, arguments, time, &[("host", "a b; $(id) `x`"), ("rest", "-rf")]).await;
    assert_eq!(seen.measures.get("text"), Some(&"<-H><a b; $(id) `x`><--><-rf>".into()));
    for (host, kind) in [("-w", UnknownKind::Refused), ("a\nb", UnknownKind::Refused)] {
        let seen = look_for(show, arguments, time, &[("host", host), ("rest", "x")]).await;
        assert_eq!(blind(&seen).0, kind, "{host:?}");
    }
    let seen = look_for(show, arguments, time, &[("host", "x")]).await;
    assert_eq!(blind(&seen).0, UnknownKind::MissingParam);
}

#[test]
fn what_is_wrong_is_refused_at_its_place() {
    for (text, part) in [
        ("command: []", "p.yaml:1:10: the command is empty"),
        ("command: check_disk -w 10", "p.yaml:1:10"),
        ("command: [ check_disk ]", "p.yaml:1:12: the program is not an absolute path"),
        ("command: [ ./check_disk ]", "not an absolute path"),
        ("command: [ /usr/lib/../bin/x ]", "can't hold `..`"),
        ("command: [ '{{ x }}' ]", "can't choose the program"),
        ("command: [ '/usr/{{ x }}' ]", "can't choose the program"),
        ("command: [ /bin/x, '-H{{ x }}' ]", "p.yaml:1:20: a parameter must be a whole argument"),
        ("command: [ /bin/x, '{{ a }}{{ b }}' ]", "whole argument"),
        ("command: [ /bin/x, '{{ a b }}' ]", "not the name"),
        ("command: [ /bin/x ]\nshell: true", "shell"),
        ("cmd: [ /bin/x ]", "unknown key `cmd`"),
        ("{}", "command"),
    ] {
        let error = probe(text).map(|_| ()).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
    let probe = probe("command: [ /usr/lib/check_x, -H, '{{ h }}', 'a b' ]").unwrap();
    assert_eq!((probe.system().as_str(), probe.params()), ("check_x -H '{{ h }}' 'a b'", vec!["h".to_owned()]));
}
