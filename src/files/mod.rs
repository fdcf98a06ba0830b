//! Log files: timestamps, windows by bisection, rotations, line readers.
