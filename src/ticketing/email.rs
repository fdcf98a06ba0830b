//! `email`: mail that customers write, as an MTA pipes it or as it lies in a Maildir.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::{
    Hook, Incoming, Polled, Polling, Received, Reference, Refused, SystemKind, TicketSystem, check_keys, keys,
};
use crate::model::delivery::{Message, Outcome};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::net::outgoing::{Sending, Wires};
use crate::net::signature::equals;
use crate::yaml::{self, Spanned};

mod mail;
mod maildir;
mod reply;

/// How often a Maildir is looked into.
const EVERY: Duration = Duration::from_secs(5);
/// A look into a Maildir takes no longer.
const PATIENCE: Duration = Duration::from_secs(30);

pub static EMAIL: SystemKind = SystemKind {
    name: "email",
    summary: "mail from customers, piped by an MTA or out of a Maildir",
    docs: "Keys: `maildir` (a Maildir whose new mail is read every 5 s; a mail goes from `new/` to `cur/` once its ticket \
           is on disk), `own` (our own addresses: mail from them is ignored), `lists` (true where customers' mail comes \
           through a mailing list; otherwise what lists send is ignored), `secrets` (1 to 3 keys of at least 16 bytes, as \
           `{ env: NAME }` or `{ file: path }`). \
           A mail is posted as it is (RFC 5322) to `/hooks/NAME`: by `houston mail --desk NAME`, which an MTA pipes it to \
           (in Postfix's or Exim's aliases `support: \"|houston mail --desk NAME\"`), over the local socket, by a user who \
           may use it; or from elsewhere with one of the `secrets` as `X-Houston-Token`, over TLS. The command ends with \
           75 (try again later) whenever the mail is not on disk, so that the MTA keeps it. \
           A mail is a ticket whose id is its `Message-ID`; title: `Subject`; text: the plain text, else the HTML without \
           tags, scripts and styles; attachments are ignored, and of a large mail the first 250 KiB are read. Reporter: \
           `From`; contact: `Reply-To`, else `From`. What answers a mail of a ticket (`In-Reply-To`, `References`, or \
           `[houston T-7]` in the subject) is a comment, without what it quotes; one that begins with `still broken` \
           reopens the ticket. What answers nothing that is known here is a ticket of its own. \
           For `fields`: `from.address`, `from.name`, `from.domain`, `to.0`, `subject`, `text`, `message_id`. \
           Ignored, so that no two robots write to each other: `Auto-Submitted` other than `no`, `Precedence` `bulk`, \
           `junk` or `list`, an empty `Return-Path`, mail of `MAILER-DAEMON`, reports on delivery, and whatever carries a \
           header `X-Houston-…`. The sender of a mail is what the mail says, and nothing that was proved. \
           Notes are not written into it; a reply goes out over a channel.",
    example: "{ own: [support@example.com] }",
    payload: "From: Kim <kim@customer.example>\r\nTo: support@example.com\r\nSubject: checkout fails\r\nDate: Wed, 18 Nov 2026 09:20:08 +0100\r\nMessage-ID: <4711@customer.example>\r\n\r\nSince nine, in all of our shops.\r\n",
    headers: &[],
    read: |node| Ok(Arc::new(read(node)?)),
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    #[serde(default)]
    secrets: Option<Vec<SecretRef>>,
    #[serde(default)]
    maildir: Option<PathBuf>,
    #[serde(default)]
    own: Vec<Spanned<String>>,
    #[serde(default)]
    lists: bool,
}

#[derive(Debug)]
struct Email {
    secrets: Vec<SecretRef>,
    maildir: Option<PathBuf>,
    rules: mail::Rules,
}

fn read(node: &yaml::Node) -> Result<Email, Diagnostic> {
    let declared: Declared = node.read()?;
    if let Some(secrets) = &declared.secrets {
        check_keys(node.get("secrets").unwrap_or(node), secrets)?;
    }
    if let Some(address) = declared.own.iter().find(|address| !address.value.contains('@')) {
        let error = Diagnostic::error(address.at.clone(), "this is no address");
        return Err(error.hint("write it like `support@example.com`"));
    }
    let own = declared.own.iter().map(|address| address.value.to_lowercase()).collect();
    let rules = mail::Rules { own, lists: declared.lists };
    Ok(Email { secrets: declared.secrets.unwrap_or_default(), maildir: declared.maildir, rules })
}

impl TicketSystem for Email {
    fn verify(&self, hook: &Hook<'_>, wires: &Wires) -> Result<(), Refused> {
        if hook.local {
            return Ok(());
        }
        if self.secrets.is_empty() {
            return Err(Refused::NotSigned);
        }
        let keys = keys(&self.secrets, wires)?;
        let token = hook.header("x-houston-token").ok_or(Refused::NotSigned)?;
        if equals(&keys, token) { Ok(()) } else { Err(Refused::NotSigned) }
    }

    fn read(&self, hook: &Hook<'_>) -> Result<Received, Refused> {
        if hook.body.trim_ascii().is_empty() {
            return Err(Refused::Unreadable("the mail is empty".to_owned()));
        }
        Ok(mail::read(hook.body, &self.rules))
    }

    fn annotate<'a>(&'a self, _message: Message<'a>, _wires: &'a Wires) -> Sending<'a> {
        Box::pin(std::future::ready(Outcome::rejected("a mail that came in has no place for a note")))
    }

    fn takes_notes(&self) -> bool {
        false
    }

    fn belongs_to(&self, incoming: &Incoming) -> Vec<Reference> {
        mail::belongs_to(&incoming.payload)
    }

    fn poll_every(&self) -> Option<Duration> {
        self.maildir.as_ref().map(|_| EVERY)
    }

    fn poll<'a>(&'a self, cursor: Option<&'a str>, _now: Timestamp, _wires: &'a Wires) -> Polling<'a> {
        Box::pin(async move {
            let Some(directory) = self.maildir.clone() else { return Ok(Polled::default()) };
            let cursor = cursor.map(str::to_owned);
            let looked = tokio::task::spawn_blocking(move || maildir::look(&directory, cursor.as_deref()));
            let looked = tokio::time::timeout(PATIENCE, looked).await;
            let looked = looked.map_err(|_| "the Maildir did not answer in 30 s".to_owned())?;
            let found = looked.map_err(|error| error.to_string())??;
            let received = found.mails.iter().map(|bytes| mail::read(bytes, &self.rules)).collect();
            Ok(Polled { received, cursor: Some(found.cursor) })
        })
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.secrets.clone()
    }
}

#[cfg(test)]
mod tests;
