//! `blackbox` through a real blackbox_exporter, at a real nginx.

use std::time::Duration;

use houston::model::observation::{Observation, Seen, UnknownKind};

use super::looking::{ask, example, look, number, text};
use crate::lab::blackbox_exporter::BlackboxExporter;
use crate::lab::nginx::Nginx;

async fn seen(exporter: &BlackboxExporter, module: &str, target: &str) -> Observation {
    let settings = format!("{{ url: \"http://127.0.0.1:{}\", module: {module}, target: \"{target}\" }}", exporter.port);
    look("blackbox", &settings, &ask()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_exporter_tells_what_it_sees() {
    let exporter = BlackboxExporter::start();
    let mut nginx = Nginx::start("location = /ok { return 200 'fine'; } location = /broken { return 500 'oh'; }");
    let good = seen(&exporter, "http_2xx", &nginx.url("/ok")).await;
    assert_eq!(good.seen, Seen::Answered, "{good:?}");
    assert_eq!((text(&good, "success").as_str(), number(&good, "status")), ("true", 200.0), "{good:?}");
    assert!(number(&good, "duration_seconds") > 0.0 && text(&good, "phases").contains("processing"), "{good:?}");

    let broken = seen(&exporter, "http_2xx", &nginx.url("/broken")).await;
    assert_eq!((text(&broken, "success").as_str(), number(&broken, "status")), ("false", 500.0), "{broken:?}");
    assert!(broken.excerpt.as_deref().is_some_and(|excerpt| excerpt.contains("status code")), "{broken:?}");

    let port = seen(&exporter, "tcp", &format!("127.0.0.1:{}", nginx.port)).await;
    assert_eq!(text(&port, "success"), "true", "{port:?}");

    nginx.server.stop();
    let gone = seen(&exporter, "http_2xx", &nginx.url("/ok")).await;
    assert_eq!((&gone.seen, text(&gone, "success").as_str()), (&Seen::Answered, "false"), "{gone:?}");
    assert!(gone.excerpt.as_deref().is_some_and(|excerpt| excerpt.contains("connection refused")), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exporter_that_is_itself_at_fault_is_no_failure_of_the_target() {
    let mut exporter = BlackboxExporter::start();
    let nginx = Nginx::start("location = /ok { return 200 'fine'; }");
    for (module, kind, part) in [
        ("no_such_module", UnknownKind::Unintelligible, "Unknown module"),
        ("broken", UnknownKind::Refused, "/no/such/ca.pem"),
    ] {
        let seen = seen(&exporter, module, &nginx.url("/ok")).await;
        let Seen::Blind(unknown) = &seen.seen else { panic!("{module}: {seen:?}") };
        assert!(unknown.kind == kind && unknown.why.contains(part), "{module}: {seen:?}");
    }
    exporter.server.freeze();
    let mut hurried = ask();
    hurried.deadline = tokio::time::Instant::now() + Duration::from_secs(2);
    let settings = format!("{{ url: \"http://127.0.0.1:{}\", target: \"{}\" }}", exporter.port, nginx.url("/ok"));
    let frozen = look("blackbox", &settings, &hurried).await;
    assert!(matches!(&frozen.seen, Seen::Blind(unknown) if unknown.kind == UnknownKind::TimedOut), "{frozen:?}");
    exporter.server.stop();
    let gone = seen(&exporter, "http_2xx", &nginx.url("/ok")).await;
    assert!(matches!(&gone.seen, Seen::Blind(unknown) if unknown.kind == UnknownKind::Unreachable), "{gone:?}");
}

#[test]
fn the_example_looks_through_a_real_exporter() {
    let mut exporter = BlackboxExporter::start();
    let mut nginx = Nginx::start("");
    std::fs::write(nginx.html().join("index.html"), "a shop").unwrap();
    let (there, here) = (format!("127.0.0.1:{}", exporter.port), format!("127.0.0.1:{}", nginx.port));
    let outcome = || example("blackbox", &[("127.0.0.1:9115", &there), ("127.0.0.1:8470", &here)], "{}");
    assert_eq!(outcome()["outcome"], "good");
    nginx.server.stop();
    assert_eq!(outcome()["outcome"], "bad");
    exporter.server.stop();
    assert_eq!(outcome()["outcome"], "unknown");
}
