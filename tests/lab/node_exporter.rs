//! A real node exporter: a metrics page of a thousand lines.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::{Server, free_port, get, place};

/// A running node exporter with a directory for pages of one's own.
#[derive(Debug)]
pub struct NodeExporter {
    pub port: u16,
    pub server: Server,
}

impl NodeExporter {
    pub fn start() -> NodeExporter {
        let place = place::new();
        let port = free_port();
        let texts = place.path().join("texts");
        std::fs::create_dir(&texts).unwrap();
        let arguments = [
            format!("--web.listen-address=127.0.0.1:{port}"),
            format!("--collector.textfile.directory={}", texts.display()),
            "--log.level=error".into(),
        ];
        let ready = || get(port, "/metrics").is_some_and(|(status, _)| status == 200);
        NodeExporter { port, server: Server::start("prometheus-node-exporter", place, arguments, ready) }
    }

    /// One for all tests that only read it.
    pub fn shared() -> &'static NodeExporter {
        static SHARED: OnceLock<NodeExporter> = OnceLock::new();
        SHARED.get_or_init(NodeExporter::start)
    }

    /// Files `*.prom` put here are part of the page.
    pub fn texts(&self) -> PathBuf {
        self.server.directory().join("texts")
    }
}

#[test]
fn a_real_node_exporter_shows_its_page() {
    let (status, page) = get(NodeExporter::shared().port, "/metrics").unwrap();
    assert_eq!(status, 200);
    assert!(page.lines().any(|line| line.starts_with("node_memory_MemTotal_bytes ")), "{page}");
}
