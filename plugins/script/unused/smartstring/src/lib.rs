//! Stands in for a crate that rhai asks for always and, with another one for its strings, does not use: the real one has a
//! licence that this project does not take.
