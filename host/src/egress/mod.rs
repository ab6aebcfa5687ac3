//! The only way out to the network: an allow-list of rules, the resolved address checked and then connected to, redirects checked hop
//! by hop, caps on all that comes back, and secrets put in last, looked for in all that a guest sends and taken out of all that it gets. Guests'
//! HTTP goes through [`Egress`]; a model's provider has a client of its own.

pub mod address;
mod client;
mod error;
mod host;
mod permit;
mod place;
mod provider;
pub mod rule;

pub use client::{Admitted, Answer, Egress, Heard, Hears, Leaving, Waits};
pub use error::{EgressError, Fault, Part};
pub use host::{HostRule, HostRuleError};
pub use permit::{Credential, Permit};
pub use place::{Place, PlaceError};
pub use provider::provider_client;
pub use rule::{NetRule, RuleError};
