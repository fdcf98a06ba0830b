//! What hurl reports: its JSON, and the errors that it prints, each with the place in the file.

use serde::Deserialize;

/// What is kept of a value in a message, in characters.
const SHOWN: usize = 300;

/// A run of one file, as `hurl --json` prints it (docs of hurl 8: "JSON report").
#[derive(Debug, Deserialize)]
pub(super) struct Report {
    pub(super) success: bool,
    /// Milliseconds, waits included.
    pub(super) time: u64,
    pub(super) entries: Vec<Entry>,
}

/// One try of one entry; each retry is another.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    /// Its place among the file's entries, from 1.
    pub(super) index: usize,
    pub(super) line: u32,
    /// Milliseconds on the wire.
    pub(super) time: u64,
    /// Its request, and those that redirects led to.
    calls: Vec<Call>,
    pub(super) asserts: Vec<Assert>,
}

#[derive(Debug, Deserialize)]
struct Call {
    response: Response,
}

#[derive(Debug, Deserialize)]
struct Response {
    status: u16,
    headers: Vec<Header>,
}

#[derive(Debug, Deserialize)]
struct Header {
    name: String,
    value: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Assert {
    pub(super) success: bool,
    pub(super) line: u32,
    message: Option<String>,
}

impl Report {
    /// Reads what hurl printed.
    ///
    /// # Errors
    /// It isn't a report of one run.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let report: Report =
            serde_json::from_slice(bytes).map_err(|error| format!("its report can't be read: {error}"))?;
        let mut last = 0;
        for entry in &report.entries {
            if entry.index < last || entry.index == 0 || entry.line == 0 {
                return Err("its report has its entries in no order".to_owned());
            }
            last = entry.index;
        }
        Ok(report)
    }

    /// The last try of each entry, with how many there were and their time together in milliseconds.
    pub(super) fn steps(&self) -> Vec<(&Entry, usize, u64)> {
        let mut steps: Vec<(&Entry, usize, u64)> = Vec::new();
        for entry in &self.entries {
            match steps.last_mut() {
                Some((last, tries, time)) if last.index == entry.index => {
                    (*last, *tries, *time) = (entry, *tries + 1, time.saturating_add(entry.time));
                }
                _ => steps.push((entry, 1, entry.time)),
            }
        }
        steps
    }
}

impl Entry {
    /// Of the last answer, where there was one.
    pub(super) fn status(&self) -> Option<u16> {
        self.calls.last().map(|call| call.response.status)
    }

    /// True where the last answer is our own proxy's: there was none from the service.
    pub(super) fn is_unanswered(&self) -> bool {
        let ours =
            |header: &Header| header.name.eq_ignore_ascii_case("proxy-status") && header.value.starts_with("houston;");
        self.calls.last().is_some_and(|call| call.response.headers.iter().any(ours))
    }

    pub(super) fn held(&self) -> bool {
        self.asserts.iter().all(|assert| assert.success)
    }
}

impl Assert {
    /// What hurl says of it.
    pub(super) fn told(&self) -> Option<Told> {
        Told::read(self.message.as_deref()?)
    }
}

/// An error as hurl draws it: a title, a place, the line of the file, and what is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// "Assert status code", "HTTP connection"
    pub(super) title: String,
    pub(super) line: u32,
    pub(super) column: u32,
    /// What was there instead, or what is wrong where nothing was compared.
    pub(super) actual: String,
    pub(super) expected: Option<String>,
}

impl Told {
    /// The first error in what hurl printed.
    pub(super) fn first(printed: &str) -> Option<Told> {
        let mut blocks = printed.split("\nerror: ");
        let first = blocks.next()?;
        match first.strip_prefix("error: ") {
            Some(block) => Told::read(block),
            None => Told::read(blocks.next()?),
        }
    }

    /// Reads one:
    ///
    /// ```text
    /// Assert failure
    ///   --> case.hurl:15:0
    ///    |
    ///    | GET http://shop.example/
    ///    | ...
    /// 15 | jsonpath "$.x" == 3
    ///    |   actual:   none
    ///    |   expected: integer <3>
    ///    |
    /// ```
    fn read(block: &str) -> Option<Told> {
        let mut lines = block.lines();
        let title = lines.next()?.trim().to_owned();
        let place = lines.next()?.trim().strip_prefix("-->")?.trim();
        let mut numbers = place.rsplitn(3, ':');
        let column = numbers.next()?.parse().ok()?;
        let line = numbers.next()?.parse().ok()?;
        let mut told = Told { title, line, column, ..Told::default() };
        let (mut is_behind, mut said) = (false, Vec::new());
        for line in lines {
            let Some((margin, text)) = line.split_once('|') else { break };
            if !margin.trim().is_empty() {
                is_behind = true;
                continue;
            }
            if !is_behind {
                continue;
            }
            let text = text.trim().trim_start_matches('^').trim();
            if let Some(actual) = text.strip_prefix("actual:") {
                actual.trim().clone_into(&mut told.actual);
            } else if let Some(expected) = text.strip_prefix("expected:") {
                told.expected = Some(cropped(expected.trim()));
            } else if !text.is_empty() {
                said.push(text.strip_prefix(">>> ").unwrap_or(text));
            }
        }
        let said = said.join(" ");
        let compared = said.strip_prefix("actual value is <").and_then(|value| value.strip_suffix('>'));
        match (told.actual.is_empty(), compared) {
            (true, Some(value)) => value.clone_into(&mut told.actual),
            (true, None) => told.actual = said,
            (false, _) if !said.is_empty() => told.actual = format!("{} ({said})", told.actual),
            (false, _) => {}
        }
        told.actual = cropped(&told.actual);
        Some(told)
    }

    /// libcurl's number of an error of a connection: "(7) Failed to connect to …".
    pub(super) fn curl_code(&self) -> Option<u32> {
        self.actual.strip_prefix('(')?.split_once(')')?.0.parse().ok()
    }
}

fn cropped(text: &str) -> String {
    let mut out: String = text.chars().take(SHOWN).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}
