//! What the suites need: a model behind a real HTTP server, a home of its own for each test, the binary as a person runs
//! it, and guests. A test that can't get what it needs panics with the reason.

#![allow(clippy::unwrap_used, reason = "in a test's support, what fails shall fail the test")]

pub mod bomb;
pub mod changed;
pub mod child;
pub mod clean;
pub mod guests;
pub mod held;
pub mod home;
pub mod host;
pub mod interrupted;
pub mod model;
pub mod output;
pub mod program;
pub mod shim;
pub mod site;
pub mod terminal;
pub mod well;

pub use home::Home;
pub use host::{Host, Process};
pub use model::{ModelServer, Script, Turn};
pub use output::{Output, assert_clean};
pub use shim::Shim;
