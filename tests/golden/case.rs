//! A case as its folder tells it: the ticket, the world, what is remembered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use houston::model::history::Sample;
use houston::model::look::Outcome;
use houston::model::memory::Memory;
use houston::model::ticket::{Report, Ticket};
use houston::model::units::parse_duration;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

/// Where the cases are.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

/// The folder of the healthy shop.
pub fn shop() -> PathBuf {
    root().join("shop")
}

/// The cases of a verdict, by name.
pub fn folders(verdict: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(verdict)).unwrap_or_else(|error| panic!("{verdict}: {error}"));
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// A text that may be missing, but not unreadable.
pub fn text(path: &Path) -> Option<String> {
    path.exists().then(|| std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// A duration as cases write it.
pub fn duration(text: &str) -> SignedDuration {
    let duration = if text == "0s" { Ok(Duration::ZERO) } else { parse_duration(text) };
    SignedDuration::try_from(duration.unwrap_or_else(|error| panic!("{text}: {error}"))).unwrap()
}

/// `case.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    /// What the case is there to show.
    #[allow(dead_code)] // for people
    about: String,
    /// A ticket as the API takes it, its times as `since_minutes` and `until_minutes` ago.
    ticket: serde_json::Map<String, serde_json::Value>,
    /// Fields that replace the ticket's, once for each further ticket; every one must come to the same.
    #[serde(default)]
    again_with: Vec<serde_json::Map<String, serde_json::Value>>,
    /// Files of the healthy shop's checks that are used; all of them unless told.
    #[serde(default)]
    shop_checks: Option<Vec<String>>,
    #[serde(default)]
    remembered: Remembered,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Remembered {
    /// By check, the parameters with which it passed before.
    passed_with: BTreeMap<String, BTreeMap<String, String>>,
    /// By check, for how long it has been bad.
    bad_for: BTreeMap<String, String>,
    /// By check, what was sampled in the background.
    samples: BTreeMap<String, Samples>,
}

/// A sample a minute: `g`ood, `b`ad, or a dot for none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Samples {
    from_minutes: u32,
    outcomes: String,
}

impl Samples {
    fn taken(&self, now: Timestamp) -> std::sync::Arc<[Sample]> {
        let begin = now - SignedDuration::from_mins(i64::from(self.from_minutes));
        let minutes = self.outcomes.chars().enumerate().filter(|(_, letter)| *letter != '.');
        let sample = |(minute, letter): (usize, char)| {
            let at = begin + SignedDuration::from_mins(i64::try_from(minute).unwrap());
            match letter {
                'g' => Sample::new(at, Outcome::Good, Duration::ZERO),
                'b' => Sample::new(at, Outcome::Bad, Duration::ZERO).because("status is 503"),
                other => panic!("`{other}` is no outcome"),
            }
        };
        minutes.map(sample).collect()
    }
}

/// A case.
pub struct Case {
    pub folder: PathBuf,
    document: Document,
}

impl Case {
    pub fn read(folder: &Path) -> Self {
        let path = folder.join("case.json");
        let text = text(&path).unwrap_or_else(|| panic!("there is no {}", path.display()));
        let document = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Case { folder: folder.to_owned(), document }
    }

    /// `issue/page-down`
    pub fn name(&self) -> String {
        self.folder.strip_prefix(root()).unwrap().display().to_string()
    }

    /// The verdict that the folder promises.
    pub fn promised(&self) -> &str {
        self.folder.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap()
    }

    pub fn tickets(&self, now: Timestamp) -> Vec<Ticket> {
        let others = self.document.again_with.iter().map(|more| {
            let mut ticket = self.document.ticket.clone();
            ticket.extend(more.clone());
            ticket
        });
        std::iter::once(self.document.ticket.clone()).chain(others).map(|fields| accept(fields, now)).collect()
    }

    /// The files of checks, the case's own before the shop's of the same name.
    pub fn checks(&self) -> BTreeMap<String, String> {
        let mut files = files(&shop().join("checks.d"));
        if let Some(wanted) = &self.document.shop_checks {
            for name in wanted {
                assert!(files.contains_key(name), "{}: the shop has no checks {name}", self.name());
            }
            files.retain(|name, _| wanted.contains(name));
        }
        files.extend(self::files(&self.folder.join("checks.d")));
        files
    }

    /// The case's own configuration, or the shop's.
    pub fn configuration(&self) -> String {
        text(&self.folder.join("houston.yaml")).or_else(|| text(&shop().join("houston.yaml"))).unwrap()
    }

    pub fn memory(&self, now: Timestamp) -> Memory {
        let remembered = &self.document.remembered;
        let ago = |text: &String| now.checked_sub(duration(text)).unwrap();
        Memory {
            templates: BTreeMap::new(),
            passed_with: remembered
                .passed_with
                .iter()
                .map(|(check, params)| {
                    let pairs: Vec<(&String, &String)> = params.iter().collect();
                    (check.clone(), serde_json::to_string(&pairs).unwrap())
                })
                .collect(),
            bad_since: remembered.bad_for.iter().map(|(check, long)| (check.clone(), ago(long))).collect(),
            samples: remembered.samples.iter().map(|(check, samples)| (check.clone(), samples.taken(now))).collect(),
            baselines: BTreeMap::new(),
        }
    }
}

fn accept(mut fields: serde_json::Map<String, serde_json::Value>, now: Timestamp) -> Ticket {
    for (minutes, field) in [("since_minutes", "since"), ("until_minutes", "until")] {
        if let Some(minutes) = fields.remove(minutes) {
            let minutes = minutes.as_i64().expect("whole minutes");
            let at = now.checked_sub(SignedDuration::from_mins(minutes)).unwrap();
            fields.insert(field.to_owned(), at.to_string().into());
        }
    }
    let report: Report = serde_json::from_value(fields.into()).expect("a ticket as the API takes it");
    report.accept(now, "1").expect("an acceptable ticket")
}

/// The texts of a folder's files by their names; none where there is no folder.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .map(|path| (path.file_name().and_then(|name| name.to_str()).unwrap().to_owned(), text(&path).unwrap()))
        .collect()
}
