//! The Rust of the pages for authors, compiled with this crate's own examples by `cargo test --doc`.

// The guide's examples of requests and files do.
use wasip2 as _;

#[doc = include_str!("../../README.md")]
mod readme {}

#[doc = include_str!("../../docs/plugin-guide.md")]
mod plugin_guide {}
