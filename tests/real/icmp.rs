//! `icmp` against the kernel's own replies on loopback, each time in a network namespace of the test's own.

use super::looking::{example, example_within};

/// Runs the example in a namespace with a loopback of its own, after these commands, without CAP_NET_RAW where so told.
fn within(prepare: &str, raw: bool) -> serde_json::Value {
    let bounding = if raw { "" } else { "setpriv --bounding-set=-net_raw -- " };
    let script = format!("{prepare}\nexec {bounding}\"$@\"");
    let sort = if rustix::process::geteuid().is_root() { "-n" } else { "-rn" };
    example_within(&["unshare", sort, "sh", "-euc", &script, "sh"], "icmp", &[], "{}")
}

const EVERYBODY: &str = "ip link set lo up; echo '0 0' > /proc/sys/net/ipv4/ping_group_range";
const NOBODY: &str = "ip link set lo up; echo '1 0' > /proc/sys/net/ipv4/ping_group_range";

#[test]
fn pings_come_back_over_either_sort_of_socket() {
    for (prepare, raw) in [(EVERYBODY, false), (NOBODY, true)] {
        let finding = within(prepare, raw);
        assert_eq!(finding["outcome"], "good", "{prepare}: {finding}");
        let observed = &finding["observed"];
        assert_eq!(observed["loss_ratio"], 0.0, "{finding}");
        assert!(observed["rtt_seconds"].as_f64().is_some_and(|rtt| rtt > 0.0), "{finding}");
    }
}

#[test]
fn a_host_that_answers_nothing_is_bad() {
    let finding = within(&format!("{EVERYBODY}; echo 1 > /proc/sys/net/ipv4/icmp_echo_ignore_all"), false);
    assert_eq!(finding["outcome"], "bad", "{finding}");
    assert_eq!(finding["observed"]["loss_ratio"], 1.0, "{finding}");
}

#[test]
fn who_may_not_send_hears_how_to_mend_it() {
    let finding = within(NOBODY, false);
    assert_eq!((&finding["outcome"], &finding["unknown"]["kind"]), (&"unknown".into(), &"refused".into()), "{finding}");
    assert!(finding["unknown"]["why"].as_str().is_some_and(|why| why.contains("ping_group_range")), "{finding}");
    // A loopback that is down: our own side, not the host's.
    let finding = within("echo '0 0' > /proc/sys/net/ipv4/ping_group_range", false);
    assert_eq!(finding["outcome"], "unknown", "{finding}");
}

#[test]
fn the_example_runs_on_this_host_as_well() {
    let finding = example("icmp", &[], "{}");
    let mended = finding["unknown"]["why"].as_str().is_some_and(|why| why.contains("ping_group_range"));
    assert!(finding["outcome"] == "good" || mended, "loopback loses nothing: {finding}");
}
