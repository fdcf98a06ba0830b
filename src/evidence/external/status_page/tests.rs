//! Pages and feeds as providers write them, and as they must not be believed.

use super::*;
use crate::evidence::external::testing::{
    ask, blindness, declared, example_reads, hold, hurried, is_good, look, read as read_text,
};
use crate::expect::Held;
use crate::model::observation::Seen;
use crate::net::canned::{Canned, Reply};
use crate::net::scripted;

/// Now is 2026-11-18T11:06:40Z.
const ATLASSIAN: &str = r#"{
  "page": { "id": "x", "name": "Pay", "url": "https://status.pay.example", "time_zone": "Etc/UTC", "updated_at": "2026-11-18T12:56:40.000+02:00" },
  "components": [
    { "id": "1", "name": "API", "status": "operational", "group": false },
    { "id": "2", "name": "Card payments", "status": "partial_outage" },
    { "id": "3", "name": "Website", "status": "under_maintenance" }
  ],
  "incidents": [
    { "name": "Cards are declined", "status": "identified", "impact": "major", "shortlink": "https://stspg.io/abc",
      "components": [ { "id": "2", "name": "Card payments", "status": "partial_outage" } ] },
    { "name": "Old", "status": "resolved", "impact": "minor", "components": [] }
  ],
  "scheduled_maintenances": [
    { "name": "New pages", "status": "in_progress", "components": [ { "name": "Website" } ] },
    { "name": "Later", "status": "scheduled", "components": [] }
  ],
  "status": { "indicator": "major", "description": "Partial System Outage" }
}"#;

const QUIET: &str = r#"{ "page": { "updated_at": "2026-11-10T06:26:40Z" }, "components": [ { "name": "API", "status": "operational" } ],
  "incidents": [], "scheduled_maintenances": [], "status": { "indicator": "none", "description": "All Systems Operational" } }"#;

const INSTATUS: &str = r#"{
  "page": { "name": "Pay", "url": "https://status.pay.example", "status": "HASISSUES" },
  "activeIncidents": [ { "name": "API down", "started": "Sat Jun 11 2022 18:55:50 GMT+0000 (Coordinated Universal Time)",
    "status": "INVESTIGATING", "impact": "MAJOROUTAGE", "url": "https://pay.instatus.com/incident/1" } ],
  "activeMaintenances": [ { "name": "Database", "status": "NOTSTARTEDYET", "duration": "60" } ]
}"#;

const RSS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0"><channel><title>Pay</title><link>https://status.pay.example</link><pubDate>Wed, 18 Nov 2026 10:56:40 +0000</pubDate>
<item><title>Cards are declined</title>
<description>&lt;p&gt;&lt;small&gt;Nov 18&lt;/small&gt;&lt;br&gt;&lt;strong&gt;Identified&lt;/strong&gt; - It is not resolved yet.&lt;/p&gt;&lt;p&gt;&lt;strong&gt;Investigating&lt;/strong&gt;&lt;/p&gt;</description>
<pubDate>Wed, 18 Nov 2026 10:56:40 +0000</pubDate><link>https://status.pay.example/incidents/2</link><guid>https://status.pay.example/incidents/2</guid></item>
<item><title>Website slow</title><description>&lt;strong&gt;Resolved&lt;/strong&gt; - Over.&lt;strong&gt;Investigating&lt;/strong&gt;</description>
<pubDate>Tue, 17 Nov 2026 10:56:40 +0000</pubDate><link>https://status.pay.example/incidents/1</link></item>
<item><title>Forgotten</title><description>Investigating</description><pubDate>Thu, 01 Oct 2026 10:56:40 +0000</pubDate><link>https://status.pay.example/incidents/0</link></item>
</channel></rss>"#;

const ATOM: &str = r#"<feed xmlns="http://www.w3.org/2005/Atom"><title>Cloud</title><updated>2026-11-18T11:00:00Z</updated>
<entry><title>RESOLVED: Cards</title><link href="https://cloud.example/incidents/7"/><id>b</id><updated>2026-11-18T11:00:00Z</updated><summary>over</summary></entry>
<entry><title>UPDATE: Cards</title><link rel="alternate" href="https://cloud.example/incidents/7"/><id>a</id><updated>2026-11-18T10:00:00Z</updated><summary>We are investigating</summary></entry>
</feed>"#;

async fn seen(page: &str, more: &str) -> Observation {
    let page = page.to_owned();
    let server = Canned::start(move |_| Reply::of(200, "text/plain", page.clone())).await;
    look(&KIND, &format!("url: {}/summary\n{more}", server.url()), &ask()).await
}

#[tokio::test]
async fn pages_and_feeds_are_read() {
    for (page, more, holds) in [
        (ATLASSIAN, "", "state == \"partial_outage\" && incidents == 1 && maintenances == 1 && age_seconds == 600.0"),
        (ATLASSIAN, "", "open == [\"Cards are declined\"] && components[\"API\"] == \"operational\""),
        (ATLASSIAN, "component: api", "state == \"operational\" && incidents == 0 && maintenances == 0"),
        (ATLASSIAN, "component: [Website, API]", "state == \"under_maintenance\" && size(components) == 2"),
        (ATLASSIAN, "component: CARD PAYMENTS", "state == \"partial_outage\" && incidents == 1"),
        (QUIET, "", "state == \"operational\" && incidents == 0"),
        (INSTATUS, "", "state == \"major_outage\" && incidents == 1 && maintenances == 0"),
        (r#"{"page":{"status":"UP"}, "activeIncidents": []}"#, "", "state == \"operational\" && incidents == 0"),
        (r#"{"page":{"status":"SOMEPARTIALOUTAGE"}}"#, "", "state == \"partial_outage\""),
        (RSS, "", "state == \"degraded_performance\" && incidents == 1 && age_seconds == 600.0"),
        (RSS, "component: website", "state == \"operational\" && incidents == 0"),
        (ATOM, "", "state == \"operational\" && incidents == 0 && age_seconds == 400.0"),
        ("<rss><channel><title>x</title></channel></rss>", "", "state == \"operational\" && incidents == 0"),
    ] {
        let observation = seen(page, more).await;
        declared(&KIND, &observation);
        assert_eq!(observation.seen, Seen::Answered, "{page} {more}: {observation:?}");
        assert_eq!(hold(&KIND, holds, &observation), Held::True, "{page} {more}: {observation:?}");
    }
    assert!(is_good(&KIND, &seen(ATLASSIAN, "component: API").await));
    // A page's summary without its incidents doesn't say that there are none.
    let bare = seen(r#"{"status":{"indicator":"none"}}"#, "").await;
    assert!(matches!(hold(&KIND, "incidents == 0", &bare), Held::Unknown { .. }), "{bare:?}");
}

#[tokio::test]
async fn open_incidents_stand_in_the_notes_with_their_links() {
    let observation = seen(ATLASSIAN, "").await;
    assert_eq!(observation.notes, ["open: Cards are declined (identified), https://stspg.io/abc"]);
    let observation = seen(RSS, "").await;
    assert_eq!(observation.notes.len(), 2, "{observation:?}");
    assert!(observation.notes.contains(&"never closed, older than a week: Forgotten".to_owned()));
    let hostile = r#"{"page":{"status":"UP"},"activeIncidents":[{"name":"a\u001b[2Jb","status":"X","url":"javascript:alert(1)"}]}"#;
    let observation = seen(hostile, "").await;
    assert!(
        !observation.notes[0].contains(['\u{1b}']) && !observation.notes[0].contains("javascript"),
        "{observation:?}"
    );
    let many: Vec<String> = (0..5_000).map(|n| format!(r#"{{"name":"{n}{}"}}"#, "x".repeat(400))).collect();
    let observation =
        seen(&format!(r#"{{"page":{{"status":"UP"}},"activeIncidents":[{}]}}"#, many.join(",")), "").await;
    assert_eq!((observation.notes.len(), observation.measures.number("incidents")), (TOLD, Some(5_000.0)));
    assert!(serde_json::to_string(&observation.measures).unwrap().len() < 20_000);
}

#[tokio::test]
async fn what_can_t_be_read_is_unknown() {
    let undecided = RSS.replace("Identified", "Hello").replace("Investigating", "").replace("resolved", "");
    let bomb = "<!DOCTYPE r [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;\">]><rss><channel>&b;</channel></rss>";
    let deep = format!("<rss><channel>{}{}</channel></rss>", "<a>".repeat(50_000), "</a>".repeat(50_000));
    let wide = format!("<rss><channel>{}</channel></rss>", "<a/>".repeat(300_000));
    for (page, more, kind, part) in [
        ("<!doctype html><html><body>All good</body></html>", "", UnknownKind::Unintelligible, "feed"),
        ("<html><body>All good</body></html>", "", UnknownKind::Unintelligible, "no feed"),
        ("", "", UnknownKind::Unintelligible, "neither"),
        ("{}", "", UnknownKind::Unintelligible, "no summary"),
        ("{\"a\":", "", UnknownKind::Unintelligible, "no summary"),
        (r#"{"page":{"status":"GREAT"}}"#, "", UnknownKind::Unintelligible, "`GREAT`"),
        (r#"{"status":{"indicator":"meh"}}"#, "", UnknownKind::Unintelligible, "`meh`"),
        (r#"{"components":[{"name":"a","status":"odd"}]}"#, "", UnknownKind::Unintelligible, "`odd`"),
        (ATLASSIAN, "component: Cards", UnknownKind::Incomplete, "no component `cards`"),
        (INSTATUS, "component: API", UnknownKind::Incomplete, "lists no components"),
        (QUIET, "max_age: 1d", UnknownKind::Stale, "8 d"),
        (INSTATUS, "max_age: 1d", UnknownKind::Incomplete, "when it was touched"),
        (undecided.as_str(), "", UnknownKind::Incomplete, "whether this is over: Cards are declined"),
        (bomb, "", UnknownKind::Unintelligible, "feed"),
        (wide.as_str(), "", UnknownKind::Incomplete, "larger"),
        (&RSS[..900], "", UnknownKind::Unintelligible, "feed"),
    ] {
        let observation = seen(page, more).await;
        let shown = page.get(..60.min(page.len())).unwrap_or_default();
        let (found, why) = blindness(&observation);
        assert!(found == kind && why.contains(part), "{shown} {more}: {kind:?} {part}: {found:?} {why}");
    }
    let deep = seen(&deep, "").await;
    assert_eq!(deep.measures.number("incidents"), Some(0.0), "depth alone does no harm: {deep:?}");
    let large = Canned::start(|_| Reply::of(200, "a/b", vec![b' '; PAGE + 10])).await;
    let large = look(&KIND, &format!("url: {}/x", large.url()), &ask()).await;
    assert_eq!(blindness(&large).0, UnknownKind::Incomplete);
    let silent = Canned::start(|_| Reply::silent()).await;
    let silent = look(&KIND, &format!("url: {}/x", silent.url()), &hurried()).await;
    assert_eq!(blindness(&silent).0, UnknownKind::TimedOut);
    let refusing = Canned::start(|_| Reply::of(503, "a/b", "")).await;
    let refusing = look(&KIND, &format!("url: {}/x", refusing.url()), &ask()).await;
    assert_eq!(blindness(&refusing).0, UnknownKind::Unreachable);
}

#[tokio::test]
async fn an_old_copy_is_stale() {
    for (header, is_stale) in [
        ("age: 60", false),
        ("age: 86400", true),
        ("date: Wed, 18 Nov 2026 11:00:00 GMT", false),
        ("date: Mon, 16 Nov 2026 11:00:00 GMT", true),
        ("date: nonsense\r\nage: -", false),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{header}\r\ncontent-length: {}\r\n\r\n{QUIET}", QUIET.len());
        let server = scripted::http(move |_| answer.clone().into_bytes()).await;
        let observation = look(&KIND, &format!("url: {}", server.url("/s")), &ask()).await;
        let found = matches!(&observation.seen, Seen::Blind(unknown) if unknown.kind == UnknownKind::Stale);
        assert_eq!(found, is_stale, "{header}: {observation:?}");
    }
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    example_reads(&KIND);
    for (text, place, part) in [
        ("url: https://status.example/", "test.yaml:1:6", "for people"),
        ("url: https://status.example/x\ncomponent: []", "test.yaml:2:12", "empty"),
        ("url: https://status.example/x\ncomponent: ''", "test.yaml:2:12", "empty"),
        ("url: https://status.example/x\ncomponent: '{{ a }}'", "test.yaml:2:12", "no parameters"),
        ("url: https://status.example/x\nmax_age: 5", "test.yaml:2:10", "unit"),
        ("component: x", "test.yaml:1:1", "url"),
    ] {
        let error = read_text(&KIND, text).unwrap_err();
        assert_eq!(error.at.to_string(), place, "{text}: {error}");
        assert!(error.message.contains(part), "{text}: {error}");
    }
}
