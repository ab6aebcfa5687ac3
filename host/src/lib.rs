//! Runs WebAssembly agents ("strategies") and tools that need not be trusted: each right is granted, each resource
//! metered, each step journalled.
//!
//! The layers, lowest first; each uses only those above it in this list:
//!
//! - [`limits`] [`amounts`] [`text`] [`scrub`] [`json`] [`base64`] [`ids`] [`error`] [`own_file`] [`descriptors`]: every cap, the dimensions of a budget, making
//!   foreign text safe, encodings, new types, files that nobody else may have put there, open files that are left.
//! - [`config`] · [`store`] · [`engine`] · [`egress`] · [`secret`]: layered configuration · SQLite: sessions, journal, blackboard · wasmtime, checks
//!   of bytes, the compile cache · the only way out to the network · what it puts into requests.
//! - [`ledger`] · [`llm`] · [`bindings`] · [`event`]: reservations and charges · models · what `wit/` generates · what a run does, as a stream.
//! - [`plugin`]: manifests, grants, rights, tools.
//! - [`session`] · [`interfaces`]: an agent's life and the one path of its calls · one file for each interface of the contract.
//! - [`instance`]: one instance's life.
//! - [`supervisor`]: the tree of agents.
//! - [`run`]: the library's face.
//! - [`cli`]: arguments and screens.

#[cfg(windows)]
compile_error!(
    "hermes-host does not run on Windows: its store and its locks build on Unix's files. Build it on Linux, for example in WSL 2."
);

pub mod amounts;
pub mod base64;
pub mod bindings;
pub mod blocking;
pub mod cli;
pub mod config;
pub mod descriptors;
pub mod egress;
pub mod engine;
pub mod error;
pub mod event;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod ids;
pub mod instance;
pub mod interfaces;
pub mod json;
pub mod ledger;
pub mod limits;
pub mod llm;
pub mod own_file;
pub mod plugin;
pub mod run;
pub mod scrub;
pub mod secret;
pub mod session;
pub mod store;
pub mod supervisor;
pub mod text;
