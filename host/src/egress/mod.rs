//! The only way out to the network: an allow-list of rules, the resolved address checked and then connected to, redirects checked hop
//! by hop, and caps on all that comes back. Guests' HTTP goes through [`Egress`]; a model's provider has a client of its own.

pub mod address;
mod client;
mod error;
mod provider;
pub mod rule;

pub use client::{Answer, Egress, Leaves, Waits};
pub use error::{EgressError, Part};
pub use provider::provider_client;
pub use rule::{NetRule, RuleError};
