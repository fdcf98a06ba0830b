//! The checks in force: every file's newest good version, whatever happens to the files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::check::{Check, CheckSet};
use super::document::{self, Surroundings, declared_twice};
use super::folder;
use crate::evidence::Kind;
use crate::model::secret::SecretRef;
use crate::model::source::{Diagnostic, Severity, Span};

/// Says whether a secret is there; the reason if not.
pub type SecretTest = Arc<dyn Fn(&SecretRef) -> Result<(), String> + Send + Sync>;

/// A directory of checks that is read again and again, and remembers each file's last good version.
pub struct Library {
    folder: PathBuf,
    kinds: &'static [&'static Kind],
    secret: SecretTest,
    files: BTreeMap<String, Version>,
    set: CheckSet,
}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Library({}, {} files)", self.folder.display(), self.files.len())
    }
}

/// A file as it was when it was last good.
#[derive(Debug, Clone)]
struct Version {
    content: [u8; 32],
    checks: Vec<Arc<Check>>,
    warnings: Vec<Diagnostic>,
}

/// A file in the course of one reload.
struct Candidate {
    /// The newest content, if it is good.
    fresh: Option<Version>,
    /// Its newest content can't be used; the last good version, if any, stays.
    refused: bool,
}

impl Library {
    /// Nothing is read before the first [`Library::reload`].
    pub fn new(folder: impl Into<PathBuf>, kinds: &'static [&'static Kind], secret: SecretTest) -> Self {
        Library { folder: folder.into(), kinds, secret, files: BTreeMap::new(), set: CheckSet::default() }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The checks in force since the last reload.
    pub fn set(&self) -> &CheckSet {
        &self.set
    }

    /// Reads the directory again (blocking). Files whose content is as it was are not parsed again.
    ///
    /// Checks and errors come together: a file with an error costs only itself, its last good version stays. A file
    /// that is gone takes its checks with it, but only where the directory could be listed whole; a directory that had
    /// checks and is suddenly empty or absent is taken for a fault, and everything stays.
    pub fn reload(&mut self) -> (CheckSet, Vec<Diagnostic>) {
        let scan = folder::scan(&self.folder);
        let mut diagnostics = scan.diagnostics;
        let mut stale: BTreeSet<String> = diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == Severity::Error)
            .map(|diagnostic| diagnostic.at.file.to_string())
            .collect();

        let had_checks = self.files.values().any(|version| !version.checks.is_empty());
        if scan.files.is_empty() && (had_checks || !scan.complete) {
            diagnostics.push(self.nothing_there(had_checks));
            stale.insert(folder::label(&self.folder));
            return (self.publish(stale), diagnostics);
        }
        if scan.complete {
            let there: BTreeSet<&str> = scan.files.iter().map(|file| file.label.as_str()).collect();
            self.files.retain(|label, _| there.contains(label.as_str()) || stale.contains(label));
        }

        let secret = Arc::clone(&self.secret);
        let surroundings = Surroundings::new(self.kinds, &*secret);
        let mut candidates: BTreeMap<String, Candidate> = BTreeMap::new();
        for file in &scan.files {
            let mut candidate = Candidate { fresh: None, refused: false };
            match folder::read(file) {
                Ok(bytes) => {
                    let content: [u8; 32] = Sha256::digest(&bytes).into();
                    let unchanged = self.files.get(&file.label).is_some_and(|version| version.content == content);
                    if !unchanged {
                        let document = document::read(&file.label, &bytes, &surroundings);
                        if document.is_good() {
                            let version = Version { content, checks: document.checks, warnings: document.diagnostics };
                            candidate.fresh = Some(version);
                        } else {
                            candidate.refused = true;
                            diagnostics.extend(document.diagnostics);
                        }
                    }
                }
                Err(error) => {
                    candidate.refused = true;
                    diagnostics.push(error);
                }
            }
            candidates.insert(file.label.clone(), candidate);
        }
        self.refuse_duplicates(&mut candidates, &mut diagnostics);
        for (label, candidate) in candidates {
            if candidate.refused {
                stale.insert(label);
            } else if let Some(version) = candidate.fresh {
                self.files.insert(label, version);
            }
        }
        for (label, version) in &self.files {
            if !stale.contains(label) {
                diagnostics.extend(version.warnings.iter().cloned());
            }
        }
        diagnostics.sort_by(|a, b| (&a.at.file, a.at.line, a.at.column).cmp(&(&b.at.file, b.at.line, b.at.column)));
        (self.publish(stale), diagnostics)
    }

    /// A name that two files declare is an error of both, whichever was first: which check is meant can't be known.
    ///
    /// The new version of either file is refused, its last good version stays. That may bring back a name that
    /// collides with a third file, so this goes on until nothing collides; each turn refuses at least one file.
    fn refuse_duplicates(&self, candidates: &mut BTreeMap<String, Candidate>, diagnostics: &mut Vec<Diagnostic>) {
        loop {
            let mut owners: BTreeMap<Arc<str>, Vec<(String, Span)>> = BTreeMap::new();
            let labels: BTreeSet<&String> = self.files.keys().chain(candidates.keys()).collect();
            for label in labels {
                let candidate = candidates.get(label);
                let fresh =
                    candidate.filter(|candidate| !candidate.refused).and_then(|candidate| candidate.fresh.as_ref());
                for check in fresh.or_else(|| self.files.get(label)).map_or(&[][..], |version| &version.checks) {
                    owners.entry(Arc::clone(&check.name)).or_default().push((label.clone(), check.at.clone()));
                }
            }
            let mut again = false;
            for (name, places) in owners.iter().filter(|(_, places)| places.len() > 1) {
                for (index, (label, at)) in places.iter().enumerate() {
                    let other = if index == 0 { places.get(1) } else { places.first() };
                    let Some((_, other)) = other else { continue };
                    let error = declared_twice(name, at.clone(), other);
                    if !diagnostics.contains(&error) {
                        diagnostics.push(error);
                    }
                    if let Some(candidate) = candidates.get_mut(label) {
                        again |= !candidate.refused && candidate.fresh.is_some();
                        candidate.refused = true;
                    }
                }
            }
            if !again {
                return;
            }
        }
    }

    fn nothing_there(&self, had_checks: bool) -> Diagnostic {
        let at = Span::file(&folder::label(&self.folder));
        let count = self.files.values().map(|version| version.checks.len()).sum::<usize>();
        let what = if self.folder.is_dir() { "no file of checks is left here" } else { "the directory is not there" };
        if had_checks {
            Diagnostic::error(at, format!("{what}; the last {count} checks stay in force"))
                .hint("restart houston if they are meant to be gone")
        } else {
            Diagnostic::error(at, what)
                .hint("name another one with --checks, or write a first check: houston check new")
        }
    }

    fn publish(&mut self, stale: BTreeSet<String>) -> CheckSet {
        let checks: Vec<Arc<Check>> = self.files.values().flat_map(|version| version.checks.iter().cloned()).collect();
        let stale_files: Vec<String> = stale.into_iter().collect();
        let same = checks.len() == self.set.checks.len()
            && checks.iter().zip(&self.set.checks).all(|(new, old)| Arc::ptr_eq(new, old))
            && stale_files == self.set.stale_files
            && self.set.generation > 0;
        if !same {
            self.set = CheckSet { checks, stale_files, generation: self.set.generation + 1 };
        }
        self.set.clone()
    }
}

/// Reads a directory once: the checks of its good files, and what is wrong with the others.
pub fn load(
    folder: impl Into<PathBuf>,
    kinds: &'static [&'static Kind],
    secret: SecretTest,
) -> (CheckSet, Vec<Diagnostic>) {
    Library::new(folder, kinds, secret).reload()
}

#[cfg(test)]
mod tests {
    use super::super::test_kinds::KINDS;
    use super::*;

    fn check(name: &str) -> String {
        format!("checks:\n- name: {name}\n  http: {{ url: 'http://x/' }}\n")
    }

    struct Case {
        folder: tempfile::TempDir,
        library: Library,
    }

    impl Case {
        fn new(files: &[(&str, &str)]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let library = Library::new(folder.path(), KINDS, Arc::new(|_| Ok(())));
            let case = Case { folder, library };
            for (name, text) in files {
                case.write(name, text);
            }
            case
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.folder.path().join(name), text).unwrap();
        }

        fn remove(&self, name: &str) {
            std::fs::remove_file(self.folder.path().join(name)).unwrap();
        }

        /// Names of the checks, names of the stale files, messages.
        fn reload(&mut self) -> (Vec<String>, Vec<String>, Vec<String>) {
            let (set, diagnostics) = self.library.reload();
            let prefix = format!("{}/", self.folder.path().display());
            (
                set.checks.iter().map(|check| check.name.to_string()).collect(),
                set.stale_files.iter().map(|file| file.replace(&prefix, "")).collect(),
                diagnostics.iter().map(|error| error.to_string().replace(&prefix, "")).collect(),
            )
        }

        fn expect(&mut self, checks: &[&str], stale: &[&str]) -> Vec<String> {
            let (is_checks, is_stale, messages) = self.reload();
            assert_eq!(is_checks, checks, "{messages:?}");
            assert_eq!(is_stale, stale, "{messages:?}");
            assert_eq!(messages.is_empty(), stale.is_empty(), "{messages:?}");
            messages
        }
    }

    #[test]
    fn one_bad_file_costs_only_itself_and_its_last_good_version_stays() {
        let mut case = Case::new(&[("a.yaml", &check("a")), ("b.yaml", &check("b"))]);
        case.expect(&["a", "b"], &[]);
        let first = case.library.set().generation;
        case.expect(&["a", "b"], &[]);
        assert_eq!(case.library.set().generation, first, "nothing has changed");

        case.write("a.yaml", "checks:\n- name: a\n  htpp: {}\n");
        let messages = case.expect(&["a", "b"], &["a.yaml"]);
        assert!(messages[0].starts_with("a.yaml:3:3: unknown key `htpp`"), "{messages:?}");
        case.write("a.yaml", "");
        case.expect(&["a", "b"], &["a.yaml"]);

        case.write("a.yaml", &check("a2"));
        case.expect(&["a2", "b"], &[]);
        case.remove("b.yaml");
        case.expect(&["a2"], &[]);
        assert!(case.library.set().generation > first);
    }

    #[test]
    fn a_name_in_two_files_is_an_error_of_both_whichever_was_first() {
        let mut case = Case::new(&[("a.yaml", &check("x")), ("b.yaml", &check("x")), ("c.yaml", &check("c"))]);
        let messages = case.expect(&["c"], &["a.yaml", "b.yaml"]);
        assert_eq!(messages.len(), 2);
        assert!(messages[0].starts_with("a.yaml:2:9: the check `x` is declared twice"), "{messages:?}");

        case.write("b.yaml", &check("b"));
        case.expect(&["x", "b", "c"], &[]);
        // From a good state each file keeps its last good version.
        case.write("b.yaml", &check("x"));
        case.expect(&["x", "b", "c"], &["a.yaml", "b.yaml"]);
        // A check moves from one file to the other.
        case.write("a.yaml", &check("a"));
        case.expect(&["a", "x", "c"], &[]);
    }

    #[test]
    fn a_last_good_version_that_comes_back_collides_like_any_other() {
        let mut case = Case::new(&[("a.yaml", &check("x")), ("b.yaml", &check("b")), ("c.yaml", &check("c"))]);
        case.expect(&["x", "b", "c"], &[]);
        // a gives up `x` for `c`, which collides with c; so a's last good version stays, which has `x`; b took that.
        case.write("a.yaml", &check("c"));
        case.write("b.yaml", &check("x"));
        case.expect(&["x", "b", "c"], &["a.yaml", "b.yaml", "c.yaml"]);
        case.remove("c.yaml");
        case.expect(&["c", "x"], &[]);
    }

    #[test]
    fn a_directory_that_is_suddenly_empty_or_gone_is_taken_for_a_fault() {
        let mut case = Case::new(&[("a.yaml", &check("a"))]);
        case.expect(&["a"], &[]);
        let label = case.folder.path().display().to_string();
        case.remove("a.yaml");
        let messages = case.expect(&["a"], &[&label]);
        assert!(messages[0].contains("no file of checks is left") && messages[0].contains("stay in force"));
        std::fs::remove_dir(case.folder.path()).unwrap();
        let messages = case.expect(&["a"], &[&label]);
        assert!(messages[0].contains("the directory is not there"), "{messages:?}");
        std::fs::create_dir(case.folder.path()).unwrap();
        case.write("b.yaml", &check("b"));
        case.expect(&["b"], &[]);
    }

    #[test]
    fn a_directory_that_was_never_there_is_said() {
        let (set, diagnostics) = load("/nonexistent/checks.d", KINDS, Arc::new(|_| Ok(())));
        assert!(set.checks.is_empty());
        assert!(diagnostics[0].message.contains("not there"), "{diagnostics:?}");
    }

    #[test]
    fn a_secret_that_is_missing_is_an_error_until_it_is_there() {
        let there = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let asked = Arc::clone(&there);
        let mut case = Case::new(&[(
            "a.yaml",
            "checks:\n- name: a\n  http: { url: 'http://x/', bearer_token: { env: TOKEN } }\n",
        )]);
        case.library.secret = Arc::new(move |_| match asked.load(std::sync::atomic::Ordering::SeqCst) {
            true => Ok(()),
            false => Err("environment variable TOKEN is not set".to_owned()),
        });
        let messages = case.expect(&[], &["a.yaml"]);
        assert!(messages[0].starts_with("a.yaml:3:50: environment variable TOKEN"), "{messages:?}");
        there.store(true, std::sync::atomic::Ordering::SeqCst);
        case.expect(&["a"], &[]);
    }

    #[test]
    fn warnings_are_repeated_as_long_as_they_hold() {
        let text = "checks:\n- name: a\n  http: { url: 'http://x/' }\n  params: { account: { default: x1 } }\n";
        let mut case = Case::new(&[("a.yaml", text)]);
        for _ in 0..2 {
            let (checks, stale, messages) = case.reload();
            assert_eq!((checks.len(), stale.len(), messages.len()), (1, 0, 1));
        }
    }
}
