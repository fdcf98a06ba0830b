//! `capture` against a real nginx and real sockets, each time on a loopback of the test's own.

use std::path::Path;
use std::process::Command;

use super::looking::{example, example_within};
use crate::lab::place;

/// What a namespace has, and what happens in it.
struct Lab {
    /// What is made ready before the look.
    before: &'static str,
    /// What happens once the child looks.
    meanwhile: &'static str,
    /// How Houston is started: "$@" has its words.
    start: &'static str,
}

/// A loopback with an nginx on the example's port and on the next one.
const NGINX: &str = "ip link set lo up; nginx";
const LOOPBACK: &str = "ip link set lo up";
const AS_IT_IS: &str = "\"$@\"";

/// Functions for the scripts. Of this namespace's processes none but the child can have a packet socket; it looks once
/// its only one is bound.
const FUNCTIONS: &str = r#"
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
get() { curl -s -o /dev/null -m 5 "http://127.0.0.1:$1" || true; }
nginx() {
    command nginx -e stderr -p "$place/" -c nginx.conf &
    wait_until eval 'get 8470/ok; [ -s "$place/nginx.pid" ]'
}
wait_until() { i=0; until "$@"; do i=$((i + 1)); [ $i -lt 500 ] || exit 1; sleep 0.02; done; }
looks() { [ "$(awk 'NR > 1 { print $4, ($5 > 0) }' /proc/net/packet)" = "0003 1" ]; }
children() {
    for process in /proc/[0-9]*; do
        if tr '\0' ' ' <"$process/cmdline" 2>/dev/null | grep -q '^houston capture-child'; then echo "${process#/proc/}"; fi
    done
}
"#;

impl Lab {
    /// The words that make namespaces and run what follows them in there; with the first process all others end.
    fn words(&self, place: &Path) -> Vec<String> {
        let root = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let config = format!(
            "daemon off; worker_processes 1; pid nginx.pid; error_log stderr crit; {root} events {{}}\n\
             http {{ access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f;\n\
             uwsgi_temp_path u; scgi_temp_path s;\n\
             server {{ listen 127.0.0.1:8470; listen 127.0.0.1:8471; location /ok {{ return 200 'fine'; }}\n\
             location /broken {{ return 500 'oh'; }} }} }}\n"
        );
        std::fs::write(place.join("nginx.conf"), config).unwrap();
        std::fs::write(place.join("sockets.py"), include_str!("capture/sockets.py")).unwrap();
        let Lab { before, meanwhile, start } = self;
        let meanwhile = match *meanwhile {
            "" => String::new(),
            meanwhile => format!("( wait_until looks; {meanwhile} ) >&2 &"),
        };
        let script = format!(
            "place='{}'\ncase \"$*\" in *' list '*) exec \"$@\" ;; esac\n{FUNCTIONS}\n{{ {before}; }} >&2\n{meanwhile}\n\
             {start} || true\nchildren > $place/left\n",
            place.display()
        );
        let sort = if rustix::process::geteuid().is_root() { "-n" } else { "-rn" };
        let words = ["unshare", sort, "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-euc", &script, "sh"];
        words.map(str::to_owned).to_vec()
    }

    /// What the example finds there.
    fn finding(&self, place: &Path, replaced: &[(&str, &str)]) -> serde_json::Value {
        let words = self.words(place);
        example_within(&words.iter().map(String::as_str).collect::<Vec<_>>(), "capture", replaced, "{}")
    }

    /// What the child by itself counts in this time, and what the sockets said.
    fn counts(&self, milliseconds: u32) -> (serde_json::Value, String) {
        let place = place::new();
        let words = self.words(place.path());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(env!("CARGO_BIN_EXE_houston")).arg("capture-child");
        command.args(["--interface=lo", "--port=8470", &format!("--milliseconds={milliseconds}")]);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let line = serde_json::from_slice::<serde_json::Value>(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {said} {}", String::from_utf8_lossy(&output.stdout)));
        assert_eq!(line["counts"]["lost"], 0, "{line}");
        (line["counts"].clone(), said)
    }
}

fn read(place: &Path, name: &str) -> String {
    std::fs::read_to_string(place.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn known_traffic_is_counted_exactly_and_no_payload_is_ever_read() {
    let place = place::new();
    let finding = Lab {
        before: NGINX,
        meanwhile: "for i in 1 2 3 4 5 6 7 8 9 10; do get '8470/ok?secret=marker'; get 8471/broken; done",
        start: "strace -f -qq -s 4096 -o $place/calls -e trace=read,recvfrom,recvmsg,recvmmsg \"$@\"",
    }
    .finding(place.path(), &[]);
    assert_eq!((&finding["outcome"], &finding["observed"]["error_ratio"]), (&"good".into(), &0.0.into()), "{finding}");
    let text = finding.to_string();
    assert!(text.contains("100 packets, 10 connections begun, 10 established, 0 failed, 0 reset"), "{text}");
    assert!(!text.contains("marker") && !text.contains("127.0.0.1"), "{text}");
    // The kernel itself hands over no more than it takes to know a request.
    let calls = read(place.path(), "calls");
    assert_eq!(calls.matches("GET /ok?secr\"").count(), 10, "{calls}");
    assert!(!calls.contains("marker") && !calls.contains("/broken"), "{calls}");
}

#[test]
fn errors_and_a_closed_port_are_bad() {
    let place = place::new();
    let meanwhile = "for i in 1 2 3 4; do get 8470/ok; get 8470/broken; done";
    let finding = Lab { before: NGINX, meanwhile, start: AS_IT_IS }.finding(place.path(), &[]);
    assert_eq!((&finding["outcome"], &finding["observed"]["error_ratio"]), (&"bad".into(), &0.5.into()), "{finding}");
    let meanwhile = "for i in 1 2 3 4 5; do get 8470/ok; done";
    let finding = Lab { before: LOOPBACK, meanwhile, start: AS_IT_IS }.finding(place.path(), &[]);
    assert_eq!(finding["outcome"], "bad", "{finding}");
    assert!(finding.to_string().contains("5 connections begun, 0 established, 5 failed"), "{finding}");
}

#[test]
fn every_way_to_be_given_the_permission_works_and_the_child_keeps_none() {
    // What root has; what a unit's AmbientCapabilities= give; what the program's file grants.
    for start in [
        AS_IT_IS,
        "setpriv --securebits=+noroot --bounding-set=-all,+net_raw --inh-caps=-all,+net_raw \
         --ambient-caps=-all,+net_raw \"$@\"",
        "cp \"$1\" $place/houston; setcap cap_net_raw=ep $place/houston; shift\n\
         setpriv --securebits=+noroot --inh-caps=-all $place/houston \"$@\"",
    ] {
        let place = place::new();
        let meanwhile = "cat /proc/$(children)/task/*/status > $place/status; get 8470/ok; get 8471/ok";
        let finding = Lab { before: NGINX, meanwhile, start }.finding(place.path(), &[]);
        assert_eq!(finding["outcome"], "good", "{start}: {finding}");
        assert!(finding.to_string().contains("1 connections begun"), "{start}: {finding}");
        let status = read(place.path(), "status");
        let values = |name: &str| -> Vec<String> {
            let lines = status.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            lines.map(|value| value.trim().trim_start_matches('0').to_owned()).collect()
        };
        // Of every thread.
        assert_eq!(values("NoNewPrivs"), ["1"], "{start}: {status}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(values(set), [""], "{start}: {set}");
        }
    }
}

#[test]
fn without_permission_traffic_or_wire_it_is_unknown() {
    let not_permitted = "setpriv --bounding-set=-net_raw -- \"$@\"";
    for (before, start, kind, why) in [
        (LOOPBACK, not_permitted, "refused", "AmbientCapabilities=CAP_NET_RAW"),
        (LOOPBACK, AS_IT_IS, "incomplete", "no packet of port 8470"),
        ("true", AS_IT_IS, "unreachable", "is down"),
    ] {
        let place = place::new();
        let finding = Lab { before, meanwhile: "", start }.finding(place.path(), &[]);
        assert_eq!((&finding["outcome"], &finding["unknown"]["kind"]), (&"unknown".into(), &kind.into()), "{finding}");
        assert!(finding["unknown"]["why"].as_str().is_some_and(|said| said.contains(why)), "{finding}");
    }
    let finding = Lab { before: LOOPBACK, meanwhile: "", start: AS_IT_IS }
        .finding(place::new().path(), &[("interface: lo", "interface: wan7")]);
    assert!(finding["unknown"]["why"].as_str().is_some_and(|why| why.contains("no interface wan7")), "{finding}");
}

#[test]
fn a_child_that_does_not_end_is_killed_at_the_deadline() {
    let place = place::new();
    let finding = Lab {
        before: LOOPBACK,
        meanwhile: "child=$(children); kill -STOP $child; echo $child > $place/stopped",
        start: AS_IT_IS,
    }
    .finding(place.path(), &[("needed: false", "timeout: 5s\n    needed: false")]);
    assert_eq!(finding["unknown"]["kind"], "timed_out", "{finding}");
    assert!(!read(place.path(), "stopped").trim().is_empty(), "no child was stopped");
    assert_eq!(read(place.path(), "left"), "");
}

#[test]
fn resets_refusals_statuses_and_times_are_those_of_the_sockets() {
    let meanwhile = "python3 $place/sockets.py ends";
    let (counts, said) = Lab { before: LOOPBACK, meanwhile, start: AS_IT_IS }.counts(4000);
    for (name, expected) in [
        ("connections", 9),
        ("established", 7),
        ("refused", 2),
        ("resets", 3),
        ("retransmits", 0),
        ("unreadable", 0),
        ("requests", 4),
        ("status_2xx", 1),
        ("status_3xx", 1),
        ("status_4xx", 1),
        ("status_5xx", 1),
        // Four each of what is reset, ten of what is answered, two of what is refused: none is counted twice.
        ("packets", 3 * 4 + 4 * 10 + 2 * 2),
    ] {
        assert_eq!(counts[name], expected, "{name}: {counts} {said}");
    }
    for name in ["answer_p50_micros", "answer_p95_micros"] {
        assert!(counts[name].as_u64().is_some_and(|micros| micros >= 100_000), "{name}: {counts}");
    }
    assert!(counts["handshake_p50_micros"].is_u64(), "{counts}");
}

#[test]
fn what_was_sent_again_is_what_the_kernel_says() {
    let meanwhile = "python3 $place/sockets.py lost";
    let (counts, said) = Lab { before: LOOPBACK, meanwhile, start: AS_IT_IS }.counts(4000);
    let again: u64 = said.parse().unwrap_or_else(|_| panic!("{said}"));
    assert!(again >= 2);
    assert_eq!((&counts["retransmits"], &counts["late"]), (&again.into(), &0.into()), "{counts}");
}

#[test]
fn handshakes_that_fail_are_told_apart_and_a_slow_one_is_timed() {
    let meanwhile = "python3 $place/sockets.py handshakes";
    let (counts, said) = Lab { before: LOOPBACK, meanwhile, start: AS_IT_IS }.counts(5000);
    for (name, expected) in
        [("connections", 3), ("established", 1), ("unanswered", 1), ("abandoned", 1), ("refused", 0), ("undecided", 0)]
    {
        assert_eq!(counts[name], expected, "{name}: {counts} {said}");
    }
    // The kernel repeats a SYN after a second (RFC 6298 §2).
    assert!(counts["handshake_p50_micros"].as_u64().is_some_and(|micros| micros >= 900_000), "{counts}");
}

#[test]
fn packets_that_contradict_themselves_are_told_and_harm_nothing() {
    let meanwhile = "python3 $place/sockets.py hostile";
    let (counts, said) = Lab { before: LOOPBACK, meanwhile, start: AS_IT_IS }.counts(3000);
    for (name, expected) in [("unreadable", 350), ("connections", 1), ("established", 1)] {
        assert_eq!(counts[name], expected, "{name}: {counts} {said}");
    }
}

#[test]
fn the_example_runs_on_this_host_as_well() {
    let finding = example("capture", &[], "{}");
    let kind = finding["unknown"]["kind"].as_str();
    // Others may be using the example's port meanwhile; that it can't be looked at is no reason to fail either.
    assert!(matches!(kind, None | Some("refused" | "incomplete")), "{finding}");
}
