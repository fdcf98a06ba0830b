//! A day of logs as programs and web servers write them, seeded: every run measures the same ones.
#![allow(dead_code, reason = "each bench uses a part")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use houston::evidence::log_source::Question;
use houston::model::window::Window;
use jiff::{SignedDuration, Timestamp};

/// The time of each log's last line.
pub fn now() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

pub fn last_15_minutes() -> Window {
    Window::ending_at(now(), SignedDuration::from_mins(15))
}

/// The day, and all of it.
pub fn whole() -> Window {
    Window::ending_at(now(), SignedDuration::from_hours(25))
}

/// What a check of one window is asked.
pub fn question(window: Window) -> Question {
    Question {
        now: now(),
        window,
        since: window.from,
        customer: None,
        usual: Vec::new(),
        deadline: Instant::now() + Duration::from_secs(600),
        dropped: Default::default(),
    }
}

/// JSON lines of a program, one of a thousand an error.
pub fn write_app_log(path: &Path, bytes: u64) {
    generate(path, bytes, &|out, at, random| {
        let (level, message) = match random % 1_000 {
            0 => ("error", format!("mail to user {random} bounced: host mx{}.example.com not found", random % 7)),
            1..=9 => ("warn", format!("slow query on orders took {} ms", random % 3_000)),
            10..=499 => ("info", format!("order {random} paid in {} ms by card", random % 900)),
            _ => ("info", format!("GET /api/cart/{random:x} answered 200 in {} ms", random % 90)),
        };
        let customer = ["acme", "globex", "initech", "umbrella"][(random % 4) as usize];
        let ts = at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
        let _ = writeln!(
            out,
            r#"{{"ts":"{ts}","level":"{level}","msg":"{message}","customer":"{customer}","request":"{random:016x}","service":"checkout","pid":4711}}"#
        );
    });
}

/// Requests in the combined format with the request time behind them, one of a thousand a 502.
pub fn write_access_log(path: &Path, bytes: u64) {
    generate(path, bytes, &|out, at, random| {
        let status = if random.is_multiple_of(1_000) { 502 } else { 200 };
        let time = at.strftime("%d/%b/%Y:%H:%M:%S +0000");
        let (user, path, seconds) = (random % 200, random % 5_000, (random % 900 + 1) as f64 / 1e3);
        let _ = writeln!(
            out,
            r#"10.0.{}.{} - customer-{user} [{time}] "GET /api/item/{path}?page=2 HTTP/1.1" {status} {} "https://shop.example.com/" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36" {seconds:.3}"#,
            random % 256,
            random / 256 % 256,
            random % 40_000
        );
    });
}

/// Writes lines evenly over the day until the file has its size.
fn generate(path: &Path, bytes: u64, line: &dyn Fn(&mut String, Timestamp, u64)) {
    let mut sample = String::new();
    line(&mut sample, now(), 500);
    let count = bytes / sample.len() as u64;
    let mut file = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(path).unwrap());
    let mut state = 88_172_645_463_325_252_u64;
    let mut text = String::new();
    for index in 0..count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let left = 86_400_000 * (count - 1 - index) / count;
        text.clear();
        line(&mut text, now() - SignedDuration::from_millis(left as i64), state);
        file.write_all(text.as_bytes()).unwrap();
    }
    file.flush().unwrap();
}
