//! What the kind makes of what systemctl prints, said by a script in its place.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::model::observation::Seen;
use crate::model::params::Params;
use crate::model::window::{Moment, Window};
use crate::yaml;

fn ask(patience: Duration) -> Ask {
    let now: Timestamp = "2026-11-22T19:30:00Z".parse().unwrap();
    Ask {
        now,
        window: Window::new(now, now),
        moment: Moment::Now,
        since: now,
        params: Params::default(),
        customer: None,
        attempt: 1,
        usual: Vec::new(),
        deadline: Instant::now() + patience,
        memory: Arc::default(),
        check: "unit".into(),
        tools: Arc::default(),
    }
}

/// Looks with this script in systemctl's place.
async fn look(script: &str, patience: Duration) -> Observation {
    let place = tempfile::tempdir().unwrap();
    let systemctl = place.path().join("systemctl");
    std::fs::write(&systemctl, format!("#!/bin/sh\n{script}\n")).unwrap();
    // Not writable for whoever runs this, or it would not be run.
    std::fs::set_permissions(&systemctl, std::fs::Permissions::from_mode(0o555)).unwrap();
    Unit { name: "shop.service".to_owned(), systemctl }.observe(&ask(patience)).await
}

const LONG: Duration = Duration::from_secs(20);

/// As systemd 252 prints it.
const RUNNING: &str = "Result=success\nNRestarts=2\nExecMainStatus=0\nId=shop.service\nLoadState=loaded\nActiveState=active\n\
    SubState=running\nUnitFileState=enabled\nStateChangeTimestamp=Sun 2026-11-22 19:22:24 UTC";
const FAILED: &str = "Result=exit-code\nNRestarts=5\nExecMainStatus=3\nLoadState=loaded\nActiveState=failed\nSubState=failed\n\
    UnitFileState=enabled\nStateChangeTimestamp=Sun 2026-11-22 19:29:59 UTC";
const TIMER: &str =
    "Id=shop.timer\nLoadState=loaded\nActiveState=active\nSubState=waiting\nUnitFileState=\nStateChangeTimestamp=";

fn prints(text: &str) -> String {
    format!("cat <<'END'\n{text}\nEND")
}

#[tokio::test]
async fn a_unit_s_state_is_read() {
    let seen = look(&prints(RUNNING), LONG).await;
    assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
    let shown: Vec<String> = seen.measures.iter().map(|(name, value)| format!("{name} {}", value.show(99))).collect();
    assert_eq!(
        shown,
        [
            "active true",
            "enabled \"enabled\"",
            "exit_status 0",
            "load \"loaded\"",
            "restarts 2",
            "result \"success\"",
            "state \"active\"",
            "state_seconds 456",
            "substate \"running\""
        ]
    );
    assert_eq!(
        seen.excerpt.as_deref(),
        Some("shop.service: active (running) since 2026-11-22T19:22:24Z, result success")
    );
    let seen = look(&prints(FAILED), LONG).await;
    assert_eq!(seen.measures.get("active"), Some(&false.into()), "{seen:?}");
    let numbers = ["restarts", "exit_status", "state_seconds"].map(|name| seen.measures.number(name));
    assert_eq!(numbers, [5.0, 3.0, 1.0].map(Some));
    let seen = look(&prints(TIMER), LONG).await;
    assert_eq!((seen.measures.get("active"), seen.measures.get("restarts")), (Some(&true.into()), None), "{seen:?}");
    assert_eq!((seen.measures.get("state_seconds"), seen.measures.get("enabled")), (None, None), "{seen:?}");
}

#[tokio::test]
async fn the_name_is_an_argument_and_nothing_else() {
    let script =
        "[ $# = 5 ] && [ \"$1 $2 $4 $5\" = 'show --no-pager -- shop.service' ] && [ \"$TZ\" = UTC ] || exit 9\n";
    let seen = look(&format!("{script}{}", prints(RUNNING)), LONG).await;
    assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
}

#[tokio::test]
async fn what_systemd_doesn_t_say_is_unknown_with_its_reason() {
    let missing = prints("LoadState=not-found\nActiveState=inactive\nSubState=dead");
    let broken = prints("LoadState=bad-setting\nActiveState=inactive\nSubState=dead");
    let not_booted = "echo 'System has not been booted with systemd as init system (PID 1).\u{1b}[2J' >&2; exit 1";
    for (script, kind, part) in [
        (missing.as_str(), UnknownKind::Incomplete, "there is no unit shop.service"),
        (&broken, UnknownKind::Incomplete, "bad-setting"),
        (not_booted, UnknownKind::Unreachable, "not been booted with systemd"),
        ("exit 4", UnknownKind::Unreachable, "exit code 4"),
        ("exit 0", UnknownKind::Unintelligible, "doesn't tell"),
        ("echo hello", UnknownKind::Unintelligible, "doesn't tell"),
        ("kill -9 $$", UnknownKind::Unintelligible, "signal 9"),
        ("yes", UnknownKind::Incomplete, "more than we read"),
    ] {
        let seen = look(script, LONG).await;
        let Seen::Blind(unknown) = &seen.seen else { panic!("{script}: {seen:?}") };
        assert!(unknown.kind == kind, "{script}: {unknown:?}");
        assert!(unknown.why.contains(part), "{script}: {unknown:?}");
        assert!(!unknown.why.contains('\u{1b}') && seen.measures.is_empty(), "{script}: {seen:?}");
    }
    let seen = look("sleep 60", Duration::from_secs(1)).await;
    assert!(matches!(&seen.seen, Seen::Blind(unknown) if unknown.kind == UnknownKind::TimedOut), "{seen:?}");
    let gone = Unit { name: "shop.service".to_owned(), systemctl: PathBuf::from("/nowhere/systemctl") };
    let seen = gone.observe(&ask(LONG)).await;
    assert!(matches!(&seen.seen, Seen::Blind(unknown) if unknown.why.contains("the package systemd")), "{seen:?}");
}

#[test]
fn a_name_is_a_unit_s_or_refused() {
    for (text, name) in [
        ("shop", Some("shop.service")),
        ("shop.service", Some("shop.service")),
        ("shop.timer", Some("shop.timer")),
        ("shop@eu-1.service", Some("shop@eu-1.service")),
        ("v1.2", Some("v1.2.service")),
        ("dev-disk-by\\x2dlabel.device", Some("dev-disk-by\\x2dlabel.device")),
        ("-H evil", None),
        ("--all", Some("--all.service")),
        ("-.mount", Some("-.mount")),
        ("a b", None),
        ("*", None),
        ("a/b", None),
        ("{{ unit }}", None),
        ("\u{1b}[2J", None),
        ("", None),
        (&"x".repeat(300), None),
    ] {
        assert_eq!(unit(text).ok().as_deref(), name, "{text}");
    }
    let error = read(&yaml::parse("s.yaml", "unit: a b").unwrap()).unwrap_err();
    assert!(error.to_string().contains("s.yaml:1:7: `a b` is not the name of a unit"), "{error}");
}

#[test]
fn moments_are_read_as_systemd_writes_them() {
    for (text, read) in [
        ("Sun 2026-11-22 19:22:24 UTC", Some("2026-11-22T19:22:24Z")),
        ("n/a", None),
        ("", None),
        ("Sun 2026-11-22 19:22:24 CET", None),
        ("Sun 2026-13-22 19:22:24 UTC", None),
    ] {
        assert_eq!(moment(text).map(|at| at.to_string()).as_deref(), read, "{text}");
    }
}
