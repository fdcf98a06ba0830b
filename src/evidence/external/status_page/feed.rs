//! Feeds of incidents: RSS 2.0 (<https://www.rssboard.org/rss-specification>) and Atom (RFC 4287).
//!
//! A feed doesn't say whether an incident is over; its entries do, in words. An entry tells its newest update first.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use roxmltree::{Document, Node, ParsingOptions};

use super::said::{Components, Incident, Said, State};
use crate::model::encode;
use crate::model::observation::UnknownKind;

/// The most elements, texts and attributes of a feed.
const NODES: u32 = 200_000;
/// The most entries that are looked at, the newest ones.
const ENTRIES: usize = 200;
/// An entry that is younger than this has to say whether its incident is over.
const MUST_TELL: SignedDuration = SignedDuration::from_hours(24);
/// What nobody has told of for so long counts as over.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// By which words an entry tells how it stands; the first one in it counts.
const WORDS: &[(&str, Stands)] = &[
    ("resolved", Stands::Over),
    ("completed", Stands::Over),
    ("postmortem", Stands::Over),
    ("operating normally", Stands::Over),
    ("investigating", Stands::Open),
    ("identified", Stands::Open),
    ("monitoring", Stands::Open),
    ("degraded", Stands::Open),
    ("disruption", Stands::Open),
    ("outage", Stands::Open),
    ("in progress", Stands::Maintenance),
    ("verifying", Stands::Maintenance),
    ("scheduled", Stands::Planned),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Open,
    Over,
    Maintenance,
    Planned,
}

struct Entry {
    title: String,
    text: String,
    link: Option<String>,
    id: String,
    time: Option<Timestamp>,
}

/// Reads a feed.
///
/// # Errors
/// It is none, or an entry leaves open whether its incident is.
pub(super) fn read(text: &str, wanted: &Components, now: Timestamp) -> Result<Said, (UnknownKind, String)> {
    let unreadable = |why: String| (UnknownKind::Unintelligible, why);
    let options = ParsingOptions { nodes_limit: NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options).map_err(|error| match error {
        roxmltree::Error::NodesLimitReached => (UnknownKind::Incomplete, "its feed is larger than we read".to_owned()),
        _ => unreadable("it is neither JSON nor a feed that can be read".to_owned()),
    })?;
    let root = document.root_element();
    let (holder, name) = match root.tag_name().name() {
        "rss" => (child(root, "channel"), "item"),
        "feed" => (Some(root), "entry"),
        _ => (None, ""),
    };
    let holder = holder.ok_or_else(|| unreadable("it is no feed (RSS 2.0 or Atom)".to_owned()))?;
    let mut entries: Vec<Entry> = holder.children().filter(|node| node.has_tag_name_of(name)).map(entry).collect();
    // Newest first; what has no time stays where it stood.
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.time));
    entries.truncate(ENTRIES);

    let own = ["updated", "lastBuildDate", "pubDate"].iter().find_map(|name| time(&words_of(holder, name)?));
    let mut said = Said { touched: own.max(entries.iter().filter_map(|entry| entry.time).max()), ..Said::default() };
    let mut open = Vec::new();
    let mut seen = HashSet::new();
    for entry in entries {
        // Some providers write an entry per update: the newest one of an incident counts.
        if !seen.insert(entry.id.clone()) || !wanted.are_in(&format!("{} {}", entry.title, entry.text)) {
            continue;
        }
        let age = entry.time.map(|time| time.duration_until(now));
        match stands(&entry) {
            Some((Stands::Open, word)) if age.is_none_or(|age| age <= FORGOTTEN) => {
                said.state = State::DegradedPerformance;
                open.push(Incident { name: entry.title, word: Some(word.to_owned()), link: entry.link });
            }
            Some((Stands::Open, _)) => {
                let title: String = entry.title.chars().take(100).collect();
                said.notes.push(format!("never closed, older than a week: {}", encode::terminal(&title)));
                said.notes.truncate(3);
            }
            Some((Stands::Maintenance, _)) if age.is_none_or(|age| age <= FORGOTTEN) => said.maintenances += 1,
            Some(_) => {}
            None if age.is_none_or(|age| age <= MUST_TELL) => {
                let title: String = entry.title.chars().take(100).collect();
                let why = format!("it doesn't say whether this is over: {}", encode::terminal(&title));
                return Err((UnknownKind::Incomplete, why));
            }
            None => {}
        }
    }
    if said.maintenances > 0 {
        said.state = said.state.max(State::UnderMaintenance);
    }
    said.incidents = Some(open);
    Ok(said)
}

/// How an entry stands, by the first word that tells: of what is set in bold, of the title, of the text.
fn stands(entry: &Entry) -> Option<(Stands, &'static str)> {
    let text = entry.text.to_lowercase();
    let bold = text.split("<strong>").skip(1).filter_map(|rest| rest.split("</strong>").next());
    bold.chain([entry.title.to_lowercase().as_str(), text.as_str()]).find_map(first_word)
}

fn first_word(text: &str) -> Option<(Stands, &'static str)> {
    let found = WORDS.iter().filter_map(|(word, stands)| Some((text.find(word)?, *stands, *word)));
    found.min_by_key(|(at, _, _)| *at).map(|(_, stands, word)| (stands, word))
}

trait Named {
    fn has_tag_name_of(&self, name: &str) -> bool;
}

impl Named for Node<'_, '_> {
    /// The name without its namespace: Atom's differs from feed to feed.
    fn has_tag_name_of(&self, name: &str) -> bool {
        self.is_element() && self.tag_name().name() == name
    }
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.has_tag_name_of(name))
}

/// All text of a child: feeds write HTML escaped, in CDATA, or as elements.
fn words_of(node: Node<'_, '_>, name: &str) -> Option<String> {
    let child = child(node, name)?;
    let text: String = child.descendants().filter(Node::is_text).filter_map(|text| text.text()).collect();
    Some(text.trim().to_owned())
}

fn entry(node: Node<'_, '_>) -> Entry {
    let words = |names: &[&str]| names.iter().find_map(|name| words_of(node, name)).unwrap_or_default();
    let title = words(&["title"]);
    let links = || node.children().filter(|node| node.has_tag_name_of("link"));
    let alternate = links().find(|link| matches!(link.attribute("rel"), None | Some("alternate")));
    let link = alternate
        .and_then(|link| link.attribute("href").map(str::to_owned).or_else(|| link.text().map(str::to_owned)))
        .map(|link| link.trim().to_owned())
        .filter(|link| !link.is_empty());
    // Where all entries lead to the front page, only their own names tell them apart.
    let of_its_own = |link: &&String| url::Url::parse(link).is_ok_and(|url| url.path().len() > 1);
    let id = link.as_ref().filter(of_its_own).cloned().unwrap_or_else(|| words(&["guid", "id", "title"]));
    let text = words(&["encoded", "content", "description", "summary"]);
    let time = ["updated", "pubDate", "published", "date"].iter().find_map(|name| time(&words_of(node, name)?));
    Entry { title, text, link, id, time }
}

/// RFC 3339 as in Atom, RFC 2822 as in RSS.
fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| jiff::fmt::rfc2822::parse(text).ok().map(|time| time.timestamp()))
}
