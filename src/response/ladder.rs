//! Climbs a ladder: a page that is due leads to actions, and to where the page stands then. Pure.
//!
//! Whoever was down for a while takes one step when it is back, not all that it missed. A ladder whose last step was not
//! acknowledged ends with an escalation to those whom the configuration names for that, and to the log: never silently.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::channels::LOG;
use super::oncall;
use super::playbook::Target;
use crate::model::action::{Action, ActionKind};
use crate::model::case::number_text;
use crate::model::catalog::{Catalog, Team};
use crate::model::encode;
use crate::model::page::{Page, Standing};
use crate::model::people::{WAIT, Whom};

/// The most who are reached by one step.
const RECIPIENTS: usize = 100;

/// What follows for a page that is due at `now`. `fallback` are those who are told when nobody of the team took it on.
pub fn advance(page: &Page, catalog: &Catalog, fallback: &[Target], now: Timestamp) -> (Page, Vec<Action>) {
    let mut climb = Climb { page: page.clone(), actions: Vec::new(), catalog, fallback, now };
    let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
    if due(page.next_at) {
        match &page.standing {
            Standing::Climbing => climb.step(),
            Standing::Acknowledged { by, .. } => {
                let by = encode::terminal(by.raw());
                climb.remind(&by);
            }
            Standing::Joined { .. } | Standing::Ended => climb.page.next_at = None,
        }
    }
    // After the step: whoever it reached is told of the others, too.
    if due(page.summary_at) {
        climb.summarize();
    }
    (climb.page, climb.actions)
}

struct Climb<'a> {
    page: Page,
    actions: Vec<Action>,
    catalog: &'a Catalog,
    fallback: &'a [Target],
    now: Timestamp,
}

impl Climb<'_> {
    fn step(&mut self) {
        let Some(team) = self.catalog.teams.get(&self.page.team) else { return self.give_up() };
        let Some(ladder) = &team.ladder else {
            // A team without a ladder is told once, and nobody is waited for.
            let targets = self.targets(&Whom::Team, team);
            if targets.is_empty() {
                return self.give_up();
            }
            self.send(ActionKind::Page, &targets, "once", self.page.facts.clone());
            return self.page.end();
        };
        while (self.page.taken as usize) < ladder.height() {
            let taken = self.page.taken as usize;
            let Some(step) = ladder.steps.get(taken % ladder.steps.len()) else { break };
            let targets = self.targets(&step.notify, team);
            self.page.taken += 1;
            // Where nobody is on call, the next step is not waited for.
            if targets.is_empty() {
                continue;
            }
            let mut facts = self.page.facts.clone();
            let (step_number, repetition) = (taken % ladder.steps.len() + 1, taken / ladder.steps.len());
            let page = json!({ "team": self.page.team, "step": step_number, "repetition": repetition });
            set(&mut facts, "page", page);
            self.send(ActionKind::Page, &targets, &format!("step {taken}"), facts);
            self.page.next_at = Some(self.later(step.wait));
            return;
        }
        self.give_up();
    }

    /// The acknowledgement is over: those who were reached are reminded, and the ladder goes on after a while.
    fn remind(&mut self, by: &str) {
        let number = number_text(self.page.ticket);
        let summary = format!("{number} was taken on by {by} and is still open: {}", self.title());
        let mut facts = self.page.facts.clone();
        set(&mut facts, "summary", summary.into());
        self.page.reminded += 1;
        let occasion = format!("reminder {}", self.page.reminded);
        let targets = self.reached();
        self.send(ActionKind::Remind, &targets, &occasion, facts);
        let ladder = self.catalog.teams.get(&self.page.team).and_then(|team| team.ladder.as_ref());
        let last = (self.page.taken as usize).saturating_sub(1);
        let wait = ladder.and_then(|ladder| Some(ladder.steps.get(last % ladder.steps.len().max(1))?.wait));
        self.page.standing = Standing::Climbing;
        self.page.next_at = Some(self.later(wait.unwrap_or(WAIT)));
    }

    /// The end of the ladder.
    fn give_up(&mut self) {
        let (number, team) = (number_text(self.page.ticket), encode::terminal(&self.page.team));
        let told = if self.page.reached.is_empty() { "could be reached about it" } else { "acknowledged it" };
        let mut facts = self.page.facts.clone();
        set(&mut facts, "summary", format!("{number}: nobody of {team} {told}: {}", self.title()).into());
        set(&mut facts, "why", "unacknowledged".into());
        // There is nothing to stop any more.
        if let Value::Object(fields) = &mut facts {
            fields.remove("acknowledge");
        }
        let mut targets = self.fallback.to_vec();
        if !targets.iter().any(|target| target.channel == LOG) {
            targets.push(Target { channel: LOG.to_owned(), recipient: "operators".to_owned() });
        }
        self.send(ActionKind::Escalate, &targets, "unacknowledged", facts);
        self.page.end();
    }

    /// One message about everything that joined.
    fn summarize(&mut self) {
        self.page.summary_at = None;
        let count = self.page.joined_count;
        if count == 0 {
            return;
        }
        let also: Vec<Value> = self
            .page
            .joined
            .iter()
            .map(|joined| format!("{}: {}", number_text(joined.ticket), joined.title.raw()).into())
            .collect();
        let left_out = count.saturating_sub(also.len());
        let (number, more) = (number_text(self.page.ticket), if count == 1 { "ticket" } else { "tickets" });
        let summary = format!("{number} and {count} more {more} since: {}", self.title());
        let mut facts = self.page.facts.clone();
        set(&mut facts, "summary", summary.into());
        set(&mut facts, "also", also.into());
        if left_out > 0 {
            set(&mut facts, "also_left_out", left_out.into());
        }
        let targets = if self.page.reached.is_empty() { self.fallback.to_vec() } else { self.reached() };
        self.send(ActionKind::Summary, &targets, &format!("summary {count}"), facts);
    }

    fn reached(&self) -> Vec<Target> {
        let target =
            |(channel, recipient): &(String, String)| Target { channel: channel.clone(), recipient: recipient.clone() };
        self.page.reached.iter().map(target).collect()
    }

    /// By what these are reached now.
    fn targets(&self, whom: &Whom, team: &Team) -> Vec<Target> {
        let names: Vec<String> = match whom {
            Whom::OnCall => team.on_call.as_ref().map_or(Vec::new(), |on_call| oncall::at(on_call, self.now).who),
            Whom::Team => team.members.clone(),
            Whom::People(names) => names.clone(),
        };
        let mut targets: Vec<Target> = Vec::new();
        for person in names.iter().filter_map(|name| self.catalog.people.get(name)) {
            let ways = person.ways(self.now);
            targets.extend(ways.iter().map(|way| Target { channel: way.over.clone(), recipient: way.to.clone() }));
        }
        if *whom == Whom::Team {
            let own = |channel: &String| Target { channel: channel.clone(), recipient: self.page.team.clone() };
            targets.extend(team.channels.iter().map(own));
        }
        targets.truncate(RECIPIENTS);
        targets
    }

    fn send(&mut self, kind: ActionKind, targets: &[Target], occasion: &str, facts: Value) {
        let occasion = format!("{} {occasion}", self.page.key);
        for Target { channel, recipient } in targets {
            let Page { ticket, round, .. } = self.page;
            let action =
                Action::at_occasion(ticket, round, kind, channel, recipient, &occasion, facts.clone(), self.now);
            // Whoever is named twice is told once.
            if self.actions.iter().any(|other| other.key == action.key) {
                continue;
            }
            let reached = (channel.clone(), recipient.clone());
            if !self.page.reached.contains(&reached) && self.page.reached.len() < RECIPIENTS {
                self.page.reached.push(reached);
            }
            self.actions.push(action);
        }
    }

    fn title(&self) -> String {
        encode::terminal(self.page.title.raw())
    }

    fn later(&self, by: std::time::Duration) -> Timestamp {
        let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
        self.now.checked_add(by).unwrap_or(Timestamp::MAX)
    }
}

fn set(facts: &mut Value, name: &str, value: Value) {
    if let Value::Object(fields) = facts {
        fields.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests;
