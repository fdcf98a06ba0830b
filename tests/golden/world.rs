//! The world of a case: its servers, its logs, and the checks that look at them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use houston::checks;
use houston::config;
use houston::evidence::KINDS;
use houston::triage::{Runner, Setting};
use jiff::Timestamp;
use serde::Deserialize;

use super::case::{self, Case};
use super::expected::Expected;
use super::logs::Log;
use super::server::{Running, Server};

/// `world.yaml`: the healthy shop's, then in what the case's differs.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Document {
    servers: BTreeMap<String, Server>,
    logs: BTreeMap<String, Log>,
}

fn read(path: &Path) -> Document {
    let Some(text) = case::text(path) else { return Document::default() };
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A world that is up. Its servers end with it.
pub struct World {
    place: PathBuf,
    now: Timestamp,
    /// `@SHOP@` and what stands for it.
    words: BTreeMap<String, String>,
    /// Servers run as long as they are held.
    _servers: Vec<Running>,
}

impl World {
    pub async fn start(case: Arc<Case>, place: PathBuf, now: Timestamp) -> Self {
        let mut document = read(&case::shop().join("world.yaml"));
        let own = read(&case.folder.join("world.yaml"));
        for (name, server) in own.servers {
            document.servers.entry(name).or_default().differ(server);
        }
        for (name, log) in own.logs {
            document.logs.entry(name).or_default().differ(log);
        }

        let logs = place.join("logs");
        std::fs::create_dir(&logs).unwrap();
        let (directory, written) = (logs.clone(), document.logs);
        let write = move || written.iter().for_each(|(name, log)| log.write(&directory.join(name), now));
        tokio::task::spawn_blocking(write).await.unwrap();
        let day = |days: i64| {
            let at = now.checked_add(jiff::SignedDuration::from_hours(24 * days)).unwrap();
            at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
        };
        let mut words = BTreeMap::from([
            ("@LOGS@".to_owned(), logs.display().to_string()),
            ("@TOMORROW@".to_owned(), day(1)),
            ("@YESTERDAY@".to_owned(), day(-1)),
        ]);
        let mut servers = Vec::new();
        for (name, server) in document.servers {
            let server = server.start(now).await;
            words.insert(format!("@{name}@"), server.address.to_string());
            servers.push(server);
        }
        World { place, now, words, _servers: servers }
    }

    /// The text with addresses and paths in place of its words.
    fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (word, value) in &self.words {
            text = text.replace(word, value);
        }
        text
    }

    /// What a triage of the case works with, and what must come of it.
    pub fn setting(&self, case: &Case, looks: tokio::runtime::Handle) -> (Setting, Expected) {
        let folder = self.place.join("checks.d");
        std::fs::create_dir(&folder).unwrap();
        for (name, text) in case.checks() {
            std::fs::write(folder.join(name), self.fill(&text)).unwrap();
        }
        let (checks, faults) = checks::load(&folder, KINDS, Arc::new(|_| Err("there are no secrets here".to_owned())));
        let stale = checks.stale_files.len();
        let config = config::read("houston.yaml", self.fill(&case.configuration()).as_bytes())
            .unwrap_or_else(|faults| panic!("{}: {faults:?}", case.name()));
        let setting = Setting {
            checks: Arc::new(checks),
            catalog: Arc::new(config.catalog.clone()),
            settings: config.triage,
            runner: Runner { tools: super::tools(&config), memory: Arc::new(case.memory(self.now)), looks },
        };
        let text = case::text(&case.folder.join("expect.json")).expect("a case has its expect.json");
        let expected: Expected =
            serde_json::from_str(&self.fill(&text)).unwrap_or_else(|error| panic!("{}: {error}", case.name()));
        let shown: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(stale, expected.stale_files, "{}: {}", case.name(), shown.join("\n"));
        (setting, expected)
    }
}
