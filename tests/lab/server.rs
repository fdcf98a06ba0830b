//! A program that runs for as long as its value lives.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{place, program};

/// How long a server may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// A running server with a directory of its own.
#[derive(Debug)]
pub struct Server {
    name: String,
    child: Child,
    place: tempfile::TempDir,
}

impl Server {
    /// Starts the program; `is_ready` is asked until it says so. The arguments may use the server's directory.
    ///
    /// # Panics
    /// With the server's own words, where it ends or isn't ready in time.
    pub fn start<A: AsRef<OsStr>>(
        name: &str,
        place: tempfile::TempDir,
        arguments: impl IntoIterator<Item = A>,
        is_ready: impl Fn() -> bool,
    ) -> Server {
        let mut server = Server { name: name.to_owned(), child: spawn(name, place.path(), arguments), place };
        let ends = Instant::now() + super::READY;
        while !is_ready() {
            if let Some(status) = server.ended() {
                panic!("{name} ended ({status}) before it was ready:\n{}", server.said());
            }
            assert!(Instant::now() < ends, "{name} isn't ready after {:?}:\n{}", super::READY, server.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        self.place.path()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to its standard output and error, at most the last 8 KiB.
    pub fn said(&self) -> String {
        let text = std::fs::read(self.place.path().join("said.log")).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(8192)..]).into_owned()
    }

    pub fn signal(&self, signal: Signal) {
        // A process that hasn't been waited for keeps its number, so this can't hit another one.
        kill_process(Pid::from_child(&self.child), signal).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Freezes it: it holds its port and answers nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends it and waits until it is gone.
    pub fn stop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        let pid = Pid::from_child(&self.child);
        let _ = kill_process(pid, Signal::TERM);
        // One that was frozen can't hear it otherwise.
        let _ = kill_process(pid, Signal::CONT);
        let ends = Instant::now() + GRACE;
        while Instant::now() < ends {
            if self.ended().is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        match self.child.try_wait() {
            Ok(status) => status,
            Err(error) => panic!("{}: {error}", self.name),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}", self.name, self.said());
        }
        self.stop();
    }
}

fn spawn<A: AsRef<OsStr>>(name: &str, directory: &Path, arguments: impl IntoIterator<Item = A>) -> Child {
    let said = File::create(directory.join("said.log")).expect("the server's directory can be written to");
    let errors = said.try_clone().expect("a file can be opened twice");
    #[allow(clippy::disallowed_methods)] // the lab runs servers, not checks' programs
    let mut command = Command::new(program("setpriv"));
    command.args([OsString::from("--pdeathsig=KILL"), "--".into(), program(name).into_os_string()]);
    command.args(arguments.into_iter().map(|argument| argument.as_ref().to_os_string()));
    command.current_dir(directory).stdin(Stdio::null()).stdout(said).stderr(errors);
    on_the_lasting_thread(command).unwrap_or_else(|error| panic!("{name} can't be started: {error}"))
}

/// The kernel ends a server when the *thread* that started it ends, and a test's thread ends before a shared server
/// should: so all are started by one thread that lasts as long as the binary.
fn on_the_lasting_thread(command: Command) -> std::io::Result<Child> {
    type Order = (Command, Sender<std::io::Result<Child>>);
    static ORDERS: OnceLock<Sender<Order>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (sender, receiver) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in receiver {
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (sender, receiver) = channel();
    orders.send((command, sender)).map_err(std::io::Error::other)?;
    receiver.recv().map_err(std::io::Error::other)?
}

#[test]
fn a_server_is_ended_when_it_is_dropped_even_when_it_is_frozen_or_deaf() {
    for frozen in [false, true] {
        let server = Server::start("sleep", place::new(), ["1000"], || true);
        let process = Path::new("/proc").join(server.pid().to_string());
        if frozen {
            server.freeze();
        }
        assert!(process.exists());
        drop(server);
        assert!(!process.exists());
    }
    let script = "trap '' TERM; echo deaf; while :; do sleep 1; done";
    let place = place::new();
    let log = place.path().join("said.log");
    let is_deaf = || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("deaf"));
    let mut server = Server::start("sh", place, ["-c", script], is_deaf);
    server.stop();
    assert_eq!(server.ended().and_then(|status| status.signal()), Some(9));
}

#[test]
fn a_server_that_ends_at_once_says_why() {
    let place = place::new();
    let started = std::panic::catch_unwind(move || {
        Server::start("sh", place, ["-c", "echo no port for me >&2; exit 3"], || false)
    });
    let why = *started.unwrap_err().downcast::<String>().unwrap();
    assert!(why.contains("no port for me") && why.contains('3'), "{why}");
}

#[test]
fn a_program_that_is_missing_is_named_with_what_to_do() {
    let missing = std::panic::catch_unwind(|| program("no-such-server"));
    let why = *missing.unwrap_err().downcast::<String>().unwrap();
    assert!(why.contains("no-such-server") && why.contains("scripts/test"), "{why}");
}
