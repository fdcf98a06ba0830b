//! `houston mail`: a mail from a mail server's pipe, handed to the daemon.
//!
//! Whatever goes wrong ends with 75, so that the mail server keeps the mail: only a mail that nobody could ever read is
//! given back.

use std::io::Read as _;

use super::args::Cli;
use super::{Exit, Terminal, context};
use crate::model::case::parse_number;
use crate::model::encode::{terminal as safe, terminal_lines};
use crate::net::daemon::Handed;

/// As much of a mail is handed over, in bytes: its text stands before its attachments, and a body has 256 KiB at most.
const LIMIT: u64 = 250 * 1024;

pub fn run(terminal: &Terminal, cli: &Cli, desk: &str) -> Exit {
    match hand_over(cli, desk) {
        Ok(Handed::Taken(answer)) => {
            for number in answer["tickets"].as_array().into_iter().flatten().filter_map(|number| number.as_str()) {
                if parse_number(number).is_some() {
                    terminal.line(number);
                }
            }
            if let Some(why) = answer["ignored"].as_str() {
                terminal.note(&format!("houston: ignored: {}", safe(why)));
            }
            Exit::Fine
        }
        Ok(Handed::Refused(why)) => {
            terminal.note(&format!("houston: {}", safe(&why)));
            Exit::Unreadable
        }
        Ok(Handed::Later(why)) => {
            terminal.note(&format!("houston: try again later: {}", safe(&why)));
            Exit::Later
        }
        Err(error) => {
            terminal.note(&format!("houston: try again later: {}", terminal_lines(&format!("{error:#}"))));
            Exit::Later
        }
    }
}

fn hand_over(cli: &Cli, desk: &str) -> anyhow::Result<Handed> {
    let mut mail = Vec::new();
    let mut input = std::io::stdin().lock();
    input.by_ref().take(LIMIT).read_to_end(&mut mail)?;
    // Who pipes must be able to write all of it.
    std::io::copy(&mut input, &mut std::io::sink())?;
    let daemon = context::named_or_local_daemon(&cli.common)?;
    Ok(context::runtime()?.block_on(daemon.hand_over(desk, mail)))
}
