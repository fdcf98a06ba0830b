//! `houston check`: validate, run, list, kinds, schema.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::args::{Check, Cli};
use super::context::{self, Context, shown};
use super::triage::pairs;
use super::{Exit, Mistyped, Terminal, when};
use crate::checks;
use crate::evidence::{self, KINDS, Kind};
use crate::model::encode::terminal as safe;
use crate::model::history::Account;
use crate::model::params::Params;
use crate::model::source::Severity;
use crate::model::verdict::Decision;
use crate::model::window::Window;
use crate::report::style::{Paint, Style};
use crate::report::{baseline, text};
use crate::triage::{self, judge::percent, reach};

pub fn run(terminal: &Terminal, cli: &Cli, command: &Check) -> anyhow::Result<Exit> {
    match command {
        Check::Validate { dir, strict } => validate(terminal, cli, dir.clone(), *strict),
        Check::Run { name, params, since, until } => {
            run_one(terminal, cli, name, params, (since.as_deref(), until.as_deref()))
        }
        Check::Baseline { name, measure } => account(terminal, cli, name, measure.as_deref()),
        Check::List => list(terminal, cli),
        Check::Kinds { name: None } => kinds(terminal),
        Check::Kinds { name: Some(name) } => kind(terminal, name),
        Check::Schema => {
            terminal.line(&serde_json::to_string_pretty(&checks::schema(KINDS))?);
            Ok(Exit::Fine)
        }
    }
}

/// Every fault of every file, then what verdicts the checks can reach.
fn validate(terminal: &Terminal, cli: &Cli, dir: Option<PathBuf>, strict: bool) -> anyhow::Result<Exit> {
    let mut common = cli.common.clone();
    common.checks = dir.or(common.checks);
    let context = Context::read(&common)?;
    let count = |severity| context.faults.iter().filter(|fault| fault.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let reachable = reach::reachable(&context.checks.checks, &context.config.catalog, &context.config.triage);
    if terminal.json {
        let services: Vec<_> = reachable
            .iter()
            .map(|reach| {
                json!({
                    "service": reach.service, "checks": reach.checks, "looks": reach.looks,
                    "best": reach.best.decision, "best_with_customer": reach.best_with_customer.decision,
                    "power": reach.best.power, "advice": reach.advice,
                })
            })
            .collect();
        let faults = &context.faults;
        terminal.document(&json!({
            "checks": context.checks.checks.len(), "errors": errors, "warnings": warnings,
            "faults": faults, "services": services,
        }))?;
    } else {
        for fault in &context.faults {
            terminal.line(&shown(terminal, fault));
        }
        for reach in &reachable {
            reach_lines(terminal, reach);
        }
        let fine = context.checks.checks.len();
        let stale = context.checks.stale_files.len();
        terminal.line(&match errors {
            0 => format!("{} fine, {}", count_of(fine, "check"), count_of(warnings, "warning")),
            _ => format!(
                "{} in {}; {} fine and in force all the same",
                count_of(errors, "error"),
                count_of(stale, "file"),
                count_of(fine, "check")
            ),
        });
    }
    Ok(match (errors, warnings) {
        (0, 0) => Exit::Fine,
        (0, _) if !strict => Exit::Doubtful,
        _ => Exit::Issue,
    })
}

/// "1 error", "2 errors"
fn count_of(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn reach_lines(terminal: &Terminal, reach: &reach::Reachable) {
    let style = &terminal.style;
    let best = |judgement: &triage::judge::Judgement| match judgement.decision {
        Decision::NoIssue => style.paint(Paint::Good, "no issue"),
        other => style.paint(Paint::Odd, &format!("{} at best", other.title().to_lowercase())),
    };
    terminal.line(&format!(
        "{}  {} checks, {} of 5 looks, power {}   if all are good: {}, of a customer: {}",
        style.paint(Paint::Strong, &reach.service),
        reach.checks,
        reach.looks.len(),
        percent(reach.best.power),
        best(&reach.best),
        best(&reach.best_with_customer)
    ));
    if let Some(advice) = &reach.advice {
        let never = match (reach.best.decision, reach.best_with_customer.decision) {
            (Decision::NoIssue, _) => "a customer's ticket".to_owned(),
            (_, Decision::NoIssue) => "a ticket that names no customer".to_owned(),
            _ => reach.service.clone(),
        };
        terminal.line(&format!("  {never} can never be \"no issue\": {advice}"));
    }
}

fn run_one(
    terminal: &Terminal,
    cli: &Cli,
    name: &str,
    params: &[String],
    (since, until): (Option<&str>, Option<&str>),
) -> anyhow::Result<Exit> {
    let context = Context::read(&cli.common)?;
    let Some(check) = context.checks.checks.iter().find(|check| *check.name == *name) else {
        for fault in context.faults.iter().filter(|fault| fault.severity == Severity::Error) {
            terminal.note(&shown(terminal, fault));
        }
        let names = context.checks.checks.iter().map(|check| &*check.name);
        let hint = crate::model::source::nearest(name, names)
            .map_or(String::new(), |near| format!(", did you mean `{near}`?"));
        return Err(Mistyped(format!("there is no check `{name}`{hint}")).into());
    };
    let params = Params::given(&check.params, &pairs(params)?).map_err(Mistyped)?;
    let here = super::now();
    let now = here.timestamp();
    let length = jiff::SignedDuration::try_from(context.config.triage.default_window).unwrap_or_default();
    let from = since.map(|text| when::parse(text, &here)).transpose().map_err(Mistyped)?;
    let to = until.map(|text| when::until(text, from, &here)).transpose().map_err(Mistyped)?;
    let window = match from {
        Some(from) => Window::new(from, to.unwrap_or(now)),
        None => Window::ending_at(to.unwrap_or(now), length),
    };
    let looks = context::looks_runtime()?;
    let runner = triage::Runner { tools: Arc::new(context.tools()?), memory: Arc::default(), looks: looks.handle()? };
    let finding = context::runtime()?.block_on(triage::once::once(check, params, window, to.is_some(), &runner, now));
    if terminal.json {
        terminal.document(&finding)?;
    } else {
        terminal.line(&text::finding(&finding, &terminal.style));
    }
    Ok(Exit::of_outcome(finding.outcome))
}

fn account(terminal: &Terminal, cli: &Cli, name: &str, measure: Option<&str>) -> anyhow::Result<Exit> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !name.bytes().all(known) {
        return Err(Mistyped(format!("there is no check `{}`", safe(name))).into());
    }
    let daemon = context::named_or_local_daemon(&cli.common)?;
    let path = format!("/api/v1/checks/{name}/baseline");
    let mut account: Account = context::runtime()?.block_on(daemon.get(&path)).map_err(anyhow::Error::msg)?;
    if let Some(wanted) = measure {
        let measures: Vec<String> = account.measures.keys().cloned().collect();
        account.measures.retain(|name, _| name == wanted);
        if account.measures.is_empty() && !measures.is_empty() {
            let near = crate::model::source::nearest(wanted, measures.iter().map(String::as_str));
            let hint = near.map_or(String::new(), |near| format!(", did you mean `{near}`?"));
            return Err(Mistyped(format!("nothing is known of a measure `{}`{hint}", safe(wanted))).into());
        }
    }
    if terminal.json {
        terminal.document(&account)?;
    } else {
        terminal.line(&baseline::text(&account, &terminal.style));
    }
    Ok(if account.measures.is_empty() { Exit::Doubtful } else { Exit::Fine })
}

fn list(terminal: &Terminal, cli: &Cli) -> anyhow::Result<Exit> {
    let context = Context::read(&cli.common)?;
    for check in &context.checks.checks {
        if terminal.json {
            terminal.document(&json!({
                "name": *check.name, "look": check.look, "kind": check.kind.name, "service": check.service,
                "owner": check.owner, "class": check.class, "group": check.group, "at": check.at,
            }))?;
            continue;
        }
        let service = check.service.as_deref().unwrap_or("everything");
        let line = format!(
            "{:<28} {:<9} {:<13} {:<16} {}",
            check.name,
            text::look_name(check.look),
            check.kind.name,
            service,
            check.at
        );
        terminal.line(&terminal.style.plain(&safe(&line)));
    }
    if !terminal.json {
        let errors = context.faults.iter().filter(|fault| fault.severity == Severity::Error).count();
        if errors > 0 {
            terminal.note(&format!("{errors} faults: houston check validate"));
        }
    }
    Ok(if context.checks.stale_files.is_empty() { Exit::Fine } else { Exit::Doubtful })
}

fn kinds(terminal: &Terminal) -> anyhow::Result<Exit> {
    let width = KINDS.iter().map(|kind| kind.name.len()).max().unwrap_or(0);
    for kind in KINDS {
        if terminal.json {
            terminal.document(&document(kind))?;
        } else {
            let name = terminal.style.paint(Paint::Strong, &format!("{:<width$}", kind.name));
            terminal.line(&format!("{name} {:<9} {}", text::look_name(kind.look), terminal.style.plain(kind.summary)));
        }
    }
    Ok(Exit::Fine)
}

fn kind(terminal: &Terminal, name: &str) -> anyhow::Result<Exit> {
    let Some(kind) = evidence::kind(name) else {
        let near = crate::model::source::nearest(name, KINDS.iter().map(|kind| kind.name));
        let hint = near.map_or(String::new(), |near| format!(", did you mean `{near}`?"));
        return Err(Mistyped(format!("there is no kind `{name}`{hint}")).into());
    };
    if terminal.json {
        terminal.document(&document(kind))?;
    } else {
        terminal.line(&page(kind, &terminal.style));
    }
    Ok(Exit::Fine)
}

fn document(kind: &Kind) -> serde_json::Value {
    json!({
        "name": kind.name, "look": kind.look, "summary": kind.summary, "docs": kind.docs,
        "default_expect": kind.default_expect, "attempts": kind.attempts, "example": kind.example_text,
        "keys": kind.keys.iter().map(|key| json!({
            "name": key.name, "takes": key.takes, "required": key.default.is_none(), "default": key.default,
            "meaning": key.meaning,
        })).collect::<Vec<_>>(),
        "measures": kind.measures.iter().map(|measure| json!({
            "name": measure.name, "type": measure.kind.name(), "unit": measure.unit, "meaning": measure.meaning,
        })).collect::<Vec<_>>(),
    })
}

/// The page of one kind: what it does, its keys, its measures, an example that works.
fn page(kind: &Kind, style: &Style) -> String {
    let head = |text: &str| style.paint(Paint::Strong, text);
    let mut out = vec![format!("{}  {}", head(kind.name), kind.summary), String::new(), kind.docs.trim().to_owned()];
    let attempts =
        if kind.attempts > 1 { format!("; looks {} times before it accuses", kind.attempts) } else { String::new() };
    out.push(format!("\nLook: {}{attempts}", text::look_name(kind.look)));
    out.push(format!("\n{}", head("Keys")));
    for key in kind.keys {
        let default = match key.default {
            None => "required".to_owned(),
            Some("") => "optional".to_owned(),
            Some(default) => format!("default {default}"),
        };
        out.push(format!("  {:<18} {} ({default}): {}", key.name, key.takes, key.meaning));
    }
    out.push(format!("\n{}", head("Measures")));
    for measure in kind.measures {
        out.push(format!("  {:<24} {}: {}", measure.name, measure.unit, measure.meaning));
    }
    if !kind.default_expect.is_empty() {
        out.push(format!("\n{}\n  {}", head("Expected unless said otherwise"), kind.default_expect.join("\n  ")));
    }
    out.push(format!("\n{}", head(&format!("Example (checks.d/{})", kind.example))));
    out.push(kind.example_text.trim_end().to_owned());
    style.plain(&out.join("\n"))
}
