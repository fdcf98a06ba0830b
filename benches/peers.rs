//! Why `prometheus-parse` and `serde_yaml` are oracles of our tests, and nothing that runs: what each makes of input
//! that is not as it should be.
//!
//! `prometheus-parse` gets a handful of pages and is wrong in silence where it neither reads what stands there nor
//! refuses the page. `serde_yaml` (the maintained `yaml_serde`) gets a flat alias bomb of 7 kB, in a process of its own
//! whose peak of memory is what counts (Linux only); our reader gets the same.
//!
//! `cargo bench --bench peers`
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a bench tells people what it measured")]
#![allow(clippy::disallowed_methods, reason = "the peak of memory is that of a process of its own")]

use std::process::Command;

use houston::net::exposition::{Format, Limits, read};
use houston::yaml;

/// Pages, and the samples that each holds with their first label's value; `None`: it is no page of metrics.
const PAGES: &[(&str, Option<(usize, &str)>)] = &[
    ("<html><body>502 Bad Gateway</body></html>\n", None),
    ("bad xyz\n", None),
    ("a 1\nb{x=\"1\n", None),
    ("job:rate:5m{code=\"500\"} 1\n", Some((1, "500"))),
    ("a{} 1\n", Some((1, ""))),
    ("a{path=\"/{id}\"} 1\n", Some((1, "/{id}"))),
    ("{\"my.metric\"} 1\n", Some((1, ""))),
    ("a { x = \"1\" } 3\n", Some((1, "1"))),
    ("a{x=\"say \\\"hi\\\"\"} 1\n", Some((1, "say \"hi\""))),
    ("a{x=\"two\\nlines\"} 1\n", Some((1, "two\nlines"))),
];

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("peer") => {
            let read: Result<serde_yaml::Value, _> = serde_yaml::from_str(&bomb());
            println!("{} MiB {}", peak(), if read.is_ok() { "read" } else { "refused" });
        }
        Some("ours") => {
            let read = yaml::parse("bomb.yaml", &bomb());
            println!("{} MiB {}", peak(), if read.is_ok() { "read" } else { "refused" });
        }
        _ => compare(),
    }
}

fn compare() {
    let (mut ours, mut theirs) = (0, 0);
    for (page, truth) in PAGES {
        ours += usize::from(our_reading(page) != shown(truth));
        theirs += usize::from(their_reading(page) != shown(truth));
    }
    println!(
        "pages of metrics read wrongly, without a word: ours {ours}, prometheus-parse {theirs} of {}",
        PAGES.len()
    );
    let program = std::env::current_exe().unwrap();
    for (name, argument) in [("ours", "ours"), ("serde_yaml", "peer")] {
        let output = Command::new(&program).arg(argument).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        println!("an alias bomb of {} bytes: {name:10} {}", bomb().len(), said.trim());
    }
}

/// Samples and the first label's value of the first one; `None`: refused.
type Reading = Option<(usize, String)>;

fn shown(truth: &Option<(usize, &str)>) -> Reading {
    truth.map(|(count, label)| (count, label.to_owned()))
}

fn our_reading(page: &str) -> Reading {
    let read = read(page.as_bytes(), Format::Text, Limits::default()).ok()?;
    let label = read.samples.first().and_then(|sample| read.labels(sample).first());
    Some((read.samples.len(), label.map(|label| label.value.text().into_owned()).unwrap_or_default()))
}

fn their_reading(page: &str) -> Reading {
    let read = prometheus_parse::Scrape::parse(page.lines().map(|line| Ok(line.to_owned()))).ok()?;
    let label = read.samples.first().and_then(|sample| sample.labels.values().next().cloned());
    Some((read.samples.len(), label.unwrap_or_default()))
}

/// A list of 2,000 texts, and a thousand references to it.
fn bomb() -> String {
    format!("a: &a [{}]\nb: [{}]\n", "x,".repeat(2_000), "*a,".repeat(1_000))
}

/// The most memory that this process has had, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}
