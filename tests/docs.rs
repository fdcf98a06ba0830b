//! The documents tell the truth: examples load, commands exist, shown output is what comes out, paths lead somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use houston::checks::Library;
use houston::evidence::{KINDS, Kind};
use houston::model::source::Severity;

use crate::house::files::{none, read, root};

mod heartbeat;

/// The documents that are held to this.
const DOCUMENTS: [&str; 4] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"];

/// The registry in which the kind of CONTRIBUTING.md's walk-through is.
static EXAMPLE_KINDS: &[&Kind] = &[&heartbeat::KIND];

/// A fenced block of code.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    /// What stands behind the fence: `yaml`, `console`, `sh` …
    language: String,
    text: String,
    /// The line of the fence.
    line: usize,
}

/// A document's blocks of code, and the rest of it with the blocks blanked.
fn blocks(page: &str) -> (Vec<Block>, String) {
    let mut blocks: Vec<Block> = Vec::new();
    let mut prose = String::new();
    let mut open = false;
    for (number, line) in page.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if open => open = false,
            Some(language) => {
                open = true;
                blocks.push(Block { language: language.trim().to_owned(), text: String::new(), line: number + 1 });
            }
            None if open => {
                if let Some(block) = blocks.last_mut() {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
            }
            None => prose.push_str(line),
        }
        prose.push('\n');
    }
    assert!(!open, "a block of code has no end");
    (blocks, prose)
}

fn document(name: &str) -> (Vec<Block>, String) {
    blocks(&read(&root().join(name)))
}

/// The texts between single backquotes.
fn quoted(prose: &str) -> Vec<&str> {
    prose.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// The file that a block of YAML is, as its first line says.
fn file_of(block: &Block) -> Option<&str> {
    block.text.lines().next()?.strip_prefix("# ")?.split([' ', ':']).next().filter(|name| name.ends_with(".yaml"))
}

/// A command as a block shows it, and what it prints there.
struct Shown {
    command: String,
    output: Vec<String>,
    line: usize,
}

/// The commands of the blocks that show a terminal (`$ …` and what follows) or a script (each line one).
fn commands(blocks: &[Block]) -> Vec<Shown> {
    let mut commands: Vec<Shown> = Vec::new();
    for block in blocks {
        let lines = block.text.lines().enumerate().map(|(index, line)| (block.line + index + 1, line));
        match block.language.as_str() {
            "console" => {
                for (line, text) in lines {
                    match (text.strip_prefix("$ "), commands.last_mut()) {
                        (Some(command), _) => {
                            commands.push(Shown { command: command.to_owned(), output: Vec::new(), line })
                        }
                        (None, Some(shown)) => shown.output.push(text.to_owned()),
                        (None, None) => panic!("line {line}: output of no command"),
                    }
                }
            }
            "sh" => {
                let mut joined: Option<Shown> = None;
                for (line, text) in lines {
                    let shown = joined.get_or_insert(Shown { command: String::new(), output: Vec::new(), line });
                    match text.strip_suffix('\\') {
                        Some(part) => shown.command.push_str(part),
                        None => {
                            shown.command.push_str(text);
                            commands.extend(joined.take());
                        }
                    }
                }
            }
            _ => {}
        }
    }
    commands
}

/// The part of a command line that calls Houston, without what its output goes to: `x | houston judge - > y`.
fn call(command: &str) -> Option<&str> {
    let from = command.split("| ").find(|part| part.trim_start().starts_with("houston "))?.trim_start();
    // Nothing that the documents show has these characters between quotes but in a ticket's words.
    let end = from.find([';', '&', '>']).unwrap_or(from.len());
    Some(from[..end].split(" #").next().unwrap_or(from).trim_end())
}

fn houston() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_houston"))
}

/// Runs a line as a reader would, in this directory.
fn shell(line: &str, directory: &Path) -> std::process::Output {
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", houston().parent().unwrap().display());
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(directory).env_clear().env("PATH", path).env("LANG", "C.UTF-8");
    command.output().unwrap()
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn the_two_commands_of_a_fresh_machine_stand_in_the_readme() {
    let (blocks, _) = document("README.md");
    let commands: Vec<String> = commands(&blocks).into_iter().map(|shown| shown.command).collect();
    for wanted in ["cargo run --release -- demo", "scripts/test"] {
        assert!(commands.iter().any(|command| command == wanted), "README.md lacks `{wanted}`");
    }
}

#[test]
fn every_example_is_read_without_a_fault() {
    let mut wrong = Vec::new();
    let mut read_ones = 0;
    for name in DOCUMENTS {
        let (blocks, _) = document(name);
        for block in blocks.iter().filter(|block| block.language == "yaml") {
            let at = format!("{name}:{}", block.line);
            let Some(file) = file_of(block) else {
                wrong.push(format!("{at}: its first line doesn't say which file it is"));
                continue;
            };
            let place = tempfile::tempdir().unwrap();
            write(&place.path().join(file), &block.text);
            if file.ends_with("houston.yaml") {
                match houston::config::load(&place.path().join(file)) {
                    Ok(config) => wrong.extend(config.warnings.iter().map(|fault| format!("{at}: {fault}"))),
                    Err(faults) => wrong.extend(faults.iter().map(|fault| format!("{at}: {fault}"))),
                }
                read_ones += 1;
                continue;
            }
            // What is shown to be wrong lies elsewhere, and is wrong.
            let is_meant_wrong = file.starts_with("wrong.d/");
            let kinds = if file.ends_with("heartbeat.yaml") { EXAMPLE_KINDS } else { KINDS };
            let folder = place.path().join(file.split('/').next().unwrap_or_default());
            let (set, faults) = Library::new(folder, kinds, Arc::new(|_| Ok(()))).reload();
            let errors = faults.iter().filter(|fault| fault.severity == Severity::Error).count();
            if is_meant_wrong != (errors > 0) || is_meant_wrong != set.checks.is_empty() {
                wrong.push(format!("{at}: {} checks, {faults:?}", set.checks.len()));
            }
            read_ones += 1;
        }
    }
    none(&wrong, "examples");
    assert!(read_ones >= 5, "only {read_ones} examples were found");
}

/// The README from its top to its end: files are written as they are shown, cheap commands are run where they stand, and
/// what is shown of their output must come out, in its order.
#[test]
fn the_readme_can_be_followed() {
    let (blocks, _) = document("README.md");
    let place = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    let mut compared = 0;
    for block in &blocks {
        if let Some(file) = file_of(block).filter(|_| block.language == "yaml") {
            write(&place.path().join(file), &block.text);
        }
        for shown in commands(std::slice::from_ref(block)) {
            let is_cheap = ["check validate", "check kinds", "check list", "judge"]
                .iter()
                .any(|cheap| shown.command.contains(&format!("houston {cheap}")));
            if !is_cheap || shown.output.is_empty() {
                continue;
            }
            let ran = shell(&shown.command, place.path());
            let all = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
            let mut lines = all.lines();
            let missing = shown
                .output
                .iter()
                .filter(|line| !line.trim().is_empty())
                .find(|wanted| !lines.any(|line| line.trim_end() == wanted.trim_end()));
            if let Some(missing) = missing {
                wrong.push(format!("README.md:{}: `{missing}` doesn't come out, but\n{all}", shown.line));
            }
            compared += 1;
        }
    }
    none(&wrong, "what the README shows");
    assert!(compared >= 4, "only {compared} outputs were compared");
}

#[test]
fn every_command_exists_with_its_flags() {
    let mut wrong = Vec::new();
    let mut tried = BTreeSet::new();
    let nowhere = tempfile::tempdir().unwrap();
    for name in DOCUMENTS {
        let (blocks, _) = document(name);
        for shown in commands(&blocks) {
            let Some(call) = call(&shown.command) else { continue };
            // Help ends a command before it does anything, and comes only where everything before it can be typed.
            let ran = shell(&format!("{call} --help"), nowhere.path());
            if !ran.status.success() {
                let said = String::from_utf8_lossy(&ran.stderr).lines().next().unwrap_or_default().to_owned();
                wrong.push(format!("{name}:{}: {call}: {said}", shown.line));
            }
            tried.extend(call.split(' ').nth(1).map(str::to_owned));
        }
    }
    none(&wrong, "commands that can't be typed");
    for wanted in ["triage", "serve", "check", "judge", "status", "ticket", "show"] {
        assert!(tried.contains(wanted), "no document shows `houston {wanted}`");
    }
    for untrue in ["houston nonsense", "houston triage --nonsense x", "houston check kinds a b"] {
        assert!(!shell(&format!("{untrue} --help"), nowhere.path()).status.success(), "{untrue}");
    }
}

#[test]
fn the_exit_codes_are_those_of_the_readme() {
    use houston::cli::Exit;
    let page = read(&root().join("README.md"));
    let rows: BTreeSet<u8> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()?.parse().ok()).collect();
    let codes = [Exit::Fine, Exit::Doubtful, Exit::Issue, Exit::Unknown, Exit::Usage, Exit::Interrupted];
    assert_eq!(rows, codes.map(Exit::code).into_iter().collect());
}

#[test]
fn the_routes_are_those_of_the_readme() {
    let page = read(&root().join("README.md"));
    let rows: BTreeSet<(String, String)> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next()?.split_once(" /"))
        .map(|(method, path)| (method.to_owned(), format!("/{}", path.split('?').next().unwrap_or_default())))
        .collect();
    let routes = houston::daemon::api::routes();
    let routes: BTreeSet<_> = routes.iter().map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
    assert_eq!(rows, routes);
}

/// The recipe of the README against a signature made by other means.
#[test]
fn a_webhook_can_be_verified_as_the_readme_says() {
    use hmac::{Hmac, KeyInit, Mac};
    let (blocks, _) = document("README.md");
    let recipe = blocks.iter().find(|block| block.text.contains("openssl dgst")).expect("the README has the recipe");
    let place = tempfile::tempdir().unwrap();
    let (secret, timestamp, body) = ("0123456789abcdef", "1700000000", "{\"title\":\"ü\"}\n");
    write(&place.path().join("body"), body);
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{timestamp}.{body}").as_bytes());
    let right: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    for (signature, is_good) in [(format!("v1={right}"), true), (format!("v1={}", right.replace('a', "b")), false)] {
        let line = format!("secret={secret}; timestamp={timestamp}; signature='{signature}'\n{}", recipe.text);
        let ran = shell(&line, place.path());
        assert_eq!(ran.status.success(), is_good, "{signature}: {}", String::from_utf8_lossy(&ran.stderr));
    }
}

/// The headings of a document as links name them.
fn anchors(page: &str) -> BTreeSet<String> {
    let (_, prose) = blocks(page);
    let headings = prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    headings
        .map(|heading| {
            let heading = heading.to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn every_link_and_path_leads_somewhere() {
    let link = regex::Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let tops: Vec<String> = std::fs::read_dir(root())
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().is_dir() && entry.file_name() != "target")
        .map(|entry| format!("{}/", entry.file_name().to_string_lossy()))
        .collect();
    let mut wrong = Vec::new();
    let mut followed = 0;
    for name in DOCUMENTS {
        let (blocks, prose) = document(name);
        let written: BTreeSet<&str> = blocks.iter().filter_map(file_of).collect();
        for found in link.captures_iter(&prose) {
            let target = &found[1];
            if target.starts_with("https://") {
                continue;
            }
            followed += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { name } else { file };
            let path = root().join(file);
            if !path.exists() {
                wrong.push(format!("{name}: {target}"));
            } else if !anchor.is_empty() && !anchors(&read(&path)).contains(anchor) {
                wrong.push(format!("{name}: {target}: there is no such heading"));
            }
        }
        for text in quoted(&prose) {
            let is_path = tops.iter().any(|top| text.starts_with(top.as_str()) && text != top.as_str())
                && !text.contains([' ', '*', '<', '{', '…']);
            // A path in the tree, or a file that the reader was told to write.
            let path = text.split(':').next().unwrap_or_default();
            if is_path {
                followed += 1;
                if !root().join(path).exists() && !written.contains(path) {
                    wrong.push(format!("{name}: `{text}`"));
                }
            }
        }
    }
    none(&wrong, "links and paths that lead nowhere");
    assert!(followed > 40, "only {followed} were found");
}

#[test]
fn the_map_names_every_module_and_no_other() {
    let page = read(&root().join("ARCHITECTURE.md"));
    let map = page.split_once("\n## The map\n").expect("ARCHITECTURE.md has a heading The map").1;
    let map = map.split("\n## ").next().unwrap_or_default();
    let named: BTreeSet<String> = map
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name.to_owned()))
        .collect();
    let tree: BTreeSet<String> = std::fs::read_dir(root().join("src"))
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert_eq!(named, tree);
}

#[test]
fn the_walk_through_a_new_kind_is_code_that_works() {
    let (blocks, _) = document("CONTRIBUTING.md");
    let folder: PathBuf = root().join("tests/docs");
    let as_in_the_tree = read(&folder.join("heartbeat.rs"))
        .replace("houston::", "crate::")
        .replace("include_str!(\"heartbeat.yaml\")", "include_str!(\"../../../checks.d/internal/heartbeat.yaml\")");
    let shown: BTreeMap<&str, &str> =
        blocks.iter().map(|block| (block.language.as_str(), block.text.as_str())).collect();
    // Which names come first depends on the crate's own name alone.
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let rust: Vec<&Block> = blocks.iter().filter(|block| block.text.contains("static KIND")).collect();
    let [rust] = rust[..] else { panic!("CONTRIBUTING.md shows one kind, not {}", rust.len()) };
    assert_eq!(sorted(&rust.text), sorted(&as_in_the_tree));
    let yaml = shown.get("yaml").expect("CONTRIBUTING.md has the example");
    let example = read(&folder.join("heartbeat.yaml"));
    assert_eq!(yaml.lines().skip(1).collect::<Vec<_>>(), example.lines().collect::<Vec<_>>());
}

#[test]
fn documents_are_taken_apart_rightly() {
    let page = "# A b, `c`!\n\nsee `x y` and `z`\n\n```console\n$ houston status | head > x\nwell\n```\n```sh\nhouston check \\\nlist # all\n```\n";
    let (found, prose) = blocks(page);
    assert_eq!(
        found.iter().map(|block| (block.language.as_str(), block.line)).collect::<Vec<_>>(),
        [("console", 5), ("sh", 9)]
    );
    assert_eq!(quoted(&prose), ["c", "x y", "z"]);
    assert_eq!(anchors(page), BTreeSet::from(["a-b-c".to_owned()]));
    let commands = commands(&found);
    assert_eq!(
        commands.iter().map(|shown| call(&shown.command)).collect::<Vec<_>>(),
        [Some("houston status"), Some("houston check list")]
    );
    assert_eq!(commands[0].output, ["well"]);
    assert_eq!(call("echo x | houston judge - > y"), Some("houston judge -"));
    assert_eq!(call("cargo run --release -- demo"), None);
}

/// What the README says of the two crates that are witnesses in the tests and not used at run time.
#[test]
fn the_two_witnesses_are_as_the_readme_says() {
    let bomb = format!("a: &a {}\nb: [ {} ]\n", "x".repeat(8_000), "*a,".repeat(3_000));
    assert_eq!(bomb.len() / 1_000, 17);
    let theirs: serde_json::Value = serde_yaml::from_str(&bomb).unwrap();
    let texts = theirs["b"].as_array().unwrap().iter().filter_map(|text| text.as_str());
    assert_eq!(texts.map(str::len).sum::<usize>(), 24_000_000);
    let refused = houston::yaml::parse("bomb.yaml", &bomb).unwrap_err();
    assert_eq!((refused.at.line, refused.at.column), (1, 4), "{refused}");

    let samples = |page: &str| {
        let lines = page.lines().map(|line| Ok(line.to_owned()));
        prometheus_parse::Scrape::parse(lines).unwrap().samples.len()
    };
    assert_eq!(samples("<html><body>502 Bad Gateway</body></html>\n"), 0);
    assert_eq!(samples("a{path=\"/{id}\"} 1\nb 2\n"), 1, "the first is dropped, without a word");
}
