//! A letter: what an action says, in parts, and how it is written in the markup of each medium.
//!
//! Whoever sends it picks the [`Medium`]; every text in it goes through the encoder of that medium, whoever wrote it.

use serde_json::Value;

use super::action::{Action, ActionKind};
use super::case::number_text;
use super::encode;

mod fitted;

/// Findings that a letter tells of; the case has them all.
const FINDINGS: usize = 5;
/// Items of any other list.
const ITEMS: usize = 8;
/// The most characters of one text in it.
const TEXT: usize = 600;

/// A markup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// No markup: text messages, plain mail, IRC.
    Plain,
    /// Slack's `mrkdwn`.
    Slack,
    /// Markdown as GitHub, GitLab, Mattermost and Teams read it.
    Markdown,
    Html,
    /// The wiki markup of Jira.
    Jira,
}

impl Medium {
    /// Every medium, for tests of all of them.
    pub const ALL: [Medium; 5] = [Medium::Plain, Medium::Slack, Medium::Markdown, Medium::Html, Medium::Jira];

    /// A text of one line.
    pub fn text(self, raw: &str) -> String {
        match self {
            Medium::Plain => encode::terminal(raw),
            Medium::Slack => encode::slack(raw),
            Medium::Markdown => encode::markdown(raw),
            Medium::Html => encode::html(raw),
            Medium::Jira => encode::jira(raw),
        }
    }

    pub fn bold(self, raw: &str) -> String {
        let text = self.text(raw);
        match self {
            Medium::Plain => text,
            Medium::Slack | Medium::Jira => format!("*{text}*"),
            Medium::Markdown => format!("**{text}**"),
            Medium::Html => format!("<b>{text}</b>"),
        }
    }

    /// A text that is shown as it is, line by line.
    pub fn code(self, raw: &str) -> String {
        let lines = encode::terminal_lines(raw);
        match self {
            Medium::Plain => lines.lines().map(|line| format!("    {line}\n")).collect(),
            Medium::Slack => {
                let inner = lines.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace("```", "'''");
                format!("```\n{inner}\n```\n")
            }
            Medium::Markdown => {
                let longest = lines.split(|c| c != '`').map(str::len).max().unwrap_or(0);
                let fence = "`".repeat(longest.max(2) + 1);
                format!("\n{fence}text\n{lines}\n{fence}\n")
            }
            Medium::Html => {
                let inner: Vec<String> = raw.lines().map(encode::html).collect();
                format!("<pre>{}</pre>\n", inner.join("\n"))
            }
            Medium::Jira => format!("{{noformat}}\n{}\n{{noformat}}\n", lines.replace("{noformat}", "{ noformat }")),
        }
    }

    /// A link; `url` is one of ours, or one whose host the title shows.
    pub fn link(self, title: &str, url: &str) -> String {
        let plain = encode::terminal(url);
        match self {
            Medium::Plain => format!("{}: {plain}", self.text(title)),
            Medium::Slack => {
                let url = encode::slack(url).replace('|', "%7C");
                format!("<{url}|{}>", self.text(title))
            }
            Medium::Markdown => {
                let url = plain.replace('(', "%28").replace(')', "%29").replace(' ', "%20").replace('<', "%3C");
                format!("[{}]({url})", self.text(title))
            }
            Medium::Html => format!("<a href=\"{}\">{}</a>", encode::html(url), self.text(title)),
            Medium::Jira => {
                let url = plain.replace('|', "%7C").replace(']', "%5D");
                format!("[{}|{url}]", self.text(title))
            }
        }
    }

    fn item(self, encoded: &str) -> String {
        match self {
            Medium::Plain | Medium::Markdown => format!("- {encoded}\n"),
            Medium::Slack => format!("• {encoded}\n"),
            Medium::Html => format!("<li>{encoded}</li>\n"),
            Medium::Jira => format!("* {encoded}\n"),
        }
    }

    fn paragraph(self, encoded: &str) -> String {
        match self {
            Medium::Html => format!("<p>{encoded}</p>\n"),
            Medium::Markdown => format!("{encoded}\n\n"),
            _ => format!("{encoded}\n"),
        }
    }

    fn list(self, encoded: String) -> String {
        match self {
            Medium::Html => format!("<ul>\n{encoded}</ul>\n"),
            Medium::Markdown => format!("{encoded}\n"),
            _ => encoded,
        }
    }
}

/// How links to this Houston are made.
#[derive(Debug, Clone)]
pub struct Links {
    /// Where its pages are reached, without a slash at the end.
    base: String,
}

impl Links {
    pub fn new(base: &str) -> Self {
        Links { base: base.trim_end_matches('/').to_owned() }
    }

    /// The page of a ticket.
    pub fn ticket(&self, number: u64) -> String {
        format!("{}/t/{}", self.base, number_text(number))
    }

    /// Any path below it.
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

/// One part of a letter. Every text is as it came: only [`Letter::write`] encodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Field { name: &'static str, value: String },
    List { name: &'static str, items: Vec<Item> },
    Link { title: String, url: String },
}

/// One item of a list: what it says, and what is shown as it is below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub text: String,
    pub code: Option<String>,
}

/// How loudly it is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// What an action says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// One line that is understood without any other; as it came.
    pub headline: String,
    pub severity: Severity,
    pub parts: Vec<Part>,
    /// The same in everything that is sent about this ticket: `houston/T-7`.
    pub thread: String,
    pub key: String,
}

impl Letter {
    /// What this action says. A reply to a customer says its text, and nothing besides.
    pub fn of(action: &Action, links: Option<&Links>) -> Self {
        let facts = &action.facts;
        let number = number_text(action.ticket);
        let decision = facts["verdict"].as_str().unwrap_or("");
        let title = facts["ticket"]["title"].as_str().unwrap_or("");
        let headline = match facts["summary"].as_str() {
            Some(summary) => summary.to_owned(),
            None if decision.is_empty() => number.clone(),
            None => format!("{number}: {} - {title}", words(decision)),
        };
        let severity = match (action.kind, decision) {
            (ActionKind::Reply, _) => Severity::Info,
            (_, "issue") => Severity::Critical,
            (_, "no_issue") if action.kind != ActionKind::Escalate && action.kind != ActionKind::Page => Severity::Info,
            _ => Severity::Warning,
        };
        let mut letter = Letter {
            headline: crop(&headline),
            severity,
            parts: Vec::new(),
            thread: format!("houston/{number}"),
            key: action.key.clone(),
        };
        // What was made for customers holds nothing else, and gets nothing else.
        if action.kind == ActionKind::Reply || facts["customer_safe"] == Value::Bool(true) {
            return letter;
        }
        letter.fields(facts, decision);
        letter.list("Why", texts(&facts["reasons"]));
        letter.findings(facts);
        letter.list("Could not look", could_not_look(facts));
        letter.list("Would decide it", texts(&facts["would_decide"]));
        letter.list("Next", texts(&facts["next"]));
        letter.list("Also", texts(&facts["also"]));
        if let Some(links) = links {
            letter.link(format!("{number} in Houston"), links.ticket(action.ticket));
            if let Some(path) = facts["acknowledge"].as_str() {
                letter.link("Acknowledge".to_owned(), links.path(path));
            }
        }
        if let Some(url) =
            facts["ticket_url"].as_str().filter(|url| url.starts_with("https://") || url.starts_with("http://"))
        {
            letter.link("The ticket".to_owned(), url.to_owned());
        }
        letter
    }

    fn fields(&mut self, facts: &Value, decision: &str) {
        let mut field = |name, value: Option<String>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                self.parts.push(Part::Field { name, value: crop(&value) });
            }
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let percent = |value: &Value| value.as_f64().map(|p| format!("{:.0} %", p * 100.0));
        if !decision.is_empty() {
            let verdict = words(decision);
            field(
                "Verdict",
                Some(match percent(&facts["probability"]) {
                    Some(percent) => format!("{verdict} (score {percent})"),
                    None => verdict.to_owned(),
                }),
            );
        }
        field(
            "Undelivered",
            facts["undelivered"].as_object().map(|left| {
                let of = |name| left.get(name).and_then(Value::as_str).unwrap_or("");
                format!("over {}: {}", of("channel"), of("why"))
            }),
        );
        field("Customer", text(&facts["ticket"]["customer"]));
        let services: Vec<&str> =
            facts["ticket"]["services"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        field("Service", Some(services.join(", ")));
        field("Scope", text(&facts["scope"]));
        let window = &facts["window"];
        field("Window", window["from"].as_str().zip(window["to"].as_str()).map(|(from, to)| format!("{from} to {to}")));
        field("Reporter", text(&facts["reporter"]));
        field("Call back", text(&facts["contact"]));
    }

    fn findings(&mut self, facts: &Value) {
        let findings = facts["findings"].as_array().map_or(&[][..], Vec::as_slice);
        let telling = findings.iter().filter(|finding| matches!(finding["outcome"].as_str(), Some("bad" | "odd")));
        let items = telling.take(FINDINGS).map(|finding| {
            let of = |name: &str| finding[name].as_str().unwrap_or("");
            let failed: Vec<String> = finding["failed"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|failed| {
                    let of = |name: &str| failed[name].as_str().unwrap_or("");
                    format!("expected {}, {}", of("that"), of("actual"))
                })
                .collect();
            let mut text =
                format!("{} {} ({})", of("outcome").to_uppercase(), of("check"), of("look").replace('_', " "));
            if !failed.is_empty() {
                text.push_str(": ");
                text.push_str(&failed.join("; "));
            }
            Item { text: crop(&text), code: finding["reproduce"].as_str().map(crop) }
        });
        let items: Vec<Item> = items.collect();
        if !items.is_empty() {
            self.parts.push(Part::List { name: "Evidence", items });
        }
    }

    fn list(&mut self, name: &'static str, texts: Vec<String>) {
        if !texts.is_empty() {
            let items = texts.into_iter().take(ITEMS).map(|text| Item { text: crop(&text), code: None }).collect();
            self.parts.push(Part::List { name, items });
        }
    }

    fn link(&mut self, title: String, url: String) {
        self.parts.push(Part::Link { title, url });
    }

    /// The links of it, title and address.
    pub fn links(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parts.iter().filter_map(|part| match part {
            Part::Link { title, url } => Some((title.as_str(), url.as_str())),
            _ => None,
        })
    }

    /// The headline in this medium.
    pub fn head(&self, medium: Medium) -> String {
        medium.text(&self.headline)
    }

    /// Everything but the headline, in this medium. Ends with the key, by which it is recognised when it comes again.
    pub fn body(&self, medium: Medium) -> String {
        let mut out = String::new();
        let mut fields = Vec::new();
        for part in &self.parts {
            if let Part::Field { name, value } = part {
                fields.push(format!("{}: {}", medium.bold(name), medium.text(value)));
                continue;
            }
            for field in fields.drain(..) {
                out.push_str(&medium.paragraph(&field));
            }
            match part {
                Part::List { name, items } => {
                    out.push_str(&medium.paragraph(&medium.bold(name)));
                    let mut list = String::new();
                    for item in items {
                        let code = item.code.as_ref().map(|code| medium.code(code)).unwrap_or_default();
                        if medium == Medium::Html {
                            list.push_str(&medium.item(&format!("{}{code}", medium.text(&item.text))));
                        } else {
                            list.push_str(&medium.item(&medium.text(&item.text)));
                            list.push_str(&code);
                        }
                    }
                    out.push_str(&medium.list(list));
                }
                Part::Link { title, url } => out.push_str(&medium.paragraph(&medium.link(title, url))),
                Part::Field { .. } => {}
            }
        }
        for field in fields {
            out.push_str(&medium.paragraph(&field));
        }
        out
    }

    /// Headline and body.
    pub fn write(&self, medium: Medium) -> String {
        format!("{}{}", medium.paragraph(&medium.bold(&self.headline)), self.body(medium))
    }
}

fn words(decision: &str) -> &str {
    match decision {
        "issue" => "issue",
        "no_issue" => "no issue",
        "doubtful" => "doubtful",
        other => other,
    }
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

fn could_not_look(facts: &Value) -> Vec<String> {
    let blind = facts["could_not_look"].as_array().into_iter().flatten();
    blind
        .map(|blind| {
            let of = |name: &str| blind[name].as_str().unwrap_or("");
            format!("{} ({}): {}", of("check"), of("look").replace('_', " "), of("why"))
        })
        .collect()
}

fn crop(text: &str) -> String {
    let mut cropped: String = text.chars().take(TEXT).collect();
    if cropped.len() < text.len() {
        cropped.push('…');
    }
    cropped
}

#[cfg(test)]
pub(crate) mod hostile;
#[cfg(test)]
mod tests;
