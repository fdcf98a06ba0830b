//! What is read, what is refused and where, and that a second YAML reader agrees.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::model::secret::SecretRef;
use crate::model::units;

fn refused(text: &str) -> Diagnostic {
    match parse("f.yaml", text) {
        Ok(node) => panic!("{text:?} was read: {node:?}"),
        Err(error) => error,
    }
}

#[test]
fn mistakes_are_shown_at_their_own_token_with_a_hint() {
    for (text, line, column, length, part) in [
        ("url: {{ base }}/x\n", 1, 6, 10, "must be quoted"),
        ("json: { account: {{ account }} }\n", 1, 18, 13, "must be quoted"),
        ("x: { url: http://h/{{ a }} }\n", 1, 20, 7, "must be quoted"),
        ("a:\n\tb: 1\n", 2, 1, 1, "tab"),
        ("a: b\n\tc: 1\n", 2, 1, 1, "tab"),
        ("a: b: c\n", 1, 5, 1, "second `:`"),
        ("<<: *x\n", 1, 1, 2, "merge"),
        ("a: &x 1\nb: *x\n", 1, 4, 2, "anchors"),
        ("a: &x [1]\n", 1, 4, 2, "anchors"),
        ("p: [*.log]\n", 1, 5, 5, "alias"),
        ("a: !env X\n", 1, 4, 4, "tag"),
        ("a: !!str 1\n", 1, 4, 5, "tag"),
        ("a: 1\n---\nb: 2\n", 2, 1, 3, "second document"),
        ("a: 1\n\"a\": 2\n", 2, 1, 3, "duplicate"),
        ("- {b: 1, b: 2}\n", 1, 10, 1, "duplicate"),
        ("a: \"x\n", 1, 4, 1, "quote is not closed"),
        ("a: [1, 2\nb: 3\n", 1, 4, 1, "`[` is not closed"),
        ("a: {b: 1\n", 1, 4, 1, "`{` is not closed"),
        ("e: [ status in [200, 201] ]\n", 1, 16, 1, "closing bracket"),
        ("a: @x\n", 1, 4, 1, "`@`"),
        ("a: `x`\n", 1, 4, 1, "backtick"),
        ("a: > 5\n", 1, 4, 1, "several lines"),
        ("a: 1\n  b: 2\n", 2, 3, 4, "deeper"),
        ("a:\n  b: 1\n c: 2\n", 3, 2, 4, "doesn't fit"),
        ("foo\nbar: 1\n", 1, 1, 3, "`:` is missing"),
        ("key:value\nb: 1\n", 1, 4, 1, "space is missing"),
        ("a: \"\\d\"\n", 1, 4, 1, "escape"),
        ("a: 'x' y\n", 1, 8, 1, "closing quote"),
        ("a: - b\n", 1, 4, 1, "list item"),
        ("%YAML 1.2\n---\na: 1\n", 1, 1, 1, "directives"),
        (": x\n", 1, 1, 1, "key is missing"),
        ("? [a]\n: b\n", 1, 3, 1, "word"),
        ("a: \u{1b}[2J\n", 1, 4, 1, "U+001B"),
        ("a: 1\nb: \0\n", 2, 4, 1, "U+0000"),
    ] {
        let error = refused(text);
        assert_eq!((error.at.line, error.at.column, error.at.length), (line, column, length), "{text:?}: {error}");
        assert!(error.message.contains(part), "{text:?}: {error}");
        assert!(error.hint.is_some(), "{text:?} has no hint");
    }
}

#[test]
fn scalars_are_read_as_they_are_meant() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct All {
        country: String,
        version: String,
        code: u16,
        ratio: f64,
        on: bool,
        maybe: Option<u32>,
        list: Vec<String>,
        map: BTreeMap<String, i64>,
        block: String,
        wait: units::Span,
    }
    let text = "\u{feff}country: no\r\nversion: 1.10\r\ncode: 200\r\nratio: 1e-3\r\non: true\r\nmaybe: ~\r\n\
                list: [ true, 010, \"x: y\" ]\r\nmap: { a: -1 }\r\nblock: |\r\n  one\r\n  two\r\nwait: 5s\r\n";
    let all: All = parse("f.yaml", text).unwrap().read().unwrap();
    assert_eq!(
        all,
        All {
            country: "no".into(),
            version: "1.10".into(),
            code: 200,
            ratio: 0.001,
            on: true,
            maybe: None,
            list: vec!["true".into(), "010".into(), "x: y".into()],
            map: BTreeMap::from([("a".into(), -1)]),
            block: "one\ntwo\n".into(),
            wait: units::Span(Duration::from_secs(5)),
        }
    );
}

#[test]
fn a_wrong_value_is_shown_at_its_own_token() {
    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Inner {
        paths: Vec<String>,
        #[serde(default)]
        limit: Option<u16>,
        #[serde(default)]
        strict: bool,
        #[serde(default)]
        ratio: Option<f64>,
        #[serde(default)]
        wait: Option<units::Span>,
        #[serde(default)]
        token: Option<SecretRef>,
        #[serde(default)]
        class: Option<crate::model::look::Class>,
        #[serde(default)]
        file: Option<PathBuf>,
    }
    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Outer {
        inner: Inner,
    }
    for (text, line, column, message, hint) in [
        ("inner: { patsh: [x] }", 1, 10, "unknown key `patsh`", "did you mean `paths`?"),
        ("inner: { paths: [], zebra: 1 }", 1, 21, "unknown key `zebra`", "known keys: paths, limit"),
        ("inner: { limit: 5 }", 1, 8, "the key `paths` is missing", "add `paths: …`"),
        ("inner:\n  paths: x", 2, 10, "expected a list, found `x`", "[\"x\"]"),
        ("inner:\n  paths: [x, [y]]", 2, 14, "expected text, found a list", "quote"),
        ("inner:\n  paths: [x, ~]", 2, 14, "expected text, found nothing", "remove"),
        ("inner: { paths: [], limit: 70000 }", 1, 28, "`70000` is not possible here", "from 0 to 65535"),
        ("inner: { paths: [], limit: -1 }", 1, 28, "`-1` is not possible here", "from 0 to 65535"),
        ("inner: { paths: [], limit: 0x50 }", 1, 28, "expected a whole number, found `0x50`", "decimal"),
        ("inner: { paths: [], limit: \"5\" }", 1, 28, "expected a whole number, found `\"5\"`", "remove the quotes"),
        ("inner: { paths: [], strict: yes }", 1, 29, "expected true or false, found `yes`", "write `true`"),
        ("inner: { paths: [], strict: True }", 1, 29, "expected true or false, found `True`", "write `true`"),
        ("inner: { paths: [], ratio: .nan }", 1, 28, "expected a number, found `.nan`", "decimal"),
        ("inner: { paths: [], wait: 10 }", 1, 27, "`10` has no unit", "write `10s` for seconds"),
        ("inner: { paths: [], wait: -5s }", 1, 27, "a duration can't be negative", ""),
        ("inner: { paths: [], class: strnog }", 1, 28, "unknown value `strnog`", "did you mean `strong`?"),
        ("inner: { paths: [], token: { evn: X } }", 1, 30, "unknown value `evn`", "did you mean `env`?"),
        ("inner: { paths: [], token: { env: X, file: y } }", 1, 28, "expected exactly one key", "env, file"),
        ("inner: x", 1, 8, "expected a map, found `x`", "keys: paths, limit"),
        ("- 1", 1, 1, "expected a map, found a list", "keys: inner"),
    ] {
        let error = parse("f.yaml", text).unwrap().read::<Outer>().unwrap_err();
        assert_eq!((error.at.line, error.at.column), (line, column), "{text}: {error}");
        assert!(error.message.contains(message), "{text}: {error}");
        assert!(error.hint.as_deref().unwrap_or("").contains(hint), "{text}: {:?}", error.hint);
    }
}

#[test]
fn a_literal_secret_is_refused_and_not_repeated() {
    #[derive(Debug, Deserialize)]
    struct Login {
        #[allow(dead_code)]
        password: SecretRef,
    }
    let text = "password: hunter2 # mine\n";
    let error = with_source(parse("f.yaml", text).unwrap().read::<Login>().unwrap_err(), text);
    assert_eq!(error.source_line, "password: •••••••• # mine");
    assert_eq!((error.at.column, error.at.length), (11, 8));
    assert!(!format!("{error:?}").contains("hunter2"));
    let login: Login = parse("f.yaml", "password: { env: X }").unwrap().read().unwrap();
    assert_eq!(login.password, SecretRef::Env("X".into()));
}

#[test]
fn what_would_be_changed_by_guessing_is_refused() {
    let read = |value: &str| parse("f.yaml", &format!("a: {value}")).unwrap().read::<serde_json::Value>();
    for (value, json) in [
        ("no", "\"no\""),
        ("true", "true"),
        ("12", "12"),
        ("-7", "-7"),
        ("1.5", "1.5"),
        ("1e3", "1000.0"),
        ("\"1.10\"", "\"1.10\""),
        ("12:30:45", "\"12:30:45\""),
        ("2026-11-22", "\"2026-11-22\""),
        ("1.2.3", "\"1.2.3\""),
        ("10.0.0.1", "\"10.0.0.1\""),
        ("~", "null"),
        ("[1, { b: c }]", "[1,{\"b\":\"c\"}]"),
    ] {
        let Ok(read) = read(value) else { panic!("{value} was refused") };
        assert_eq!(read["a"].to_string(), json, "{value}");
    }
    for value in ["1.10", "0x50", "010", "+5", "1_000", "True", ".inf", ".5", "99999999999999999999"] {
        let error = read(value).unwrap_err();
        assert!(error.message.contains("two ways") && error.at.column == 4, "{value}: {error}");
    }
}

#[test]
fn a_place_inside_of_a_scalar_is_exact_where_it_can_be() {
    for (text, column, length) in [
        ("a: status = 200", 11, 1),
        ("a: \"status = 200\"", 12, 1),
        ("a: 'status = 200'", 12, 1),
        ("a: \"\\u0073tatus = 200\"", 4, 19),
    ] {
        let node = parse("f.yaml", text).unwrap();
        let value = node.get("a").unwrap();
        let at = inside(&value.span, value.text().unwrap(), 7, 1);
        assert_eq!((at.column, at.length), (column, length), "{text}");
    }
}

#[test]
fn a_spanned_value_knows_its_place() {
    #[derive(Deserialize)]
    struct Steps {
        steps: Vec<Spanned<String>>,
        when: Spanned<Option<u32>>,
    }
    let steps: Steps = parse("f.yaml", "steps:\n  - one\n  - 'two'\nwhen: 7\n").unwrap().read().unwrap();
    assert_eq!(steps.steps[1].value, "two");
    assert_eq!(steps.steps[1].at, Span { file: "f.yaml".into(), line: 3, column: 5, length: 5 });
    assert_eq!((steps.when.value, steps.when.at.line), (Some(7), 4));
}

#[test]
fn bytes_that_are_not_text_are_refused_at_their_place() {
    let error = parse_bytes("f.yaml", b"a: 1\nb: \xff\n").unwrap_err();
    assert_eq!((error.at.line, error.at.column), (2, 4));
    assert!(error.message.contains("UTF-8"), "{error}");
    assert!(parse_bytes("f.yaml", &vec![b'a'; FILE_LIMIT + 1]).unwrap_err().message.contains("at most"));
}

/// Inputs that cost others gigabytes or minutes are refused, or read, in no time: each is at most one file long.
#[test]
fn bombs_are_refused_at_once() {
    let fill = |piece: &str| piece.repeat(FILE_LIMIT / piece.len());
    let flat = format!("a: &a [{}]\nb: [{}]\n", fill("x,").split_at(FILE_LIMIT / 4).0, "*a,".repeat(5_000));
    let laughs = "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n".to_owned();
    let nested = |open: &str, close: &str| format!("{}{}", open.repeat(1_000), close.repeat(1_000));
    for (name, text) in [
        ("flat aliases", flat),
        ("laughs", laughs),
        ("self reference", "a: &a [*a]\n".to_owned()),
        ("nested lists", nested("[", "]")),
        ("nested maps", nested("{a: ", "}")),
        ("open brackets", fill("[")),
        ("open braces", fill("{")),
        ("deep block", (0..1_000).map(|n| format!("{}a:\n", " ".repeat(n % 500))).collect()),
        ("deep items", fill("- ")),
        ("questions", fill("? ")),
        ("many values", format!("[{}]", fill("a,").split_at(FILE_LIMIT - 2).0)),
        ("many keys", (0..30_000).map(|n| format!("k{n}:\n")).collect()),
        ("long key", format!("{}: 1", fill("k").split_at(FILE_LIMIT - 4).0)),
        ("quotes", fill("\"")),
        ("backslashes", format!("\"{}", fill("\\").split_at(FILE_LIMIT - 1).0)),
        ("colons", fill(": ")),
        ("anchors", fill("&a ")),
        ("tags", fill("!a ")),
        ("dashes", fill("---\n")),
        ("percent", fill("%a\n")),
        ("commas", fill(",")),
    ] {
        let start = Instant::now();
        let result = parse("f.yaml", text.split_at(text.len().min(FILE_LIMIT)).0);
        // Generous: the slowest takes some 20 ms optimised; what is quadratic takes minutes.
        assert!(start.elapsed() < Duration::from_secs(10), "{name} took {:?}", start.elapsed());
        assert!(result.is_err(), "{name} was read");
    }
    for (name, text) in [
        ("long text", format!("a: {}", fill("x ").split_at(FILE_LIMIT - 4).0)),
        ("comments", fill("# c\n")),
        ("bars", fill("|\n")),
        ("tabs", fill("\t")),
    ] {
        let start = Instant::now();
        assert!(parse("f.yaml", &text).is_ok(), "{name}");
        assert!(start.elapsed() < Duration::from_secs(10), "{name} took {:?}", start.elapsed());
    }
}

/// Documents of the kind that people write: block and flow, quoted and plain.
fn document() -> impl Strategy<Value = serde_json::Value> {
    let word = "[a-z][a-z0-9_ ]{0,8}[a-z]";
    let leaf = prop_oneof![
        word.prop_map(serde_json::Value::from),
        "[ -~äöü€]{0,12}".prop_map(serde_json::Value::from),
        any::<i32>().prop_map(serde_json::Value::from),
        any::<bool>().prop_map(serde_json::Value::from),
        Just(serde_json::Value::Null),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map("[a-z]{1,6}", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

/// True where the two readers differ by intent: what can be read in two ways we refuse.
fn two_ways(error: &Diagnostic) -> bool {
    error.message.contains("two ways")
}

proptest! {
    #[test]
    fn a_second_reader_reads_the_same(value in document()) {
        let text = serde_yaml::to_string(&value).unwrap();
        let ours = parse("f.yaml", &text).and_then(|node| node.read::<serde_json::Value>());
        let theirs: serde_json::Value = serde_yaml::from_str(&text).unwrap();
        match ours {
            Ok(ours) => prop_assert_eq!(ours, theirs, "{}", text),
            Err(error) => prop_assert!(two_ways(&error), "{error}\n{text}"),
        }
    }

    #[test]
    fn json_is_yaml(value in document()) {
        let text = value.to_string();
        let ours = parse("f.yaml", &text).and_then(|node| node.read::<serde_json::Value>());
        prop_assert_eq!(ours.map_err(|error| error.to_string()), Ok(value));
    }

    #[test]
    fn any_text_gives_a_value_or_a_place_within_it(text in "[-a-c0-2:#{}\\[\\],&*!|>'\"%@`?<~. \t\r\n\\\\ü]{0,60}") {
        if let Err(error) = parse("f.yaml", &text) {
            // A carriage return alone ends a line, too (YAML 1.2.2, §5.4).
            let lines = text.replace("\r\n", "\n").replace('\r', "\n").lines().count().max(1) as u32;
            prop_assert!(error.at.line >= 1 && error.at.line <= lines, "{} of {lines} in {text:?}", error.at);
            prop_assert!(error.at.column >= 1 && error.at.length >= 1);
            prop_assert!(error.hint.is_some());
        }
    }
}
