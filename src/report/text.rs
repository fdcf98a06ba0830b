//! Verdicts and findings for people at a terminal: the verdict first, then why, then what to do next.

use std::time::Duration;

use crate::model::encode::{terminal, terminal_lines};
use crate::model::finding::Finding;
use crate::model::look::{Look, Outcome, Relation};
use crate::model::units::show_duration;
use crate::model::verdict::{CurrentState, Decision, Scope, Verdict};

use super::style::{Paint, Style};

/// Findings that are not good are shown up to this many, unless everything is asked for.
const SHOWN: usize = 6;
/// Lines of an excerpt that are shown.
const EXCERPT_LINES: usize = 4;

/// The name of a look on screen.
pub fn look_name(look: Look) -> &'static str {
    match look {
        Look::UseCase => "use case",
        other => other.name(),
    }
}

/// What the ticket is about, in one line.
pub fn ticket_line(verdict: &Verdict, style: &Style) -> String {
    let ticket = &verdict.ticket;
    let dot = style.dot();
    let mut facts = Vec::new();
    if let Some(customer) = &ticket.customer {
        facts.push(terminal(customer.raw()));
    }
    facts.push(services(verdict));
    let (from, to) = (verdict.window.from.strftime("%H:%M"), verdict.window.to.strftime("%H:%M UTC"));
    facts.push(format!("{from}{}{to}", if style.ascii { "-" } else { "–" }));
    facts.push(format!("deadline {}", show_duration(Duration::from_millis(verdict.deadline_ms))));
    let name = ticket.number.clone().unwrap_or_else(|| terminal(&ticket.id));
    let title = style.crop(&terminal(ticket.title.raw()), 60);
    let room = style.width.saturating_sub(name.chars().count() + title.chars().count() + 5).max(20);
    let facts = style.crop(&facts.join(dot), room);
    format!("{}  {title}   {}", style.paint(Paint::Strong, &name), style.paint(Paint::Faint, &facts))
}

fn services(verdict: &Verdict) -> String {
    let ticket = &verdict.ticket;
    if ticket.services.is_empty() {
        return "no known service".to_owned();
    }
    let named: Vec<String> = ticket
        .services
        .iter()
        .zip(ticket.services_from.iter().map(String::as_str).chain(std::iter::repeat("named")))
        .map(|(name, how)| if how == "named" { name.clone() } else { format!("{name} ({how})") })
        .collect();
    format!("service {}", named.join(", "))
}

/// A line a look: its worst outcome, how many of its checks, and what they say.
pub fn look_rows(verdict: &Verdict, style: &Style) -> Vec<String> {
    Look::ALL.iter().map(|look| look_row(verdict, *look, style)).collect()
}

fn look_row(verdict: &Verdict, look: Look, style: &Style) -> String {
    let findings: Vec<(usize, &Finding)> = verdict
        .findings
        .iter()
        .enumerate()
        .filter(|(_, f)| f.look == look && f.outcome != Outcome::NotApplicable)
        .collect();
    let Some(outcome) = verdict.coverage.looks.get(&look).copied() else {
        let left_out = verdict.findings.iter().find(|f| f.look == look);
        let why = left_out
            .and_then(|f| f.unknown.as_ref())
            .map_or("no check applies".to_owned(), |u| format!("could not be tried: {}", terminal(&u.why)));
        let row = format!("- {:<9} {}", look_name(look), style.crop(&why, style.width.saturating_sub(14)));
        return format!("  {}", style.paint(Paint::Faint, &row));
    };
    let of = |wanted: Outcome| findings.iter().filter(|(_, f)| f.outcome == wanted).count();
    let count = match outcome {
        Outcome::Bad => format!("{} of {} fail", of(Outcome::Bad), findings.len()),
        Outcome::Odd => format!("{} of {} unclear", of(Outcome::Odd), findings.len()),
        Outcome::Unknown => format!("{} of {} no answer", of(Outcome::Unknown), findings.len()),
        _ => format!("{} of {} fine", of(Outcome::Good), findings.len()),
    };
    let (number, worst) = match findings.iter().find(|(_, f)| f.outcome == outcome) {
        Some((index, finding)) => (format!("#{}", index + 1), finding_words(finding)),
        None => (String::new(), String::new()),
    };
    let took = findings.iter().map(|(_, f)| f.took_ms).max().unwrap_or(0);
    let took = style.plain(&show_duration(Duration::from_millis(took)));
    let room = style.width.saturating_sub(2 + 2 + 10 + 17 + 4 + 9);
    let words = style.crop(&words_of(&worst), room);
    let symbol = style.paint(Style::paint_of(outcome), style.symbol(outcome));
    format!("  {symbol} {:<9} {count:<16} {words:<room$} {number:>3} {took:>8}", look_name(look)).trim_end().to_owned()
}

fn words_of(text: &str) -> String {
    terminal(text)
}

/// A finding in words: its check, and what it says.
fn finding_words(finding: &Finding) -> String {
    let subject = if finding.relation == Relation::Customer { " (this customer)" } else { "" };
    format!("{}{subject}: {}", finding.check, finding.headline())
}

/// The sentence that answers the question.
pub fn answer(verdict: &Verdict) -> String {
    let service = match verdict.ticket.services.as_slice() {
        [] => "the service".to_owned(),
        names => names.join(", "),
    };
    let customer = verdict.ticket.customer.as_ref().map(|customer| terminal(customer.raw()));
    match verdict.decision {
        Decision::Issue => {
            let who = match (verdict.scope, &customer) {
                (Scope::Customer, Some(customer)) => format!("for {customer} alone"),
                (Scope::Everyone, _) => "for everyone".to_owned(),
                (Scope::UseCase, _) => "in this use case".to_owned(),
                (Scope::Region, _) => "in a region".to_owned(),
                _ => "for some".to_owned(),
            };
            match verdict.current_state {
                CurrentState::Recovered => format!("it is ours: {service} was failing {who}, and works now"),
                CurrentState::Intermittent { failed, tried } => {
                    format!("it is ours: {service} fails {who}, {failed} of {tried} times")
                }
                _ => format!("it is ours: {service} is failing {who}"),
            }
        }
        Decision::NoIssue => {
            let own = verdict.findings.iter().any(|f| f.own && f.outcome == Outcome::Good && f.look == Look::UseCase);
            let tried = match (&customer, own) {
                (Some(customer), true) => format!(", and {customer}'s own use case works"),
                (None, true) => ", and its use case works".to_owned(),
                _ => String::new(),
            };
            format!("nothing of ours is failing for {service}{tried}")
        }
        Decision::Doubtful => format!("we can't tell whether {service} has an issue: a human must look"),
    }
}

/// The verdict with its evidence.
pub fn verdict(verdict: &Verdict, style: &Style, all: bool) -> String {
    let mut out = Vec::new();
    let title = style.paint(Style::paint_of_decision(verdict.decision), verdict.decision.title());
    out.push(format!("{title}  {}", style.plain(&answer(verdict))));
    let label = |name: &str| style.paint(Paint::Faint, &format!("{name:<14}"));
    let wide = style.width.saturating_sub(16);
    for (index, reason) in verdict.reasons.iter().take(if all { usize::MAX } else { 8 }).enumerate() {
        let name = if index == 0 { "why" } else { "" };
        out.extend(wrapped(&label(name), &style.plain(&terminal(reason)), wide));
    }
    let telling = verdict.findings.iter().enumerate().filter(|(index, finding)| {
        let told = |other: &Finding| other.check == finding.check && other.headline() == finding.headline();
        let repeats = verdict.findings[..*index].last().is_some_and(told);
        let tells = matches!(finding.outcome, Outcome::Bad | Outcome::Odd | Outcome::Unknown);
        all || (tells && !repeats && !finding.is_dispensable())
    });
    let total = telling.clone().count();
    for (position, (index, finding)) in telling.take(if all { usize::MAX } else { SHOWN }).enumerate() {
        let name = if position == 0 { "evidence" } else { "" };
        out.push(format!("  {}{}", label(name), evidence_line(index, finding, style, wide)));
        if matches!(finding.outcome, Outcome::Bad | Outcome::Unknown) || all {
            out.extend(evidence_details(finding, style, wide));
        }
    }
    if total > SHOWN && !all {
        out.push(format!("  {}and {} more", label(""), total - SHOWN));
    }
    for (index, line) in verdict.coverage.not_looked_at.iter().enumerate() {
        out.extend(wrapped(&label(if index == 0 { "not looked at" } else { "" }), &style.plain(line), wide));
    }
    for (index, question) in verdict.questions.iter().enumerate() {
        out.extend(wrapped(&label(if index == 0 { "ask" } else { "" }), &style.plain(&terminal(question)), wide));
    }
    for (index, step) in verdict.next.iter().enumerate() {
        out.extend(wrapped(&label(if index == 0 { "next" } else { "" }), &style.plain(&terminal(step)), wide));
    }
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    out.push(style.paint(
        Paint::Faint,
        &style.plain(&format!(
            "{} in {}: score {}, power {}, {} of {} checks answered, now {}",
            if verdict.phase == crate::model::verdict::Phase::Early { "early verdict" } else { "verdict" },
            show_duration(Duration::from_millis(verdict.took_ms)),
            percent(verdict.probability),
            percent(verdict.power),
            verdict.coverage.checks_answered,
            verdict.coverage.checks_planned,
            verdict.current_state,
        )),
    ));
    out.join("\n")
}

fn evidence_line(index: usize, finding: &Finding, style: &Style, wide: usize) -> String {
    let symbol = style.paint(Style::paint_of(finding.outcome), style.symbol(finding.outcome));
    let odds = if finding.weight.abs() >= 0.01 { format!("   {}", finding.odds) } else { String::new() };
    let room = wide.saturating_sub(6 + odds.chars().count());
    let words = style.crop(&words_of(&finding_words(finding)), room);
    format!("#{:<2} {symbol} {words}{}", index + 1, style.paint(Paint::Faint, &odds))
}

fn evidence_details(finding: &Finding, style: &Style, wide: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let indent = " ".repeat(22);
    let room = wide.saturating_sub(6);
    if let Some(excerpt) = &finding.excerpt {
        for line in terminal_lines(excerpt).lines().filter(|line| !line.trim().is_empty()).take(EXCERPT_LINES) {
            let bar = if style.ascii { "|" } else { "│" };
            lines.push(format!("{indent}{} {}", style.paint(Paint::Faint, bar), style.crop(line, room)));
        }
    }
    for note in &finding.notes {
        lines.push(format!("{indent}{}", style.crop(&terminal(note), room)));
    }
    if let Some(picture) = &finding.picture {
        lines.push(format!("{indent}screenshot: {}", style.plain(&terminal(picture))));
    }
    if let Some(reproduce) = &finding.reproduce {
        // Never cropped: it is there to be copied.
        lines.push(format!("{indent}{}", style.paint(Paint::Faint, &style.plain(&terminal(reproduce)))));
    }
    lines
}

/// One finding on its own, as `check run` shows it.
pub fn finding(finding: &Finding, style: &Style) -> String {
    let symbol = style.paint(Style::paint_of(finding.outcome), style.symbol(finding.outcome));
    let mut out = vec![format!(
        "{symbol} {}   {}{}{}   {}",
        style.paint(Paint::Strong, &finding.check),
        look_name(finding.look),
        style.dot(),
        finding.outcome.name(),
        style.paint(Paint::Faint, &show_duration(Duration::from_millis(finding.took_ms)))
    )];
    for (name, value) in finding.observed.iter() {
        out.push(format!("  {name:<26} {}", style.crop(&terminal(&value.show(200)), style.width.saturating_sub(29))));
    }
    for broken in &finding.failed {
        let symbol = if broken.odd { style.symbol(Outcome::Odd) } else { style.symbol(Outcome::Bad) };
        out.push(format!("  {symbol} {}", style.plain(&terminal(&broken.that))));
        out.push(format!("    actual: {}", style.plain(&terminal(&broken.actual))));
        out.push(format!("    at:     {}", broken.at));
        if let Some(note) = &broken.note {
            out.push(format!("    note:   {}", style.plain(&terminal(note))));
        }
    }
    for held in &finding.held {
        out.push(format!("  {} {}", style.symbol(Outcome::Good), style.plain(&terminal(held))));
    }
    if let Some(fault) = &finding.fault {
        out.push(format!("  failed at {}: {}", fault.phase.name(), style.plain(&terminal(&fault.what))));
    }
    if let Some(unknown) = &finding.unknown {
        out.push(format!("  {}: {}", unknown.kind.name(), style.plain(&terminal(&unknown.why))));
    }
    out.extend(
        evidence_details(&Finding { notes: finding.notes.clone(), ..finding.clone() }, style, style.width)
            .into_iter()
            .map(|line| format!("  {}", line.trim_start())),
    );
    out.join("\n")
}

/// A label, then text in lines of at most `wide` columns, broken at spaces.
fn wrapped(label: &str, text: &str, wide: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        // A unit never stands alone at the beginning of a line.
        let fits = line.chars().count() + 1 + word.chars().count() <= wide.max(20);
        if !line.is_empty() && !fits && !word.starts_with('%') {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
        .into_iter()
        .enumerate()
        .map(|(index, line)| if index == 0 { format!("  {label}{line}") } else { format!("  {:<14}{line}", "") })
        .collect()
}
