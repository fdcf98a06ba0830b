//! Laws of the house.
