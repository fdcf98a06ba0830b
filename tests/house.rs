//! Laws of the house, read from its own files: layers, registries, files, what must not be there.

mod files;
mod layers;
mod registry;
mod source;
