//! `mattermost`: a slash command, `/houston the checkout fails`, is a ticket.

use std::sync::Arc;

use serde::Deserialize;

use super::slack::{answer, command};
use super::{Answer, Hook, Received, Refused, SystemKind, TicketSystem, check_keys, keys};
use crate::model::delivery::{Message, Outcome};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::net::outgoing::{Sending, Wires};
use crate::net::signature::equals;
use crate::yaml;

pub static MATTERMOST: SystemKind = SystemKind {
    name: "mattermost",
    summary: "a slash command of Mattermost",
    docs: "Keys: `secrets` (the token that Mattermost made for the command, 1 to 3 of them, as `{ env: NAME }` or \
           `{ file: path }`). \
           In Mattermost: a custom slash command whose request URL is `https://…/hooks/NAME`, and whose method is POST. \
           It proves itself with its token, as `Authorization: Token …` or as the form's field `token`; there is no \
           signature, so over TLS, or from the same machine. \
           What is typed after the command is the ticket's text; reporter: the user. It is answered at once with the \
           ticket's number, which only who typed sees. By `fields`: `user_name`, `channel_name`, `team_domain`, `text` \
           and the other fields of the form. \
           Nothing is written back: verdicts go to a channel over the channel kind `mattermost`.",
    example: "{ secrets: [{ env: HOUSTON_DESK_SECRET }] }",
    payload: "channel_id=jeoyeryhxifstyd3iuahgsd78a&channel_name=support&command=%2Fhouston&response_url=https%3A%2F%2Fchat.example.com%2Fhooks%2Fcommands%2Fabc&team_domain=example&team_id=rnina9994bde8mua79zqcg5hmo&text=the+checkout+fails&token=the-token-of-the-command&trigger_id=ZHVtbXk6dHJpZ2dlcg%3D%3D&user_id=rnina9994bde8mua79zqcg5hmo&user_name=kim",
    headers: &[],
    read: |node| Ok(Arc::new(read(node)?)),
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mattermost {
    secrets: Vec<SecretRef>,
}

fn read(node: &yaml::Node) -> Result<Mattermost, Diagnostic> {
    let mattermost: Mattermost = node.read()?;
    check_keys(node.get("secrets").unwrap_or(node), &mattermost.secrets)?;
    Ok(mattermost)
}

impl TicketSystem for Mattermost {
    fn verify(&self, hook: &Hook<'_>, wires: &Wires) -> Result<(), Refused> {
        let keys = keys(&self.secrets, wires)?;
        let form = hook.form();
        let header = hook.header("authorization").and_then(|value| value.strip_prefix("Token "));
        let token = header.or(form.get("token").map(String::as_str)).ok_or(Refused::NotSigned)?;
        if equals(&keys, token.trim()) { Ok(()) } else { Err(Refused::NotSigned) }
    }

    fn read(&self, hook: &Hook<'_>) -> Result<Received, Refused> {
        command(hook)
    }

    fn annotate<'a>(&'a self, _message: Message<'a>, _wires: &'a Wires) -> Sending<'a> {
        Box::pin(std::future::ready(Outcome::rejected("a command has no place for a note")))
    }

    fn takes_notes(&self) -> bool {
        false
    }

    fn answer(&self, hook: &Hook<'_>, _received: &Received, numbers: &[u64]) -> Option<Answer> {
        Some(answer(hook, numbers))
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.secrets.clone()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::super::tests::{deliver, desk, hook, wires};
    use super::*;

    #[test]
    fn only_the_commands_own_token_is_taken() {
        let desk = desk("mattermost", "{ secrets: [{ env: DESK_SECRET }] }");
        let key = "desk-secret-0123456789";
        let mut authorized = HeaderMap::new();
        authorized.insert("authorization", format!("Token {key}").parse().unwrap());
        let mut wrong = HeaderMap::new();
        wrong.insert("authorization", "Token desk-secret".parse().unwrap());
        for (headers, body, expected) in [
            (&authorized, "command=x".to_owned(), true),
            (&HeaderMap::new(), format!("token={key}"), true),
            (&HeaderMap::new(), format!("token={key}x"), false),
            (&HeaderMap::new(), "command=x".to_owned(), false),
            (&wrong, format!("token={key}"), false),
        ] {
            assert_eq!(desk.system.verify(&hook(headers, body.as_bytes()), &wires()).is_ok(), expected, "{body}");
        }
    }

    #[test]
    fn a_command_is_a_ticket_that_doesnt_hold_its_token() {
        let desk = desk("mattermost", "{ secrets: [{ env: DESK_SECRET }] }");
        let received = deliver(&desk, MATTERMOST.payload).unwrap();
        assert!(!format!("{received:?}").contains("the-token-of-the-command"));
        let ticket = desk.ticket(&received.incoming[0], hook(&HeaderMap::new(), b"").now).unwrap();
        assert_eq!((ticket.text.raw(), ticket.reporter.unwrap().raw()), ("the checkout fails", "kim"));
        let at = hook(&HeaderMap::new(), b"").now;
        assert_eq!(at.as_second(), 1_795_000_000);
        let headers = HeaderMap::new();
        let answer = desk.system.answer(&hook(&headers, MATTERMOST.payload.as_bytes()), &received, &[12]).unwrap();
        assert!(answer.body.contains("T-12"));
    }
}
