//! Structured logs in which no outside text can forge a line: one event, one line, every field escaped.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, channel, sync_channel};
use std::time::Duration;

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::model::encode::terminal;
use crate::model::secret::Redactor;

/// Lines that wait to be written; beyond that they are dropped and counted, so that a full pipe never blocks the daemon.
const QUEUE: usize = 1_024;
/// The most of one field that is written, in bytes.
const FIELD_LIMIT: usize = 2_048;

/// What the writing thread is handed.
#[derive(Debug)]
enum Entry {
    Line(String),
    /// To be answered once everything before it is written.
    Mark(std::sync::mpsc::Sender<()>),
}

/// Turns events into lines and hands them to a thread that writes them.
#[derive(Debug, Clone)]
pub struct LineLog {
    lines: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
    redactor: Redactor,
    clock: fn() -> Timestamp,
}

impl LineLog {
    /// Starts the writing thread.
    pub fn new(mut to: impl Write + Send + 'static, redactor: Redactor, clock: fn() -> Timestamp) -> Self {
        let (lines, queue) = sync_channel::<Entry>(QUEUE);
        std::thread::spawn(move || {
            while let Ok(entry) = queue.recv() {
                // Nowhere is left to complain to when the log itself can't be written, nor to whom has gone away.
                let _ = match entry {
                    Entry::Line(line) => to.write_all(line.as_bytes()).and_then(|()| to.flush()).is_ok(),
                    Entry::Mark(done) => done.send(()).is_ok(),
                };
            }
        });
        LineLog { lines, dropped: Arc::default(), redactor, clock }
    }

    /// Waits until what was logged so far is written, so that the last words of a process are not lost with it.
    pub fn settle(&self, at_most: Duration) {
        let (done, written) = channel();
        // A full queue means that nobody reads: then there is nothing to wait for.
        if self.lines.try_send(Entry::Mark(done)).is_ok() {
            let _ = written.recv_timeout(at_most);
        }
    }

    /// Lines that could not be written in time.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LineLog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        let line = format!(
            "ts={} level={level} target={} msg={}{}\n",
            (self.clock)(),
            event.metadata().target(),
            quoted(&fields.message),
            fields.rest
        );
        let line = self.redactor.strike(&line);
        if let Err(TrySendError::Full(_)) = self.lines.try_send(Entry::Line(line)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: String,
}

impl Fields {
    fn put(&mut self, field: &Field, value: &str) {
        let mut end = value.len().min(FIELD_LIMIT);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        if field.name() == "message" {
            self.message = value[..end].to_owned();
        } else {
            let _ = write!(self.rest, " {}={}", field.name(), quoted(&value[..end]));
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.put(field, &format!("{value:?}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, &value.to_string());
    }
}

/// A logfmt value: bare where it can be, else quoted with quotes, backslashes and everything unprintable escaped.
fn quoted(value: &str) -> String {
    let safe = terminal(value);
    let bare = |c: char| c.is_ascii_alphanumeric() || "-_./:+@%,".contains(c);
    if !safe.is_empty() && safe.chars().all(bare) {
        return safe;
    }
    format!("\"{}\"", safe.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn one_event_is_one_line_whatever_it_says() {
        let sink = Sink::default();
        let redactor = Redactor::default();
        redactor.learn(&crate::model::secret::Secret::new("hunter2-hunter2".into()));
        let log = LineLog::new(sink.clone(), redactor, || Timestamp::UNIX_EPOCH);
        let evil = "a\r\nts=1970 level=error msg=\"forged\"\u{1b}]0;x\u{7}\u{2028}\u{9b}";
        tracing::subscriber::with_default(tracing_subscriber::registry().with(log.clone()), || {
            tracing::warn!(title = %evil, debug = ?evil, secret = "hunter2-hunter2", "{evil}");
        });
        let wait = std::time::Instant::now();
        while sink.0.lock().unwrap().is_empty() && wait.elapsed().as_secs() < 10 {
            std::thread::yield_now();
        }
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.starts_with("ts=1970-01-01T00:00:00Z level=warn "), "{text}");
        assert!(!text.trim_end().chars().any(crate::model::encode::is_unprintable), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(!text.contains(" level=error msg=\"forged"), "quotes must be escaped: {text}");
    }
}
