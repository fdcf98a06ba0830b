//! A real Prometheus.

use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use super::node_exporter::NodeExporter;
use super::{Server, encoded, free_port, get, place, program, until};

/// A running Prometheus that scrapes once a second.
#[derive(Debug)]
pub struct Prometheus {
    pub port: u16,
    pub server: Server,
}

/// The configuration's scrape interval.
pub const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);

impl Prometheus {
    /// Starts one that scrapes itself (job `prometheus`) and these (job, `host:port`). `rules` is the text of a rules
    /// file; empty for none.
    pub fn start(targets: &[(&str, String)], rules: &str) -> Prometheus {
        let place = place::new();
        let port = free_port();
        let mut jobs = vec![("prometheus", format!("127.0.0.1:{port}"))];
        jobs.extend(targets.iter().cloned());
        let mut config = String::from("global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }\n");
        if !rules.is_empty() {
            std::fs::write(place.path().join("rules.yml"), rules).unwrap();
            config.push_str("rule_files: [rules.yml]\n");
        }
        config.push_str("scrape_configs:\n");
        for (job, target) in jobs {
            config.push_str(&format!("- job_name: {job}\n  static_configs: [{{ targets: [\"{target}\"] }}]\n"));
        }
        let file = place.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let arguments = [
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", place.path().join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--web.enable-lifecycle".into(),
            "--web.enable-admin-api".into(),
            "--log.level=warn".into(),
        ];
        let ready = || get(port, "/-/ready").is_some_and(|(status, _)| status == 200);
        Prometheus { port, server: Server::start("prometheus", place, arguments, ready) }
    }

    /// One that scrapes nobody and knows only these samples: a page of OpenMetrics in which each has its time.
    pub fn with_past(page: &str) -> Prometheus {
        let place = place::new();
        let (file, data) = (place.path().join("past.om"), place.path().join("data"));
        std::fs::write(&file, page).unwrap();
        #[allow(clippy::disallowed_methods)] // the lab prepares its server
        let mut backfill = std::process::Command::new(program("promtool"));
        backfill.args(["tsdb", "create-blocks-from", "openmetrics"]).arg(&file).arg(&data);
        let output = backfill.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let config = place.path().join("prometheus.yml");
        std::fs::write(&config, "global: {}\n").unwrap();
        let port = free_port();
        let arguments = [
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", data.display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--log.level=warn".into(),
        ];
        let ready = || get(port, "/-/ready").is_some_and(|(status, _)| status == 200);
        Prometheus { port, server: Server::start("prometheus", place, arguments, ready) }
    }

    /// One for all tests that only ask it: it scrapes itself and a node exporter (job `node`), and has data of both.
    pub fn shared() -> &'static Prometheus {
        static SHARED: OnceLock<Prometheus> = OnceLock::new();
        SHARED.get_or_init(|| {
            let node = NodeExporter::shared();
            let prometheus = Prometheus::start(&[("node", format!("127.0.0.1:{}", node.port))], "");
            prometheus.until("both are scraped twice", "min(count_over_time(up[1m])) >= 2 and count(up == 1) == 2");
            prometheus
        })
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The result of an instant query, by plain HTTP.
    pub fn query(&self, promql: &str) -> Option<Vec<Value>> {
        let (_, body) = get(self.port, &format!("/api/v1/query?query={}", encoded(promql)))?;
        let mut answer: Value = serde_json::from_str(&body).ok()?;
        serde_json::from_value(answer["data"]["result"].take()).ok()
    }

    /// Waits until a query has a result.
    pub fn until(&self, what: &str, promql: &str) {
        until(what, super::READY, || self.query(promql).is_some_and(|result| !result.is_empty()));
    }
}

#[test]
fn a_real_prometheus_scrapes_and_answers() {
    let prometheus = Prometheus::shared();
    let up = prometheus.query("up{job=\"node\"}").unwrap();
    assert_eq!((up.len(), &up[0]["value"][1]), (1, &Value::from("1")));
    assert_eq!(prometheus.query("no_such_metric").unwrap().len(), 0);
}
