//! Load, memory, pressure and file descriptors, as /proc tells them.
//!
//! <https://docs.kernel.org/filesystems/proc.html>, <https://docs.kernel.org/accounting/psi.html>.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use crate::model::value::Measures;

/// The most that is read of one file, in bytes.
pub(super) const FILE_LIMIT: u64 = 1024 * 1024;

/// A file's text, as far as it is read.
pub(super) fn text(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Sets what there is; returns what a reader should know of what there isn't.
pub(super) fn tell(proc: &Path, measures: &mut Measures) -> Vec<String> {
    let mut notes = Vec::new();
    let read = |name: &str| text(&proc.join(name)).unwrap_or_default();
    load(&read("loadavg"), &read("stat"), measures);
    memory(&read("meminfo"), measures);
    for resource in ["cpu", "memory", "io"] {
        pressure(resource, &read(&format!("pressure/{resource}")), measures);
    }
    if measures.number("cpu_pressure_ratio").is_none() {
        notes.push("this kernel tells no pressure (PSI)".to_owned());
    }
    files(&read("sys/fs/file-nr"), measures);
    if let Some(seconds) = numbers(&read("uptime")).first() {
        measures.set("uptime_seconds", *seconds);
    }
    notes
}

/// The numbers at the start of a text.
fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace().map_while(|word| word.parse::<f64>().ok().filter(|number| number.is_finite())).collect()
}

fn load(loadavg: &str, stat: &str, measures: &mut Measures) {
    let cpus = stat
        .lines()
        .filter_map(|line| line.strip_prefix("cpu"))
        .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        .count();
    if cpus > 0 {
        measures.set("cpus", cpus);
    }
    if let [one, five, fifteen, ..] = numbers(loadavg)[..] {
        measures.set("load_1m", one).set("load_5m", five).set("load_15m", fifteen);
        if cpus > 0 {
            measures.set("load_per_cpu", one / cpus as f64);
        }
    }
}

fn memory(meminfo: &str, measures: &mut Measures) {
    let kibibytes: BTreeMap<&str, f64> = meminfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter_map(|(name, rest)| Some((name, *numbers(rest).first()?)))
        .collect();
    let get = |name: &str| kibibytes.get(name).copied();
    if let (Some(all), Some(available)) = (get("MemTotal").filter(|all| *all > 0.0), get("MemAvailable")) {
        measures.set("memory_available_ratio", available / all);
        measures.set("memory_available_bytes", available * 1024.0);
    }
    if let (Some(all), Some(free)) = (get("SwapTotal").filter(|all| *all > 0.0), get("SwapFree")) {
        measures.set("swap_used_ratio", (all - free) / all);
    }
}

/// `some avg10=0.00 avg60=1.25 avg300=0.50 total=1234`, in percent; of the processors only `some` means anything.
fn pressure(resource: &str, psi: &str, measures: &mut Measures) {
    for (line, name) in [("some", "pressure"), ("full", "stall")] {
        if resource == "cpu" && line == "full" {
            continue;
        }
        let percent = psi
            .lines()
            .filter_map(|text| text.strip_prefix(line))
            .flat_map(str::split_whitespace)
            .find_map(|word| word.strip_prefix("avg60="))
            .and_then(|number| number.parse::<f64>().ok())
            .filter(|percent| percent.is_finite());
        if let Some(percent) = percent {
            measures.set(&format!("{resource}_{name}_ratio"), percent / 100.0);
        }
    }
}

/// Open ones, free ones, and the most that are allowed.
fn files(file_nr: &str, measures: &mut Measures) {
    if let [open, free, most, ..] = numbers(file_nr)[..] {
        measures.set("files_open", open - free);
        if most > 0.0 {
            measures.set("files_open_ratio", (open - free) / most);
        }
    }
}
