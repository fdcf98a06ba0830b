//! `houston ticket`, `houston show`, `houston status`: what a running daemon knows.

use anyhow::bail;
use serde_json::Value;

use super::args::{CallBackAnswer, Cli, Ticket};
use super::{Exit, Mistyped, Terminal, context, triage};
use crate::daemon::status::Status;
use crate::model::callback::Answer;
use crate::model::encode::terminal as safe;
use crate::model::finding::Finding;
use crate::model::units::show_duration;
use crate::model::verdict::Verdict;
use crate::report::style::Paint;
use crate::report::text;

pub fn run(terminal: &Terminal, cli: &Cli, command: &Ticket) -> anyhow::Result<Exit> {
    let daemon = context::named_or_local_daemon(&cli.common)?;
    let runtime = context::runtime()?;
    match command {
        Ticket::List { limit } => {
            let page: Value =
                runtime.block_on(daemon.get(&format!("/api/v1/tickets?limit={limit}"))).map_err(anyhow::Error::msg)?;
            for ticket in page["tickets"].as_array().into_iter().flatten() {
                match terminal.json {
                    true => terminal.document(ticket)?,
                    false => terminal.line(&terminal.style.plain(&line(ticket))),
                }
            }
            Ok(Exit::Fine)
        }
        Ticket::Show { ticket, all } => {
            let document: Value = runtime
                .block_on(daemon.get(&format!("/api/v1/tickets/{}", path(ticket))))
                .map_err(anyhow::Error::msg)?;
            let Ok(verdict) = serde_json::from_value::<Verdict>(document["document"].clone()) else {
                match terminal.json {
                    true => terminal.document(&document)?,
                    false => terminal.line(&terminal.style.plain(&line(&document))),
                }
                return Ok(Exit::Unknown);
            };
            triage::show(terminal, &verdict, *all)?;
            Ok(Exit::of_verdict(&verdict))
        }
        Ticket::Callback { ticket, answer, note } => {
            let answer = match answer {
                CallBackAnswer::Fine => Answer::Fine,
                CallBackAnswer::StillBroken => Answer::StillBroken,
                CallBackAnswer::NoAnswer => Answer::NoAnswer,
            };
            let body = serde_json::json!({ "answer": answer, "note": note });
            let path = format!("/api/v1/tickets/{}/callback", path(ticket));
            let noted: Value = runtime.block_on(daemon.post(&path, &body)).map_err(anyhow::Error::msg)?;
            match terminal.json {
                true => terminal.document(&noted)?,
                false => {
                    let state = noted["callback"].as_str().unwrap_or("").replace('_', " ");
                    let number = noted["ticket"].as_str().unwrap_or("");
                    terminal.line(&terminal.style.plain(&safe(&format!("{number}: noted, {state}"))));
                }
            }
            Ok(Exit::Fine)
        }
        Ticket::Acknowledge { ticket, hold } => {
            let asked = serde_json::json!({ "for": hold });
            let answer: Value = runtime
                .block_on(daemon.post(&format!("/api/v1/tickets/{}/acknowledge", path(ticket)), &asked))
                .map_err(anyhow::Error::msg)?;
            match terminal.json {
                true => terminal.document(&answer)?,
                false => {
                    let until = safe(answer["until"].as_str().unwrap_or("-"));
                    terminal.line(&format!("{} is taken on until {until}", safe(ticket)));
                }
            }
            Ok(Exit::Fine)
        }
        Ticket::Retriage { ticket } => {
            let looked = async {
                let _: Value = daemon.post(&format!("/api/v1/tickets/{}/retriage", path(ticket)), &()).await?;
                // The old round's verdict stands in the history too: what counts is the state after the new one.
                loop {
                    let document: Value = daemon.get(&format!("/api/v1/tickets/{}", path(ticket))).await?;
                    if let Ok(verdict) = serde_json::from_value::<Verdict>(document["document"].clone()) {
                        return Ok::<_, String>(verdict);
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                }
            };
            let verdict = runtime.block_on(async {
                tokio::select! {
                    verdict = looked => verdict.map(Some),
                    _ = tokio::signal::ctrl_c() => Ok(None),
                }
            });
            let Some(verdict) = verdict.map_err(anyhow::Error::msg)? else {
                terminal.note(&format!("houston: interrupted; {} goes on", safe(ticket)));
                return Ok(Exit::Interrupted);
            };
            triage::show(terminal, &verdict, false)?;
            Ok(Exit::of_verdict(&verdict))
        }
    }
}

fn path(ticket: &str) -> String {
    crate::model::encode::url_segment(ticket)
}

fn line(ticket: &Value) -> String {
    let text = |name: &str| safe(ticket[name].as_str().unwrap_or("-"));
    let verdict = ticket["verdict"].as_str().map_or("running".to_owned(), |verdict| verdict.replace('_', " "));
    format!("{:<8} {verdict:<9} {:<12} {}  {}", text("ticket"), text("customer"), text("accepted_at"), text("title"))
}

/// `houston show T-1` and `houston show T-1#3`.
pub fn show(terminal: &Terminal, cli: &Cli, what: &str) -> anyhow::Result<Exit> {
    let (ticket, number) = match what.split_once('#') {
        None => (what, None),
        Some((ticket, number)) => match number.parse::<usize>() {
            Ok(number) if number > 0 => (ticket, Some(number)),
            _ => return Err(Mistyped(format!("`{what}` is not a piece of evidence (T-1#3)")).into()),
        },
    };
    let Some(number) = number else {
        return run(terminal, cli, &Ticket::Show { ticket: ticket.to_owned(), all: true });
    };
    let daemon = context::named_or_local_daemon(&cli.common)?;
    let asked = format!("/api/v1/tickets/{}", path(ticket));
    let document: Value = context::runtime()?.block_on(daemon.get(&asked)).map_err(anyhow::Error::msg)?;
    let finding = &document["document"]["findings"][number - 1];
    let Ok(finding) = serde_json::from_value::<Finding>(finding.clone()) else {
        bail!("{ticket} has no evidence #{number}");
    };
    if terminal.json {
        terminal.document(&finding)?;
    } else {
        terminal.line(&text::finding(&finding, &terminal.style));
    }
    Ok(Exit::of_outcome(finding.outcome))
}

pub fn status(terminal: &Terminal, cli: &Cli) -> anyhow::Result<Exit> {
    let daemon = context::named_or_local_daemon(&cli.common)?;
    let status: Status = context::runtime()?.block_on(daemon.get("/api/v1/status")).map_err(anyhow::Error::msg)?;
    if terminal.json {
        terminal.document(&status)?;
    } else {
        let up = show_duration(std::time::Duration::from_secs(status.up_seconds));
        terminal.line(&format!("houston {}   up {up}", status.version));
        terminal.line(&format!("checks     {} in force, generation {}", status.checks, status.generation));
        terminal.line(&format!("tickets    {} without a verdict, {} overdue", status.open_cases, status.overdue.len()));
        terminal.line(&format!("outbox     {} waiting", status.queue));
        for trouble in status.troubles.iter().chain(&status.faults) {
            let mark = terminal.style.paint(Paint::Odd, "!");
            terminal.line(&format!("{mark} {}", terminal.style.plain(&safe(trouble))));
        }
    }
    Ok(match status.is_well() {
        true => Exit::Fine,
        false if status.broken => Exit::Issue,
        false => Exit::Doubtful,
    })
}
