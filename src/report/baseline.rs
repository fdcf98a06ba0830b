//! What a sampled check usually shows, drawn for a terminal: a day as a row of bars, and the band that is usual now.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::style::{Paint, Style};
use crate::model::encode::terminal as safe;
use crate::model::history::{Account, MeasureAccount};
use crate::model::units::show_duration;
use crate::model::value::show_number;

/// Columns of the longest bar.
const BAR: usize = 32;
/// Eighths of a column.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// What one hour of the day showed, over all days.
#[derive(Debug, Clone, Copy, PartialEq)]
struct OfDay {
    low: f64,
    median: f64,
    high: f64,
    days: usize,
}

/// The account of a check.
pub fn text(account: &Account, style: &Style) -> String {
    let mut lines = Vec::new();
    let every = match account.every_seconds.and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok()) {
        Some(every) => format!("sampled every {}", show_duration(every)),
        None => "not sampled: it has no `every`".to_owned(),
    };
    lines.push(format!("{}  {every}", style.paint(Paint::Strong, &safe(&account.check))));
    if account.measures.is_empty() {
        lines.push("  nothing is known yet: an hour is summed up when it is over".to_owned());
    }
    for (name, measure) in &account.measures {
        lines.push(String::new());
        lines.extend(of_measure(name, measure, account.at, style));
    }
    style.plain(&lines.join("\n"))
}

fn of_measure(name: &str, measure: &MeasureAccount, at: Timestamp, style: &Style) -> Vec<String> {
    let hour = |at: Timestamp| at.to_zoned(TimeZone::UTC).hour();
    let now = hour(at);
    let mut by_hour: BTreeMap<i8, Vec<&[f64]>> = BTreeMap::new();
    for known in &measure.hours {
        by_hour.entry(hour(known.start)).or_default().push(&known.spread.points);
    }
    let days: BTreeMap<i8, OfDay> =
        by_hour.into_iter().filter_map(|(hour, points)| Some((hour, of_day(&points)?))).collect();
    let highest = days.values().map(|day| day.high.abs()).fold(0.0, f64::max);
    let mut lines = vec![format!("  {}", style.paint(Paint::Strong, &safe(name)))];
    for (hour, day) in &days {
        let bar = bar(day.median, highest, style);
        let here = if *hour == now { "  now" } else { "" };
        lines.push(
            format!(
                "  {hour:02} UTC  {bar}  {:>9}   {} to {}, {} {}{here}",
                show_number(day.median),
                show_number(day.low),
                show_number(day.high),
                day.days,
                if day.days == 1 { "day" } else { "days" }
            )
            .trim_end()
            .to_owned(),
        );
    }
    lines.push(match (measure.low, measure.high, measure.enough_at) {
        (_, _, Some(enough_at)) => format!(
            "  usual at {now:02} UTC: not known before {} ({} of 3 days)",
            enough_at.strftime("%Y-%m-%d %H:%M UTC"),
            measure.comparable
        ),
        (Some(low), Some(high), None) => format!(
            "  usual at {now:02} UTC: {} to {} (from {} such hours)",
            show_number(low),
            show_number(high),
            measure.comparable
        ),
        (None, Some(high), None) => {
            format!("  usual at {now:02} UTC: up to {} (from {} such hours)", show_number(high), measure.comparable)
        }
        (_, None, None) => format!("  usual at {now:02} UTC: it never varies, which says nothing"),
    });
    lines
}

fn of_day(hours: &[&[f64]]) -> Option<OfDay> {
    let mut values: Vec<f64> = hours.iter().flat_map(|points| points.iter().copied()).collect();
    values.sort_by(f64::total_cmp);
    Some(OfDay {
        low: *values.first()?,
        median: *values.get(values.len() / 2)?,
        high: *values.last()?,
        days: hours.len(),
    })
}

fn bar(value: f64, highest: f64, style: &Style) -> String {
    let share = if highest > 0.0 { (value.abs() / highest).clamp(0.0, 1.0) } else { 0.0 };
    let eighths = (share * (BAR * 8) as f64).round() as usize;
    let bar = if style.ascii {
        "#".repeat(eighths / 8)
    } else {
        "█".repeat(eighths / 8) + EIGHTHS.get(eighths % 8).copied().unwrap_or_default()
    };
    let room = BAR.saturating_sub(bar.chars().count());
    style.paint(Paint::Faint, &bar) + &" ".repeat(room)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::history::{Hour, Spread};

    fn account() -> Account {
        let hour = |start: &str, values: Vec<f64>| Hour { start: start.parse().unwrap(), spread: Spread::of(values) };
        let known = MeasureAccount {
            hours: vec![
                hour("2026-11-19T09:00:00Z", vec![0.25, 0.5, 1.0]),
                hour("2026-11-20T09:00:00Z", vec![0.5]),
                hour("2026-11-20T10:00:00Z", vec![0.125]),
            ],
            comparable: 3,
            low: None,
            high: Some(1.5),
            enough_at: None,
        };
        let young =
            MeasureAccount { comparable: 1, enough_at: "2026-11-24T09:00:00Z".parse().ok(), ..Default::default() };
        Account {
            check: "front\u{1b}[2J".to_owned(),
            every_seconds: Some(60.0),
            at: "2026-11-22T09:41:00Z".parse().unwrap(),
            measures: [("duration_seconds".to_owned(), known), ("status".to_owned(), young)].into(),
        }
    }

    #[test]
    fn a_day_is_drawn_with_the_band_that_is_usual() {
        let shown = text(&account(), &Style { ascii: true, ..Style::default() });
        let bars: Vec<&str> = shown.lines().filter(|line| line.contains(" UTC  ")).collect();
        assert_eq!(bars.len(), 2, "{shown}");
        assert!(
            bars[0].starts_with("  09 UTC  ################   ") && bars[0].ends_with("0.25 to 1, 2 days  now"),
            "{shown}"
        );
        assert!(bars[1].starts_with("  10 UTC  ####   ") && bars[1].ends_with("0.125 to 0.125, 1 day"), "{shown}");
        assert!(shown.contains("usual at 09 UTC: up to 1.5 (from 3 such hours)"), "{shown}");
        assert!(shown.contains("not known before 2026-11-24 09:00 UTC (1 of 3 days)"), "{shown}");
        assert!(!shown.contains('\u{1b}') && shown.is_ascii(), "{shown}");
    }

    #[test]
    fn what_was_never_sampled_says_so() {
        let account = Account { every_seconds: None, measures: BTreeMap::new(), ..account() };
        let shown = text(&account, &Style::default());
        assert!(shown.contains("it has no `every`") && shown.contains("nothing is known yet"), "{shown}");
    }
}
