//! A full disk: nothing is acknowledged, what was accepted gets its verdict, and space heals it.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::daemon::Daemon;
use super::program::run;
use super::tickets::config;
use super::wire::PATIENCE;
use super::world::{World, a_hanging_look, four_looks};
use crate::lab::{program, until};

/// How a process gets mounts of its own: as a user that is root in its own namespace only, or as root.
const NAMESPACES: &[&[&str]] = &[&["-Um", "--map-root-user"], &["-m"]];

/// A small file system for the state, seen by the daemon alone; its directory as seen from here comes with it.
fn on_a_small_disk(world: &World) -> (Daemon, PathBuf) {
    let may_mount = |namespace: &&&[&str]| {
        #[allow(clippy::disallowed_methods)] // whether this machine lets us mount
        let mut command = std::process::Command::new(program("unshare"));
        command.args(**namespace).args(["mount", "-t", "tmpfs", "-o", "size=1m", "none", "/mnt"]);
        command.output().is_ok_and(|output| output.status.success())
    };
    let namespace = NAMESPACES.iter().find(may_mount).expect("a machine that lets us mount a file system of our own");
    let script = "mkdir -p state && mount -t tmpfs -o size=20m none state && exec \"$@\"";
    let wrappers = [&["unshare"], *namespace, &["sh", "-c", script, "sh"]].concat();
    let checks = [("shop.yaml", four_looks(world, "/well")), ("silent.yaml", a_hanging_look(world))];
    let checks: Vec<(&str, &str)> = checks.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let config = config(world, "").replace("deadline: 20s", "deadline: 4s");
    let daemon = Daemon::wrapped(&wrappers, &checks, &config);
    let state = daemon.inside(daemon.state());
    (daemon, state)
}

#[test]
fn a_full_disk_accepts_nothing_and_heals() {
    let world = World::start();
    let (daemon, state) = on_a_small_disk(&world);
    // Under way while the disk fills: their verdicts have to be written all the same.
    let mut accepted: Vec<String> = (0..5).map(|n| daemon.file(&format!("before-{n}"), "the shop is slow")).collect();
    until("they are looked into", PATIENCE, || world.hanging() > 0);

    // All that is left is taken, the store's reserve aside.
    let filler = state.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    let block = vec![b'x'; 64 * 1024];
    while file.write_all(&block).is_ok() {}
    while file.write_all(b"x").is_ok() {}

    // What is left in pages of the database that exist already may take a few more.
    let text = "the shop is slow ".repeat(3_000);
    let body = |n: usize| json!({ "source": "full", "id": n.to_string(), "title": "slow", "text": text, "services": ["shop"] });
    let mut refused = None;
    for n in 0..500 {
        let answer = daemon.post("/api/v1/tickets", &body(n));
        match answer.status {
            202 => accepted.push(answer.json()["ticket"].as_str().unwrap().to_owned()),
            _ => {
                refused = Some((n, answer));
                break;
            }
        }
    }
    let (n, refused) = refused.expect("a full disk is noticed");
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    assert!(refused.text().contains("nothing was accepted"), "{}", refused.text());
    until("it says so", PATIENCE, || daemon.get("/readyz").status == 503);
    assert!(daemon.get("/readyz").text().contains("store"));
    assert_eq!(daemon.get("/healthz").status, 200, "the process itself is well");
    assert_eq!(daemon.get("/api/v1/tickets/T-1").status, 200, "and still answers");
    let url = format!("http://{}", daemon.tcp().host());
    let token = state.join("admin.token").display().to_string();
    let status = run(daemon.home(), ["status", "--server", &url, "--token-file", &token]);
    assert_eq!(status.code, Some(2), "houston status: broken: {status:?}");
    // What was accepted before gets its verdict from the reserve, and the reserve is not for more of the same.
    for number in &accepted {
        daemon.decided(number);
    }
    for n in 0..20 {
        let refused = daemon.post("/api/v1/tickets", &body(1_000 + n));
        assert_eq!(refused.status, 503, "{}", refused.text());
    }

    // An open file keeps its space.
    drop(file);
    std::fs::remove_file(&filler).unwrap();
    until("it heals without a restart", Duration::from_secs(30), || daemon.get("/readyz").status == 200);
    let again = daemon.post("/api/v1/tickets", &body(n));
    assert_eq!(again.status, 202, "{}", again.text());
    accepted.push(again.json()["ticket"].as_str().unwrap().to_owned());
    for number in &accepted {
        daemon.decided(number);
    }
    assert_eq!(daemon.all().len(), accepted.len(), "nothing that was refused is there, and nothing accepted is lost");
}

#[test]
fn a_file_that_may_not_grow_acknowledges_nothing_that_is_not_kept() {
    let world = World::start();
    let mut daemon = Daemon::prepared(
        &["prlimit", "--fsize=9000000", "--core=0"],
        &[("shop.yaml", &four_looks(&world, "/well"))],
        &config(&world, ""),
    );
    daemon.again();
    let text = "the shop is slow ".repeat(3_800);
    let mut accepted = Vec::new();
    for n in 0..1_000 {
        let body =
            json!({ "source": "full", "id": n.to_string(), "title": "slow", "text": text, "services": ["shop"] });
        match daemon.try_post("/api/v1/tickets", &body) {
            Ok(answer) if answer.status == 202 => accepted.push(answer.json()["ticket"].as_str().unwrap().to_owned()),
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{}", answer.text());
                break;
            }
            // The kernel ends who writes beyond this limit: the connection just breaks.
            Err(_) => break,
        }
    }
    assert!(accepted.len() > 10 && accepted.len() < 1_000, "{} were accepted", accepted.len());
    // A write that failed leaves a file that can't be trusted: it ends by itself.
    let code = daemon.ended(PATIENCE);
    assert_ne!(code, Some(0), "{}", daemon.log());

    // Without the limit everything that was acknowledged is there.
    daemon.unwrapped();
    daemon.again();
    for number in &accepted {
        daemon.decided(number);
    }
}
