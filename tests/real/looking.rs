//! One look, taken as the path takes it but judged by the test itself.

use std::sync::Arc;
use std::time::Duration;

use houston::evidence::{self, Ask, Setup, Tools};
use houston::model::observation::Observation;
use houston::model::params::Params;
use houston::model::value::Value;
use houston::model::window::{Moment, Window};
use houston::yaml;
use jiff::{SignedDuration, Timestamp};

/// How long a look may take: a bound, not an expectation.
const AT_MOST: Duration = Duration::from_secs(30);

/// What a look is asked, for a test to change.
pub fn ask() -> Ask {
    let now = now();
    Ask {
        now,
        window: Window::ending_at(now, SignedDuration::from_mins(15)),
        moment: Moment::Now,
        since: now,
        params: Params::default(),
        customer: None,
        attempt: 1,
        usual: Vec::new(),
        deadline: tokio::time::Instant::now() + AT_MOST,
        memory: Arc::default(),
        check: Arc::from("check"),
        tools: tools(Vec::new()),
    }
}

/// A client, a resolver and no secrets; `programs` may be run.
pub fn tools(programs: Vec<std::path::PathBuf>) -> Arc<Tools> {
    Arc::new(Tools::new(Setup { programs, ..Setup::default() }))
}

#[allow(clippy::disallowed_methods)] // tests look at servers that live in the present
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Looks once with the kind of this name, set up from the YAML that stands below its key.
pub async fn look(kind: &str, settings: &str, ask: &Ask) -> Observation {
    look_from(std::path::Path::new("check.yaml"), kind, settings, ask).await
}

/// The same for YAML that stands in a file of this name.
pub async fn look_from(file: &std::path::Path, kind: &str, settings: &str, ask: &Ask) -> Observation {
    let kind = evidence::kind(kind).unwrap_or_else(|| panic!("there is no kind {kind}"));
    let node = yaml::parse(file.to_str().unwrap(), settings).unwrap_or_else(|error| panic!("{error}"));
    let probe = (kind.read)(&node).unwrap_or_else(|error| panic!("{error}"));
    tokio::time::timeout(AT_MOST + Duration::from_secs(5), probe.observe(ask)).await.expect("a look that ends")
}

/// Runs the example of a kind as its reader would, `houston check run`, with some of its text replaced: the addresses
/// that a test's own servers have. `config` is a `houston.yaml`. Returns the finding.
pub fn example(kind: &str, replaced: &[(&str, &str)], config: &str) -> serde_json::Value {
    example_within(&[], kind, replaced, config)
}

/// The same by another program that runs Houston, such as one that makes a namespace for it.
pub fn example_within(wrapper: &[&str], kind: &str, replaced: &[(&str, &str)], config: &str) -> serde_json::Value {
    let kind = evidence::kind(kind).unwrap_or_else(|| panic!("there is no kind {kind}"));
    let mut text = kind.example_text.to_owned();
    for (from, to) in replaced {
        assert!(text.contains(from), "{} says nothing of {from}", kind.example);
        text = text.replace(from, to);
    }
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("checks.d").join(kind.example);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, text).unwrap();
    // What the check names beside itself.
    let beside = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("checks.d").join(kind.example);
    for entry in std::fs::read_dir(beside.parent().unwrap()).unwrap().flatten() {
        if entry.path().extension().is_some_and(|extension| extension != "yaml") {
            std::fs::copy(entry.path(), file.parent().unwrap().join(entry.file_name())).unwrap();
        }
    }
    std::fs::write(place.path().join("houston.yaml"), config).unwrap();
    let houston = |arguments: &[&str]| {
        let words = [wrapper, &[env!("CARGO_BIN_EXE_houston")]].concat();
        let mut command = std::process::Command::new(words[0]);
        command.args(&words[1..]).args(arguments).current_dir(place.path()).output().unwrap()
    };
    let list = houston(&["check", "list", "--json"]);
    let first: serde_json::Value = serde_json::from_slice(list.stdout.split(|&byte| byte == b'\n').next().unwrap())
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&list.stderr)));
    let run = houston(&["check", "run", first["name"].as_str().unwrap(), "--json"]);
    serde_json::from_slice(&run.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&run.stderr)))
}

/// A measure that is a number.
pub fn number(observation: &Observation, name: &str) -> f64 {
    observation.measures.number(name).unwrap_or_else(|| panic!("no number {name} in {observation:?}"))
}

/// A measure as text: a text itself, anything else as it is shown; empty where there is none.
pub fn text(observation: &Observation, name: &str) -> String {
    match observation.measures.get(name) {
        Some(Value::Text(text)) => text.clone(),
        Some(other) => other.show(1000),
        None => String::new(),
    }
}
