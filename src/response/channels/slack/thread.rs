//! The message that a ticket's thread hangs on, as its receipt keeps it.

use crate::model::action::ActionKind;

/// The first message about a ticket, and what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Root<'a> {
    /// The name of its [`ActionKind`].
    pub(super) kind: &'a str,
    /// The channel's ID, as Slack calls it.
    pub(super) channel: &'a str,
    /// The time stamp by which Slack names the message.
    pub(super) ts: &'a str,
}

impl<'a> Root<'a> {
    /// From a receipt that [`Root::receipt`] made.
    pub(super) fn read(receipt: &'a str) -> Option<Self> {
        let mut parts = receipt.split(' ');
        let root = Root { kind: parts.next()?, channel: parts.next()?, ts: parts.next()? };
        parts.next().is_none().then_some(root)
    }

    pub(super) fn receipt(&self) -> String {
        format!("{} {} {}", self.kind, self.channel, self.ts)
    }

    /// True where a newer word of this kind stands in place of the message: verdicts do, what asks for somebody doesn't,
    /// for a change rings nowhere.
    pub(super) fn is_replaced_by(&self, kind: ActionKind) -> bool {
        matches!(kind, ActionKind::Announce | ActionKind::Note) && kind.name() == self.kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_reads_back_and_nothing_else_does() {
        let root = Root { kind: "announce", channel: "C0123", ts: "1503435956.000247" };
        assert_eq!(Root::read(&root.receipt()), Some(root));
        for other in ["", "announce", "announce C0123", "announce C0123 1 2"] {
            assert_eq!(Root::read(other), None, "{other}");
        }
        assert!(root.is_replaced_by(ActionKind::Announce) && !root.is_replaced_by(ActionKind::Page));
        assert!(!Root { kind: "page", ..root }.is_replaced_by(ActionKind::Page));
    }
}
