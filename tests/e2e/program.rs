//! The program under test: its command line, run in a clean environment, within a bound.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::lab::program;

/// What the programs find in their environment, and nothing else.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ("LANG", "C.UTF-8"),
    ("TERM", "xterm-256color"),
    ("HOOK_SECRET", "a-secret-for-the-hook-0123456789"),
    ("READ_TOKEN", "hou_read-0123456789abcdef0123456789abcdef"),
    ("REPORT_TOKEN", "hou_report-0123456789abcdef0123456789abcdef"),
    ("OPERATE_TOKEN", "hou_operate-0123456789abcdef0123456789abcdef"),
];

/// How long a command may take.
const AT_MOST: Duration = Duration::from_secs(60);

/// A variable of the programs' environment.
pub fn variable(name: &str) -> &'static str {
    ENVIRONMENT.iter().find(|(known, _)| *known == name).map(|(_, value)| *value).expect("a known variable")
}

/// The tested program behind these wrappers (`unshare …`, `prlimit …`), which must exec it.
///
/// It ends when the thread that starts it ends, however that comes.
pub fn houston(wrappers: &[&str], directory: &Path) -> Command {
    #[allow(clippy::disallowed_methods)] // the tests run the program itself
    let mut command = Command::new(program("setpriv"));
    command.args(["--pdeathsig=KILL", "--"]).args(wrappers).arg(env!("CARGO_BIN_EXE_houston"));
    command.env_clear().envs(ENVIRONMENT.iter().copied()).current_dir(directory).stdin(Stdio::null());
    command
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// `None`: by a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the program with these arguments until it ends.
pub fn run<A: AsRef<OsStr>>(directory: &Path, arguments: impl IntoIterator<Item = A>) -> Ended {
    let mut command = houston(&[], directory);
    command.args(arguments);
    finish(command)
}

/// Runs a command until it ends.
pub fn finish(mut command: Command) -> Ended {
    let mut running = Running::start(&mut command);
    running.wait()
}

/// A command under way, its output collected.
pub struct Running {
    child: Child,
    stdout: std::thread::JoinHandle<String>,
    stderr: std::thread::JoinHandle<String>,
}

impl Running {
    pub fn start(command: &mut Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let stdout = collect(child.stdout.take().expect("a pipe"));
        let stderr = collect(child.stderr.take().expect("a pipe"));
        Running { child, stdout, stderr }
    }

    pub fn signal(&self, signal: Signal) {
        // A process that hasn't been waited for keeps its number, so this can't hit another one.
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    pub fn wait(&mut self) -> Ended {
        let status = ends_within(&mut self.child, AT_MOST);
        let take = |thread: &mut std::thread::JoinHandle<String>| {
            std::mem::replace(thread, std::thread::spawn(String::new)).join().expect("output is text")
        };
        let (stdout, stderr) = (take(&mut self.stdout), take(&mut self.stderr));
        match status {
            Some(status) => Ended { code: status.code(), stdout, stderr },
            None => panic!("not ended within {AT_MOST:?}:\n{stdout}\n{stderr}"),
        }
    }
}

/// Waits for the end; kills it where that doesn't come in time, and returns nothing then.
pub fn ends_within(child: &mut Child, at_most: Duration) -> Option<std::process::ExitStatus> {
    let ends = Instant::now() + at_most;
    loop {
        if let Some(status) = child.try_wait().expect("our own child") {
            return Some(status);
        }
        if Instant::now() >= ends {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn collect(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = from.read_to_end(&mut text);
        String::from_utf8(text).expect("the program writes UTF-8")
    })
}
