//! The binary from outside: started as a user starts it, spoken to over its wires, killed as fate kills it.

mod daemon;
mod program;
mod receiver;
mod wire;
mod world;

mod bad_requests;
mod call_backs;
mod commands;
mod deadline;
mod desks;
mod heartbeat;
mod hooks;
mod hostile_text;
mod kills;
mod ladders;
mod life;
mod live_checks;
mod sampling;
mod scopes;
mod stream;
mod tickets;
mod unwritable;
