//! `houston channel` and `houston ticketing`: the ways out and in, as they are documented, declared and tried.

use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

use super::args::{Channel, Cli, Ticketing};
use super::{Exit, Mistyped, Terminal, clock, context};
use crate::model::action::{Action, ActionKind};
use crate::model::delivery::{Message, Outcome};
use crate::model::encode::terminal as safe;
use crate::model::letter::Links;
use crate::model::source::nearest;
use crate::net::outgoing::{TIMEOUT, Wires};
use crate::report::style::{Paint, Style};
use crate::response::channels::CHANNELS;
use crate::ticketing::{self, Hook, Incoming, Refused, SYSTEMS, What};

/// The longest payload that is read from a file, as long as one that comes in.
const PAYLOAD: u64 = 256 * 1024;

/// What there is to read of a kind.
struct Page {
    name: &'static str,
    summary: &'static str,
    docs: &'static str,
    /// How an entry of `houston.yaml` looks.
    example: String,
}

pub fn channel(terminal: &Terminal, cli: &Cli, command: &Channel) -> anyhow::Result<Exit> {
    match command {
        Channel::Kinds { name } => {
            let pages = CHANNELS.iter().map(|kind| Page {
                name: kind.name,
                summary: kind.summary,
                docs: kind.docs,
                example: format!("channels:\n  my-{0}: {{ {0}: {1} }}", kind.name, kind.example),
            });
            kinds(terminal, &pages.collect::<Vec<_>>(), name.as_deref())
        }
        Channel::Test { name, to } => test_channel(terminal, cli, name, to.as_deref()),
    }
}

pub fn ticketing(terminal: &Terminal, cli: &Cli, command: &Ticketing) -> anyhow::Result<Exit> {
    match command {
        Ticketing::Kinds { name } => {
            let pages = SYSTEMS.iter().map(|kind| Page {
                name: kind.name,
                summary: kind.summary,
                docs: kind.docs,
                example: format!("ticketing:\n  my-desk: {{ {}: {} }}", kind.name, kind.example),
            });
            kinds(terminal, &pages.collect::<Vec<_>>(), name.as_deref())
        }
        Ticketing::Test { system, payload, headers } => test_system(terminal, cli, system, payload, headers),
    }
}

/// All kinds, a line each, or the page of one.
fn kinds(terminal: &Terminal, pages: &[Page], wanted: Option<&str>) -> anyhow::Result<Exit> {
    let Some(wanted) = wanted else {
        let width = pages.iter().map(|page| page.name.len()).max().unwrap_or(0);
        for page in pages {
            match terminal.json {
                true => terminal.document(&document(page))?,
                false => {
                    let name = terminal.style.paint(Paint::Strong, &format!("{:<width$}", page.name));
                    terminal.line(&format!("{name} {}", terminal.style.plain(page.summary)));
                }
            }
        }
        return Ok(Exit::Fine);
    };
    let Some(page) = pages.iter().find(|page| page.name == wanted) else {
        let near = nearest(wanted, pages.iter().map(|page| page.name));
        let hint = near.map_or(String::new(), |near| format!(", did you mean `{near}`?"));
        return Err(Mistyped(format!("there is no kind `{}`{hint}", safe(wanted))).into());
    };
    match terminal.json {
        true => terminal.document(&document(page))?,
        false => terminal.line(&written(page, &terminal.style)),
    }
    Ok(Exit::Fine)
}

fn document(page: &Page) -> serde_json::Value {
    json!({ "name": page.name, "summary": page.summary, "docs": page.docs, "example": page.example })
}

fn written(page: &Page, style: &Style) -> String {
    let head = |text: &str| style.paint(Paint::Strong, text);
    format!(
        "{}  {}\n\n{}\n\n{}\n{}",
        head(page.name),
        style.plain(page.summary),
        style.plain(page.docs.trim()),
        head("In houston.yaml"),
        style.plain(&page.example)
    )
}

/// Sends one message that says that it is a test, now, past the outbox.
fn test_channel(terminal: &Terminal, cli: &Cli, name: &str, to: Option<&str>) -> anyhow::Result<Exit> {
    let context = context::Context::read(&cli.common)?;
    let config = &context.config;
    let Some(channel) = config.channels.get(name) else {
        let near = nearest(name, config.channels.names());
        let hint = near.map_or(String::new(), |near| format!(", did you mean `{near}`?"));
        return Err(Mistyped(format!("there is no channel `{}` in houston.yaml{hint}", safe(name))).into());
    };
    let tools = context.tools()?;
    let wires = Wires {
        http: tools.http.clone(),
        credentials: crate::net::credentials::Credentials::new(context.environment.clone(), context.redactor.clone()),
        redactor: context.redactor.clone(),
    };
    let links = config.listen.public_url.as_deref().map(Links::new);
    let facts = json!({ "summary": "Houston: a test of this channel. Nothing is wrong.", "verdict": "no_issue" });
    let now = clock();
    let occasion = format!("test {now}");
    let recipient = to.unwrap_or("operators");
    let action = Action::at_occasion(0, 0, ActionKind::Announce, name, recipient, &occasion, facts, now);
    let message = Message { action: &action, previous: None, tries: 0, now, links: links.as_ref() };
    let runtime = context::runtime()?;
    let sent = runtime.block_on(async { tokio::time::timeout(TIMEOUT, channel.send(message, &wires)).await });
    let (delivered, said) = match sent {
        Ok(Outcome::Delivered { receipt }) => {
            (true, receipt.map_or("delivered".to_owned(), |receipt| format!("delivered, as {receipt}")))
        }
        Ok(Outcome::Retry { why, .. }) => (false, format!("not delivered, would be tried again: {why}")),
        Ok(Outcome::Rejected { why }) => (false, format!("refused: {why}")),
        Err(_) => (false, format!("no answer in {} s", TIMEOUT.as_secs())),
    };
    match terminal.json {
        true => terminal.document(&json!({ "channel": name, "delivered": delivered, "said": said }))?,
        false => terminal.line(&terminal.style.plain(&safe(&format!("{name}: {said}")))),
    }
    Ok(if delivered { Exit::Fine } else { Exit::Issue })
}

/// What becomes of a payload: nothing is verified, nothing is kept.
fn test_system(
    terminal: &Terminal,
    cli: &Cli,
    system: &str,
    payload: &Path,
    headers: &[String],
) -> anyhow::Result<Exit> {
    let config = context::config(&cli.common)?;
    let Some(desk) = config.desks.get(system) else {
        let near = nearest(system, config.desks.keys().map(String::as_str));
        let hint = near.map_or(String::new(), |near| format!(", did you mean `{near}`?"));
        return Err(Mistyped(format!("there is no ticket system `{}` in houston.yaml{hint}", safe(system))).into());
    };
    let body = read(payload)?;
    let mut map = HeaderMap::new();
    for header in headers {
        let parts = header.split_once(':').map(|(name, value)| (name.trim(), value.trim()));
        let parsed = parts.and_then(|(name, value)| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
        });
        let (name, value) = parsed.ok_or_else(|| Mistyped(format!("not a header: {}", safe(header))))?;
        map.insert(name, value);
    }
    let now = clock();
    let url = config.listen.public_url.as_ref().map(|base| format!("{}/hooks/{system}", base.trim_end_matches('/')));
    let hook = Hook { headers: &map, body: &body, url: url.as_deref(), local: true, now };
    let received = match desk.system.read(&hook) {
        Ok(received) => received,
        Err(Refused::Unreadable(why)) => anyhow::bail!("this can't be read as a delivery of it: {why}"),
        Err(other) => anyhow::bail!("this can't be read as a delivery of it: {other:?}"),
    };
    if let Some(why) = &received.ignored {
        match terminal.json {
            true => terminal.document(&json!({ "ignored": why }))?,
            false => terminal.line(&terminal.style.plain(&safe(&format!("ignored: {why}")))),
        }
    }
    let mut exit = Exit::Fine;
    for incoming in &received.incoming {
        exit = exit.graver(show(terminal, desk, incoming, now)?);
    }
    Ok(exit)
}

fn show(
    terminal: &Terminal,
    desk: &ticketing::Desk,
    incoming: &Incoming,
    now: jiff::Timestamp,
) -> anyhow::Result<Exit> {
    let what = match &incoming.what {
        What::Opened => "opened",
        What::Updated => "updated",
        What::Commented { .. } => "commented",
        What::Closed => "closed",
        What::Reopened => "reopened",
        What::Acknowledged { .. } => "acknowledged",
    };
    let ticket = desk.ticket(incoming, now);
    if terminal.json {
        let (ticket, error) = match &ticket {
            Ok(ticket) => (serde_json::to_value(ticket)?, None),
            Err(error) => (serde_json::Value::Null, Some(error.to_string())),
        };
        terminal.document(&json!({ "event": what, "id": incoming.id, "ticket": ticket, "error": error }))?;
    } else {
        let strong = |text: &str| terminal.style.paint(Paint::Strong, text);
        terminal.line(&format!("{} {}", strong(what), terminal.style.plain(&safe(&incoming.id))));
        match &ticket {
            Ok(ticket) => {
                let document = serde_json::to_value(ticket)?;
                for (name, value) in document.as_object().into_iter().flatten() {
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    terminal.line(&format!("  {name:<12} {}", terminal.style.plain(&safe(&value))));
                }
            }
            Err(error) => terminal.line(&terminal.style.plain(&safe(&format!("  no ticket: {error}")))),
        }
    }
    // Of an event only the ticket that it belongs to counts.
    Ok(if ticket.is_err() && incoming.what == What::Opened { Exit::Issue } else { Exit::Fine })
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(PAYLOAD + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(PAYLOAD + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| Mistyped(format!("{}: {error}", safe(&path.to_string_lossy()))))?;
    anyhow::ensure!(bytes.len() as u64 <= PAYLOAD, "a delivery has at most 256 KiB");
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_a_kind_says_what_is_there_to_say() {
        let kind = crate::response::channels::kind("webhook").unwrap();
        let page =
            Page { name: kind.name, summary: kind.summary, docs: kind.docs, example: "channels: …".to_owned() };
        let style = Style { colour: false, ascii: false, width: 80 };
        let text = written(&page, &style);
        for part in [kind.name, kind.summary, "X-Houston-Signature", "In houston.yaml"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
