//! `email`: a mail to people, handed to a mail server over SMTP; one thread per ticket.
//!
//! Plain text and HTML say the same. The headers beside the usual ones are
//!
//! | header | holds |
//! |---|---|
//! | `Message-ID` | 32 digits of the action's key: the same for each repetition, so that it is recognised |
//! | `References` | a name that all mails of the ticket share, so that they are one thread, and the mail before |
//! | `In-Reply-To` | the mail before to the same recipient; for the first, that shared name |
//! | `Auto-Submitted` | `auto-generated` (RFC 3834): no vacation answers |
//! | `X-Houston-Ticket`, `X-Houston-Key` | `T-7`, and the action's key |
//!
//! The subject begins with `[houston T-7]`. A mail that was taken by the server is delivered; replies of 4xx, silence and
//! lost connections are tried again, 5xx is a refusal.

use std::sync::Arc;
use std::time::SystemTime;

use lettre::address::Address;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use serde::Deserialize;
use url::Host;

use super::{Channel, ChannelKind};
use crate::model::action::{Action, ActionKind};
use crate::model::case::number_text;
use crate::model::delivery::{Message, Outcome};
use crate::model::encode;
use crate::model::letter::{Letter, Links, Medium};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::net::http::TlsOptions;
use crate::net::outgoing::{Sending, Wires, struck};
use crate::net::smtp::{NotTaken, Privacy, Server};
use crate::yaml::{self, Spanned};

pub static EMAIL: ChannelKind = ChannelKind {
    name: "email",
    summary: "a mail over SMTP, one thread per ticket",
    docs: "Keys: `server` (host name or address), `port` (587; 465 with `tls: tls`, 25 with `tls: none`), `tls` \
           (`starttls`, which is required then and the default; `tls` from the start; `none`), `user` and `password` (a secret; \
           never sent in the clear beyond this machine), `from`, `to` (a list of addresses; an action whose recipient \
           is itself a mail address goes there), `hello` (the name that the server is greeted with; the domain of \
           `from`), `ca` (PEM file of roots to trust instead of the system's). \
           Arrives as text and HTML, subject `[houston T-7] …`, `Auto-Submitted: auto-generated`, with a `Message-ID` \
           that is the same for each repetition, and references that make one thread of a ticket's mails (programs that \
           thread by subject show a new thread where the verdict in it changes). \
           Delivered is what the server took from us for at least one address; others that it refused are named in the log. \
           4xx, silence and certificates that can't be verified are tried again, 5xx is a refusal.",
    example: "{ server: mail.example.com, user: houston, password: { env: SMTP_PASSWORD }, from: \"Houston \
              <houston@example.com>\", to: [ops@example.com] }",
    read: |node| Ok(Arc::new(read(node)?)),
};

/// The longest subject, in characters.
const SUBJECT: usize = 160;
/// The most addresses of one channel.
const ADDRESSES: usize = 50;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    server: Spanned<String>,
    #[serde(default)]
    port: Option<Spanned<u16>>,
    #[serde(default)]
    tls: Option<Privacy>,
    #[serde(default)]
    user: Option<Spanned<String>>,
    #[serde(default)]
    password: Option<SecretRef>,
    from: Spanned<String>,
    to: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    hello: Option<Spanned<String>>,
    #[serde(default)]
    ca: Option<std::path::PathBuf>,
}

/// A mail server, and whom it is given mails for.
#[derive(Debug)]
pub struct Email {
    host: Host<String>,
    port: u16,
    privacy: Privacy,
    login: Option<(String, SecretRef)>,
    from: Mailbox,
    to: Vec<Mailbox>,
    hello: String,
    tls: TlsOptions,
}

fn read(node: &yaml::Node) -> Result<Email, Diagnostic> {
    let declared: Declared = node.read()?;
    let wrong = |at: &crate::model::source::Span, what: &str| Diagnostic::error(at.clone(), what);
    let server = &declared.server;
    let host = server.value.trim_matches(['[', ']']).parse().map_or_else(
        |_| Host::parse(&server.value),
        |ip: std::net::IpAddr| {
            Ok(match ip {
                std::net::IpAddr::V4(ip) => Host::Ipv4(ip),
                std::net::IpAddr::V6(ip) => Host::Ipv6(ip),
            })
        },
    );
    let host = host.map_err(|_| wrong(&server.at, "this is no host").hint("mail.example.com; the port is a key"))?;
    let privacy = declared.tls.unwrap_or(Privacy::Starttls);
    let usual = match privacy {
        Privacy::Starttls => 587,
        Privacy::Tls => 465,
        Privacy::None => 25,
    };
    let port = match declared.port {
        Some(port) if port.value == 0 => return Err(wrong(&port.at, "a port lies between 1 and 65535")),
        Some(port) => port.value,
        None => usual,
    };
    let here = match &host {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    };
    let login = match (declared.user, declared.password) {
        (Some(user), _) if user.value.chars().any(encode::is_unprintable) => {
            return Err(wrong(&user.at, "this can't be a user's name"));
        }
        (Some(user), Some(_)) if privacy == Privacy::None && !here => {
            return Err(
                wrong(&user.at, "a password is not sent in the clear").hint("use `tls: starttls` or `tls: tls`")
            );
        }
        (Some(user), Some(password)) => Some((user.value, password)),
        (None, None) => None,
        (Some(user), None) => {
            return Err(wrong(&user.at, "a user needs a `password`").hint("password: { env: SMTP_PASSWORD }"));
        }
        (None, Some(_)) => return Err(wrong(&node.span, "a password needs a `user`")),
    };
    let mailbox = |written: &Spanned<String>| {
        let parsed: Result<Mailbox, _> = written.value.parse();
        let plain = !written.value.chars().any(encode::is_unprintable);
        parsed.ok().filter(|_| plain && written.value.is_ascii()).ok_or_else(|| {
            wrong(&written.at, "this is no mail address").hint("ops@example.com, or \"Operations <ops@example.com>\"")
        })
    };
    let from = mailbox(&declared.from)?;
    let to = declared.to.value.iter().map(mailbox).collect::<Result<Vec<_>, _>>()?;
    if to.is_empty() || to.len() > ADDRESSES {
        return Err(wrong(&declared.to.at, &format!("`to` has 1 to {ADDRESSES} addresses")));
    }
    let hello = match declared.hello {
        Some(hello) if Host::parse(&hello.value).is_err() => {
            return Err(wrong(&hello.at, "this is no host name").hint("houston.example.com"));
        }
        Some(hello) => hello.value,
        None => from.email.domain().to_owned(),
    };
    let tls = TlsOptions { ca: declared.ca, ..TlsOptions::default() };
    Ok(Email { host, port, privacy, login, from, to, hello, tls })
}

impl Email {
    async fn mail(&self, message: Message<'_>, wires: &Wires) -> Result<Outcome, Outcome> {
        // The password is known before the mail is written, so that it isn't in it.
        let login = match &self.login {
            Some((user, password)) => Some((user.as_str(), wires.credentials.get(password).map_err(Outcome::retry)?)),
            None => None,
        };
        let facts = struck(message.action.facts.clone(), &wires.redactor);
        let action = Action { facts, ..message.action.clone() };
        let to = self.recipients(&action);
        let id = self.name(action.key.get(..32).unwrap_or(&action.key));
        let mail = self
            .compose(&action, &to, &id, message.previous, message.links)
            .map_err(|error| Outcome::rejected(format!("it can't be written as a mail: {error}")))?;
        let server = Server {
            host: &self.host,
            port: self.port,
            privacy: self.privacy,
            tls: &self.tls,
            hello: &self.hello,
            login,
        };
        let addresses: Vec<Address> = to.into_iter().map(|mailbox| mailbox.email).collect();
        let taken = server.take(&self.from.email, &addresses, &mail, &wires.http).await;
        let taken = taken.map_err(|failed| match failed {
            NotTaken::Refused(why) => Outcome::rejected(wires.redactor.strike(&why)),
            NotTaken::Again(why) => Outcome::retry(wires.redactor.strike(&why)),
        })?;
        for refused in taken.refused {
            let refused = wires.redactor.strike(&refused);
            tracing::error!(key = %action.key, recipient = ?refused, "one address of a mail was refused, others not");
        }
        Ok(Outcome::delivered_as(id))
    }

    fn recipients(&self, action: &Action) -> Vec<Mailbox> {
        match action.recipient.parse::<Address>() {
            Ok(address) if action.recipient.is_ascii() && !encode::breaks_header(&action.recipient) => {
                vec![Mailbox::new(None, address)]
            }
            _ => self.to.clone(),
        }
    }

    /// The name of a mail (RFC 5322, section 3.6.4).
    fn name(&self, of: &str) -> String {
        format!("<{of}@{}>", self.from.email.domain())
    }

    fn compose(
        &self,
        action: &Action,
        to: &[Mailbox],
        id: &str,
        previous: Option<&str>,
        links: Option<&Links>,
    ) -> Result<Vec<u8>, lettre::error::Error> {
        let letter = Letter::of(action, links);
        let number = number_text(action.ticket);
        // All of a ticket's mails refer to this one, which never was: whichever of them come, they are one thread.
        let shared = self.name(&letter.thread.replace('/', "."));
        let previous = previous.filter(|previous| is_name(previous) && *previous != id);
        let references = match previous {
            Some(previous) => format!("{shared} {previous}"),
            None => shared.clone(),
        };
        let raw = |name: &'static str, value: &str| {
            let name = HeaderName::new_from_ascii_str(name);
            // ASCII of ours and without a line break: an encoder would break a long name in two.
            HeaderValue::dangerous_new_pre_encoded(name, value.to_owned(), value.to_owned())
        };
        let mut mail = lettre::Message::builder()
            .from(self.from.clone())
            .date(SystemTime::from(action.created_at))
            .subject(subject(&letter, action, &number))
            .raw_header(raw("Message-ID", id))
            .raw_header(raw("In-Reply-To", previous.unwrap_or(&shared)))
            .raw_header(raw("References", &references))
            .raw_header(raw("Auto-Submitted", "auto-generated"))
            .raw_header(raw("X-Houston-Ticket", &number))
            .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("X-Houston-Key"), action.key.clone()));
        for mailbox in to {
            mail = mail.to(mailbox.clone());
        }
        let html = format!(
            "<!doctype html>\n<html><head><meta charset=\"utf-8\"></head><body>\n{}</body></html>\n",
            letter.write(Medium::Html)
        );
        let mail = mail.multipart(MultiPart::alternative_plain_html(letter.write(Medium::Plain), html))?;
        Ok(mail.formatted())
    }
}

impl Channel for Email {
    fn send<'a>(&'a self, message: Message<'a>, wires: &'a Wires) -> Sending<'a> {
        Box::pin(async move { self.mail(message, wires).await.unwrap_or_else(|failed| failed) })
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.login.iter().map(|(_, password)| password.clone()).collect()
    }
}

fn subject(letter: &Letter, action: &Action, number: &str) -> String {
    // A customer's mail says its text in its body.
    let says = match action.kind {
        ActionKind::Reply => "Your report",
        _ => letter.headline.strip_prefix(&format!("{number}: ")).unwrap_or(&letter.headline),
    };
    let subject: String = encode::mail_header(says).chars().take(SUBJECT).collect();
    format!("[houston {number}] {subject}")
}

/// True for the name of a mail as we write it.
fn is_name(text: &str) -> bool {
    let inner = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or_default();
    inner.len() <= 400
        && inner.contains('@')
        && inner.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>'))
}

#[cfg(test)]
mod tests;
