//! Log files: timestamps, windows by bisection, rotations, line readers; and the files that looks leave as evidence.
//!
//! Everything here is blocking and bounded. Where logs are read, a [`gate::Gate`] is asked before each block, and says
//! when the bytes or the time that a look has are spent. Nothing is mapped into memory: a cold mapped file is several times slower than
//! reading it, and one that is truncated underneath kills the process.

pub mod fields;
pub mod forms;
pub mod gate;
pub mod kept;
pub mod lines;
pub mod listing;
pub mod packed;
pub mod rotation;
pub mod scan;
pub mod timestamp;
pub mod window;
