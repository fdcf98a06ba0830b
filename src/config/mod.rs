//! `houston.yaml`: who and what there is, how people are reached, how Houston runs. Everything has a default.
//!
//! An error here is an error of the whole file: unlike a check, half a configuration is none.

use std::collections::BTreeMap;
use std::path::Path;

use crate::model::catalog::Catalog;
use crate::model::settings::TriageSettings;
use crate::model::source::{Diagnostic, Severity, Span};
use crate::response::channels::Channels;
use crate::response::playbook::Policy;
use crate::ticketing::{self, Desk};
use crate::yaml::{self, Keys, Node, Shape};

mod catalog;
mod people;
mod settings;
mod teams;

pub use settings::{Budget, Budgets, DEFAULT_PORT, Heartbeat, History, Listen, Scope, Store, Token};

/// Everything that `houston.yaml` says.
#[derive(Debug, Clone, Default)]
pub struct Config {
    pub catalog: Catalog,
    pub triage: TriageSettings,
    /// The declared channels; the log is always among them.
    pub channels: Channels,
    /// Who is asked to look, and who is told of each verdict.
    pub policy: Policy,
    /// The systems in which tickets live, by name.
    pub desks: BTreeMap<String, Desk>,
    pub store: Store,
    pub history: History,
    pub listen: Listen,
    /// The watcher outside that is told that all is well, as long as it is.
    pub heartbeat: Option<Heartbeat>,
    /// Programs that checks and channels may run: absolute paths.
    pub programs: Vec<std::path::PathBuf>,
    /// How much a target is asked.
    pub budgets: Budgets,
    /// Addresses, nets (`10.0.0.0/8`), host names and `*.` names that are never asked, besides those that never are
    /// (link-local and metadata addresses). Each with its place, for whoever turns them into rules.
    pub deny: Vec<yaml::Spanned<String>>,
    /// What is used, but probably not meant.
    pub warnings: Vec<Diagnostic>,
}

/// Reads a file (blocking). A file that isn't there is an error; whoever has none uses [`Config::default`].
///
/// # Errors
/// Everything that is wrong with it, in the order of its lines.
pub fn load(path: &Path) -> Result<Config, Vec<Diagnostic>> {
    use std::io::Read;
    let name = crate::model::encode::terminal(&path.to_string_lossy());
    let failed = |error: std::io::Error| {
        let message = format!("the configuration can't be read: {error}");
        vec![Diagnostic::error(Span::file(&name), message).hint("name another file with --config")]
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(yaml::FILE_LIMIT as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    read(&name, &bytes)
}

/// Reads a configuration; `file` names it in errors.
///
/// # Errors
/// Everything that is wrong with it, in the order of its lines.
pub fn read(file: &str, bytes: &[u8]) -> Result<Config, Vec<Diagnostic>> {
    let root = yaml::parse_bytes(file, bytes).map_err(|error| vec![error])?;
    let mut found = Vec::new();
    let mut config = Config::default();
    if root.shape != Shape::Null {
        match Keys::of(&root, "the configuration") {
            Ok(keys) => read_root(keys, &mut config, &mut found),
            Err(error) => found.push(error),
        }
    }
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    found.sort_by_key(|diagnostic| (diagnostic.at.line, diagnostic.at.column));
    let mut found: Vec<_> = found.into_iter().map(|diagnostic| yaml::with_source(diagnostic, text)).collect();
    if found.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Err(found);
    }
    config.warnings.append(&mut found);
    Ok(config)
}

fn read_root(mut keys: Keys<'_>, config: &mut Config, errors: &mut Vec<Diagnostic>) {
    let services = keys.take("services");
    let people = keys.take("people");
    let teams = keys.take("teams");
    let customers = keys.take("customers");
    let channels = keys.take("channels");
    let escalation = keys.take("escalation");
    let announce = keys.take("announce");
    // Channels first: people and teams name them; then people, whom teams name; then teams: services and escalations
    // name them.
    config.channels = people::channels(channels, errors);
    config.catalog.people = people::people(people, &config.channels, errors);
    let named = teams::Named { channels: &config.channels, people: &config.catalog.people };
    config.catalog.teams = teams::teams(teams, &named, errors);
    config.catalog.customers = catalog::customers(customers, errors);
    config.catalog.services = catalog::services(services, &config.catalog.teams, errors);
    for (name, _, value) in entries(keys.take("ticketing"), "ticket systems", errors) {
        if let Some(desk) = ticketing::declare(name, value, errors) {
            config.desks.insert(name.to_owned(), desk);
        }
    }
    let call_back = keys.take("call_back");
    config.policy = people::policy(escalation, announce, config, errors);
    config.policy.call_back = people::call_back(call_back, config, errors);
    config.policy.desks = config.desks.values().map(|desk| (desk.name.clone(), people::rule(desk))).collect();
    config.triage = settings::triage(keys.take("triage"), errors);
    config.store = settings::store(keys.take("store"), errors);
    config.history = settings::history(keys.take("history"), errors);
    config.listen = settings::listen(keys.take("listen"), errors);
    config.programs = settings::programs(keys.take("programs"), errors);
    for program in config.channels.programs().filter(|program| !config.programs.contains(&program.value)) {
        errors.push(
            Diagnostic::error(program.at, "this program isn't in the list of programs that may be run")
                .hint("add its path to `programs`"),
        );
    }
    config.heartbeat = settings::heartbeat(keys.take("heartbeat"), errors);
    config.budgets = settings::budgets(keys.take("budgets"), errors);
    config.deny = settings::egress(keys.take("egress"), errors);
    keys.finish(errors);
}

/// The entries of a map from names to something, each name checked.
fn entries<'n>(node: Option<&'n Node>, what: &str, errors: &mut Vec<Diagnostic>) -> Vec<(&'n str, &'n Node, &'n Node)> {
    let Some(node) = node else { return Vec::new() };
    let Shape::Map(entries) = &node.shape else {
        errors.push(
            Diagnostic::error(
                node.span.clone(),
                format!("expected a map from names to {what}, found {}", node.describe()),
            )
            .hint("write `name: { … }`, one a line"),
        );
        return Vec::new();
    };
    let mut named = Vec::new();
    for (key, value) in entries {
        let name = key.text().unwrap_or_default();
        if is_name(name) {
            named.push((name, key, value));
        } else {
            errors.push(
                Diagnostic::error(key.span.clone(), format!("{} can't be a name", key.describe()))
                    .hint("1 to 128 printable characters, no blank at the ends"),
            );
        }
    }
    named
}

/// A name that may be shown and compared.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && name.trim() == name
        && !name.chars().any(crate::model::encode::is_unprintable)
}

/// That a name isn't declared, with the nearest one that is.
fn undeclared<'k>(at: &Span, what: &str, name: &str, known: impl Iterator<Item = &'k str>) -> Diagnostic {
    let short: String = name.chars().take(64).collect();
    let error = Diagnostic::error(at.clone(), format!("there is no {what} `{short}`"));
    match crate::model::source::nearest(&short, known) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("declare it under `{what}s`")),
    }
}

#[cfg(test)]
mod tests;
