//! The looks while they run: five rows that are redrawn on a terminal, a line a look elsewhere.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::case::Event;
use crate::model::encode::terminal;
use crate::model::finding::Finding;
use crate::model::look::{Look, Outcome};
use crate::model::units::show_duration;
use crate::report::style::{Paint, Style};
use crate::report::text::look_name;

/// How often the rows are redrawn.
const FRAME: Duration = Duration::from_millis(100);
/// The longest deadline that is shown.
const LONGEST: Duration = Duration::from_secs(3_600);

#[derive(Debug, Default)]
struct Row {
    planned: usize,
    answered: usize,
    worst: Option<(Outcome, String)>,
    ended: Option<Duration>,
}

#[derive(Debug)]
struct State {
    rows: BTreeMap<Look, Row>,
    started: Instant,
    deadline: Duration,
    drawn: bool,
    frame: usize,
}

/// Shows progress on standard error; nothing at all where it is not wanted.
#[derive(Debug, Clone)]
pub struct Progress {
    state: Arc<Mutex<State>>,
    style: Style,
    mode: Mode,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Redrawn rows.
    Live,
    /// A line per look, when it has ended.
    Lines,
    Silent,
}

impl Progress {
    pub fn new(style: Style, mode: Mode, deadline: Duration) -> Self {
        let state = State { rows: BTreeMap::new(), started: Instant::now(), deadline, drawn: false, frame: 0 };
        let progress = Progress { state: Arc::new(Mutex::new(state)), style, mode };
        progress.draw();
        progress
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what happened.
    pub fn tell(&self, event: &Event) {
        let mut state = self.lock();
        let (elapsed, deadline) = (state.started.elapsed(), state.deadline);
        match event {
            Event::Ticket { planned, deadline_at, .. } => {
                // A daemon has a deadline of its own. Its clock may be another one: nothing beyond reason is believed.
                let left = Duration::try_from(deadline_at.duration_since(super::clock())).unwrap_or_default();
                state.deadline = elapsed + left.clamp(Duration::from_secs(1), LONGEST);
                for (look, planned) in planned {
                    state.rows.insert(*look, Row { planned: *planned, ..Row::default() });
                }
            }
            Event::Finding { finding } => {
                let row = state.rows.entry(finding.look).or_default();
                row.answered += 1;
                row.planned = row.planned.max(row.answered);
                note(row, finding);
                if row.answered == row.planned {
                    row.ended = Some(elapsed);
                    if self.mode == Mode::Lines {
                        let line = self.row(finding.look, row, elapsed, deadline, 0);
                        drop(state);
                        write(&format!("{line}\n"));
                    }
                }
            }
            _ => {}
        }
    }

    /// Redraws until it is dropped; to be run beside the triage.
    pub async fn animate(&self) {
        loop {
            tokio::time::sleep(FRAME).await;
            self.draw();
        }
    }

    /// Takes the rows off the screen again, for the report to stand in their place.
    pub fn clear(&self) {
        let mut state = self.lock();
        if self.mode == Mode::Live && state.drawn {
            write(&format!("\u{1b}[{}A\u{1b}[J", Look::ALL.len()));
            state.drawn = false;
        }
    }

    fn draw(&self) {
        if self.mode != Mode::Live {
            return;
        }
        let mut state = self.lock();
        state.frame += 1;
        let elapsed = state.started.elapsed();
        let mut text = if state.drawn { format!("\u{1b}[{}A", Look::ALL.len()) } else { String::new() };
        for look in Look::ALL {
            let empty = Row::default();
            let row = state.rows.get(&look).unwrap_or(&empty);
            text.push_str(&self.row(look, row, elapsed, state.deadline, state.frame));
            text.push_str("\u{1b}[K\n");
        }
        state.drawn = true;
        write(&text);
    }

    fn row(&self, look: Look, row: &Row, elapsed: Duration, deadline: Duration, frame: usize) -> String {
        let style = &self.style;
        let spinner: &[&str] = if style.ascii {
            &["|", "/", "-", "\\"]
        } else {
            &["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"]
        };
        let worst = row.worst.as_ref().map(|(outcome, _)| *outcome);
        let symbol = match (row.ended.is_some(), worst) {
            (true, Some(outcome)) => style.paint(Style::paint_of(outcome), style.symbol(outcome)),
            _ if row.planned == 0 => style.paint(Paint::Faint, "-"),
            _ => style.paint(Paint::Faint, spinner[frame % spinner.len()]),
        };
        let count =
            if row.planned == 0 { "no check".to_owned() } else { format!("{} of {}", row.answered, row.planned) };
        let words = row.worst.as_ref().map_or("", |(_, words)| words.as_str());
        let time = match row.ended {
            Some(ended) => show_duration(ended),
            None if row.planned == 0 => String::new(),
            None => format!("{} of {}", show_duration(elapsed), show_duration(deadline)),
        };
        let room = style.width.saturating_sub(2 + 2 + 10 + 11 + 18);
        let words = style.crop(words, room);
        format!("  {symbol} {:<9} {count:<10} {words:<room$} {:>16}", look_name(look), style.plain(&time))
            .trim_end()
            .to_owned()
    }
}

fn note(row: &mut Row, finding: &Finding) {
    if finding.is_dispensable() {
        return;
    }
    let worse = row.worst.as_ref().is_none_or(|(outcome, _)| outcome.worse(finding.outcome) != *outcome);
    if worse {
        row.worst = Some((finding.outcome, format!("{}: {}", finding.check, terminal(&finding.headline()))));
    }
}

fn write(text: &str) {
    // Progress is a courtesy: a closed standard error must not end the triage.
    let mut out = anstream::stderr().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
