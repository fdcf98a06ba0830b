//! What fired in a window that is over: the series `ALERTS`, which Prometheus writes beside its alerting rules.
//!
//! <https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/>. Where nothing fired there is no series,
//! so a point of the window is only known where something else has a sample there: the watchdog, or the targets' `up`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::super::super::Ask;
use super::super::super::endpoint::Endpoint;
use super::super::super::series;
use super::Alerts;
use super::present::{labelled, named};
use crate::model::encode;
use crate::model::observation::{Observation, Seen, Unknown, UnknownKind};
use crate::model::value::Measures;
use crate::model::window::Window;
use crate::net::prometheus::{Answer, Data, NoAnswer, Series, Server};

/// Into how many steps a window is cut.
const STEPS: f64 = 30.0;
/// The shortest step, in seconds: rules are seldom evaluated more often.
const SHORTEST: f64 = 15.0;
/// The most different alerts that an excerpt shows.
const SHOWN: usize = 8;

impl Alerts {
    pub(super) async fn past(&self, history: &Endpoint, ask: &Ask, matchers: &[String]) -> Observation {
        let to = ask.window.to.min(ask.now).max(ask.window.from);
        let length = Window::new(ask.window.from, to).seconds();
        let step = (length / STEPS).max(SHORTEST).ceil();
        let points = (length / step).floor() as usize + 1;
        let back = SignedDuration::from_secs_f64(step * (points - 1) as f64);
        let window = Window::new(to.checked_sub(back).unwrap_or(ask.window.from), to);

        let alerts = format!("ALERTS{{alertstate=\"firing\",{}}}", matchers.join(","));
        let alive = match &self.watchdog {
            Some(name) => {
                let name = encode::promql_string(name);
                format!("count(ALERTS{{alertname=\"{name}\",alertstate=\"firing\"}})")
            }
            None => "count(up)".to_owned(),
        };
        let by_hand = by_hand(history, &alerts, window, step);
        let (headers, secret_headers) = match history.headers(&ask.tools) {
            Ok(headers) => headers,
            Err(unknown) => return Observation::blind(unknown.kind, unknown.why),
        };
        let server = Server { client: ask.tools.http.clone(), url: history.url.clone(), headers, secret_headers };
        let left = ask.deadline.saturating_duration_since(Instant::now());
        let deadline = ask.deadline - (left / 20).min(Duration::from_millis(100));
        let step_time = Duration::from_secs_f64(step);
        let (fired, alive) = tokio::join!(
            server.range(&alerts, window, step_time, deadline),
            server.range(&alive, window, step_time, deadline)
        );
        let observation = match (whole(history, fired), whole(history, alive)) {
            (Ok(fired), Ok(alive)) => self.weigh_past(history, Grid { window, step, points }, &fired, &alive),
            (Err(unknown), _) | (_, Err(unknown)) => Observation::blind(unknown.kind, unknown.why),
        };
        observation.window(window).reproduce(by_hand)
    }

    fn weigh_past(&self, history: &Endpoint, grid: Grid, fired: &[Series], alive: &[Series]) -> Observation {
        let Grid { window, step, points } = grid;
        let from = window.from.as_millisecond() as f64 / 1e3;
        let fired: Vec<&Series> = fired
            .iter()
            .filter(|one| self.watchdog.is_none() || one.labels.get("alertname") != self.watchdog.as_ref())
            .collect();
        let mut firing = vec![0_usize; points];
        for point in fired.iter().flat_map(|one| &one.points) {
            let index = ((point.at - from) / step).round();
            if index >= 0.0
                && let Some(count) = firing.get_mut(index as usize)
            {
                *count += 1;
            }
        }
        let alive = series::steps(alive, from, step, points);
        let known: Vec<usize> = (0..points)
            .filter(|&at| firing.get(at).is_some_and(|n| *n > 0) || alive.get(at).is_some_and(|m| !m.is_empty()))
            .collect();
        let counts: Vec<usize> = known.iter().filter_map(|&at| firing.get(at).copied()).collect();

        let mut measures = Measures::new();
        if let Some(most) = counts.iter().max() {
            measures.set("firing", *most);
            let with = counts.iter().filter(|count| **count > 0).count();
            measures.set("firing_ratio", with as f64 / counts.len() as f64);
            named(&mut measures, fired.iter().map(|one| &one.labels));
        }
        let mut observation = Observation::answered(measures);
        observation.points = counts
            .iter()
            .map(|count| {
                let mut point = Measures::new();
                point.set("firing", *count);
                point
            })
            .collect();
        let mut lines: Vec<String> = fired.iter().take(SHOWN).map(|one| labelled(&one.labels)).collect();
        if fired.len() > SHOWN {
            lines.push(format!("… {} more", fired.len() - SHOWN));
        }
        observation = observation.excerpt(lines.join("\n"));
        if let Some(unknown) = self.is_unproven(history, grid, &counts) {
            observation.seen = Seen::Blind(unknown);
        } else if let (true, None, Some(because)) = (fired.is_empty(), &self.watchdog, &self.absent_is_healthy) {
            observation.notes.push(format!("no alert, which is healthy here: {because}"));
        }
        observation
    }

    /// Why what is known of the window is not enough.
    fn is_unproven(&self, history: &Endpoint, grid: Grid, counts: &[usize]) -> Option<Unknown> {
        let system = history.system();
        let missing = grid.points - counts.len();
        if missing > 1.max(grid.points / 10) {
            let what = self.watchdog.as_ref().map_or("up".to_owned(), |name| encode::terminal(name));
            let why =
                format!("{system}: {what} has samples at {} of {} points of the window", counts.len(), grid.points);
            return Some(Unknown::new(UnknownKind::Incomplete, why));
        }
        if counts.iter().all(|count| *count == 0) && self.watchdog.is_none() && self.absent_is_healthy.is_none() {
            let why = format!(
                "{system}: no alert, and nothing proves that one would have been there (`watchdog`, `absent_means`)"
            );
            return Some(Unknown::new(UnknownKind::Incomplete, why));
        }
        None
    }
}

/// The points of a window, `step` seconds apart, the last one at its end.
#[derive(Debug, Clone, Copy)]
struct Grid {
    window: Window,
    step: f64,
    points: usize,
}

/// The series of an answer that is whole.
fn whole(history: &Endpoint, answer: Result<Answer, NoAnswer>) -> Result<Vec<Series>, Unknown> {
    let answer = answer.map_err(|no_answer| history.unanswered_query(&no_answer))?;
    let system = history.system();
    if let Some(warning) = answer.warnings.first() {
        return Err(Unknown::new(UnknownKind::Incomplete, format!("{system} warns: {warning}")));
    }
    match answer.data {
        _ if answer.partial => {
            Err(Unknown::new(UnknownKind::Incomplete, format!("{system} says that its answer is partial")))
        }
        Data::Matrix(series) => Ok(series),
        _ => {
            let why = format!("{system}: it answered a range query with something else");
            Err(Unknown::new(UnknownKind::Unintelligible, why))
        }
    }
}

fn by_hand(history: &Endpoint, query: &str, window: Window, step: f64) -> String {
    let mut url = history.url.clone();
    url.set_path(&format!("{}/api/v1/query_range", history.url.path().trim_end_matches('/')));
    let time = |at: Timestamp| at.to_string();
    format!(
        "{} -G {} --data-urlencode {} -d start={} -d end={} -d step={step}",
        history.curl(),
        encode::shell_word(url.as_str()),
        encode::shell_word(&format!("query={query}")),
        time(window.from),
        time(window.to)
    )
}
