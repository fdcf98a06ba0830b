//! What the shop counts, in the OpenMetrics format.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::route::Route;

/// The content type of [`Metrics::page`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the duration's buckets, in seconds.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0];

/// Labels take values of the shop's own only, never what a client sent: their number is bounded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    job: &'static str,
    route: &'static str,
    code: u32,
    customer: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    job: &'static str,
    route: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CustomerLabels {
    job: &'static str,
    customer: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    job: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabels {
    job: &'static str,
    version: &'static str,
}

const JOB: &str = "shop";

/// The shop's counters.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram>,
    orders: Family<CustomerLabels, Counter>,
    payment_failures: Family<CustomerLabels, Counter>,
    open_carts: Family<JobLabels, Gauge>,
    error_ratio: Family<JobLabels, Gauge<f64, std::sync::atomic::AtomicU64>>,
    version: Family<VersionLabels, Gauge>,
}

impl Metrics {
    pub fn new() -> Metrics {
        let durations: Family<RouteLabels, Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS.iter().copied()));
        let mut metrics = Metrics {
            registry: Registry::default(),
            requests: Family::default(),
            durations,
            orders: Family::default(),
            payment_failures: Family::default(),
            open_carts: Family::default(),
            error_ratio: Family::default(),
            version: Family::default(),
        };
        let up: Family<JobLabels, Gauge> = Family::default();
        up.get_or_create(&JobLabels { job: JOB }).set(1);
        let registry = &mut metrics.registry;
        registry.register("http_requests", "Requests that were answered", metrics.requests.clone());
        registry.register_with_unit(
            "http_request_duration",
            "How long requests took, from the first byte read to the answer",
            Unit::Seconds,
            metrics.durations.clone(),
        );
        registry.register("shop_orders", "Orders that were paid", metrics.orders.clone());
        registry.register("shop_payment_failures", "Payments that failed", metrics.payment_failures.clone());
        registry.register("shop_open_carts", "Carts that are open", metrics.open_carts.clone());
        registry.register(
            "shop_recent_error_ratio",
            "Share of the requests of the last minute that failed with 5xx",
            metrics.error_ratio.clone(),
        );
        registry.register("shop_build_info", "Which release is running", metrics.version.clone());
        registry.register("shop_up", "1 as long as the shop is open", up);
        metrics
    }

    pub fn served(&self, route: Route, code: u16, customer: Option<&'static str>, seconds: f64) {
        let customer = customer.unwrap_or("none");
        let labels = RequestLabels { job: JOB, route: route.label(), code: u32::from(code), customer };
        self.requests.get_or_create(&labels).inc();
        self.durations.get_or_create(&RouteLabels { job: JOB, route: route.label() }).observe(seconds);
    }

    pub fn ordered(&self, customer: &'static str) {
        self.orders.get_or_create(&CustomerLabels { job: JOB, customer }).inc();
    }

    pub fn payment_failed(&self, customer: &'static str) {
        self.payment_failures.get_or_create(&CustomerLabels { job: JOB, customer }).inc();
    }

    /// The page as it is now; `error_ratio` is absent where nobody asked for anything.
    pub fn page(&self, open_carts: usize, error_ratio: Option<f64>, version: &'static str) -> String {
        let labels = JobLabels { job: JOB };
        self.open_carts.get_or_create(&labels).set(open_carts.try_into().unwrap_or(i64::MAX));
        match error_ratio {
            Some(ratio) => {
                self.error_ratio.get_or_create(&labels).set(ratio);
            }
            None => self.error_ratio.clear(),
        }
        self.version.clear();
        self.version.get_or_create(&VersionLabels { job: JOB, version }).set(1);
        let mut page = String::new();
        // Writing to a string can't fail.
        let _ = encode(&mut page, &self.registry);
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_what_was_counted() {
        let metrics = Metrics::new();
        metrics.served(Route::Pay, 502, Some("acme"), 0.2);
        metrics.served(Route::Front, 200, None, 0.012);
        metrics.ordered("globex");
        metrics.payment_failed("acme");
        let page = metrics.page(3, Some(0.5), "5.2.0");
        for line in [
            "http_requests_total{job=\"shop\",route=\"/api/cart/{id}/pay\",code=\"502\",customer=\"acme\"} 1",
            "http_requests_total{job=\"shop\",route=\"/\",code=\"200\",customer=\"none\"} 1",
            "http_request_duration_seconds_bucket{le=\"0.25\",job=\"shop\",route=\"/api/cart/{id}/pay\"} 1",
            "http_request_duration_seconds_count{job=\"shop\",route=\"/\"} 1",
            "shop_orders_total{job=\"shop\",customer=\"globex\"} 1",
            "shop_payment_failures_total{job=\"shop\",customer=\"acme\"} 1",
            "shop_open_carts{job=\"shop\"} 3",
            "shop_recent_error_ratio{job=\"shop\"} 0.5",
            "shop_build_info{job=\"shop\",version=\"5.2.0\"} 1",
            "shop_up{job=\"shop\"} 1",
            "# EOF",
        ] {
            assert!(page.lines().any(|one| one == line), "{line}\n{page}");
        }
        assert!(!metrics.page(0, None, "5.2.0").contains("shop_recent_error_ratio{"));
    }
}
