//! The first message about a ticket in a chat: the one that a newer verdict stands in place of, and that a thread hangs on.

use crate::model::action::ActionKind;

/// A message, as its receipt keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root<'a> {
    /// The name of its [`ActionKind`].
    pub kind: &'a str,
    /// What the chat calls it.
    pub id: &'a str,
}

impl<'a> Root<'a> {
    /// From a receipt that [`Root::receipt`] made.
    pub fn read(receipt: &'a str) -> Option<Self> {
        let (kind, id) = receipt.split_once(' ')?;
        (!kind.is_empty() && !id.is_empty()).then_some(Root { kind, id })
    }

    pub fn receipt(&self) -> String {
        format!("{} {}", self.kind, self.id)
    }

    /// True where a newer word of this kind stands in place of the message: verdicts do, what asks for somebody doesn't,
    /// for a change rings nowhere.
    pub fn is_replaced_by(&self, kind: ActionKind) -> bool {
        matches!(kind, ActionKind::Announce | ActionKind::Note) && kind.name() == self.kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_reads_back_and_nothing_else_does() {
        for id in ["$YUwRidLecu:example.com", "C0123 1503435956.000247"] {
            let root = Root { kind: "announce", id };
            assert_eq!(Root::read(&root.receipt()), Some(root));
        }
        for other in ["", "announce", "announce ", " C0123"] {
            assert_eq!(Root::read(other), None, "{other}");
        }
    }

    #[test]
    fn verdicts_are_replaced_by_their_like_and_pages_by_nothing() {
        let root = Root { kind: "announce", id: "1" };
        assert!(root.is_replaced_by(ActionKind::Announce) && !root.is_replaced_by(ActionKind::Page));
        assert!(!root.is_replaced_by(ActionKind::Note));
        assert!(!Root { kind: "page", id: "1" }.is_replaced_by(ActionKind::Page));
    }
}
