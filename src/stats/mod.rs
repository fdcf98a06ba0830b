//! Pure algorithms: quantiles, what is usual, log templates, rate comparison.
