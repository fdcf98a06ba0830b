//! Polling: what happened to the tickets of a query since the last time, each transaction once.
//!
//! All tickets that changed since the cursor's time are gone through by their ids, which don't move as `LastUpdated`
//! does; their transactions that are neither older nor known become what is received. The cursor's time stays a minute
//! behind the server's clock, for a transaction that takes long becomes visible late; what was seen since then is kept
//! with it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::RequestTracker;
use crate::model::delivery::Outcome;
use crate::model::encode::{self, url_segment};
use crate::net::outgoing::{self, Wires};
use crate::ticketing::{Polled, parse_time, text_at};

/// How long a transaction may take until it is visible, in seconds.
const OVERLAP: i64 = 60;
/// Tickets of one question.
const PAGE: usize = 50;
/// Tickets that are gone through at a time; the next poll goes on.
const TICKETS: usize = 200;
/// Transactions of one question, and the most questions about one ticket.
const TRANSACTIONS: usize = 100;
const QUESTIONS: usize = 10;
/// How long a ticket that can't be read is asked for again, in seconds.
const PATIENCE: i64 = 3_600;
/// Where a cursor can't be read, so far back is gone, in seconds. What is known already is recognised.
const A_DAY: i64 = 86_400;
/// Transactions that are remembered; the store recognises what is older.
const SEEN: usize = 20_000;

/// How far the transactions have been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cursor {
    /// Everything before it is known, by the server's clock, in seconds since 1970.
    pub from: i64,
    /// The ticket up to which the tickets have been gone through this time; 0 where none has.
    #[serde(default)]
    pub after: u64,
    /// What `from` becomes when all have been.
    #[serde(default)]
    pub next: Option<i64>,
    /// Transactions since `from` that are known, and when they were created.
    #[serde(default)]
    pub seen: Vec<(u64, i64)>,
}

impl Cursor {
    fn at(from: i64) -> Self {
        Cursor { from, after: 0, next: None, seen: Vec::new() }
    }

    fn has_seen(&self, transaction: u64) -> bool {
        self.seen.iter().any(|(seen, _)| *seen == transaction)
    }

    /// All tickets have been gone through.
    fn complete(&mut self) {
        self.from = self.next.take().map_or(self.from, |next| next.max(self.from));
        self.after = 0;
        let from = self.from;
        self.seen.retain(|(_, at)| *at >= from);
        let over = self.seen.len().saturating_sub(SEEN);
        self.seen.drain(..over);
    }

    fn text(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

fn sentence(failed: Outcome) -> String {
    match failed {
        Outcome::Retry { why, .. } | Outcome::Rejected { why } => why,
        Outcome::Delivered { .. } => "it answered nothing of use".to_owned(),
    }
}

fn number(value: &Value, name: &str) -> Option<u64> {
    text_at(value, name)?.parse().ok()
}

fn second(value: &Value, name: &str) -> Option<i64> {
    Some(parse_time(value[name].as_str()?)?.as_second())
}

impl RequestTracker {
    pub(super) async fn ask_for_news(
        &self,
        cursor: Option<&str>,
        now: Timestamp,
        wires: &Wires,
    ) -> Result<Polled, String> {
        let mut cursor = match cursor.map(serde_json::from_str) {
            Some(Ok(cursor)) => cursor,
            Some(Err(error)) => {
                tracing::error!(error = %error, "the cursor can't be read: the last day is asked for");
                Cursor::at(now.as_second() - A_DAY)
            }
            None => {
                let (_, clock) = self.page(&Cursor::at(now.as_second()), now, wires).await?;
                return Ok(Polled { received: Vec::new(), cursor: Cursor::at(clock).text() });
            }
        };
        let mut received = Vec::new();
        for _ in 0..TICKETS.div_ceil(PAGE) {
            let (tickets, clock) = self.page(&cursor, now, wires).await?;
            cursor.next = cursor.next.or(Some(clock - OVERLAP));
            let last = tickets.len() < PAGE;
            for ticket in tickets {
                let Some(id) = number(&ticket, "id") else { continue };
                match self.of_ticket(id, &ticket, &cursor, now, wires).await {
                    Ok(found) => {
                        for (transaction, at, payload) in found {
                            cursor.seen.push((transaction, at));
                            match self.received(payload) {
                                Ok(read) => received.extend(Some(read).filter(|read| read.ignored.is_none())),
                                // It won't be readable later either.
                                Err(why) => {
                                    tracing::warn!(ticket = id, transaction, why = ?why, "a transaction can't be read")
                                }
                            }
                        }
                    }
                    Err(failed) => {
                        let why = sentence(failed);
                        tracing::warn!(ticket = id, why = ?why, "a ticket can't be read");
                        // The others are not held up by it, and it is asked for again.
                        if clock - cursor.from < PATIENCE {
                            cursor.next = Some(cursor.from);
                        } else {
                            tracing::error!(ticket = id, "a ticket could not be read for an hour, and is given up");
                        }
                    }
                }
                cursor.after = id;
            }
            if last {
                cursor.complete();
                break;
            }
        }
        Ok(Polled { received, cursor: cursor.text() })
    }

    /// The next tickets that changed since the cursor's time, and the server's clock.
    async fn page(&self, cursor: &Cursor, now: Timestamp, wires: &Wires) -> Result<(Vec<Value>, i64), String> {
        let from = Timestamp::from_second(cursor.from).map_err(|error| error.to_string())?;
        let query = format!("({}) AND LastUpdated >= '{from}' AND id > {}", self.query, cursor.after);
        let count = PAGE.to_string();
        let asked = [
            ("query", query.as_str()),
            ("orderby", "id"),
            ("order", "ASC"),
            ("per_page", count.as_str()),
            ("fields", "Subject,Status,Created,LastUpdated,Requestors,Queue,CustomFields,Priority,Owner"),
            ("fields[Queue]", "Name"),
        ];
        let answer = self.ask("tickets", &asked, now, wires).await.map_err(sentence)?;
        let date = answer.headers.get(http::header::DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
        let clock = date.map_or(now.as_second(), |date| date.timestamp().as_second());
        match outgoing::json(&answer).map_err(sentence)?.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok((items, clock)),
            _ => Err("its answer has no `items`: is this Request Tracker?".to_owned()),
        }
    }

    /// The transactions of a ticket that are new, the oldest first: number, time and payload.
    async fn of_ticket(
        &self,
        id: u64,
        ticket: &Value,
        cursor: &Cursor,
        now: Timestamp,
        wires: &Wires,
    ) -> Result<Vec<(u64, i64, Value)>, Outcome> {
        let mut new = Vec::new();
        let count = TRANSACTIONS.to_string();
        for page in 1..=QUESTIONS {
            let page = page.to_string();
            let asked = [
                ("fields", "Type,Creator,Created,Field,OldValue,NewValue"),
                ("orderby", "id"),
                ("order", "DESC"),
                ("per_page", count.as_str()),
                ("page", page.as_str()),
            ];
            let answer = self.ask(&format!("ticket/{id}/history"), &asked, now, wires).await?;
            let history = outgoing::json(&answer)?;
            let Some(items) = history["items"].as_array() else {
                return Err(Outcome::retry("its history has no `items`"));
            };
            let mut older = items.len() < TRANSACTIONS;
            for transaction in items {
                let (Some(number), Some(at)) = (number(transaction, "id"), second(transaction, "Created")) else {
                    let shown = encode::terminal(&transaction.to_string());
                    return Err(Outcome::retry(format!("a transaction has no id or time: {shown}")));
                };
                if at < cursor.from {
                    older = true;
                } else if !cursor.has_seen(number) && !new.iter().any(|(known, _, _)| *known == number) {
                    new.push((number, at, transaction.clone()));
                }
            }
            if older {
                break;
            }
        }
        new.sort_by_key(|(number, _, _)| *number);
        let mut payloads = Vec::new();
        for (number, at, transaction) in new {
            let (text, html) = match self.source(id, number, &transaction) {
                Some(of) => self.text(&of, now, wires).await?,
                None => (String::new(), false),
            };
            let text = if html { plain(&text) } else { text };
            payloads.push((number, at, json!({ "ticket": ticket, "transaction": transaction, "text": text })));
        }
        Ok(payloads)
    }

    /// Where the text of a transaction is to be had, where it matters: a ticket's is that of its first transaction.
    fn source(&self, ticket: u64, number: u64, transaction: &Value) -> Option<String> {
        if text_at(transaction, "Creator.id").is_some_and(|by| by == self.user) {
            return None;
        }
        match (transaction["Type"].as_str()?, transaction["Field"].as_str().unwrap_or("")) {
            ("Create", _) | ("Set", "Queue") => Some(format!("ticket/{ticket}")),
            ("Correspond" | "Comment", _) => Some(format!("transaction/{}", url_segment(&number.to_string()))),
            _ => None,
        }
    }
}

/// The text of HTML: tags and comments left out, the characters that everybody escapes put back. It is read as text from
/// then on, whatever it was.
pub(super) fn plain(html: &str) -> String {
    let mut out = String::new();
    let mut rest = html;
    while let Some(open) = rest.find('<') {
        let (text, tag) = rest.split_at(open);
        out.push_str(text);
        let end =
            if tag.starts_with("<!--") { tag.find("-->").map(|at| at + 3) } else { tag.find('>').map(|at| at + 1) };
        let Some(end) = end else { return unescaped(&out) };
        let name = tag[1..end].trim_start_matches('/').to_ascii_lowercase();
        if ["br", "p", "div", "li", "tr", "pre", "h1", "h2", "h3"]
            .iter()
            .any(|block| name.strip_prefix(block).is_some_and(|after| after.starts_with(['>', ' ', '/'])))
            && !out.ends_with('\n')
        {
            out.push('\n');
        }
        rest = &tag[end..];
    }
    out.push_str(rest);
    unescaped(&out)
}

fn unescaped(text: &str) -> String {
    let text = text.replace("&nbsp;", " ").replace("&lt;", "<").replace("&gt;", ">");
    text.replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&").trim().to_owned()
}
