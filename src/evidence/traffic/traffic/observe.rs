//! Asks for the growth of the counters over a window, and for what shows how whole and fresh that is.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use jiff::SignedDuration;
use tokio::time::Instant;

use super::Traffic;
use super::queries::{Asked, Selectors};
use super::weigh::{Grown, is_whole, measures};
use crate::evidence::Ask;
use crate::evidence::companion;
use crate::evidence::log_source::Question;
use crate::model::encode;
use crate::model::observation::{Observation, Unknown, UnknownKind};
use crate::model::window::Window;
use crate::net::prometheus::selectors;
use crate::net::prometheus::{Answer, Data, Series, Server};

/// What is shorter holds too few samples for a rate.
const SHORTEST: SignedDuration = SignedDuration::from_mins(2);

/// The points at which a window's series are looked for.
const POINTS: u32 = 30;

/// What was asked, by its measure; absent where nothing was there.
pub(super) type Values = BTreeMap<&'static str, f64>;

impl Traffic {
    pub(super) async fn look(&self, ask: &Ask) -> Observation {
        let started = Instant::now();
        let observation = match self.ask_all(ask).await {
            Ok(observation) => observation,
            Err(unknown) => Observation::blind(unknown.kind, unknown.why),
        };
        observation.took(started.elapsed())
    }

    async fn ask_all(&self, ask: &Ask) -> Result<Observation, Unknown> {
        let selectors = Selectors::of(self, ask)?;
        let (headers, secret_headers) = self.endpoint.headers(&ask.tools)?;
        let server =
            &Server { client: ask.tools.http.clone(), url: self.endpoint.url.clone(), headers, secret_headers };
        // What lies ahead has no data yet.
        let to = ask.window.to.min(ask.now).max(ask.window.from);
        let length = ask.window.from.duration_until(to).max(SHORTEST);
        let window = Window::ending_at(to, length);
        // A little before the caller gives up; what only adds to the answer earlier still, so that it never costs it.
        let left = ask.deadline.saturating_duration_since(Instant::now());
        let deadline = ask.deadline - (left / 20).min(Duration::from_millis(100));
        let soon = Instant::now() + left.mul_f64(0.7);

        let asked = selectors.over(seconds(window));
        let reads = selectors::reads(&selectors.requests);
        let (values, covered, liveness, past) = tokio::join!(
            self.values(server, &asked, window, deadline),
            self.covered(server, &selectors, window, deadline),
            companion::liveness(server, &reads, window.to, soon),
            self.past(ask, server, &selectors, length, soon),
        );
        let grown = Grown { values: values?, covered: covered?, selectors: &selectors, window };
        let mut observation = self.weigh(&grown, &liveness);
        for name in &ask.usual {
            let values = past.iter().filter_map(|(window, values)| measures(values, &selectors, *window).number(name));
            observation.past.insert(name.clone(), values.collect());
        }
        observation.reproduce = asked.first().map(|asked| self.by_hand(&asked.query, window));
        Ok(observation.window(window))
    }

    /// The answers to all questions about a span; none at all where one of them wasn't answered whole.
    async fn values(
        &self,
        server: &Server,
        asked: &[Asked],
        window: Window,
        deadline: Instant,
    ) -> Result<Values, Unknown> {
        let answers = join_all(asked.iter().map(|asked| async {
            let answer = server.instant(&asked.query, window.to, deadline).await;
            let answer = answer.map_err(|error| self.endpoint.unanswered_query(&error))?;
            Ok((asked.measure, self.number(asked.measure, &answer)?))
        }))
        .await;
        let values: Vec<(&'static str, Option<f64>)> = answers.into_iter().collect::<Result<_, Unknown>>()?;
        Ok(values.into_iter().filter_map(|(measure, value)| Some((measure, value?))).collect())
    }

    /// The one number of an answer; `None` where there is no series.
    fn number(&self, measure: &str, answer: &Answer) -> Result<Option<f64>, Unknown> {
        let (unknown, system) = (UnknownKind::Unintelligible, self.endpoint.system());
        match self.series(answer)? {
            [] => Ok(None),
            [one] if one.histograms => {
                let why = format!("{system}: {measure} is asked of a native histogram; name its counter");
                Err(Unknown::new(unknown, why))
            }
            [one] => Ok(one.points.last().map(|point| point.value)),
            _ => Err(Unknown::new(unknown, format!("{system}: several series where one was asked for"))),
        }
    }

    fn series<'a>(&self, answer: &'a Answer) -> Result<&'a [Series], Unknown> {
        let system = self.endpoint.system();
        if let Some(warning) = answer.warnings.first() {
            return Err(Unknown::new(UnknownKind::Incomplete, format!("{system} warns: {warning}")));
        }
        if answer.partial {
            return Err(Unknown::new(UnknownKind::Incomplete, format!("{system} says that its answer is partial")));
        }
        match &answer.data {
            Data::Vector(series) | Data::Matrix(series) => Ok(series),
            _ => Err(Unknown::new(UnknownKind::Unintelligible, format!("{system} answered with no series"))),
        }
    }

    /// At how many points of the window the counter was there, of how many.
    async fn covered(
        &self,
        server: &Server,
        selectors: &Selectors,
        window: Window,
        deadline: Instant,
    ) -> Result<(usize, usize), Unknown> {
        let step = (Duration::try_from(window.length()).unwrap_or_default() / POINTS).max(Duration::from_secs(15));
        let query = format!("count({})", selectors.requests);
        let answer = server.range(&query, window, step, deadline).await;
        let answer = answer.map_err(|error| self.endpoint.unanswered_query(&error))?;
        let points = self.series(&answer)?.first().map_or(0, |series| series.points.len());
        Ok((points, (window.seconds() / step.as_secs_f64()).floor() as usize + 1))
    }

    /// The same span where nothing was wrong yet; what isn't there whole is no sample.
    async fn past(
        &self,
        ask: &Ask,
        server: &Server,
        selectors: &Selectors,
        length: SignedDuration,
        deadline: Instant,
    ) -> Vec<(Window, Values)> {
        let question = Question::of(ask, Default::default());
        let asked = question.past().map(|past| Window::ending_at(past.to, length)).map(|window| async move {
            let asked = selectors.over(seconds(window));
            let (values, covered) = tokio::join!(
                self.values(server, &asked, window, deadline),
                self.covered(server, selectors, window, deadline),
            );
            let (points, all) = covered.ok()?;
            Some((window, values.ok().filter(|_| is_whole(points, all))?))
        });
        let asked: Vec<_> = asked.collect();
        let samples: Vec<Option<(Window, Values)>> = futures_util::stream::iter(asked).buffered(2).collect().await;
        samples.into_iter().flatten().collect()
    }

    fn by_hand(&self, query: &str, window: Window) -> String {
        let mut url = self.endpoint.url.clone();
        url.set_path(&format!("{}/api/v1/query", self.endpoint.url.path().trim_end_matches('/')));
        let query = encode::shell_word(&format!("query={query}"));
        let (curl, url) = (self.endpoint.curl(), encode::shell_word(url.as_str()));
        format!("{curl} -G {url} --data-urlencode {query} --data-urlencode time={}", window.to)
    }
}

fn seconds(window: Window) -> u64 {
    u64::try_from(window.length().as_secs()).unwrap_or(0).max(1)
}
