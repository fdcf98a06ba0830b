//! What follows a verdict: escalation and its delivery.
