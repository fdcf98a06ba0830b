//! The law of layers: who may use whom, as ARCHITECTURE.md has it.

use std::collections::{BTreeMap, BTreeSet};

use super::files::{none, read, root, rust_files, shown};
use super::source::reaches;

type Table = BTreeMap<String, BTreeSet<String>>;

/// The table below the heading *Layers*. `all above` means every module of an earlier row, `but x` all but this one.
fn table(page: &str) -> Table {
    let part = page.split_once("\n## Layers\n").expect("ARCHITECTURE.md has a heading Layers").1;
    let part = part.split("\n## ").next().unwrap_or_default();
    let rows = part.lines().filter(|line| line.starts_with('|')).skip(2);
    let mut table = Table::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let [module, uses] = cells[..] else { panic!("a row of two cells, not {row}") };
        let (uses, all_but) = match uses.strip_prefix("all above") {
            Some(rest) => ("", Some(rest.trim().strip_prefix("but ").unwrap_or_default())),
            None => (uses.trim_matches('–'), None),
        };
        let mut allowed: BTreeSet<String> =
            uses.split_whitespace().map(|name| name.trim_matches('`').to_owned()).collect();
        if let Some(but) = all_but {
            allowed.extend(table.keys().filter(|above| *above != but).cloned());
        }
        assert!(table.insert(module.to_owned(), allowed).is_none(), "{module} has two rows");
    }
    table
}

#[test]
fn modules_use_only_what_the_table_allows() {
    let table = table(&read(&root().join("ARCHITECTURE.md")));
    let mut wrong = Vec::new();
    let mut checked = 0;
    for path in rust_files(&["src"]) {
        let below_src = path.strip_prefix(root().join("src")).unwrap();
        let mut parts: Vec<&str> = below_src.iter().filter_map(|part| part.to_str()).collect();
        let file = parts.pop().unwrap_or_default().trim_end_matches(".rs");
        if file != "mod" {
            parts.push(file);
        }
        let module = parts[0];
        if matches!(module, "lib" | "main") {
            continue;
        }
        let Some(allowed) = table.get(module) else {
            wrong.push(format!("{}: the table has no row for {module}", shown(&path)));
            continue;
        };
        for reach in reaches(&read(&path), parts.len()) {
            checked += 1;
            if reach.name != module && !allowed.contains(&reach.name) {
                wrong.push(format!("{}:{}: {module} uses {}", shown(&path), reach.line, reach.name));
            }
        }
    }
    none(&wrong, "paths that the layers don't allow");
    assert!(checked > 20, "only {checked} paths were found: are they still read?");
}

#[test]
fn the_shop_shares_no_code_with_the_rest() {
    let mut wrong = Vec::new();
    let knows = regex::Regex::new(r"\b(crate|houston)\s*::").unwrap();
    for path in rust_files(&["src/demo"]) {
        let text = super::source::without_comments_and_texts(&read(&path));
        if knows.is_match(&text) {
            wrong.push(shown(&path));
        }
    }
    none(&wrong, "files of the shop that know Houston");
}

#[test]
fn the_table_and_the_tree_have_the_same_modules() {
    let table = table(&read(&root().join("ARCHITECTURE.md")));
    let tree: BTreeSet<String> = std::fs::read_dir(root().join("src"))
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert_eq!(table.keys().cloned().collect::<BTreeSet<_>>(), tree);
    for (module, uses) in &table {
        assert!(uses.is_subset(&tree), "{module} may use {uses:?}, not all of which are there");
        for used in uses {
            assert!(!table[used].contains(module), "{module} and {used} use each other");
        }
    }
}

#[test]
fn the_table_is_read_with_its_short_forms() {
    let page = "# A\n\n## Layers\n\n| module | may use |\n|---|---|\n| a | – |\n| b | `a` |\n| c | a b |\n| d | all above but b |\n\
                | e | all above |\n\n## Next\n\n| x | y |\n|---|---|\n| f | a |\n";
    let table = table(page);
    let uses = |module: &str| table[module].iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    let found = ["a", "b", "c", "d", "e"].map(uses);
    assert_eq!(found, ["", "a", "a b", "a c", "a b c d"]);
    assert_eq!(table.len(), 5);
}
