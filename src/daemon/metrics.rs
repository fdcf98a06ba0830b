//! The daemon observes itself: counters, gauges and histograms in the Prometheus format.
//!
//! No ticket text and no customer is ever a label.

use std::sync::Mutex;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::model::look::{Look, Outcome};
use crate::model::verdict::Decision;

type Labels = Vec<(&'static str, &'static str)>;

/// Everything that `/metrics` shows.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    pub tickets: Counter,
    verdicts: Family<Labels, Counter>,
    triage_seconds: Histogram,
    look_seconds: Family<Labels, Histogram>,
    findings: Family<Labels, Counter>,
    /// Cases past their deadline without a verdict.
    pub overdue: Gauge,
    pub open_cases: Gauge,
    pub stale_files: Gauge,
    pub checks: Gauge,
    pub queue: Gauge,
    pub escalations: Counter,
    pub missed_issues: Counter,
    deliveries: Family<Labels, Counter>,
    samples: Family<Labels, Counter>,
    /// Samples that were not taken: the one before was still under way, or it was too late.
    pub samples_skipped: Counter,
    pub log_lines_dropped: Gauge,
    pub reload_seconds: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("houston");
        let seconds = || Histogram::new([0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 45.0, 60.0, 65.0]);
        let metrics = Metrics {
            registry: Mutex::new(Registry::default()),
            tickets: Counter::default(),
            verdicts: Family::default(),
            triage_seconds: seconds(),
            look_seconds: Family::new_with_constructor(seconds),
            findings: Family::default(),
            overdue: Gauge::default(),
            open_cases: Gauge::default(),
            stale_files: Gauge::default(),
            checks: Gauge::default(),
            queue: Gauge::default(),
            escalations: Counter::default(),
            missed_issues: Counter::default(),
            deliveries: Family::default(),
            samples: Family::default(),
            samples_skipped: Counter::default(),
            log_lines_dropped: Gauge::default(),
            reload_seconds: Gauge::default(),
        };
        registry.register("build", "The version that runs", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("tickets", "Tickets accepted", metrics.tickets.clone());
        registry.register("verdicts", "Verdicts given, by decision", metrics.verdicts.clone());
        let unit = Unit::Seconds;
        registry.register_with_unit(
            "triage_duration",
            "From a round's begin to its verdict",
            unit,
            metrics.triage_seconds.clone(),
        );
        let unit = Unit::Seconds;
        registry.register_with_unit(
            "look_duration",
            "How long a check took, by look",
            unit,
            metrics.look_seconds.clone(),
        );
        registry.register("findings", "Findings, by look and outcome", metrics.findings.clone());
        registry.register("cases_overdue", "Cases past their deadline without a verdict", metrics.overdue.clone());
        registry.register("cases_open", "Cases without a verdict", metrics.open_cases.clone());
        registry.register(
            "config_stale_files",
            "Files of checks that could not be used as they stand",
            metrics.stale_files.clone(),
        );
        registry.register("checks", "Checks in force", metrics.checks.clone());
        registry.register("outbox_queue", "Actions that wait to be done", metrics.queue.clone());
        registry.register(
            "missed_issues",
            "Tickets that had no issue, and whose customers said on the call-back that it was still broken",
            metrics.missed_issues.clone(),
        );
        registry.register("escalations", "Escalations written down", metrics.escalations.clone());
        registry.register("deliveries", "Actions tried, by result", metrics.deliveries.clone());
        registry.register("samples", "Looks taken in the background, by outcome", metrics.samples.clone());
        registry.register(
            "samples_skipped",
            "Looks in the background that were left out, being late",
            metrics.samples_skipped.clone(),
        );
        registry.register(
            "log_lines_dropped",
            "Log lines that could not be written in time",
            metrics.log_lines_dropped.clone(),
        );
        registry.register(
            "config_last_reload_timestamp_seconds",
            "When the checks last changed",
            metrics.reload_seconds.clone(),
        );
        Metrics { registry: Mutex::new(registry), ..metrics }
    }
}

impl Metrics {
    pub fn verdict(&self, decision: Decision, took: Duration) {
        self.verdicts.get_or_create(&vec![("verdict", decision.name())]).inc();
        self.triage_seconds.observe(took.as_secs_f64());
    }

    pub fn finding(&self, look: Look, outcome: &'static str, took: Duration) {
        self.look_seconds.get_or_create(&vec![("look", look.name())]).observe(took.as_secs_f64());
        self.findings.get_or_create(&vec![("look", look.name()), ("outcome", outcome)]).inc();
    }

    pub fn sample(&self, outcome: Outcome) {
        self.samples.get_or_create(&vec![("outcome", outcome.name())]).inc();
    }

    /// `result`: delivered, retry or rejected.
    pub fn deliveries(&self, result: &'static str, count: usize) {
        self.deliveries.get_or_create(&vec![("result", result)]).inc_by(count as u64);
    }

    /// The page at `/metrics` (OpenMetrics text).
    pub fn page(&self) -> String {
        let registry = self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut text = String::new();
        // Writing to a string can't fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_metric_with_help_and_unit() {
        let metrics = Metrics::default();
        metrics.tickets.inc();
        metrics.verdict(Decision::Doubtful, Duration::from_millis(1_200));
        metrics.finding(Look::Logs, "bad", Duration::from_millis(20));
        let page = metrics.page();
        for line in [
            "houston_tickets_total 1",
            "houston_verdicts_total{verdict=\"doubtful\"} 1",
            "houston_triage_duration_seconds_count 1",
            "houston_look_duration_seconds_count{look=\"logs\"} 1",
            "houston_cases_overdue 0",
            "houston_config_stale_files 0",
            "# EOF",
        ] {
            assert!(page.contains(line), "{line} in {page}");
        }
    }
}
