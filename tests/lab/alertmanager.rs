//! A real Alertmanager.

use super::{Server, free_port, get, place};

/// A running Alertmanager that tells nobody.
#[derive(Debug)]
pub struct Alertmanager {
    pub port: u16,
    pub server: Server,
}

impl Alertmanager {
    pub fn start() -> Alertmanager {
        let place = place::new();
        let port = free_port();
        let file = place.path().join("alertmanager.yml");
        std::fs::write(&file, "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n").unwrap();
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
}

#[test]
fn a_real_alertmanager_lists_its_alerts() {
    let alertmanager = Alertmanager::start();
    let (status, alerts) = get(alertmanager.port, "/api/v2/alerts").unwrap();
    assert_eq!((status, alerts.trim()), (200, "[]"));
}
