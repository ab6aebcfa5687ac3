//! The operator's secrets as a run has them: all of them to be recognised, those that were granted to be put into requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::egress::{Credential, Permit};
use crate::error::{Lack, Refusal};
use crate::plugin::grant::SecretGrant;
use crate::plugin::rights::Rights;
use crate::scrub::Secrets;
use crate::secret::Secret;
use crate::session::call::Call;
use crate::session::guest::Guest;

/// The secrets of a run. They are read when it begins or goes on, and are in none of its records.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    all: Secrets,
    granted: Arc<BTreeMap<String, Secret>>,
}

impl Stored {
    /// Of all that there are, those that `is_granted`; the others are only recognised.
    pub fn new(secrets: Vec<Secret>, is_granted: impl Fn(&Secret) -> bool) -> Self {
        let values = secrets.iter().map(named);
        let all = Secrets::new(values.collect::<Vec<_>>());
        let granted = secrets.into_iter().filter(|secret| is_granted(secret));
        Self {
            all,
            granted: Arc::new(granted.map(|secret| (secret.name.clone(), secret)).collect()),
        }
    }

    /// What no guest may hand on.
    pub fn all(&self) -> &Secrets {
        &self.all
    }

    /// What the requests of a tool with these rights go by; no answer to them holds any of `known`.
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
            stored: self.all.clone(),
            known: known.clone(),
            ..Permit::default()
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
        call.grant(self)?;
        call.caps(self)
    }

    /// First, so that no other refusal repeats what stands in the call.
    fn hands_no_secret_on<C: Call>(&self, call: &C) -> Result<(), Refusal> {
        let stored = self.session.run.stored.all();
        if stored.is_empty() {
            return Ok(());
        }
        match call.holds(stored) {
            None => Ok(()),
            Some(name) => Err(Refusal::denied(format!(
                "{} may not hand on the secret {name}, which stands in a call of {}: the host alone puts it into requests, with --allow secret:{name}@HOST",
                self.plugin,
                C::NAME
            ))
            .about(Lack {
                what: format!("hand on the secret {name} in a call of {}", C::NAME),
                target: C::NAME.to_owned(),
                right: None,
            })),
        }
    }
}
