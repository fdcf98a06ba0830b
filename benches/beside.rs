//! What benches share that measure ours beside what people would use instead: finding the peer, its processor time, and
//! rounds by turns, so that a machine that is busy for a while is busy for both.
#![allow(dead_code, reason = "each bench uses a part")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// The whole is measured, with files of full size.
pub fn full() -> bool {
    std::env::var_os("HOUSTON_BENCH_FULL").is_some()
}

/// Finds a program in the path. Where it is missing the bench ends and says what brings it: a figure without its peer
/// says nothing.
pub fn peer(program: &str, brought_by: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    found.unwrap_or_else(|| {
        println!("`{program}` is missing, which this bench measures ours beside: {brought_by}");
        std::process::exit(1)
    })
}

/// Where a Debian package brings the program.
pub fn debian(program: &str, package: &str) -> PathBuf {
    peer(program, &format!("apt-get install {package}"))
}

/// What a program says on its standard output.
pub fn said(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The same, as a number.
pub fn number(command: &mut Command) -> u64 {
    let said = said(command);
    said.parse().unwrap_or_else(|_| panic!("{command:?} says {said:?}"))
}

/// A server that ends with this process.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// User and system time of a process, its dead threads included, in seconds; in steps of 10 ms (proc(5)).
pub fn cpu_of(process: &str) -> f64 {
    let fields = times(process);
    fields[0] + fields[1]
}

/// User and system time of this process and of those that it has waited for.
fn cpu() -> f64 {
    times("self").iter().sum()
}

/// utime, stime, cutime, cstime (proc(5): fields 14 to 17, in hundredths).
fn times(process: &str) -> [f64; 4] {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    [11, 12, 13, 14].map(|index| fields[index].parse::<f64>().unwrap() / 100.0)
}

/// The most memory that this process has had, in MiB.
pub fn peak_memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// Seconds that one piece of work took.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub wall: f64,
    pub cpu: f64,
}

/// One thing that is measured.
pub struct Work<'a> {
    pub name: &'static str,
    /// So many times in a row, where once is too short for the system's clock of processor time.
    pub times: u32,
    pub run: Box<dyn FnMut() -> u64 + 'a>,
}

pub fn work<'a>(name: &'static str, times: u32, run: impl FnMut() -> u64 + 'a) -> Work<'a> {
    Work { name, times, run: Box::new(run) }
}

/// Does each work in turn, so many rounds; the least that each took, and what it yields. `before` runs before each work,
/// and isn't measured.
pub fn by_turns(rounds: u32, works: &mut [Work<'_>], before: impl Fn()) -> Vec<(Cost, u64)> {
    let mut least = vec![(Cost { wall: f64::MAX, cpu: f64::MAX }, 0); works.len()];
    for _ in 0..rounds {
        for (work, (cost, yielded)) in works.iter_mut().zip(&mut least) {
            before();
            let (begun, used) = (Instant::now(), cpu());
            for _ in 0..work.times {
                *yielded = (work.run)();
            }
            let times = f64::from(work.times);
            cost.wall = cost.wall.min(begun.elapsed().as_secs_f64() / times);
            cost.cpu = cost.cpu.min((cpu() - used) / times);
        }
    }
    least
}

/// Tells each cost, and how often it goes into that of the peers: the works from `peers` on.
pub fn tell(works: &[Work<'_>], costs: &[(Cost, u64)], peers: usize) {
    for (work, (cost, yielded)) in works.iter().zip(costs) {
        println!("{:<44} {:>9.1} ms {:>9.1} ms CPU   {yielded}", work.name, cost.wall * 1e3, cost.cpu * 1e3);
    }
    for (ours, (cost, _)) in works.iter().zip(costs).take(peers) {
        for (peer, (theirs, _)) in works.iter().zip(costs).skip(peers) {
            let (wall, cpu) = (theirs.wall / cost.wall, theirs.cpu / cost.cpu);
            // Of a few steps of the clock no ratio can be told.
            let cpu = if theirs.cpu < 0.05 { String::new() } else { format!(", {cpu:.1} x a CPU-second") };
            println!("  {}: {wall:.1} x as fast as {}{cpu}", ours.name, peer.name);
        }
    }
}

/// Drops what the system holds of a file in its memory; what is not written to the disk yet is written first.
pub fn drop_from_cache(path: &Path) {
    let file = std::fs::File::open(path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}
