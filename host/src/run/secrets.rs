//! The operator's secrets: set, listed and removed by commands, and handed to runs.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::event::now_ms;
use crate::limits::Limits;
use crate::llm::keys;
use crate::plugin::grant::{Allowed, SecretGrant};
use crate::plugin::reader::set;
use crate::plugin::rights::Rights;
use crate::run::{Host, HostError};
use crate::scrub::Secrets;
use crate::secret::{Secret, SecretFile};
use crate::session::stored::{Stored, named};

pub use crate::egress::{Place, PlaceError};
pub use crate::secret::{Guessable, Set as SecretSet, check_name as check_secret_name};

/// A secret that is set or granted, without what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRow {
    /// Its name.
    pub name: String,
    /// How it is set; none where it is only granted.
    pub set: Option<SecretSince>,
    /// Who gets it, by the configuration and by what was approved with plugins.
    pub granted: Vec<SecretGranted>,
}

/// How a secret is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretSince {
    /// Where it is put.
    pub place: Place,
    /// When it was set, in milliseconds since 1970.
    pub ms: u64,
}

/// That requests of a plugin get a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretGranted {
    /// Requests to these hosts.
    pub hosts: String,
    /// Of this plugin; none for all.
    pub plugin: Option<String>,
    /// Whether it is the plugin's own, whoever calls it.
    pub own: bool,
}

/// What of the operator's secrets a run has.
#[derive(Clone, Default)]
pub(super) struct RunSecrets {
    /// What no guest and no record may hold, the keys of providers included.
    pub(super) known: Secrets,
    /// Those of the operator's own that may be put into requests.
    pub(super) stored: Stored,
}

impl Host {
    /// Sets a secret, in the place of one of that name; without a place it goes where that one went.
    ///
    /// # Errors
    /// Name or value can't be used, the value can be guessed and that is refused, or the file of secrets can't be changed.
    pub fn set_secret(
        &self,
        name: &str,
        value: Zeroizing<String>,
        place: Option<Place>,
        guessable: Guessable,
    ) -> Result<SecretSet, HostError> {
        let limits = &self.config().limits;
        let file = self.secret_file();
        Ok(file.set(name, value, place, guessable, now_ms(), limits)?)
    }

    /// Removes a secret.
    ///
    /// # Errors
    /// There is none, or the file of secrets can't be changed.
    pub fn remove_secret(&self, name: &str) -> Result<(), HostError> {
        Ok(self.secret_file().remove(name)?)
    }

    /// All secrets that are set or granted for good, by their names.
    ///
    /// # Errors
    /// The file of secrets or that of approvals can't be read.
    pub fn secrets(&self) -> Result<Vec<SecretRow>, HostError> {
        let secrets = self.secret_file().read()?;
        let mut granted = self.granted_secrets()?;
        let mut rows: Vec<_> = secrets
            .into_iter()
            .map(|secret| SecretRow {
                granted: granted.remove(&secret.name).unwrap_or_default(),
                name: secret.name,
                set: Some(SecretSince {
                    place: secret.place,
                    ms: secret.set_ms,
                }),
            })
            .collect();
        let not_set = granted.into_iter().map(|(name, granted)| SecretRow {
            name,
            set: None,
            granted,
        });
        rows.extend(not_set);
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(rows)
    }

    /// Who gets which secret, by the configuration and by what was approved with plugins. What can't be read is told where it is used.
    fn granted_secrets(&self) -> Result<BTreeMap<String, Vec<SecretGranted>>, HostError> {
        let config = self.config();
        let approvals = self.shelf().approvals.read()?;
        let mut lists = vec![(None, &config.allow, false), (None, &config.own, true)];
        for approval in &approvals {
            let name = Some(&approval.name);
            lists.extend([(name, &approval.allow, false), (name, &approval.own, true)]);
        }
        let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (approved, texts, own) in lists {
            for (plugin, secret) in texts.iter().filter_map(|text| Allowed::secret(text)) {
                all.entry(secret.name).or_default().push(SecretGranted {
                    hosts: secret.hosts.to_string(),
                    plugin: approved.cloned().or(plugin),
                    own,
                });
            }
        }
        Ok(all)
    }

    /// What no record may hold: the operator's secrets, and the keys of providers.
    pub(super) fn known_secrets(&self) -> Result<Secrets, HostError> {
        Ok(self.known(&self.secret_file().read()?))
    }

    /// These, and the keys of all providers that are configured, whichever of them is asked.
    fn known(&self, secrets: &[Secret]) -> Secrets {
        let keys = keys(&self.config().models, &|name| std::env::var(name).ok());
        Secrets::and_keys(secrets.iter().map(named), keys)
    }

    /// The secrets of a run whose tools have these rights, under its limits.
    ///
    /// # Errors
    /// One of them is not set, or two would stand in one place of a request.
    pub(super) fn run_secrets(&self, tools: &[Rights], limits: &Limits) -> Result<RunSecrets, HostError> {
        let secrets = self.secret_file().read()?;
        for rights in tools {
            all_set(rights, &secrets)?;
        }
        let is_granted = |secret: &Secret| {
            tools
                .iter()
                .flat_map(Rights::secrets)
                .any(|grant| grant.name == secret.name)
        };
        Ok(RunSecrets {
            known: self.known(&secrets),
            stored: Stored::new(secrets, is_granted, limits.http_lookups),
        })
    }

    fn secret_file(&self) -> SecretFile {
        SecretFile::in_dir(&self.config().state_dir)
    }
}

impl RunSecrets {
    /// Whether what the operator says to an agent holds no secret, which the agent would read.
    pub(super) fn are_not_in(&self, what: &'static str, text: &str) -> Result<(), HostError> {
        match self.known.find(text.as_bytes()) {
            None => Ok(()),
            Some(known) => Err(HostError::Told {
                what,
                secret: known.to_string(),
                way: known.way_to_grant(),
            }),
        }
    }
}

/// Whether each secret that is granted is there, and has its place to itself.
fn all_set(rights: &Rights, secrets: &[Secret]) -> Result<(), HostError> {
    let mut all: Vec<(&SecretGrant, &Secret)> = Vec::new();
    for grant in rights.secrets() {
        let secret = set(grant, secrets)?;
        let shares = |(other, put): &&(&SecretGrant, &Secret)| {
            put.name != secret.name && put.place.is_also(&secret.place) && other.hosts.meet(&grant.hosts).is_some()
        };
        if let Some((other, _)) = all.iter().find(shares) {
            return Err(HostError::OnePlace {
                first: other.to_string(),
                second: grant.to_string(),
                place: secret.place.what(),
            });
        }
        all.push((grant, secret));
    }
    Ok(())
}
