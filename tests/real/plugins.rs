//! `plugin` with the plugins of Debian's monitoring-plugins.

use std::path::PathBuf;
use std::time::Duration;

use houston::model::observation::{Observation, Seen, UnknownKind};

use super::looking::{ask, look, tools};
use crate::lab::node_exporter::NodeExporter;
use crate::lab::{free_port, program};

/// Runs a plugin with these arguments, within this time.
async fn run_for(name: &str, arguments: &[&str], time: Duration) -> Observation {
    let path: PathBuf = program(name);
    let mut words = vec![path.to_str().unwrap()];
    words.extend(arguments);
    let mut ask = ask();
    ask.tools = tools(vec![path.clone()]);
    ask.deadline = tokio::time::Instant::now() + time;
    look("plugin", &format!("command: {}", serde_json::to_string(&words).unwrap()), &ask).await
}

async fn run(name: &str, arguments: &[&str]) -> Observation {
    run_for(name, arguments, Duration::from_secs(30)).await
}

fn text(observation: &Observation) -> String {
    observation.measures.get("text").unwrap_or_else(|| panic!("no text in {observation:?}")).show(500)
}

fn entry(observation: &Observation, label: &str, field: &str) -> f64 {
    use houston::model::value::Value;
    let Some(Value::Map(data)) = observation.measures.get("perfdata") else { panic!("{observation:?}") };
    let Some(Value::Map(entry)) = data.get(label) else { panic!("no {label} in {data:?}") };
    entry.get(field).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {field} in {entry:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn check_dummy_answers_with_every_code() {
    for (code, expected, word) in [("0", 0.0, "OK"), ("1", 1.0, "WARNING"), ("2", 2.0, "CRITICAL")] {
        let seen = run("check_dummy", &[code, "as asked"]).await;
        assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
        assert_eq!(seen.measures.number("exit"), Some(expected));
        assert_eq!(text(&seen), format!("\"{word}: as asked\""));
    }
    for code in ["3", "7"] {
        let seen = run("check_dummy", &[code]).await;
        assert!(matches!(&seen.seen, Seen::Blind(unknown) if unknown.kind == UnknownKind::Incomplete), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_http_measures_a_page_and_finds_a_closed_port() {
    let port = NodeExporter::shared().port.to_string();
    let seen = run("check_http", &["-I", "127.0.0.1", "-p", &port, "-u", "/metrics", "-w", "5", "-c", "9"]).await;
    assert_eq!((seen.seen.clone(), seen.measures.number("exit")), (Seen::Answered, Some(0.0)), "{seen:?}");
    assert!(text(&seen).contains("200 OK"), "{seen:?}");
    assert!((0.0..5.0).contains(&entry(&seen, "time", "value")) && entry(&seen, "time", "crit") == 9.0, "{seen:?}");
    assert!(entry(&seen, "size", "value") > 1_000.0, "{seen:?}");

    let closed = free_port().to_string();
    let seen = run("check_http", &["-I", "127.0.0.1", "-p", &closed]).await;
    assert_eq!((seen.seen.clone(), seen.measures.number("exit")), (Seen::Answered, Some(2.0)), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_disk_tells_bytes() {
    let seen = run("check_disk", &["-w", "1", "-c", "0", "-p", "/"]).await;
    assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
    let (used, all) = (entry(&seen, "/", "value"), entry(&seen, "/", "max"));
    assert!(used > 1e6 && all >= used, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_goes_by_its_name_is_called_by_it() {
    // check_ftp is a link to check_tcp, which looks at how it was called.
    let closed = free_port().to_string();
    let port = NodeExporter::shared().port.to_string();
    for (name, port) in [("check_ftp", &closed), ("check_ftp", &port)] {
        let seen = run(name, &["-H", "127.0.0.1", "-p", port, "-t", "2"]).await;
        let said = format!("{seen:?}");
        assert!(!said.contains("TCP OK"), "{said}");
    }
    let help = run("check_ftp", &["--version"]).await;
    let excerpt = help.excerpt.unwrap_or_default();
    assert!(excerpt.starts_with("check_ftp") || excerpt.starts_with("check_FTP"), "{excerpt}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_waits_for_a_silent_server_is_ended_at_the_deadline() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let started = std::time::Instant::now();
    let arguments = ["-I", "127.0.0.1", "-p", &port, "-t", "50"];
    let seen = run_for("check_http", &arguments, Duration::from_secs(2)).await;
    assert!(matches!(&seen.seen, Seen::Blind(unknown) if unknown.kind == UnknownKind::TimedOut), "{seen:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
}
