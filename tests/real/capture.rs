//! `capture` against a real nginx, on a loopback of the test's own.

use super::looking::{example, example_within};

/// Runs the example in a network namespace with an nginx on the example's port; `traffic` begins once the child looks.
fn within(before: &str, traffic: &str, raw: bool) -> serde_json::Value {
    let place = tempfile::tempdir().unwrap();
    let root = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let config = format!(
        "daemon off; worker_processes 1; pid nginx.pid; error_log stderr crit; {root} events {{}}\n\
         http {{ access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u;\n\
         scgi_temp_path s; server {{ listen 127.0.0.1:8470; location /ok {{ return 200 'fine'; }}\n\
         location /broken {{ return 500 'oh'; }} }} }}\n"
    );
    std::fs::write(place.path().join("nginx.conf"), config).unwrap();
    let directory = place.path().display();
    let bounding = if raw { "" } else { "setpriv --bounding-set=-net_raw -- " };
    // A packet socket of this namespace is the child's; it stands in the kernel's list once it is bound.
    let script = format!(
        "PATH=$PATH:/usr/sbin:/sbin\nget() {{ curl -s -o /dev/null -m 5 http://127.0.0.1:8470$1 || true; }}\n\
         nginx() {{ command nginx -e stderr -p {directory}/ -c nginx.conf & server=$!; trap 'kill $server' EXIT\n\
           i=0; until get /ok && [ -e {directory}/nginx.pid ] || [ $i -gt 500 ]; do i=$((i+1)); sleep 0.02; done; }}\n\
         {before}\n\
         case \"$*\" in *' run '*) ( i=0; until [ \"$(wc -l < /proc/net/packet)\" -gt 1 ] || [ $i -gt 500 ]; do\n\
           i=$((i+1)); sleep 0.02; done; {traffic} ) >&2 & ;; esac\n\
         {bounding}\"$@\" || true\n"
    );
    let sort = if rustix::process::geteuid().is_root() { "-n" } else { "-rn" };
    example_within(&["unshare", sort, "sh", "-euc", &script, "sh"], "capture", &[], "{}")
}

const UP: &str = "ip link set lo up; case \"$*\" in *' run '*) nginx ;; esac";

#[test]
fn known_traffic_is_counted_exactly() {
    let finding = within(UP, "for i in 1 2 3 4 5 6 7 8 9 10; do get /ok?secret=marker-0f-a-customer; done", true);
    assert_eq!(finding["outcome"], "good", "{finding}");
    let text = finding.to_string();
    assert!(text.contains("10 connections begun, 10 established, 0 failed"), "{text}");
    assert!(!text.contains("marker") && !text.contains("127.0.0.1"), "{text}");
    assert_eq!(finding["observed"]["error_ratio"], 0.0, "{finding}");
}

#[test]
fn errors_and_a_closed_port_are_bad() {
    let finding = within(UP, "for i in 1 2 3 4; do get /ok; get /broken; done", true);
    assert_eq!((&finding["outcome"], &finding["observed"]["error_ratio"]), (&"bad".into(), &0.5.into()), "{finding}");
    let finding = within("ip link set lo up", "for i in 1 2 3 4 5; do get /ok; done", true);
    assert_eq!(finding["outcome"], "bad", "{finding}");
    assert!(finding.to_string().contains("5 connections begun, 0 established, 5 failed"), "{finding}");
}

#[test]
fn without_permission_traffic_or_wire_it_is_unknown() {
    for (before, raw, kind, why) in [
        ("ip link set lo up", false, "refused", "setcap cap_net_raw=ep"),
        ("ip link set lo up", true, "incomplete", "no packet of port 8470"),
        ("true", true, "unreachable", "is down"),
    ] {
        let finding = within(before, "true", raw);
        assert_eq!((&finding["outcome"], &finding["unknown"]["kind"]), (&"unknown".into(), &kind.into()), "{finding}");
        assert!(finding["unknown"]["why"].as_str().is_some_and(|said| said.contains(why)), "{finding}");
    }
}

#[test]
fn the_example_runs_on_this_host_as_well() {
    let finding = example("capture", &[], "{}");
    let kind = finding["unknown"]["kind"].as_str();
    // Others may be using the example's port meanwhile; that it can't be looked at is no reason to fail either.
    assert!(matches!(kind, None | Some("refused" | "incomplete")), "{finding}");
}
