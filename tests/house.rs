//! Laws of the house, read from its own files: layers, registries, files, what must not be there.

pub mod files;
mod layers;
mod registry;
mod source;
