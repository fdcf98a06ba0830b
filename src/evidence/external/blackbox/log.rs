//! The log that an exporter writes of one probe, as `/probe?debug=true` shows it: whose failure it was, and why.
//!
//! Lines in logfmt, `level=error msg="Error for HTTP request" err="…"`, the same since 0.12 (`prober/*.go` of
//! <https://github.com/prometheus/blackbox_exporter>). A target can't forge one: what comes from it stands in quotes.

use crate::model::observation::UnknownKind;

/// The most of a log that is looked at, in lines.
const LINES: usize = 500;
/// The most lines that are shown.
const SHOWN: usize = 5;
/// The longest line that is shown, in characters.
const LINE: usize = 300;

/// Messages of failures on the exporter's own side, by how they begin: its configuration, its files, its permissions.
const OWN: &[&str] = &[
    "Configuration error",
    "Could not parse target URL",
    "Error creating TLS",
    "Error creating raw connection",
    "Error creating request",
    "Error creating socket",
    "Error evaluating CEL expression",
    "Error generating",
    "Error listening to socket",
    "Error marshalling packet",
    "Error matching regexp",
    "Error parsing source ip address",
    "Error setting",
    "Error splitting target address",
    "Failed to create TLS configuration",
    "Invalid query",
    "Invalid rcode",
    "Unable to read",
];

/// Errors that say that the exporter's own host is at fault, whatever it was about to do.
const OWN_ERRORS: &[&str] = &[
    "network is unreachable",
    "too many open files",
    "operation not permitted",
    "permission denied",
    "cannot assign requested address",
];

/// What a log says of what went wrong.
#[derive(Debug, PartialEq)]
pub(super) struct Log {
    /// Message and error of each line that tells of one, but for the last, general one.
    errors: Vec<(String, String)>,
    /// This time it worked.
    pub(super) recovered: bool,
}

/// Reads the page; `None` where there is no log on it.
pub(super) fn read(page: &str) -> Option<Log> {
    let rest = page.strip_prefix("Logs for the probe:\n")?;
    let lines = rest.split("\n\n").next().unwrap_or_default();
    let mut log = Log { errors: Vec::new(), recovered: false };
    for line in lines.lines().take(LINES) {
        let field = |name: &str| value(line, name);
        let message = field("msg").unwrap_or_default();
        if message == "Probe succeeded" {
            log.recovered = true;
        }
        // Up to 0.24 a wrong status was told as an "info".
        let is_error = field("level").is_some_and(|level| level.eq_ignore_ascii_case("error"))
            || message.starts_with("Invalid HTTP response status code");
        if is_error && message != "Probe failed" {
            log.errors.push((message, field("err").unwrap_or_default()));
        }
    }
    Some(log)
}

impl Log {
    /// The line that says that the exporter could not look, and what sort of blindness that is.
    pub(super) fn own_failure(&self) -> Option<(UnknownKind, String)> {
        self.errors.iter().find_map(|(message, error)| {
            let by_message = OWN.iter().any(|begin| message.starts_with(begin));
            let by_error = OWN_ERRORS.iter().any(|part| error.contains(part)) || is_silent_resolver(error);
            let kind = if by_message { UnknownKind::Refused } else { UnknownKind::Unreachable };
            (by_message || by_error).then(|| (kind, shown(message, error)))
        })
    }

    /// A few lines for a reader; from outside.
    pub(super) fn excerpt(&self) -> String {
        let lines: Vec<String> = self.errors.iter().take(SHOWN).map(|(message, error)| shown(message, error)).collect();
        lines.join("\n")
    }
}

/// Go's "lookup NAME on SERVER: …" where the server, not the name, is what failed.
fn is_silent_resolver(error: &str) -> bool {
    let Some((_, lookup)) = error.split_once("lookup ") else { return false };
    !lookup.contains("no such host") && (lookup.contains("i/o timeout") || lookup.contains("connection refused"))
}

fn shown(message: &str, error: &str) -> String {
    let line = if error.is_empty() { message.to_owned() } else { format!("{message}: {error}") };
    line.chars().take(LINE).collect()
}

/// The value of a field in a line of logfmt, its quotes undone.
fn value(line: &str, name: &str) -> Option<String> {
    let mut rest = line;
    loop {
        let (key, after) = rest.trim_start().split_once('=')?;
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let end = after.find(' ').unwrap_or(after.len());
                (after.get(..end)?.to_owned(), after.get(end..)?)
            }
        };
        // A word without `=` may stand before the key.
        if key.rsplit(' ').next() == Some(name) {
            return Some(value);
        }
        rest = next;
    }
}

/// What stands up to the closing quote, and what follows it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((out, text.get(at + 1..)?)),
            '\\' => match characters.next()?.1 {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                other => out.push(other),
            },
            other => out.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "ts=2026-11-22T19:33:10.7Z caller=handler.go:117 module=m target=http://a/?level=info";

    fn log(lines: &[&str]) -> Log {
        let lines: Vec<String> = lines.iter().map(|line| format!("{HEAD} {line}")).collect();
        let page = format!(
            "Logs for the probe:\n{}\n{HEAD} level=error msg=\"Probe failed\" duration_seconds=1\n\n\n\nMetrics that would have been returned:\nlevel=error msg=\"Unable to read\"\n",
            lines.join("\n")
        );
        read(&page).unwrap()
    }

    #[test]
    fn whose_failure_it_was_stands_in_the_log() {
        for (line, own) in [
            (r#"level=error msg="Error for HTTP request" err="Get \"http://a/\": connect: connection refused""#, None),
            (
                r#"level=ERROR msg="Error listening to socket" err="operation not permitted""#,
                Some(UnknownKind::Refused),
            ),
            (
                r#"level=error msg="Error generating HTTP client" err="open /ca: no such file""#,
                Some(UnknownKind::Refused),
            ),
            (
                r#"level=error msg="Error dialing TCP" err="dial tcp: network is unreachable""#,
                Some(UnknownKind::Unreachable),
            ),
            (r#"level=error msg="Error resolving address" err="lookup a on 1.2.3.4:53: no such host""#, None),
            (r#"level=error msg="Error resolving address" err="lookup a on 1.2.3.4:53: server misbehaving""#, None),
            (
                r#"level=error msg="Error resolving address" err="lookup a on 1.2.3.4:53: read udp: i/o timeout""#,
                Some(UnknownKind::Unreachable),
            ),
            (r#"level=error msg="Error for HTTP request" err="dial tcp 1.2.3.4:80: i/o timeout""#, None),
            // What the target said can't pass for a line of the exporter.
            (r#"level=error msg="Regexp did not match" line="x\nlevel=error msg=\"Unable to read\"""#, None),
            (r#"level=debug msg="Unable to do unprivileged listen" err="permission denied""#, None),
        ] {
            assert_eq!(log(&[line]).own_failure().map(|(kind, _)| kind), own, "{line}");
        }
    }

    #[test]
    fn a_log_is_short_and_knows_whether_it_worked() {
        let line = format!(r#"level=error msg="Error for HTTP request" err="{}""#, "x".repeat(1_000));
        let long = log(&vec![line.as_str(); 1_000]);
        assert_eq!((long.errors.len(), long.excerpt().lines().count()), (LINES, SHOWN));
        assert!(long.excerpt().chars().count() <= SHOWN * (LINE + 1));
        assert!(log(&[r#"level=info msg="Probe succeeded" duration_seconds=1"#]).recovered);
        assert!(!log(&[r#"level=error msg="x""#]).recovered);
        for (page, is_log) in [("", false), ("<html>", false), ("Logs for the probe:\n", true)] {
            assert_eq!(read(page).is_some(), is_log, "{page}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_page_is_read_without_a_panic(page in "(Logs for the probe:\n)?[ -~\"\\\\\n=é]{0,200}") {
            if let Some(log) = read(&page) {
                let _ = (log.own_failure(), log.excerpt());
            }
        }
    }
}
