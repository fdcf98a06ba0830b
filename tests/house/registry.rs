//! Laws of the registry of probe kinds: complete, unique, documented, each with an example that is there.

use std::collections::BTreeSet;

use houston::evidence::KINDS;
use houston::model::look::Look;

use super::files::{none, read, root, shown};

#[test]
fn every_file_of_a_look_is_registered_and_every_kind_has_its_file() {
    let mut wrong = Vec::new();
    let mut files = BTreeSet::new();
    for look in Look::ALL {
        // A kind is a file of its look, or a directory with a `mod.rs` where it outgrew its file. What several kinds of a
        // look share has a file beside them, without a `KIND`.
        let directory = root().join("src/evidence").join(look.name());
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
            let file = if path.is_dir() { path.join("mod.rs") } else { path };
            if stem != "mod" && file.is_file() && read(&file).contains("static KIND: Kind") {
                files.insert((look.name(), stem));
            }
        }
    }
    for (look, name) in &files {
        match KINDS.iter().find(|kind| kind.name == name) {
            Some(kind) if kind.look.name() == *look => {}
            Some(kind) => wrong.push(format!("{name} lies in {look}, but its look is {}", kind.look.name())),
            None => wrong.push(format!("evidence/{look}/{name} has no line in KINDS")),
        }
    }
    for kind in KINDS {
        if !files.contains(&(kind.look.name(), kind.name.to_owned())) {
            wrong.push(format!("{} has no file evidence/{}/{}.rs", kind.name, kind.look.name(), kind.name));
        }
    }
    none(&wrong, "files and KINDS that don't match");
}

#[test]
fn names_are_unique_and_snake_case() {
    let names: BTreeSet<&str> = KINDS.iter().map(|kind| kind.name).collect();
    assert!(names.len() >= 7, "only {names:?} are registered");
    assert_eq!(names.len(), KINDS.len(), "two kinds have one name");
    let form = regex::Regex::new("^[a-z][a-z0-9_]*$").unwrap();
    let mut wrong = Vec::new();
    for kind in KINDS {
        let mut measures = BTreeSet::new();
        let mut keys = BTreeSet::new();
        for (name, is_new) in std::iter::once((kind.name, true))
            .chain(kind.measures.iter().map(|measure| (measure.name, measures.insert(measure.name))))
            .chain(kind.keys.iter().map(|key| (key.name, keys.insert(key.name))))
        {
            if !is_new {
                wrong.push(format!("{}: {name} is there twice", kind.name));
            }
            // Keys of which one is given stand together: `json / form / body`.
            if !name.split([',', '/']).all(|name| form.is_match(name.trim())) {
                wrong.push(format!("{}: {name} isn't snake_case", kind.name));
            }
        }
    }
    none(&wrong, "names");
}

#[test]
fn every_kind_key_and_measure_is_documented() {
    let mut wrong = Vec::new();
    for kind in KINDS {
        let name = kind.name;
        if kind.summary.trim().is_empty() || kind.summary.ends_with('.') || kind.summary.contains('\n') {
            wrong.push(format!("{name}: its summary is one line without a full stop, not {:?}", kind.summary));
        }
        if kind.docs.trim().len() < 80 {
            wrong.push(format!("{name}: its docs say what it does, what is bad and what is unknown"));
        }
        if kind.measures.is_empty() || kind.keys.is_empty() {
            wrong.push(format!("{name}: no measures or no keys"));
        }
        for measure in kind.measures {
            if measure.unit.trim().is_empty() || measure.meaning.trim().is_empty() {
                wrong.push(format!("{name}: the measure {} has no unit or no meaning", measure.name));
            }
            let suffixes = [
                ("_per_second", "per second"),
                ("_seconds", "second"),
                ("_ratio", "ratio"),
                ("_bytes", "byte"),
                ("_days", "day"),
            ];
            if let Some((_, unit)) = suffixes.iter().find(|(suffix, _)| measure.name.ends_with(suffix))
                && !measure.unit.contains(unit)
            {
                wrong.push(format!(
                    "{name}: {} is in {unit}s by its name, in {} by its unit",
                    measure.name, measure.unit
                ));
            }
        }
        for key in kind.keys {
            if key.takes.trim().is_empty() || key.meaning.trim().is_empty() {
                wrong.push(format!("{name}: the key {} isn't documented", key.name));
            }
        }
        for headline in kind.headline {
            if !kind.measures.iter().any(|measure| measure.name == *headline) {
                wrong.push(format!("{name}: its headline {headline} is no measure"));
            }
        }
        if kind.attempts == 0 {
            wrong.push(format!("{name}: it looks at least once"));
        }
    }
    none(&wrong, "documentation");
}

#[test]
fn every_kind_has_its_example() {
    let mut wrong = Vec::new();
    for kind in KINDS {
        let path = root().join("checks.d").join(kind.example);
        let key = regex::Regex::new(&format!(r"(?m)^\s*(- )?{}:", kind.name)).unwrap();
        if !kind.example.starts_with(&format!("{}/", kind.look.name())) {
            wrong.push(format!(
                "{}: its example {} isn't below checks.d/{}",
                kind.name,
                kind.example,
                kind.look.name()
            ));
        } else if !path.is_file() {
            wrong.push(format!("{}: {} isn't there", kind.name, shown(&path)));
        } else if !key.is_match(&read(&path)) {
            wrong.push(format!("{}: {} shows no `{}:`", kind.name, shown(&path), kind.name));
        }
        // What the demo's shop doesn't play is run beside the real thing.
        let real = root().join("tests/real").join(format!("{}.rs", kind.name));
        let run = format!("example(\"{}\"", kind.name);
        if read(&path).contains("service: platform") && !(real.is_file() && read(&real).contains(&run)) {
            wrong.push(format!("{}: {} doesn't run its example", kind.name, shown(&real)));
        }
    }
    none(&wrong, "examples");
}
