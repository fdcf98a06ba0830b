//! The Test Anything Protocol, versions 12 to 14 (<https://testanything.org/tap-version-14-specification.html>).
//!
//! The tests of the outermost level are the steps; one that fails is named together with the subtest that failed in it.

use super::report::{Ended, Report, STEPS, Step, seconds};

/// Reads a stream.
///
/// # Errors
/// It is none.
pub(super) fn read(text: &str) -> Result<Report, String> {
    let mut report = Report::default();
    let mut plan: Option<usize> = None;
    // The first subtest that failed since the last test of the outermost level.
    let mut inner: Option<String> = None;
    let mut in_yaml = false;
    for line in text.trim_start_matches('\u{feff}').lines() {
        let nested = line.starts_with([' ', '\t']);
        let line = line.trim_end();
        if in_yaml {
            in_yaml = line != "  ...";
            if let Some(step) = report.steps.last_mut() {
                diagnose(step, line.trim());
            }
        } else if nested {
            // The block of a test is indented by two, subtests by four.
            if line == "  ---" {
                in_yaml = !report.steps.is_empty();
            } else if let Some(step) = test(line.trim_start())
                && step.ended == Ended::Failed
            {
                inner.get_or_insert(step.name);
            }
        } else if let Some(mut step) = test(line) {
            if report.steps.len() == STEPS {
                report.incomplete = Some(format!("it ran more than {STEPS} tests"));
                return Ok(report);
            }
            if let Some(inner) = inner.take()
                && step.ended == Ended::Failed
            {
                step.name = format!("{} › {inner}", step.name);
            }
            report.steps.push(step);
        } else if let Some(range) = line.strip_prefix("1..") {
            let count = range.split_whitespace().next().unwrap_or_default();
            if plan.is_some() {
                return Err("it printed no TAP: there are two plans".to_owned());
            }
            plan = Some(count.parse().map_err(|_| format!("it printed no TAP: the plan `{line}` is none"))?);
        } else if let Some(why) = line.strip_prefix("Bail out!") {
            let why = Step::new(why, Ended::Broke).name;
            report.incomplete = Some(format!("it gave up: {}", if why.is_empty() { "without a reason" } else { &why }));
            return Ok(report);
        }
    }
    report.incomplete = match plan {
        None if report.steps.is_empty() => return Err("it printed no TAP: neither a plan nor a test".to_owned()),
        None => Some("its plan is missing: nobody can tell whether all of its tests ran".to_owned()),
        Some(0) => Some("it planned no test".to_owned()),
        Some(plan) if plan != report.steps.len() => {
            Some(format!("it planned {plan} tests and ran {}", report.steps.len()))
        }
        Some(_) => None,
    };
    Ok(report)
}

/// A test line: `not ok 3 - pays # TODO later`.
fn test(line: &str) -> Option<Step> {
    let (passed, rest) = match line.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok")?),
    };
    if !rest.is_empty() && !rest.starts_with(' ') {
        return None;
    }
    let (described, directive) = rest.split_once(" #").unwrap_or((rest, ""));
    let word = directive.trim_start().get(..4).unwrap_or_default().to_ascii_uppercase();
    let ended = match (passed, word.as_str()) {
        (_, "SKIP") => Ended::Skipped,
        // What is still to be done may fail; its author knows.
        (false, "TODO") => Ended::Skipped,
        (true, _) => Ended::Passed,
        (false, _) => Ended::Failed,
    };
    let described = described.trim();
    let name = described.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
    let name = name.strip_prefix("- ").unwrap_or(name).trim_start_matches('-').trim();
    Some(Step::new(if name.is_empty() { described } else { name }, ended))
}

/// A line of the block below a test: its duration, and why it failed.
fn diagnose(step: &mut Step, line: &str) {
    let Some((key, value)) = line.split_once(':') else { return };
    let value = value.trim().trim_matches(['\'', '"']);
    match key {
        "duration_ms" => step.seconds = seconds(value).map(|milliseconds| milliseconds / 1000.0),
        "message" | "error" if step.message.is_empty() && !value.starts_with(['|', '>']) => {
            *step = step.clone().message(value);
        }
        _ => {}
    }
}
