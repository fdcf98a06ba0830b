//! Pure algorithms: quantiles, what is usual, log templates, rate comparison.

pub mod baseline;
mod bounds;
pub mod nature;
pub mod quantile;
pub mod rates;
pub mod templates;
pub mod usual;
