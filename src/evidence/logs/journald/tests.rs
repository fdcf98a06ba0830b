//! What is read of an export without a journal, and what is refused when a check is read.

use super::super::testing::{NOW, second};
use super::*;
use crate::yaml;

fn probe(text: &str) -> Result<Journald, String> {
    let node = yaml::parse("j.yaml", text).map_err(|error| error.to_string())?;
    read(&node).map_err(|error| error.to_string())?;
    let config: Config = node.read().map_err(|error| error.to_string())?;
    let rule = Rule::new(config.format, None, None, config.limit, None).map_err(|error| error.to_string())?;
    let customer = whose(config.customer).map_err(|error| error.to_string())?;
    Ok(Journald { place: Vec::new(), which: Vec::new(), fields: BTreeMap::new(), customer, rule })
}

fn ran(stdout: &[u8], truncated: bool) -> Ran {
    Ran { ended: Ended::Exit(0), stdout: stdout.to_vec(), stderr: Vec::new(), truncated, took: Duration::ZERO }
}

fn lines(stdout: &[u8], truncated: bool, limit: usize) -> Result<Span, Unknown> {
    let probe = probe("customer: { pattern: 'c=(.)' }").unwrap();
    let Some(Whose::Pattern(pattern)) = &probe.customer else { panic!("{probe:?}") };
    let customer = Some((pattern, "a".to_owned()));
    let asking = Asking { probe: &probe, program: PathBuf::from(PROGRAMS[0]), everyone: vec![], own: vec![], customer };
    let window = Window::new(second(NOW - 10), second(NOW));
    asking.lines_of(&ran(stdout, truncated), &Wanted { window, limit, everyone: false, deadline: Instant::now() })
}

fn entry(ago: i64, priority: u8, message: &str) -> String {
    format!("__REALTIME_TIMESTAMP={}\nPRIORITY={priority}\nMESSAGE={message}\n\n", (NOW - ago) * 1_000_000)
}

#[test]
fn entries_of_the_window_and_the_customer_are_lines_oldest_first() {
    let export =
        [entry(-1, 6, "c=a late"), entry(0, 3, "c=a y"), entry(5, 6, "c=b"), entry(9, 6, "c=a x"), entry(11, 6, "c=a")];
    let span = lines(export.concat().as_bytes(), false, 10).unwrap();
    let found: Vec<(&[u8], bool)> = span.lines.iter().map(|line| (&line.text[..], line.error)).collect();
    assert_eq!(found, [(&b"c=a x"[..], false), (b"c=a y", true)]);
    assert_eq!(span.incomplete, None);
    let span = lines(export.concat().as_bytes(), false, 4).unwrap();
    assert_eq!(span.incomplete.as_deref(), Some("more than 4 entries"));
}

#[test]
fn an_export_that_is_cut_by_our_bound_is_incomplete_and_any_other_is_none() {
    let export = entry(1, 6, "c=a") + "__REALTIME_TIME";
    let span = lines(export.as_bytes(), true, 10).unwrap();
    assert_eq!((span.lines.len(), span.incomplete.as_deref()), (1, Some("more than 32 MiB of entries")));
    for (export, part) in [
        (export.as_str(), "the middle of an entry"),
        ("MESSAGE=x\n\n", "without its time"),
        ("-- No entries --\n", "no field's name"),
        ("{\"MESSAGE\":\"x\"}\n", "no field's name"),
    ] {
        let unknown = lines(export.as_bytes(), false, 10).unwrap_err();
        assert!(unknown.kind == UnknownKind::Unintelligible && unknown.why.contains(part), "{export}: {unknown:?}");
    }
}

#[test]
fn wrong_values_are_errors_at_their_own_place() {
    for (text, part) in [
        ("unit: ['{{ unit }}']", "j.yaml:1:8: not a name; no parameters"),
        ("unit: ['']", "not a name"),
        ("priority: grave", "grave"),
        ("fields: { message: x }", "`message` is not the name of a journal's field"),
        ("fields: { A--file: x }", "not the name"),
        ("directory: journal", "j.yaml:1:12: the path is not absolute"),
        ("files: [x.journal]", "j.yaml:1:9: the path is not absolute"),
        ("{ directory: /a, files: [/b] }", "either `directory` or `files`"),
        ("customer: { field: tenant }", "not the name"),
        ("customer: { pattern: 'x' }", "j.yaml:1:22: the pattern needs exactly one group"),
        ("customer: {}", "either `field` or `pattern`"),
        ("limit: 0", "j.yaml:1:8: the limit"),
    ] {
        let error = probe(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}
