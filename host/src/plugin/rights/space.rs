//! Rights in the blackboard: whole spaces, or keys below a prefix of one.

use serde::{Deserialize, Serialize};

use crate::plugin::grant::Access;

/// What may be done in a space: the union of its shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SpaceRights {
    /// Whether it is the home folder's, else the run's.
    pub(super) home: bool,
    pub(super) shares: Vec<Share>,
}

/// Keys of a space, and what may be done with them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Share {
    /// Only keys below this; empty for all. `notes` has `notes` and `notes/…`, and not `notes2`.
    pub(super) prefix: String,
    /// Whether they may be written.
    pub(super) access: Access,
}

impl Share {
    pub(super) fn all(access: Access) -> Self {
        Self {
            prefix: String::new(),
            access,
        }
    }

    /// Whether `key` is one of them.
    pub(super) fn holds(&self, key: &str) -> bool {
        match key.strip_prefix(self.prefix.as_str()) {
            Some(rest) => {
                self.prefix.is_empty() || self.prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/')
            }
            None => false,
        }
    }

    /// Whether all of `other`'s keys are among them, for as much as `other` may do with them.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.access >= other.access && self.holds(&other.prefix)
    }
}

impl SpaceRights {
    /// What both allow: of two shares the one that lies inside the other, with the lesser access.
    pub(super) fn meet(&self, other: &Self) -> Self {
        let mut shares: Vec<Share> = Vec::new();
        for mine in &self.shares {
            for theirs in &other.shares {
                let inner = if theirs.holds(&mine.prefix) {
                    mine
                } else if mine.holds(&theirs.prefix) {
                    theirs
                } else {
                    continue;
                };
                let access = mine.access.min(theirs.access);
                let share = Share {
                    access,
                    ..inner.clone()
                };
                if !shares.contains(&share) {
                    shares.push(share);
                }
            }
        }
        Self {
            home: self.home,
            shares,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(prefix: &str, access: Access) -> Share {
        Share {
            prefix: prefix.to_owned(),
            access,
        }
    }

    #[test]
    fn a_prefix_is_whole_segments() {
        let notes = share("notes", Access::Read);
        assert!(notes.holds("notes") && notes.holds("notes/1"));
        assert!(!notes.holds("notes2") && !notes.holds("note"));
        let below = share("notes/", Access::Read);
        assert!(below.holds("notes/1") && !below.holds("notes"));
        assert!(Share::all(Access::Read).holds("anything"));
        assert!(notes.covers(&share("notes/a", Access::Read)) && !notes.covers(&share("notes/a", Access::Write)));
        assert!(!notes.covers(&share("notes2", Access::Read)) && !notes.covers(&Share::all(Access::Read)));
    }

    #[test]
    fn two_rights_meet_in_what_both_allow() {
        let space = |shares: Vec<Share>| SpaceRights { home: false, shares };
        let wide = space(vec![share("a", Access::Write), share("b", Access::Read)]);
        let narrow = space(vec![share("a/x", Access::Read), share("c", Access::Write)]);
        assert_eq!(wide.meet(&narrow).shares, [share("a/x", Access::Read)]);
        assert_eq!(narrow.meet(&wide), wide.meet(&narrow));
        assert!(wide.meet(&space(Vec::new())).shares.is_empty());
    }
}
