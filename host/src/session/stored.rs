//! The operator's secrets as a run has them, those that were granted to be put into requests; and that no call hands one on, nor a provider's key.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::egress::{Credential, Permit};
use crate::error::{Lack, Refusal};
use crate::plugin::grant::SecretGrant;
use crate::plugin::rights::Rights;
use crate::scrub::Secrets;
use crate::secret::Secret;
use crate::session::call::Call;
use crate::session::guest::Guest;

/// The secrets that a run may put into requests. They are read when it begins or goes on, and are in none of its records.
#[derive(Debug, Clone)]
pub struct Stored {
    granted: Arc<BTreeMap<String, Secret>>,
    /// Names of hosts that are looked up at once for its tools.
    lookups: Arc<Semaphore>,
}

impl Default for Stored {
    /// Of a run that sends nothing.
    fn default() -> Self {
        Self::new(Vec::new(), |_| false, 1)
    }
}

impl Stored {
    /// Of all that there are, those that `is_granted`; its requests look up so many names at once.
    pub fn new(secrets: Vec<Secret>, is_granted: impl Fn(&Secret) -> bool, lookups: u64) -> Self {
        let lookups = usize::try_from(lookups).unwrap_or(usize::MAX);
        let granted = secrets.into_iter().filter(|secret| is_granted(secret));
        Self {
            granted: Arc::new(granted.map(|secret| (secret.name.clone(), secret)).collect()),
            lookups: Arc::new(Semaphore::new(lookups.clamp(1, Semaphore::MAX_PERMITS))),
        }
    }

    /// What the requests of a tool with these rights go by; neither they nor the answers to them hold any of `known`.
    pub fn permit(&self, rights: &Rights, known: &Secrets) -> Permit {
        let credential = |grant: &SecretGrant| {
            let secret = self.granted.get(&grant.name)?;
            Some(Credential {
                name: secret.name.clone(),
                hosts: grant.hosts.clone(),
                place: secret.place.clone(),
                value: secret.value().clone(),
            })
        };
        Permit {
            rules: rights.net_rules(),
            credentials: rights.secrets().filter_map(credential).collect(),
            known: known.clone(),
            lookups: self.lookups.clone(),
        }
    }
}

/// A secret's name and value, for a search.
pub fn named(secret: &Secret) -> (String, String) {
    (secret.name.clone(), secret.value().as_str().to_owned())
}

impl Guest {
    /// What is looked at before a call is made: that it hands no secret on, its right, its caps.
    ///
    /// # Errors
    /// The refusal.
    pub(super) fn admits<C: Call>(&self, call: &C) -> Result<(), Refusal> {
        self.hands_no_secret_on(call)?;
        call.grant(self).map_err(|refusal| self.worded(refusal))?;
        call.caps(self).map_err(Refusal::shortened)
    }

    /// First, so that no other refusal repeats what stands in the call.
    fn hands_no_secret_on<C: Call>(&self, call: &C) -> Result<(), Refusal> {
        let secrets = &self.session.run.secrets;
        if secrets.is_empty() {
            return Ok(());
        }
        match call.holds(secrets) {
            None => Ok(()),
            // Who calls a tool outside of a run is the person, whose own words they are.
            Some(known) if !self.session.run.keeping.is_run() && self.is_strategy() => Err(Refusal::denied(format!(
                "the arguments that you gave hold {known}, which no tool is told: {}",
                known.way_to_grant()
            ))),
            Some(known) => Err(Refusal::denied(format!(
                "{} may not hand on {known}, which stands in a call of {}: {}",
                self.plugin,
                C::NAME,
                known.way()
            ))
            .about(Lack {
                what: format!("hand on {known} in a call of {}", C::NAME),
                target: C::NAME.to_owned(),
                right: None,
                why: Some(known.way().to_owned()),
            })),
        }
    }
}
