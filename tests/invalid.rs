//! Files that are each wrong in one way, beside the message that people see.

use std::path::Path;
use std::sync::Arc;

use houston::checks;
use houston::evidence::KINDS;
use houston::model::secret::SecretRef;
use houston::model::source::Severity;
use houston::report::diagnostic;

/// What people see when they load this file, with no secret set.
fn shown(path: &Path) -> String {
    let name = path.file_name().unwrap().to_str().unwrap();
    let place = tempfile::tempdir().unwrap();
    std::fs::copy(path, place.path().join(name)).unwrap();
    let missing = Arc::new(|secret: &SecretRef| match secret {
        SecretRef::Env(name) => Err(format!("environment variable {name} is not set")),
        SecretRef::File(path) => Err(format!("secret file {}: not there", path.display())),
    });
    let (set, faults) = checks::load(place.path(), KINDS, missing);
    assert!(set.checks.is_empty(), "{name}: a file with a fault must not be in force");
    for fault in &faults {
        assert_eq!(fault.severity, Severity::Error, "{name}: {fault}");
        assert!(fault.hint.is_some(), "{name} has no hint: {fault}");
    }
    let printed: String = faults.iter().map(diagnostic::plain).collect();
    printed.replace(&place.path().display().to_string(), "tests/invalid")
}

#[test]
fn every_authoring_mistake_is_shown_at_the_wrong_token_with_a_hint() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/invalid");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() >= 25, "only {} files", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let expected = std::fs::read_to_string(path.with_extension("txt")).unwrap_or_default();
        let shown = shown(&path);
        if shown != expected {
            wrong.push(format!("{}\n--- printed\n{shown}--- expected\n{expected}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
