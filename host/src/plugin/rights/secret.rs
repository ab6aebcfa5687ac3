//! Rights to secrets: names, and the hosts whose requests get them. What they are, no rights hold.

use std::collections::BTreeSet;

use super::Rights;
use crate::plugin::grant::SecretGrant;

impl Rights {
    /// What is put into its requests, for a tool's instance.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretGrant> {
        self.secrets.iter()
    }

    /// Those that none of its requests gets, as it reaches none of their hosts.
    pub fn idle_secrets(&self) -> impl Iterator<Item = &SecretGrant> {
        let reached = |secret: &SecretGrant| self.net.iter().any(|rule| secret.hosts.is_reached_by(rule));
        self.secrets.iter().filter(move |secret| !reached(secret))
    }

    pub(super) fn common_secrets(&self, caller: &Self) -> BTreeSet<SecretGrant> {
        let common = self.secrets.iter();
        let common = common.flat_map(|mine| caller.secrets.iter().filter_map(|theirs| mine.meet(theirs)));
        common.collect()
    }

    pub(super) fn covers_secret(&self, detail: Option<&str>) -> bool {
        match detail.and_then(|detail| SecretGrant::parse(detail).ok()) {
            Some(want) => self.secrets.iter().any(|held| held.meet(&want).is_some()),
            None => !self.secrets.is_empty(),
        }
    }
}
