//! The shop's metrics as a real Prometheus reads them.

use houston::demo::{Fault, Options, Shop};

use crate::lab::prometheus::Prometheus;

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_the_shop_and_notices_when_its_page_is_none() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("shop");
    let options = Options {
        directory,
        shop_port: 0,
        admin_port: 0,
        tls_port: 0,
        names_port: 0,
        past_hours: 0,
        live_rate: 20.0,
        seed: 1,
    };
    let shop = Shop::start(options).await.unwrap();
    let target = shop.address().to_string();
    let prometheus = tokio::task::spawn_blocking(move || Prometheus::start(&[("shop", target)], "")).await.unwrap();
    let quantile = "histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket[10s]))) < 1";
    let prometheus = until(prometheus, "sum(rate(http_requests_total{exported_job=\"shop\"}[10s])) > 5").await;
    let prometheus = until(prometheus, quantile).await;
    shop.set_fault(Fault::MetricsDead).unwrap();
    let prometheus = until(prometheus, "up{job=\"shop\"} == 0").await;
    shop.set_fault(Fault::None).unwrap();
    until(prometheus, "up{job=\"shop\"} == 1").await;
    shop.stop().await;
}

/// Waits on a thread of its own, so that the shop, which lives on this runtime, goes on.
async fn until(prometheus: Prometheus, query: &'static str) -> Prometheus {
    let waiting = tokio::task::spawn_blocking(move || {
        prometheus.until(query, query);
        prometheus
    });
    waiting.await.unwrap()
}
