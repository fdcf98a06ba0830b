//! A daemon in a directory of its own: started as a user starts it, and ended as one likes.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::program::{Ended, ends_within, houston, run};
use super::wire::{Answer, Place};
use crate::lab::{place, until};

/// How long a start may take on a busy machine.
const READY: Duration = Duration::from_secs(60);

/// A directory with `checks.d`, `houston.yaml` and `state`, and the daemon that runs on it.
#[derive(Debug)]
pub struct Daemon {
    home: tempfile::TempDir,
    wrappers: Vec<String>,
    child: Option<Child>,
    address: String,
    state: PathBuf,
    pub token: String,
}

impl Daemon {
    /// Starts one with these files of checks (name, text) and this configuration.
    pub fn start(checks: &[(&str, &str)], config: &str) -> Daemon {
        Daemon::wrapped(&[], checks, config)
    }

    /// The same, run by a program that execs it.
    pub fn wrapped(wrappers: &[&str], checks: &[(&str, &str)], config: &str) -> Daemon {
        let mut daemon = Daemon::prepared(wrappers, checks, config);
        daemon.again();
        daemon
    }

    /// Everything laid out, and nothing started.
    pub fn prepared(wrappers: &[&str], checks: &[(&str, &str)], config: &str) -> Daemon {
        let home = place::new();
        std::fs::create_dir(home.path().join("checks.d")).unwrap();
        for (name, text) in checks {
            std::fs::write(home.path().join("checks.d").join(name), text).unwrap();
        }
        std::fs::write(home.path().join("houston.yaml"), config).unwrap();
        let wrappers = wrappers.iter().map(|word| (*word).to_owned()).collect();
        let state = home.path().join("state");
        Daemon { home, wrappers, child: None, address: String::new(), state, token: String::new() }
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn state(&self) -> &Path {
        &self.state
    }

    pub fn checks(&self) -> PathBuf {
        self.home().join("checks.d")
    }

    /// Starts it (again) over what is there.
    pub fn again(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let said = self.home().join("stdout.log");
        let stdout = File::create(&said).unwrap();
        let stderr = OpenOptions::new().create(true).append(true).open(self.home().join("stderr.log")).unwrap();
        let wrappers: Vec<&str> = self.wrappers.iter().map(String::as_str).collect();
        let mut command = houston(&wrappers, self.home());
        command.args(["serve", "--listen", "127.0.0.1:0", "--checks", "checks.d", "--config", "houston.yaml"]);
        command.arg("--state").arg(&self.state).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        self.child = Some(command.spawn().expect("the daemon starts"));
        let ends = Instant::now() + READY;
        let announced = loop {
            let text = std::fs::read_to_string(&said).unwrap_or_default();
            if text.contains("the pages, once:") && text.ends_with('\n') {
                break text;
            }
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().unwrap()) {
                panic!("the daemon ended ({status}) before it was ready:\n{}", self.log());
            }
            assert!(Instant::now() < ends, "the daemon isn't ready:\n{text}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        };
        let between = |from: &str, to: &str| {
            let (_, rest) = announced.split_once(from).unwrap_or_else(|| panic!("no `{from}` in {announced}"));
            rest.split(to).next().unwrap().trim().to_owned()
        };
        self.address = between("houston listens on http://", " ");
        let token = between("(token: ", ")");
        // Announced as the daemon sees it; where that has a mount of its own, the token is read through the process.
        let outside = PathBuf::from(&token);
        let token = std::fs::read_to_string(&outside).or_else(|_| std::fs::read_to_string(self.inside(&outside)));
        token.expect("the token's file can be read").trim().clone_into(&mut self.token);
    }

    /// This path as the daemon itself sees it.
    pub fn inside(&self, path: &Path) -> PathBuf {
        Path::new("/proc").join(self.pid().to_string()).join("root").join(path.strip_prefix("/").unwrap())
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    pub fn tcp(&self) -> Place {
        Place::Tcp(self.address.clone())
    }

    pub fn socket(&self) -> Place {
        Place::Socket(self.state.join("houston.sock"))
    }

    /// What `--server` takes.
    pub fn server(&self) -> String {
        format!("unix:{}", self.state.join("houston.sock").display())
    }

    /// The request's bytes: with the admin token over TCP, JSON where there is a body.
    pub fn request(&self, method: &str, path: &str, more: &[&str], body: Option<&[u8]>) -> Vec<u8> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        head.push_str(&format!("Authorization: Bearer {}\r\n", self.token));
        for line in more {
            head.push_str(&format!("{line}\r\n"));
        }
        if let Some(body) = body {
            head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        let mut bytes = format!("{head}\r\n").into_bytes();
        bytes.extend_from_slice(body.unwrap_or_default());
        bytes
    }

    pub fn try_post(&self, path: &str, body: &Value) -> std::io::Result<Answer> {
        let body = body.to_string();
        self.tcp().send(&self.request("POST", path, &[], Some(body.as_bytes())))
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.try_post(path, body).unwrap_or_else(|error| panic!("POST {path}: {error}\n{}", self.log()))
    }

    pub fn get(&self, path: &str) -> Answer {
        let request = self.request("GET", path, &[], None);
        self.tcp().send(&request).unwrap_or_else(|error| panic!("GET {path}: {error}\n{}", self.log()))
    }

    /// Files a ticket, returns its number.
    pub fn file(&self, id: &str, title: &str) -> String {
        let answer = self.post("/api/v1/tickets", &ticket(id, title));
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()["ticket"].as_str().expect("a number").to_owned()
    }

    /// The ticket, once its newest round is decided.
    pub fn decided(&self, number: &str) -> Value {
        let mut found = Value::Null;
        until(&format!("a verdict on {number}"), READY, || {
            found = self.get(&format!("/api/v1/tickets/{number}")).json();
            found["state"] == "decided"
        });
        found
    }

    /// Every ticket, the newest first.
    pub fn all(&self) -> Vec<Value> {
        let (mut all, mut path) = (Vec::new(), "/api/v1/tickets?limit=500".to_owned());
        loop {
            let page = self.get(&path).json();
            all.extend(page["tickets"].as_array().expect("a list").iter().cloned());
            match page["before"].as_str() {
                Some(before) => path = format!("/api/v1/tickets?limit=500&before={before}"),
                None => return all,
            }
        }
    }

    /// A metric without labels.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let page = self.get("/metrics").text();
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// The history of a ticket, as events of a stream that has ended: (id, name, data).
    pub fn events(&self, number: &str, after: Option<&str>) -> Vec<(u64, String, Value)> {
        let after: Vec<String> = after.iter().map(|id| format!("Last-Event-ID: {id}")).collect();
        let after: Vec<&str> = after.iter().map(String::as_str).collect();
        let request = self.request("GET", &format!("/api/v1/tickets/{number}/events"), &after, None);
        let answer = self.tcp().send(&request).expect("a stream that ends");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        events(&answer.text())
    }

    /// The command line, told where this daemon is.
    pub fn command(&self, arguments: &[&str]) -> Ended {
        let server = self.server();
        let common = ["--server", &server, "--checks", "checks.d", "--config", "houston.yaml"];
        run(self.home(), arguments.iter().copied().chain(common))
    }

    pub fn signal(&self, signal: Signal) {
        // A process that hasn't been waited for keeps its number, so this can't hit another one.
        kill_process(Pid::from_child(self.child.as_ref().expect("it runs")), signal).unwrap();
    }

    /// From the next start on nothing stands between it and the machine.
    pub fn unwrapped(&mut self) {
        self.wrappers.clear();
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// How it ended by itself; killed where it didn't.
    pub fn ended(&mut self, at_most: Duration) -> Option<i32> {
        let mut child = self.child.take().expect("it runs");
        match ends_within(&mut child, at_most) {
            Some(status) => status.code(),
            None => panic!("the daemon did not end within {at_most:?}:\n{}", self.log()),
        }
    }

    /// What it wrote to standard error, in all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home().join("stderr.log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let end: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("--- the daemon said:");
            end.iter().rev().for_each(|line| eprintln!("{line}"));
        }
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A ticket about the shop.
pub fn ticket(id: &str, title: &str) -> Value {
    json!({ "source": "test", "id": id, "title": title, "services": ["shop"] })
}

/// A stream of events, as text.
pub fn events(text: &str) -> Vec<(u64, String, Value)> {
    let mut events = Vec::new();
    for block in text.split("\n\n").filter(|block| block.contains("data:")) {
        let field = |name: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {block}")).trim().to_owned()
        };
        let data = serde_json::from_str(&field("data:")).expect("data is JSON");
        events.push((field("id:").parse().expect("an id is a number"), field("event:"), data));
    }
    events
}
