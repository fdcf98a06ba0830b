//! Laws about files: each says what it is for, none grows without end, none is forgotten, none tells where it was written.

use std::path::{Path, PathBuf};

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a directory of the repository, sorted.
pub fn below(directory: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(directory)];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Every Rust file below these directories.
pub fn rust_files(directories: &[&str]) -> Vec<PathBuf> {
    let all = directories.iter().flat_map(|directory| below(directory));
    all.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// The path as people write it.
pub fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", shown(path)))
}

/// Fails with all that is wrong, not only the first.
pub fn none(wrong: &[String], what: &str) {
    assert!(wrong.is_empty(), "{what}:\n  {}", wrong.join("\n  "));
}

#[test]
fn every_source_file_begins_by_saying_what_it_is_for() {
    let files = rust_files(&["src", "tests", "benches"]);
    assert!(files.len() > 30, "only {} files found", files.len());
    let wrong: Vec<String> =
        files.iter().filter(|path| !read(path).starts_with("//! ")).map(|path| shown(path)).collect();
    none(&wrong, "files whose first line isn't a `//!` sentence");
}

#[test]
fn no_file_is_longer_than_600_lines() {
    let lengths = rust_files(&["src", "tests", "benches"]).into_iter().map(|path| (read(&path).lines().count(), path));
    let wrong: Vec<String> = lengths
        .filter(|(lines, _)| *lines > 600)
        .map(|(lines, path)| format!("{} has {lines}", shown(&path)))
        .collect();
    none(&wrong, "files that are about more than one thing");
}

#[test]
fn no_file_is_forgotten_by_its_mod_line() {
    let mut wrong = Vec::new();
    for path in rust_files(&["src", "tests"]) {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let directory = path.parent().unwrap();
        let roots = [root().join("src"), root().join("tests")];
        if roots.iter().any(|root| root == directory) && matches!(stem, "lib" | "main") {
            continue;
        }
        let (name, parent) = match stem {
            "mod" => {
                (directory.file_name().and_then(|name| name.to_str()).unwrap_or_default(), directory.parent().unwrap())
            }
            stem => (stem, directory),
        };
        let in_directory = |name: &str| parent.join(name);
        let candidates =
            [in_directory("mod.rs"), in_directory("lib.rs"), in_directory("main.rs"), parent.with_extension("rs")];
        let line = regex::Regex::new(&format!(r"(?m)^\s*(pub(\([a-z]+\))? )?mod (r#)?{name}\s*[;{{]")).unwrap();
        let is_declared = candidates.iter().any(|file| file.exists() && line.is_match(&read(file)));
        if !is_declared {
            wrong.push(shown(&path));
        }
    }
    none(&wrong, "files that no `mod` line names: they are never compiled");
}

#[test]
fn no_test_is_left_out() {
    let mark = concat!("#[", "ignore");
    let marked = rust_files(&["src", "tests"]).into_iter().filter(|path| read(path).contains(mark));
    none(&marked.map(|path| shown(&path)).collect::<Vec<_>>(), "files with a test that never runs");
}

#[test]
fn nothing_tells_where_it_was_written() {
    let place = regex::Regex::new(concat!(r"(^|[^\w.])/wo", r"rk\b|\.\./sha", r"red\b")).unwrap();
    let mut files: Vec<PathBuf> = std::fs::read_dir(root()).unwrap().flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.is_file() && path.file_name().is_some_and(|name| name != ".git"));
    for directory in ["src", "tests", "benches", "checks.d", "scripts", ".ci", "docs"] {
        files.extend(below(directory));
    }
    let mut wrong = Vec::new();
    for path in &files {
        let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| place.is_match(line)) {
            wrong.push(format!("{}:{}: {line}", shown(path), number + 1));
        }
    }
    none(&wrong, "paths of somebody's machine");
}

#[test]
fn the_one_tls_provider_is_ring() {
    let lock = read(&root().join("Cargo.lock"));
    let banned = ["aws-lc-sys", "aws-lc-rs", "openssl-sys", "openssl", "native-tls"];
    let wrong: Vec<String> = banned
        .iter()
        .filter(|name| lock.contains(&format!("name = \"{name}\"\n")))
        .map(|name| name.to_string())
        .collect();
    none(&wrong, "crates that must not be in Cargo.lock");
    assert!(lock.contains("name = \"ring\"\n"));
    let denied = read(&root().join("deny.toml"));
    for name in banned {
        assert!(denied.contains(&format!("\"{name}\"")), "deny.toml doesn't ban {name}");
    }
}

#[test]
fn the_test_command_is_executable_and_the_one_that_ci_runs() {
    use std::os::unix::fs::PermissionsExt as _;
    for script in ["scripts/test", "scripts/deny", ".ci/run"] {
        let mode =
            std::fs::metadata(root().join(script)).unwrap_or_else(|error| panic!("{script}: {error}")).permissions();
        assert_eq!(mode.mode() & 0o111, 0o111, "{script} can't be executed");
    }
    assert!(read(&root().join(".ci/run")).contains("scripts/test"));
}
