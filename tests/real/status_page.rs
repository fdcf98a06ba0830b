//! `status_page` at a real web server that serves what providers publish.

use houston::model::observation::{Seen, UnknownKind};

use super::looking::{ask, example, look, number, text};
use crate::lab::nginx::Nginx;

fn summary(card_payments: &str, incidents: &str) -> String {
    format!(
        r#"{{"page":{{"id":"1","name":"Pay","url":"https://status.pay.example","updated_at":"2026-01-01T00:00:00.000Z"}},
        "components":[{{"name":"API","status":"operational"}},{{"name":"Card payments","status":"{card_payments}"}}],
        "incidents":[{incidents}],"scheduled_maintenances":[],"status":{{"indicator":"none","description":"fine"}}}}"#
    )
}

const INCIDENT: &str = r#"{"name":"Cards are declined","status":"investigating","impact":"major",
    "shortlink":"https://stspg.io/abc","components":[{"name":"Card payments","status":"operational"}]}"#;

#[test]
fn the_example_reads_the_provider_s_word() {
    let mut nginx = Nginx::start("");
    let page = nginx.html().join("api/v2/summary.json");
    std::fs::create_dir_all(page.parent().unwrap()).unwrap();
    let here = format!("http://127.0.0.1:{}", nginx.port);
    let outcome = || example("status_page", &[("https://status.pay.example", &here)], "{}");

    std::fs::write(&page, summary("operational", "")).unwrap();
    assert_eq!(outcome()["outcome"], "good");
    std::fs::write(&page, summary("operational", INCIDENT)).unwrap();
    let finding = outcome();
    assert_eq!(finding["outcome"], "odd");
    assert!(finding.to_string().contains("https://stspg.io/abc"), "{finding}");
    std::fs::write(&page, summary("major_outage", INCIDENT)).unwrap();
    assert_eq!(outcome()["outcome"], "bad");
    std::fs::write(&page, "<html>Sign in</html>").unwrap();
    assert_eq!(outcome()["outcome"], "unknown");
    std::fs::remove_file(&page).unwrap();
    assert_eq!(outcome()["outcome"], "unknown");
    nginx.server.stop();
    assert_eq!(outcome()["outcome"], "unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_and_an_old_copy_from_a_real_server() {
    let nginx = Nginx::start("location = /old.json { alias html/s.json; add_header Age 7200; }");
    std::fs::write(nginx.html().join("s.json"), summary("operational", "")).unwrap();
    let feed = "<rss version=\"2.0\"><channel><item><title>Cards</title><description>Monitoring</description></item></channel></rss>";
    std::fs::write(nginx.html().join("feed.rss"), feed).unwrap();
    let seen = look("status_page", &format!("{{ url: \"{}\" }}", nginx.url("/feed.rss")), &ask()).await;
    assert_eq!((text(&seen, "state").as_str(), number(&seen, "incidents")), ("degraded_performance", 1.0), "{seen:?}");
    let fresh = look("status_page", &format!("{{ url: \"{}\" }}", nginx.url("/s.json")), &ask()).await;
    assert_eq!(fresh.seen, Seen::Answered, "{fresh:?}");
    let old = look("status_page", &format!("{{ url: \"{}\" }}", nginx.url("/old.json")), &ask()).await;
    assert!(matches!(&old.seen, Seen::Blind(unknown) if unknown.kind == UnknownKind::Stale), "{old:?}");
}
