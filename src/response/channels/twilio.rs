//! `twilio`: a text message or a call through Twilio's API (2010-04-01), or one like it.
//!
//! A text message has at most three parts (GSM 03.38: 3 × 153 septets in its own alphabet, 3 × 67 UTF-16 units in any
//! other), so at most 459 characters. It ends with the link and with eight digits of the action's key: after an attempt
//! whose end nobody knows, the messages to that number are asked for those digits first. A call says its text twice; one
//! whose end nobody knows is made again, for a call has no text to be known by.

use std::sync::Arc;

use jiff::{SignedDuration, tz::TimeZone};
use serde::Deserialize;

use super::{Channel, ChannelKind};
use crate::model::case::number_text;
use crate::model::delivery::{Message, Outcome};
use crate::model::encode;
use crate::model::letter::{Letter, Medium};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::net::outgoing::{Call, Sending, Wires, json};
use crate::response::service::{base, below, cut, without_secrets};
use crate::yaml::{self, Spanned};

pub static TWILIO: ChannelKind = ChannelKind {
    name: "twilio",
    summary: "a text message or a call through Twilio, or an API like it",
    docs: "Keys: `account` (the account's SID), `user` (the SID of an API key, where the account itself doesn't log in), \
           `token` (a secret: the auth token, or the API key's secret), `from` and `to` (numbers like +4930123456; an \
           action whose recipient is itself such a number goes there), `by` (`sms` or `voice`; sms), `url` (`https://api.twilio.com`). \
           Arrives as one text message of at most three parts: what is said, the link, eight digits of the key; or as \
           a call that says ticket and headline twice. \
           201 is delivered: Twilio has it, which is not yet the phone. 429, 5xx, silence and answers that aren't \
           Twilio's are tried again, a message only after it was looked for among those that were sent; others are a refusal. \
           Made after public documentation, not tried with Twilio itself.",
    example: "{ account: AC0123456789abcdef0123456789abcdef, token: { env: TWILIO_TOKEN }, from: \"+4930123456\", to: \
              \"+491701234567\" }",
    read: |node| Ok(Arc::new(read(node)?)),
};

/// Septets of three joined messages in GSM's own alphabet.
const SEPTETS: usize = 3 * 153;
/// UTF-16 units of three joined messages in any other.
const UNITS: usize = 3 * 67;
/// The most that is said in a call, in characters.
const SPOKEN: usize = 400;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum By {
    Sms,
    Voice,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    account: Spanned<String>,
    #[serde(default)]
    user: Option<Spanned<String>>,
    token: SecretRef,
    from: Spanned<String>,
    to: Spanned<String>,
    #[serde(default)]
    by: Option<By>,
    #[serde(default)]
    url: Option<Spanned<String>>,
}

/// An account, and a phone.
#[derive(Debug)]
pub struct Twilio {
    account: String,
    user: String,
    token: SecretRef,
    from: String,
    to: String,
    by: By,
    base: String,
}

fn read(node: &yaml::Node) -> Result<Twilio, Diagnostic> {
    let declared: Declared = node.read()?;
    let base = base(declared.url.as_ref(), "https://api.twilio.com")?;
    let user = declared.user.unwrap_or_else(|| declared.account.clone());
    for sid in [&declared.account, &user] {
        let plain = (2..=64).contains(&sid.value.len()) && sid.value.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !plain {
            return Err(Diagnostic::error(sid.at.clone(), "this is no SID").hint("letters and digits: AC0123…"));
        }
    }
    for number in [&declared.from, &declared.to] {
        if !is_number(&number.value) {
            return Err(Diagnostic::error(number.at.clone(), "this is no phone number")
                .hint("in quotes, with + and the country: \"+4930123456\""));
        }
    }
    Ok(Twilio {
        account: declared.account.value,
        user: user.value,
        token: declared.token,
        from: declared.from.value,
        to: declared.to.value,
        by: declared.by.unwrap_or(By::Sms),
        base,
    })
}

/// As E.164 has it: a plus, and at most 15 digits.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or_default();
    (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

impl Twilio {
    async fn post(&self, message: Message<'_>, wires: &Wires) -> Result<Outcome, Outcome> {
        // The token is known before the text is written, so that it isn't in it.
        let what = if self.by == By::Sms { "Messages" } else { "Calls" };
        let call = self.call(what, "", wires)?;
        let action = without_secrets(message.action, wires);
        let letter = Letter::of(&action, message.links);
        let to = if is_number(&action.recipient) { action.recipient.as_str() } else { self.to.as_str() };
        let mark: String = format!("#{}", letter.key.chars().take(8).collect::<String>());
        if message.tries > 0
            && self.by == By::Sms
            && let Some(sid) = self.sent_before(to, &mark, message, wires).await?
        {
            return Ok(Outcome::delivered_as(sid));
        }
        let content = match self.by {
            By::Sms => {
                let link = message.links.map(|links| format!(" {}", links.ticket(action.ticket))).unwrap_or_default();
                ("Body", text_message(&letter.head(Medium::Plain), &format!("{link} {mark}")))
            }
            By::Voice => ("Twiml", twiml(&number_text(action.ticket), &letter.head(Medium::Plain))),
        };
        let fields = [("To", to.to_owned()), ("From", self.from.clone()), content];
        let answer = json(&call.with_form(fields, wires).send(message.now, wires).await?)?;
        match answer["sid"].as_str() {
            Some(sid) => Ok(Outcome::delivered_as(cut(&encode::terminal(sid), 64))),
            None => Err(Outcome::retry("its answer is not one of Twilio's")),
        }
    }

    /// A request below the account; `query` has its question mark.
    fn call(&self, what: &str, query: &str, wires: &Wires) -> Result<Call, Outcome> {
        let path = format!("/2010-04-01/Accounts/{}/{what}.json{query}", self.account);
        Call::get(below(&self.base, &path)?).basic(&self.user, &self.token, wires)
    }

    /// What a message with this mark is called, if one was sent to this number since the action was made.
    async fn sent_before(
        &self,
        to: &str,
        mark: &str,
        message: Message<'_>,
        wires: &Wires,
    ) -> Result<Option<String>, Outcome> {
        // By days, and clocks differ.
        let since = message.action.created_at.checked_sub(SignedDuration::from_hours(1));
        let since = since.unwrap_or(message.action.created_at).to_zoned(TimeZone::UTC).date();
        let query = format!("?To={}&DateSent%3E={since}&PageSize=100", encode::url_segment(to));
        let answer = json(&self.call("Messages", &query, wires)?.send(message.now, wires).await?)?;
        let Some(sent) = answer["messages"].as_array() else {
            return Err(Outcome::retry("its list of messages is not one of Twilio's"));
        };
        let found = sent.iter().find(|sent| {
            let lost = matches!(sent["status"].as_str(), Some("failed" | "undelivered" | "canceled"));
            !lost && sent["body"].as_str().is_some_and(|body| body.trim_end().ends_with(mark))
        });
        Ok(found.and_then(|sent| sent["sid"].as_str()).map(|sid| cut(&encode::terminal(sid), 64)))
    }
}

impl Channel for Twilio {
    fn send<'a>(&'a self, message: Message<'a>, wires: &'a Wires) -> Sending<'a> {
        Box::pin(async move { self.post(message, wires).await.unwrap_or_else(|failed| failed) })
    }

    fn secrets(&self) -> Vec<SecretRef> {
        vec![self.token.clone()]
    }
}

/// What it says, so far as there is room for it before its end.
fn text_message(says: &str, end: &str) -> String {
    let says: String = says.chars().map(|c| if c == '…' { '.' } else { c }).collect();
    let whole = format!("{says}{end}");
    let (cost, room): (fn(char) -> usize, usize) = if whole.chars().all(|c| septets(c).is_some()) {
        (|c| septets(c).unwrap_or(1), SEPTETS)
    } else {
        (char::len_utf16, UNITS)
    };
    let of = |text: &str| text.chars().map(cost).sum::<usize>();
    if of(&whole) <= room {
        return whole;
    }
    let mut left = room.saturating_sub(of(end) + 3);
    let mut cut = String::new();
    for c in says.chars() {
        let Some(rest) = left.checked_sub(cost(c)) else { break };
        left = rest;
        cut.push(c);
    }
    format!("{cut}...{end}")
}

/// What a character takes of a message in GSM's alphabet (3GPP TS 23.038, tables 6.2.1 and 6.2.1.1); none for one that
/// isn't in it.
fn septets(c: char) -> Option<usize> {
    const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
    if BASIC.contains(c) {
        Some(1)
    } else if "^{}\\[~]|€".contains(c) {
        Some(2)
    } else {
        None
    }
}

/// What a call says, in TwiML. The encoder of HTML writes what XML reads.
fn twiml(number: &str, says: &str) -> String {
    // Read letter by letter, a ticket's number is understood.
    let spelt: Vec<String> = number.chars().map(|c| c.to_string()).collect();
    let says = says.strip_prefix(&format!("{number}: ")).unwrap_or(says);
    let says = encode::html(&cut(says, SPOKEN));
    format!("<Response><Say loop=\"2\">This is Houston. Ticket {}. {says}.</Say></Response>", spelt.join(" "))
}

#[cfg(test)]
mod tests;
