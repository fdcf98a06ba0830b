//! Asks the query, weighs how whole and fresh the answer is, and says what it means.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::super::super::Ask;
use super::super::super::companion::{self, AGE_LIMIT, Liveness};
use super::super::super::series::{self, Moment};
use super::Query;
use crate::model::encode;
use crate::model::observation::{Observation, Unknown, UnknownKind};
use crate::model::units::show_duration;
use crate::model::value::Measures;
use crate::model::window::{self, Window};
use crate::net::prometheus::selectors::{self, Reads};
use crate::net::prometheus::{Answer, Data, NoAnswer, Series, Server};

/// The most points of a window.
const POINTS: usize = 60;

/// The span of one question: a moment, or points with a distance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Grid {
    from: Timestamp,
    step: Duration,
    pub(super) points: usize,
}

impl Grid {
    /// One point.
    fn moment(at: Timestamp) -> Self {
        Grid { from: at, step: Duration::from_secs(1), points: 1 }
    }

    /// The points of a window, the last one at its end. A window shorter than two steps is the moment at its end.
    pub(super) fn of(window: Window, declared: Option<Duration>) -> Self {
        let length = window.seconds();
        let step = declared.map_or((length / 30.0).clamp(15.0, 3_600.0), |step| step.as_secs_f64());
        let step = step.max(length / (POINTS - 1) as f64).ceil();
        let intervals = (length / step).floor() as usize;
        if intervals == 0 {
            return Grid::moment(window.to);
        }
        let back = SignedDuration::from_secs_f64(step * intervals as f64);
        let from = window.to.checked_sub(back).unwrap_or(window.from);
        Grid { from, step: Duration::from_secs_f64(step), points: intervals + 1 }
    }

    fn earlier(self, by: SignedDuration) -> Option<Self> {
        Some(Grid { from: self.from.checked_sub(by).ok()?, ..self })
    }

    pub(super) fn to(self) -> Timestamp {
        let forward = self.step.as_secs_f64() * (self.points - 1) as f64;
        self.from.checked_add(SignedDuration::from_secs_f64(forward)).unwrap_or(self.from)
    }
}

impl Query {
    pub(super) async fn look(&self, ask: &Ask) -> Observation {
        let started = Instant::now();
        let observation = match self.query.render(&ask.params) {
            Ok(query) => self.ask_all(ask, &query).await,
            Err(error) => Observation::blind(UnknownKind::MissingParam, error.to_string()),
        };
        observation.took(started.elapsed())
    }

    async fn ask_all(&self, ask: &Ask, query: &str) -> Observation {
        let grid = match ask.moment {
            window::Moment::Now => Grid::moment(ask.now),
            // What lies ahead has no data yet.
            window::Moment::Then => {
                Grid::of(Window { to: ask.window.to.min(ask.now).max(ask.window.from), ..ask.window }, self.step)
            }
        };
        let (headers, secret_headers) = match self.endpoint.headers(&ask.tools) {
            Ok(headers) => headers,
            Err(unknown) => return Observation::blind(unknown.kind, unknown.why),
        };
        let server =
            &Server { client: ask.tools.http.clone(), url: self.endpoint.url.clone(), headers, secret_headers };
        // A little before the caller gives up, so that the answer can still say what was waited for; and the
        // companions earlier still, so that they never cost the answer.
        let left = ask.deadline.saturating_duration_since(Instant::now());
        let deadline = ask.deadline - (left / 20).min(Duration::from_millis(100));
        let soon = Instant::now() + left.mul_f64(0.7);

        let reads = selectors::reads(query);
        let past = async {
            match ask.usual.is_empty() {
                true => Vec::new(),
                false => {
                    companion::earlier(|by| async move {
                        // What lies after the trouble's beginning is no measure of what is usual.
                        let grid = grid.earlier(by).filter(|grid| grid.to() <= ask.since)?;
                        let answer = put(server, query, grid, soon).await.ok()?;
                        steps_of(answer, grid).ok()
                    })
                    .await
                }
            }
        };
        let (answer, liveness, past) = tokio::join!(
            put(server, query, grid, deadline),
            companion::liveness(server, &reads, grid.to(), soon),
            past
        );
        let mut observation = match answer {
            Ok(answer) => self.weigh(answer, grid, &reads, &liveness),
            Err(no_answer) => {
                let unknown = self.endpoint.unanswered_query(&no_answer);
                Observation::blind(unknown.kind, unknown.why)
            }
        };
        for name in &ask.usual {
            let values: Vec<f64> = past.iter().flat_map(|steps| sampled(steps, name)).collect();
            observation.past.insert(name.clone(), values);
        }
        if ask.moment == window::Moment::Then {
            observation = observation.window(Window::new(grid.from, grid.to()));
        }
        observation.reproduce(self.by_hand(query, grid))
    }

    /// What an answer comes to.
    fn weigh(&self, answer: Answer, grid: Grid, reads: &Reads, liveness: &Liveness) -> Observation {
        let mut notes = answer.infos.clone();
        let system = self.endpoint.system();
        let whole = match (answer.warnings.first(), answer.partial) {
            (Some(warning), _) => Some(format!("{system} warns: {warning}")),
            (None, true) => Some(format!("{system} says that its answer is partial")),
            (None, false) => None,
        };
        let steps = match steps_of(answer, grid) {
            Ok(steps) => steps,
            Err(why) => return Observation::blind(UnknownKind::Unintelligible, format!("{system}: {why}")),
        };
        let filled = steps.iter().filter(|moment| !moment.is_empty()).count();
        let nans: usize = steps.iter().map(|moment| moment.not_numbers).sum();
        let single = grid.points == 1;

        let mut measures =
            if single { steps.first().map(Moment::measures).unwrap_or_default() } else { series::window(&steps) };
        if let Some(age) = liveness.age() {
            measures.set("age_seconds", age.max(0.0));
        }
        if let Some(why) = &liveness.unanswered {
            notes.push(format!("how old the data is could not be asked: {why}"));
        }
        for (job, up, all) in liveness.jobs.iter().filter(|(_, up, all)| up < all) {
            notes.push(format!("{up} of {all} targets of job {} are up", encode::terminal(job)));
        }
        if nans > 0 && filled > 0 {
            notes.push(format!("{nans} values are NaN and were left out"));
        }

        let verdict = match whole {
            Some(why) => Err(Unknown::new(UnknownKind::Incomplete, why)),
            None if filled == 0 => self.no_data(nans, liveness),
            None => self.is_fresh(reads, liveness).and_then(|note| Ok(note.or(self.is_covered(filled, grid)?))),
        };
        let mut observation = Observation::answered(measures);
        match verdict {
            Ok(Some(note)) => notes.push(note),
            Ok(None) => {}
            Err(unknown) => observation.seen = crate::model::observation::Seen::Blind(unknown),
        }
        if let Some(last) = steps.iter().rev().find(|moment| !moment.is_empty()) {
            observation = observation.excerpt(last.excerpt());
        }
        if !single {
            observation.points = steps.iter().filter(|m| !m.is_empty()).map(Moment::measures).collect();
        }
        observation.data_until = liveness
            .age()
            .and_then(|age| grid.to().checked_sub(SignedDuration::try_from_secs_f64(age.max(0.0)).ok()?).ok());
        observation.notes = notes;
        observation
    }

    /// No series at all, or nothing but NaN: unknown, unless the check says otherwise and the scrape is alive.
    fn no_data(&self, nans: usize, liveness: &Liveness) -> Result<Option<String>, Unknown> {
        let what = if nans > 0 { "the query yields only NaN (a division by zero: no traffic?)" } else { "no series" };
        match &self.absent_is_healthy {
            Some(because) => self.healthy_absence(what, because, liveness).map(Some),
            None => {
                let gone = if liveness.is_all_gone() { "; what it reads has no current samples" } else { "" };
                Err(Unknown::new(UnknownKind::Incomplete, format!("{}: {what}{gone}", self.endpoint.system())))
            }
        }
    }

    /// That nothing is there is a good sign only as long as somebody would have written it down.
    fn healthy_absence(&self, what: &str, because: &str, liveness: &Liveness) -> Result<String, Unknown> {
        let system = self.endpoint.system();
        if let Some(why) = &liveness.unanswered {
            let why = format!("{system}: {what}, and whether the scrape is alive could not be asked: {why}");
            return Err(Unknown::new(UnknownKind::Incomplete, why));
        }
        if let Some((job, _, all)) = liveness.jobs.iter().find(|(_, up, _)| *up == 0) {
            let job = encode::terminal(job);
            let why = match all {
                0 => format!("{system}: {what}, and it knows no target of job {job}"),
                _ => format!("{system}: {what}, and none of the {all} targets of job {job} is up"),
            };
            return Err(Unknown::new(UnknownKind::Stale, why));
        }
        let unproven =
            if liveness.jobs.is_empty() { " (the query names no job whose scrape could be checked)" } else { "" };
        Ok(format!("{what}, which is healthy here: {because}{unproven}"))
    }

    /// What a query reads must still be written, or its value is made of nothing.
    fn is_fresh(&self, reads: &Reads, liveness: &Liveness) -> Result<Option<String>, Unknown> {
        let system = self.endpoint.system();
        if liveness.is_all_gone() && !reads.asks_for_absence {
            let selector: String =
                liveness.ages.first().map(|(s, _)| encode::terminal(s)).unwrap_or_default().chars().take(80).collect();
            let what = format!("`{selector}` has no current sample");
            return match &self.absent_is_healthy {
                Some(because) => self.healthy_absence(&what, because, liveness).map(Some),
                None => {
                    let why = format!("{system}: {what}, so the value is made of nothing");
                    Err(Unknown::new(UnknownKind::Stale, why))
                }
            };
        }
        if let Some(age) = liveness.age().filter(|age| *age > AGE_LIMIT.as_secs_f64()) {
            let age = show_duration(Duration::from_secs_f64(age.min(1e9)));
            return Err(Unknown::new(UnknownKind::Stale, format!("{system}: the newest sample is {age} old")));
        }
        Ok(None)
    }

    /// A window that is answered in part is not answered.
    fn is_covered(&self, filled: usize, grid: Grid) -> Result<Option<String>, Unknown> {
        let missing = grid.points - filled;
        if missing == 0 {
            return Ok(None);
        }
        let what = format!("data at {filled} of {} points of the window", grid.points);
        match &self.absent_is_healthy {
            Some(because) => Ok(Some(format!("{what}; none is healthy here: {because}"))),
            None if missing > 1.max(grid.points / 10) => {
                Err(Unknown::new(UnknownKind::Incomplete, format!("{}: {what}", self.endpoint.system())))
            }
            None => Ok(Some(what)),
        }
    }

    fn by_hand(&self, query: &str, grid: Grid) -> String {
        let path = self.endpoint.url.path().trim_end_matches('/');
        let mut url = self.endpoint.url.clone();
        let (endpoint, times) = if grid.points == 1 {
            ("query", format!(" --data-urlencode time={}", grid.from))
        } else {
            let step = grid.step.as_secs();
            ("query_range", format!(" -d start={} -d end={} -d step={step}", grid.from, grid.to()))
        };
        url.set_path(&format!("{path}/api/v1/{endpoint}"));
        let query = encode::shell_word(&format!("query={query}"));
        let curl = self.endpoint.curl();
        format!("{curl} -G {} --data-urlencode {query}{times}", encode::shell_word(url.as_str()))
    }
}

async fn put(server: &Server, query: &str, grid: Grid, deadline: Instant) -> Result<Answer, NoAnswer> {
    if grid.points == 1 {
        server.instant(query, grid.from, deadline).await
    } else {
        server.range(query, Window::new(grid.from, grid.to()), grid.step, deadline).await
    }
}

/// What an answer says at each point of its grid.
fn steps_of(answer: Answer, grid: Grid) -> Result<Vec<Moment>, String> {
    let numbers = |series: &[Series]| match series.iter().any(|series| series.histograms) {
        true => Err("the query yields native histograms; take histogram_quantile() or histogram_count() of them"),
        false => Ok(()),
    };
    match answer.data {
        Data::Vector(series) if grid.points == 1 => {
            numbers(&series)?;
            Ok(vec![series::moment(&series)])
        }
        Data::Scalar(point) if grid.points == 1 => {
            let labels = Default::default();
            Ok(vec![series::moment(&[Series { labels, points: vec![point], histograms: false }])])
        }
        Data::Matrix(series) if grid.points > 1 => {
            numbers(&series)?;
            let from = grid.from.as_millisecond() as f64 / 1e3;
            Ok(series::steps(&series, from, grid.step.as_secs_f64(), grid.points))
        }
        Data::Matrix(_) => Err("the query yields a range vector; wrap it, for example in rate(…)".to_owned()),
        Data::Text(_) => Err("the query yields a text and not a number".to_owned()),
        Data::Vector(_) | Data::Scalar(_) => Err("it answered a range query with a single moment".to_owned()),
    }
}

/// One measure at up to five points of a span, evenly spread.
fn sampled(steps: &[Moment], name: &str) -> Vec<f64> {
    let measures: Vec<Measures> = steps.iter().filter(|moment| !moment.is_empty()).map(Moment::measures).collect();
    let stride = measures.len().div_ceil(5).max(1);
    measures
        .iter()
        .rev()
        .step_by(stride)
        .filter_map(|measures| measures.number(name))
        .filter(|v| v.is_finite())
        .collect()
}
