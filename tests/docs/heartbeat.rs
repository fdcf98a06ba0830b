//! The `heartbeat` kind: how long ago a job touched the file that says it ran.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use houston::evidence::{Ask, Key, Kind, Looking, Probe, Sees};
use houston::model::encode::shell_word;
use houston::model::look::Look;
use houston::model::measure::{Measure, Type};
use houston::model::observation::{Observation, UnknownKind};
use houston::model::source::Diagnostic;
use houston::model::value::Measures;
use houston::yaml::Node;
use jiff::Timestamp;
use serde::Deserialize;

/// The kind's entry in the registry.
pub static KIND: Kind = Kind {
    name: "heartbeat",
    look: Look::Internal,
    summary: "a file that a job touches when it is done",
    docs: "\
Reads when the file was last changed. Bad: whatever the expectations forbid, a job that is late for example.
Unknown: there is no such file, or we may not see it: then nobody can say when the job last ran.

Parameters can't stand here.",
    keys: &[Key { name: "path", takes: "absolute path", default: None, meaning: "the file" }],
    measures: &[Measure {
        name: "age_seconds",
        kind: Type::Number,
        unit: "seconds",
        meaning: "since the file was last changed; 0 where that lies in the future",
    }],
    default_expect: &["age_seconds < 86400"],
    headline: &["age_seconds"],
    sees: Sees::Now,
    attempts: 1,
    example: "internal/heartbeat.yaml",
    example_text: include_str!("heartbeat.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

/// What stands under `heartbeat:`.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    path: PathBuf,
}

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    if !config.path.is_absolute() {
        let at = node.get("path").unwrap_or(node).span.clone();
        return Err(Diagnostic::error(at, "the path is not absolute").hint("write it from the root: /var/lib/…"));
    }
    Ok(Arc::new(Heartbeat { path: config.path }))
}

#[derive(Debug)]
struct Heartbeat {
    path: PathBuf,
}

impl Probe for Heartbeat {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(async move {
            let changed = tokio::fs::metadata(&self.path).await.and_then(|metadata| metadata.modified());
            let path = self.path.display().to_string();
            facts(changed, ask.now).reproduce(format!("stat -c %y {}", shell_word(&path)))
        })
    }

    fn system(&self) -> String {
        self.path.display().to_string()
    }
}

/// What the time of the last change says, or its absence.
fn facts(changed: std::io::Result<SystemTime>, now: Timestamp) -> Observation {
    match changed.map(Timestamp::try_from) {
        Ok(Ok(changed)) => {
            let mut measures = Measures::new();
            measures.set("age_seconds", now.duration_since(changed).as_secs_f64().max(0.0));
            Observation::answered(measures)
        }
        Ok(Err(_)) => Observation::blind(UnknownKind::Unintelligible, "its time is none"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Observation::blind(UnknownKind::Incomplete, "there is no such file")
        }
        Err(error) => Observation::blind(UnknownKind::Refused, format!("the file can't be seen: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};
    use std::time::Duration;

    use houston::model::observation::Seen;

    use super::*;

    #[test]
    fn a_time_is_an_age_and_no_time_is_no_answer() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let at = |second| Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
        for (changed, expected) in [
            (at(999_990), Some(10.0)),
            (at(1_000_000), Some(0.0)),
            (at(1_000_600), Some(0.0)),
            (Err(Error::from(ErrorKind::NotFound)), None),
            (Err(Error::from(ErrorKind::PermissionDenied)), None),
        ] {
            let shown = format!("{changed:?}");
            let seen = facts(changed, now);
            assert_eq!(seen.measures.number("age_seconds"), expected, "{shown}");
            assert_eq!(matches!(seen.seen, Seen::Blind(_)), expected.is_none(), "{shown}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_at_its_place() {
        for (text, place, message) in [
            ("path: run/nightly", "test.yaml:1:7", "not absolute"),
            ("paht: /run/nightly", "test.yaml:1:1", "paht"),
            ("{}", "test.yaml:1:1", "path"),
        ] {
            let error = read(&houston::yaml::parse("test.yaml", text).unwrap()).unwrap_err();
            assert_eq!(error.at.to_string(), place, "{text}: {error}");
            assert!(error.message.contains(message), "{text}: {error}");
        }
    }
}
