//! Declarations: documents become checks; errors cost only their own file.

mod check;
mod document;
mod expectations;
mod folder;
mod library;
mod parameters;
mod reader;
mod schema;
#[cfg(test)]
mod test_kinds;
mod watch;

pub use check::{AppliesTo, BadIf, Check, CheckSet, Control, Expectation, KnownIssue};
pub use folder::FILES_LIMIT;
pub use library::{Library, SecretTest, load};
pub use schema::schema;
pub use watch::{Reloaded, watch};

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::document::{self, Surroundings};
    use super::test_kinds::KINDS;
    use crate::model::source::Severity;
    use crate::report::diagnostic;

    /// What people see when they load this file, with no secret set.
    fn shown(path: &Path) -> String {
        let name = format!("tests/invalid/{}", path.file_name().unwrap().to_str().unwrap());
        let missing = |secret: &crate::model::secret::SecretRef| match secret {
            crate::model::secret::SecretRef::Env(name) => Err(format!("environment variable {name} is not set")),
            crate::model::secret::SecretRef::File(path) => Err(format!("secret file {}: not there", path.display())),
        };
        let document = document::read(&name, &std::fs::read(path).unwrap(), &Surroundings::new(KINDS, &missing));
        for diagnostic in &document.diagnostics {
            assert_eq!(diagnostic.severity, Severity::Error, "{name}: {diagnostic}");
            assert!(diagnostic.hint.is_some(), "{name} has no hint: {diagnostic}");
        }
        document.diagnostics.iter().map(diagnostic::plain).collect()
    }

    /// Each file of `tests/invalid` is wrong in one way; beside it stands what is printed.
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
}
