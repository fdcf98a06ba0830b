//! The questions beside the query: is what it reads still being written, and what was it like before?

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::series;
use crate::net::prometheus::selectors::{Reads, Selector};
use crate::net::prometheus::{Data, NoAnswer, Server};

/// Prometheus itself forgets a series five minutes after its last sample; what is older than that is not current.
pub const AGE_LIMIT: std::time::Duration = std::time::Duration::from_secs(300);

/// The most selectors of a query, and jobs, that are looked after.
const FOLLOWED: usize = 4;

/// What the companions say.
#[derive(Debug, Clone, PartialEq)]
pub struct Liveness {
    /// Of each selector that was asked for: how old its newest sample is, in seconds; `None` where it has none.
    pub ages: Vec<(String, Option<f64>)>,
    /// Of each job that the query names: how many of its targets are up, of how many.
    pub jobs: Vec<(String, usize, usize)>,
    /// Why a question got no answer.
    pub unanswered: Option<String>,
}

impl Liveness {
    /// The age of the oldest of them that has any sample.
    pub fn age(&self) -> Option<f64> {
        self.ages.iter().filter_map(|(_, age)| *age).reduce(f64::max)
    }

    /// True where selectors were asked for and none has a sample.
    pub fn is_all_gone(&self) -> bool {
        !self.ages.is_empty() && self.unanswered.is_none() && self.ages.iter().all(|(_, age)| age.is_none())
    }
}

/// Asks how fresh the series are that a query reads, as seen at `at`.
pub async fn liveness(server: &Server, reads: &Reads, at: Timestamp, deadline: Instant) -> Liveness {
    let selectors: Vec<&Selector> = reads.selectors.iter().take(FOLLOWED).collect();
    let mut jobs: Vec<&str> = Vec::new();
    for job in reads.selectors.iter().filter_map(|selector| selector.job.as_deref()) {
        if !jobs.contains(&job) && jobs.len() < FOLLOWED {
            jobs.push(job);
        }
    }
    let ages = join_all(selectors.iter().map(|selector| async {
        let query = format!("time() - max(timestamp({}))", selector.text);
        (selector.text.clone(), values(server, &query, at, deadline).await)
    }));
    let ups = join_all(jobs.iter().map(|job| async move {
        // The job is as it was written between its quotes, so it is still escaped.
        (job.to_string(), values(server, &format!("up{{job=\"{job}\"}}"), at, deadline).await)
    }));
    let (ages, ups) = tokio::join!(ages, ups);

    let mut out = Liveness { ages: Vec::new(), jobs: Vec::new(), unanswered: None };
    for (selector, answer) in ages {
        match answer {
            Ok(values) => out.ages.push((selector, values.first().copied())),
            Err(why) => out.unanswered = Some(why),
        }
    }
    for (job, answer) in ups {
        match answer {
            Ok(values) => out.jobs.push((job, values.iter().filter(|up| **up == 1.0).count(), values.len())),
            Err(why) => out.unanswered = Some(why),
        }
    }
    out
}

async fn values(server: &Server, query: &str, at: Timestamp, deadline: Instant) -> Result<Vec<f64>, String> {
    match server.instant(query, at, deadline).await {
        Ok(answer) if answer.partial || !answer.warnings.is_empty() => Err("it was answered in part".to_owned()),
        Ok(answer) => match answer.data {
            Data::Vector(series) => Ok(series::moment(&series).values.into_values().collect()),
            _ => Err("it was not answered with a vector".to_owned()),
        },
        Err(NoAnswer::Wire(failure)) => Err(failure.what),
        Err(error) => Err(error.to_string()),
    }
}

/// How long ago the same was asked, in hours: just before, and at the same time of day.
pub const OFFSETS: [i64; 8] = [1, 2, 3, 23, 24, 25, 47, 48];

/// Asks something of each offset, three at once; what has no answer is left out.
pub async fn earlier<T, F>(ask: impl Fn(SignedDuration) -> F) -> Vec<T>
where
    F: Future<Output = Option<T>>,
{
    let answers: Vec<Option<T>> =
        futures_util::stream::iter(OFFSETS.map(|hours| ask(SignedDuration::from_hours(hours))))
            .buffered(3)
            .collect()
            .await;
    answers.into_iter().flatten().collect()
}
