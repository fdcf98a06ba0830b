//! One check: the keys that every check may have, and the one key that names its kind.
//!
//! The keys common to all checks are read here; the one that is left is looked up among the kinds, whose entry reads
//! its value into the kind's own type. So there is no enum of kinds, and each error keeps its own line and column.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use super::check::{AppliesTo, BadIf, Check, Control, Expectation, KnownIssue};
use super::document::{Header, Surroundings, named, read_attempts, read_every, read_labels, read_timeout};
use super::{expectations, parameters};
use crate::evidence::{Kind, Probe};
use crate::model::look::{Class, Look};
use crate::model::params::ParamSpec;
use crate::model::secret::SecretRef;
use crate::model::source::{Diagnostic, Span};
use crate::yaml::{self, Keys, Node, Shape, Spanned};

/// How long a check may take that doesn't say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The keys that every check may have, in the order in which they are listed to people.
pub(super) const COMMON_KEYS: [&str; 20] = [
    "name",
    "service",
    "owner",
    "expect",
    "look",
    "class",
    "timeout",
    "every",
    "attempts",
    "bad_if",
    "group",
    "needed",
    "params",
    "control",
    "applies_to",
    "from",
    "depends_on",
    "known_issue",
    "labels",
    "annotations",
];

/// A probe as one key of YAML sets it up.
struct Set {
    kind: &'static Kind,
    probe: Arc<dyn Probe>,
    /// The kind's key.
    at: Span,
}

/// Reads a check. Its name comes back even where the check has errors, so that duplicates are found.
pub(super) fn read_check(
    node: &Node,
    header: &Header,
    surroundings: &Surroundings<'_>,
    errors: &mut Vec<Diagnostic>,
) -> (Option<Spanned<String>>, Option<Check>) {
    let mut keys = match Keys::of(node, "a check") {
        Ok(keys) => keys,
        Err(error) => {
            errors.push(error.hint("write `- name: …` and the check's other keys below it"));
            return (None, None);
        }
    };
    let name = read_name(node, &mut keys, errors);
    let check = read_rest(node, &name, keys, header, surroundings, errors);
    (name, check)
}

fn read_rest(
    node: &Node,
    name: &Option<Spanned<String>>,
    mut keys: Keys<'_>,
    header: &Header,
    surroundings: &Surroundings<'_>,
    errors: &mut Vec<Diagnostic>,
) -> Option<Check> {
    let service = keys.read::<Spanned<String>>("service", errors).and_then(|name| named(name, "a service", errors));
    let owner = keys.read::<Spanned<String>>("owner", errors).and_then(|name| named(name, "an owner", errors));
    let expect = keys.take("expect");
    let look: Option<Look> = keys.read("look", errors);
    let class: Option<Class> = keys.read("class", errors);
    let timeout = read_timeout(&mut keys, errors);
    let every = read_every(&mut keys, errors);
    let attempts = read_attempts(&mut keys, errors);
    let bad_if = keys.take("bad_if").and_then(|bad_if| read_bad_if(bad_if, attempts, errors));
    let group = keys.read::<Spanned<String>>("group", errors).and_then(|group| named(group, "a group", errors));
    let needed: Option<bool> = keys.read("needed", errors);
    let before = errors.len();
    let params = keys.take("params").map(|params| parameters::read(params, surroundings, errors)).unwrap_or_default();
    let params_broken = errors.len() > before; // then what isn't declared would be said twice
    let control_node = keys.take("control");
    let applies_to = keys.take("applies_to").map(|node| read_applies_to(node, surroundings, errors));
    if let Some(from) = keys.take("from") {
        read_from(from, errors);
    }
    let depends_on: Vec<String> = keys.read("depends_on", errors).unwrap_or_default();
    let known_issue = keys.take("known_issue").and_then(|node| read_known_issue(node, errors));
    let mut labels = header.labels.clone();
    labels.extend(read_labels(&mut keys, errors));
    let (summary, runbook_url) =
        keys.take("annotations").map(|node| read_annotations(node, errors)).unwrap_or_default();

    let (key, value) = kind_key(node, &keys, &COMMON_KEYS, surroundings, errors)?;
    let set = read_kind(key, value, surroundings, errors);
    let names: Vec<&str> = params.iter().map(|(spec, _)| spec.name.as_str()).collect();
    let kind = set.as_ref().map(|set| set.kind).or_else(|| surroundings.kind(key.text()?))?;
    let expect: Vec<Expectation> = match expect {
        Some(node) => expectations::read_list(node, kind, &names, errors),
        None => expectations::defaults(kind, &key.span, errors),
    };
    let control = control_node.and_then(|node| read_control(node, &params, &names, surroundings, errors));
    let set = set?;
    if !params_broken {
        let mut probes: Vec<(&dyn Probe, &Node)> = vec![(&*set.probe, value)];
        if let (Some(Control::Probe { probe, .. }), Some(node)) = (&control, control_node) {
            probes.push((&**probe, node));
        }
        let expressions: Vec<String> = expect.iter().map(|expectation| expectation.that.text().to_owned()).collect();
        parameters::hold_against(&params, &probes, &expressions, errors);
    }
    if every.is_some() {
        for (spec, at) in params.iter().filter(|(spec, _)| spec.default.is_none()) {
            let what = format!("this check can't be sampled: the parameter `{}` has no default", spec.name);
            errors.push(Diagnostic::warning(at.clone(), what).hint("a synthetic value as `default`, or no `every`"));
        }
    }
    let look = look.unwrap_or(set.kind.look);
    let attempts = attempts.or(bad_if.map(|bad_if| bad_if.of)).or(header.attempts).unwrap_or(set.kind.attempts);
    Some(Check {
        name: name.as_ref()?.value.as_str().into(),
        service: service.or_else(|| header.service.clone()),
        owner: owner.or_else(|| header.owner.clone()),
        look,
        kind: set.kind,
        expect,
        timeout: timeout.or(header.timeout).unwrap_or(DEFAULT_TIMEOUT),
        every: every.or(header.every),
        attempts: attempts.max(1),
        bad_if,
        class: class.or(header.class).unwrap_or_else(|| look.default_class()),
        group: group.unwrap_or_else(|| format!("{}:{}", look.name(), set.probe.system())),
        needed: needed.or(header.needed).unwrap_or(true),
        control,
        params: params.into_iter().map(|(spec, _)| spec).collect(),
        applies_to: applies_to.unwrap_or_default(),
        depends_on,
        known_issue,
        labels,
        summary,
        runbook_url,
        at: name.as_ref()?.at.clone(),
        probe: set.probe,
    })
}

fn read_name(node: &Node, keys: &mut Keys<'_>, errors: &mut Vec<Diagnostic>) -> Option<Spanned<String>> {
    let Some(value) = keys.take("name") else {
        errors.push(
            Diagnostic::error(node.span.clone(), "the key `name` is missing")
                .hint("each check has a name of its own: `name: front-page`"),
        );
        return None;
    };
    let name: Spanned<String> = value.read().map_err(|error| errors.push(error)).ok()?;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    if let Some(index) = name.value.chars().position(|c| !allowed(c)) {
        let at = yaml::inside(&name.at, &name.value, index, 1);
        errors.push(
            Diagnostic::error(at, "a check's name can't contain this")
                .hint("lower-case letters, digits, `-`, `_` and `.`"),
        );
        return None;
    }
    if !(1..=64).contains(&name.value.len()) {
        let message = format!("a check's name has 1 to 64 characters, found {}", name.value.len());
        errors
            .push(Diagnostic::error(name.at, message).hint("shorten it; `annotations: { summary }` takes a sentence"));
        return None;
    }
    Some(name)
}

/// The one key that isn't among the common ones.
fn kind_key<'n>(
    node: &Node,
    keys: &Keys<'n>,
    common: &[&'static str],
    surroundings: &Surroundings<'_>,
    errors: &mut Vec<Diagnostic>,
) -> Option<(&'n Node, &'n Node)> {
    let mut found: Option<(&Node, &Node)> = None;
    let mut unknown = false;
    let kinds = || surroundings.kinds.iter().map(|kind| kind.name);
    for (key, value) in keys.rest() {
        let name = key.text().unwrap_or_default();
        match (surroundings.kind(name), found) {
            (Some(_), None) => found = Some((key, value)),
            (Some(_), Some((first, _))) => errors.push(
                Diagnostic::error(
                    key.span.clone(),
                    format!("a second kind: this check is {} already", first.describe()),
                )
                .hint("make it a check of its own"),
            ),
            (None, _) => {
                unknown = true;
                let mut names: Vec<&str> = kinds().collect();
                names.extend(common);
                let mut error = yaml::unknown_key(key, names.iter().copied());
                if !error.hint.as_deref().unwrap_or("").starts_with("did you mean") {
                    error = error.hint(format!("kinds: {}", kinds().collect::<Vec<_>>().join(", ")));
                }
                errors.push(error);
            }
        }
    }
    if found.is_none() && !unknown {
        let hint = format!("add one of {}", kinds().collect::<Vec<_>>().join(", "));
        errors.push(Diagnostic::error(node.span.clone(), "nothing says how this check looks").hint(hint));
    }
    found
}

fn read_kind(key: &Node, value: &Node, surroundings: &Surroundings<'_>, errors: &mut Vec<Diagnostic>) -> Option<Set> {
    let kind = surroundings.kind(key.text()?)?;
    if value.shape == Shape::Null {
        let required: Vec<&str> = kind.keys.iter().filter(|key| key.default.is_none()).map(|key| key.name).collect();
        errors.push(
            Diagnostic::error(key.span.clone(), format!("`{}` has no value", kind.name))
                .hint(format!("required: {}", required.join(", "))),
        );
        return None;
    }
    // A fault in one kind's code costs the checks of that kind, not the loading of all.
    let read = std::panic::catch_unwind(AssertUnwindSafe(|| (kind.read)(value)));
    let read = read.unwrap_or_else(|_| {
        Err(Diagnostic::error(key.span.clone(), format!("reading `{}` failed inside of houston", kind.name))
            .hint("please report it with this check"))
    });
    let probe = read.map_err(|error| errors.push(error)).ok()?;
    for secret in probe.secrets() {
        if let Err(why) = (surroundings.secret)(&secret) {
            let at = secret_place(value, &secret).unwrap_or_else(|| key.span.clone());
            errors.push(Diagnostic::error(at, why).hint("the secret must be there when the check is loaded"));
        }
    }
    Some(Set { kind, probe, at: key.span.clone() })
}

/// Where `{ env: NAME }` or `{ file: path }` stands within a kind's value.
fn secret_place(node: &Node, secret: &SecretRef) -> Option<Span> {
    let (key, wanted) = match secret {
        SecretRef::Env(name) => ("env", name.clone()),
        SecretRef::File(path) => ("file", path.to_str()?.to_owned()),
    };
    match &node.shape {
        Shape::Map(entries) => entries.iter().find_map(|(name, value)| {
            let here = name.text() == Some(key) && value.text() == Some(&wanted);
            if here { Some(value.span.clone()) } else { secret_place(value, secret) }
        }),
        Shape::List(items) => items.iter().find_map(|item| secret_place(item, secret)),
        _ => None,
    }
}

fn read_control(
    node: &Node,
    params: &[(ParamSpec, Span)],
    names: &[&str],
    surroundings: &Surroundings<'_>,
    errors: &mut Vec<Diagnostic>,
) -> Option<Control> {
    if let Some(text) = node.text() {
        if text != "synthetic" {
            errors.push(
                Diagnostic::error(node.span.clone(), format!("unknown control {}", node.describe()))
                    .hint("`synthetic`, or a probe of its own: { http: { url: … } }"),
            );
            return None;
        }
        if let Some((spec, at)) = params.iter().find(|(spec, _)| spec.default.is_none()) {
            errors.push(
                Diagnostic::error(at.clone(), format!("a synthetic control needs a default for `{}`", spec.name))
                    .hint("add `default: …` with a value that always works"),
            );
            return None;
        }
        if params.is_empty() {
            errors.push(
                Diagnostic::warning(node.span.clone(), "without `params` a synthetic control is the check itself")
                    .hint("it proves nothing about the runner: give a probe of its own, { http: { url: … } }"),
            );
        }
        return Some(Control::Synthetic);
    }
    let mut keys = Keys::of(node, "`control`").map_err(|error| errors.push(error)).ok()?;
    let expect = keys.take("expect");
    let (key, value) = kind_key(node, &keys, &["expect"], surroundings, errors)?;
    let set = read_kind(key, value, surroundings, errors)?;
    let expect = match expect {
        Some(list) => expectations::read_list(list, set.kind, names, errors),
        None => expectations::defaults(set.kind, &set.at, errors),
    };
    Some(Control::Probe { kind: set.kind, probe: set.probe, expect })
}

fn read_bad_if(node: &Node, attempts: Option<u32>, errors: &mut Vec<Diagnostic>) -> Option<BadIf> {
    #[derive(serde::Deserialize)]
    struct Written {
        failures: Spanned<u32>,
        of: Spanned<u32>,
    }
    let Written { failures, of } = node.read().map_err(|error| errors.push(error)).ok()?;
    if !(1..=10).contains(&of.value) {
        errors.push(Diagnostic::error(of.at, "`of` is the number of attempts").hint("from 1 to 10"));
        return None;
    }
    if !(1..=of.value).contains(&failures.value) {
        errors.push(
            Diagnostic::error(failures.at, format!("{} failures of {} can't be", failures.value, of.value))
                .hint("at least 1, at most `of`"),
        );
        return None;
    }
    if let Some(attempts) = attempts.filter(|attempts| *attempts != of.value) {
        errors.push(
            Diagnostic::error(of.at, format!("`attempts` says {attempts}"))
                .hint("`of` is the number of attempts: write one of the two, or the same in both"),
        );
        return None;
    }
    Some(BadIf { failures: failures.value, of: of.value })
}

fn read_applies_to(node: &Node, surroundings: &Surroundings<'_>, errors: &mut Vec<Diagnostic>) -> AppliesTo {
    let mut keys = match Keys::of(node, "`applies_to`") {
        Ok(keys) => keys,
        Err(error) => {
            errors.push(error);
            return AppliesTo::default();
        }
    };
    let services = keys.read("services", errors).unwrap_or_default();
    let customers = keys.read("customers", errors).unwrap_or_default();
    let ticket_matches = keys.read::<Spanned<String>>("ticket_matches", errors).and_then(|pattern| {
        surroundings
            .pattern(&pattern.value)
            .map_err(|why| {
                errors
                    .push(Diagnostic::error(pattern.at, why).hint("it is searched for in the ticket's title and text"));
            })
            .ok()
    });
    keys.finish(errors);
    AppliesTo { services, customers, ticket_matches }
}

fn read_from(node: &Node, errors: &mut Vec<Diagnostic>) {
    let items = match &node.shape {
        Shape::List(items) => items,
        _ => {
            errors
                .push(Diagnostic::error(node.span.clone(), "`from` is a list of places").hint("write `from: [local]`"));
            return;
        }
    };
    for item in items.iter().filter(|item| item.text() != Some("local")) {
        errors.push(
            Diagnostic::error(
                item.span.clone(),
                format!("looks are taken from here only, not from {}", item.describe()),
            )
            .hint("other vantage points are not there yet: write `from: [local]`, or leave it out"),
        );
    }
}

fn read_known_issue(node: &Node, errors: &mut Vec<Diagnostic>) -> Option<KnownIssue> {
    #[derive(serde::Deserialize)]
    struct Written {
        until: Spanned<String>,
        #[serde(default)]
        ticket: Option<String>,
    }
    let Written { until, ticket } = node.read().map_err(|error| errors.push(error)).ok()?;
    // A date means the whole of that day, in UTC.
    let day = || {
        let date: jiff::civil::Date = until.value.parse().ok()?;
        date.tomorrow().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    };
    let time = || until.value.parse::<jiff::Timestamp>().ok();
    let parsed = if until.value.len() <= 10 { day() } else { time() };
    match parsed {
        Some(until) => Some(KnownIssue { until, ticket }),
        None => {
            let message = format!("`{}` is no time", until.value.chars().take(40).collect::<String>());
            errors.push(Diagnostic::error(until.at, message).hint("2026-12-24, or 2026-12-24T18:00:00Z"));
            None
        }
    }
}

fn read_annotations(node: &Node, errors: &mut Vec<Diagnostic>) -> (Option<String>, Option<String>) {
    let mut keys = match Keys::of(node, "`annotations`") {
        Ok(keys) => keys,
        Err(error) => {
            errors.push(error);
            return (None, None);
        }
    };
    let summary = keys.read("summary", errors);
    let runbook = keys.read::<Spanned<String>>("runbook_url", errors);
    keys.finish(errors);
    let runbook = runbook.and_then(|runbook| match url::Url::parse(&runbook.value) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Some(runbook.value),
        _ => {
            errors.push(Diagnostic::error(runbook.at, "this is no web address").hint("https://…"));
            None
        }
    });
    (summary, runbook)
}
