//! `houston triage`: one ticket, now. Without a daemon it never acts; it says what a daemon would do.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use super::args::{Cli, Triage};
use super::context::{self, Context};
use super::progress::{Mode, Progress};
use super::{Exit, Mistyped, Terminal, judge, when};
use crate::model::case::Event;
use crate::model::text::Untrusted;
use crate::model::ticket::Report;
use crate::model::units::parse_duration;
use crate::model::verdict::Verdict;
use crate::net::daemon::Daemon;
use crate::report::text;
use crate::response::next_steps;
use crate::triage::{self, Setting};

pub fn run(terminal: &Terminal, cli: &Cli, args: &Triage) -> anyhow::Result<Exit> {
    let report = report(args)?;
    let deadline = match &args.deadline {
        Some(text) => Some(parse_duration(text).map_err(Mistyped)?),
        None => None,
    };
    let verdict = match &cli.common.server {
        Some(_) if deadline.is_some() => {
            return Err(Mistyped("`--deadline` is the daemon's own where `--server` names one".to_owned()).into());
        }
        Some(server) => {
            let daemon = context::daemon(&cli.common, server)?;
            match context::runtime()?.block_on(interruptible(terminal, &daemon, &report))? {
                Some(verdict) => verdict,
                None => return Ok(Exit::Interrupted),
            }
        }
        None => match local(terminal, cli, report, deadline)? {
            Some(verdict) => verdict,
            None => return Ok(Exit::Interrupted),
        },
    };
    show(terminal, &verdict, args.all)?;
    let exit = Exit::of_verdict(&verdict);
    Ok(if args.exit_zero && exit.code() <= 2 { Exit::Fine } else { exit })
}

/// The verdict as it was asked for: a document, or text.
pub fn show(terminal: &Terminal, verdict: &Verdict, all: bool) -> anyhow::Result<()> {
    if terminal.json {
        return terminal.document(verdict);
    }
    terminal.line(&text::ticket_line(verdict, &terminal.style));
    for row in text::look_rows(verdict, &terminal.style) {
        terminal.line(&row);
    }
    terminal.line("");
    terminal.line(&text::verdict(verdict, &terminal.style, all));
    Ok(())
}

/// The ticket that was typed, or that stands in a file.
fn report(args: &Triage) -> anyhow::Result<Report> {
    let mut report = match &args.file {
        Some(file) => {
            let text = judge::read(file)?;
            serde_json::from_str::<Report>(&text).with_context(|| format!("{} is not a ticket", file.display()))?
        }
        None => Report { source: Some("cli".to_owned()), ..Report::default() },
    };
    match args.text.as_deref() {
        Some("-") => report.text = Some(Untrusted::new(judge::read(Path::new("-"))?)),
        Some(text) => report.title = Some(text.into()),
        None => {}
    }
    report.services.extend(args.service.iter().cloned());
    if let Some(customer) = &args.customer {
        report.customer = Some(customer.as_str().into());
    }
    let now = super::now();
    if let Some(text) = &args.since {
        report.since = Some(when::parse(text, &now).map_err(Mistyped)?);
    }
    if let Some(text) = &args.until {
        report.until = Some(when::until(text, report.since, &now).map_err(Mistyped)?);
    }
    for (name, value) in pairs(&args.params)? {
        report.params.insert(name, value.into());
    }
    Ok(report)
}

/// `NAME=VALUE`, as often as it was given.
pub fn pairs(given: &[String]) -> Result<BTreeMap<String, String>, Mistyped> {
    given
        .iter()
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(Mistyped(format!("`{pair}` is not NAME=VALUE"))),
        })
        .collect()
}

/// A triage in this process. `None` where it was interrupted.
fn local(
    terminal: &Terminal,
    cli: &Cli,
    report: Report,
    deadline: Option<Duration>,
) -> anyhow::Result<Option<Verdict>> {
    let context = Context::load(terminal, &cli.common)?;
    let now = super::now().timestamp();
    let ticket = report.accept(now, "1").map_err(|error| Mistyped(error.to_string()))?;
    let mut settings = context.config.triage;
    settings.deadline = deadline.unwrap_or(settings.deadline);
    let runtime = context::runtime()?;
    let looks = context::looks_runtime()?;
    let setting = Setting {
        checks: Arc::new(context.checks.clone()),
        catalog: Arc::new(context.config.catalog.clone()),
        settings,
        runner: triage::Runner { tools: Arc::new(context.tools()?), memory: Arc::default(), looks: looks.handle()? },
    };
    let progress = progress(terminal, settings.deadline);
    let round = runtime.block_on(async {
        let told = progress.clone();
        let triage = triage::run(&ticket, None, 1, &setting, now, move |event: Event| told.tell(&event));
        tokio::select! {
            round = triage => Some(round),
            () = progress.animate() => None,
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    progress.clear();
    let Some(round) = round else {
        terminal.note("houston: interrupted; nothing was sent");
        return Ok(None);
    };
    let mut verdict = round.verdict;
    verdict.next = next_steps::next(&verdict, &context.config.catalog, &[]);
    Ok(Some(verdict))
}

/// How progress is shown for this terminal.
pub fn progress(terminal: &Terminal, deadline: Duration) -> Progress {
    let mode = match (terminal.live, terminal.json) {
        (true, _) => Mode::Live,
        (false, true) => Mode::Silent,
        (false, false) => Mode::Lines,
    };
    Progress::new(terminal.progress_style, mode, deadline)
}

/// A triage by a daemon: the ticket is filed there, and its events are followed.
pub async fn remote(terminal: &Terminal, daemon: &Daemon, report: &Report) -> anyhow::Result<Verdict> {
    let filed = daemon.file(report).await.map_err(anyhow::Error::msg)?;
    follow(terminal, daemon, &filed).await
}

/// The same for somebody who may lose patience. `None` where the waiting was interrupted: a ticket that was filed
/// stands, and has its verdict in time.
async fn interruptible(terminal: &Terminal, daemon: &Daemon, report: &Report) -> anyhow::Result<Option<Verdict>> {
    let filed = tokio::select! {
        filed = daemon.file(report) => filed.map_err(anyhow::Error::msg)?,
        _ = tokio::signal::ctrl_c() => {
            terminal.note("houston: interrupted; the ticket may have been filed all the same: houston ticket list");
            return Ok(None);
        }
    };
    tokio::select! {
        verdict = follow(terminal, daemon, &filed) => verdict.map(Some),
        _ = tokio::signal::ctrl_c() => {
            terminal.note(&format!("houston: interrupted; {filed} goes on: houston ticket show {filed}"));
            Ok(None)
        }
    }
}

async fn follow(terminal: &Terminal, daemon: &Daemon, filed: &str) -> anyhow::Result<Verdict> {
    let progress = progress(terminal, Duration::from_secs(60));
    let told = progress.clone();
    let followed = tokio::select! {
        verdict = daemon.follow(filed, move |event| told.tell(event)) => verdict,
        () = progress.animate() => Err("the display ended".to_owned()),
    };
    progress.clear();
    followed.map_err(anyhow::Error::msg)
}
