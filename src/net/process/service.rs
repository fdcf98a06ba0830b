//! A program that serves as long as somebody asks it: started, waited for until it is ready, ended with all that it started.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::descendants::Marks;
use super::{Bounds, NotRun, Privileges, Program, Run, limit, mark, spawn};

/// The most that it may print until it is ready.
const GREETING: usize = 16 * 1024;
/// How often its memory is looked at.
const WATCH: Duration = Duration::from_millis(250);

/// A running program. Dropped, it is killed with everything that descends from it, and its directory is removed.
#[derive(Debug)]
pub struct Service {
    run: Run,
    too_large: Arc<AtomicBool>,
    _drains: [AbortOnDropHandle<()>; 3],
}

/// Starts a program, and waits until `ready` makes something of what it has printed.
///
/// `HOME` and `TMPDIR` are its own fresh directory. `memory` bounds what all its processes hold together, in bytes
/// (`bounds.memory` is each one's address space): at more than that they are killed, see [`Service::was_too_large`].
///
/// # Errors
/// It could not be started, ended before it was ready, or wasn't ready at the deadline.
pub async fn serve<T>(
    program: &Program,
    bounds: Bounds,
    memory: u64,
    deadline: Instant,
    ready: impl Fn(&str) -> Option<T>,
) -> Result<(Service, T), NotRun> {
    let shown = program.path.display().to_string();
    let failed = |why: String| NotRun::Failed { path: shown.clone(), why };
    let mark = mark().map_err(|error| failed(error.to_string()))?;
    let directory = super::directory(&mark).map_err(|error| failed(error.to_string()))?;
    let mut run = Run { child: None, marks: None, directory: Some(directory.clone()) };

    let mut program = program.clone();
    for variable in ["HOME", "TMPDIR"] {
        program.env.push((variable.to_owned(), directory.display().to_string()));
    }
    let mut child =
        spawn(&program, Privileges::None, &directory, &mark).await.map_err(|error| failed(error.to_string()))?;
    let (out_pipe, err_pipe) = (child.stdout.take(), child.stderr.take());
    let pid = child.id().and_then(|id| Pid::from_raw(id as i32));
    run.child = Some(child);
    let (Some(pid), Some(mut out_pipe), Some(mut err_pipe)) = (pid, out_pipe, err_pipe) else {
        return Err(failed("it has no process id".to_owned()));
    };
    let marks = Marks::new(pid, mark, directory);
    run.marks = Some(marks.clone());
    limit(pid, bounds);

    let mut printed = Vec::new();
    let greeted = timeout_at(deadline, greeting(&mut out_pipe, &mut printed, ready)).await;
    let Ok(Some(found)) = greeted else {
        let why = if greeted.is_err() { "it wasn't ready in time" } else { "it ended before it was ready" };
        let mut complaint = Vec::new();
        let _ =
            timeout_at(deadline.min(Instant::now() + WATCH), super::capped(Some(err_pipe), &mut complaint, 400)).await;
        let complaint = String::from_utf8_lossy(&complaint);
        let complaint = complaint.trim();
        let why = if complaint.is_empty() { why.to_owned() } else { format!("{why}: {complaint}") };
        run.kill().await;
        run.finish().await;
        return Err(failed(why));
    };
    let too_large = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&too_large);
    let _drains = [
        AbortOnDropHandle::new(tokio::spawn(async move { drain(&mut out_pipe).await })),
        AbortOnDropHandle::new(tokio::spawn(async move { drain(&mut err_pipe).await })),
        AbortOnDropHandle::new(tokio::spawn(watch(marks, memory, flag))),
    ];
    Ok((Service { run, too_large, _drains }, found))
}

impl Service {
    /// Its own directory, which goes with it.
    pub fn directory(&self) -> Option<&Path> {
        self.run.directory.as_deref()
    }

    /// True where it was killed because it held more memory than it may.
    pub fn was_too_large(&self) -> bool {
        self.too_large.load(Ordering::Relaxed)
    }

    /// Ends it now; returns when nothing of it is left.
    pub async fn end(self) {
        let Service { mut run, .. } = self;
        run.kill().await;
        run.finish().await;
    }
}

/// What `ready` makes of the output; nothing where it ends, or grows too long, before that.
async fn greeting<T>(
    pipe: &mut (impl AsyncRead + Unpin),
    printed: &mut Vec<u8>,
    ready: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let mut buffer = [0_u8; 1024];
    while printed.len() < GREETING {
        let length = pipe.read(&mut buffer).await.unwrap_or(0);
        if length == 0 {
            return None;
        }
        printed.extend_from_slice(&buffer[..length]);
        if let Some(found) = ready(&String::from_utf8_lossy(printed)) {
            return Some(found);
        }
    }
    None
}

/// Takes what it prints, so that it never waits for somebody to read it.
async fn drain(pipe: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = [0_u8; 4096];
    while pipe.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
}

async fn watch(marks: Marks, memory: u64, too_large: Arc<AtomicBool>) {
    loop {
        sleep(WATCH).await;
        let (marks, flag) = (marks.clone(), Arc::clone(&too_large));
        let looked = tokio::task::spawn_blocking(move || {
            if marks.memory() > memory {
                flag.store(true, Ordering::Relaxed);
                marks.kill_all();
            }
        });
        if looked.await.is_err() || too_large.load(Ordering::Relaxed) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn shell(script: &str) -> Program {
        let args = vec!["-c".to_owned(), script.to_owned()];
        Program { path: PathBuf::from("/bin/sh"), called: None, args, env: Vec::new() }
    }

    async fn serve_for(script: &str, memory: u64, time: Duration) -> Result<(Service, String), NotRun> {
        let ready = |text: &str| text.strip_prefix("ready ")?.strip_suffix('\n').map(str::to_owned);
        let bounds = Bounds { memory: u64::MAX, ..Bounds::default() };
        serve(&shell(script), bounds, memory, Instant::now() + time, ready).await
    }

    const LARGE: u64 = 1 << 40;

    fn is_alive(pid: &str) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")))
    }

    async fn until_gone(pid: &str) -> bool {
        let end = Instant::now() + Duration::from_secs(10);
        while is_alive(pid) && Instant::now() < end {
            sleep(Duration::from_millis(5)).await;
        }
        !is_alive(pid)
    }

    #[tokio::test]
    async fn it_serves_until_it_is_ended_and_leaves_nothing() {
        // A child that left its session and its parent behind, as a browser's crash handler does.
        let script = "touch $HOME/here $TMPDIR/there; (setsid sleep 3600 >/dev/null 2>&1 & echo ready $!); sleep 3600";
        for by_drop in [false, true] {
            let (service, child) = serve_for(script, LARGE, Duration::from_secs(10)).await.unwrap();
            let directory = service.directory().unwrap().to_owned();
            assert!(is_alive(&child) && directory.join("here").exists() && directory.join("there").exists());
            assert!(!service.was_too_large());
            if by_drop {
                drop(service);
                assert!(until_gone(&child).await);
                let end = Instant::now() + Duration::from_secs(10);
                while directory.exists() && Instant::now() < end {
                    sleep(Duration::from_millis(5)).await;
                }
            } else {
                service.end().await;
                assert!(!is_alive(&child));
            }
            assert!(!directory.exists());
        }
    }

    #[tokio::test]
    async fn what_is_never_ready_is_told_with_its_complaint() {
        let time = Duration::from_secs(10);
        for (script, time, why) in [
            ("echo no port left >&2; exit 1", time, "ended before it was ready: no port left"),
            ("echo not yet; sleep 3600", Duration::from_millis(200), "wasn't ready in time"),
            ("yes", time, "ended before it was ready"),
        ] {
            let error = serve_for(script, LARGE, time).await.unwrap_err().to_string();
            assert!(error.contains(why), "{script}: {error}");
        }
        let missing = Program { path: PathBuf::from("/nowhere/driver"), ..shell("") };
        let ended = serve(&missing, Bounds::default(), LARGE, Instant::now() + time, |_| Some(())).await;
        assert!(matches!(ended, Err(NotRun::Failed { .. })));
    }

    #[tokio::test]
    async fn what_takes_too_much_memory_is_killed() {
        // The shell holds a text of a megabyte.
        let script = "echo ready $$; x=0123456789abcdef; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do x=$x$x; done; sleep 3600";
        let (service, pid) = serve_for(script, 500_000, Duration::from_secs(10)).await.unwrap();
        assert!(until_gone(&pid).await);
        assert!(service.was_too_large());
        service.end().await;
    }
}
