//! A real blackbox_exporter.

use super::{Server, free_port, get, place};

/// A running exporter with modules of the tests' own.
#[derive(Debug)]
pub struct BlackboxExporter {
    pub port: u16,
    pub server: Server,
}

const MODULES: &str = "\
modules:
  http_2xx: { prober: http, timeout: 5s, http: { preferred_ip_protocol: ip4 } }
  tcp: { prober: tcp, timeout: 5s, tcp: { preferred_ip_protocol: ip4 } }
  broken: { prober: http, http: { preferred_ip_protocol: ip4, tls_config: { ca_file: /no/such/ca.pem } } }
";

impl BlackboxExporter {
    pub fn start() -> BlackboxExporter {
        let place = place::new();
        let port = free_port();
        let file = place.path().join("blackbox.yml");
        std::fs::write(&file, MODULES).unwrap();
        let arguments = [format!("--config.file={}", file.display()), format!("--web.listen-address=127.0.0.1:{port}")];
        let ready = || get(port, "/-/healthy").is_some_and(|(status, _)| status == 200);
        BlackboxExporter { port, server: Server::start("prometheus-blackbox-exporter", place, arguments, ready) }
    }
}

#[test]
fn a_real_blackbox_exporter_probes() {
    let exporter = BlackboxExporter::start();
    let (status, page) = get(exporter.port, &format!("/probe?module=tcp&target=127.0.0.1:{}", exporter.port)).unwrap();
    assert!(status == 200 && page.contains("\nprobe_success 1\n"), "{page}");
}
