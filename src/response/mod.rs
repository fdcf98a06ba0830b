//! What follows a verdict: which actions, what they say, and how they reach somebody.
//!
//! Deciding is pure ([`playbook::follow_up`]), and its actions are written down with the verdict. Delivering
//! ([`deliver::Deliverer`]) takes one action at a time and says what is to be noted of it; whoever owns the outbox notes it.

pub mod callback;
pub mod channels;
pub mod deliver;
pub mod escalation;
pub mod ladder;
pub mod next_steps;
pub mod oncall;
pub mod playbook;
pub mod reply;
pub mod service;
pub mod thread;

#[cfg(test)]
mod loopback;
