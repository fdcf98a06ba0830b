//! One file of `checks.d/`: its header, its defaults, its checks. Reports every error, not only the first.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;

use super::check::Check;
use super::reader;
use crate::evidence::Kind;
use crate::model::look::Class;
use crate::model::secret::SecretRef;
use crate::model::source::{Diagnostic, Severity, Span};
use crate::model::units;
use crate::yaml::{self, Keys, Node, Shape, Spanned};

/// The most complaints about one file that are shown.
const DIAGNOSTICS_LIMIT: usize = 50;
/// The most bytes of a compiled regular expression.
const PATTERN_LIMIT: usize = 1 << 20;

/// What a reader of checks knows besides the YAML.
pub(super) struct Surroundings<'s> {
    pub kinds: &'s [&'static Kind],
    /// Whether a secret is there.
    pub secret: &'s dyn Fn(&SecretRef) -> Result<(), String>,
    /// Each pattern is compiled once: thousands of checks share a handful.
    patterns: RefCell<HashMap<String, Result<Regex, String>>>,
}

impl<'s> Surroundings<'s> {
    pub fn new(kinds: &'s [&'static Kind], secret: &'s dyn Fn(&SecretRef) -> Result<(), String>) -> Self {
        Surroundings { kinds, secret, patterns: RefCell::default() }
    }

    pub fn kind(&self, name: &str) -> Option<&'static Kind> {
        self.kinds.iter().copied().find(|kind| kind.name == name)
    }

    /// A regular expression of bounded size, at most once compiled.
    pub fn pattern(&self, text: &str) -> Result<Regex, String> {
        if let Some(known) = self.patterns.borrow().get(text) {
            return known.clone();
        }
        let compiled = regex::RegexBuilder::new(text).size_limit(PATTERN_LIMIT).build().map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "the pattern is too large (1 MiB compiled)".to_owned(),
            // The last line of the crate's drawing says what is wrong; the drawing itself repeats the source.
            other => {
                let text = other.to_string();
                let what = text.lines().last().unwrap_or("").trim_start_matches("error: ");
                format!("not a regular expression: {what}")
            }
        });
        self.patterns.borrow_mut().insert(text.to_owned(), compiled.clone());
        compiled
    }

    /// A pattern that a whole value must match.
    pub fn whole_pattern(&self, text: &str) -> Result<Regex, String> {
        // By itself first: `a)|(b` must not become valid through the anchors.
        self.pattern(text)?;
        self.pattern(&format!(r"\A(?:{text})\z"))
    }
}

/// What one file says.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// Empty where there is an error.
    pub checks: Vec<Arc<Check>>,
    pub diagnostics: Vec<Diagnostic>,
}

impl Document {
    pub fn is_good(&self) -> bool {
        self.diagnostics.iter().all(|diagnostic| diagnostic.severity != Severity::Error)
    }
}

/// What a file's header and `defaults` give to its checks.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub service: Option<String>,
    pub owner: Option<String>,
    pub timeout: Option<Duration>,
    pub every: Option<Duration>,
    pub attempts: Option<u32>,
    pub class: Option<Class>,
    pub needed: Option<bool>,
    pub labels: BTreeMap<String, String>,
}

/// Reads a file.
pub(super) fn read(file: &str, bytes: &[u8], surroundings: &Surroundings<'_>) -> Document {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        // An editor or a copy empties a file before it fills it: empty is never "all checks removed".
        let error =
            Diagnostic::error(Span::file(file), "the file is empty").hint("remove it, or leave a comment in it");
        return Document { checks: Vec::new(), diagnostics: vec![error] };
    }
    let mut diagnostics = Vec::new();
    let mut checks = match yaml::parse_bytes(file, bytes) {
        Ok(root) => read_root(&root, surroundings, &mut diagnostics),
        Err(error) => {
            diagnostics.push(error);
            Vec::new()
        }
    };
    diagnostics.sort_by_key(|diagnostic| (diagnostic.at.line, diagnostic.at.column));
    let more = diagnostics.len().saturating_sub(DIAGNOSTICS_LIMIT);
    if more > 0 {
        diagnostics.sort_by_key(|diagnostic| diagnostic.severity);
        diagnostics.truncate(DIAGNOSTICS_LIMIT);
        diagnostics.push(Diagnostic::error(Span::file(file), format!("and {more} more in this file")));
    }
    if !diagnostics.is_empty() {
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        diagnostics = diagnostics.into_iter().map(|diagnostic| yaml::with_source(diagnostic, text)).collect();
    }
    let mut document = Document { checks: Vec::new(), diagnostics };
    if document.is_good() {
        document.checks.append(&mut checks);
    }
    document
}

fn read_root(root: &Node, surroundings: &Surroundings<'_>, errors: &mut Vec<Diagnostic>) -> Vec<Arc<Check>> {
    if root.shape == Shape::Null {
        return Vec::new(); // nothing but comments
    }
    let mut keys = match Keys::of(root, "a file of checks") {
        Ok(keys) => keys,
        Err(error) => {
            errors.push(error.hint("it begins with `service: …` and `checks:`"));
            return Vec::new();
        }
    };
    let mut header = Header {
        service: keys.read::<Spanned<String>>("service", errors).and_then(|name| named(name, "a service", errors)),
        owner: keys.read::<Spanned<String>>("owner", errors).and_then(|name| named(name, "an owner", errors)),
        ..Header::default()
    };
    if let Some(defaults) = keys.take("defaults") {
        match Keys::of(defaults, "`defaults`") {
            Ok(keys) => read_defaults(keys, &mut header, errors),
            Err(error) => errors.push(error),
        }
    }
    let list = keys.take("checks");
    keys.finish(errors);
    let items = match list.map(|list| (list, &list.shape)) {
        Some((_, Shape::List(items))) => items,
        Some((list, _)) => {
            let message = format!("`checks` is a list, found {}", list.describe());
            errors.push(Diagnostic::error(list.span.clone(), message).hint("write one `- name: …` a check"));
            return Vec::new();
        }
        None => {
            errors.push(
                Diagnostic::error(root.span.clone(), "the key `checks` is missing")
                    .hint("add `checks:` with a list of checks"),
            );
            return Vec::new();
        }
    };
    let mut checks: Vec<Arc<Check>> = Vec::new();
    let mut names: BTreeMap<String, Span> = BTreeMap::new();
    for item in items {
        let mut own = Vec::new();
        let (name, check) = reader::read_check(item, &header, surroundings, &mut own);
        if let Some(name) = name {
            match names.get(&name.value) {
                Some(first) => own.push(declared_twice(&name.value, name.at, first)),
                None => {
                    names.insert(name.value, name.at);
                }
            }
        }
        errors.append(&mut own);
        checks.extend(check.map(Arc::new));
    }
    checks
}

fn read_defaults(mut keys: Keys<'_>, header: &mut Header, errors: &mut Vec<Diagnostic>) {
    header.timeout = read_timeout(&mut keys, errors);
    header.every = read_every(&mut keys, errors);
    header.attempts = read_attempts(&mut keys, errors);
    header.class = keys.read("class", errors);
    header.needed = keys.read("needed", errors);
    header.labels = read_labels(&mut keys, errors);
    keys.finish(errors);
}

/// The longest time that a check may take.
const TIMEOUT_LIMIT: Duration = Duration::from_secs(600);

pub(super) fn read_timeout(keys: &mut Keys<'_>, errors: &mut Vec<Diagnostic>) -> Option<Duration> {
    let timeout: Spanned<units::Span> = keys.read("timeout", errors)?;
    let duration = timeout.value.0;
    if duration.is_zero() || duration > TIMEOUT_LIMIT {
        errors.push(Diagnostic::error(timeout.at, "a timeout lies between 1 ns and 10 m").hint("5s is a good start"));
        return None;
    }
    Some(duration)
}

pub(super) fn read_every(keys: &mut Keys<'_>, errors: &mut Vec<Diagnostic>) -> Option<Duration> {
    let every: Spanned<units::Span> = keys.read("every", errors)?;
    let duration = every.value.0;
    if duration < Duration::from_secs(1) || duration > Duration::from_secs(7 * 86_400) {
        errors.push(Diagnostic::error(every.at, "`every` lies between 1 s and 7 d").hint("1m is a good start"));
        return None;
    }
    Some(duration)
}

pub(super) fn read_attempts(keys: &mut Keys<'_>, errors: &mut Vec<Diagnostic>) -> Option<u32> {
    let attempts: Spanned<u32> = keys.read("attempts", errors)?;
    if !(1..=10).contains(&attempts.value) {
        let message = format!("{} attempts are not possible", attempts.value);
        errors.push(Diagnostic::error(attempts.at, message).hint("from 1 to 10"));
        return None;
    }
    Some(attempts.value)
}

pub(super) fn read_labels(keys: &mut Keys<'_>, errors: &mut Vec<Diagnostic>) -> BTreeMap<String, String> {
    let Some(node) = keys.take("labels") else { return BTreeMap::new() };
    if let Shape::Map(entries) = &node.shape {
        for (key, _) in entries {
            if !key.text().is_some_and(crate::model::params::is_name) {
                errors.push(
                    Diagnostic::error(key.span.clone(), format!("{} can't be a label's name", key.describe()))
                        .hint("a letter or underscore, then letters, digits, underscores"),
                );
            }
        }
    }
    match node.read() {
        Ok(labels) => labels,
        Err(error) => {
            errors.push(error);
            BTreeMap::new()
        }
    }
}

/// A name that may be shown and compared: 1 to 128 printable characters.
pub(super) fn named(name: Spanned<String>, what: &str, errors: &mut Vec<Diagnostic>) -> Option<String> {
    let good = !name.value.trim().is_empty()
        && name.value.len() <= 128
        && !name.value.chars().any(crate::model::encode::is_unprintable);
    if !good {
        errors.push(
            Diagnostic::error(name.at, format!("this can't be the name of {what}"))
                .hint("1 to 128 printable characters"),
        );
        return None;
    }
    Some(name.value)
}

pub(super) fn declared_twice(name: &str, at: Span, other: &Span) -> Diagnostic {
    Diagnostic::error(at, format!("the check `{name}` is declared twice"))
        .hint(format!("it is declared at {other}, too: give one of them another name"))
}

#[cfg(test)]
mod tests {
    use super::super::test_kinds::KINDS;
    use super::*;
    use crate::checks::{AppliesTo, BadIf, Control};
    use crate::model::look::Look;
    use crate::model::params::Source;

    fn document(text: &str) -> Document {
        let secret = |secret: &SecretRef| match secret {
            SecretRef::Env(name) if name == "TOKEN" => Ok(()),
            SecretRef::Env(name) => Err(format!("environment variable {name} is not set")),
            SecretRef::File(path) => Err(format!("secret file {}: not there", path.display())),
        };
        read("c.yaml", text.as_bytes(), &Surroundings::new(KINDS, &secret))
    }

    #[test]
    fn every_key_is_read() {
        let document = document(
            "service: checkout\nowner: team-shop\ndefaults: { timeout: 5s, every: 1m, labels: { tier: gold, a: x } }\n\
             checks:\n\
             - name: front.page-1\n  http: { url: 'https://shop.example.com/{{ account }}', bearer_token: { env: TOKEN } }\n  \
               expect:\n    - status == 200\n    - { that: duration_seconds < 0.8, else: odd, note: slow }\n  \
               look: use_case\n  class: fair\n  timeout: 1500ms\n  attempts: 3\n  bad_if: { failures: 2, of: 3 }\n  \
               needed: false\n  params: { account: { from: ticket.customer, pattern: '[a-z0-9-]{3,32}', default: synthetic-1 } }\n  \
               control: { http: { url: 'https://status.example.com/' } }\n  \
               applies_to: { services: [a], customers: [b], ticket_matches: '(?i)pay' }\n  from: [local]\n  \
               depends_on: [db]\n  known_issue: { until: 2026-12-24, ticket: T-1 }\n  labels: { a: y }\n  \
               annotations: { summary: the money path, runbook_url: 'https://wiki/x' }\n\
             - name: log\n  log_file: { paths: [/var/log/x.log] }\n  group: my-logs\n",
        );
        assert_eq!(document.diagnostics, []);
        let [page, log] = &document.checks[..] else { panic!("{:?}", document.checks) };
        assert_eq!(&*page.name, "front.page-1");
        assert_eq!((page.service.as_deref(), page.owner.as_deref()), (Some("checkout"), Some("team-shop")));
        assert_eq!((page.look, page.class, page.kind.name), (Look::UseCase, Class::Fair, "http"));
        assert_eq!((page.timeout, page.every), (Duration::from_millis(1500), Some(Duration::from_secs(60))));
        assert_eq!((page.attempts, page.bad_if), (3, Some(BadIf { failures: 2, of: 3 })));
        assert_eq!(page.group, "use_case:shop.example.com");
        assert!(!page.needed);
        assert_eq!(page.expect.len(), 2);
        assert!(page.expect[1].odd && !page.expect[0].odd);
        assert_eq!(page.expect[1].note.as_deref(), Some("slow"));
        assert_eq!((page.expect[1].at.line, page.expect[1].at.column), (9, 15));
        assert_eq!(page.params[0].from, Some(Source::Customer));
        assert!(page.params[0].accepts("acme-1") && !page.params[0].accepts("acme/1"));
        assert!(matches!(&page.control, Some(Control::Probe { expect, .. }) if expect.len() == 1));
        let AppliesTo { services, customers, ticket_matches } = &page.applies_to;
        assert_eq!((services.as_slice(), customers.as_slice()), (&["a".to_owned()][..], &["b".to_owned()][..]));
        assert!(ticket_matches.as_ref().unwrap().is_match("cannot PAY"));
        assert_eq!(page.known_issue.as_ref().unwrap().until, "2026-12-25T00:00:00Z".parse().unwrap());
        assert_eq!(page.labels, BTreeMap::from([("tier".into(), "gold".into()), ("a".into(), "y".into())]));
        assert_eq!(page.runbook_url.as_deref(), Some("https://wiki/x"));
        assert_eq!((page.at.line, page.at.column), (5, 9));
        assert_eq!((log.class, log.look, log.attempts, log.group.as_str()), (Class::Weak, Look::Logs, 1, "my-logs"));
        assert!(log.needed && log.expect.is_empty());
    }

    #[test]
    fn all_errors_of_all_checks_are_reported_and_none_of_its_checks_is_used() {
        let document = document(
            "checks:\n- name: a\n  http: { url: x }\n  timeout: 10\n  neded: true\n- name: Bad\n  htpp: {}\n- name: c\n  \
             http: { url: 'http://x/' }\n",
        );
        let places: Vec<_> = document.diagnostics.iter().map(|error| (error.at.line, error.at.column)).collect();
        assert_eq!(places, [(3, 16), (4, 12), (5, 3), (6, 9), (7, 3)], "{:#?}", document.diagnostics);
        assert!(document.checks.is_empty());
        assert!(document.diagnostics.iter().all(|error| error.hint.is_some() && !error.source_line.is_empty()));
    }

    #[test]
    fn a_file_of_comments_has_no_checks_and_an_empty_one_is_an_error() {
        assert!(document("# all switched off\n").is_good());
        assert!(document("checks: []\n").is_good());
        assert!(!document("").is_good());
        assert!(!document(" \n\t\n").is_good());
    }

    #[test]
    fn a_declared_parameter_that_nothing_uses_is_a_warning() {
        let document =
            document("checks:\n- name: a\n  http: { url: 'http://x/' }\n  params: { account: { default: x1 } }\n");
        assert!(document.is_good());
        assert_eq!(document.checks.len(), 1);
        assert!(document.diagnostics[0].message.contains("used nowhere"), "{:?}", document.diagnostics);
    }

    #[test]
    fn what_cannot_be_sampled_is_a_warning() {
        let text = |param: &str| {
            format!(
                "checks:\n- name: a\n  every: 1m\n  http: {{ url: 'http://x/' }}\n  params: {{ account: {param} }}\n"
            )
        };
        let said = |param: &str| document(&text(param)).diagnostics.iter().any(|d| d.message.contains("be sampled"));
        assert!(said("{ from: ticket.customer }"));
        assert!(!said("{ from: ticket.customer, default: x1 }"));
    }

    #[test]
    fn complaints_about_one_file_are_bounded() {
        let text: String = (0..500).map(|number| format!("- name: c{number}\n  nonsense: 1\n")).collect();
        let document = document(&format!("checks:\n{text}"));
        assert_eq!(document.diagnostics.len(), DIAGNOSTICS_LIMIT + 1);
        assert!(document.diagnostics[DIAGNOSTICS_LIMIT].message.contains("450 more"));
    }

    #[test]
    fn a_kind_whose_code_panics_costs_only_its_check() {
        let document = document("checks:\n- name: a\n  http: { url: 'http://panic/' }\n- name: b\n  timeout: 5\n");
        let messages: Vec<_> = document.diagnostics.iter().map(|error| error.message.as_str()).collect();
        assert_eq!(messages.len(), 3, "{messages:?}");
        assert!(messages[0].contains("reading `http` failed"), "{messages:?}");
    }

    #[test]
    fn a_pattern_cannot_escape_its_anchors() {
        let surroundings = Surroundings::new(KINDS, &|_| Ok(()));
        assert!(surroundings.whole_pattern("a)|(?:b").is_err());
        let either = surroundings.whole_pattern("a|b").unwrap();
        assert!(either.is_match("a") && !either.is_match("ab") && !either.is_match("a\n"));
        assert!(surroundings.pattern("(?:a{1000}){1000}").unwrap_err().contains("too large"));
    }
}
