//! Runs a program with bounds, and leaves nothing of it behind. The only place that starts processes.
//!
//! A program gets its arguments as they are (no shell), an environment with `PATH` and `LANG` only, an empty standard
//! input, a fresh empty directory, a process group of its own, no new privileges and no capability handed on
//! ([`Privileges`] has the one exception), and resource limits. At its end or its deadline, whichever comes first,
//! everything that descends from it is killed.
//!
//! What isn't covered: the limits are put on the running process right after its start, so what it forks in its first
//! microseconds has none; and a descendant that left its session, its directory *and* its environment behind before
//! its parent ended can't be recognised any more. The allow-list says whom to trust that far. This process is not made
//! the reaper of orphans: one that ends by itself would stay as a zombie, since only who started a process may ask for
//! its end; the host's init does that.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

mod descendants;
mod service;

use descendants::Marks;
pub use service::{Service, serve};

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Absolute.
    pub path: PathBuf,
    /// What it is told that it is called (`argv[0]`), where that isn't its path: some programs go by it.
    pub called: Option<PathBuf>,
    pub args: Vec<String>,
    /// Set besides `PATH` and `LANG`.
    pub env: Vec<(String, String)>,
}

/// Which of this process's capabilities (capabilities(7)) a program inherits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privileges {
    /// None. A program still has what both this process has and its own file grants; where this runs as root, that is
    /// all of them.
    None,
    /// CAP_NET_RAW where this process has it, and none besides.
    RawSockets,
}

/// What it may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of standard output, and again of standard error; at more than that the pipe is closed.
    pub output: usize,
    pub cpu: Duration,
    /// Bytes of address space of each process.
    pub memory: u64,
    /// Bytes of each file that it writes.
    pub file: u64,
    pub open_files: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            output: 64 * 1024,
            cpu: Duration::from_secs(10),
            memory: 512 * 1024 * 1024,
            file: 1024 * 1024,
            open_files: 64,
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Exit(i32),
    Signal(i32),
    /// It was killed at the deadline.
    TimedOut,
}

/// What it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    pub ended: Ended,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// It wrote more than the bound, or something that it left behind kept writing.
    pub truncated: bool,
    pub took: Duration,
}

/// A file that a program was to leave behind in its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    Bytes(Vec<u8>),
    /// There is none, or it is no regular file.
    Nothing,
    /// It reaches the bound, where the kernel cuts it.
    TooLong,
}

/// Why it was not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRun {
    /// It may not be run: not allowed, not safe to run.
    #[error("{path} {why}")]
    Refused { path: String, why: String },
    /// Our own side failed.
    #[error("can't start {path}: {why}")]
    Failed { path: String, why: String },
}

/// True for a program that may be run: on the list, a regular file, without set-user-id bits, and not writable by
/// others or (unless this is root) by ourselves.
///
/// # Errors
/// Which of these it isn't.
pub fn allowed(path: &Path, list: &[PathBuf]) -> Result<PathBuf, NotRun> {
    let refused = |why: &str| NotRun::Refused { path: path.display().to_string(), why: why.to_owned() };
    if !path.is_absolute() {
        return Err(refused("is not an absolute path"));
    }
    if !list.iter().any(|listed| listed == path) {
        return Err(refused("is not in the list of programs that checks may run"));
    }
    // What is looked at is what is run: links are followed once, here.
    let real = std::fs::canonicalize(path).map_err(|error| refused(&format!("can't be read: {error}")))?;
    let metadata = std::fs::metadata(&real).map_err(|error| refused(&format!("can't be read: {error}")))?;
    let mode = metadata.mode();
    if !metadata.is_file() {
        return Err(refused("is not a file"));
    }
    if mode & 0o6000 != 0 {
        return Err(refused("runs with another user's rights (set-user-id or set-group-id)"));
    }
    if mode & 0o111 == 0 {
        return Err(refused("is not executable"));
    }
    if mode & 0o022 != 0 {
        return Err(refused("can be written by others"));
    }
    let root = rustix::process::geteuid().is_root();
    if !root && rustix::fs::access(&real, rustix::fs::Access::WRITE_OK).is_ok() {
        return Err(refused("can be written by this daemon"));
    }
    let parent = real.parent().and_then(|parent| std::fs::metadata(parent).ok()).map_or(0o777, |parent| parent.mode());
    if parent & 0o022 != 0 && parent & 0o1000 == 0 {
        return Err(refused("lies in a directory that others can write"));
    }
    Ok(real)
}

/// Runs a program until its end or the deadline, and hands on no capability.
///
/// # Errors
/// It could not be started. How it ended is a value.
pub async fn run(program: &Program, bounds: Bounds, deadline: Instant) -> Result<Ran, NotRun> {
    Ok(run_and_take(Privileges::None, program, bounds, deadline, None, None).await?.0)
}

/// The same, and hands on these capabilities.
///
/// # Errors
/// As those of [`run`].
pub async fn run_with(
    privileges: Privileges,
    program: &Program,
    bounds: Bounds,
    deadline: Instant,
) -> Result<Ran, NotRun> {
    Ok(run_and_take(privileges, program, bounds, deadline, None, None).await?.0)
}

/// Runs a program like [`run`], with a file of this name and content in its directory from the start.
///
/// # Errors
/// It could not be started.
pub async fn run_with_file(
    program: &Program,
    bounds: Bounds,
    deadline: Instant,
    name: &str,
    bytes: &[u8],
) -> Result<Ran, NotRun> {
    Ok(run_and_take(Privileges::None, program, bounds, deadline, Some((name, bytes)), None).await?.0)
}

/// Runs a program like [`run`], and takes a file from its directory before that goes: `name` is a file's name, and it has less than
/// `bounds.file` bytes.
///
/// # Errors
/// It could not be started.
pub async fn run_for_file(
    program: &Program,
    bounds: Bounds,
    deadline: Instant,
    name: &str,
) -> Result<(Ran, Left), NotRun> {
    run_and_take(Privileges::None, program, bounds, deadline, None, Some(name)).await
}

async fn run_and_take(
    privileges: Privileges,
    program: &Program,
    bounds: Bounds,
    deadline: Instant,
    given: Option<(&str, &[u8])>,
    file: Option<&str>,
) -> Result<(Ran, Left), NotRun> {
    let started = Instant::now();
    let shown = program.path.display().to_string();
    let failed = |why: String| NotRun::Failed { path: shown.clone(), why };
    let mark = mark().map_err(|error| failed(error.to_string()))?;
    let directory = directory(&mark).map_err(|error| failed(error.to_string()))?;
    // From here on, whatever happens to this future, the directory goes and so do the processes.
    let mut run = Run { child: None, marks: None, directory: Some(directory.clone()) };
    if let Some((name, bytes)) = given {
        std::fs::write(directory.join(name), bytes).map_err(|error| failed(error.to_string()))?;
    }

    let mut child = spawn(program, privileges, &directory, &mark).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => failed("no such program, or its interpreter is missing".to_owned()),
        _ => failed(error.to_string()),
    })?;
    let (out_pipe, err_pipe) = (child.stdout.take(), child.stderr.take());
    let Some(pid) = child.id().and_then(|id| Pid::from_raw(id as i32)) else {
        return Err(failed("it has no process id".to_owned()));
    };
    let child = run.child.insert(child);
    run.marks = Some(Marks::new(pid, mark, directory.clone()));
    limit(pid, bounds);

    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (ended, truncated) = {
        let reading = async {
            tokio::join!(capped(out_pipe, &mut stdout, bounds.output), capped(err_pipe, &mut stderr, bounds.output))
        };
        tokio::pin!(reading);
        let mut read = None;
        let status = loop {
            tokio::select! {
                biased;
                status = child.wait() => break Some(status),
                caps = &mut reading, if read.is_none() => read = Some(caps),
                () = tokio::time::sleep_until(deadline) => break None,
            }
        };
        // Whoever still holds the pipes goes first; then their end is near.
        run.kill().await;
        let ended = match status {
            Some(Ok(status)) => ended(status),
            Some(Err(error)) => return Err(failed(error.to_string())),
            None => Ended::TimedOut,
        };
        let read = match read {
            Some(caps) => Some(caps),
            None => timeout(Duration::from_millis(250), &mut reading).await.ok(),
        };
        (ended, read.is_none_or(|(out, err)| out || err))
    };
    let left = match file {
        Some(name) => {
            let path = directory.join(name);
            let taken = tokio::task::spawn_blocking(move || left(&path, bounds.file));
            taken.await.unwrap_or(Left::Nothing)
        }
        None => Left::Nothing,
    };
    run.finish().await;
    Ok((Ran { ended, stdout, stderr, truncated, took: started.elapsed() }, left))
}

/// What lies there. A link is not followed and a pipe not waited for: the program made this and could point it anywhere.
fn left(path: &Path, limit: u64) -> Left {
    use std::io::Read as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let Ok(file) = std::fs::OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path) else {
        return Left::Nothing;
    };
    // A second name of somebody else's file is no file of the program's either.
    if !file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.nlink() == 1) {
        return Left::Nothing;
    }
    let mut bytes = Vec::new();
    match file.take(limit).read_to_end(&mut bytes) {
        Ok(_) if bytes.len() as u64 >= limit => Left::TooLong,
        Ok(_) => Left::Bytes(bytes),
        Err(_) => Left::Nothing,
    }
}

fn mark() -> Result<String, getrandom::Error> {
    let mut bytes = [0_u8; 12];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A fresh directory that nobody else can read.
fn directory(mark: &str) -> std::io::Result<PathBuf> {
    let directory = std::env::temp_dir().join(format!("houston-{mark}"));
    std::fs::DirBuilder::new().mode(0o700).create(&directory)?;
    Ok(directory)
}

/// Starts it from a thread of its own: "no new privileges" holds for a thread and what it starts.
#[allow(clippy::disallowed_methods)] // this is the place with the bounds
async fn spawn(program: &Program, privileges: Privileges, directory: &Path, mark: &str) -> std::io::Result<Child> {
    let mut command = Command::new(&program.path);
    command
        .args(&program.args)
        .arg0(program.called.as_ref().unwrap_or(&program.path))
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C.UTF-8")
        .envs(program.env.iter().map(|(name, value)| (name, value)))
        .env(descendants::VARIABLE, mark)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let runtime = tokio::runtime::Handle::current();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("start-program".to_owned()).spawn(move || {
        let _runtime = runtime.enter();
        let child = match rustix::thread::set_no_new_privs(true).and_then(|()| hand_on(privileges)) {
            Ok(()) => command.spawn(),
            Err(error) => Err(error.into()),
        };
        // Nobody waiting any more drops the child, which kills it.
        let _ = sender.send(child);
    })?;
    receiver.await.map_err(std::io::Error::other)?
}

/// Sets what this thread hands on to what it starts; capabilities are each thread's own.
fn hand_on(privileges: Privileges) -> rustix::io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    let raw = CapabilitySet::NET_RAW;
    if privileges == Privileges::None || !rustix::thread::capabilities(None)?.permitted.contains(raw) {
        return Ok(());
    }
    // Who may not gain privileges keeps, of what its file or root would give it, what its parent has.
    rustix::thread::set_capabilities(None, CapabilitySets { effective: raw, permitted: raw, inheritable: raw })?;
    rustix::thread::configure_capability_in_ambient_set(raw, true)
}

fn limit(pid: Pid, bounds: Bounds) {
    let cpu = bounds.cpu.as_secs().max(1);
    for (resource, value) in [
        (Resource::Cpu, cpu),
        (Resource::As, bounds.memory),
        (Resource::Fsize, bounds.file),
        (Resource::Nofile, bounds.open_files),
        (Resource::Core, 0),
    ] {
        // It fails where the program has ended already: nothing is left to limit.
        let _ = rustix::process::prlimit(Some(pid), resource, Rlimit { current: Some(value), maximum: Some(value) });
    }
}

fn ended(status: std::process::ExitStatus) -> Ended {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Exit(code),
        (None, signal) => Ended::Signal(signal.unwrap_or_default()),
    }
}

/// Reads up to `limit` bytes; true where there was more. Then the pipe is closed.
async fn capped(pipe: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>, limit: usize) -> bool {
    let Some(mut pipe) = pipe else { return false };
    let mut buffer = [0_u8; 8 * 1024];
    loop {
        match pipe.read(&mut buffer).await {
            Ok(0) | Err(_) => return false,
            Ok(length) => {
                let room = limit - into.len();
                into.extend_from_slice(&buffer[..length.min(room)]);
                if length > room {
                    return true;
                }
            }
        }
    }
}

/// What has to go when the run is over, however it is over.
#[derive(Debug)]
struct Run {
    child: Option<Child>,
    marks: Option<Marks>,
    directory: Option<PathBuf>,
}

impl Run {
    /// Kills everything that descends from the program, the program included.
    async fn kill(&mut self) {
        if let Some(marks) = &self.marks {
            let marks = marks.clone();
            let done = tokio::task::spawn_blocking(move || marks.kill_all());
            if timeout(Duration::from_secs(3), done).await.is_ok_and(|done| done.is_ok()) {
                self.marks = None;
            }
        }
    }

    /// Takes the program's exit and removes its directory.
    async fn finish(mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = timeout(Duration::from_secs(2), child.kill()).await;
        }
        if let Some(directory) = self.directory.clone() {
            let _ = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(directory)).await;
            self.directory = None;
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let (child, marks, directory) = (self.child.take(), self.marks.take(), self.directory.take());
        if child.is_none() && marks.is_none() && directory.is_none() {
            return;
        }
        let clean = move || {
            if let Some(marks) = marks {
                marks.kill_all();
            }
            // Only now: while the program's own entry stands, its children can be told by it.
            drop(child);
            if let Some(directory) = directory {
                let _ = std::fs::remove_dir_all(directory);
            }
        };
        // Not on the runtime's thread: it may be shutting down, and walking the process table blocks.
        let _ = std::thread::Builder::new().name("end-program".to_owned()).spawn(clean);
    }
}

#[cfg(test)]
mod tests;
