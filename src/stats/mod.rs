//! Pure algorithms: quantiles, what is usual, log templates, rate comparison.

pub mod templates;
pub mod usual;
