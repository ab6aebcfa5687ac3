//! The Rust of the pages for authors, compiled with this crate's own examples by `cargo test --doc`.

#[doc = include_str!("../../README.md")]
mod readme {}

#[doc = include_str!("../../docs/plugin-guide.md")]
mod plugin_guide {}
