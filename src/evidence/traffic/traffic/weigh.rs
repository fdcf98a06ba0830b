//! What the growth of the counters comes to, and whether it may be believed.

use std::time::Duration;

use jiff::SignedDuration;

use super::Traffic;
use super::observe::Values;
use super::queries::Selectors;
use crate::evidence::companion::{AGE_LIMIT, Liveness};
use crate::model::encode;
use crate::model::observation::{Observation, Seen, Unknown, UnknownKind};
use crate::model::units::show_duration;
use crate::model::value::Measures;
use crate::model::window::Window;

/// What was answered about a window.
#[derive(Debug)]
pub(super) struct Grown<'a> {
    pub values: Values,
    /// At how many points the counter was there, of how many.
    pub covered: (usize, usize),
    pub selectors: &'a Selectors,
    pub window: Window,
}

impl Traffic {
    pub(super) fn weigh(&self, grown: &Grown<'_>, liveness: &Liveness) -> Observation {
        let mut measures = measures(&grown.values, grown.selectors, grown.window);
        let mut notes = Vec::new();
        let blindness = match self.absence(grown, liveness) {
            Some(Ok(because)) => {
                measures.set("requests", 0_u32).set("requests_per_second", 0.0);
                notes.push(format!("no series, which is healthy here: {because}"));
                None
            }
            Some(Err(unknown)) => Some(unknown),
            None => staleness(grown, liveness),
        };
        let age = liveness.age();
        if let Some(age) = age {
            measures.set("age_seconds", age.max(0.0));
        }
        if let Some(why) = &liveness.unanswered {
            notes.push(format!("how old the data is could not be asked: {why}"));
        }
        for (job, up, all) in liveness.jobs.iter().filter(|(_, up, all)| up < all) {
            notes.push(format!("{up} of {all} targets of job {} are up", encode::terminal(job)));
        }
        let failures = [
            ("errors", "error_ratio", &grown.selectors.errors),
            ("client_errors", "client_error_ratio", &grown.selectors.client_errors),
        ];
        for (key, measure, selector) in failures {
            if selector.is_some() && !grown.values.contains_key(measure) {
                notes.push(format!("no series of `{key}` in the window"));
            }
        }
        let mut observation = Observation::answered(measures);
        let data_until =
            |age: f64| grown.window.to.checked_sub(SignedDuration::try_from_secs_f64(age.max(0.0)).ok()?).ok();
        observation.data_until = age.and_then(data_until);
        observation.notes = notes;
        if let Some(unknown) = blindness {
            let why = format!("{}: {}", self.endpoint.system(), unknown.why);
            observation.seen = Seen::Blind(Unknown::new(unknown.kind, why));
        }
        observation
    }

    /// Where there is no series at all: why that is healthy, or that it is no answer.
    fn absence(&self, grown: &Grown<'_>, liveness: &Liveness) -> Option<Result<&str, Unknown>> {
        if grown.values.contains_key("requests") || grown.covered.0 > 0 {
            return None;
        }
        let unknown = |kind, why: String| Some(Err(Unknown::new(kind, why)));
        let Some(because) = &self.absent else {
            let what = shown(grown.selectors);
            return unknown(UnknownKind::Incomplete, format!("no series of `{what}` in the window"));
        };
        if let Some(why) = &liveness.unanswered {
            let why = format!("no series, and whether the scrape is alive could not be asked: {why}");
            return unknown(UnknownKind::Incomplete, why);
        }
        if let Some((job, ..)) = liveness.jobs.iter().find(|(_, up, _)| *up == 0) {
            let why = format!("no series, and no target of job {} is up", encode::terminal(job));
            return unknown(UnknownKind::Stale, why);
        }
        Some(Ok(because))
    }
}

/// Why what was counted can't be taken for the window's.
fn staleness(grown: &Grown<'_>, liveness: &Liveness) -> Option<Unknown> {
    let what = shown(grown.selectors);
    let (points, all) = grown.covered;
    let (kind, why) = if let Some(age) = liveness.age().filter(|age| *age > AGE_LIMIT.as_secs_f64()) {
        let age = show_duration(Duration::from_secs_f64(age.min(1e9)));
        (UnknownKind::Stale, format!("the newest sample of `{what}` is {age} old"))
    } else if liveness.is_all_gone() {
        (UnknownKind::Stale, format!("`{what}` has no current sample"))
    } else if !is_whole(points, all) {
        (UnknownKind::Incomplete, format!("`{what}` is there at {points} of {all} points of the window"))
    } else if !grown.values.get("requests").is_some_and(|requests| requests.is_finite()) {
        (UnknownKind::Incomplete, format!("`{what}` has too few samples for a rate"))
    } else {
        return None;
    };
    Some(Unknown::new(kind, why))
}

fn shown(selectors: &Selectors) -> String {
    encode::terminal(&selectors.requests).chars().take(100).collect()
}

/// True where so many points of so many are a window that was seen.
pub(super) fn is_whole(points: usize, all: usize) -> bool {
    all.saturating_sub(points) <= 1.max(all / 10)
}

/// The measures of a span. NaN (nothing to divide) and infinities are none.
pub(super) fn measures(values: &Values, selectors: &Selectors, window: Window) -> Measures {
    let mut measures = Measures::new();
    let get = |name: &str| values.get(name).copied().filter(|value| value.is_finite());
    let Some(requests) = get("requests") else { return measures };
    let requests = requests.max(0.0);
    measures.set("requests", requests).set("requests_per_second", requests / window.seconds().max(1.0));
    for (measure, selector) in [("error_ratio", &selectors.errors), ("client_error_ratio", &selectors.client_errors)] {
        let none_yet = selectors.share_a_metric(selector.as_ref()).then_some(0.0);
        let known = if values.contains_key(measure) { get(measure) } else { none_yet };
        if let (true, Some(failed)) = (requests > 0.0, known) {
            measures.set(measure, (failed / requests).clamp(0.0, 1.0));
        }
    }
    for quantile in ["p50_seconds", "p95_seconds", "p99_seconds"] {
        if let Some(value) = get(quantile) {
            measures.set(quantile, value);
        }
    }
    measures
}
