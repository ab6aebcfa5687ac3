//! Access to language models: which there are ([`Catalogue`]), what they cost ([`price`]), and how one is asked
//! ([`complete`]).
//!
//! A completion goes `complete` (tries, deadline, cancel) → `limiter` (how many at once) → `transport` (one try over
//! HTTP) → `sse` and one of the two protocols, `openai` and `anthropic`, which encode a request from `history` (what of a
//! guest's messages is fit to be sent; `special` keeps models' control tokens out of it) and decode an answer into a `draft`
//! (held to the caps). `veil` takes the provider's own key out of what it says. `fault` and `retry` say what a failure
//! means; `usage` and `estimate` what it cost. `scripted` answers from a file.

mod anthropic;
mod catalogue;
mod cleaned;
mod complete;
mod discover;
mod draft;
mod estimate;
mod export;
mod fault;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod history;
mod key;
mod limiter;
mod media;
mod model;
mod opaque;
mod openai;
pub mod price;
mod protocol;
mod provider;
mod request;
mod retry;
mod scripted;
mod special;
mod sse;
mod transport;
mod usage;

pub use catalogue::{Catalogue, Env, ModelError, SCRIPTED, keys};
pub use complete::complete;
pub use estimate::count;
pub use export::{Form, conversation};
pub use key::{Key, KeyError, KeySource};
pub use model::{COMMON_OUTPUT, LEAST_OUTPUT, Model};
pub use request::{Conversation, Delta, Failure, Reply, Request, Spare, no_options};
pub use scripted::ScriptError;

#[cfg(test)]
mod tests;
