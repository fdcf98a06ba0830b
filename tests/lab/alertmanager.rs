//! A real Alertmanager.

use serde_json::{Value, json};

use super::{Server, free_port, get, place, post};

/// A node that is down inhibits the other alerts of its service.
const CONFIG: &str = "
route: { receiver: nobody }
receivers: [{ name: nobody }]
inhibit_rules:
  - source_matchers: [ alertname = NodeDown ]
    target_matchers: [ alertname != NodeDown ]
    equal: [ service ]
";

/// A running Alertmanager that tells nobody.
#[derive(Debug)]
pub struct Alertmanager {
    pub port: u16,
    pub server: Server,
}

impl Alertmanager {
    pub fn start() -> Alertmanager {
        Alertmanager::configured(CONFIG)
    }

    /// One that tells of every alert at once: it posts to this address, with this bearer token.
    pub fn telling(url: &str, token: &str) -> Alertmanager {
        Alertmanager::configured(&format!(
            "route: {{ receiver: houston, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 2s }}\n\
             receivers:\n- name: houston\n  webhook_configs:\n  - url: '{url}'\n    send_resolved: true\n    \
             http_config: {{ authorization: {{ credentials: '{token}' }} }}\n"
        ))
    }

    fn configured(config: &str) -> Alertmanager {
        let place = place::new();
        let port = free_port();
        let file = place.path().join("alertmanager.yml");
        std::fs::write(&file, config).unwrap();
        let arguments = [
            format!("--config.file={}", file.display()),
            format!("--storage.path={}", place.path().join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            // Without this it opens port 9094 on every address.
            "--cluster.listen-address=".into(),
        ];
        let ready = || get(port, "/-/ready").is_some_and(|(status, _)| status == 200);
        Alertmanager { port, server: Server::start("prometheus-alertmanager", place, arguments, ready) }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Says that these alerts fire (name, service), as a Prometheus would.
    pub fn fire(&self, alerts: &[(&str, &str)]) {
        let alerts: Vec<Value> = alerts
            .iter()
            .map(|(name, service)| {
                let labels = json!({ "alertname": name, "service": service, "severity": "page" });
                json!({ "labels": labels, "annotations": { "summary": format!("{name} of {service}") } })
            })
            .collect();
        let (status, answer) = post(self.port, "/api/v2/alerts", &Value::from(alerts).to_string()).unwrap();
        assert_eq!(status, 200, "{answer}");
    }

    /// Says that this alert is over, as a Prometheus would.
    pub fn resolve(&self, name: &str, service: &str) {
        let labels = json!({ "alertname": name, "service": service, "severity": "page" });
        let over = json!([{ "labels": labels, "endsAt": jiff::Timestamp::now().to_string() }]);
        let (status, answer) = post(self.port, "/api/v2/alerts", &over.to_string()).unwrap();
        assert_eq!(status, 200, "{answer}");
    }

    /// Silences an alert by its name, for this span.
    pub fn silence(&self, name: &str, from: &str, to: &str) {
        let silence = json!({
            "matchers": [{ "name": "alertname", "value": name, "isRegex": false, "isEqual": true }],
            "startsAt": from, "endsAt": to, "createdBy": "ann", "comment": "we know\u{1b}[2J",
        });
        let (status, answer) = post(self.port, "/api/v2/silences", &silence.to_string()).unwrap();
        assert_eq!(status, 200, "{answer}");
    }
}

#[test]
fn a_real_alertmanager_lists_its_alerts() {
    let alertmanager = Alertmanager::start();
    let (status, alerts) = get(alertmanager.port, "/api/v2/alerts").unwrap();
    assert_eq!((status, alerts.trim()), (200, "[]"));
}
