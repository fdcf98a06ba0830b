//! Declarations: documents become checks; errors cost only their own file.

mod check;
mod document;
mod expectations;
mod folder;
mod library;
mod parameters;
mod reader;
mod schema;
#[cfg(test)]
mod test_kinds;
mod watch;

pub use check::{AppliesTo, BadIf, Check, CheckSet, Control, Expectation, KnownIssue};
pub use folder::FILES_LIMIT;
pub use library::{Library, SecretTest, load};
pub use schema::schema;
pub use watch::{Reloaded, watch};
