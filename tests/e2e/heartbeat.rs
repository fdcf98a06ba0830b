//! The dead man's switch: the watcher outside hears that all is well only while it is.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::daemon::Daemon;
use super::tickets::config;
use super::wire::PATIENCE;
use super::world::{World, four_looks};
use crate::lab::until;

/// Counts what comes to `/beat`, and has no other page: a pager that refuses everything.
fn watcher() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let beats = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&beats);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let counted = Arc::clone(&counted);
            std::thread::spawn(move || {
                let Ok(mut answering) = stream.try_clone() else { return };
                let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
                let beats = lines.next().is_some_and(|line| line.starts_with("GET /beat/secret-name "));
                let status = if beats { 200 } else { 404 };
                let _ = write!(answering, "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
                if beats {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    (url, beats)
}

#[test]
fn what_nobody_can_be_told_stops_the_heartbeat_and_readiness() {
    let world = World::start();
    let (url, beats) = watcher();
    let checks = [("shop.yaml", four_looks(&world, "/broken"))];
    let checks: Vec<(&str, &str)> = checks.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let more = format!(
        "heartbeat: {{ url: '{url}/beat/secret-name', every: 1s }}\nchannels: {{ pager: {{ webhook: {{ url: \
         '{url}/page', secret: {{ env: HOOK_SECRET }} }} }} }}\nescalation: {{ channels: [pager] }}\n\
         announce: {{ channels: [pager] }}\n"
    );
    let daemon = Daemon::start(&checks, &config(&world, &more));
    let count = || beats.load(Ordering::SeqCst);
    until("it beats", PATIENCE, || count() > 1);
    assert_eq!(daemon.get("/readyz").status, 200);

    let ticket = daemon.file("1", "the shop is slow");
    daemon.decided(&ticket);
    until("nobody could be told", PATIENCE, || daemon.get("/readyz").status == 503);
    let ready = daemon.get("/readyz");
    let text = ready.text();
    assert!(text.contains("undeliverable") && !text.contains("pager"), "{text}");
    until("it says that it is silent", PATIENCE, || daemon.log().contains("the heartbeat is withheld"));
    assert!(!daemon.log().contains("secret-name"), "whoever reads the log can't beat in its place");
    // Three more times it would have been its turn.
    let silent = count();
    let up = || daemon.get("/api/v1/status").json()["up_seconds"].as_u64().unwrap();
    let since = up();
    until("it stays silent", PATIENCE, || up() > since + 3);
    assert_eq!(count(), silent);
}
