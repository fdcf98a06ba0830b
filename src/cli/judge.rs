//! `houston judge`: evidence gathered elsewhere, weighed.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::json;

use super::{Exit, Terminal};
use crate::model::settings::Costs;
use crate::model::verdict::Decision;
use crate::report::style::{Paint, Style};
use crate::triage::judge::{Thresholds, Witness, judge, percent};

/// The largest input that is read.
const INPUT_LIMIT: u64 = 64 * 1024 * 1024;

/// One case. What else it holds (an expected verdict) is not read.
#[derive(Debug, Deserialize)]
struct Case {
    #[serde(default)]
    config: Costs,
    checks: Vec<Witness>,
}

pub fn run(terminal: &Terminal, file: &Path) -> anyhow::Result<Exit> {
    let text = read(file)?;
    let name = file.display();
    let cases: Vec<Case> = if text.trim_start().starts_with('[') {
        serde_json::from_str(&text).with_context(|| format!("{name} is not an array of cases"))?
    } else {
        vec![serde_json::from_str(&text).with_context(|| format!("{name} is not a case"))?]
    };
    let mut exit = Exit::Fine;
    for (number, case) in cases.iter().enumerate() {
        let thresholds = Thresholds::new(&case.config);
        if thresholds.low >= thresholds.prior || thresholds.prior >= thresholds.high {
            bail!(
                "case {}: with these costs the thresholds ({} and {}) don't lie around the prior ({})",
                number + 1,
                percent(thresholds.low),
                percent(thresholds.high),
                percent(thresholds.prior)
            );
        }
        let judgement = judge(&case.checks, &case.config);
        exit = exit.graver(Exit::of(judgement.decision));
        if terminal.json {
            terminal.document(&json!({
                "verdict": judgement.decision,
                "probability": judgement.probability,
                "power": judgement.power,
                "clean_looks": judgement.clean_looks,
                "reasons": judgement.reasons,
            }))?;
        } else {
            terminal.line(&human(&terminal.style, &judgement));
        }
    }
    Ok(exit)
}

fn human(style: &Style, judgement: &crate::triage::judge::Judgement) -> String {
    let decision: Decision = judgement.decision;
    let title = style.paint(Style::paint_of_decision(decision), decision.title());
    let figures = format!(
        "score {}, power {}, {} clean looks",
        percent(judgement.probability),
        percent(judgement.power),
        judgement.clean_looks
    );
    let reasons = judgement.reasons.join("; ");
    format!("{title}  {}  {}", style.paint(Paint::Faint, &figures), style.plain(&reasons))
}

/// The file's text, or that of standard input.
pub fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().take(INPUT_LIMIT).read_to_string(&mut text).context("standard input can't be read")?;
    } else {
        let opened = std::fs::File::open(file).with_context(|| format!("{} can't be read", file.display()))?;
        opened
            .take(INPUT_LIMIT)
            .read_to_string(&mut text)
            .with_context(|| format!("{} can't be read", file.display()))?;
    }
    Ok(text)
}
